"""Clients: whoever waits for an answer, sends the next request after it, gives up, tries again.

Where arrivals hang on the run, a request is a *try* of a row of the workload.
It is sent when the row it waits for has ended and its client has thought (in a
closed loop, whichever row leaves a client with nothing to send), or when the
try before it came to nothing and its client has backed off.  Requests
are numbered as they arrive, whatever they are tries of, so that a lower number
is an earlier arrival wherever an engine asks for that.

A client gives up at a deadline.  What waits then leaves its queue at once; what
is in a step leaves as the step ends, and its blocks are free: engines look at
what was aborted between two steps (vLLM's V1 takes aborts from its queue of
inputs before each step; 0.11, vllm/v1/engine/core.py).  A run is cut at its
first boundary from the deadline on.
"""

from __future__ import annotations

import numpy as np

from toolkit.simulator.engine_batch import leave
from toolkit.simulator.engine_queues import cut, sample, walk_out
from toolkit.simulator.engine_state import (
    CANCELLED,
    NEVER,
    REFUSED,
    RUNNING,
    TIMED_OUT,
    UNKNOWN,
    WAITING,
    EnginePlan,
    EngineState,
)
from toolkit.simulator.kernel import (
    BEHIND_PROMPT,
    NOBODY,
    Records,
    Rows,
    heap_pop,
    heap_push,
    inner,
    wait_row,
)
from toolkit.trace.columns import NULL

__all__ = [
    "clients_full",
    "depart",
    "ended",
    "give_up",
    "grown",
    "next_deadline",
    "next_send",
    "send",
]

FIRST_TOKEN, WHOLE, PATIENCE = np.arange(3)
KINDS = 3
"""Deadlines: of the first token and of the whole answer, and the client's own patience."""


@inner
def clients_full(plan: EnginePlan, state: EngineState) -> bool:
    """Return whether the next event may find no room for what it adds."""
    return len(plan.clients) > 0 and bool(
        state.run[0].arrived + 1 > len(plan.requests)
        or state.run[0].tries + 1 > len(state.tries)
        or state.deadlines_size[0] + 2 > len(state.deadlines)
    )


# -- sending -----------------------------------------------------------------------------------


@inner
def next_send(plan: EnginePlan, state: EngineState) -> int:
    """Return when the next request arrives, as far as is known."""
    if len(plan.clients) > 0:
        return state.sends[0, 0] if state.sends_size[0] > 0 else NEVER
    arrived = state.run[0].arrived
    return plan.requests[arrived].arrival if arrived < len(plan.requests) else NEVER


@inner
def send(plan: EnginePlan, state: EngineState) -> int:
    """Let the next request arrive, with its deadlines; return its number."""
    run = state.run[0]
    request = run.arrived
    run.arrived += 1
    if len(plan.clients) > 0:
        now, key = heap_pop(state.sends, state.sends_size)
        one = state.tries[key]
        if one.attempt == 0:
            one.began = now
        client, this = plan.clients[one.client], plan.requests[request]
        this.arrival = now
        this.prompt = client.prompt
        this.output = client.output
        this.key = client.key
        state.requests[request].tried = key
        _set_deadlines(plan, state, request, one.client, one.began)
    run.now = plan.requests[request].arrival
    return request


@inner
def _set_deadlines(
    plan: EnginePlan, state: EngineState, request: int, client: int, began: int
) -> None:
    """Note when a request is given up: patience counts from its first try, timeouts from this."""
    rules, patience = plan.patience[0], plan.clients[client].patience
    now = plan.requests[request].arrival
    last, kind = NEVER, WHOLE
    if rules.whole != NEVER:
        last = now + rules.whole
    if patience != NEVER and began + patience < last:
        last, kind = began + patience, PATIENCE
    if last != NEVER:
        heap_push(state.deadlines, state.deadlines_size, last, request * KINDS + kind)
    if rules.first_token != NEVER and now + rules.first_token <= last:
        first = now + rules.first_token
        heap_push(state.deadlines, state.deadlines_size, first, request * KINDS + FIRST_TOKEN)


@inner
def ended(plan: EnginePlan, state: EngineState, request: int, outcome: int) -> None:
    """Let a client go on once its request has come to an end.

    What timed out or was refused is tried again, unless its client's patience
    is over by then; else the next request of the client is sent.
    """
    if len(plan.clients) == 0:
        return
    run = state.run[0]
    one = state.tries[state.requests[request].tried]
    client = plan.clients[one.client]
    failed = outcome in (TIMED_OUT, REFUSED)
    if failed and one.attempt < plan.patience[0].retries:
        at = run.now + plan.backoffs[one.client % len(plan.backoffs), one.attempt]
        if client.patience == NEVER or at < one.began + client.patience:
            again = state.tries[run.tries]
            again.client = one.client
            again.attempt = one.attempt + 1
            again.began = one.began
            heap_push(state.sends, state.sends_size, at, run.tries)
            run.tries += 1
            return
    row = client.next
    if row == NULL and run.taken < len(plan.pool):
        row = plan.pool[run.taken]
        run.taken += 1
    if row != NULL:
        at = max(run.now + plan.clients[row].think, plan.clients[row].arrival)
        heap_push(state.sends, state.sends_size, at, row)


# -- giving up ---------------------------------------------------------------------------------


@inner
def next_deadline(plan: EnginePlan, state: EngineState) -> int:
    """Return the next time at which a client gives up, NEVER if there is none."""
    while state.deadlines_size[0] > 0:
        number = state.deadlines[0, 1]
        this, kind = state.requests[number // KINDS], number % KINDS
        alive = this.status in (WAITING, RUNNING) and this.leaving == 0
        if alive and (kind != FIRST_TOKEN or this.prefill_end == NULL):
            return state.deadlines[0, 0]
        heap_pop(state.deadlines, state.deadlines_size)
    return NEVER


@inner
def give_up(plan: EnginePlan, state: EngineState, waits: Rows, samples: Rows) -> None:
    """Let a client give its request up: it leaves at once, or as the step under way ends."""
    run = state.run[0]
    now, number = heap_pop(state.deadlines, state.deadlines_size)
    run.now = now
    request, kind = number // KINDS, number % KINDS
    this = state.requests[request]
    this.given_up = run.now
    this.leaving = CANCELLED if kind == PATIENCE else TIMED_OUT
    if this.status == WAITING:
        walk_out(plan, state, waits, samples, request)
        this.status = this.leaving
    elif state.replicas[this.replica].due == NEVER:
        place = 0
        while state.running[this.replica, place] != request:
            place += 1
        depart(plan, state, waits, this.replica, place)
        sample(plan, state, samples, this.replica, run.now)
    else:
        state.replicas[this.replica].leaving += 1
        cut(plan, state, this.replica, run.now)
    ended(plan, state, request, this.leaving)


@inner
def depart(plan: EnginePlan, state: EngineState, waits: Rows, replica: int, place: int) -> None:
    """Let a request out of the batch, for good."""
    request, now = state.running[replica, place], state.run[0].now
    this = state.requests[request]
    this.status = this.leaving
    this.finish = now
    since = this.start if this.landed == NULL else this.landed
    wait_row(waits, request, since, now, this.summed, BEHIND_PROMPT, NOBODY, replica)
    leave(plan, state, replica, place)
    state.replicas[replica].open = 0


# -- room --------------------------------------------------------------------------------------


def grown(plan: EnginePlan, state: EngineState) -> tuple[EnginePlan, EngineState]:
    """Return plan and state with more room for tries and deadlines where it is nearly used up."""
    run = state.run[0]
    if not len(plan.clients):
        return plan, state
    if run["arrived"] + 1 > len(plan.requests) or run["tries"] + 1 > len(state.tries):
        before = len(plan.requests)
        plan = plan._replace(requests=_twice(plan.requests))
        state = state._replace(
            requests=_twice(state.requests),
            tries=_twice(state.tries),
            sends=_twice(state.sends),
        )
        for field in UNKNOWN:
            state.requests[field][before:] = NULL
    if state.deadlines_size[0] + 2 > len(state.deadlines):
        state = state._replace(deadlines=_twice(state.deadlines))
    return plan, state


def _twice(rows: Records) -> Records:
    """Return the same rows with room for as many again, and two more."""
    more = np.zeros((2 * len(rows) + 2, *rows.shape[1:]), rows.dtype)
    more[: len(rows)] = rows
    return more
