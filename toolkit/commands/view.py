"""`toolkit view`: a trace in the Perfetto UI, offline."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.commands.selection import add_selection, selection

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "open a trace in the Perfetto UI, offline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "trace", type=Path, metavar="TRACE", help="folder of a run, or a trace file"
    )
    add_selection(parser)
    parser.add_argument(
        "--at", metavar="N|START:END", help="open at the life of this request, or at this stretch"
    )
    parser.add_argument("--coarse", action="store_true", help="merge what is shorter than a pixel")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="default: any free one")


def execute(arguments: argparse.Namespace) -> int:
    """Serve the trace until interrupted."""
    from toolkit.trace.view import view

    view(
        arguments.trace,
        selection(arguments),
        at=arguments.at,
        port=arguments.port,
        browser=not arguments.no_browser,
        max_spans=arguments.max_spans,
        coarse=arguments.coarse,
    )
    return 0
