"""What a page holds, before it is HTML or Markdown: sections of text, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Block", "Document", "Figure", "Lines", "Paragraph", "Section", "Table", "Terms"]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or several; `kind` is "lead" for the answer, "note" for the small print."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Sentences one under the other, each led by whom it is about where that matters."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Text cells under headers; the first column names the row, the others are numbers.

    ``strong`` are the (row, column) of cells that stand out; a cell may have a
    second, smaller part after a newline.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[tuple[int, int]] = frozenset()
    words: int = 1
    """Leading columns that hold words."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure in two widths of SVG and as PNG, the file of its data, what to know besides."""

    name: str
    wide: str
    narrow: str
    png: bytes
    caption: str
    table: str


@dataclass(frozen=True, slots=True)
class Terms:
    """Names and what they mean."""

    items: Sequence[tuple[str, str]]


Block = Paragraph | Lines | Table | Figure | Terms


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it; `folded` where a page may hide it until asked."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A report from its title to its provenance."""

    title: str
    question: str
    sections: Sequence[Section] = field(default_factory=tuple)
