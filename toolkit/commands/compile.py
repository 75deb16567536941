"""`toolkit compile`: compile the loops before they are needed."""

from __future__ import annotations

import argparse

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "compile the loops of simulation and rendering now, not at first use"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def execute(arguments: argparse.Namespace) -> int:
    """Compile what is not compiled yet."""
    from toolkit.progress import bar
    from toolkit.runs import compile_loops

    with bar("compiling", quiet=arguments.quiet):
        compile_loops()
    return 0
