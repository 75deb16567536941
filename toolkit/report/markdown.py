"""A document as Markdown, its figures beside it: for a pull request or a notebook."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.report.document import (
    Block,
    Document,
    Figure,
    Lines,
    Paragraph,
    Table,
    Terms,
)

__all__ = ["markdown"]


def markdown(document: Document) -> str:
    """Return the whole text."""
    return "\n".join(_lines(document))


def _lines(document: Document) -> Iterator[str]:
    yield f"# {document.title}\n"
    if document.question:
        yield f"*{document.question}*\n"
    for section in document.sections:
        yield f"## {section.title}\n"
        for block in section.blocks:
            yield f"{_block(block)}\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return f"**{block.text}**" if block.kind == "lead" else block.text
        case Lines():
            return "\n".join(f"- **{lead}** {text}" for lead, text in block.items)
        case Table():
            return _table(block)
        case Figure():
            return (
                f"![{block.name}](figures/{block.name}.svg)\n\n"
                f"{block.caption} [{block.table}]({block.table})"
            )
        case Terms():
            return "\n".join(f"- `{name}`: {text}" for name, text in block.items)


def _table(table: Table) -> str:
    marks = ["---" if at < table.words else "---:" for at in range(len(table.headers))]
    rows = [list(table.headers), marks]
    rows += [
        [_cell(text, (at, column) in table.strong) for column, text in enumerate(cells)]
        for at, cells in enumerate(table.rows)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cell(text: str, strong: bool) -> str:
    plain = text.replace("\n", " ").strip().replace("|", "\\|")
    return f"**{plain}**" if strong and plain else plain
