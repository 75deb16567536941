"""`toolkit capacity`: how much load deployments hold, and which holds a load with least."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.errors import InputError

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "search the highest rate that meets the limits, and what holds a rate with least"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("scenario", metavar="SCENARIO", help="a .toml file with limits in [slo]")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--variant", metavar="NAME", help="only this variant")
    parser.add_argument(
        "--rate",
        type=float,
        metavar="R",
        help="also say which deployment holds R requests per second with least",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of the page, its figures and tables (default: reports/NAME-capacity)",
    )
    parser.add_argument("--no-report", action="store_true", help="write nothing")
    parser.add_argument("--all", action="store_true", help="show every rate that was played")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument(
        "--executor",
        default="processes",
        metavar="KIND",
        help="serial or processes (default); the results are the same",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each core)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def execute(arguments: argparse.Namespace) -> int:
    """Search, write the page, print the answer."""
    import toolkit
    from toolkit import tables
    from toolkit.planner import show_capacity

    rate: float | None = arguments.rate
    if rate is not None and not 0 < rate < 1e9:
        expected = "expected requests per second, above 0 and below 1e9"
        raise InputError.one("toolkit capacity", "--rate", expected, f"{rate:g}")
    if arguments.executor == "dask":
        raise InputError.one(
            "toolkit capacity", "--executor", "expected serial or processes", "dask"
        )
    scenario = toolkit.load(arguments.scenario, sets=arguments.set, variant=arguments.variant)
    searched = toolkit.capacity(
        scenario,
        rate_per_s=rate,
        executor=arguments.executor,
        workers=arguments.workers,
        quiet=arguments.quiet,
    )
    page = None
    if not arguments.no_report:
        from toolkit.planner.capacity_report import write_report

        folder = arguments.output or Path("reports") / f"{scenario.name}-capacity"
        page = write_report(searched, folder)
    if arguments.json:
        tables.print_json(show_capacity.summary(searched))
        return 0
    from rich.console import Console

    show_capacity.show(searched, Console(), every=arguments.all)
    if page is not None:
        print(f"\nreport: {page}")
    return 0
