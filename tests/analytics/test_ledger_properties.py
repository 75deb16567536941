"""The ledgers of random scenarios: exact at every level, and what a slow oracle finds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import deployments
import engines
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_oracle import Oracle, Piece, merged

from toolkit.analytics.memory import InMemory
from toolkit.analytics.run import SHARED
from toolkit.scenario.model import Scenario, Trace
from toolkit.simulator import simulate
from toolkit.trace.columns import NULL, TABLES, Chunk

MANY = 12
"""Scenarios opened together: the views answer for all of them at once."""

some = settings(max_examples=6, deadline=None)

Rows = dict[str, list[dict[str, Any]]]


def rows_of(chunks: Sequence[Chunk]) -> Rows:
    """Return chunks as rows, nulls as None."""
    rows: Rows = {table: [] for table in TABLES}
    for chunk in chunks:
        nullable = {column.name for column in TABLES[chunk.table].columns if column.nullable}
        columns = {
            name: [
                None if name in nullable and value == NULL else value
                for value in (values if isinstance(values, list) else values.tolist())  # type: ignore[union-attr]
            ]
            for name, values in chunk.columns.items()
        }
        rows[chunk.table] += [
            dict(zip(columns, each, strict=True)) for each in zip(*columns.values(), strict=True)
        ]
    return rows


def manifest(scenario: Scenario) -> dict[str, Any]:
    hardware = {"busy_w_per_machine": 100, "idle_w_per_machine": 10, "co2_g_per_kwh": 400}
    return {
        "discipline": scenario.discipline,
        "level": scenario.trace.level,
        "scenario": {
            "hardware": hardware,
            "deployment": {"batching": scenario.deployment.batching},
        },
    }


def opened(played: Sequence[tuple[Scenario, Sequence[Chunk]]]) -> InMemory:
    runs = [(manifest(scenario), chunks) for scenario, chunks in played]
    return InMemory(runs, kept=SHARED)


def play(scenario: Scenario, level: Any) -> tuple[Scenario, list[Chunk]]:
    at_level = replace(scenario, trace=Trace(level, ()))
    return at_level, list(simulate(at_level))


def several() -> st.SearchStrategy[list[Scenario]]:
    drawn = deployments.scenarios() | engines.scenarios()
    return st.lists(drawn, min_size=MANY, max_size=MANY)


@given(several())
@some
def test_the_partition_is_what_the_oracle_finds(scenarios: list[Scenario]) -> None:
    """Every piece of every stage and link, of all strategies and both disciplines."""
    played = [play(scenario, "full") for scenario in scenarios]
    with opened(played) as runs:
        frame = runs.frame("FROM time_ledger_intervals ORDER BY run, track, from_ns, until_ns")
    found: dict[tuple[int, int], list[Piece]] = defaultdict(list)
    for run, track, since, until, cause in frame.iter_rows():
        found[run, track].append((since, until, cause))
    for number, (_, chunks) in enumerate(played):
        for track, pieces in Oracle(rows_of(chunks)).partition().items():
            assert merged(found[number, track]) == pieces


@given(several(), st.sampled_from(["full", "steps", "requests"]))
@some
def test_the_ledgers_add_up_at_every_level(scenarios: list[Scenario], level: str) -> None:
    """To the nanosecond, and to a billionth of the bill; no check finds anything."""
    played = [play(scenario, level) for scenario in scenarios]
    with opened(played) as runs:
        for check in (
            "time_ledger_adds_up",
            "time_ledger_is_a_partition",
            "bubbles_are_idle_causes",
            "cost_ledger_is_the_bill",
        ):
            assert runs.frame(f"FROM {check}").to_dicts() == []
        sums = runs.frame("SELECT run, track, sum(dur_ns) FROM time_ledger GROUP BY ALL").rows()
        makespans = dict(runs.frame("SELECT run, makespan_ns FROM run_totals").rows())
        windows = runs.frame(
            "SELECT sum(share) FROM time_ledger_windows GROUP BY run, kind, role, from_s"
        )
    tracks = {
        (number, track["track"])
        for number, (_, chunks) in enumerate(played)
        for track in rows_of(chunks)["tracks"]
        if track["kind"] != "lane"
    }
    assert {(run, track) for run, track, _ in sums} == tracks
    assert all(total == makespans[run] for run, _, total in sums)
    assert windows.height > 0 or level != "full"
    assert all(total == pytest.approx(1) for (total,) in windows.rows())


WORK = ("prefill", "decode", "mixed", "transfer")


def grouped(rows: Sequence[tuple[int, int, str, int]]) -> Iterator[tuple[Any, int]]:
    sums: dict[Any, int] = defaultdict(int)
    for run, track, cause, dur in rows:
        sums[run, track, cause if cause in WORK else "idle"] += dur
    yield from sums.items()


@given(several())
@some
def test_lower_levels_know_the_same_work_and_the_same_bubbles(scenarios: list[Scenario]) -> None:
    """Only the kinds of idleness are coarser there."""
    query = "SELECT run, track, cause, dur_ns FROM time_ledger"
    found = {}
    for level in ("full", "steps", "requests"):
        with opened([play(scenario, level) for scenario in scenarios]) as runs:
            found[level] = runs.frame(query).rows()
            if level == "full":
                inside = runs.frame(
                    "SELECT run, track, sum(until_ns - from_ns) FROM idle_causes "
                    "WHERE in_pipeline GROUP BY ALL"
                ).rows()
    assert sorted(found["steps"]) == sorted(found["requests"])
    assert dict(grouped(found["full"])) == dict(grouped(found["requests"]))
    coarse = {(run, track): dur for run, track, cause, dur in found["steps"] if cause == "bubble"}
    assert coarse == {(run, track): dur for run, track, dur in inside}


@given(st.lists(engines.colocated(), min_size=MANY, max_size=MANY))
@some
def test_an_engine_stands_still_only_while_nobody_is_there(scenarios: list[Scenario]) -> None:
    """It is one stage deep and takes whoever is there: no bubbles, no pause but for swaps."""
    with opened([play(scenario, "full") for scenario in scenarios]) as runs:
        causes = runs.frame("SELECT DISTINCT cause FROM time_ledger")["cause"].to_list()
    assert set(causes) <= {"prefill", "decode", "mixed", "swapping", "no_work"}
