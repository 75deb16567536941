"""What holds of every run, whatever the deployment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import deployments
import numpy as np
import pytest
from hypothesis import given, settings
from played import Played, buffers, gathered, play

from toolkit.scenario.model import Scenario, Trace
from toolkit.simulator import event, simulate
from toolkit.simulator.batches import pack
from toolkit.simulator.layout import lay_out
from toolkit.trace.columns import NAMES, NULL, Chunk, name_key
from toolkit.workload import build

some = settings(max_examples=60, deadline=None)

WORK = ("prefill", "decode", "activation")


def at_level(scenario: Scenario, level: Any) -> Scenario:
    return replace(scenario, trace=Trace(level, ()))


# -- the format ----------------------------------------------------------------------------------


@given(deployments.scenarios())
@some
def test_spans_are_sorted_by_time_then_track(scenario: Scenario) -> None:
    order = play(scenario).rows("spans", "ts_ns", "track")
    assert order == sorted(order)


@given(deployments.scenarios())
@some
def test_a_track_does_one_thing_at_a_time(scenario: Scenario) -> None:
    """Stages, links and request lanes alike."""
    until: dict[int, int] = defaultdict(int)
    for start, took, track in play(scenario).rows("spans", "ts_ns", "dur_ns", "track"):
        assert start >= until[track]
        assert took >= 0
        until[track] = start + took


@given(deployments.scenarios())
@some
def test_every_key_resolves(scenario: Scenario) -> None:
    run = play(scenario)
    tracks, requests = run.count("tracks"), run.count("requests")
    assert run["tracks"]["track"].tolist() == list(range(tracks))
    assert run["requests"]["request"].tolist() == list(range(requests))
    assert len(set(zip(run["tracks"]["kind"], run["tracks"]["name"], strict=True))) == tracks
    for table, column, target, optional in (
        ("spans", "track", tracks, False),
        ("spans", "name", len(NAMES), False),
        ("spans", "request", requests, False),
        ("totals", "track", tracks, False),
        ("waits", "request", requests, False),
        ("waits", "cause", len(NAMES), False),
        ("waits", "on_request", requests, True),
        ("waits", "on_track", tracks, True),
        ("requests", "lead", requests, False),
        ("requests", "lane", tracks, False),
        ("counters", "counter", run.count("counter_defs"), False),
        ("counter_defs", "machine", run.count("machines"), True),
        ("tracks", "machine", run.count("machines"), True),
    ):
        keys = run[table][column]
        assert np.all(keys < target), (table, column)
        assert np.all(keys >= (NULL if optional else 0)), (table, column)


@given(deployments.scenarios())
@some
def test_flows_pass_by_spans_in_order_of_time(scenario: Scenario) -> None:
    """Prompt, transfer, first decode: each the first span of its track to start there and then."""
    run = play(scenario)
    starts = set(run.rows("spans", "track", "ts_ns"))
    flows = run.rows("flows", "flow", "order", "track", "ts_ns", "ordinal")
    for flow, order, track, ts, ordinal in flows:
        assert (track, ts) in starts
        assert ordinal == 0
        assert order < 3
        assert ts >= run["requests"]["arrival_ns"][flow]
    ends = run.rows("flows", "flow", "order", "ts_ns")
    assert ends == sorted(ends)
    times = [(flow, ts) for flow, _, ts in ends]
    assert times == sorted(times)


@given(deployments.scenarios())
@some
def test_totals_are_what_spans_add_up_to(scenario: Scenario) -> None:
    run = play(scenario)
    sums: dict[tuple[int, int], tuple[int, int, int]] = {}
    for track, name, took, moved in run.rows("spans", "track", "name", "dur_ns", "bytes"):
        busy, count, nbytes = sums.get((track, name), (0, 0, NULL))
        nbytes = nbytes if moved == NULL else max(nbytes, 0) + moved
        sums[track, name] = busy + took, count + 1, nbytes
    totals = run.rows("totals", "track", "name", "busy_ns", "count", "bytes")
    assert {(track, name): row for track, name, *row in totals} == {
        key: list(row) for key, row in sums.items()
    }
    assert totals == sorted(totals)


# -- requests ------------------------------------------------------------------------------------


@given(deployments.scenarios())
@some
def test_requests_in_are_requests_out(scenario: Scenario) -> None:
    requests = build(scenario)
    run = gathered(simulate(scenario, requests))

    assert run["requests"]["outcome"].tolist() == ["served"] * len(requests)
    for column in ("arrival_ns", "prompt_tokens", "output_tokens", "size"):
        assert run["requests"][column].tolist() == getattr(requests, column).tolist()


@given(deployments.scenarios())
@some
def test_a_request_runs_its_course(scenario: Scenario) -> None:
    """Arrival, start, prompt done, cache there, first decode, end; what never happened is null."""
    run = play(scenario)
    disaggregated = scenario.deployment.kind == "disaggregated"
    for row in run.rows(
        "requests",
        *("arrival_ns", "start_ns", "prefill_end_ns", "kv_ready_ns", "decode_start_ns"),
        *("first_token_ns", "finish_ns", "output_tokens"),
    ):
        *times, first_token, finish, tokens = row
        happened = [time for time in (*times, finish) if time != NULL]
        decodes = scenario.discipline == "dejavu" or tokens > 1
        assert happened == sorted(happened)
        assert (times[3] != NULL) == (disaggregated and decodes)
        assert (times[4] != NULL) == decodes
        assert times[2] <= first_token <= finish
        assert (finish == first_token) <= (tokens == 1) or scenario.discipline == "dejavu"


@given(deployments.scenarios())
@some
def test_no_work_for_a_request_begins_before_it_arrives(scenario: Scenario) -> None:
    """Nor for a microbatch before its last member is there."""
    run = play(scenario)
    ready = np.zeros(run.count("requests"), np.int64)
    np.maximum.at(ready, run["requests"]["lead"], run["requests"]["arrival_ns"])
    lanes = run.of("lane")
    request, start = run["spans"]["request"], run["spans"]["ts_ns"]
    assert np.all(start[~lanes] >= ready[request[~lanes]])
    assert np.all(start[lanes] >= run["requests"]["arrival_ns"][request[lanes]])


@given(deployments.scenarios())
@some
def test_a_lane_tells_a_requests_whole_time(scenario: Scenario) -> None:
    run = play(scenario)
    lanes = run.of("lane")
    in_lane = np.zeros(run.count("requests"), np.int64)
    np.add.at(in_lane, run["spans"]["request"][lanes], run["spans"]["dur_ns"][lanes])
    assert in_lane.tolist() == run.e2e.tolist()
    lane_of = run["requests"]["lane"]
    assert np.array_equal(run["spans"]["track"][lanes], lane_of[run["spans"]["request"][lanes]])


def stretches(run: Played, request: int) -> Iterator[tuple[int, int]]:
    """Yield from when to when a request waited and was worked for, up to its own finish.

    Its own packing, else whatever its microbatch, by the lead, waited for and did.
    """
    lead = run["requests"]["lead"][request]
    finish = run["requests"]["finish_ns"][request]
    waits, work = run["waits"], run["spans"]
    packing = run.named("waits", "packing")
    mine = np.where(packing, waits["request"] == request, waits["request"] == lead)
    mine &= waits["until_ns"] <= finish
    yield from zip(waits["from_ns"][mine].tolist(), waits["until_ns"][mine].tolist(), strict=True)
    done = (work["request"] == lead) & run.named("spans", *WORK) & ~run.of("lane")
    ends = work["ts_ns"] + work["dur_ns"]
    done &= ends <= finish
    yield from zip(work["ts_ns"][done].tolist(), ends[done].tolist(), strict=True)


@given(deployments.scenarios())
@some
def test_waits_and_work_tile_a_requests_time(scenario: Scenario) -> None:
    """From arrival to finish without a gap, and without two things at a time."""
    run = play(scenario)
    for request, arrival, finish in run.rows("requests", "request", "arrival_ns", "finish_ns"):
        inside = sorted(stretches(run, request))
        assert [arrival, *(until for _, until in inside)] == [*(at for at, _ in inside), finish]
    waits = run["waits"]
    assert np.array_equal(waits["wait_ns"], waits["until_ns"] - waits["from_ns"])


# -- room and places -----------------------------------------------------------------------------


def counter_rows(run: Played, share_key: str) -> Iterator[tuple[int, str, list[float]]]:
    """Yield (machine, name, values) of the counters of a kind, in order of time."""
    defs = run["counter_defs"]
    for counter in np.flatnonzero(defs["share_key"] == share_key).tolist():
        here = run["counters"]["counter"] == counter
        times = run["counters"]["ts_ns"][here]
        assert np.all(times[1:] > times[:-1])
        machine = int(defs["machine"][counter])
        yield machine, str(defs["name"][counter]), run["counters"]["value"][here].tolist()


@given(deployments.scenarios())
@some
def test_what_is_taken_is_given_back(scenario: Scenario) -> None:
    run = play(scenario)
    assert np.all(run["counters"]["ts_ns"][1:] >= run["counters"]["ts_ns"][:-1])
    for share_key in ("in_flight", "queued", "kv"):
        for _, name, values in counter_rows(run, share_key):
            assert min(values, default=0) >= 0, name
            assert values[-1:] in ([], [0]), name


@given(deployments.event())
@some
def test_caches_never_take_more_than_the_machines_have(scenario: Scenario) -> None:
    model, memory = scenario.model, scenario.hardware.memory_bytes
    assert model is not None
    run = play(scenario)
    layers, role = run["machines"]["layers"], run["machines"]["role"]
    for machine, _, values in counter_rows(run, "kv"):
        share = float(layers[machine]) / model.layers
        buffer = scenario.deployment.kv_buffer_bytes if role[machine] == "token" else 0.0
        if memory is not None:
            assert (
                max(values, default=0)
                <= memory - model.weights_bytes * share + buffer * share + 0.5
            )


@given(deployments.event())
@some
def test_no_more_microbatches_are_in_flight_than_stated(scenario: Scenario) -> None:
    stated = scenario.deployment.microbatches_in_flight
    for _, name, values in counter_rows(play(scenario), "in_flight"):
        if "prompt" not in name:
            assert max(values, default=0) <= (stated or scenario.token_stages)


# -- transfers -----------------------------------------------------------------------------------


@given(deployments.disaggregated())
@some
def test_bytes_sent_are_bytes_received_are_the_caches_of_what_decodes(scenario: Scenario) -> None:
    run = play(scenario)
    assert scenario.model is not None
    sent, received = run.named("spans", "kv_transfer"), run.named("spans", "kv_receive")
    lanes = run.of("lane")
    columns = [run["spans"][column] for column in ("request", "ts_ns", "dur_ns")]

    def when(chosen: Any) -> list[tuple[int, ...]]:
        return sorted(zip(*(column[chosen & ~lanes].tolist() for column in columns), strict=True))

    if scenario.hardware.links == "shared":
        assert not received.any()
    else:
        assert when(sent) == when(received)
    batches = pack(scenario, build(scenario))
    decoding = batches.output_tokens > 1
    tokens = (batches.size * batches.prompt_tokens)[decoding].sum()
    assert run["spans"]["bytes"][sent].sum() == tokens * scenario.model.kv_bytes_per_token
    moved = run.named("totals", "kv_transfer")
    assert run["totals"]["bytes"][moved].sum() == run["spans"]["bytes"][sent].sum()


@given(deployments.disaggregated())
@some
def test_no_decode_before_its_cache_is_there(scenario: Scenario) -> None:
    run = play(scenario)
    landed = np.zeros(run.count("requests"), np.int64)
    arriving = run.named("spans", "kv_transfer")
    work = run["spans"]
    ends = work["ts_ns"] + work["dur_ns"]
    np.maximum.at(landed, work["request"][arriving], ends[arriving])
    decoding = run.named("spans", "decode") & run.of("stage")
    assert np.all(work["ts_ns"][decoding] >= landed[work["request"][decoding]])


@given(deployments.event())
@some
def test_a_link_is_never_above_its_bandwidth(scenario: Scenario) -> None:
    """Busy time is at least bytes over bandwidth, but for a nanosecond of rounding a transfer."""
    run, link = play(scenario), scenario.hardware.link
    assert link is not None
    stated = scenario.deployment.transfer_time_s is not None or scenario.timing.kind == "fixed"
    names = ("activation",) if stated else ("activation", "kv_transfer")
    chosen = run.named("totals", *names)
    totals = {column: values[chosen] for column, values in run["totals"].items()}
    least_ns = totals["bytes"] / link.bytes_per_s * 1e9
    assert np.all(totals["busy_ns"] + totals["count"] >= least_ns)


# -- levels and streaming ------------------------------------------------------------------------


@given(deployments.scenarios())
@some
def test_levels_tell_the_same_with_less(scenario: Scenario) -> None:
    full, steps, bare = (play(at_level(scenario, level)) for level in ("full", "steps", "requests"))

    for run in (steps, bare):
        for table in ("machines", "tracks", "names", "requests", "totals"):
            for column, values in full[table].items():
                assert np.array_equal(
                    values, run[table][column], equal_nan=values.dtype.kind == "f"
                ), (table, column)
    for table in ("spans", "flows", "counters", "counter_defs"):
        assert bare.count(table) == 0
    for table in ("counters", "waits"):
        for column, values in full[table].items():
            assert np.array_equal(values, steps[table][column])
    last = [pipeline.stages[-1] for pipeline in lay_out(scenario).pipelines]
    kept = np.isin(full["spans"]["track"], last) | ~full.of("stage")
    for column, values in full["spans"].items():
        assert np.array_equal(values[kept], steps["spans"][column]), column
    assert set(steps.rows("flows", "track", "ts_ns")) <= set(steps.rows("spans", "track", "ts_ns"))
    assert waited(bare) == waited(full)


def waited(run: Played) -> dict[tuple[int, int], int]:
    """Return how long each request waited for each cause."""
    sums: dict[tuple[int, int], int] = defaultdict(int)
    for request, cause, time in run.rows("waits", "request", "cause", "wait_ns"):
        sums[request, cause] += time
    return dict(sums)


@given(deployments.event())
@some
def test_members_of_a_microbatch_can_tell_their_waits_at_level_requests(scenario: Scenario) -> None:
    """A member counts its own packing and its lead's rows up to its finish, and its lead's work."""
    full, bare = play(scenario), play(at_level(scenario, "requests"))
    waits, packing = bare["waits"], name_key("packing")
    for request, lead, finish in bare.rows("requests", "request", "lead", "finish_ns"):
        own = np.where(
            waits["cause"] == packing, waits["request"] == request, waits["request"] == lead
        )
        own &= waits["until_ns"] <= finish
        work = (full["spans"]["request"] == lead) & full.named("spans", *WORK) & ~full.of("lane")
        work &= full["spans"]["ts_ns"] + full["spans"]["dur_ns"] <= finish
        spent = waits["wait_ns"][own].sum() + full["spans"]["dur_ns"][work].sum()
        assert spent == full.e2e[request]


@pytest.fixture(scope="class")
def small_buffers() -> Iterator[None]:
    """Let buffers hold a handful of rows, so that a small run comes in many chunks."""
    with buffers(waits_rows=1, span_rows=24):
        yield


def chunks(scenario: Scenario, table: str) -> list[Chunk]:
    return [chunk for chunk in simulate(scenario) if chunk.table == table]


@pytest.mark.usefixtures("small_buffers")
class TestStreaming:
    @given(scenario=deployments.scenarios())
    @some
    def test_chunks_end_where_the_next_begin(self, scenario: Scenario) -> None:
        some_chunks = chunks(scenario, "spans")
        order = [
            row
            for chunk in some_chunks
            for row in zip(
                chunk.columns["ts_ns"].tolist(),  # type: ignore[union-attr]
                chunk.columns["track"].tolist(),  # type: ignore[union-attr]
                strict=True,
            )
        ]
        assert order == sorted(order)
        assert all(len(chunk) for chunk in some_chunks)

    @given(scenario=deployments.scenarios())
    @some
    def test_where_chunks_are_cut_changes_nothing(self, scenario: Scenario) -> None:
        cut = play(scenario)
        with buffers(waits_rows=1 << 12, span_rows=1 << 12):
            whole = play(scenario)
        for table in ("spans", "waits"):
            for column, values in whole[table].items():
                assert np.array_equal(values, cut[table][column]), (table, column)

    def test_a_consumer_that_stops_stops_the_simulation(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        played = 0
        advance = event.advance

        def counted(*arguments: Any) -> int:
            nonlocal played
            played += 1
            return int(advance(*arguments))

        monkeypatch.setattr(event, "advance", counted)
        scenario = long_run()

        list(simulate(scenario))
        all_of_it, played = played, 0
        stream = simulate(scenario)
        next(chunk for chunk in stream if chunk.table == "spans")
        stream.close()  # type: ignore[attr-defined]

        assert played < 0.6 * all_of_it


def long_run() -> Scenario:
    """Return a pipeline of two stages busy for a few thousand passes."""
    scenario = deployments.one_machine(prompt_ms=5, token_ms=1, lengths=[(8, 200)] * 20)
    return replace(scenario, hardware=replace(scenario.hardware, machines=2))


@given(deployments.scenarios())
@some
def test_a_scenario_is_played_the_same_twice(scenario: Scenario) -> None:
    first, second = list(simulate(scenario)), list(simulate(scenario))
    assert [chunk.table for chunk in first] == [chunk.table for chunk in second]
    for one, other in zip(first, second, strict=True):
        for column, values in one.columns.items():
            assert np.asarray(values).tobytes() == np.asarray(other.columns[column]).tobytes()
