"""Preemption by swapping out: KV blocks move to host memory, and back before a request goes on.

As vLLM's V0 did with ``preemption_mode = "swap"`` (vllm/core/scheduler.py and
vllm/worker/cache_engine.py, 0.6; V1 only recomputes): copies are issued before
a step, in the stream it is computed in, so the device stands still for them and
the whole batch waits.  A request that finds no room in host memory gives its
blocks up and computes anew (V0 gives up altogether).
"""

from __future__ import annotations

from math import floor

from toolkit.simulator.engine_queues import blocks_of, pool_of
from toolkit.simulator.engine_state import SWAP_IN, SWAP_OUT, SWAPPED, EnginePlan, EngineState
from toolkit.simulator.kernel import NOBODY, Rows, inner, wait_row
from toolkit.trace.columns import NULL

__all__ = ["bring_back", "put_away", "stall", "write_moves"]


@inner
def _move(
    plan: EnginePlan, state: EngineState, replica: int, request: int, name: int, blocks: int
) -> None:
    """Note that blocks move before the next step, after those that move already."""
    engine = state.replicas[replica]
    pool = pool_of(plan, replica)
    took = max(floor(plan.host_copy[pool, 0] + plan.host_copy[pool, 1] * blocks + 0.5), 1)
    move = state.moves[replica, engine.moves]
    move[0] = engine.stall
    move[1] = took
    move[2] = request
    move[3] = name
    move[4] = blocks * plan.limits[pool].block_bytes
    engine.moves += 1
    engine.stall += took
    which = 0 if name == SWAP_OUT else 1
    state.moved[replica, which, 0] += took
    state.moved[replica, which, 1] += 1
    state.moved[replica, which, 2] += move[4]


@inner
def put_away(plan: EnginePlan, state: EngineState, replica: int, request: int) -> bool:
    """Move what a request has computed to host memory; return False where it cannot be."""
    this, engine = state.requests[request], state.replicas[replica]
    blocks = blocks_of(plan, this.computed)
    if plan.limits[pool_of(plan, replica)].swap == 0 or blocks == 0 or blocks > engine.host_free:
        return False
    engine.host_free -= blocks
    this.away = this.computed
    _move(plan, state, replica, request, SWAP_OUT, blocks)
    return True


@inner
def bring_back(plan: EnginePlan, state: EngineState, replica: int, request: int) -> None:
    """Move a request's KV cache back to the device, where it has blocks for it."""
    this, engine = state.requests[request], state.replicas[replica]
    blocks = blocks_of(plan, this.away)
    engine.host_free += blocks
    this.computed = this.away
    this.away = 0
    _move(plan, state, replica, request, SWAP_IN, blocks)


@inner
def stall(plan: EnginePlan, state: EngineState, waits: Rows, replica: int) -> None:
    """Let the batch wait until all that moves has moved."""
    engine, now = state.replicas[replica], state.run[0].now
    engine.formed = now
    engine.began = now + engine.stall
    if engine.stall == 0:
        return
    for place in range(engine.count):
        request = state.running[replica, place]
        this = state.requests[request]
        wait_row(waits, request, now, engine.began, engine.stall, SWAPPED, NOBODY, NOBODY)
        if this.start == now:
            this.start = engine.began


@inner
def write_moves(state: EngineState, spans: Rows, replica: int) -> None:
    """Write what moved before the step that ends."""
    engine = state.replicas[replica]
    for at in range(engine.moves):
        move = state.moves[replica, at]
        row = spans.rows[spans.filled[0]]
        row.ts = engine.formed + move[0]
        row.dur = move[1]
        row.track = replica
        row.name = move[3]
        row.batch = move[2]
        row.token = NULL
        row.step = NULL
        row.bytes = move[4]
        spans.filled[0] += 1
