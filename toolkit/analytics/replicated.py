"""The other replications of a run: traces beside it that its manifest names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit.errors import InputError
from toolkit.trace.store import Store

__all__ = ["replications_beside"]


def replications_beside(stores: Sequence[Store]) -> list[Path]:
    """Return the folders of replications that these first ones name and that are not among them.

    One that is missing, cannot be read, or is of another scenario by now is
    left out: what is said of replications counts those that are there.
    """
    given = {store.folder.absolute() for store in stores}
    found: list[Path] = []
    for store in stores:
        said = store.manifest.get("replication", {})
        for name in said.get("beside", ()):
            folder = store.folder.absolute().parent / name
            if folder not in given and _is_of(folder, said["of"]):
                given.add(folder)
                found.append(folder)
    return found


def _is_of(folder: Path, family: str) -> bool:
    try:
        manifest = Store(folder).manifest
    except InputError:
        return False
    return bool(manifest.get("replication", {}).get("of") == family)
