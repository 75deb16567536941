"""`toolkit sql`: a query over traces, a prompt for many, and the library of views."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.analytics import Run, View

__all__ = ["ABOUT", "add_arguments", "describe", "execute", "listing"]

ABOUT = "query traces, or open a prompt on them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    from toolkit.tables import FORMATS

    parser.add_argument(
        "words",
        nargs="*",
        metavar="TRACE... [QUERY]",
        help="folders of runs or patterns of them, side by side, then one SQL query (- reads "
        "queries from stdin); without a query: a prompt",
    )
    parser.add_argument("--list", action="store_true", help="list the views and what each says")
    parser.add_argument("--show", metavar="VIEW", help="print what a view says, and its SQL")
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        dest="views",
        type=Path,
        metavar="DIR|FILE",
        help="views of your own: .sql files, each named as its view",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="--format json"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write here, not on stdout"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print the rows of a query, open a prompt, or document the library."""
    if arguments.list or arguments.show:
        return _document(arguments)
    from toolkit import analytics

    traces, query = _traces_and_query(arguments.words)
    run = analytics.open(traces, views=arguments.views)
    if query is None and sys.stdin.isatty():
        from toolkit.commands.prompt import prompt

        prompt(run, arguments.format)
    elif query is None or query == "-":
        _print_all(run, run.split(sys.stdin.read()), arguments)
    else:
        _print_all(run, [query], arguments)
    return 0


def _print_all(run: Run, queries: Sequence[str], arguments: argparse.Namespace) -> None:
    from toolkit import tables

    if not queries:
        raise InputError.one("stdin", "", "expected a query", "nothing")
    if len(queries) > 1 and (arguments.output or arguments.format == "parquet"):
        got = f"{len(queries)} queries"
        raise InputError.one("stdin", "", "expected one query for one file", got)
    for query in queries:
        relation = run.sql(query)
        try:
            tables.write(relation, arguments.format, arguments.output)
        except InputError as error:
            raise run.damage() or error from error


def _traces_and_query(words: Sequence[str]) -> tuple[list[Path], str | None]:
    """Return the folders that the words name, patterns spelt out, and the query after them."""
    query: str | None = None
    if words and not _names_traces(words[-1]):
        *words, query = words
    if not words:
        raise InputError.one(
            "toolkit sql",
            "",
            "expected a trace and a query, or --list",
            way_out='for example `toolkit sql traces/RUN "SELECT * FROM run_summary"`',
        )
    return [folder for word in words for folder in _folders(word)], query


def _names_traces(word: str) -> bool:
    """Return whether the last word is a trace: a query has spaces, and is no folder."""
    # os.path: a query may be too long for a file name, which pathlib takes for an error.
    return os.path.exists(word) or not (word in {"", "-"} or any(map(str.isspace, word)))


def _folders(word: str) -> list[Path]:
    """Return the folder a word names, or the runs among what a pattern matches."""
    if os.path.exists(word) or not glob.has_magic(word):
        return [Path(word)]
    found = [Path(path) for path in sorted(glob.glob(word))]
    runs = [path for path in found if (path / "manifest.json").is_file()]
    if not runs:
        got = f"{len(found)} files and folders that are none" if found else "no match"
        raise InputError.one(word, "", "expected a pattern that matches runs", got)
    return runs


# -- the library ---------------------------------------------------------------------------------


def _document(arguments: argparse.Namespace) -> int:
    from toolkit import tables
    from toolkit.analytics import library
    from toolkit.analytics.own_views import read_views

    views = (*library(), *(own.view for own in read_views(arguments.views)))
    if arguments.show:
        views = (find(arguments.show, views),)
    if arguments.format == "json":
        tables.print_json([asdict(view) for view in views])
    else:
        print("\n".join(describe(views[0]) if arguments.show else listing(views)))
    return 0


def find(name: str, views: Sequence[View]) -> View:
    """Return the view of that name.

    Raises:
        InputError: there is none; it names what comes closest.
    """
    from difflib import get_close_matches

    named = {view.name: view for view in views}
    if name not in named:
        close = get_close_matches(name, named, 1)
        way_out = f"did you mean {close[0]}?" if close else "`toolkit sql --list` lists the views"
        raise InputError.one("toolkit sql", "", "expected a view of the library", name, way_out)
    return named[name]


def listing(views: Sequence[View]) -> list[str]:
    """Return every view and what it says as lines, layer by layer."""
    lines: list[str] = []
    layer = ""
    for view in views:
        if view.layer != layer:
            layer = view.layer
            lines.append(layer)
        lines.append(f"  {view.name}")
        lines.append(fill(view.text, 80, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return lines


def describe(view: View) -> list[str]:
    """Return what a view says, and its SQL, as lines."""
    parts = [
        ("", view.doc),
        ("Grain: ", view.grain),
        ("Units: ", view.units),
        ("Definition: ", view.definition),
        ("Reads: ", ", ".join(view.reads)),
    ]
    said = [
        fill(lead + text, 80, subsequent_indent="  ", break_long_words=False)
        for lead, text in parts
        if text
    ]
    code = [line for line in view.sql.splitlines() if not line.startswith("--")]
    return [f"{view.name} ({view.layer})", "", *said, "", *code]
