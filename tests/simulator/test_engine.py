"""Engines with continuous batching: exact against the obvious telling, and never out of line."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import engines
import numpy as np
import pytest
from hypothesis import event, given, settings
from played import Played, gathered, name_of
from step_engine import play as told

from toolkit.costs.bounds import bounds, check
from toolkit.scenario.model import Scenario, Trace
from toolkit.simulator import engine_run, simulate, spans
from toolkit.workload import Requests, build
from toolkit.workload.prefixes import shared_tokens

Deployed = tuple[Scenario, Requests]


def waits_of(run: Played) -> dict[int, list[tuple[int, int, str]]]:
    """Return each request's waits in order, those that touch and have one cause as one."""
    found: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    rows = sorted(run.rows("waits", "request", "from_ns", "until_ns", "wait_ns", "cause"))
    for request, since, until, waited, cause in rows:
        assert waited == until - since
        own = found[request]
        if own and own[-1][1:] == (since, name_of(cause)):
            own.append((own.pop()[0], until, name_of(cause)))
        else:
            own.append((since, until, name_of(cause)))
    return found


@given(engines.either())
@settings(max_examples=200, deadline=None)
def test_the_compiled_engine_is_the_obvious_one_to_the_nanosecond(deployed: Deployed) -> None:
    scenario, requests = deployed
    answers, replicas = told(scenario, requests)
    run = gathered(simulate(scenario, requests))
    event(f"preempted: {any(answer.preemptions for answer in answers)}")
    event(f"refused: {any(answer.refused for answer in answers)}")
    event(f"split: {scenario.token_pool is not None}")
    event(f"link busy: {any(wait[2] == 'link_busy' for each in answers for wait in each.waits)}")
    event(f"found in a cache: {any(answer.cached for answer in answers)}")
    event(f"evicted from a cache: {any(each.cache and each.cache.lost for each in replicas)}")

    columns = ("start_ns", "first_token_ns", "decode_start_ns", "finish_ns", "replica")
    assert run.rows("requests", *columns, "cached_tokens") == [
        tuple(
            -1 if value is None else value
            for value in (
                answer.start,
                answer.tokens[0] if answer.tokens else None,
                answer.decode_start,
                answer.finish,
                answer.replica,
                answer.cached,
            )
        )
        for answer in answers
    ]
    assert run["requests"]["outcome"].tolist() == [
        "refused" if answer.refused else "served" for answer in answers
    ]
    steps = run.of("stage")
    found = sorted(
        (track, ts, ts + dur, name_of(name))
        for (track, ts, dur, name), step in zip(
            run.rows("spans", "track", "ts_ns", "dur_ns", "name"), steps, strict=True
        )
        if step
    )
    assert found == [
        (each.replica, each.start, each.end, each.name)
        for replica in replicas
        for each in replica.spans
    ]
    waits = waits_of(run)
    assert {number: waits[number] for number in range(len(answers))} == {
        number: answer.waits for number, answer in enumerate(answers)
    }


@given(engines.either())
@settings(max_examples=60, deadline=None)
def test_every_token_is_a_step_the_request_did_not_wait_for(deployed: Deployed) -> None:
    """Steps between first token and finish, waits cut out, are the tokens of the oracle."""
    scenario, requests = deployed
    answers, _ = told(scenario, requests)
    run = gathered(simulate(scenario, requests))
    ends: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (track, ts, dur), step in zip(
        run.rows("spans", "track", "ts_ns", "dur_ns"), run.of("stage"), strict=True
    ):
        if step:
            ends[track].append((ts, ts + dur))
    waits = waits_of(run)
    for number, answer in enumerate(answers):
        if answer.refused or answer.preemptions:
            continue
        assert answer.replica is not None
        assert answer.finish is not None
        tokens = [
            end
            for start, end in ends[answer.replica]
            if answer.tokens[0] <= start
            and end <= answer.finish
            and not any(since <= start < until for since, until, _ in waits[number])
        ]
        assert [answer.tokens[0], *tokens] == answer.tokens


@given(engines.either())
@settings(max_examples=80, deadline=None)
def test_requests_end_once_and_lose_no_token(deployed: Deployed) -> None:
    scenario, requests = deployed
    answers, _ = told(scenario, requests)
    run = gathered(simulate(scenario, requests))
    refused = run["requests"]["outcome"] == "refused"
    times = run.rows("requests", "arrival_ns", "start_ns", "first_token_ns", "finish_ns")
    for number, (arrival, start, first, finish) in enumerate(times):
        if refused[number]:
            assert (start, first, finish) == (-1, -1, -1)
        else:
            assert arrival <= start < first <= finish
            assert len(answers[number].tokens) == requests.output_tokens[number]


@given(engines.either())
@settings(max_examples=80, deadline=None)
def test_kv_blocks_never_exceed_the_room_and_are_all_given_back(deployed: Deployed) -> None:
    scenario, requests = deployed
    _, replicas = told(scenario, requests)
    run = gathered(simulate(scenario, requests))
    defs = run["counter_defs"]
    chosen = defs["name"] == "KV blocks used"
    for counter, machine in zip(defs["counter"][chosen], defs["machine"][chosen], strict=True):
        own = run["counters"]["counter"] == counter
        values = dict(
            zip(
                run["counters"]["ts_ns"][own].tolist(),
                run["counters"]["value"][own].tolist(),
                strict=True,
            )
        )
        if values:
            assert values[max(values)] == 0
            room = replicas[machine].blocks
            assert room is None or max(values.values()) <= room
            used = replicas[machine].used_at
            assert max(values.values()) == max(used.values())
            assert all(used[ts] == value for ts, value in values.items())


@given(engines.either())
@settings(max_examples=60, deadline=None)
def test_cached_blocks_are_those_the_obvious_cache_has(deployed: Deployed) -> None:
    scenario, requests = deployed
    _, replicas = told(scenario, requests)
    run = gathered(simulate(scenario, requests))
    defs = run["counter_defs"]
    for counter in np.flatnonzero(defs["name"] == "KV blocks cached"):
        rows = run.rows("counters", "ts_ns", "counter", "value")
        values = {ts: value for ts, each, value in rows if each == counter}
        cached = replicas[defs["machine"][counter]].cached_at
        assert all(cached[ts] == value for ts, value in values.items())
    for replica in replicas:
        if replica.cache:
            assert not any(replica.cache.holders.values())
            assert replica.cache.endless or len(replica.cache.free) == replica.cache.made


@given(engines.deployed())
@settings(max_examples=60, deadline=None)
def test_time_in_system_is_the_area_under_the_count(deployed: Deployed) -> None:
    """Little's law, exactly: those that run and wait, over time, are the times in the system."""
    scenario, requests = deployed
    run = gathered(simulate(scenario, requests))
    names = run["counter_defs"]["name"]
    area = 0
    others = ["KV blocks used", "KV blocks cached", "cost so far"]
    for counter in np.flatnonzero(~np.isin(names, others)):
        rows = [
            (ts, value)
            for ts, each, value in run.rows("counters", "ts_ns", "counter", "value")
            if each == counter
        ]
        area += sum(value * (then - ts) for (ts, value), (then, _) in pairwise(rows))
    served = run["requests"]["outcome"] == "served"
    assert area == run.e2e[served].sum()


@given(engines.either())
@settings(max_examples=60, deadline=None)
def test_runs_handed_on_in_pieces_are_the_same_runs(deployed: Deployed) -> None:
    scenario, requests = deployed
    whole = gathered(simulate(scenario, requests))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_run, "LONGEST_RUN", 2)
        patch.setattr(engine_run, "WAITS_AT_ONCE", 1)
        patch.setattr(engine_run, "SAMPLES_AT_ONCE", 1)
        for module in (spans, engine_run):
            patch.setattr(module, "SPANS_AT_ONCE", 8)
        pieces = gathered(simulate(scenario, requests))
    for table in whole.tables:
        for column, values in whole[table].items():
            np.testing.assert_array_equal(values, pieces[table][column], f"{table}.{column}")


@given(engines.either())
@settings(max_examples=60, deadline=None)
def test_a_coarser_trace_level_moves_no_request(deployed: Deployed) -> None:
    scenario, requests = deployed
    full = gathered(simulate(scenario, requests))
    coarse = gathered(
        simulate(replace(scenario, trace=Trace(level="requests", renderings=())), requests)
    )
    for table in ("requests", "totals"):
        for column, values in full[table].items():
            assert values.tolist() == coarse[table][column].tolist()
    sums = [
        {
            number: sum(
                waited
                for request, waited in run.rows("waits", "request", "wait_ns")
                if request == number
            )
            for number in range(len(requests))
        }
        for run in (full, coarse)
    ]
    assert sums[0] == sums[1]


def stretches(times: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what intervals cover together."""
    covered: list[tuple[int, int]] = []
    for since, until in sorted(times):
        if covered and since <= covered[-1][1]:
            covered[-1] = (covered[-1][0], max(until, covered[-1][1]))
        else:
            covered.append((since, until))
    return covered


@given(engines.either())
@settings(max_examples=60, deadline=None)
def test_no_replica_stands_still_while_a_request_of_its_own_is_there(deployed: Deployed) -> None:
    """Work conservation: steps cover the time from arrival to finish of a replica's requests.

    Of a token replica from the arrival of their KV caches.  A prompt replica may
    wait for blocks whose KV cache is on its way, and so may one that gave way.
    """
    scenario, requests = deployed
    run = gathered(simulate(scenario, requests))
    causes = {name_of(cause) for (cause,) in run.rows("waits", "cause")}
    pools = scenario.token_pool is not None
    if pools and causes & {"preempted", "kv_room"}:
        return
    shared = scenario.deployment.router == "shared_queue"
    lives, steps = defaultdict(list), defaultdict(list)
    for replica, prompts, arrival, start, until, landed, finish in run.rows(
        *("requests", "replica", "prompt_replica", "arrival_ns", "start_ns"),
        *("prefill_end_ns", "kv_ready_ns", "finish_ns"),
    ):
        since = start if shared else arrival
        if replica >= 0 and prompts in {-1, replica}:
            lives[replica].append((since, finish))
        elif replica >= 0:
            lives[prompts].append((since, until))
            lives[replica].append((landed, finish))
    for (track, ts, dur), on_stage in zip(
        run.rows("spans", "track", "ts_ns", "dur_ns"), run.of("stage"), strict=True
    ):
        if on_stage:
            steps[track].append((ts, ts + dur))
    assert {at: stretches(own) for at, own in lives.items()} == {
        at: stretches(own) for at, own in steps.items()
    }


@given(engines.either())
@settings(max_examples=60, deadline=None)
def test_no_run_ends_before_its_bounds(deployed: Deployed) -> None:
    scenario, requests = deployed
    finish = gathered(simulate(scenario, requests))["requests"]["finish_ns"]
    if finish.max() >= 0:
        check(bounds(scenario, requests, shared_tokens(scenario, requests)), int(finish.max()))


def test_the_priority_of_a_request_decides_who_is_admitted() -> None:
    """Three at once for one seat: the last to come has the lowest number, and goes first."""
    scenario = engines.single(
        pairs=((4, 2), (4, 2), (4, 2)), max_num_seqs=1, queue_order="priority"
    )
    requests = replace(build(scenario), priority=np.array([1, 2, 0], np.int32))
    starts = gathered(simulate(scenario, requests))["requests"]["start_ns"].tolist()
    assert sorted(range(3), key=starts.__getitem__) == [2, 0, 1]


def test_chunks_fill_the_tokens_that_decodes_leave() -> None:
    """A prompt of 10 behind a decode, 4 tokens a step: 3 + 3 + 3 + 1 tokens in mixed steps."""
    scenario = engines.single(
        pairs=((1, 9), (10, 1)),
        times_s=(0.0, 1e-6),
        max_num_seqs=2,
        max_num_batched_tokens=4,
    )
    run = gathered(simulate(scenario))
    names = [
        name_of(name)
        for (name,), on_stage in zip(run.rows("spans", "name"), run.of("stage"), strict=True)
        if on_stage
    ]
    assert names == ["prefill", *["mixed"] * 4, *["decode"] * 4]


def test_the_last_admitted_gives_way_and_computes_its_answer_anew() -> None:
    """Five blocks of two tokens for two requests that want three each."""
    scenario = engines.single(
        pairs=((3, 4), (3, 4)), max_num_seqs=2, kv_block_tokens=2, kv_blocks=5
    )
    run = gathered(simulate(scenario))
    waits = [(request, name_of(cause)) for request, cause in run.rows("waits", "request", "cause")]
    assert (1, "preempted") in waits
    assert (0, "preempted") not in waits
    finish = run["requests"]["finish_ns"].tolist()
    assert finish[0] < finish[1]
