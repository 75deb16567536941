"""`toolkit catalog`: what the toolkit knows of models, machines and links, and from where."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.catalog import Entry

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "list models, machines, devices, links, with their sources"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="every figure of this entry, with its source"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def execute(arguments: argparse.Namespace) -> int:
    """List the entries, or print one with its sources."""
    from toolkit import catalog, tables

    if arguments.name is None:
        columns = ("kind", "name", "confidence")
        rows = [(entry.kind, entry.name, entry.default.confidence) for entry in catalog.entries()]
        if arguments.json:
            tables.print_json([dict(zip(columns, row, strict=True)) for row in rows])
        else:
            sys.stdout.writelines(tables.aligned(columns, rows))
    elif arguments.json:
        tables.print_json([asdict(row) for row in catalog.describe(arguments.name)])
    else:
        _print_entry(catalog.find(arguments.name))
    return 0


def _print_entry(entry: Entry) -> None:
    """Print an entry's figures, and below them the sources they refer to by number."""
    from toolkit import tables

    rows = list(entry.rows())
    sources = list(dict.fromkeys((row.confidence, row.source) for row in rows))
    print(f"{entry.name} ({entry.kind})")
    sys.stdout.writelines(
        tables.aligned(
            ("figure", "value", "unit", "source"),
            [
                (
                    row.key,
                    str(row.value),
                    row.unit,
                    f"[{1 + sources.index((row.confidence, row.source))}]",
                )
                for row in rows
            ],
        )
    )
    for number, (confidence, source) in enumerate(sources, start=1):
        print(f"[{number}] {confidence}: {source}")
