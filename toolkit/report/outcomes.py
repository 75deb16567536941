"""What came of the assertions of a scenario, in the words of a page and of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolkit.report.document import Block, Lines, Paragraph

__all__ = ["Offender", "Outcome", "blocks", "lines", "summary"]


@dataclass(frozen=True, slots=True)
class Offender:
    """A row that an assertion does not allow, and where it stands in the timeline.

    ``command`` opens the viewer at its stretch of time; ``link`` is the address
    of that stretch once the viewer serves the trace.  Both are empty for a row
    that names no time and no request.
    """

    words: str
    command: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether one run kept one assertion."""

    run: str
    label: str
    name: str
    held: bool
    words: str
    """What was asked, and what was found."""
    offenders: tuple[Offender, ...] = ()
    more: int = 0
    """Rows beyond those shown."""
    serve: str = field(default="", compare=False)
    """Command that serves the trace where the links lead."""


def blocks(outcomes: Sequence[Outcome]) -> Iterator[Block]:
    """Yield the section of a page: every assertion, those missed with their offenders."""
    missed = [each for each in outcomes if not each.held]
    said = "Every assertion holds." if not missed else f"{len(missed)} of {len(outcomes)} missed."
    yield Paragraph(said, "lead")
    yield Lines([(_mark(each), f"{each.name} ({each.label}): {each.words}") for each in outcomes])
    for each in missed:
        if each.offenders:
            yield Paragraph(f"{each.name} ({each.label}), the offenders{_more(each)}:")
            yield Lines([(at.words, _where(at)) for at in each.offenders])
    if any(offender.link for each in missed for offender in each.offenders):
        serve = dict.fromkeys(f"`{each.serve}`" for each in missed if each.serve)
        yield Paragraph(
            f"A command opens the timeline at its row. The links do so while {' or '.join(serve)} "
            "is running.",
            "note",
        )


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the same as lines of a terminal."""
    for each in outcomes:
        yield f"{_mark(each)}  {each.name} ({each.label}): {each.words}"
        for offender in each.offenders:
            yield f"        {offender.words}"
            if offender.command:
                yield f"          {offender.command}"
        if each.more:
            yield f"        and {each.more:,} more"


def summary(outcomes: Sequence[Outcome], run: str) -> list[dict[str, Any]]:
    """Return what came of one run's assertions as plain values, for JSON."""
    return [
        {
            "name": each.name,
            "held": each.held,
            "words": each.words,
            "offenders": [
                {"words": at.words, "command": at.command, "link": at.link} for at in each.offenders
            ],
            "more": each.more,
        }
        for each in outcomes
        if each.run == run
    ]


def _mark(outcome: Outcome) -> str:
    return "held" if outcome.held else "MISSED"


def _more(outcome: Outcome) -> str:
    shown = len(outcome.offenders)
    return f", {shown} of {shown + outcome.more:,}" if outcome.more else ""


def _where(offender: Offender) -> str:
    return f"`{offender.command}` {offender.link}".strip() if offender.command else ""
