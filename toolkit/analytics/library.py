"""The views that ship with the toolkit: their SQL, and what their comments say.

A view is one file of the same name.  Its comment says in sentences what a row
is about, then, each after its keyword: ``Grain:``, ``Reads:``, and where they
help ``Units:`` and ``Definition:``.  The comments are the documentation that
`toolkit sql --list` and the report print, and ``Reads:`` is what a view needs
before it can be created; tests keep them true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["LAYERS", "STORE", "View", "library", "needed", "parse"]

LAYERS = ("staging", "facts", "reports", "checks")
"""Layers of views; one reads only its own and earlier ones."""

STORE = "store"
"""Schema of the store's own tables, which only staging and checks read."""

_KEYWORDS = re.compile(r"\b(Grain|Reads|Units|Definition):")
_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class View:
    """One view of the library."""

    name: str
    layer: str
    doc: str
    """What it says, in one or two sentences."""
    grain: str
    reads: tuple[str, ...]
    units: str
    definition: str
    sql: str

    @property
    def text(self) -> str:
        """The documentation as one paragraph."""
        parts = [self.doc] if self.doc else []
        parts += [f"Grain: {self.grain}"] if self.grain else []
        parts += [f"Units: {self.units}"] if self.units else []
        parts += [f"Definition: {self.definition}"] if self.definition else []
        return "  ".join(parts)


def parse(name: str, layer: str, sql: str) -> View:
    """Return the view whose file holds `sql`."""
    comment = " ".join(
        line.removeprefix("--").strip() for line in _leading_comment(sql.splitlines())
    )
    doc, *rest = _KEYWORDS.split(comment)
    said = {key: text.strip() for key, text in zip(rest[::2], rest[1::2], strict=True)}
    reads = said.get("Reads", "").rstrip(".")
    return View(
        name=name,
        layer=layer,
        doc=doc.strip(),
        grain=said.get("Grain", ""),
        reads=tuple(part.strip() for part in reads.split(",") if part.strip()),
        units=said.get("Units", ""),
        definition=said.get("Definition", ""),
        sql=sql,
    )


def _leading_comment(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("--"):
            return
        yield line


@cache
def library() -> tuple[View, ...]:
    """Return every view that ships, layer by layer and by name."""
    found = []
    for layer in LAYERS:
        folder = files(__package__) / "sql" / layer
        for file in sorted(folder.iterdir(), key=lambda file: file.name):
            if file.name.endswith(".sql"):
                name = file.name.removesuffix(".sql")
                found.append(parse(name, layer, file.read_text(encoding="utf-8")))
    return tuple(found)


def needed(query: str, views: Mapping[str, View]) -> list[View]:
    """Return the views `query` mentions and those that they read, each after what it reads.

    Every word counts as a mention, so a column named like a view costs the
    creation of a view and nothing else.
    """
    order: dict[str, View] = {}

    def visit(name: str) -> None:
        view = views.get(name)
        if view is None or name in order:
            return
        for read in view.reads:
            visit(read)
        order[name] = view

    for word in _WORD.findall(query):
        visit(word.lower())
    return list(order.values())
