"""`toolkit explain-run`: what dominates a run, and what would change it."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "say what dominates a run, and what would change it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "trace", nargs="+", type=Path, metavar="TRACE", help="folders of runs, one after the other"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, one per run")


def execute(arguments: argparse.Namespace) -> int:
    """Print three sentences for each run."""
    from textwrap import fill

    from toolkit import analytics, tables
    from toolkit.report.explaining import explain

    with analytics.open(arguments.trace, kept=analytics.SHARED) as opened:
        explanations = explain(opened)
    if arguments.json:
        tables.print_json([each.as_dict() for each in explanations])
        return 0
    for at, each in enumerate(explanations):
        print(each.run if at == 0 else f"\n{each.run}")
        for sentence in each.sentences:
            print(fill(sentence, 80, initial_indent="  ", subsequent_indent="  "))
    return 0
