"""`toolkit run`: scenarios to traces, reports and what stands on the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.commands.check import is_trace
from toolkit.commands.report import show, show_json
from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.analytics import Run
    from toolkit.scenario import Scenario

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "simulate scenarios, write their traces, report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "scenario",
        nargs="+",
        metavar="SCENARIO",
        help="a .toml file, or the manifest.json of a run to repeat",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--variant", metavar="NAME", help="only this variant")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="put traces/ and reports/ here"
    )
    parser.add_argument(
        "--level", metavar="LEVEL", help="how much of the trace to keep: full, steps, requests"
    )
    parser.add_argument("--no-report", action="store_true", help="write traces only")
    parser.add_argument("--json", action="store_true", help="print a list of objects, one per run")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    many = parser.add_argument_group("where the scenario has a [sweep] or [replications]")
    many.add_argument(
        "--executor",
        default="processes",
        metavar="KIND",
        help="serial, processes (default) or, of a sweep, dask; the results are the same bytes",
    )
    many.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each core)"
    )
    sweep = parser.add_argument_group("where the scenario has a [sweep]")
    sweep.add_argument("--address", metavar="URL", help="of the Dask scheduler, tcp://HOST:PORT")
    sweep.add_argument(
        "--study",
        metavar="NAME,NAME",
        help="also under these assumptions of its [[sweep.study]], side by side; all: every one",
    )
    sweep.add_argument(
        "--trace-points",
        default="",
        metavar="N,M",
        help="keep the traces of these points besides the winners'",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Simulate every scenario, write what comes of it, print the answer."""
    import toolkit
    from toolkit import assertions

    if arguments.study is not None:
        return _run_studies(arguments)
    sets = [*arguments.set, *([f'trace.level="{arguments.level}"'] if arguments.level else [])]
    scenarios = [
        toolkit.load(_document(Path(source)), sets=sets, variant=arguments.variant)
        for source in arguments.scenario
    ]
    for scenario in scenarios:
        assertions.require_answerable(scenario)
    runs: list[Run] = []
    swept: list[dict[str, Any]] = []
    for scenario in scenarios:
        if scenario.sweep is not None:
            swept.append(_run_sweep(scenario, arguments))
            continue
        done = toolkit.run(
            scenario,
            out=arguments.out,
            report=False,
            quiet=arguments.quiet,
            executor=arguments.executor,
            workers=arguments.workers,
        )
        these = list(done.values()) if isinstance(done, Mapping) else [done]
        folder = None if arguments.no_report else _write_report(these, arguments)
        if not arguments.json:
            show(these, folder)
        runs += these
    if arguments.json:
        show_json(runs, swept)
    assertions.require_held(assertions.outcomes(runs))
    return 0


def _run_sweep(scenario: Scenario, arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every point of a sweep; print what won, or return it as an object for `--json`."""
    import toolkit
    from toolkit.planner import show_sweep

    points = [part.strip() for part in arguments.trace_points.split(",") if part.strip()]
    if wrong := [part for part in points if not part.isdecimal()]:
        expected = "expected numbers of points, such as 3,17"
        raise InputError.one("--trace-points", "", expected, wrong[0])
    done = toolkit.sweep(
        scenario,
        arguments.out,
        report=not arguments.no_report,
        quiet=arguments.quiet,
        executor=arguments.executor,
        workers=arguments.workers,
        address=arguments.address,
        trace_points=[int(part) for part in points],
    )
    if not arguments.json:
        sys.stdout.writelines(show_sweep.terminal(done, page=not arguments.no_report))
    return show_sweep.summary(done)


def _run_studies(arguments: argparse.Namespace) -> int:
    """Play sweeps under other assumptions, and print what moved."""
    from toolkit import tables
    from toolkit.planner import show_studies
    from toolkit.planner.studies import studies

    names = [name.strip() for name in arguments.study.split(",") if name.strip()]
    found = []
    for source in arguments.scenario:
        done = studies(
            _document(Path(source)),
            names,
            arguments.out,
            sets=arguments.set,
            variant=arguments.variant,
            report=not arguments.no_report,
            quiet=arguments.quiet,
            executor=arguments.executor,
            workers=arguments.workers,
            address=arguments.address,
        )
        found.append(show_studies.summary(done))
        if not arguments.json:
            sys.stdout.writelines(show_studies.terminal(done))
    if arguments.json:
        tables.print_json(found)
    return 0


def _document(source: Path) -> Path | Mapping[str, Any]:
    """Return a scenario's file, or the scenario inside the manifest of a run."""
    if not is_trace(source):
        return source
    from toolkit.trace.store import Store

    document: Mapping[str, Any] = Store(source).manifest["scenario"]
    return document


def _write_report(runs: Sequence[Run], arguments: argparse.Namespace) -> Path:
    from toolkit.progress import bar
    from toolkit.runs import write_report

    with bar("writing the report", quiet=arguments.quiet):
        return write_report(runs)
