"""Microbatch swapping: what devices hold, when it pays, and when it hurts."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import replace

import deployments
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import Played, gathered, play

from toolkit.scenario.model import (
    Arrivals,
    Deployment,
    FixedTiming,
    Hardware,
    Lengths,
    Link,
    Model,
    Scenario,
    Trace,
    Workload,
)
from toolkit.simulator import simulate
from toolkit.trace.columns import NULL, name_key
from toolkit.units import NS_PER_S

SIXTEEN = Model("sixteen", 16, 64, 1, 1, 64, 1, parameters=1000)
"""A model whose KV cache takes 4096 bytes a token, 256 in each of its layers."""


@st.composite
def swapping(draw: st.DrawFn) -> Scenario:
    """Pipelines of several stages whose caches come and go over links of any speed."""
    made = draw(deployments.event("pipeline"))
    replicas = made.deployment.data_parallel
    stages = draw(st.integers(2, 4))
    unit_s = deployments.of_time_s(made.timing) / 6
    return replace(
        made,
        hardware=replace(
            made.hardware,
            machines=replicas * stages,
            memory_bytes=None,
            host_link=Link("PCIe", draw(st.sampled_from([1e3, 20.0, 1.0])) / unit_s),
        ),
        deployment=replace(
            made.deployment,
            swapping=True,
            memory_fit="off",
            microbatches_in_flight=draw(st.none() | st.integers(1, 5)),
        ),
    )


few = settings(max_examples=30, deadline=None)


@given(swapping())
@few
def test_whoever_is_not_on_the_devices_is_fetched_in_the_place_of_the_one_longest_away(
    scenario: Scenario,
) -> None:
    """The slots of each stage, told again from its passes in order."""
    run, slots = play(scenario), scenario.swap_slots
    names = run["tracks"]["name"].tolist()
    moves = run.rows("spans", "track", "ts_ns", "dur_ns", "request")
    for stage in run.tracks("stage") if slots else ():
        machine = int(run["tracks"]["machine"][stage])
        fetched, written = (
            moves_of(moves, names.index(f"m{machine:02d} PCIe {side}")) for side in ("in", "out")
        )
        passes = run.rows("spans", "track", "ts_ns", "request", "token")
        order = [row[1:] for row in passes if row[0] == stage]
        left = Counter(request for _, request, _ in order)
        devices: list[int] = []
        away: dict[int, int] = {}
        for start, request, token in order:
            gone = None
            if request in devices:
                devices.remove(request)
            else:
                gone = devices.pop(0) if len(devices) == slots else None
                if token != NULL:
                    since, until = fetched[request].popleft()
                    assert until <= start
                    assert gone is None or since >= away[gone]
            left[request] -= 1
            if left[request]:
                devices.append(request)
                if written[request]:  # what the end of the run cuts off is missing
                    away[request] = written[request].popleft()[1]
        assert not any(fetched.values())


def moves_of(moves: list[tuple[int, ...]], track: int) -> defaultdict[int, deque[tuple[int, int]]]:
    """Return from when to when each microbatch's cache was on a track, in order."""
    found: defaultdict[int, deque[tuple[int, int]]] = defaultdict(deque)
    for on, since, took, request in moves:
        if on == track:
            found[request].append((since, since + took))
    return found


@given(swapping())
@few
def test_waits_and_work_are_a_microbatch_s_time_and_kv_room_returns_to_zero(
    scenario: Scenario,
) -> None:
    run = play(scenario)
    requests = run["requests"]
    served = run.of("stage") | run.of("link")
    for lead in np.unique(requests["lead"]).tolist():
        members = requests["lead"] == lead
        waited = int(run["waits"]["wait_ns"][run["waits"]["request"] == lead].sum())
        own = run.named("spans", "prefill", "decode", "activation") & served
        work = int(run["spans"]["dur_ns"][own & (run["spans"]["request"] == lead)].sum())
        finish = int(requests["finish_ns"][members].max())
        assert waited + work == finish - int(requests["arrival_ns"][lead])
    order = run.rows("spans", "ts_ns", "track")
    assert order == sorted(order)
    columns = ("track", "name", "busy_ns", "count", "bytes")
    lean = play(replace(scenario, trace=Trace("requests", ())))
    assert run.rows("totals", *columns) == lean.rows("totals", *columns)
    assert requests["finish_ns"].tolist() == lean["requests"]["finish_ns"].tolist()


@given(swapping())
@few
def test_a_link_without_limit_makes_swapping_free(scenario: Scenario) -> None:
    fast = replace(scenario, hardware=replace(scenario.hardware, host_link=Link("", 1e30)))
    stay = replace(scenario, deployment=replace(scenario.deployment, swapping=False))
    finish = [play(each)["requests"]["finish_ns"].tolist() for each in (fast, stay)]
    assert finish[0] == finish[1]


def makespan_s(scenario: Scenario) -> float:
    run = gathered(simulate(replace(scenario, trace=Trace("requests", ()))))
    return float(run["requests"]["finish_ns"].max()) / NS_PER_S


def pipeline(batch: int, microbatches: int, tokens: int, bytes_per_s: float = 0.0) -> Scenario:
    """Return four stages of 10 ms a token whatever the batch, swapped where a link is given."""
    swapped = bytes_per_s > 0
    return deployments.scenario(
        "event",
        SIXTEEN,
        Hardware(machines=4, host_link=Link("PCIe", bytes_per_s) if swapped else None),
        Deployment(
            "pipeline", microbatch_size=batch, swapping=swapped, activations=False, memory_fit="off"
        ),
        Workload(
            entries=microbatches,
            entry="microbatch",
            arrivals=Arrivals("at_zero"),
            lengths=Lengths("fixed", prompt_tokens=1, output_tokens=tokens + 1),
        ),
        FixedTiming(prompt_s=0.010, token_s=0.010),
    )


@pytest.mark.parametrize("slow", [0.2, 0.8, 1.5, 1.9, 2.5, 4.0])
def test_swapping_pays_where_the_stated_condition_says_so(slow: float) -> None:
    """Twice the batch pays if 2 N t >= sum over i of max(t, transfer_i).

    `slow` is how many times t the transfer of the last token takes.  A round
    of the pipeline takes D passes of a stage, and each waits for one transfer.
    """
    batch, tokens, stage_s = 4, 200, 0.010
    cache = 2 * batch * SIXTEEN.kv_bytes_per_token / 4
    rate = cache * tokens / (slow * stage_s)
    transfers = cache * np.arange(1, tokens + 1) / rate
    due_s = 4 * float(np.maximum(stage_s, transfers).sum())

    alone = makespan_s(pipeline(batch, 8, tokens))
    swapped = makespan_s(pipeline(2 * batch, 4, tokens, rate))

    assert alone == pytest.approx(2 * 4 * tokens * stage_s, rel=0.03)
    assert swapped == pytest.approx(due_s, rel=0.03)
    assert (swapped <= alone) == (2 * 4 * tokens * stage_s >= due_s)


def test_a_stage_that_waits_for_a_cache_says_so() -> None:
    run: Played = play(pipeline(8, 4, 50, 2e6))
    assert run.named("waits", "swapped").any()
    assert {name_key("swap_in"), name_key("swap_out")} <= set(run["spans"]["name"].tolist())


def test_what_devices_hold_all_of_is_not_swapped() -> None:
    scenario = replace(
        pipeline(8, 4, 5, 1e3),
        deployment=replace(pipeline(8, 4, 5, 1e3).deployment, microbatches_in_flight=2),
    )
    assert not play(scenario).named("spans", "swap_in", "swap_out").any()
