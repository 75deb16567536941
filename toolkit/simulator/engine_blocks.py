"""KV blocks of requests: counted, and with prefix caching also known by what stands in them.

What `toolkit.simulator.engine_batch` asks for, with and without a cache.
Without one a block is as good as any other, and a count is all there is.
"""

from __future__ import annotations

from toolkit.simulator.engine_cache import grow_to, known_blocks, learn, release, take
from toolkit.simulator.engine_queues import pool_of, row_of
from toolkit.simulator.engine_state import EnginePlan, EngineState
from toolkit.simulator.kernel import inner
from toolkit.trace.columns import NULL

__all__ = ["extend", "give_back", "hold", "know", "know_decodes", "look", "tells_at"]


@inner
def caches(plan: EnginePlan, replica: int) -> bool:
    """Return whether a replica keeps what stood in its blocks for others."""
    return plan.limits[pool_of(plan, replica)].caching != 0


@inner
def look(plan: EnginePlan, state: EngineState, replica: int, request: int, tokens: int) -> None:
    """Look for blocks of a request's first `tokens` tokens, and note them in the replica's pool."""
    if caches(plan, replica):
        start, size = plan.starts[row_of(plan, state, request)], plan.limits[0].block
        known_blocks(state.cache, plan.runs, start, size, replica, tokens)


@inner
def hold(plan: EnginePlan, state: EngineState, replica: int, request: int, blocks: int) -> None:
    """Give a request who has none so many blocks, with those just found among them.

    The tokens of those found are computed.
    """
    this, engine = state.requests[request], state.replicas[replica]
    this.blocks = blocks
    if not caches(plan, replica):
        engine.free -= blocks
        return
    pool = state.cache.pools[replica]
    engine.free -= blocks - pool.found + pool.idle
    this.table = take(state.cache, replica, blocks)
    this.known = pool.found
    this.computed = pool.found * plan.limits[0].block
    if this.cached == NULL:
        this.cached = this.computed


@inner
def extend(plan: EnginePlan, state: EngineState, replica: int, request: int, blocks: int) -> None:
    """Give a request who has some more blocks, up to so many; they have to be free."""
    this, engine = state.requests[request], state.replicas[replica]
    if blocks <= this.blocks:
        return
    if caches(plan, replica):
        grow_to(state.cache, replica, this.table, this.blocks, blocks)
    engine.free -= blocks - this.blocks
    this.blocks = blocks


@inner
def give_back(plan: EnginePlan, state: EngineState, replica: int, request: int) -> None:
    """Take a request's blocks from it."""
    this, engine = state.requests[request], state.replicas[replica]
    if caches(plan, replica):
        engine.free += release(state.cache, replica, this.table, this.blocks)
        this.known = 0
    else:
        engine.free += this.blocks
    this.blocks = 0


@inner
def know(plan: EnginePlan, state: EngineState, replica: int, request: int, tokens: int) -> None:
    """Let those blocks be known that a request's first `tokens` tokens fill."""
    this, size = state.requests[request], plan.limits[0].block
    if not caches(plan, replica) or tokens // size <= this.known:
        return
    start = plan.starts[row_of(plan, state, request)]
    this.known = learn(state.cache, plan.runs, start, size, replica, this.table, this.known, tokens)


@inner
def tells_at(
    plan: EnginePlan, state: EngineState, replica: int, request: int, head: int, steps: int
) -> int:
    """Return after how many of `steps` steps a decode fills a block that `head` looks for.

    `head` waits for room; that block known, it may need less.  It can be so
    only where a turn comes before the turn ahead of it has its answer.  A
    block is known as the step that fills it is formed: before those who wait
    are looked at, or with prompts first after that, for the next step.
    """
    size, computed = plan.limits[0].block, state.requests[request].computed
    until = size - computed % size
    end = computed + until
    if plan.limits[0].prefill_first != 0:
        until += 1
    elif until == 1:
        until, end = size + 1, end + size
    if until > steps or end >= plan.requests[head].prompt + state.requests[head].generated:
        return steps
    row = plan.starts[row_of(plan, state, head)]
    while plan.runs[row, 0] < end:
        row += 1
    own = plan.starts[row_of(plan, state, request)]
    while plan.runs[own, 0] < end:
        own += 1
    return until - 1 if plan.runs[own, 1] == plan.runs[row, 1] else steps


@inner
def know_decodes(plan: EnginePlan, state: EngineState, replica: int) -> None:
    """Let those blocks be known that the decodes of the next step fill."""
    engine = state.replicas[replica]
    if not caches(plan, replica):
        return
    for place in range(engine.count):
        request = state.running[replica, place]
        if request != engine.partial:
            know(plan, state, replica, request, state.requests[request].computed + 1)
