"""`toolkit sql`: a query over traces, and the library of views."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from textwrap import fill

from toolkit.errors import InputError

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "query a trace"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    from toolkit.tables import FORMATS

    parser.add_argument(
        "words",
        nargs="*",
        metavar="TRACE... QUERY",
        help="folders of runs, side by side, then one SQL query (- reads it from stdin)",
    )
    parser.add_argument("--list", action="store_true", help="list the views and what each says")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="--format json"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write here, not on stdout"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print the rows of a query, or list the views."""
    if arguments.list:
        return _list_views(arguments.format)
    from toolkit import analytics, tables

    *traces, query = arguments.words or [""]
    if not traces:
        raise InputError.one(
            "toolkit sql",
            "",
            "expected a trace and a query, or --list",
            way_out='for example `toolkit sql traces/RUN "SELECT * FROM run_summary"`',
        )
    query = sys.stdin.read() if query == "-" else query
    tables.write(analytics.open(traces).sql(query), arguments.format, arguments.output)
    return 0


def _list_views(form: str) -> int:
    from toolkit import analytics, tables

    if form == "json":
        tables.print_json([asdict(view) for view in analytics.library()])
        return 0
    for layer in analytics.LAYERS:
        print(layer)
        for view in analytics.library():
            if view.layer == layer:
                print(f"  {view.name}")
                print(fill(view.text, 80, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return 0
