"""Studies on a terminal, and as an object for ``--json``."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import Any

from toolkit.planner import show_sweep
from toolkit.planner.studies import Studied
from toolkit.planner.study_report import change_words, group_words, speedups, told
from toolkit.planner.turning import Turn
from toolkit.tables import aligned

__all__ = ["summary", "terminal"]


def terminal(studied: Studied) -> Iterator[str]:
    """Yield who leads under each assumption, what would change that, and where everything is."""
    sweeps = studied.results()
    for name, text in told(sweeps):
        said = fill(f"{name}: {text}", 80, subsequent_indent="  ")
        yield said.replace("\N{NO-BREAK SPACE}", " ") + "\n"
    pairs = list(dict.fromkeys(pair for each in sweeps.values() for pair in speedups(each)))
    if pairs:
        yield "\nby how many times a family is better than another at most\n"
        rows = []
        for name, results in sweeps.items():
            found = speedups(results)
            cells = [f"{found[it][0]:.2f} at {found[it][1]}" if it in found else "" for it in pairs]
            rows.append([name, *cells])
        yield from aligned(["", *(f"{better} / {other}" for better, other in pairs)], rows)
    for study in studied.asked:
        if study.vary:
            yield f"\nchange of {study.vary} from which another family leads\n"
            yield from aligned(["", "leads", "lower", "higher"], [*_turns(studied, study.name)])
    yield f"\nreport: {studied.folder / 'report.html'}\n"
    for name, swept in {"plain": studied.plain, **studied.swept}.items():
        yield f"{name}: {swept.folder}\n"


def _turns(studied: Studied, name: str) -> Iterator[list[str]]:
    (study,) = (each for each in studied.asked if each.name == name)
    for turn in studied.turns[name]:
        sides = zip((turn.lower, turn.upper), study.between, strict=True)
        told = [change_words(turn.own, found, end) for found, end in sides]
        cells = [cell.replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ") for cell in told]
        yield [group_words(turn.lead.group) or "all", turn.lead.winner.family, *cells]


def summary(studied: Studied) -> dict[str, Any]:
    """Return the sweeps, the changes of leaders and where the report is, as plain values."""
    return {
        "report": str(studied.folder / "report.html"),
        "plain": show_sweep.summary(studied.plain),
        "studies": {name: show_sweep.summary(each) for name, each in studied.swept.items()},
        "turns": {name: [_turn(turn) for turn in found] for name, found in studied.turns.items()},
    }


def _turn(turn: Turn) -> dict[str, Any]:
    sides = {
        side: None if found is None else {"value": found[0], "family": found[1]}
        for side, found in (("lower", turn.lower), ("upper", turn.upper))
    }
    lead = turn.lead
    return {
        "group": dict(lead.group),
        "family": lead.winner.family,
        "ahead": lead.ahead,
        "runner_up": lead.runner_up,
        "own": turn.own,
        **sides,
    }
