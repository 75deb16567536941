"""`toolkit report`: the report of traces, made again from them alone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.analytics import Run

__all__ = ["ABOUT", "add_arguments", "execute", "show", "show_json"]

ABOUT = "make the report again from traces alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "trace", nargs="+", type=Path, metavar="TRACE", help="folders of runs, side by side"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="default: reports/NAME beside traces/"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, one per run")


def execute(arguments: argparse.Namespace) -> int:
    """Write the report of the traces named."""
    import toolkit
    from toolkit.runs import write_report

    runs = [toolkit.open(path) for path in arguments.trace]
    folder = write_report(runs, arguments.output)
    if arguments.json:
        show_json(runs)
    else:
        show(runs, folder)
    return 0


def show(runs: Sequence[Run], folder: Path | None) -> None:
    """Print the summary of runs, and where their report is."""
    from rich.console import Console

    from toolkit import assertions, report

    report.terminal(runs, Console(), outcomes=assertions.outcomes(runs))
    if folder is not None:
        print(f"report: {folder / 'report.html'}")


def show_json(runs: Sequence[Run], more: Sequence[Mapping[str, Any]] = ()) -> None:
    """Print runs as a list of objects, `more` objects after them."""
    from toolkit import assertions, report, tables

    objects = [report.summary(run, assertions.outcomes([run])) for run in runs]
    tables.print_json([*objects, *more])
