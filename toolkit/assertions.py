"""``[[assert]]``: what a scenario says has to be true of its runs, asked of their traces.

An assertion is a condition on metrics or a query that has to return no row.
Both are asked of the trace alone, so `toolkit report` repeats what `toolkit
run` said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from toolkit import tables
from toolkit.errors import InputError, Problem, TargetMissedError
from toolkit.planner.metrics import LATENCIES, Named, metric_names, named
from toolkit.report.outcomes import Offender, Outcome
from toolkit.report.words import seconds
from toolkit.scenario.expressions import ConditionError, parse
from toolkit.trace.view import link

if TYPE_CHECKING:
    from toolkit.analytics import Run
    from toolkit.scenario import Scenario

__all__ = ["outcomes", "require_answerable", "require_held"]

SHOWN = 5
"""Offending rows that are shown."""

PORT = 9001
"""Port at which the links of a report expect the viewer."""

STRETCHES = (
    ("from_ns", "until_ns", 1.0),
    ("ts_ns", "end_ns", 1.0),
    ("start_ns", "end_ns", 1.0),
    ("arrival_ns", "finish_ns", 1.0),
    ("from_s", "until_s", 1e9),
)
"""Pairs of columns that say when a row was, and the nanoseconds of their unit."""

MARGIN = 0.1
"""Share of a stretch that is shown before and after it."""

Row = Mapping[str, Any]


# -- before a run --------------------------------------------------------------------------------


def require_answerable(scenario: Scenario) -> None:
    """Make sure that every assertion of a scenario, and of its variants, can be asked.

    Raises:
        InputError: an unknown metric, or a query that the library cannot answer.
    """
    parts = scenario.variants or (scenario,)
    found = [problem for part in parts for problem in _problems(part)]
    if found:
        raise InputError(str(scenario.file or scenario.name), dict.fromkeys(found))


def _problems(scenario: Scenario) -> Iterator[Problem]:
    file = str(scenario.file or scenario.name)
    queries = [each for each in scenario.assertions if each.sql is not None]
    answers = _answers(tuple(str(each.sql) for each in queries))
    for at, each in enumerate(scenario.assertions):
        if each.sql is not None:
            told = answers[each.sql]
            if told is not None:
                where = f"assert[{at}].sql"
                yield Problem(where, told.expected, told.got, told.way_out, file)
        elif each.metric is not None:
            for expected, way_out in _of_the_metric(scenario, each.metric):
                where = f"assert[{at}].metric"
                yield Problem(where, expected, f'"{each.metric}"', way_out, file)


def _of_the_metric(scenario: Scenario, text: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a condition on metrics, and the way out."""
    columns = metric_names(scenario.report.percentiles, slo=True)
    for name in parse(text).names:
        try:
            column = named(name, columns).column
        except ConditionError as error:
            listed = bool(re.search(r"_p\d+(_\d+)?_m?s$", name))
            yield str(error), "list its percentile in report.percentiles" if listed else ""
            continue
        if column in {"goodput_per_s", "slo_attainment"} and not scenario.has_limits:
            yield f"{name} needs limits", "state an [slo]"
        if "usd" in column and scenario.hardware.price_usd_per_hour is None:
            yield f"{name} needs a price", "state hardware.price_usd_per_machine_hour"


@lru_cache(maxsize=8)
def _answers(queries: tuple[str, ...]) -> Mapping[str, Problem | None]:
    """Return what is wrong with each query, None if nothing; asked of an empty trace."""
    if not queries:
        return {}
    from toolkit import analytics
    from toolkit.trace import store

    found: dict[str, Problem | None] = {}
    with (
        TemporaryDirectory(prefix="toolkit-") as folder,
        analytics.open(store.write(Path(folder) / "empty", [], {"name": "empty"})) as run,
    ):
        for query in queries:
            try:
                run.sql(query)
            except InputError as error:
                found[query] = error.problems[0]
            else:
                found[query] = None
    return found


# -- after it ------------------------------------------------------------------------------------


def outcomes(runs: Sequence[Run]) -> list[Outcome]:
    """Return what came of every assertion, run by run; each run is asked once.

    Raises:
        InputError: a query fails on what it meets in the trace.
    """
    found = [outcome for run in runs for outcome in _outcomes(run)]
    names = list(dict.fromkeys(outcome.name for outcome in found))
    return sorted(found, key=lambda outcome: names.index(outcome.name))


def require_held(found: Sequence[Outcome]) -> None:
    """Raise TargetMissedError if an assertion was missed."""
    missed = [each for each in found if not each.held]
    if missed:
        said = "\n".join(
            f"  {each.name} ({each.label}): {each.words.replace('`', '')}" for each in missed
        )
        count = f"{len(missed)} of {len(found)} assertions missed"
        raise TargetMissedError(f"{count}\n{said}")


@lru_cache(maxsize=16)
def _outcomes(run: Run) -> tuple[Outcome, ...]:
    from toolkit import analytics

    found: list[Outcome] = []
    for store in run.stores:
        asked = store.manifest.get("scenario", {}).get("assert", ())
        if asked:
            with analytics.open(store.folder) as one:
                found += [_outcome(one, each) for each in asked]
    return tuple(found)


def _outcome(run: Run, asked: Mapping[str, str]) -> Outcome:
    (label,) = run.sql("SELECT label FROM runs").fetchall()[0]
    serve = f"toolkit view {run.path} --port {PORT}"
    if "sql" in asked:
        held, words, offenders, more = _of_query(run, asked["sql"])
    else:
        held, words, offenders, more = _of_condition(run, asked["metric"])
    return Outcome(run.name, label, asked["name"], held, words, offenders, more, serve)


def _of_query(run: Run, query: str) -> tuple[bool, str, tuple[Offender, ...], int]:
    relation = run.sql(query)
    columns = relation.columns
    rows = [dict(zip(columns, row, strict=True)) for row in islice(tables.rows(relation), SHOWN)]
    if not rows:
        return True, "no row, as it should be", (), 0
    (count,) = run.sql(f"SELECT count(*) FROM ({query.strip().removesuffix(';')}\n)").fetchall()[0]
    words = f"{count:,} row{'s'[: count > 1]}, where none should be"
    lives = _lives(run, [row["request"] for row in rows if row.get("request") is not None])
    offenders = tuple(_offender(run, row, lives) for row in rows)
    return False, words, offenders, count - len(rows)


def _of_condition(run: Run, text: str) -> tuple[bool, str, tuple[Offender, ...], int]:
    values: dict[str, float | None] = dict(run.sql("SELECT metric, value FROM metrics").fetchall())
    condition = parse(text)
    figures: dict[str, Named] = {}
    for name in condition.names:
        try:
            figures[name] = named(name, tuple(values))
        except ConditionError:
            continue
    known = {name: figure.of(values) for name, figure in figures.items()}
    missing = [name for name in condition.names if known.get(name) is None]
    said = ", ".join(f"{name} is {_shown(known.get(name))}" for name in condition.names)
    words = f"`{text}`; {said}"
    if not missing:
        try:
            if condition.holds(known):
                return True, words, (), 0
        except ConditionError as error:
            words = f"`{text}` {error}"
    latencies = dict.fromkeys(
        latency
        for figure in figures.values()
        for latency in LATENCIES
        if figure.column.startswith(f"{latency}_")
    )
    slowest = [
        {"request": row["request"], latency: seconds(row["value_s"]), **row, "value_s": None}
        for latency in latencies
        for row in run.frame(
            "SELECT request, value_s, from_ns, until_ns FROM slowest_requests "
            "WHERE metric = $metric AND rank <= $shown ORDER BY rank",
            metric=latency,
            shown=SHOWN,
        ).to_dicts()
    ]
    return False, words, tuple(_offender(run, row, {}) for row in slowest), 0


def _lives(run: Run, requests: Sequence[int]) -> Mapping[int, tuple[int, int]]:
    """Return arrival and finish of requests that rows name."""
    if not requests:
        return {}
    found = run.sql(
        "SELECT request, arrival_ns, coalesce(finish_ns, arrival_ns) FROM requests "
        "WHERE list_contains($requests, request)",
        requests=list(requests),
    )
    return {request: (since, until) for request, since, until in found.fetchall()}


def _offender(run: Run, row: Row, lives: Mapping[int, tuple[int, int]]) -> Offender:
    hidden = {"run", *(column for *pair, _ in STRETCHES for column in pair)}
    said = {key: value for key, value in row.items() if key not in hidden} or dict(row)
    words = ", ".join(f"{key} {_shown(value)}" for key, value in said.items() if value is not None)
    window = _window(row) or lives.get(row.get("request", -1))
    if window is None:
        return Offender(words)
    since, until = _with_margin(*window)
    command = f"toolkit view {run.path} --window {_seconds(since)}:{_seconds(until)}"
    file = f"{run.path.resolve().name}.pftrace"
    return Offender(words, command, link(PORT, file, (since, until)))


def _window(row: Row) -> tuple[int, int] | None:
    """Return when a row was, in nanoseconds, by the columns it has."""
    for since, until, scale in STRETCHES:
        if row.get(since) is not None and row.get(until) is not None:
            return round(row[since] * scale), round(row[until] * scale)
    if row.get("ts_ns") is not None and row.get("dur_ns") is not None:
        return row["ts_ns"], row["ts_ns"] + row["dur_ns"]
    return None


def _with_margin(since: int, until: int) -> tuple[int, int]:
    """Return a stretch a little wider, its ends rounded to a hundredth of its length.

    >>> _with_margin(0, 705_000_000)
    (0, 780000000)
    """
    length = max(until - since, 1)
    grain = 10 ** max(len(str(length)) - 2, 0)
    margin = round(length * MARGIN)
    return max(since - margin, 0) // grain * grain, -(-(until + margin) // grain) * grain


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.9f}".rstrip("0").rstrip(".") + "s"


def _shown(value: Any) -> str:
    return (
        f"{value:.4g}" if isinstance(value, float) else "unknown" if value is None else str(value)
    )
