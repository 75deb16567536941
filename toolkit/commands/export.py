"""`toolkit export`: a trace, or a part of it, as a file for a viewer."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.commands.selection import add_selection, selection

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "write a trace, or a part of it, for a viewer"

EXPORTS = {"perfetto": ".pftrace", "chrome": ".json.gz"}
"""Each rendering, and how its files are called."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("trace", type=Path, metavar="TRACE", help="folder of a run")
    parser.add_argument("--to", choices=EXPORTS, required=True, help="which rendering")
    add_selection(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: RUN.pftrace, RUN.json.gz"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Write the rendering asked for."""
    from toolkit.trace import chrome, perfetto
    from toolkit.trace.store import Store

    store = Store(arguments.trace)
    file = arguments.output or Path(f"{store.folder.resolve().name}{EXPORTS[arguments.to]}")
    render = {"perfetto": perfetto.render, "chrome": chrome.render}[arguments.to]
    picture = render(store, file, selection(arguments), max_spans=arguments.max_spans)
    print(f"{file}: {picture.spans} spans")
    return 0
