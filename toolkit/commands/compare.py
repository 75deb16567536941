"""`toolkit compare`: what changed between runs, by how much, and where the time and money went."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import TargetMissedError

if TYPE_CHECKING:
    from toolkit.analytics.comparison import Comparison
    from toolkit.analytics.limits import Missed

__all__ = ["ABOUT", "TOGETHER", "add_arguments", "execute"]

ABOUT = "say what changed between runs, by how much, and where the time and money went"

TOGETHER = "together.pftrace"
"""The runs under each other on one clock, beside the page."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "trace",
        nargs="+",
        type=Path,
        metavar="TRACE",
        help="folders of runs; all are compared with the first. Runs that differ in nothing but "
        "their seed are one side",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help=f"write a page, its figures and tables, and {TOGETHER} into this folder",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="LIMIT",
        help='exit 1 if so, as "e2e_p99_ms > +5%%" or "cost_usd > 12"; may be repeated',
    )
    parser.add_argument("--all", action="store_true", help="every metric and every key")
    parser.add_argument("--json", action="store_true", help="print one object")


def execute(arguments: argparse.Namespace) -> int:
    """Compare, print, write, and fail where a limit is broken."""
    from toolkit.analytics import limits
    from toolkit.analytics.comparison import compare

    stated = limits.parse(arguments.fail_if)
    comparison = compare(arguments.trace)
    rows = comparison["metric_changes"].to_dicts()
    limits.require_known(stated, [row["metric"] for row in rows if row["side"] == 0])
    broken = limits.missed(stated, rows)
    if arguments.output is not None:
        _write(comparison, arguments.output)
    _show(comparison, arguments, broken)
    if broken:
        from toolkit.report.compared import missed

        raise TargetMissedError("\n".join(f"missed: {missed(it, comparison)}" for it in broken))
    return 0


def _show(comparison: Comparison, arguments: argparse.Namespace, broken: Sequence[Missed]) -> None:
    if arguments.json:
        from toolkit import tables

        said = [{"limit": it.limit.text, "side": it.side, "value": it.value} for it in broken]
        tables.print_json(comparison.as_json() | {"missed": said})
        return
    from rich.console import Console

    from toolkit.report.compare_terminal import terminal

    terminal(comparison, Console(), everything=arguments.all)
    if arguments.output is not None:
        print(f"page: {arguments.output / 'report.html'}")
        print(f"both in one picture: toolkit view {arguments.output / TOGETHER}")


def _write(comparison: Comparison, folder: Path) -> None:
    from toolkit.report.compare_page import write
    from toolkit.trace.perfetto import render_together
    from toolkit.trace.store import Store

    stores = [Store(Path(side.path)) for side in comparison.sides]
    labels = [side.label for side in comparison.sides]

    def draw(part: Path) -> None:
        render_together(stores, labels, part / TOGETHER)

    write(comparison, folder, finish=draw)
