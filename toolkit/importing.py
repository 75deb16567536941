"""From a foreign trace to an opened run: read, store, draw, open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.analytics import Run
    from toolkit.trace.store import Store

__all__ = ["import_trace"]

VERSIONED = ("duckdb", "numba", "numpy", "pyarrow")
"""Packages on whose versions the bytes of an imported run depend."""


def import_trace(
    file: Path | str | Sequence[Path | str],
    *,
    kind: str = "auto",
    out: Path | str = ".",
    name: str | None = None,
    rules: Path | str | None = None,
    renderings: bool = True,
) -> Run:
    """Make a store out of a foreign trace, and return it opened.

    `file` is one file, or (kind ``torch``) one for each rank.  The store goes
    to ``out/traces/NAME`` and replaces a run of that name once it is complete;
    `kind` is one of `toolkit.importers.KINDS`, ``auto`` tells by the content.
    Unless `renderings` is false the store brings both pictures along.

    Raises:
        InputError: a file that is damaged or not of its kind, wrong rules, or
            a folder that cannot be written.
    """
    from importlib.metadata import version

    from toolkit import __version__, analytics, importers

    def draw(store: Store, manifest: dict[str, Any]) -> None:
        from toolkit.trace.render import render_default

        words = render_default(store) if renderings else ""
        if words:
            manifest["facts"]["notes"].append(words)

    files = [file] if isinstance(file, Path | str) else list(file)
    versions = {"toolkit": __version__} | {package: version(package) for package in VERSIONED}
    return analytics.open(
        importers.read_into(
            files, out, kind=kind, name=name, rules=rules, versions=versions, finish=draw
        )
    )
