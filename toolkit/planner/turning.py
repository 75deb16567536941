"""How wrong a figure may be before another family wins: a search outward from what is stated.

In each group of a sweep (each number of machines, say) one family leads.  The
key that is varied is moved away from its own value, downwards and upwards, in
equal ratios; where the lead has changed, the change is found by halving the
last ratio.  The lead may come back further out: what is reported is the change
nearest to the scenario's own value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from toolkit.planner import points
from toolkit.planner.bisection import narrowed
from toolkit.planner.executors import completed
from toolkit.planner.ledger import key_of
from toolkit.planner.metrics import views_of
from toolkit.planner.points import Task
from toolkit.planner.results import Results, Winner, collect
from toolkit.scenario.model import Scenario
from toolkit.scenario.sweep import Study

__all__ = ["Lead", "Turn", "leads", "probe", "turning_points"]

STEPS = 6
"""Equal ratios in which each side is searched."""

CLOSE = 1.01
"""Ratio of two values between which a change is known closely enough: one per cent."""

Probe = Callable[[float, Mapping[str, Any]], "str | None"]
"""The family that leads a group where the key has this value, None where nothing fits."""


@dataclass(frozen=True, slots=True)
class Lead:
    """Who leads a group: the best family's winner, and by which factor the next is worse."""

    group: Mapping[str, Any]
    winner: Winner
    ahead: float | None
    runner_up: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the lead of a group changes below and above `own`, the scenario's value of the key.

    ``lower`` and ``upper`` are the values nearest to it with another leader,
    and who that is; None where there is none in the range.
    """

    lead: Lead
    own: float
    lower: tuple[float, str] | None
    upper: tuple[float, str] | None


def leads(results: Results) -> list[Lead]:
    """Return who leads each group (all points, where the sweep has no groups), in their order."""
    sign = 1 if results.goal.least else -1
    groups: dict[str, list[Winner]] = {}
    for winner in results.winners():
        if winner.value is not None and bool(winner.group) == bool(results.goal.by):
            groups.setdefault(json.dumps(dict(winner.group), default=str), []).append(winner)
    found = []
    for winners in groups.values():
        first, *others = sorted(winners, key=lambda each: sign * (each.value or 0.0))
        behind = others[0] if others else None
        ahead = _factor(first.value, behind.value, sign) if behind is not None else None
        found.append(Lead(first.group, first, ahead, behind.family if behind else ""))
    return sorted(found, key=lambda lead: _place(results, lead))


def _place(results: Results, lead: Lead) -> int:
    """Return where a group first appears among the points."""
    for at, row in enumerate(results.rows):
        if all(row[column] == value for column, value in lead.group.items()):
            return at
    return len(results.rows)


def _factor(best: float | None, other: float | None, sign: int) -> float | None:
    low, high = (best, other) if sign > 0 else (other, best)
    return None if not low or high is None else high / low


def turning_points(
    results: Results,
    study: Study,
    own: float,
    ask: Probe,
    advance: Callable[[float], object],
) -> Iterator[Turn]:
    """Yield, group by group, where the lead changes; `advance` is told of each side searched."""
    for lead in leads(results):
        sides: list[tuple[float, str] | None] = []
        for end in study.between:
            sides.append(_first_change(lead, own, end, ask))
            advance(1)
        yield Turn(lead, own, *sides)


def _first_change(lead: Lead, own: float, end: float, ask: Probe) -> tuple[float, str] | None:
    """Return the value nearest to `own`, towards `end`, with another leader, and who that is."""
    stays = own
    for step in range(1, STEPS + 1):
        at = own * (end / own) ** (step / STEPS)
        if (family := ask(at, lead.group)) != lead.winner.family:
            return _narrowed(lead, stays, at, family, ask)
        stays = at
    return None


def _narrowed(
    lead: Lead, stays: float, changes: float, family: str | None, ask: Probe
) -> tuple[float, str]:
    found = {changes: family}

    def still(value: float) -> bool:
        found[value] = ask(value, lead.group)
        return found[value] == lead.winner.family

    _, changed = narrowed(stays, changes, CLOSE, still)
    return changed, found[changed] or ""


def probe(
    load: Callable[[Sequence[str]], Scenario],
    results: Results,
    study: Study,
    executor: Executor,
    workers: int,
) -> Probe:
    """Return how to ask who leads a group; `load` makes the scenario with such `--set` more.

    Only the group's own points are played, and only what decides is asked of them.
    """
    keys = {column: key for key, column in results.settings.items()}

    def ask(value: float, group: Mapping[str, Any]) -> str | None:
        narrowed = [f"{keys[column]}={json.dumps(each)}" for column, each in group.items()]
        scenario = load([*narrowed, f"{study.vary}={value!r}"])
        assert scenario.sweep is not None
        views = views_of([results.goal.value.column, *results.goal.limited])
        tasks = {
            point.number: Task(key_of(point.digest), point.scenario, views)
            for point in scenario.sweep.points
            if point.status == "fits"
        }
        listed = list({task.key: task for task in tasks.values()}.values())
        batches = points.batches(listed, at_least=workers)
        known = {
            answer.key: answer
            for _, found in completed(executor, workers, points.answer, batches)
            for answer in found
        }
        found = collect(scenario, {number: known[task.key] for number, task in tasks.items()})
        best = found.best()
        return None if best is None else best.family

    return ask
