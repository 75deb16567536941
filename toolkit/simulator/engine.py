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

At one time, steps end first, then KV caches arrive from prompt replicas, then
clients give up (`engine_feedback`), then
requests arrive, then replicas form batches, the one of lower number first.
"""

from __future__ import annotations

from toolkit.simulator.engine_affinity import most_akin
from toolkit.simulator.engine_batch import form, step_out
from toolkit.simulator.engine_blocks import extend, know
from toolkit.simulator.engine_feedback import (
    clients_full,
    depart,
    ended,
    give_up,
    next_deadline,
    next_send,
    send,
)
from toolkit.simulator.engine_handover import (
    earliest_sent,
    hand_over,
    land,
    leave_prompt,
    next_landing,
)
from toolkit.simulator.engine_queues import (
    blocks_of,
    count,
    cut,
    join,
    mark_ready,
    pool_of,
    run_end,
    sample,
)
from toolkit.simulator.engine_state import (
    AFFINITY,
    COUNTS,
    NEVER,
    POWER_OF_TWO,
    PREEMPTED,
    PROMPTS,
    REFUSED,
    ROUND_ROBIN,
    SERVED,
    SHARED_QUEUE,
    SHORTEST_QUEUE,
    EnginePlan,
    EngineState,
    ends_full,
    plan_reference,
    queues_full,
    state_reference,
    tables_full,
)
from toolkit.simulator.engine_swap import write_moves
from toolkit.simulator.kernel import (
    BEHIND_PROMPT,
    DECODE,
    NOBODY,
    PREFILL,
    Rows,
    compiled,
    heap_pop,
    inner,
    rows_reference,
    wait_row,
)
from toolkit.trace.columns import NULL

__all__ = ["advance"]


@inner
def _leaves(plan: EnginePlan, state: EngineState, replica: int, request: int) -> bool:
    """Return whether a request is done here: it has all its tokens, or decodes elsewhere."""
    this = state.requests[request]
    if this.generated == plan.requests[request].output:
        return True
    return replica < plan.split and this.prefill_end != NULL


@inner
def _worked(plan: EnginePlan, state: EngineState, waits: Rows, replica: int, steps: int) -> int:
    """Give a batch the tokens of its step or run; return how many requests that finishes."""
    engine, now, finished = state.replicas[replica], state.run[0].now, 0
    for place in range(engine.count):
        request = state.running[replica, place]
        this = state.requests[request]
        if this.chunk > 0:
            this.computed += this.chunk
            this.chunk = 0
            if this.computed < plan.requests[request].prompt + this.generated:
                if this.prefill_end != NULL:  # what it had before it gave way, computed anew
                    began, lost = engine.began, now - engine.began
                    wait_row(waits, request, began, now, lost, PREEMPTED, NOBODY, replica)
                continue
            this.generated += 1
            if this.prefill_end == NULL:
                this.prefill_end = now
        elif engine.decodes != 0:
            this.computed += steps
            this.generated += steps
            extend(plan, state, replica, request, blocks_of(plan, this.computed))
            know(plan, state, replica, request, this.computed)
        elif plan.details:
            waited = now - engine.began
            wait_row(waits, request, engine.began, now, waited, BEHIND_PROMPT, NOBODY, replica)
        else:
            this.summed += now - engine.began
        if this.leaving == 0 and _leaves(plan, state, replica, request):
            finished += 1
    return finished


@inner
def _let_go(
    plan: EnginePlan, state: EngineState, waits: Rows, samples: Rows, replica: int, finished: int
) -> None:
    """Let those go that have all their tokens, whose clients are gone, or whom others decode."""
    engine, place = state.replicas[replica], 0
    finished += engine.leaving
    engine.leaving = 0
    while finished > 0:
        request = state.running[replica, place]
        this = state.requests[request]
        if this.leaving == 0 and not _leaves(plan, state, replica, request):
            place += 1
            continue
        if this.leaving == 0 and this.generated < plan.requests[request].output:
            step_out(state, replica, place)
            if not plan.streamed:
                hand_over(plan, state, waits, request)
            leave_prompt(plan, state, waits, samples, request)
        else:
            depart(plan, state, waits, replica, place)
            if this.leaving == 0:
                this.status = SERVED
                ended(plan, state, request, SERVED)
        finished -= 1


@inner
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
    engine, now = state.replicas[replica], state.run[0].now
    steps = engine.until - engine.done
    which = 0 if engine.name == PREFILL else (1 if engine.name == DECODE else 2)
    state.busy[replica, which, 0] += now - engine.began
    state.busy[replica, which, 1] += steps
    if keep:
        _write_spans(plan, state, spans, replica, steps)
    engine.steps += steps
    finished = _worked(plan, state, waits, replica, steps)
    if plan.details and steps > 1:
        last = run_end(plan, state, replica, engine.until - 1)
        limits = plan.limits[pool_of(plan, replica)]
        count(state, samples, last, COUNTS * replica + 2, limits.blocks - engine.free)
        if limits.caching != 0:
            count(state, samples, last, COUNTS * replica + 3, state.cache.pools[replica].cached)
    _let_go(plan, state, waits, samples, replica, finished)
    engine.done = engine.until
    engine.due = NEVER
    mark_ready(state, replica)
    sample(plan, state, samples, replica, now)


@inner
def _write_spans(
    plan: EnginePlan, state: EngineState, spans: Rows, replica: int, steps: int
) -> None:
    """Write a step, or every step of a run; a step of a single request carries its key."""
    engine = state.replicas[replica]
    write_moves(state, spans, replica)
    alone = state.running[replica, 0] if engine.count == 1 else NOBODY
    start = engine.began
    for step in range(steps):
        end = state.run[0].now
        if step + 1 < steps:
            end = run_end(plan, state, replica, engine.done + step + 1)
        row = spans.rows[spans.filled[0]]
        row.ts = start
        row.dur = end - start
        row.track = replica
        row.name = engine.name
        row.batch = alone
        row.token = NULL
        row.step = (engine.steps + step) * len(state.replicas) + replica
        row.bytes = NULL
        spans.filled[0] += 1
        start = end


@inner
def _load(plan: EnginePlan, state: EngineState, replica: int) -> int:
    """Return what a router looks at: requests that wait, and as a rule those that run."""
    waiting = state.queue_size[replica, 0]
    if plan.limits[0].router == SHORTEST_QUEUE:
        return waiting
    return waiting + state.replicas[replica].count


@inner
def _route(plan: EnginePlan, state: EngineState, request: int) -> int:
    """Return the queue an arrival joins; among equals the replica of the lower number."""
    run, router = state.run[0], plan.limits[PROMPTS].router
    replicas = plan.split if plan.split > 0 else len(state.replicas)
    if router == SHARED_QUEUE:
        return len(state.replicas)
    if router == ROUND_ROBIN:
        run.turn += 1
        return (run.turn - 1) % replicas
    if router == AFFINITY:
        return most_akin(plan, state, request)
    if router == POWER_OF_TWO:
        drawn = request % len(plan.draws)
        one = min(plan.draws[drawn, 0], plan.draws[drawn, 1])
        other = max(plan.draws[drawn, 0], plan.draws[drawn, 1])
        return one if _load(plan, state, one) <= _load(plan, state, other) else other
    best = 0
    for replica in range(1, replicas):
        if _load(plan, state, replica) < _load(plan, state, best):
            best = replica
    return best


@inner
def _arrive(plan: EnginePlan, state: EngineState, waits: Rows, samples: Rows) -> None:
    """Send the next arrival to a queue, or away."""
    run = state.run[0]
    request = send(plan, state)
    queue = _route(plan, state, request)
    if state.queue_size[queue, 0] >= plan.limits[0].max_waiting:
        state.requests[request].status = REFUSED
        ended(plan, state, request, REFUSED)
        return
    first = join(plan, state, waits, queue, request)
    shared = queue == len(state.replicas)
    for replica in range(plan.split if plan.split > 0 else len(state.replicas)):
        engine = state.replicas[replica]
        if not (shared or replica == queue):
            continue
        if engine.due == NEVER:
            mark_ready(state, replica)
        elif first and engine.count < plan.limits[0].seats:
            cut(plan, state, replica, run.now)
    if plan.details:
        counter = COUNTS * queue + (0 if shared else 1)
        count(state, samples, run.now, counter, state.queue_size[queue, 0])


@inner
def _first_ready(state: EngineState) -> int:
    """Take the first of the replicas that are to form a batch, and return it."""
    replica = 0
    while state.replicas[replica].ready == 0:
        replica += 1
    state.replicas[replica].ready = 0
    state.run[0].ready -= 1
    return replica


@inner
def _watermark(plan: EnginePlan, state: EngineState) -> int:
    """Return the time before which no span is still to be written."""
    watermark = state.run[0].now
    for replica in range(len(state.replicas)):
        if state.replicas[replica].due != NEVER:
            watermark = min(watermark, state.replicas[replica].formed)
    return earliest_sent(state, watermark) if plan.split > 0 else watermark


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
    plan, state = plan_reference(plan), state_reference(state)
    waits, samples, spans = (rows_reference(waits), rows_reference(samples), rows_reference(spans))
    run, replicas = state.run[0], state.replicas
    keep = limit > 0
    room, moves = 7 * state.running.shape[1] + 16, state.moves.shape[1]
    while True:
        if (
            waits.filled[0] + room > len(waits.rows)
            or samples.filled[0] + room > len(samples.rows)
            or (keep and spans.filled[0] + plan.limits[0].longest_run + moves > limit)
            or ends_full(state)
            or queues_full(state)
            or tables_full(state)
            or clients_full(plan, state)
        ):
            break
        while state.ends_size[0] > 0 and replicas[state.ends[0, 1]].due != state.ends[0, 0]:
            heap_pop(state.ends, state.ends_size)
        ending = state.ends[0, 0] if state.ends_size[0] > 0 else NEVER
        arriving, deadline = next_send(plan, state), next_deadline(plan, state)
        landing = next_landing(state) if plan.split > 0 else NEVER
        coming = min(arriving, deadline, landing)
        if run.ready > 0 and min(ending, coming) > run.now:
            form(plan, state, waits, samples, _first_ready(state))
        elif ending == NEVER and coming == NEVER:
            return -1
        elif ending <= coming:
            _, replica = heap_pop(state.ends, state.ends_size)
            run.now = ending
            _end(plan, state, waits, samples, spans, replica, keep)
        elif landing <= min(arriving, deadline):
            land(plan, state, waits, samples, spans, keep)
        elif deadline <= arriving:
            give_up(plan, state, waits, samples)
        else:
            _arrive(plan, state, waits, samples)
    return _watermark(plan, state)
