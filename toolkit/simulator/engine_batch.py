"""Who runs and who gives way: how an engine forms the batch of its next step."""

from __future__ import annotations

import numpy as np

from toolkit.simulator.engine_blocks import (
    extend,
    give_back,
    hold,
    know,
    know_decodes,
    look,
    tells_at,
)
from toolkit.simulator.engine_handover import admit_landed, hand_over, reserve
from toolkit.simulator.engine_queues import (
    blocks_of,
    close,
    cut,
    join,
    mark_ready,
    pool_of,
    run_end,
    sample,
    stand,
)
from toolkit.simulator.engine_state import (
    MIXED,
    NEVER,
    PROMPTS,
    RUNNING,
    TOKENS,
    EnginePlan,
    EngineState,
    step_ns,
)
from toolkit.simulator.engine_swap import bring_back, put_away, stall
from toolkit.simulator.kernel import (
    BEHIND_PROMPT,
    DECODE,
    KV_ROOM,
    NOBODY,
    PREFILL,
    QUEUE,
    Rows,
    heap_pop,
    heap_push,
    inner,
)
from toolkit.trace.columns import NULL

__all__ = ["form", "leave", "step_out"]


@inner
def leave(plan: EnginePlan, state: EngineState, replica: int, place: int) -> None:
    """Take a request out of the batch, give its blocks back, and close ranks."""
    give_back(plan, state, replica, state.running[replica, place])
    step_out(state, replica, place)


@inner
def step_out(state: EngineState, replica: int, place: int) -> None:
    """Take a request out of the batch, and close ranks."""
    engine, running = state.replicas[replica], state.running[replica]
    request = running[place]
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
    if plan.limits[pool_of(plan, replica)].victim_by_key == 0:
        return worst
    for place in range(engine.count):
        this, most = plan.requests[running[place]].key, plan.requests[running[worst]].key
        if this > most or (this == most and running[place] > running[worst]):
            worst = place
    return worst


@inner
def _evict(plan: EnginePlan, state: EngineState, waits: Rows, replica: int, place: int) -> None:
    """Preempt a request: its KV cache is dropped, and it waits to compute it anew."""
    request = state.running[replica, place]
    leave(plan, state, replica, place)
    this = state.requests[request]
    put_away(plan, state, replica, request)
    this.computed = 0
    this.evicted = 1
    this.preemptions += 1
    join(plan, state, waits, replica, request)


@inner
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
            extend(plan, state, replica, request, this.blocks + 1)
            place += 1
    return preempted


@inner
def _obstacle(
    plan: EnginePlan, state: EngineState, replica: int, request: int, tokens: int, budget: int
) -> int:
    """Return why a request of so many tokens cannot be admitted, 0 if it can.

    Looks for what of it is cached.
    """
    engine, pool = state.replicas[replica], state.cache.pools[replica]
    limits = plan.limits[pool_of(plan, replica)]
    if engine.count == limits.seats:
        return QUEUE
    if budget == 0:
        return BEHIND_PROMPT
    computed = state.requests[request].away
    if computed > 0:
        pool.found = pool.idle = 0
    else:
        look(plan, state, replica, request, tokens)
        computed = pool.found * limits.block
    if limits.chunked == 0 and tokens - computed > budget:
        return BEHIND_PROMPT
    if blocks_of(plan, tokens) - pool.found + pool.idle > engine.free:
        return KV_ROOM
    return np.int64(0)


@inner
def _admit(plan: EnginePlan, state: EngineState, waits: Rows, replica: int, budget: int) -> int:
    """Let requests in while there are seats, tokens and blocks; return the tokens left."""
    engine, shared = state.replicas[replica], len(state.replicas)
    pool = pool_of(plan, replica)
    now = state.run[0].now
    while True:
        queue = replica if state.queue_size[replica, 0] > 0 or pool == TOKENS else shared
        if state.queue_size[queue, 0] == 0:
            return budget
        request = state.queues[queue, 0, 1]
        this = state.requests[request]
        tokens = plan.requests[request].prompt + this.generated
        cause = _obstacle(plan, state, replica, request, tokens, budget)
        if cause != 0:
            stand(state, waits, replica, cause)
            return budget
        heap_pop(state.queues[queue], state.queue_size[queue])
        close(state, waits, request, now, QUEUE if queue == shared else engine.head_cause)
        if queue == replica and state.queue_size[replica, 0] > 0:
            following = state.queues[replica, 0, 1]
            if state.requests[following].evicted == 0:
                close(state, waits, following, now, QUEUE)
        this.status = RUNNING
        this.replica = replica
        this.evicted = 0
        hold(plan, state, replica, request, blocks_of(plan, tokens))
        if this.away > 0:
            bring_back(plan, state, replica, request)
        this.chunk = min(tokens - this.computed, budget)
        budget -= this.chunk
        if this.computed + this.chunk < tokens:
            engine.partial = request
        know(plan, state, replica, request, this.computed + this.chunk)
        if this.start == NULL:
            this.start = now
        state.running[replica, engine.count] = request
        engine.count += 1
        if queue == shared and state.queue_size[shared, 0] > 0:
            _look_again(plan, state, replica)


@inner
def _look_again(plan: EnginePlan, state: EngineState, replica: int) -> None:
    """Another request is now first in the shared queue: who had no room for the last may have.

    Replicas of lower number have formed their batches of this instant already.
    """
    for other in range(plan.split if plan.split > 0 else len(state.replicas)):
        if other == replica:
            continue
        if state.replicas[other].due == NEVER:
            mark_ready(state, other)
        elif state.replicas[other].count < plan.limits[PROMPTS].seats:
            cut(plan, state, other, state.run[0].now + (1 if other < replica else 0))


@inner
def _go_on(plan: EnginePlan, state: EngineState, replica: int, budget: int) -> int:
    """Give the prompt that is under way its next tokens; return those left of the step's."""
    engine = state.replicas[replica]
    if engine.partial == NOBODY:
        return budget
    this = state.requests[engine.partial]
    left = plan.requests[engine.partial].prompt + this.generated - this.computed
    this.chunk = min(left, budget)
    know(plan, state, replica, engine.partial, this.computed + this.chunk)
    if this.chunk == left:
        engine.partial = NOBODY
    return budget - this.chunk


@inner
def _prompts(plan: EnginePlan, state: EngineState, waits: Rows, replica: int, budget: int) -> None:
    """Give prompts the tokens left of a step: the one that is under way first, then new ones."""
    _admit(plan, state, waits, replica, _go_on(plan, state, replica, budget))


@inner
def _lacks_at(plan: EnginePlan, state: EngineState, replica: int, steps: int) -> int:
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


@inner
def _choose(plan: EnginePlan, state: EngineState, waits: Rows, replica: int) -> int:
    """Choose who is in the next step and give them their blocks; return how many gave way.

    Prompts have a ``chunk``; all others decode, unless the step is for prompts
    alone.  Where somebody gave way nobody is let in.
    """
    engine, pool = state.replicas[replica], pool_of(plan, replica)
    limits = plan.limits[pool]
    engine.decodes = 1
    if limits.prefill_first != 0:
        if pool == TOKENS:
            admit_landed(plan, state, waits, replica)
        _prompts(plan, state, waits, replica, limits.budget)
        for place in range(engine.count):
            if state.requests[state.running[replica, place]].chunk > 0:
                engine.decodes = 0
                return 0
        preempted = _grow(plan, state, waits, replica)
        know_decodes(plan, state, replica)
        return preempted
    preempted = _grow(plan, state, waits, replica)
    if pool == TOKENS and preempted == 0:
        admit_landed(plan, state, waits, replica)
    know_decodes(plan, state, replica)
    decodes = engine.count - (0 if engine.partial == NOBODY else 1)
    if preempted == 0:
        _prompts(plan, state, waits, replica, limits.budget - decodes)
    else:
        _go_on(plan, state, replica, limits.budget - decodes)
        stand(state, waits, replica, KV_ROOM)
    return preempted


@inner
def _measure(plan: EnginePlan, state: EngineState, replica: int) -> None:
    """Count what the next step takes, as `toolkit.costs.steps.Work`, into the replica's record."""
    engine = state.replicas[replica]
    engine.size = engine.context = engine.chunks = engine.prompt_tokens = 0
    engine.pairs = engine.prompt_context = engine.sampled = 0
    for place in range(engine.count):
        request = state.running[replica, place]
        this = state.requests[request]
        if this.chunk > 0:
            reach = this.computed + this.chunk
            engine.chunks += 1
            engine.prompt_tokens += this.chunk
            engine.prompt_context += reach
            engine.pairs += this.chunk * this.computed + this.chunk * (this.chunk + 1) // 2
            if reach == plan.requests[request].prompt + this.generated:
                engine.sampled += 1
        elif engine.decodes != 0:
            engine.size += 1
            engine.sampled += 1
            engine.context += this.computed + 1
        else:
            continue
        if this.prefill_end != NULL and this.decode_start == NULL:
            this.decode_start = engine.began


@inner
def _most_steps(plan: EnginePlan, state: EngineState, replica: int) -> int:
    """Return how many steps the batch can decode until one finishes or lacks a block."""
    least = plan.limits[PROMPTS].longest_run
    for place in range(state.replicas[replica].count):
        request = state.running[replica, place]
        least = min(least, plan.requests[request].output - state.requests[request].generated)
    if plan.limits[pool_of(plan, replica)].answers_shared != 0:
        least = _until_told(plan, state, replica, least)
    return _lacks_at(plan, state, replica, least)


@inner
def _until_told(plan: EnginePlan, state: EngineState, replica: int, steps: int) -> int:
    """Return after how many of `steps` steps whoever waits may find more cached than now."""
    queue = replica if state.queue_size[replica, 0] > 0 else len(state.replicas)
    engine = state.replicas[replica]
    if state.queue_size[queue, 0] > 0 and engine.count < plan.limits[PROMPTS].seats:
        head = state.queues[queue, 0, 1]
        for place in range(engine.count):
            request = state.running[replica, place]
            steps = tells_at(plan, state, replica, request, head, steps)
    return steps


@inner
def _hand_over_early(plan: EnginePlan, state: EngineState, waits: Rows, replica: int) -> None:
    """Hand those over whose prompt ends with the step that begins: layers leave as they end."""
    for place in range(state.replicas[replica].count):
        request = state.running[replica, place]
        this, asked = state.requests[request], plan.requests[request]
        if asked.output > 1 and this.chunk > 0 and this.computed + this.chunk == asked.prompt:
            hand_over(plan, state, waits, request)


@inner
def form(plan: EnginePlan, state: EngineState, waits: Rows, samples: Rows, replica: int) -> None:
    """Form the next batch of a replica and say when its step, or its run, ends."""
    engine, now = state.replicas[replica], state.run[0].now
    before = engine.count
    engine.moves = engine.stall = 0
    pool = pool_of(plan, replica)
    preempted = _choose(plan, state, waits, replica)
    if pool == TOKENS:
        reserve(plan, state, waits, replica, preempted)
    stall(plan, state, waits, replica)
    _measure(plan, state, replica)
    if engine.size + engine.chunks == 0:
        if preempted > 0:  # all gave way: those whose KV cache has come may enter now
            mark_ready(state, replica)
        sample(plan, state, samples, replica, now)
        return
    if engine.open == 0 or preempted > 0 or engine.count != before or engine.chunks > 0:
        engine.anchor = engine.began
        engine.done = 0
        engine.run_size = engine.size
        engine.run_context = engine.context
    if engine.chunks > 0:
        engine.open = 0
        engine.name = MIXED if engine.size > 0 else PREFILL
        engine.until = 1
        engine.due = engine.began + step_ns(
            plan.costs[pool],
            engine.size,
            engine.context,
            engine.chunks,
            engine.prompt_tokens,
            engine.pairs,
            engine.prompt_context,
            engine.sampled,
        )
    else:
        engine.open = 1
        engine.name = DECODE
        # Where somebody gave way nobody was let in, and somebody may be after one step.
        steps = 1 if preempted > 0 else _most_steps(plan, state, replica)
        engine.until = engine.done + steps
        engine.due = run_end(plan, state, replica, engine.until)
    heap_push(state.ends, state.ends_size, engine.due, np.int64(replica))
    if plan.split > 0 and pool == PROMPTS and plan.streamed:
        _hand_over_early(plan, state, waits, replica)
    sample(plan, state, samples, replica, now)
