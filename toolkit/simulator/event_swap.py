"""Microbatch swapping under the `event` discipline: hosts keep all KV caches, devices a few.

A stage works on a microbatch whose cache is on its devices.  There is room for
`slots` caches; whoever else passes is fetched into the place of the one that
passed longest ago, as soon as that one's last pass has been written back:
microbatches take turns, so who comes next is known and fetching overlaps the
passes before.  After a pass, what it added to the cache is written back to the
host.  The two directions of a stage's link do not disturb one another.

Source: microbatch swapping of Strati et al., DejaVu (arXiv 2403.01876), as far
as summaries tell it.
"""

from __future__ import annotations

import numpy as np

from toolkit.simulator.event_state import Plan, State
from toolkit.simulator.kernel import Rows, inner
from toolkit.trace.columns import NULL, name_key

__all__ = ["fetch", "settled", "write_back"]

SWAP_IN = np.int64(name_key("swap_in"))
SWAP_OUT = np.int64(name_key("swap_out"))

IN, OUT = np.arange(2)
"""Directions of a stage's link to its host."""


@inner
def _move(
    plan: Plan,
    state: State,
    spans: Rows,
    pipe: int,
    stage: int,
    side: int,
    batch: int,
    volume: int,
    since: int,
    keep: bool,
) -> int:
    """Move bytes between a stage's devices and its host; return when they have arrived."""
    swaps = plan.swaps
    channel = state.swaps.channels[pipe, stage, side]
    start = max(since, channel.free)
    end = start + np.int64(np.rint((swaps.link[1] + volume / swaps.link[0]) * 1e9))
    channel.free = end
    until = min(end, plan.faults.horizon)
    if until <= start:
        return end
    volume = volume * (until - start) // (end - start)
    channel.busy += until - start
    channel.count += 1
    channel.bytes += volume
    if keep:
        span = spans.rows[spans.filled[0]]
        span.ts = start
        span.dur = until - start
        span.track = swaps.tracks[pipe, stage, side]
        span.name = SWAP_IN if side == IN else SWAP_OUT
        span.batch = batch
        span.token = NULL
        span.step = NULL
        span.bytes = volume
        spans.filled[0] += 1
    return end


@inner
def fetch(
    plan: Plan,
    state: State,
    spans: Rows,
    pipe: int,
    stage: int,
    batch: int,
    done: int,
    keep: bool,
) -> int:
    """Return when a batch's cache, of `done` passes so far, is on a stage's devices."""
    slots = state.swaps.slots[pipe, stage]
    oldest = 0
    for slot in range(len(slots)):
        if slots[slot].who == batch:
            slots[slot].used = state.run[0].steps
            return 0
        if slots[slot].used < slots[oldest].used:
            oldest = slot
    free = slots[oldest].free
    slots[oldest].who = batch
    slots[oldest].used = state.run[0].steps
    if done == 0:
        return free
    whole = plan.batches[batch].prompt_room + (done - 1) * plan.swaps.token_kv[batch]
    volume = np.int64(np.rint(whole * plan.swaps.shares[stage]))
    return _move(plan, state, spans, pipe, stage, IN, batch, volume, free, keep)


@inner
def write_back(
    plan: Plan,
    state: State,
    spans: Rows,
    pipe: int,
    stage: int,
    batch: int,
    done: int,
    now: int,
    keep: bool,
) -> None:
    """A stage is through with a batch's pass number `done` + 1: its cache may make room.

    After the last pass it is of no use any more.
    """
    slots = state.swaps.slots[pipe, stage]
    last = done == plan.batches[batch].passes
    end = now
    if not last:
        whole = plan.batches[batch].prompt_room if done == 0 else plan.swaps.token_kv[batch]
        volume = np.int64(np.rint(whole * plan.swaps.shares[stage]))
        end = _move(plan, state, spans, pipe, stage, OUT, batch, volume, now, keep)
    for slot in range(len(slots)):
        if slots[slot].who == batch:
            slots[slot].free = end
            if last:
                slots[slot].who = NULL
                slots[slot].used = -1


@inner
def settled(plan: Plan, state: State, now: int) -> int:
    """Return the time before which no cache will be fetched any more."""
    for pipe in range(len(state.pipes)):
        if state.pipes[pipe].in_flight > 0:
            for stage in range(plan.swaps.tracks.shape[1]):
                now = min(now, state.swaps.channels[pipe, stage, IN].free)
    return now
