"""The compiled loops agree with slow and obvious tellings of the same rules, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import deployments
import numpy as np
from failing import FailingWorld
from hypothesis import given, settings
from played import Played, gathered, name_of, or_none, play
from published import PROMPT, Span, baseline, disaggregated
from stepwise import World

from toolkit.scenario.model import FixedTiming, Scenario, Trace
from toolkit.simulator import simulate
from toolkit.simulator.batches import Batches, pack, plan
from toolkit.simulator.failures import upcoming
from toolkit.simulator.layout import lay_out
from toolkit.trace.columns import NULL
from toolkit.workload import Requests, build

# -- dejavu: the published programs --------------------------------------------------------------


def published(scenario: Scenario, requests: Requests) -> tuple[list[float], list[Span]]:
    """Return ends and spans as the published programs have them, part by part."""
    timing, deployment = scenario.timing, scenario.deployment
    assert isinstance(timing, FixedTiming)
    prompt_us, token_us, cache_us = (
        float(f"{seconds * 1e6:.15g}")
        for seconds in (timing.prompt_s, timing.token_s, timing.cache_s)
    )
    tokens, arrivals = requests.output_tokens.tolist(), requests.arrival_us.tolist()
    spans: list[Span] = []
    if deployment.kind == "disaggregated":
        stages = scenario.prompt_stages, scenario.token_stages
        return disaggregated(tokens, arrivals, *stages, prompt_us, token_us, cache_us, spans), spans
    ends: list[float] = []
    size, stages_each = len(tokens) // deployment.data_parallel, scenario.token_stages
    for part in range(deployment.data_parallel):
        own: list[Span] = []
        chosen = slice(part * size, (part + 1) * size)
        ends += baseline(tokens[chosen], arrivals[chosen], stages_each, prompt_us, token_us, own)
        spans += [
            (start, end, stage + part * stages_each, request + part * size, token)
            for start, end, stage, request, token in own
        ]
    return ends, spans


def ns(us: float) -> int:
    return int(np.rint(us * 1000.0))


@given(deployments.dejavu())
@settings(max_examples=150, deadline=None)
def test_dejavu_is_the_published_work_list(scenario: Scenario) -> None:
    requests = build(scenario)
    ends, spans = published(scenario, requests)
    run = play(scenario)

    assert run["requests"]["finish_ns"].tolist() == [ns(end) for end in ends]
    assert stage_spans(run, "ts_ns", "dur_ns", "track", "request", "token") == sorted(
        (ns(start), ns(end) - ns(start), stage, request, NULL if token == PROMPT else token)
        for start, end, stage, request, token in spans
    )


def stage_spans(run: Played, *columns: str) -> list[tuple[int, ...]]:
    on_stage = run.of("stage")
    return sorted(
        zip(*(run["spans"][column][on_stage].tolist() for column in columns), strict=True)
    )


@given(deployments.dejavu())
@settings(max_examples=150, deadline=None)
def test_dejavu_without_spans_comes_to_the_same_ends(scenario: Scenario) -> None:
    """Where no span is wanted, calm stretches are leapt over."""
    ends, _ = published(scenario, build(scenario))

    run = play(replace(scenario, trace=Trace("requests", ())))

    assert run["requests"]["finish_ns"].tolist() == [ns(end) for end in ends]


@given(deployments.dejavu())
@settings(max_examples=50, deadline=None)
def test_first_tokens_of_dejavu_come_with_the_first_token_pass(scenario: Scenario) -> None:
    _, spans = published(scenario, build(scenario))
    first: dict[int, int] = {}
    for _, end, _, request, token in spans:
        if token == 0:
            first[request] = ns(end)  # the last stage comes last

    run = play(scenario)

    assert run["requests"]["first_token_ns"].tolist() == [first[r] for r in sorted(first)]


# -- event: the stepwise world -------------------------------------------------------------------


@given(deployments.event())
@settings(max_examples=300, deadline=None)
def test_event_is_what_the_stepwise_world_does(scenario: Scenario) -> None:
    requests = build(scenario)
    layout = lay_out(scenario)
    batches = pack(scenario, requests)
    world = World(plan(scenario, layout, batches, requests)).play()

    run = gathered(simulate(scenario, requests))

    assert_alike(run, world, batches, requests)


def assert_alike(run: Played, world: World, batches: Batches, requests: Requests) -> None:
    assert requests_of(run) == sorted(expected_requests(world, batches, requests))
    assert spans_of(run) == sorted(expected_spans(world, batches))
    assert waits_of(run) == sorted(expected_waits(world, batches), key=str)
    assert totals_of(run) == expected_totals(world)


@given(deployments.failing())
@settings(max_examples=100, deadline=None)
def test_failing_machines_do_what_they_do_in_the_stepwise_world(scenario: Scenario) -> None:
    requests = build(scenario)
    layout = lay_out(scenario)
    batches = pack(scenario, requests)
    failures, start = upcoming(scenario.failures, layout, 200)
    told = plan(scenario, layout, batches, requests)
    told = told._replace(faults=told.faults._replace(failures=failures, start=start))
    world = FailingWorld(told).play()

    assert_alike(gathered(simulate(scenario, requests)), world, batches, requests)


REQUEST_TIMES = (
    "request",
    "lead",
    "replica",
    "start_ns",
    "prefill_end_ns",
    "kv_ready_ns",
    "first_token_ns",
    "decode_start_ns",
    "finish_ns",
)


def requests_of(run: Played) -> list[tuple[int, ...]]:
    return sorted(run.rows("requests", *REQUEST_TIMES))


def expected_requests(
    world: World, batches: Batches, requests: Requests
) -> Iterator[tuple[int, ...]]:
    """Yield what became of each request: members leave their batch when they have their tokens."""
    for batch in world.batches:
        low, high = batches.member_start[batch.number : batch.number + 2]
        lead, pipe = int(batches.lead[batch.number]), batch.pipe
        assert pipe is not None
        assert batch.start is not None
        for member in batches.members[low:high].tolist():
            passes = int(requests.output_tokens[member]) - 1
            landed = NULL if batch.kv_ready is None or not passes else batch.kv_ready
            began = NULL if batch.decode_start is None or not passes else batch.decode_start
            times = batch.start, batch.ends[0], landed, batch.ends[0], began, batch.ends[passes]
            yield member, lead, pipe, *times


def spans_of(run: Played) -> list[tuple[int, ...]]:
    served = run.of("stage") | run.of("link")
    columns = ("ts_ns", "dur_ns", "track", "name", "request", "token", "step", "bytes")
    chosen = [run["spans"][column][served].tolist() for column in columns]
    return sorted((*row[:3], name_of(row[3]), *row[4:]) for row in zip(*chosen, strict=True))


def expected_spans(world: World, batches: Batches) -> Iterator[tuple[object, ...]]:
    for span in world.spans:
        numbers = (span.token, span.step, span.nbytes)
        nulls = (NULL if number is None else number for number in numbers)
        lead = NULL if span.batch is None else int(batches.lead[span.batch])
        yield span.ts, span.dur, span.track, span.name, lead, *nulls


def waits_of(run: Played) -> list[tuple[object, ...]]:
    columns = ("request", "from_ns", "until_ns", "cause", "on_request", "on_track")
    rows = [
        (request, since, until, name_of(cause), or_none(on), or_none(track))
        for request, since, until, cause, on, track in run.rows("waits", *columns)
    ]
    return sorted((row for row in rows if row[3] != "packing"), key=str)


def expected_waits(world: World, batches: Batches) -> Iterator[tuple[object, ...]]:
    for wait in world.waits:
        on = None if wait.on_batch is None else int(batches.lead[wait.on_batch])
        yield (
            int(batches.lead[wait.batch]),
            *(wait.since, wait.until, wait.cause, on, wait.on_track),
        )


def totals_of(run: Played) -> dict[tuple[int, str], tuple[int, int, int]]:
    lanes = set(run.tracks("lane"))
    return {
        (track, name_of(name)): (busy, count, max(nbytes, 0))
        for track, name, busy, count, nbytes in run.rows(
            "totals", "track", "name", "busy_ns", "count", "bytes"
        )
        if track not in lanes
    }


def expected_totals(world: World) -> dict[tuple[int, str], tuple[int, int, int]]:
    totals: dict[tuple[int, str], tuple[int, int, int]] = {}
    for span in world.spans:
        busy, count, nbytes = totals.get((span.track, span.name), (0, 0, 0))
        totals[span.track, span.name] = busy + span.dur, count + 1, nbytes + (span.nbytes or 0)
    return totals


# -- packing -------------------------------------------------------------------------------------


def packed(scenario: Scenario, requests: Requests) -> list[tuple[int, int, list[int]]]:
    """Return (ready, queue, members) of each microbatch, filled request by request."""
    deployment = scenario.deployment
    shared = deployment.kind == "disaggregated" or deployment.router == "shared_queue"
    queues = 1 if shared else deployment.data_parallel
    full = 1 if scenario.workload.entry == "microbatch" else deployment.microbatch_size
    longest_s = deployment.max_wait_s
    by_arrival = sorted(range(len(requests)), key=lambda entry: requests.arrival_ns[entry])
    done: list[tuple[int, int, list[int]]] = []
    for queue in range(queues):
        filling: list[int] = []
        deadline = 0

        for entry in by_arrival[queue::queues]:
            at = int(requests.arrival_ns[entry])
            if filling and longest_s is not None and at > deadline:
                done.append((deadline, queue, filling))
                filling = []
            if not filling:
                deadline = at + round((longest_s or 0.0) * 1e9)
            filling = [*filling, entry]
            if len(filling) == full:
                done.append((at, queue, filling))
                filling = []
        if filling:
            last = int(requests.arrival_ns[filling[-1]])
            done.append((last if longest_s is None else deadline, queue, filling))
    return sorted(done, key=lambda group: (group[0], by_arrival.index(group[2][0])))


@given(deployments.event())
@settings(max_examples=150, deadline=None)
def test_requests_are_packed_as_they_come(scenario: Scenario) -> None:
    requests = build(scenario)

    batches = pack(scenario, requests)

    split = np.split(batches.members, batches.member_start[1:-1])
    assert packed(scenario, requests) == [
        (ready, queue, members.tolist())
        for ready, queue, members in zip(
            batches.ready_ns.tolist(), batches.queue.tolist(), split, strict=True
        )
    ]
    assert batches.lead.tolist() == [int(members[0]) for members in split]
    for column, combine in (("size", sum), ("prompt_tokens", max), ("output_tokens", max)):
        of_requests, of_batches = getattr(requests, column), getattr(batches, column)
        assert of_batches.tolist() == [combine(of_requests[members].tolist()) for members in split]
