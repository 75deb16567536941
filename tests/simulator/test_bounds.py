"""No simulation ends before its bounds, and on the plainest deployments it ends at them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import deployments
import engines
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import toolkit
from toolkit import runs
from toolkit.costs.bounds import Bound, bounds, check
from toolkit.errors import FaultError
from toolkit.scenario.model import Scenario
from toolkit.simulator import simulate
from toolkit.workload import Requests, build, shared_tokens


def makespan_ns(scenario: Scenario) -> int:
    chunks = simulate(replace(scenario, trace=replace(scenario.trace, level="requests")))
    return max(
        int(np.max(chunk.columns["finish_ns"])) for chunk in chunks if chunk.table == "requests"
    )


def found(scenario: Scenario) -> dict[str, Bound]:
    return {bound.name: bound for bound in bounds(scenario, build(scenario))}


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(deployments.scenarios())
def test_no_run_ends_before_any_of_its_bounds(scenario: Scenario) -> None:
    """In either discipline, with every kind of arrival, batching, transfer and memory."""
    lower = bounds(scenario, build(scenario))
    names = {bound.name for bound in lower}
    split = scenario.deployment.kind == "disaggregated"
    assert names >= ({"work_prompt", "work_token"} if split else {"work_colocated"})
    check(lower, makespan_ns(scenario))


@settings(max_examples=60, deadline=None)
@given(engines.deployed())
def test_no_engine_ends_before_its_bounds(deployed: tuple[Scenario, Requests]) -> None:
    """Whatever its prefix cache holds already."""
    scenario, requests = deployed
    lower = bounds(scenario, requests, shared_tokens(scenario, requests))
    ends = [
        int(np.max(chunk.columns["finish_ns"]))
        for chunk in simulate(scenario, requests)
        if chunk.table == "requests"
    ]
    check(lower, ends[0])


SMALL = {
    "schema_version": 1,
    "hardware": {"machines": 2},
    "deployment": {"kind": "pipeline", "data_parallel": 2},
    "workload": {
        "entries": 6,
        "entry": "microbatch",
        "lengths": {"kind": "fixed", "prompt_tokens": 9, "output_tokens": 5},
    },
    "timing": {"kind": "fixed", "prompt_ms": 10.0, "token_ms": 1.0},
}


def test_replicas_of_one_stage_end_at_the_bound_of_their_work() -> None:
    """Six entries of 10 + 4 ms on two machines: 42 ms, and no sooner."""
    scenario = toolkit.load(SMALL)
    assert found(scenario)["work_colocated"].lower_s == pytest.approx(0.042)
    assert makespan_ns(scenario) == 42_000_000


def test_one_entry_ends_at_the_bound_of_the_longest() -> None:
    """Alone on three stages: 3 x 10 ms, then 4 passes of 3 x 1 ms."""
    scenario = toolkit.load(
        SMALL,
        sets=["workload.entries=1", "hardware.machines=3", "deployment.data_parallel=1"],
    )
    assert found(scenario)["longest_entry"].lower_s == pytest.approx(0.042)
    assert makespan_ns(scenario) == 42_000_000


def test_a_slow_link_sets_the_bound() -> None:
    """A stated 50 ms for each cache over one interface outweighs 10 ms of prompt by far."""
    apart = {
        **SMALL,
        "deployment": {
            "kind": "disaggregated",
            "prompt_machines": 1,
            "token_machines": 1,
            "transfer_time_ms": 50.0,
            "transfer": "whole",
        },
    }
    scenario = toolkit.load(apart)
    link = found(scenario)["link"]
    assert link.lower_s == pytest.approx(0.3)
    assert 300_000_000 <= makespan_ns(scenario) <= 330_000_000
    assert "the network interfaces of 1 prompt machine" in link.words


def test_a_run_outside_its_bounds_is_a_fault_with_both_numbers() -> None:
    with pytest.raises(FaultError, match=r"ended after 0\.4 s, before its bound work, 0\.5 s"):
        check([Bound("work", 0.5, "six passes")], 400_000_000)
    check([Bound("work", 0.5, "six passes")], 500_000_000)


def test_a_run_keeps_its_bounds_and_shows_the_highest(tmp_path: Path) -> None:
    run = toolkit.run(toolkit.load({**SMALL, "name": "small"}), out=tmp_path, report=False)
    assert not isinstance(run, dict)
    rows = run.frame("FROM bounds").to_dicts()
    assert [(row["bound"], row["binding"]) for row in rows] == [
        ("work_colocated", True),
        ("longest_entry", False),
    ]
    assert rows[0]["lower_s"] == rows[0]["makespan_s"] == pytest.approx(0.042)
    assert rows[0]["times_bound"] == pytest.approx(1)
    assert rows[0]["most_requests_per_s"] == rows[0]["requests_per_s"]
    assert "keep the stage busy for 0.042 s, shared by 2 replicas" in rows[0]["words"]
    (summary,) = run.frame("SELECT least_makespan_s FROM run_summary").to_dicts()
    assert summary["least_makespan_s"] == rows[0]["lower_s"]


def test_a_run_that_ends_too_soon_fails_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "bounds", lambda *_: (Bound("work", 1.0, "made up"),))
    with pytest.raises(FaultError, match=r"ended after 0\.042 s, before its bound work, 1 s"):
        toolkit.run(toolkit.load({**SMALL, "name": "small"}), out=tmp_path, report=False)
    assert not (tmp_path / "traces" / "small").exists()
