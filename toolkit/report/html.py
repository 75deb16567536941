"""A document as one HTML file that loads nothing: for a screen, a phone, the dark, and paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from toolkit.report.document import (
    Block,
    Document,
    Figure,
    Lines,
    Paragraph,
    Section,
    Table,
    Terms,
)

__all__ = ["html"]


def html(document: Document) -> str:
    """Return the whole page."""
    style = (files(__package__) / "page.css").read_text(encoding="utf-8")
    body = "\n".join(_section(section) for section in document.sections)
    question = f'<p class="question">{_words(document.question)}</p>' if document.question else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(document.title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1>{_words(document.title)}</h1>
{question}
</header>
{body}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    body = "\n".join(_block(block) for block in section.blocks)
    title = escape(section.title)
    if section.folded:
        return (
            f"<section><details><summary><h2>{title}</h2></summary>\n{body}\n</details></section>"
        )
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>"


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return f'<p class="{block.kind or "text"}">{_words(block.text)}</p>'
        case Lines():
            items = "".join(
                f"<li><b>{_words(lead)}</b> {_words(text)}</li>" for lead, text in block.items
            )
            return f"<ul>{items}</ul>"
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Terms():
            items = "".join(
                f"<dt><code>{escape(name)}</code></dt><dd>{_words(text)}</dd>"
                for name, text in block.items
            )
            return f"<dl>{items}</dl>"


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_kind(table, at)}>{escape(text)}</th>'
        for at, text in enumerate(table.headers)
    )
    rows = "\n".join(_row(table, at, cells) for at, cells in enumerate(table.rows))
    return (
        f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(table: Table, row: int, cells: Sequence[str]) -> str:
    found = []
    for at, text in enumerate(cells):
        value, _, more = text.partition("\n")
        body = _words(value) + (f" <small>{escape(more)}</small>" if more else "")
        if (row, at) in table.strong:
            body = f"<strong>{body}</strong>"
        tag, more = ("th", ' scope="row"') if at == 0 else ("td", "")
        found.append(f"<{tag}{more}{_kind(table, at)}>{body}</{tag}>")
    return f"<tr>{''.join(found)}</tr>"


def _kind(table: Table, column: int) -> str:
    return ' class="word"' if column < table.words else ""


def _figure(figure: Figure) -> str:
    return (
        f'<figure id="{figure.name}">\n'
        f'<div class="wide">{figure.wide}</div>\n<div class="narrow">{figure.narrow}</div>\n'
        f"<figcaption>{_words(figure.caption)} "
        f'<a href="{figure.table}">{figure.table}</a></figcaption>\n</figure>'
    )


def _words(text: str) -> str:
    """Return text escaped, with what stands in backquotes as code and local addresses as links."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"(http://127\.0\.0\.1:[^\s<\"]+)", r'<a href="\1">open it</a>', text)
