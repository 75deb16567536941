"""`toolkit check`: the mistakes of a scenario, or the broken invariants of a trace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import FaultError, ToolkitError

__all__ = ["ABOUT", "add_arguments", "execute", "is_trace"]

ABOUT = "validate scenarios, or the invariants of traces"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "path", nargs="+", metavar="SCENARIO|TRACE", help="a .toml file or a folder of a run"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def execute(arguments: argparse.Namespace) -> int:
    """Say what is wrong with each path, or that it is good."""
    from toolkit import tables

    verdicts = [_verdict(Path(path), arguments.set) for path in arguments.path]
    if arguments.json:
        tables.print_json(verdicts)
    else:
        for verdict in verdicts:
            good = verdict["exit_code"] == 0
            print(verdict["words"], file=sys.stdout if good else sys.stderr)
    return max(int(verdict["exit_code"]) for verdict in verdicts)


def _verdict(path: Path, sets: Sequence[str]) -> dict[str, Any]:
    """Return what is to be said of a scenario or trace, and the exit code that goes with it."""
    try:
        words = _check_trace(path) if is_trace(path) else _check_scenario(path, sets)
    except ToolkitError as error:
        return {"path": str(path), "exit_code": error.exit_code, "words": str(error)}
    return {"path": str(path), "exit_code": 0, "words": words}


def is_trace(path: Path) -> bool:
    """Return whether a path means a run on disk rather than a scenario."""
    return path.is_dir() or path.name == "manifest.json"


def _check_scenario(path: Path, sets: Sequence[str]) -> str:
    import toolkit
    from toolkit import assertions

    scenario = toolkit.load(path, sets=sets)
    if scenario.sweep is not None:
        from toolkit.planner.sweep import check

        return f"{path}: good; {check(scenario)}"
    assertions.require_answerable(scenario)
    variants = ", ".join(str(variant.variant) for variant in scenario.variants)
    return f"{path}: good" + (f"; variants {variants}" if variants else "")


def _check_trace(path: Path) -> str:
    from toolkit import analytics

    with analytics.open(path) as opened:
        broken = opened.check()
    if broken:
        lines = [f"{path}: {len(broken)} broken invariant{'s'[: len(broken) > 1]}"]
        lines += [f"  {each.name}: {len(each.rows)} rows\n      {each.doc}" for each in broken]
        raise FaultError("\n".join(lines))
    return f"{path}: every invariant holds"
