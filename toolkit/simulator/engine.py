"""Continuous batching: what an engine does between two arrivals, compiled.

A replica is one engine.  It forms a batch anew for every step: running
requests decode one token each, prompts enter in whole or in chunks, requests
leave as they finish.  Who comes first, who is admitted and who has to give way
follows vLLM's V1 scheduler (vllm/v1/core/sched/scheduler.py, 0.11), with these
choices of ours:

* All blocks of a prompt are taken when it is admitted (V1 takes them chunk by
  chunk), so only decodes ever lack a block.
* Where the victim is not the last one admitted (``priority``), the rest of the
  batch still decodes; V1 leaves out those behind it for that step.

A *run* is steps in a row that only decode, with one and the same batch.  The
k-th boundary of a run is one function of k, rounded once (:func:`run_ns`), so a
run is played by looking for its end: the first request that finishes, the
first step that lacks a block, or an arrival that has to be looked at.

At one time, steps end first, then requests arrive, then replicas form batches,
the one of lower number first.
"""

from __future__ import annotations

from math import floor
from typing import NamedTuple

import numpy as np

from toolkit.costs.steps import StepCosts
from toolkit.simulator.kernel import (
    BEHIND_BATCH,
    BEHIND_PROMPT,
    DECODE,
    I8,
    KV_ROOM,
    NOBODY,
    PREFILL,
    QUEUE,
    Records,
    Rows,
    compiled,
    heap_pop,
    heap_push,
    inner,
    records,
    wait_row,
)
from toolkit.trace.columns import NULL, name_key

__all__ = [
    "LEAST_LOADED",
    "LIMIT_FIELDS",
    "POWER_OF_TWO",
    "REFUSED",
    "REQUEST_FIELDS",
    "ROUND_ROBIN",
    "SHARED_QUEUE",
    "SHORTEST_QUEUE",
    "EnginePlan",
    "EngineState",
    "advance",
    "grown",
    "new_state",
    "run_ns",
    "sample_rows",
    "step_ns",
]

PREEMPTED = np.int64(name_key("preempted"))
MIXED = np.int64(name_key("mixed"))

ROUND_ROBIN, SHARED_QUEUE, LEAST_LOADED, SHORTEST_QUEUE, POWER_OF_TWO = np.arange(5)
WAITING, RUNNING, SERVED, REFUSED = np.arange(4)
NEVER = np.int64(np.iinfo(np.int64).max)

REQUEST_FIELDS = ("arrival", "prompt", "output", "key")
"""Of each request: when it arrives, its tokens, and its place in a queue (lower is earlier)."""

LIMIT_FIELDS = (
    *("seats", "budget", "block", "blocks", "max_waiting"),
    *("chunked", "prefill_first", "victim_by_key", "router", "longest_run"),
)
"""Of every replica: ``max_num_seqs``, ``max_num_batched_tokens``, tokens of a KV block,
blocks, requests that may wait; whether prompts are cut and come first, whether the victim is
the one of the largest key, the router, and the most steps played at once."""

COUNTS = 3
"""Counters of each replica: running, waiting, blocks used."""


class EnginePlan(NamedTuple):
    """What is to be played.

    ``requests`` (requests,) in order of arrival; ``limits`` one record; ``draws``
    (requests, 2) the replicas that the router drew.  With ``details`` every wait
    and every change of a counter is written by itself.
    """

    requests: Records
    costs: StepCosts
    limits: Records
    draws: I8
    details: bool


class EngineState(NamedTuple):
    """State between two calls of :func:`advance`, and in the end the outcome.

    ``run`` is one record.  ``requests`` has what became of each so far: tokens
    ``generated``, tokens ``computed`` whose KV is there, ``blocks`` held, the
    ``chunk`` of its prompt in this step, ``since`` when it waits, what of its
    waits is ``summed``.  ``replicas`` has each engine's step; ``running``
    (replicas, seats) the batch in order of admission; ``queues`` (queues,
    places, 2) heaps of those who wait, ``queue_size`` their sizes: one for each
    replica, and the last one shared.  ``ends`` is the heap of ends of steps,
    those out of date included.  ``busy`` (replicas, 3, 2): ns and count of
    prefill, decode and mixed steps.
    """

    run: Records
    requests: Records
    replicas: Records
    running: I8
    queues: I8
    queue_size: I8
    ends: I8
    ends_size: I8
    tally: I8
    busy: I8


def sample_rows(capacity: int) -> Rows:
    """Return an empty buffer of counter values."""
    return Rows(np.zeros(1, np.int64), records(("ts", "counter", "value"), capacity))


def new_state(plan: EnginePlan, replicas: int) -> EngineState:
    """Return the state before the first arrival: every replica idle."""
    limits = plan.limits[0]
    requests = records(
        (
            *("status", "replica", "generated", "computed", "blocks", "chunk", "evicted"),
            *("since", "summed", "start", "prefill_end", "decode_start", "finish", "preemptions"),
        ),
        len(plan.requests),
    )
    for field in ("replica", "start", "prefill_end", "decode_start", "finish"):
        requests[field] = NULL
    engines = records(
        (
            *("count", "free", "due", "ready", "partial", "head_cause"),
            *("open", "anchor", "done", "until", "size", "context"),
            *("decodes", "chunks", "began", "name"),
        ),
        replicas,
    )
    engines["free"] = limits["blocks"]
    engines["due"] = NEVER
    engines["partial"] = NULL
    return EngineState(
        run=records(("now", "arrived", "steps", "turn", "ready"), 1),
        requests=requests,
        replicas=engines,
        running=np.full((replicas, int(limits["seats"])), NULL, np.int64),
        queues=np.zeros((replicas + 1, 2 * int(limits["seats"]) + 64, 2), np.int64),
        queue_size=np.zeros((replicas + 1, 1), np.int64),
        ends=np.zeros((4 * replicas + 64, 2), np.int64),
        ends_size=np.zeros(1, np.int64),
        tally=np.zeros(int(limits["block"]), np.int64),
        busy=np.zeros((replicas, 3, 2), np.int64),
    )


def grown(state: EngineState) -> EngineState:
    """Return the state with twice the room in whichever of its heaps is nearly full."""
    if _ends_full(state):
        ends = np.zeros((2 * len(state.ends), 2), np.int64)
        ends[: len(state.ends)] = state.ends
        state = state._replace(ends=ends)
    if _queues_full(state):
        shape = state.queues.shape
        queues = np.zeros((shape[0], 2 * shape[1], 2), np.int64)
        queues[:, : shape[1]] = state.queues
        state = state._replace(queues=queues)
    return state


@compiled
def _ends_full(state: EngineState) -> bool:
    return state.ends_size[0] + len(state.replicas) + 2 > len(state.ends)


@compiled
def _queues_full(state: EngineState) -> bool:
    most, seats = 0, state.running.shape[1]
    for queue in range(len(state.queue_size)):
        most = max(most, state.queue_size[queue, 0])
    return bool(most + seats + 2 > state.queues.shape[1])


# -- times of steps ----------------------------------------------------------------------------


@inner
def _steady(costs: StepCosts, tokens: int, decodes: int, chunks: int, sampled: int) -> float:
    """Return what of a step's time, ns, does not depend on how long contexts are."""
    experts = costs.experts * (1.0 - costs.expert_miss**tokens)
    dense = max(costs.token_arithmetic * tokens, costs.weights + experts)
    head = max(costs.head_arithmetic * sampled, costs.head_weights) if sampled > 0 else 0.0
    steady = costs.overhead + dense + head + costs.chunk * chunks
    steady += costs.collective + costs.token_collective * tokens
    return steady + costs.decode if decodes > 0 else steady


@compiled
def step_ns(
    costs: StepCosts,
    decodes: int,
    context: int,
    chunks: int,
    prompt_tokens: int,
    pairs: int,
    prompt_context: int,
    sampled: int,
) -> int:
    """Return the ns of one step, at least 1; arguments as `toolkit.costs.steps.Work`."""
    steady = _steady(costs, decodes + prompt_tokens, decodes, chunks, sampled)
    attention = costs.context * context
    attention += max(costs.pair * pairs, costs.prompt_context * prompt_context)
    return max(int(floor(steady + attention + 0.5)), 1)


@compiled
def run_ns(costs: StepCosts, decodes: int, context: int, steps: int) -> int:
    """Return the ns from the start of a run to its boundary `steps`, rounded once.

    `context` is the sum of contexts in the run's first step; each of the
    `decodes` requests adds a token to it with every step:

        F(k) = k a + c (k C + n k (k - 1) / 2),

    a the steady part of a step (at least 1 ns), c ns for a token of context.
    """
    k, size = float(steps), float(decodes)
    steady = max(_steady(costs, decodes, decodes, 0, decodes), 1.0)
    attention = costs.context * (k * float(context) + size * (k * (k - 1.0) / 2.0))
    return int(floor(k * steady + attention + 0.5))


# -- queues ------------------------------------------------------------------------------------


@inner
def _push(plan: EnginePlan, state: EngineState, queue: int, request: int) -> None:
    """Let a request wait; whoever stood first and does so no longer starts another wait."""
    heap_push(
        state.queues[queue], state.queue_size[queue], plan.requests[request].key, np.int64(request)
    )


@inner
def _close(state: EngineState, waits: Rows, request: int, now: int, cause: int) -> None:
    """Write what a request waited since its last wait began, and begin another."""
    this = state.requests[request]
    why = PREEMPTED if this.evicted != 0 else cause
    wait_row(waits, request, this.since, now, now - this.since, why, NOBODY, NOBODY)
    this.since = now


@compiled
def _join(plan: EnginePlan, state: EngineState, waits: Rows, queue: int, request: int) -> bool:
    """Let a request wait in a queue; return whether it is first there."""
    now, shared = state.run[0].now, queue == len(state.replicas)
    before = state.queues[queue, 0, 1] if state.queue_size[queue, 0] > 0 else NOBODY
    state.requests[request].since = now
    state.requests[request].status = WAITING
    _push(plan, state, queue, request)
    first = state.queues[queue, 0, 1] == request
    if first and not shared:
        if before != NOBODY and state.requests[before].evicted == 0:
            _close(state, waits, before, now, state.replicas[queue].head_cause)
        full = state.replicas[queue].count == plan.limits[0].seats
        state.replicas[queue].head_cause = QUEUE if full else BEHIND_BATCH
    return bool(first)


@inner
def _stand(state: EngineState, waits: Rows, replica: int, cause: int) -> None:
    """Say why the first of a replica's own queue is not admitted."""
    engine = state.replicas[replica]
    if state.queue_size[replica, 0] == 0:
        return
    head = state.queues[replica, 0, 1]
    if engine.head_cause != cause and state.requests[head].evicted == 0:
        _close(state, waits, head, state.run[0].now, engine.head_cause)
    engine.head_cause = cause


# -- the batch ---------------------------------------------------------------------------------


@inner
def _blocks(plan: EnginePlan, tokens: int) -> int:
    """Return the KV blocks that so many tokens take."""
    return (tokens + plan.limits[0].block - 1) // plan.limits[0].block


@inner
def _leave(state: EngineState, replica: int, place: int) -> None:
    """Take a request out of the batch, give its blocks back, and close ranks."""
    engine, running = state.replicas[replica], state.running[replica]
    request = running[place]
    engine.free += state.requests[request].blocks
    state.requests[request].blocks = 0
    for after in range(place + 1, engine.count):
        running[after - 1] = running[after]
    engine.count -= 1
    if engine.partial == request:
        engine.partial = NOBODY


@inner
def _victim(plan: EnginePlan, state: EngineState, replica: int) -> int:
    """Return whose turn it is to give way: its place in the batch.

    The last one admitted, or with ``victim_by_key`` the one of the largest key,
    the later arrival among equals.
    """
    engine, running = state.replicas[replica], state.running[replica]
    worst = engine.count - 1
    if plan.limits[0].victim_by_key == 0:
        return worst
    for place in range(engine.count):
        this, most = plan.requests[running[place]].key, plan.requests[running[worst]].key
        if this > most or (this == most and running[place] > running[worst]):
            worst = place
    return worst


@compiled
def _evict(
    plan: EnginePlan, state: EngineState, waits: Rows, replica: int, place: int
) -> None:
    """Preempt a request: its KV cache is dropped, and it waits to compute it anew."""
    request = state.running[replica, place]
    _leave(state, replica, place)
    this = state.requests[request]
    this.computed = 0
    this.evicted = 1
    this.preemptions += 1
    _join(plan, state, waits, replica, request)


@compiled
def _grow(plan: EnginePlan, state: EngineState, waits: Rows, replica: int) -> int:
    """Give every decode the block its next token needs; return how many were preempted."""
    engine, running, block = state.replicas[replica], state.running[replica], plan.limits[0].block
    lacking = 0
    for place in range(engine.count):
        this = state.requests[running[place]]
        if running[place] != engine.partial and this.computed == this.blocks * block:
            lacking += 1
    if lacking == 0:
        return 0
    preempted, place = 0, 0
    while place < engine.count:
        request = running[place]
        this = state.requests[request]
        if request == engine.partial or this.computed < this.blocks * block:
            place += 1
            continue
        gone = False
        while engine.free == 0:
            at = _victim(plan, state, replica)
            gone = running[at] == request
            _evict(plan, state, waits, replica, at)
            preempted += 1
            if at < place:
                place -= 1
            if gone:
                break
        if not gone:
            this.blocks += 1
            engine.free -= 1
            place += 1
    return preempted


@compiled
def _admit(plan: EnginePlan, state: EngineState, waits: Rows, replica: int, budget: int) -> int:
    """Let requests in while there are seats, tokens and blocks; return the tokens left."""
    engine, limits, shared = state.replicas[replica], plan.limits[0], len(state.replicas)
    now = state.run[0].now
    while True:
        queue = replica if state.queue_size[replica, 0] > 0 else shared
        if state.queue_size[queue, 0] == 0:
            return budget
        request = state.queues[queue, 0, 1]
        this = state.requests[request]
        tokens = plan.requests[request].prompt + this.generated
        cause = np.int64(0)
        if engine.count == limits.seats:
            cause = QUEUE
        elif budget == 0 or (limits.chunked == 0 and tokens > budget):
            cause = BEHIND_PROMPT
        elif _blocks(plan, tokens) > engine.free:
            cause = KV_ROOM
        if cause != 0:
            _stand(state, waits, replica, cause)
            return budget
        heap_pop(state.queues[queue], state.queue_size[queue])
        _close(state, waits, request, now, QUEUE if queue == shared else engine.head_cause)
        if queue == replica and state.queue_size[replica, 0] > 0:
            following = state.queues[replica, 0, 1]
            if state.requests[following].evicted == 0:
                _close(state, waits, following, now, QUEUE)
        this.status = RUNNING
        this.replica = replica
        this.evicted = 0
        this.blocks = _blocks(plan, tokens)
        engine.free -= this.blocks
        this.chunk = min(tokens, budget)
        budget -= this.chunk
        if this.chunk < tokens:
            engine.partial = request
        if this.start == NULL:
            this.start = now
        state.running[replica, engine.count] = request
        engine.count += 1


@inner
def _prompts(plan: EnginePlan, state: EngineState, waits: Rows, replica: int, budget: int) -> None:
    """Give prompts the tokens left of a step: the one that is under way first, then new ones."""
    partial = state.replicas[replica].partial
    if partial != NOBODY:
        this = state.requests[partial]
        left = plan.requests[partial].prompt + this.generated - this.computed
        this.chunk = min(left, budget)
        budget -= this.chunk
        if this.chunk == left:
            state.replicas[replica].partial = NOBODY
    _admit(plan, state, waits, replica, budget)


@inner
def _lacks_at(
    plan: EnginePlan, state: EngineState, replica: int, steps: int
) -> int:
    """Return after how many of so many steps, the first aside, a decode lacks a block."""
    engine, block, tally = state.replicas[replica], plan.limits[0].block, state.tally
    free = engine.free
    if free >= engine.count * (steps // block + 1):
        return steps
    tally[:] = 0
    for place in range(engine.count):
        tally[state.requests[state.running[replica, place]].computed % block] += 1
    for step in range(1, steps):
        free -= tally[(-step) % block]
        if free < 0:
            return step
    return steps


@compiled
def _form(
    plan: EnginePlan, state: EngineState, waits: Rows, samples: Rows, replica: int
) -> None:
    """Form the next batch of a replica and say when its step, or its run, ends."""
    engine, running, limits = state.replicas[replica], state.running[replica], plan.limits[0]
    now, before = state.run[0].now, state.replicas[replica].count
    preempted, decode = 0, True
    if limits.prefill_first != 0:
        _prompts(plan, state, waits, replica, limits.budget)
        decode = False
        for place in range(engine.count):
            decode = decode or state.requests[running[place]].chunk > 0
        decode = not decode
        if decode:
            preempted = _grow(plan, state, waits, replica)
    else:
        preempted = _grow(plan, state, waits, replica)
        decodes = engine.count - (0 if engine.partial == NOBODY else 1)
        if preempted > 0:
            _stand(state, waits, replica, KV_ROOM)
            if engine.partial != NOBODY:
                this = state.requests[engine.partial]
                left = plan.requests[engine.partial].prompt + this.generated - this.computed
                this.chunk = min(left, limits.budget - decodes)
                if this.chunk == left:
                    engine.partial = NOBODY
        else:
            _prompts(plan, state, waits, replica, limits.budget - decodes)

    decodes = context = chunks = tokens = pairs = reach = sampled = 0
    for place in range(engine.count):
        request = running[place]
        this = state.requests[request]
        if this.chunk > 0:
            chunks += 1
            tokens += this.chunk
            reach += this.computed + this.chunk
            pairs += this.chunk * this.computed + this.chunk * (this.chunk + 1) // 2
            if this.computed + this.chunk == plan.requests[request].prompt + this.generated:
                sampled += 1
        elif decode:
            decodes += 1
            context += this.computed + 1
        else:
            continue
        if this.prefill_end != NULL and this.decode_start == NULL:
            this.decode_start = now
    sampled += decodes
    if decodes + chunks == 0:
        engine.due = NEVER
        return
    if engine.open == 0 or preempted > 0 or engine.count != before or chunks > 0:
        engine.open = 0
        engine.anchor = now
        engine.done = 0
        engine.size = decodes
        engine.context = context
    engine.decodes = 1 if decode else 0
    engine.chunks = chunks
    engine.began = now
    engine.name = (MIXED if decodes > 0 else PREFILL) if chunks > 0 else DECODE
    if chunks > 0:
        engine.until = 1
        engine.due = now + step_ns(
            plan.costs, decodes, context, chunks, tokens, pairs, reach, sampled
        )
    else:
        engine.open = 1
        least = limits.longest_run
        for place in range(engine.count):
            request = running[place]
            left = plan.requests[request].output - state.requests[request].generated
            least = min(least, left)
        engine.until = engine.done + _lacks_at(plan, state, replica, least)
        engine.due = engine.anchor + run_ns(plan.costs, engine.size, engine.context, engine.until)
    heap_push(state.ends, state.ends_size, engine.due, np.int64(replica))
    _sample(plan, state, samples, replica, now)


@compiled
def _cut(plan: EnginePlan, state: EngineState, replica: int) -> None:
    """Let a run end at its first boundary from now on, so that a batch is formed there."""
    engine, now = state.replicas[replica], state.run[0].now
    if engine.due == NEVER or engine.chunks > 0 or engine.until == engine.done + 1:
        return
    low, high = engine.done + 1, engine.until
    while low < high:
        middle = (low + high) // 2
        end = engine.anchor + run_ns(plan.costs, engine.size, engine.context, middle)
        if end >= now:
            high = middle
        else:
            low = middle + 1
    if low < engine.until:
        engine.until = low
        engine.due = engine.anchor + run_ns(plan.costs, engine.size, engine.context, low)
        heap_push(state.ends, state.ends_size, engine.due, np.int64(replica))


# -- events ------------------------------------------------------------------------------------


@compiled
def _end(
    plan: EnginePlan,
    state: EngineState,
    waits: Rows,
    samples: Rows,
    spans: Rows,
    replica: int,
    keep: bool,
) -> None:
    """End a step or a run: tokens are out, requests may be finished."""
    engine, running, now = state.replicas[replica], state.running[replica], state.run[0].now
    steps = engine.until - engine.done if engine.chunks == 0 else 1
    which = 0 if engine.name == PREFILL else (1 if engine.name == DECODE else 2)
    state.busy[replica, which, 0] += now - engine.began
    state.busy[replica, which, 1] += steps
    if keep:
        _write_spans(plan, state, spans, replica, steps)
    state.run[0].steps += steps
    finished = 0
    for place in range(engine.count):
        request = running[place]
        this = state.requests[request]
        if this.chunk > 0:
            this.computed += this.chunk
            this.chunk = 0
            if this.computed < plan.requests[request].prompt + this.generated:
                continue
            this.generated += 1
            if this.prefill_end == NULL:
                this.prefill_end = now
        elif engine.decodes != 0:
            this.computed += steps
            this.generated += steps
            blocks = _blocks(plan, this.computed)
            engine.free -= blocks - this.blocks
            this.blocks = blocks
        else:
            if plan.details:
                waited = now - engine.began
                wait_row(waits, request, engine.began, now, waited, BEHIND_PROMPT, NOBODY, replica)
            else:
                this.summed += now - engine.began
            continue
        if this.generated == plan.requests[request].output:
            finished += 1
    if plan.details and steps > 1:
        last = engine.anchor + run_ns(
            plan.costs, engine.size, engine.context, engine.until - 1
        )
        _count(samples, last, COUNTS * replica + 2, plan.limits[0].blocks - engine.free)
    place = 0
    while finished > 0:
        request = running[place]
        this = state.requests[request]
        if this.generated < plan.requests[request].output:
            place += 1
            continue
        this.status = SERVED
        this.finish = now
        wait_row(waits, request, this.start, now, this.summed, BEHIND_PROMPT, NOBODY, replica)
        _leave(state, replica, place)
        finished -= 1
        engine.open = 0
    if engine.chunks > 0:
        engine.open = 0
    engine.done = engine.until
    engine.due = NEVER
    _mark_ready(state, replica)
    _sample(plan, state, samples, replica, now)


@inner
def _write_spans(plan: EnginePlan, state: EngineState, spans: Rows, replica: int, steps: int) -> None:
    """Write a step, or every step of a run; a step of a single request carries its key."""
    engine = state.replicas[replica]
    alone = state.running[replica, 0] if engine.count == 1 else NOBODY
    start = engine.began
    for step in range(steps):
        end = state.run[0].now
        if step + 1 < steps:
            end = engine.anchor + run_ns(
                plan.costs, engine.size, engine.context, engine.done + step + 1
            )
        row = spans.rows[spans.filled[0]]
        row.ts = start
        row.dur = end - start
        row.track = replica
        row.name = engine.name
        row.batch = alone
        row.token = NULL
        row.step = state.run[0].steps + step
        row.bytes = NULL
        spans.filled[0] += 1
        start = end


@inner
def _count(samples: Rows, ts: int, counter: int, value: int) -> None:
    row = samples.rows[samples.filled[0]]
    row.ts = ts
    row.counter = counter
    row.value = value
    samples.filled[0] += 1


@inner
def _sample(plan: EnginePlan, state: EngineState, samples: Rows, replica: int, now: int) -> None:
    """Write what a replica's counters stand at."""
    if not plan.details:
        return
    engine = state.replicas[replica]
    _count(samples, now, COUNTS * replica, engine.count)
    _count(samples, now, COUNTS * replica + 1, state.queue_size[replica, 0])
    _count(samples, now, COUNTS * replica + 2, plan.limits[0].blocks - engine.free)
    shared = len(state.replicas)
    _count(samples, now, COUNTS * shared, state.queue_size[shared, 0])


@inner
def _mark_ready(state: EngineState, replica: int) -> None:
    if state.replicas[replica].ready == 0:
        state.replicas[replica].ready = 1
        state.run[0].ready += 1


@inner
def _load(plan: EnginePlan, state: EngineState, replica: int) -> int:
    """Return what a router looks at: requests that wait, and unless told otherwise those that run."""
    waiting = state.queue_size[replica, 0]
    if plan.limits[0].router == SHORTEST_QUEUE:
        return waiting
    return waiting + state.replicas[replica].count


@inner
def _route(plan: EnginePlan, state: EngineState, request: int) -> int:
    """Return the queue an arrival joins; among equals the replica of the lower number."""
    run, router, replicas = state.run[0], plan.limits[0].router, len(state.replicas)
    if router == SHARED_QUEUE:
        return replicas
    if router == ROUND_ROBIN:
        run.turn += 1
        return (run.turn - 1) % replicas
    if router == POWER_OF_TWO:
        one = min(plan.draws[request, 0], plan.draws[request, 1])
        other = max(plan.draws[request, 0], plan.draws[request, 1])
        return one if _load(plan, state, one) <= _load(plan, state, other) else other
    best = 0
    for replica in range(1, replicas):
        if _load(plan, state, replica) < _load(plan, state, best):
            best = replica
    return best


@compiled
def _arrive(plan: EnginePlan, state: EngineState, waits: Rows, samples: Rows) -> None:
    """Send the next arrival to a queue, or away."""
    run = state.run[0]
    request = run.arrived
    run.arrived += 1
    run.now = plan.requests[request].arrival
    queue = _route(plan, state, request)
    if state.queue_size[queue, 0] >= plan.limits[0].max_waiting:
        state.requests[request].status = REFUSED
        return
    first = _join(plan, state, waits, queue, request)
    shared = queue == len(state.replicas)
    for replica in range(len(state.replicas)):
        engine = state.replicas[replica]
        if not (shared or replica == queue):
            continue
        if engine.due == NEVER:
            _mark_ready(state, replica)
        elif first and engine.count < plan.limits[0].seats:
            _cut(plan, state, replica)
    _sample(plan, state, samples, 0 if shared else queue, run.now)


@compiled
def advance(
    plan: EnginePlan,
    state: EngineState,
    waits: Rows,
    samples: Rows,
    spans: Rows,
    limit: int,
) -> int:
    """Play until all is done or a buffer has no room for another event.

    ``spans`` are written up to row `limit`, 0 asks for none.  Returns the time
    before which no span is still to be written; -1 once all is done.
    """
    run, requests, replicas = state.run[0], plan.requests, state.replicas
    keep = limit > 0
    room = 6 * plan.limits[0].seats + 16
    while True:
        if (
            waits.filled[0] + room > len(waits.rows)
            or samples.filled[0] + room > len(samples.rows)
            or (keep and spans.filled[0] + plan.limits[0].longest_run > limit)
            or _ends_full(state)
            or _queues_full(state)
        ):
            break
        while state.ends_size[0] > 0 and replicas[state.ends[0, 1]].due != state.ends[0, 0]:
            heap_pop(state.ends, state.ends_size)
        ending = state.ends[0, 0] if state.ends_size[0] > 0 else NEVER
        arriving = requests[run.arrived].arrival if run.arrived < len(requests) else NEVER
        if run.ready > 0 and min(ending, arriving) > run.now:
            for replica in range(len(replicas)):
                if replicas[replica].ready != 0:
                    replicas[replica].ready = 0
                    run.ready -= 1
                    _form(plan, state, waits, samples, replica)
                    break
        elif ending == NEVER and arriving == NEVER:
            return -1
        elif ending <= arriving:
            _, replica = heap_pop(state.ends, state.ends_size)
            run.now = ending
            _end(plan, state, waits, samples, spans, replica, keep)
        else:
            _arrive(plan, state, waits, samples)
    watermark = run.now
    for replica in range(len(replicas)):
        if replicas[replica].due != NEVER:
            watermark = min(watermark, replicas[replica].began)
    return watermark
