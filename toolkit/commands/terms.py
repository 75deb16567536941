"""`toolkit terms`: what TTFT, TPOT, ITL and the rest mean, here and in other tools."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING

from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.analytics.terms import Term, Tool

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "what the field's words mean, tool by tool"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("term", nargs="?", metavar="TERM", help="only this one, such as TPOT")
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def execute(arguments: argparse.Namespace) -> int:
    """Print the definitions side by side."""
    from toolkit import tables
    from toolkit.analytics.terms import terms, tools

    chosen = terms() if arguments.term is None else (_find(arguments.term, terms()),)
    if arguments.json:
        tables.print_json([asdict(term) for term in chosen])
        return 0
    for term in chosen:
        print("\n".join(_lines(term, tools())))
    print("sources")
    for tool in tools():
        print(_entry(tool.name, tool.source))
    return 0


def _find(name: str, terms: tuple[Term, ...]) -> Term:
    from difflib import get_close_matches

    named = {term.name.lower(): term for term in terms}
    if name.lower() not in named:
        close = get_close_matches(name.lower(), named, 1)
        known = ", ".join(term.name for term in terms)
        way_out = f"did you mean {named[close[0]].name}?" if close else f"there are {known}"
        raise InputError.one("toolkit terms", "", "expected a term", name, way_out)
    return named[name.lower()]


def _lines(term: Term, tools: tuple[Tool, ...]) -> Iterator[str]:
    yield f"{term.name}: {term.about}"
    for tool in tools:
        yield _entry(tool.name, term.meanings[tool.key])
    yield _entry("differs", term.differs)
    yield ""


def _entry(name: str, text: str) -> str:
    return fill(f"  {name:<10}{text}", 80, subsequent_indent=" " * 12, break_on_hyphens=False)
