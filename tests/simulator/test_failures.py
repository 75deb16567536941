"""Machines that fail: what must hold whenever it happens."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import deployments
import numpy as np
import pytest
from hypothesis import given, settings
from played import Played, play

import toolkit
from toolkit.errors import InputError
from toolkit.scenario.model import Failure, Failures, Link, Model, Scenario, Trace
from toolkit.simulator import event_run
from toolkit.simulator.failures import down_times
from toolkit.trace.columns import NULL, Chunk, name_key
from toolkit.units import HOUR_S, NS_PER_S

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"

few = settings(max_examples=20, deadline=None)


def without(scenario: Scenario) -> Scenario:
    """Return the scenario in which nothing fails and nothing is kept for the case."""
    return replace(
        scenario, failures=None, deployment=replace(scenario.deployment, replication="none")
    )


def at(*times_s: float, machine: int = 0, restart_s: float = 1.0) -> Failures:
    return Failures(tuple(Failure(machine, time_s, 0.0, restart_s) for time_s in times_s))


def busy(run: Played, *names: str) -> int:
    stages = np.isin(run["totals"]["track"], run.tracks("stage"))
    return int(run["totals"]["busy_ns"][stages & run.named("totals", *names)].sum())


@given(deployments.failing())
@few
def test_every_request_ends_once_with_all_its_tokens_and_waits_and_work_are_its_time(
    scenario: Scenario,
) -> None:
    run = play(scenario)
    requests = run["requests"]

    assert set(requests["outcome"]) == {"served"}
    assert np.all(requests["finish_ns"] > requests["arrival_ns"])
    order = [requests[name] for name in ("arrival_ns", "start_ns", "prefill_end_ns", "finish_ns")]
    assert all(np.all(one <= other) for one, other in pairwise(order))
    for request in np.unique(requests["lead"]).tolist():
        members = requests["lead"] == request
        finish = int(requests["finish_ns"][members].max())
        ready = int(requests["arrival_ns"][request])
        waited = int(run["waits"]["wait_ns"][run["waits"]["request"] == request].sum())
        own = run.named("spans", "prefill", "decode", "lost", "activation") & (
            run["spans"]["request"] == request
        )
        own &= run.of("stage") | run.of("link")
        assert waited + int(run["spans"]["dur_ns"][own].sum()) == finish - ready


@given(deployments.failing())
@few
def test_the_work_that_counts_is_that_of_a_run_without_failures(scenario: Scenario) -> None:
    assert busy(play(scenario), "prefill", "decode") == busy(
        play(without(scenario)), "prefill", "decode"
    )


@given(deployments.failing())
@few
def test_kv_room_and_queues_return_to_zero(scenario: Scenario) -> None:
    run = play(scenario)
    last = {row[0]: row[1] for row in run.rows("counters", "counter", "value")}
    units = run["counter_defs"]["unit"].tolist()
    assert not any(last.get(counter) for counter, unit in enumerate(units) if unit != "usd")


@given(deployments.failing())
@few
def test_every_level_counts_the_same(scenario: Scenario) -> None:
    full, requests = (
        play(replace(scenario, trace=trace)) for trace in (Trace("full", ()), Trace("requests", ()))
    )
    columns = ("track", "name", "busy_ns", "count", "bytes")
    assert full.rows("totals", *columns) == requests.rows("totals", *columns)
    hit = [
        sorted(
            row[:3]
            for row in run.rows("waits", "request", "from_ns", "until_ns", "cause", "on_track")
            if row[3] == name_key("failed") and row[4] != NULL
        )
        for run in (full, requests)
    ]
    assert hit[0] == hit[1]


@given(deployments.failing())
@few
def test_the_same_seed_gives_the_same_rows(scenario: Scenario) -> None:
    one, other = play(scenario), play(scenario)
    for table, columns in one.tables.items():
        for column, values in columns.items():
            assert values.tobytes() == other[table][column].tobytes(), (table, column)


def two_stages(**more: Any) -> Scenario:
    """Return a pipeline of two stages that is busy from 0 to 0.1 s and from 10 s to 10.1 s."""
    one = deployments.one_machine(
        prompt_ms=10, token_ms=1, lengths=[(4, 40)] * 2, times_s=(0.0, 10.0)
    )
    return replace(one, hardware=replace(one.hardware, machines=2, **more))


def test_a_failure_while_nothing_runs_changes_nothing_but_availability() -> None:
    scenario = two_stages()
    calm, failed = play(scenario), play(replace(scenario, failures=at(4.0)))

    for table in ("requests", "waits", "flows", "counters"):
        for column, values in calm[table].items():
            assert np.array_equal(values, failed[table][column]), (table, column)
    down = failed.named("spans", "failed", "starting")
    assert failed.count("spans") - int(down.sum()) == calm.count("spans")
    assert busy(failed, "failed", "starting") == NS_PER_S


def test_a_request_that_comes_while_a_machine_is_down_waits_for_it() -> None:
    run = play(replace(two_stages(), failures=at(9.5)))

    waited = run.named("waits", "failed")
    assert run["waits"]["request"][waited].tolist() == [1]
    assert run["waits"]["wait_ns"][waited].tolist() == [NS_PER_S // 2]
    assert not run.named("spans", "lost").any()


def replicated(made: Scenario, bytes_per_s: float) -> Scenario:
    hardware = replace(made.hardware, link=Link("wire", bytes_per_s))
    tiny = Model("tiny", 8, 2, 1, 1, 1, 1, parameters=100)
    return replace(
        made,
        model=tiny,
        hardware=hardware,
        deployment=replace(made.deployment, replication="next_stage"),
    )


def test_with_replicas_that_arrive_at_once_only_passes_under_way_are_lost() -> None:
    scenario = replace(two_stages(), failures=at(0.0405))
    alone, kept = play(scenario), play(replicated(scenario, 1e15))

    assert busy(alone, "lost") == 40_500_000 - 10_000_000 + 10_000_000
    assert busy(kept, "lost") <= 2 * 1_000_000
    assert kept["requests"]["finish_ns"][0] < alone["requests"]["finish_ns"][0]


def test_replicas_that_never_arrive_save_nothing() -> None:
    scenario = replace(two_stages(), failures=at(0.0405))
    slow = replicated(scenario, 1e-3)

    assert play(slow)["requests"]["finish_ns"].tolist() == (
        play(scenario)["requests"]["finish_ns"].tolist()
    )


def test_machines_that_never_stay_up_long_enough_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_run, "MOST_FAILURES", 1000)
    failures = Failures(mtbf_s=0.002, restart_s=0.001)
    with pytest.raises(InputError, match="2 microbatches are not done") as raised:
        play(replace(two_stages(), failures=failures))
    assert raised.value.exit_code == 2


def test_random_failures_agree_with_the_availability_of_a_repairable_machine() -> None:
    """mtbf / (mtbf + mttr), within three standard errors over independent machines."""
    failures = Failures(mtbf_s=10 * HOUR_S, detection_s=60.0, restart_s=0.5 * HOUR_S, seed=7)
    horizon = 1000 * HOUR_S * NS_PER_S
    shares = []
    for machine in range(400):
        rows = down_times(failures, machine, 200)
        assert rows[-1, 0] > horizon
        down = np.minimum(rows[:, 2], horizon) - np.minimum(rows[:, 0], horizon)
        shares.append(1 - down.sum() / horizon)
    expected = 10 / (10 + 0.5 + 60 / HOUR_S)
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    # A machine is up at first, which is worth mttr^2 / (mtbf + mttr) of down time, seen once.
    head = (0.5 + 60 / HOUR_S) ** 2 / (10.5 + 60 / HOUR_S) / 1000
    assert abs(np.mean(shares) - expected) < 3 * error + head


def test_a_machine_fails_at_the_same_times_however_many_are_asked_for() -> None:
    failures = Failures(mtbf_s=100.0, restart_s=5.0, seed=1)
    few_of_them, more = (down_times(failures, 3, count) for count in (10, 40))
    assert np.array_equal(few_of_them, more[:10])
    assert not np.array_equal(few_of_them, down_times(failures, 4, 10))


def makespans_s(name: str) -> dict[str, float]:
    scenario = toolkit.load(SCENARIOS / name)
    found: dict[str, float] = {}
    for variant in scenario.variants:
        lean = replace(variant, trace=Trace("requests", ()))
        chunks: dict[str, Chunk] = {chunk.table: chunk for chunk in toolkit.simulate(lean)}
        finish = np.asarray(chunks["requests"].columns["finish_ns"])
        found[str(variant.variant)] = float(finish.max()) / NS_PER_S
    return found


def test_the_published_example_of_opt_66b_comes_close() -> None:
    """Published: 1.91 times as long without replicas (to which the restart is set), 1.24 with."""
    took = makespans_s("failure-opt66.toml")
    assert took["restart"] / took["none"] == pytest.approx(1.91, abs=0.005)
    assert took["replicated"] / took["none"] == pytest.approx(1.24, abs=0.02)
    assert took["restart"] / took["replicated"] == pytest.approx(1.54, abs=0.03)


def test_the_published_toy_example_comes_close() -> None:
    """Published: 1.89 times as long without replicas (to which the restart is set)."""
    took = makespans_s("failure-gpt2.toml")
    assert took["restart"] / took["none"] == pytest.approx(1.89, abs=0.005)
    assert took["replicated"] < took["restart"]


def test_what_one_failure_spared_a_later_one_may_still_undo() -> None:
    """A pass is kept through a failure, and lost as another one breaks the next recovery off."""
    small = {"layers": 8, "hidden": 2, "heads": 1, "kv_heads": 1, "head_dim": 1, "vocab": 1}
    hits = ((1, 0.3067), (2, 0.8852), (2, 1.0797))
    scenario = toolkit.load(
        {
            "schema_version": 1,
            "name": "twice",
            "model": {**small, "parameters": 100},
            "hardware": {"machines": 3, "link": {"gbit_per_s": 8e-6}},
            "deployment": {
                "kind": "pipeline",
                "microbatch_size": 2,
                "replication": "next_stage",
                "memory_fit": "off",
            },
            "workload": {
                "entries": 2,
                "entry": "request",
                "lengths": {"kind": "pairs", "pairs": [[8, 8], [8, 1]]},
            },
            "timing": {"kind": "fixed", "prompt_ms": 2, "token_ms": 3},
            "failure": [
                {"machine": machine, "at_s": at_s, "restart_s": 0.000333} for machine, at_s in hits
            ],
        }
    )
    run = play(scenario)
    for name, passes in (("prefill", 1), ("decode", 7)):
        spans = run.named("spans", name) & run.of("stage")
        assert np.bincount(run["spans"]["track"][spans]).tolist() == [passes] * 3
        totals = run.named("totals", name) & np.isin(run["totals"]["track"], run.tracks("stage"))
        assert run["totals"]["count"][totals].tolist() == [passes] * 3
    # Spared once: the first failure cost less than all that was done by then.
    assert np.count_nonzero(run.named("spans", "restore")) > 1
