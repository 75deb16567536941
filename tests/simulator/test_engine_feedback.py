"""Arrivals that hang on the run: exact against the obvious telling, and true to the textbook."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import engines
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from played import Played, gathered, name_of
from step_engine import Answer, Replica
from step_engine import play as told

from toolkit.scenario.model import Arrivals, Clients, FixedTiming, Scenario, Trace
from toolkit.simulator import engine_run, simulate, spans
from toolkit.workload import Requests, build
from toolkit.workload.requests import ANYBODY

Deployed = tuple[Scenario, Requests]
MICROSECONDS = st.integers(0, 12).map(lambda us: us * 1000)


@st.composite
def answering(draw: st.DrawFn) -> Deployed:
    """Engines whose clients wait for answers, give up and try again; ties are common.

    Clients of pools do not give up: only what was refused is tried again there.
    """
    scenario, requests = draw(engines.either())
    count, pools = len(requests), scenario.token_pool is not None
    limit = st.none() if pools else st.none() | st.sampled_from([1e-6, 3e-6, 8e-6, 2e-5])
    rules = Clients(
        first_token_s=draw(limit),
        whole_s=draw(limit),
        max_retries=draw(st.integers(0, 3)),
    )
    patience = st.just(-1) if pools else st.just(-1) | MICROSECONDS.map(lambda ns: ns + 1000)
    waits = st.lists(MICROSECONDS, min_size=rules.max_retries, max_size=rules.max_retries)
    rows = 1 if draw(st.booleans()) else count
    after: list[int] = []
    for row in range(count):  # a row that another waits for already is waited for by no second
        free = sorted({*range(row)} - set(after) | {-1, ANYBODY})
        after.append(draw(st.sampled_from(free)))
    if -1 not in after:  # somebody has to begin
        after[after.index(ANYBODY)] = -1
    columns: dict[str, Any] = {
        "after": np.array(after),
        "think_ns": np.array(draw(st.lists(MICROSECONDS, min_size=count, max_size=count))),
        "patience_ns": np.array(draw(st.lists(patience, min_size=count, max_size=count))),
    }
    if rules.max_retries:
        drawn = draw(st.lists(waits, min_size=rows, max_size=rows))
        columns["backoff_ns"] = np.array(drawn, np.int64)
    workload = replace(scenario.workload, clients=rules)
    return replace(scenario, workload=workload), replace(requests, **columns)


def agree(run: Played, answers: list[Answer], replicas: list[Replica]) -> None:
    """Hold a run against the oracle: every time, outcome, step and wait."""

    def known(value: int | None) -> int:
        return -1 if value is None else value

    left = [answer.given_up is not None for answer in answers]
    assert run.rows(
        *("requests", "arrival_ns", "start_ns", "decode_start_ns", "finish_ns", "replica"),
        *("given_up_ns", "generated_tokens"),
    ) == [
        (
            answer.arrival,
            known(answer.start),
            known(answer.decode_start),
            known(answer.finish),
            known(answer.replica),
            known(answer.given_up),
            len(answer.tokens) if gone else -1,
        )
        for answer, gone in zip(answers, left, strict=True)
    ]
    assert run["requests"]["first_token_ns"].tolist() == [
        answer.tokens[0]
        if answer.tokens
        and not (answer.given_up is not None and answer.tokens[0] > answer.given_up)
        else -1
        for answer in answers
    ]
    assert run["requests"]["outcome"].tolist() == [answer.outcome for answer in answers]
    found = sorted(
        (track, ts, ts + dur, name_of(name))
        for (track, ts, dur, name), step in zip(
            run.rows("spans", "track", "ts_ns", "dur_ns", "name"), run.of("stage"), strict=True
        )
        if step
    )
    assert found == [
        (each.replica, each.start, each.end, each.name)
        for replica in replicas
        for each in replica.spans
    ]
    waits: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for request, since, until, cause in sorted(
        run.rows("waits", "request", "from_ns", "until_ns", "cause")
    ):
        own = waits[request]
        joined = bool(own) and own[-1][1:] == (since, name_of(cause))
        own.append((own.pop()[0] if joined else since, until, name_of(cause)))
    assert {key: waits[key] for key in range(len(answers))} == {
        key: answer.waits for key, answer in enumerate(answers)
    }
    work: dict[int, int] = defaultdict(int)
    for replica in replicas:
        for step in replica.spans:
            for number in step.requests:
                work[number] += step.end - step.start
    for answer in answers:
        if answer.finish is not None:
            waited = sum(until - since for since, until, _ in answer.waits)
            assert waited + work[answer.number] == answer.finish - answer.arrival


@given(answering())
@settings(max_examples=200, deadline=None)
def test_clients_of_the_compiled_engine_do_as_the_obvious_ones(deployed: Deployed) -> None:
    scenario, requests = deployed
    answers, replicas = told(scenario, requests)
    run = gathered(simulate(scenario, requests))
    event(f"outcomes: {sorted({answer.outcome for answer in answers})}")
    event(f"retried: {len(answers) > len(requests)}")
    agree(run, answers, replicas)


def rows_of(run: Played, table: str) -> list[tuple[Any, ...]]:
    return [tuple(map(str, row)) for row in run.rows(table, *run[table])]


@given(answering())
@settings(max_examples=40, deadline=None)
def test_buffers_and_trace_levels_move_no_request(deployed: Deployed) -> None:
    scenario, requests = deployed
    whole = gathered(simulate(scenario, requests))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LONGEST_RUN", "WAITS_AT_ONCE", "SAMPLES_AT_ONCE"):
            patch.setattr(engine_run, name, 2)
        for module in (spans, engine_run):
            patch.setattr(module, "SPANS_AT_ONCE", 8)
        pieces = gathered(simulate(scenario, requests))
    for table in whole.tables:
        assert rows_of(whole, table) == rows_of(pieces, table)
    coarse = Trace(level="requests", renderings=())
    less = gathered(simulate(replace(scenario, trace=coarse), requests))
    for table in ("requests", "totals"):
        assert rows_of(whole, table) == rows_of(less, table)
    waited = [
        np.bincount(run["waits"]["request"], run["waits"]["wait_ns"], whole.count("requests"))
        for run in (whole, less)
    ]
    assert waited[0].tolist() == waited[1].tolist()


@given(answering())
@settings(max_examples=40, deadline=None)
def test_every_request_ends_once_and_leaves_nothing_behind(deployed: Deployed) -> None:
    """Each row is sent, each try but the last came to nothing, and blocks and queues are empty."""
    scenario, requests = deployed
    run = gathered(simulate(scenario, requests))
    rows, count = run["requests"], len(requests)
    first = np.where(rows["attempt_of"] < 0, np.arange(run.count("requests")), rows["attempt_of"])
    assert sorted(set(first.tolist())) == list(range(count))
    last = {row: key for key, row in enumerate(first.tolist())}
    again = np.setdiff1d(np.arange(len(first)), list(last.values()))
    assert set(rows["outcome"][again].tolist()) <= {"timed_out", "refused"}
    sent = rows["finish_ns"] >= 0
    assert (rows["outcome"][~sent] == "refused").all()
    ends: dict[int, float] = {}
    area, names = 0.0, run["counter_defs"]["name"]
    for ts, counter, value in run.rows("counters", "ts_ns", "counter", "value"):
        if not names[counter].startswith(("cost", "KV")):
            since, held = ends.get(-1 - counter, 0), ends.get(counter, 0)
            area += held * (ts - since)
            ends[-1 - counter] = ts
        ends[counter] = value
    assert not any(
        value
        for counter, value in ends.items()
        if counter >= 0 and names[counter] not in {"cost so far", "KV blocks cached"}
    )
    assert area == run.e2e[sent].sum(), "Little's law, exactly"


@given(engines.deployed())
@settings(max_examples=40, deadline=None)
def test_limits_that_nobody_reaches_change_nothing(deployed: Deployed) -> None:
    scenario, requests = deployed
    plain = gathered(simulate(scenario, requests))
    clients = Clients(first_token_s=1e6, whole_s=1e6)
    limited = replace(scenario, workload=replace(scenario.workload, clients=clients))
    watched = gathered(simulate(limited, requests))
    for table in plain.tables:
        assert rows_of(plain, table) == rows_of(watched, table)


# -- the textbook --------------------------------------------------------------------------------

SERVICE_NS, THINK_NS = 10_000_000, 50_000_000


def loop(clients: int, entries: int, think: str) -> Scenario:
    """One seat that serves each request in 10 ms, and clients that think for 50 ms."""
    scenario = engines.single(pairs=((1, 1),) * entries, max_num_seqs=1)
    arrivals = Arrivals(
        "closed_loop",
        concurrency=clients,
        think_s=THINK_NS / 1e9,
        think="exponential" if think == "exponential" else "constant",
    )
    return replace(
        scenario,
        workload=replace(scenario.workload, arrivals=arrivals),
        timing=FixedTiming(prompt_s=SERVICE_NS / 1e9, token_s=1e-3),
        trace=Trace(level="requests", renderings=()),
    )


@pytest.mark.parametrize("clients", [1, 2, 5, 6, 7, 20])
def test_a_closed_loop_has_the_throughput_of_its_bottleneck(clients: int) -> None:
    """X = min(N / (Z + S), 1 / S): constant times keep to the asymptotes exactly."""
    rows = gathered(simulate(loop(clients, 12 * clients, "constant")))["requests"]
    finish = np.sort(rows["finish_ns"])
    cycle = finish[clients:] - finish[:-clients]
    assert set(cycle.tolist()) == {max(THINK_NS + SERVICE_NS, clients * SERVICE_NS)}


def test_the_interactive_response_time_law_is_exact() -> None:
    """N = X (R + Z): as long as there are requests, every client either waits or thinks."""
    clients, entries = 9, 3_000
    scenario = loop(clients, entries, "exponential")
    thinks = build(scenario).think_ns
    assert thinks is not None
    rows = gathered(simulate(scenario))["requests"]
    finish = np.sort(rows["finish_ns"])
    assert (rows["arrival_ns"][clients:] == finish[:-clients] + thinks[clients:]).all()
    until = finish[-clients]
    began = rows["arrival_ns"] - thinks
    assert (
        np.minimum(rows["finish_ns"], until) - np.minimum(began, until)
    ).sum() == clients * until
    done = rows["finish_ns"] <= until
    rate, cycle = done.sum() / until, (rows["finish_ns"] - began)[done].mean()
    assert rate * cycle == pytest.approx(clients, rel=0.01)
    assert rate < min(clients / (THINK_NS + SERVICE_NS), 1 / SERVICE_NS)


def test_a_request_in_a_step_leaves_as_the_step_ends() -> None:
    """Steps of 1 us; both are given up after 2.5 us, in the third step and in the queue."""
    scenario = engines.single(pairs=((4, 9), (4, 9)), max_num_seqs=1)
    clients = Clients(whole_s=2.5e-6)
    scenario = replace(scenario, workload=replace(scenario.workload, clients=clients))
    run = gathered(simulate(scenario))
    assert run.rows("requests", "start_ns", "finish_ns", "given_up_ns", "generated_tokens") == [
        (0, 3000, 2500, 3),
        (-1, 2500, 2500, 0),
    ]
    assert run["requests"]["outcome"].tolist() == ["timed_out", "timed_out"]
