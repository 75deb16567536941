"""The outcome of a sweep: a row for every point, and who wins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from toolkit.errors import InputError, Problem
from toolkit.planner.metrics import COUNTS, Named, metric_names, named
from toolkit.planner.points import Answer
from toolkit.scenario.expressions import Condition, ConditionError, parse
from toolkit.scenario.model import Scenario
from toolkit.scenario.points import Sweep

__all__ = ["Goal", "Results", "Row", "Winner", "collect", "goal_of", "setting_columns"]

Row = Mapping[str, Any]

OWN = ("point", "family", "status", "reason")
"""Columns of a row that are neither settings nor metrics."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What wins, in terms of columns."""

    metric: str
    least: bool
    value: Named
    by: tuple[str, ...]
    """Setting columns for each combination of whose values there is a winner."""
    limits: tuple[str, ...]
    within: Callable[[Row], bool]
    limited: tuple[str, ...]
    """Metrics that the limits are about."""

    @property
    def words(self) -> str:
        """The goal as a sentence begins with it."""
        return f"{'least' if self.least else 'most'} {self.metric}"


@dataclass(frozen=True, slots=True)
class Winner:
    """The best point of a family, over all (`group` empty) or where its keys have these values."""

    family: str
    group: Mapping[str, Any]
    row: Row | None
    """None where no point of the group fits and keeps the limits."""
    value: float | None


@dataclass(frozen=True, slots=True)
class Results:
    """Every point of a sweep with its metrics, and the winners.

    ``settings`` maps key paths to the columns that hold them.
    """

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    settings: Mapping[str, str]
    families: tuple[str, ...]
    goal: Goal

    def table(self) -> pa.Table:
        """Return the rows as an Arrow table, sorted by point."""
        kinds = {"point": pa.int32(), **dict.fromkeys(("family", "status", "reason"), pa.string())}
        arrays = []
        for column in self.columns:
            values = [row[column] for row in self.rows]
            if column in self.settings.values():
                arrays.append(_settings_array(values))
            else:
                kind = pa.int64() if column in COUNTS else pa.float64()
                arrays.append(pa.array(values, kinds.get(column, kind)))
        return pa.table(arrays, names=list(self.columns))

    def frame(self) -> pl.DataFrame:
        """Return the rows as a Polars frame."""
        frame = pl.from_arrow(self.table())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def winners(self) -> list[Winner]:
        """Return the winner of every family over all, and of each group the goal asks for."""
        found = []
        for family in self.families:
            own = [row for row in self.rows if row["family"] == family]
            found.append(self._winner(family, {}, own))
            for group, rows in _grouped(own, self.goal.by):
                found.append(self._winner(family, group, rows))
        return found

    def best(self) -> Winner | None:
        """Return the best of all families' winners, None where no point fits."""
        overall = [each for each in self.winners() if not each.group and each.value is not None]
        sign = 1 if self.goal.least else -1
        return min(overall, key=lambda each: sign * (each.value or 0.0), default=None)

    def candidates(self, family: str) -> list[Row]:
        """Return the points of a family that fit and keep the limits."""
        return [row for row in self.rows if row["family"] == family and self.eligible(row)]

    def eligible(self, row: Row) -> bool:
        """Return whether a point can win."""
        value = self.goal.value.of(row) if row["status"] == "done" else None
        return value is not None and self.goal.within(row)

    def _winner(self, family: str, group: Mapping[str, Any], rows: Sequence[Row]) -> Winner:
        """Return the strictly best of `rows`; of equals the first."""
        sign = 1 if self.goal.least else -1
        fitting = [row for row in rows if self.eligible(row)]
        row = min(fitting, key=lambda row: sign * self.goal.value.of(row), default=None)
        return Winner(family, group, row, None if row is None else self.goal.value.of(row))


def goal_of(scenario: Scenario) -> Goal:
    """Return what wins in a scenario's sweep.

    Raises:
        InputError: it names a metric or key that no row has.
    """
    sweep = _sweep(scenario)
    settings = setting_columns(sweep.keys)
    columns = [*settings.values(), *_metric_names(sweep)]
    problems: list[Problem] = []
    file = str(scenario.file or scenario.name)

    def look_up(name: str) -> Named:
        return Named(settings[name]) if name in settings else named(name, columns)

    key = "sweep.best.minimise" if sweep.best.least else "sweep.best.maximise"
    value = Named(columns[0])
    try:
        value = look_up(sweep.best.metric)
    except ConditionError as error:
        problems.append(Problem(key, str(error), file=file))
    limits: list[Callable[[Row], bool]] = []
    limited: dict[str, None] = {}
    for index, text in enumerate(sweep.best.limits):
        try:
            condition = parse(text)
            figures = {name: look_up(name) for name in condition.names}
            limits.append(_limit(condition, figures))
            limited |= {each.column: None for each in figures.values()}
        except ConditionError as error:
            where = f"sweep.best.limits[{index}]"
            problems.append(Problem(where, str(error), f'"{text}"', file=file))
    if problems:
        raise InputError(file, problems)
    return Goal(
        sweep.best.metric,
        sweep.best.least,
        value,
        tuple(settings[key] for key in sweep.best.by),
        sweep.best.limits,
        lambda row: all(limit(row) for limit in limits),
        tuple(column for column in limited if column not in settings.values()),
    )


def setting_columns(keys: Sequence[str]) -> dict[str, str]:
    """Return the column of each key path: its last part, or all of it where that would not do.

    >>> setting_columns(["hardware.machines", "timing.name", "workload.lengths.name"])
    {'hardware.machines': 'machines', 'timing.name': 'timing.name', \
'workload.lengths.name': 'workload.lengths.name'}
    """
    last = [key.rpartition(".")[2] for key in keys]
    taken = {*OWN, *metric_names((), slo=True)}
    return {
        key: name if last.count(name) == 1 and name not in taken else key
        for key, name in zip(keys, last, strict=True)
    }


def collect(scenario: Scenario, answers: Mapping[int, Answer]) -> Results:
    """Return the results of a sweep whose points that fit have these answers, by their number."""
    sweep = _sweep(scenario)
    settings = setting_columns(sweep.keys)
    names = _metric_names(sweep)
    rows: list[Row] = []
    for point in sweep.points:
        answer = answers.get(point.number)
        status, reason = point.status, point.reason
        if answer is not None:
            status, reason = ("invalid", answer.refused) if answer.refused else ("done", "")  # type: ignore[assignment]
        row: dict[str, Any] = {"point": point.number, "family": point.family}
        row |= {column: point.settings[key] for key, column in settings.items()}
        row |= {"status": status, "reason": reason or None}
        row |= {name: answer.metrics.get(name) if answer else None for name in names}
        rows.append(row)
    columns = ("point", "family", *settings.values(), "status", "reason", *names)
    return Results(tuple(rows), columns, settings, sweep.families, goal_of(scenario))


def _sweep(scenario: Scenario) -> Sweep:
    assert scenario.sweep is not None
    return scenario.sweep


def _metric_names(sweep: Sweep) -> tuple[str, ...]:
    """Return the metrics of every row: those of [report]'s percentiles, and of an [slo]."""
    scenarios = [point.scenario for point in sweep.points]
    percentiles = {each for scenario in scenarios for each in scenario.report.percentiles}
    return metric_names(percentiles, slo=any(scenario.has_limits for scenario in scenarios))


def _limit(condition: Condition, figures: Mapping[str, Named]) -> Callable[[Row], bool]:
    def holds(row: Row) -> bool:
        values = {name: figure.of(row) for name, figure in figures.items()}
        return None not in values.values() and condition.holds(values)

    return holds


def _grouped(
    rows: Sequence[Row], by: Sequence[str]
) -> Iterator[tuple[Mapping[str, Any], list[Row]]]:
    """Yield rows by the values of `by`, in the order in which those first appear."""
    if not by:
        return
    groups: dict[str, tuple[dict[str, Any], list[Row]]] = {}
    for row in rows:
        group = {column: row[column] for column in by}
        name = json.dumps(group, default=str)
        groups.setdefault(name, (group, []))[1].append(row)
    yield from groups.values()


def _settings_array(values: Sequence[Any]) -> pa.Array:
    """Return a column of settings in the narrowest type that holds them all; else as JSON."""
    given = [value for value in values if value is not None]
    for types, kind in (
        ((bool,), pa.bool_()),
        ((int,), pa.int64()),
        ((int, float), pa.float64()),
        ((str,), pa.string()),
    ):
        if all(type(value) in types for value in given):
            return pa.array(values, kind)
    texts = [None if value is None else json.dumps(value, default=str) for value in values]
    return pa.array(texts, pa.string())
