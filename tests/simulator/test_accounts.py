"""Played without accounts, as sweeps do, a run comes to the same times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from deployments import dejavu, scenarios
from hypothesis import given, settings

from toolkit.scenario.model import Lengths, Scenario
from toolkit.simulator import simulate
from toolkit.trace.columns import Chunk

TIMES = ("start_ns", "prefill_end_ns", "kv_ready_ns", "first_token_ns", "finish_ns", "lead")


def tables(scenario: Scenario, *, accounts: bool) -> Mapping[str, Chunk]:
    return {chunk.table: chunk for chunk in simulate(scenario, accounts=accounts)}


def stage_totals(chunks: Mapping[str, Chunk]) -> Mapping[str, Any]:
    """Return the totals of what is no lane."""
    lanes = np.array([kind == "lane" for kind in chunks["tracks"].columns["kind"]])
    columns = {name: np.asarray(values) for name, values in chunks["totals"].columns.items()}
    kept = ~lanes[columns["track"]]
    return {name: values[kept] for name, values in columns.items()}


def assert_alike(scenario: Scenario) -> None:
    whole, lean = tables(scenario, accounts=True), tables(scenario, accounts=False)
    for column in TIMES:
        one, other = (each["requests"].columns[column] for each in (lean, whole))
        assert np.array_equal(one, other), column
    assert "waits" not in lean
    ours, theirs = stage_totals(lean), stage_totals(whole)
    for column in ("track", "name", "count", "bytes"):
        assert np.array_equal(ours[column], theirs[column]), column
    apart = np.abs(ours["busy_ns"] - theirs["busy_ns"])
    assert np.all(apart <= ours["count"])  # durations that are no whole ns: half at either end


@given(scenarios())
@settings(max_examples=60)
def test_times_do_not_depend_on_accounts(scenario: Scenario) -> None:
    assert_alike(replace(scenario, trace=replace(scenario.trace, level="requests")))


@given(dejavu())
@settings(max_examples=60)
def test_skipped_rounds_leave_no_mark(scenario: Scenario) -> None:
    """Answers long enough that calm rounds are skipped, on and off the grid of exact sums."""
    generated = [3 + 41 * n % 97 for n in range(scenario.workload.entries)]
    lengths = Lengths("pairs", pairs=tuple((5, tokens) for tokens in generated))
    assert_alike(
        replace(
            scenario,
            workload=replace(scenario.workload, lengths=lengths),
            trace=replace(scenario.trace, level="requests"),
        )
    )
