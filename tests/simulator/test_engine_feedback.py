"""Arrivals that hang on the run: exact against the obvious telling, and true to the textbook."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import engines
import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st
from played import Played, gathered, name_of
from step_engine import Answer, Replica
from step_engine import play as told

from toolkit.scenario.model import Clients, Scenario
from toolkit.simulator import simulate
from toolkit.workload import Requests

Deployed = tuple[Scenario, Requests]
MICROSECONDS = st.integers(0, 12).map(lambda us: us * 1000)


@st.composite
def answering(draw: st.DrawFn) -> Deployed:
    """Engines whose clients wait for answers, give up and try again; ties are common."""
    scenario, requests = draw(engines.deployed())
    count = len(requests)
    limit = st.none() | st.sampled_from([1e-6, 3e-6, 8e-6, 2e-5])
    rules = Clients(
        first_token_s=draw(limit),
        whole_s=draw(limit),
        max_retries=draw(st.integers(0, 3)),
    )
    patience = st.just(-1) | MICROSECONDS.map(lambda ns: ns + 1000)
    waits = st.lists(MICROSECONDS, min_size=rules.max_retries, max_size=rules.max_retries)
    rows = 1 if draw(st.booleans()) else count
    after: list[int] = []
    for row in range(count):  # a row that another waits for already is waited for by no second
        free = sorted({-1, *range(row)} - set(after) | {-1})
        after.append(draw(st.sampled_from(free)))
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


@given(answering())
@settings(max_examples=200, deadline=None)
def test_clients_of_the_compiled_engine_do_as_the_obvious_ones(deployed: Deployed) -> None:
    scenario, requests = deployed
    answers, replicas = told(scenario, requests)
    run = gathered(simulate(scenario, requests))
    event(f"outcomes: {sorted({answer.outcome for answer in answers})}")
    event(f"retried: {len(answers) > len(requests)}")
    agree(run, answers, replicas)
