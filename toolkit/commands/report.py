"""`toolkit report`: the report of traces, made again from them alone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import InputError

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
    parser.add_argument(
        "--dialect",
        metavar="TOOL",
        help="print the figures as vllm, aiperf, guidellm, mlperf or dejavu define them, and write "
        "no report",
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, one per run")


def execute(arguments: argparse.Namespace) -> int:
    """Write the report of the traces named."""
    import toolkit
    from toolkit.runs import write_report

    runs = [toolkit.open(path) for path in arguments.trace]
    if arguments.dialect is not None:
        return _in_dialect(runs, arguments.dialect, as_json=arguments.json)
    folder = write_report(runs, arguments.output)
    if arguments.json:
        show_json(runs)
    else:
        show(runs, folder)
    return 0


def _in_dialect(runs: Sequence[Run], dialect: str, *, as_json: bool) -> int:
    """Print runs in another tool's definitions."""
    from rich.console import Console

    from toolkit import tables
    from toolkit.analytics.terms import DIALECTS, tools
    from toolkit.report.dialect import figures
    from toolkit.report.dialect import show as show_dialect

    if dialect not in DIALECTS:
        raise InputError.one("--dialect", "", f"expected {', '.join(DIALECTS)}", dialect)
    if as_json:
        tables.print_json(
            [
                {"name": run.name, "dialect": dialect, "figures": figures(run, dialect)}
                for run in runs
            ]
        )
        return 0
    names = {tool.key: tool.name for tool in tools()}
    show_dialect(runs, dialect, names[dialect], Console())
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
