"""The options that choose a part of a trace, for `export` and `view`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.trace.selection import Selection

__all__ = ["add_selection", "selection"]


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--window", metavar="START:END", help="only this stretch, such as 10s:20s")
    parser.add_argument("--machines", metavar="N,N-N", help="only these machines, by number")
    parser.add_argument("--requests", metavar="N,N-N", help="only these requests, by number")
    parser.add_argument(
        "--max-spans",
        type=int,
        default=2_000_000,
        metavar="N",
        help="refuse more (default: 2 million)",
    )


def selection(arguments: argparse.Namespace) -> Selection:
    """Return what the options choose."""
    from toolkit.trace.selection import Selection

    return Selection.parse(arguments.window, arguments.machines, arguments.requests)
