"""From prompt replicas to token replicas: who takes a request over, and how its KV cache gets
there.

A request whose prompt is done leaves its seat at once; its blocks stay until
its KV cache has arrived.  The token replica takes requests over in their order
as it forms batches, one by one as there are blocks for their prompt and a
first decode; then the cache is sent.  (vLLM's connectors do likewise: the
decoding side allots blocks and fetches, `vllm/v1/core/sched/scheduler.py`,
0.11, WAITING_FOR_REMOTE_KVS.)  A transfer holds one lane of the sender's
interface and one of the receiver's, those that are free first; transfers are
dealt lanes in the order in which they are taken over.  Where layers are
streamed a request is handed over as the step begins that ends its prompt: the
first layer leaves when it is done, and the cache arrives no sooner than its
last layer, done and sent, allows.

What has arrived waits for a seat, before those who have to compute anew.
"""

from __future__ import annotations

from math import floor

import numpy as np

from toolkit.simulator.engine_blocks import give_back
from toolkit.simulator.engine_queues import (
    blocks_of,
    close,
    count,
    cut,
    mark_ready,
    row_of,
    sample,
    waiting_at,
)
from toolkit.simulator.engine_state import (
    COUNTS,
    HANDED,
    NEVER,
    POWER_OF_TWO,
    ROUND_ROBIN,
    RUNNING,
    SHORTEST_QUEUE,
    TOKENS,
    EnginePlan,
    EngineState,
)
from toolkit.simulator.kernel import (
    BEHIND_BATCH,
    BEHIND_PROMPT,
    KV_ROOM,
    KV_TRANSFER,
    LINK_BUSY,
    NOBODY,
    QUEUE,
    Rows,
    heap_pop,
    heap_push,
    inner,
    wait_row,
)
from toolkit.trace.columns import NULL, name_key

__all__ = [
    "admit_landed",
    "earliest_sent",
    "hand_over",
    "land",
    "leave_prompt",
    "next_landing",
    "reserve",
]

KV_SENT = np.int64(name_key("kv_transfer"))
KV_RECEIVED = np.int64(name_key("kv_receive"))


# Heaps of a token replica, among the queues: (key, request) of those to be taken over, and of
# those whose KV cache has arrived; and one of all transfers, (time of arrival, request).


@inner
def _incoming(state: EngineState, replica: int) -> int:
    return len(state.replicas) + 1 + replica


@inner
def _landed(state: EngineState, replica: int) -> int:
    return 2 * len(state.replicas) + 1 + replica


@inner
def _under_way(state: EngineState) -> int:
    return 3 * len(state.replicas) + 1


@inner
def next_landing(state: EngineState) -> int:
    """Return when the next KV cache arrives."""
    heap = _under_way(state)
    return state.queues[heap, 0, 0] if state.queue_size[heap, 0] > 0 else NEVER


@inner
def _load(plan: EnginePlan, state: EngineState, replica: int) -> int:
    """Return what the router of token replicas looks at: all that were sent there and wait."""
    engine = state.replicas[replica]
    waiting = state.queue_size[replica, 0] + engine.coming
    return waiting if plan.limits[TOKENS].router == SHORTEST_QUEUE else waiting + engine.count


@inner
def _choose_token_replica(plan: EnginePlan, state: EngineState, request: int) -> int:
    """Return who is to decode a request; among equals the replica of the lower number."""
    first, router, run = plan.split, plan.limits[TOKENS].router, state.run[0]
    replicas = len(state.replicas)
    if router == ROUND_ROBIN:
        run.token_turn += 1
        return first + (run.token_turn - 1) % (replicas - first)
    if router == POWER_OF_TWO:
        drawn = request % len(plan.draws)
        one = first + min(plan.draws[drawn, 2], plan.draws[drawn, 3])
        other = first + max(plan.draws[drawn, 2], plan.draws[drawn, 3])
        return one if _load(plan, state, one) <= _load(plan, state, other) else other
    best = first
    for replica in range(first + 1, replicas):
        if _load(plan, state, replica) < _load(plan, state, best):
            best = replica
    return best


@inner
def hand_over(plan: EnginePlan, state: EngineState, waits: Rows, request: int) -> None:
    """Find a token replica for a request whose prompt ends now, or with the step that begins."""
    now, this = state.run[0].now, state.requests[request]
    replica = _choose_token_replica(plan, state, request)
    engine, heap = state.replicas[replica], _incoming(state, replica)
    this.to = replica
    this.origin = this.replica
    this.since = now
    this.room = blocks_of(plan, plan.requests[request].prompt + 1)
    key = plan.requests[request].key
    heap_push(state.queues[heap], state.queue_size[heap], key, np.int64(request))
    engine.coming += 1
    first = state.queues[heap, 0, 1]
    this.cause = BEHIND_BATCH if first == request else state.requests[first].cause
    if engine.due == NEVER:
        mark_ready(state, replica)
    elif first == request:
        cut(plan, state, replica, now)


@inner
def leave_prompt(
    plan: EnginePlan, state: EngineState, waits: Rows, samples: Rows, request: int
) -> None:
    """A request's prompt is done: from now on it waits at its token replica."""
    this, now = state.requests[request], state.run[0].now
    wait_row(waits, request, this.start, now, this.summed, BEHIND_PROMPT, NOBODY, this.origin)
    this.status = HANDED
    this.summed = 0
    state.replicas[this.origin].open = 0
    state.replicas[this.to].handed += 1
    if plan.details:
        count(state, samples, now, COUNTS * this.to + 1, waiting_at(state, this.to))


@inner
def _prompt_end(state: EngineState, request: int) -> int:
    """Return when a request's prompt ends, or ended."""
    this = state.requests[request]
    return this.prefill_end if this.prefill_end != NULL else state.replicas[this.replica].due


@inner
def _wait_over(state: EngineState, waits: Rows, request: int, now: int, cause: int) -> None:
    """Write what a request waited since its prompt's end, and begin another wait."""
    this = state.requests[request]
    since = max(this.since, _prompt_end(state, request))
    wait_row(waits, request, since, now, now - since, this.cause, NOBODY, NOBODY)
    this.since = max(now, since)
    this.cause = cause


@inner
def reserve(
    plan: EnginePlan, state: EngineState, waits: Rows, replica: int, preempted: int
) -> None:
    """Take over those who come to a token replica, as far as there are blocks; send their caches.

    None where a request gave way in this step, or one that did has not enough.
    """
    engine, heap, now = state.replicas[replica], _incoming(state, replica), state.run[0].now
    held = preempted > 0
    if not held and state.queue_size[replica, 0] > 0:
        first = state.queues[replica, 0, 1]
        tokens = plan.requests[first].prompt + state.requests[first].generated
        held = blocks_of(plan, tokens) > engine.free
    while state.queue_size[heap, 0] > 0:
        request = state.queues[heap, 0, 1]
        this = state.requests[request]
        if held or this.room > engine.free:
            if this.cause != KV_ROOM:
                _wait_over(state, waits, request, now, KV_ROOM)
            return
        heap_pop(state.queues[heap], state.queue_size[heap])
        engine.free -= this.room
        this.reserved = now
        _send(plan, state, request)


@inner
def _first_lane(state: EngineState, interface: int) -> int:
    """Return the lane of an interface that is free first."""
    best = 0
    for lane in range(1, state.lanes.shape[1]):
        if state.lanes[interface, lane, 0] < state.lanes[interface, best, 0]:
            best = lane
    return best


@inner
def _send(plan: EnginePlan, state: EngineState, request: int) -> None:
    """Put a KV cache on its way, as soon as both interfaces have a lane free."""
    this, now = state.requests[request], state.run[0].now
    took, moved = plan.transfers[row_of(plan, state, request)]
    shared = len(plan.lanes) == 1
    out, into = 0 if shared else this.replica, 0 if shared else this.to
    lane_out, lane_in = _first_lane(state, out), _first_lane(state, into)
    free_out, free_in = state.lanes[out, lane_out, 0], state.lanes[into, lane_in, 0]
    start, end = now, np.int64(0)
    if this.prefill_end == NULL:  # its layers leave as they are computed
        step = state.replicas[this.replica]
        chunk = plan.requests[request].prompt - this.computed
        if this.computed == 0:
            start = max(now, step.began + (step.due - step.began) // plan.layers)
        end = step.due + floor(plan.tail[0] + plan.tail[1] * chunk + 0.5)
    this.held_by = NOBODY
    if max(free_out, free_in) > start:
        at, lane = (out, lane_out) if free_out >= free_in else (into, lane_in)
        this.held_by = state.lanes[at, lane, 1]
    start = max(start, free_out, free_in)
    end = max(end, start + took)
    this.sent, this.landed, this.lane_out, this.lane_in = start, end, lane_out, lane_in
    for side in range(1 if shared else 2):
        at, lane = (out, lane_out) if side == 0 else (into, lane_in)
        state.lanes[at, lane, 0] = end
        state.lanes[at, lane, 1] = request
        state.carried[at, lane, side, 0] += end - start
        state.carried[at, lane, side, 1] += 1
        state.carried[at, lane, side, 2] += moved
    heap = _under_way(state)
    heap_push(state.queues[heap], state.queue_size[heap], end, np.int64(request))


@inner
def _write_transfer(plan: EnginePlan, state: EngineState, spans: Rows, request: int) -> None:
    """Write a transfer on the sender's lane and on the receiver's."""
    this = state.requests[request]
    shared = len(plan.lanes) == 1
    for side in range(1 if shared else 2):
        row = spans.rows[spans.filled[0]]
        row.ts = this.sent
        row.dur = this.landed - this.sent
        if side == 0:
            row.track = plan.lanes[0 if shared else this.origin, this.lane_out]
            row.name = KV_SENT
            row.bytes = plan.transfers[row_of(plan, state, request), 1]
        else:
            row.track = plan.lanes[this.to, this.lane_in]
            row.name = KV_RECEIVED
            row.bytes = NULL
        row.batch = request
        row.token = NULL
        row.step = NULL
        if row.dur > 0:
            spans.filled[0] += 1


@inner
def land(
    plan: EnginePlan,
    state: EngineState,
    waits: Rows,
    samples: Rows,
    spans: Rows,
    keep: bool,
) -> None:
    """A KV cache has arrived: its prompt replica has the blocks again, and it waits for a seat."""
    heap = _under_way(state)
    now, request = heap_pop(state.queues[heap], state.queue_size[heap])
    state.run[0].now = now
    this = state.requests[request]
    sender, engine = state.replicas[this.origin], state.replicas[this.to]
    _wait_over(state, waits, request, this.reserved, LINK_BUSY)
    since = this.since
    start = max(this.sent, since)
    at = plan.lanes[0, 0] if len(plan.lanes) == 1 else plan.lanes[this.origin, this.lane_out]
    wait_row(waits, request, since, start, start - since, LINK_BUSY, this.held_by, at)
    wait_row(waits, request, start, now, now - start, KV_TRANSFER, NOBODY, at)
    if keep:
        _write_transfer(plan, state, spans, request)
    give_back(plan, state, this.origin, request)
    this.blocks = this.room
    this.since = now
    this.evicted = 0
    waiting = _landed(state, this.to)
    before = state.queue_size[waiting, 0]
    key = plan.requests[request].key
    heap_push(state.queues[waiting], state.queue_size[waiting], key, np.int64(request))
    seats = plan.limits[TOKENS].seats
    waits_for_step = engine.count + before < seats
    this.cause = BEHIND_BATCH if waits_for_step else QUEUE
    if sender.due == NEVER:
        mark_ready(state, this.origin)
    if engine.due == NEVER:
        mark_ready(state, this.to)
    elif waits_for_step:
        cut(plan, state, this.to, now)
    sample(plan, state, samples, this.origin, now)
    sample(plan, state, samples, this.to, now)


@inner
def admit_landed(plan: EnginePlan, state: EngineState, waits: Rows, replica: int) -> None:
    """Let those decode whose KV cache has arrived, while there are seats."""
    engine, heap, now = state.replicas[replica], _landed(state, replica), state.run[0].now
    while state.queue_size[heap, 0] > 0:
        request = state.queues[heap, 0, 1]
        this = state.requests[request]
        if engine.count == plan.limits[TOKENS].seats:
            if this.cause != QUEUE:
                close(state, waits, request, now, this.cause)
                this.cause = QUEUE
            return
        heap_pop(state.queues[heap], state.queue_size[heap])
        close(state, waits, request, now, this.cause)
        engine.coming -= 1
        engine.handed -= 1
        this.status = RUNNING
        this.replica = replica
        state.running[replica, engine.count] = request
        engine.count += 1


@inner
def earliest_sent(state: EngineState, now: int) -> int:
    """Return since when the transfers under way hold their lanes, at most `now`."""
    heap, since = _under_way(state), now
    for place in range(state.queue_size[heap, 0]):
        since = min(since, state.requests[state.queues[heap, place, 1]].sent)
    return since
