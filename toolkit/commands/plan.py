"""`toolkit plan`: how to split machines, by formula and by simulation."""

from __future__ import annotations

import argparse

from toolkit.errors import InputError

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "split the machines by formula, and simulate every layout"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("scenario", metavar="SCENARIO", help="a .toml file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--variant", metavar="NAME", help="of this variant (default: the first)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that simulate (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print an object with every option")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def execute(arguments: argparse.Namespace) -> int:
    """Print formula, published answer and simulation side by side."""
    import toolkit
    from toolkit import tables
    from toolkit.planner.plan import plan

    if arguments.workers < 1:
        expected = "expected at least one process"
        raise InputError.one("toolkit plan", "--workers", expected, f"{arguments.workers}")
    scenario = toolkit.load(arguments.scenario, sets=arguments.set, variant=arguments.variant)
    answer = plan(scenario, workers=arguments.workers, quiet=arguments.quiet)
    if arguments.json:
        tables.print_json(answer.as_dict())
    else:
        from rich.console import Console

        from toolkit.planner.show_plan import show

        show(answer, Console())
    return 0
