"""`toolkit why`: where a request's time went, behind whom it waited, and what it hung on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.analytics import Run
    from toolkit.analytics.why import Why

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "say why requests were late: their time taken apart, with the blockers named"

PORT = 9001
"""Where the printed address expects `toolkit view` to listen."""

TOP = 5
"""Blockers of the whole run that are listed."""

# In a queue everybody waits for the one in front, who mostly waits too.
_BLOCKERS = """
    FROM top_blockers
    WHERE run = $run AND cause NOT IN ('queue', 'packing')
    ORDER BY rank
    LIMIT $top
"""

FIGURES = (".svg", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("trace", type=Path, metavar="TRACE", help="folder of a run")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--request", metavar="N", type=int, action="append", help="this one; may be repeated"
    )
    which.add_argument("--slowest", metavar="N", type=int, help="the N with the longest time")
    which.add_argument(
        "--percentile",
        metavar="P",
        type=float,
        default=99.0,
        help="the one at this percentile of end-to-end time (default: 99)",
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, in ns")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="draw it too: a file .svg or .png"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Tell the story of the requests chosen."""
    from toolkit import analytics, tables

    if arguments.output is not None and arguments.output.suffix not in FIGURES:
        raise InputError.one(
            "--output", "", "expected a file that ends in .svg or .png", str(arguments.output)
        )
    with analytics.open(arguments.trace) as run:
        stories = [run.why(request) for request in _chosen(run, arguments)]
        if arguments.json:
            tables.print_json([why.as_json() | {"view": _view(why)} for why in stories])
        else:
            _tell(run, stories)
    if arguments.output is not None:
        _draw(stories, arguments.output)
    return 0


def _chosen(run: Run, arguments: argparse.Namespace) -> Sequence[int]:
    from toolkit.analytics.why import at_percentile, slowest

    if arguments.request is not None:
        return list(dict.fromkeys(arguments.request))
    if arguments.slowest is not None:
        return slowest(run, arguments.slowest)
    return [at_percentile(run, arguments.percentile)]


def _tell(run: Run, stories: Sequence[Why]) -> None:
    from rich.console import Console

    from toolkit.report import lateness

    console = Console()
    if len(stories) == 1:
        view = _view(stories[0])
        lateness.single(
            stories[0],
            console,
            [f"look: {view['command']}", f"with --port {PORT}: {view['link']}"],
        )
        return
    look = f"one of them in full: toolkit why {run.path} --request {stories[0].number}"
    lateness.several(stories, console, [look])
    lateness.blockers(run.frame(_BLOCKERS, run=run.name, top=TOP).to_dicts(), console)


def _view(why: Why) -> dict[str, Any]:
    """Return how to see a request in the Perfetto UI: the command, and the address it opens."""
    from toolkit.trace.view import around, link

    name = f"{Path(why.trace).resolve().name}.pftrace"
    return {
        "command": f"toolkit view {why.trace} --at {why.number}",
        "link": link(PORT, name, around(why.window_ns)),
    }


def _draw(stories: Sequence[Why], file: Path) -> None:
    from toolkit.report import late_figures, style
    from toolkit.trace.output import replacing

    with style.look():
        one = len(stories) == 1
        drawn = late_figures.life(stories[0]) if one else late_figures.side_by_side(stories)
        picture = style.png(drawn) if file.suffix == ".png" else style.svg(drawn, "why").encode()
    with replacing(file) as sink:
        sink.write(picture)
