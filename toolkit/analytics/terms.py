"""What the field's words mean here and in the tools whose definitions the library has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import tomli

__all__ = ["DIALECTS", "Term", "Tool", "terms", "tools"]

DIALECTS = ("vllm", "aiperf", "guidellm", "mlperf", "dejavu")
"""Tools in whose definitions a run can be told: the views ``dialect_<name>``."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, and where its definitions were read."""

    key: str
    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Term:
    """A word, what each tool means by it (by the tool's key), and what differs."""

    name: str
    about: str
    meanings: Mapping[str, str]
    differs: str


@cache
def _document() -> dict[str, list[dict[str, str]]]:
    text = (files(__package__) / "terms.toml").read_text(encoding="utf-8")
    return tomli.loads(text)


def tools() -> tuple[Tool, ...]:
    """Return the tools, ours first."""
    return tuple(Tool(**each) for each in _document()["tool"])


def terms() -> tuple[Term, ...]:
    """Return every term."""
    keys = [tool.key for tool in tools()]
    return tuple(
        Term(each["name"], each["about"], {key: each[key] for key in keys}, each["differs"])
        for each in _document()["term"]
    )
