"""What every part of an engine does: queues, blocks, the ends of runs, counters."""

from __future__ import annotations

import numpy as np

from toolkit.simulator.engine_state import (
    COUNTS,
    NEVER,
    PREEMPTED,
    PROMPTS,
    SHARED_QUEUE,
    SWAPPED,
    TOKENS,
    WAITING,
    EnginePlan,
    EngineState,
    run_ns,
)
from toolkit.simulator.kernel import (
    BEHIND_BATCH,
    BEHIND_PROMPT,
    NOBODY,
    QUEUE,
    Rows,
    heap_push,
    heap_remove,
    inner,
    wait_row,
)
from toolkit.trace.columns import NULL

__all__ = [
    "blocks_of",
    "close",
    "count",
    "cut",
    "join",
    "mark_ready",
    "pool_of",
    "row_of",
    "run_end",
    "sample",
    "stand",
    "waiting_at",
    "walk_out",
]


@inner
def pool_of(plan: EnginePlan, replica: int) -> int:
    """Return the pool a replica is of."""
    return TOKENS if 0 < plan.split <= replica else PROMPTS


@inner
def row_of(plan: EnginePlan, state: EngineState, request: int) -> int:
    """Return the row of the workload that a request is a try of."""
    if len(plan.clients) == 0:
        return request
    return state.tries[state.requests[request].tried].client


@inner
def mark_ready(state: EngineState, replica: int) -> None:
    """Let an idle replica form a batch before time goes on."""
    if state.replicas[replica].ready == 0:
        state.replicas[replica].ready = 1
        state.run[0].ready += 1


@inner
def close(state: EngineState, waits: Rows, request: int, now: int, cause: int) -> None:
    """Write what a request waited since its last wait began, and begin another."""
    this = state.requests[request]
    gave_way = SWAPPED if this.away > 0 else PREEMPTED
    why = gave_way if this.evicted != 0 else cause
    wait_row(waits, request, this.since, now, now - this.since, why, NOBODY, NOBODY)
    this.since = now


@inner
def join(plan: EnginePlan, state: EngineState, waits: Rows, queue: int, request: int) -> bool:
    """Let a request wait in a queue; return whether it is first there.

    Whoever stood first until now waits on as one of those behind.
    """
    now, shared = state.run[0].now, queue == len(state.replicas)
    before = state.queues[queue, 0, 1] if state.queue_size[queue, 0] > 0 else NOBODY
    state.requests[request].since = now
    state.requests[request].status = WAITING
    state.requests[request].queue = queue
    key = plan.requests[request].key
    heap_push(state.queues[queue], state.queue_size[queue], key, np.int64(request))
    first = state.queues[queue, 0, 1] == request
    if first and not shared:
        if before != NOBODY and state.requests[before].evicted == 0:
            close(state, waits, before, now, state.replicas[queue].head_cause)
        full = state.replicas[queue].count == plan.limits[pool_of(plan, queue)].seats
        state.replicas[queue].head_cause = QUEUE if full else BEHIND_BATCH
    return bool(first)


@inner
def stand(state: EngineState, waits: Rows, replica: int, cause: int) -> None:
    """Say why the first of a replica's own queue is not admitted."""
    engine = state.replicas[replica]
    if state.queue_size[replica, 0] == 0:
        return
    head = state.queues[replica, 0, 1]
    if engine.head_cause != cause and state.requests[head].evicted == 0:
        close(state, waits, head, state.run[0].now, engine.head_cause)
    engine.head_cause = cause


@inner
def walk_out(
    plan: EnginePlan, state: EngineState, waits: Rows, samples: Rows, request: int
) -> None:
    """Take a request out of its queue, for good; who is first there now may be let in sooner."""
    this, now, replicas = state.requests[request], state.run[0].now, state.replicas
    queue, shared, seats = this.queue, this.queue == len(replicas), plan.limits[PROMPTS].seats
    first = state.queues[queue, 0, 1] == request
    cause = replicas[queue].head_cause if first and not shared else QUEUE
    close(state, waits, request, now, cause)
    if this.start != NULL:
        wait_row(waits, request, this.start, now, this.summed, BEHIND_PROMPT, NOBODY, this.replica)
    if this.away > 0:
        replicas[queue].host_free += blocks_of(plan, this.away)
        this.away = 0
    this.finish = now
    heap_remove(state.queues[queue], state.queue_size[queue], request)
    if first and not shared and state.queue_size[queue, 0] > 0:
        head = state.queues[queue, 0, 1]
        if state.requests[head].evicted == 0:
            close(state, waits, head, now, QUEUE)
        replicas[queue].head_cause = QUEUE if replicas[queue].count == seats else BEHIND_BATCH
    for replica in range(len(replicas)):
        if first and (shared or replica == queue) and replicas[replica].count < seats:
            cut(plan, state, replica, now)
    if plan.details:
        counter = COUNTS * queue + (0 if shared else 1)
        waiting = state.queue_size[queue, 0] if shared else waiting_at(state, queue)
        count(state, samples, now, counter, waiting)


@inner
def blocks_of(plan: EnginePlan, tokens: int) -> int:
    """Return the KV blocks that so many tokens take."""
    return (tokens + plan.limits[0].block - 1) // plan.limits[0].block


@inner
def run_end(plan: EnginePlan, state: EngineState, replica: int, steps: int) -> int:
    """Return when a replica's run reaches its boundary `steps`."""
    engine = state.replicas[replica]
    return engine.anchor + run_ns(
        plan.costs[pool_of(plan, replica)], engine.run_size, engine.run_context, steps
    )


@inner
def cut(plan: EnginePlan, state: EngineState, replica: int, since: int) -> None:
    """Let a run end at its first boundary from `since` on, so that a batch is formed there."""
    engine = state.replicas[replica]
    if engine.due == NEVER or engine.chunks > 0 or engine.until == engine.done + 1:
        return
    low, high = engine.done + 1, engine.until
    while low < high:
        middle = (low + high) // 2
        end = run_end(plan, state, replica, middle)
        if end >= since:
            high = middle
        else:
            low = middle + 1
    if low < engine.until:
        engine.until = low
        engine.due = run_end(plan, state, replica, low)
        heap_push(state.ends, state.ends_size, engine.due, np.int64(replica))


@inner
def waiting_at(state: EngineState, replica: int) -> int:
    """Return how many requests wait at a replica, those whose KV cache is still to come too."""
    return state.queue_size[replica, 0] + state.replicas[replica].handed


@inner
def count(state: EngineState, samples: Rows, ts: int, counter: int, value: int) -> None:
    """Write the value of a counter, if it is another than the last one written."""
    if state.levels[counter] == value:
        return
    state.levels[counter] = value
    row = samples.rows[samples.filled[0]]
    row.ts = ts
    row.counter = counter
    row.value = value
    samples.filled[0] += 1


@inner
def sample(plan: EnginePlan, state: EngineState, samples: Rows, replica: int, now: int) -> None:
    """Write what a replica's counters stand at."""
    if not plan.details:
        return
    engine = state.replicas[replica]
    count(state, samples, now, COUNTS * replica, engine.count)
    count(state, samples, now, COUNTS * replica + 1, waiting_at(state, replica))
    limits = plan.limits[pool_of(plan, replica)]
    count(state, samples, now, COUNTS * replica + 2, limits.blocks - engine.free)
    if limits.caching != 0:
        count(state, samples, now, COUNTS * replica + 3, state.cache.pools[replica].cached)
    if plan.limits[0].router == SHARED_QUEUE:
        shared = len(state.replicas)
        count(state, samples, now, COUNTS * shared, state.queue_size[shared, 0])
