"""The `event` discipline: whoever is ready first is served first, and transfers are work on links.

Integer nanoseconds.  Batches arrive, are admitted to a pipeline as places and
KV room allow, and move through it pass by pass; every server takes passes in
the order in which they became ready.  Between a prompt and a token pipeline
the KV cache travels in parts (a part is what one prompt stage holds for one
token stage) over the sender's and the receiver's network interface, and holds
both.

The heap holds one event for each thing that is still undecided.  Events of
one time are taken by kind, in the order of the constants below, then lower
batch first, then lower part first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from toolkit.simulator.kernel import (
    I4,
    I8,
    Heap,
    heap_pop,
    heap_push,
    wait_row,
    walk_back,
)
from toolkit.trace.columns import NULL, name_key

__all__ = ["Plan", "State", "advance", "new_state"]

FINISHED, LANDED, STAGE_FREE, ARRIVED, TRANSFER, PASS = range(6)

KIND_SHIFT = 44
BATCH_SHIFT = 12
BATCH_MASK = (1 << (KIND_SHIFT - BATCH_SHIFT)) - 1
PART_MASK = (1 << BATCH_SHIFT) - 1

NAME_PREFILL = name_key("prefill")
NAME_DECODE = name_key("decode")
NAME_ACTIVATION = name_key("activation")
NAME_KV_TRANSFER = name_key("kv_transfer")
NAME_KV_RECEIVE = name_key("kv_receive")
QUEUE = name_key("queue")
BEHIND_PROMPT = name_key("behind_prompt")
BEHIND_BATCH = name_key("behind_batch")
LINK_BUSY = name_key("link_busy")
KV_ROOM = name_key("kv_room")
KV_TRANSFER = name_key("transfer")

Flags = npt.NDArray[np.bool_]


class Plan(NamedTuple):
    """What is to be played; never changed by playing it.

    Batches, shape (batches,): when each is `ready` to enter, its `service`
    (batches, 4) in ns on a stage and on the link behind it (prompt, prompt
    link, token, token link), `moved` (batches, 2) activation bytes of a prompt
    and a token pass, decode `passes` after its prompt, and the bytes of KV
    `room` (batches, 2) it takes on the prompt and the token side.

    `queues` (items) and `queue_start` (queues + 1): batches in order of entry.

    Pipelines, all of `tracks` (pipelines, servers; NULL beyond the last):
    stages and links in turn where `linked`, else stages only; `limit` batches
    at once and `capacity` bytes of KV each.  With `split`, pipeline 0 takes
    prompts and pipeline 1 tokens; else each takes both.

    Parts of a KV cache, shape (parts,): prompt stage `part_stage`, network
    interfaces `part_out` and `part_into`, first and last layer done after
    `part_first` and `part_last` of `part_layers` shares of the prompt pass;
    `part_ns`, `part_tail_ns`, `part_bytes` (batches, parts) the whole time on
    the link, that of the last layer, and the volume.

    Marks: `mark_start` (batches + 1) into `mark_pass`, the passes of a batch
    whose ends are to be told apart, ascending.
    """

    ready: I8
    service: I8
    moved: I8
    passes: I8
    room: I8
    queues: I8
    queue_start: I8
    tracks: I4
    linked: bool
    limit: I8
    capacity: I8
    split: bool
    part_stage: I8
    part_out: I8
    part_into: I8
    part_first: I8
    part_last: I8
    part_layers: I8
    part_ns: I8
    part_tail_ns: I8
    part_bytes: I8
    nic_tracks: I4
    mark_start: I8
    mark_pass: I8
    details: bool


class State(NamedTuple):
    """State between two calls of :func:`advance`, and in the end the outcome.

    `times` (batches, 7): start, start on the last prompt stage, prompt end,
    KV arrival, first decode start, end, and the pipeline that decodes.
    `landing` (batches, 4): end, start, track and holder of the part of its KV
    cache that arrived last so far.
    """

    heap: Heap
    now: I8
    pipe: I8
    token: I8
    mark: I8
    mark_ns: I8
    times: I8
    landing: I8
    parts_left: I8
    stage_began: I8
    sums: I8
    summed: I8
    head: I8
    head_since: I8
    head_cause: I8
    head_on: I8
    scheduled: I8
    in_flight: I8
    used: I8
    stage_free: Flags
    last_prompt: I8
    waiting: I8
    waiting_at: I8
    began: I8
    ended: I8
    who: I4
    what: I4
    place: I8
    prompt_began: I8
    prompt_ended: I8
    prompt_who: I4
    nic_free: I8
    nic_who: I4
    busy: I8
    counts: I8
    bytes: I8
    nic_busy: I8
    steps: I8


TIMES = ("start", "prefill_last", "prefill_end", "kv_ready", "decode_start", "finish", "replica")


def new_state(plan: Plan) -> State:
    """Return the state before the first event: every queue's head is about to arrive."""
    batches, parts = len(plan.ready), len(plan.part_stage)
    pipelines, servers = plan.tracks.shape
    queues = len(plan.queue_start) - 1
    places = int(plan.limit.max()) + servers + 2
    prompt_stages = int(plan.part_stage.max()) + 1 if parts else 1
    ways = 2 * batches + queues + batches * max(parts, 1) + 8

    def zeros(*shape: int) -> I8:
        return np.zeros(shape, np.int64)

    def nulls(*shape: int) -> I8:
        return np.full(shape, NULL, np.int64)

    state = State(
        heap=Heap(zeros(1), zeros(ways), zeros(ways)),
        now=zeros(1),
        pipe=zeros(batches),
        token=zeros(batches),
        mark=plan.mark_start[:-1].copy(),
        mark_ns=nulls(len(plan.mark_pass)),
        times=nulls(batches, len(TIMES)),
        landing=nulls(batches, 5),
        parts_left=np.full(batches, parts, np.int64),
        stage_began=zeros(batches if parts else 1, prompt_stages),
        sums=zeros(1 if plan.details else batches, 1 + max(BEHIND_BATCH, LINK_BUSY, KV_ROOM)),
        summed=nulls(batches),
        head=plan.queue_start[:-1].copy(),
        head_since=zeros(queues),
        head_cause=zeros(queues),
        head_on=nulls(queues),
        scheduled=zeros(queues),
        in_flight=zeros(pipelines),
        used=zeros(pipelines),
        stage_free=np.ones(pipelines, np.bool_),
        last_prompt=nulls(pipelines),
        waiting=zeros(batches),
        waiting_at=zeros(2),
        began=zeros(pipelines, places, servers),
        ended=zeros(pipelines, places, servers),
        who=np.full((pipelines, places), NULL, np.int32),
        what=np.full((pipelines, places), BEHIND_PROMPT, np.int32),
        place=zeros(pipelines),
        prompt_began=nulls(pipelines, servers),
        prompt_ended=nulls(pipelines, servers),
        prompt_who=np.full(pipelines, NULL, np.int32),
        nic_free=zeros(max(len(plan.nic_tracks), 1)),
        nic_who=np.full(max(len(plan.nic_tracks), 1), NULL, np.int32),
        busy=zeros(pipelines, servers, 2),
        counts=zeros(pipelines, servers, 2),
        bytes=zeros(pipelines, servers),
        nic_busy=zeros(max(len(plan.nic_tracks), 1), 2, 3),
        steps=zeros(1),
    )
    for queue in range(queues):
        _call_head(plan, state, queue)
    return state


@njit(cache=True, nogil=True)
def _key(kind, batch, part):
    return (kind << KIND_SHIFT) | (batch << BATCH_SHIFT) | part


@njit(cache=True, nogil=True)
def _call_head(plan, state, queue):
    """Schedule the arrival of a queue's head, once."""
    head = state.head[queue]
    if head < plan.queue_start[queue + 1] and state.scheduled[queue] <= head:
        state.scheduled[queue] = head + 1
        batch = plan.queues[head]
        heap_push(state.heap, plan.ready[batch], _key(ARRIVED, batch, queue))


@njit(cache=True, nogil=True)
def _obstacle(plan, state, queue, batch):
    """Return (why a batch may not enter now, the pipeline it would enter)."""
    if plan.split:
        if not state.stage_free[0]:
            return BEHIND_PROMPT, 0
        for side in range(2):
            if state.used[side] + plan.room[batch, side] > plan.capacity[side]:
                return KV_ROOM, 0
        return 0, 0
    pipe = queue
    if len(plan.queue_start) == 2:
        pipe = np.int64(np.argmin(state.in_flight))
    if state.in_flight[pipe] >= plan.limit[pipe]:
        return QUEUE, pipe
    if state.used[pipe] + plan.room[batch, 1] > plan.capacity[pipe]:
        return KV_ROOM, pipe
    return 0, pipe


@njit(cache=True, nogil=True)
def _admit(plan, state, waits, queue, now, by):
    """Let batches at the head of a queue in, as far as there is place and room.

    `by` is the batch whose going made place.  What a batch waited for is
    written piece by piece: behind the heads before it, then as head.
    """
    while state.head[queue] < plan.queue_start[queue + 1]:
        batch = plan.queues[state.head[queue]]
        if plan.ready[batch] > now:
            _call_head(plan, state, queue)
            return
        cause, pipe = _obstacle(plan, state, queue, batch)
        since = max(state.head_since[queue], plan.ready[batch])
        if state.head_cause[queue] != cause and state.head_cause[queue] != 0:
            _waited_outside(plan, waits, batch, since, now, state.head_cause[queue], by)
            since = now
        state.head_since[queue] = since
        state.head_cause[queue] = cause
        if cause != 0:
            return
        state.head[queue] += 1
        if state.head[queue] < plan.queue_start[queue + 1]:
            follower = plan.queues[state.head[queue]]
            _waited_outside(plan, waits, follower, plan.ready[follower], now, QUEUE, batch)
        state.head_since[queue] = now
        state.in_flight[pipe] += 1
        state.pipe[batch] = pipe
        state.used[pipe] += plan.room[batch, 0 if plan.split else 1]
        if plan.split:
            state.used[1] += plan.room[batch, 1]
            state.stage_free[0] = False
        heap_push(state.heap, now, _key(PASS, batch, 0))


@njit(cache=True, nogil=True)
def _waited_outside(plan, waits, batch, since, until, cause, on):
    wait_row(waits, batch, since, until, until - since, cause, on, NULL)


@njit(cache=True, nogil=True)
def _sum_up(state, waits, batch, until):
    """Write a batch's summed waits since the last time, a row for each cause."""
    since = state.summed[batch]
    for cause in (QUEUE, BEHIND_PROMPT, BEHIND_BATCH, LINK_BUSY):
        wait_row(waits, batch, since, until, state.sums[batch, cause], cause, NULL, NULL)
        state.sums[batch, cause] = 0
    state.summed[batch] = until


@njit(cache=True, nogil=True)
def _send(plan, state, waits, spans, keep, batch, part, now):
    """Put one part of a KV cache on its way, as soon as both interfaces are free.

    The part leaves when its first layer is done and its interfaces are free;
    it ends no sooner than its last layer, done and sent, allows.
    """
    out, into = plan.part_out[part], plan.part_into[part]
    held = out if state.nic_free[out] >= state.nic_free[into] else into
    start = max(now, state.nic_free[out], state.nic_free[into])
    stage = plan.part_stage[part]
    done = state.stage_began[batch, stage] + (
        plan.service[batch, 0] * plan.part_last[part] // plan.part_layers[part]
    )
    end = max(start + plan.part_ns[batch, part], done + plan.part_tail_ns[batch, part])
    if end > state.landing[batch, 0]:
        state.landing[batch, 0] = end
        state.landing[batch, 1] = start
        state.landing[batch, 2] = plan.nic_tracks[held]
        state.landing[batch, 3] = state.nic_who[held]
        state.landing[batch, 4] = plan.nic_tracks[out]
    sides = 1 if out == into else 2
    for side in range(sides):
        nic = out if side == 0 else into
        state.nic_free[nic] = end
        state.nic_who[nic] = batch
        state.nic_busy[nic, side, 0] += end - start
        state.nic_busy[nic, side, 1] += 1
        if side == 0:
            state.nic_busy[nic, side, 2] += plan.part_bytes[batch, part]
        if keep:
            row = spans.count[0]
            spans.ts[row] = start
            spans.dur[row] = end - start
            spans.track[row] = plan.nic_tracks[nic]
            spans.name[row] = NAME_KV_TRANSFER if side == 0 else NAME_KV_RECEIVE
            spans.batch[row] = batch
            spans.token[row] = NULL
            spans.step[row] = NULL
            spans.bytes[row] = plan.part_bytes[batch, part] if side == 0 else NULL
            spans.count[0] = row + 1
    state.parts_left[batch] -= 1
    if state.parts_left[batch] == 0:
        _land(state, waits, batch)


@njit(cache=True, nogil=True)
def _land(state, waits, batch):
    """Every part of a KV cache is under way: say when it will have arrived, and what held it."""
    prompt_end = state.times[batch, 2]
    end = max(state.landing[batch, 0], prompt_end)
    start = min(max(state.landing[batch, 1], prompt_end), end)
    track = state.landing[batch, 2]
    wait_row(
        waits, batch, prompt_end, start, start - prompt_end, LINK_BUSY,
        state.landing[batch, 3], track,
    )  # fmt: skip
    wait_row(waits, batch, start, end, end - start, KV_TRANSFER, NULL, track)
    state.times[batch, 3] = end
    heap_push(state.heap, end, _key(LANDED, batch, 0))


@njit(cache=True, nogil=True)
def advance(plan, state, waits, spans, keep):
    """Play events until none is left or a buffer is nearly full.

    Returns the time up to which everything has been played: no later call
    starts anything before it.  Spans are written where `keep`.
    """
    heap = state.heap
    split, linked, details = plan.split, plan.linked, plan.details
    service, moved, passes = plan.service, plan.moved, plan.passes
    tracks, servers = plan.tracks, plan.tracks.shape[1]
    times, token, pipe_of = state.times, state.token, state.pipe
    began, ended, who, what = state.began, state.ended, state.who, state.what
    prompt_began, prompt_ended = state.prompt_began, state.prompt_ended
    prompt_who, sums = state.prompt_who, state.sums
    busy, counts, moved_bytes = state.busy, state.counts, state.bytes
    mark, mark_start, mark_pass, mark_ns = (
        state.mark, plan.mark_start, plan.mark_pass, state.mark_ns,
    )  # fmt: skip
    places = who.shape[1]
    waits_room = len(waits.batch) - (servers + 2) * (2 * places + 4)
    spans_room = len(spans.ts) - (servers + 2)
    while heap.size[0] > 0:
        if waits.count[0] > waits_room or (keep and spans.count[0] > spans_room):
            break
        now, key = heap_pop(heap)
        state.now[0] = now
        kind = key >> KIND_SHIFT
        batch = (key >> BATCH_SHIFT) & BATCH_MASK
        if kind != PASS:
            part = key & PART_MASK
            if kind == TRANSFER:
                _send(plan, state, waits, spans, keep, batch, part, now)
            elif kind == ARRIVED:
                _admit(plan, state, waits, part, now, NULL)
            elif kind == STAGE_FREE:
                state.stage_free[0] = True
                _admit(plan, state, waits, 0, now, batch)
            elif kind == LANDED:
                _let_decode(plan, state, waits, batch, now)
            else:
                _let_go(plan, state, waits, batch, now)
            continue

        pipe = pipe_of[batch]
        prompt = times[batch, 0] == NULL
        phase = 0 if prompt else 1
        before = state.place[pipe]
        place = before + 1 if before + 1 < places else 0
        ready = now
        last = 0
        for server in range(servers):
            track = tracks[pipe, server]
            if track == NULL:
                break
            link = linked and server % 2 == 1
            start = ended[pipe, before, server]
            if start <= ready:
                start = ready
            elif link:
                if details:
                    on = who[pipe, before]
                    wait_row(waits, batch, ready, start, start - ready, LINK_BUSY, on, track)
                else:
                    sums[batch, LINK_BUSY] += start - ready
            elif prompt_began[pipe, server] > ready:
                walk_back(
                    waits, sums[batch if not details else 0], details, batch, track,
                    who[pipe], what[pipe], began[pipe, :, server], ended[pipe, :, server],
                    before, ready, start,
                )  # fmt: skip
            else:
                turn = min(max(prompt_ended[pipe, server], ready), start)
                if details:
                    on = prompt_who[pipe]
                    wait_row(waits, batch, ready, turn, turn - ready, BEHIND_PROMPT, on, track)
                    on = who[pipe, before]
                    wait_row(waits, batch, turn, start, start - turn, BEHIND_BATCH, on, track)
                else:
                    sums[batch, BEHIND_PROMPT] += turn - ready
                    sums[batch, BEHIND_BATCH] += start - turn
            took = service[batch, 2 * phase + (1 if link else 0)]
            ready = start + took
            began[pipe, place, server] = start
            ended[pipe, place, server] = ready
            busy[pipe, server, phase] += took
            counts[pipe, server, phase] += 1
            if link:
                moved_bytes[pipe, server] += moved[batch, phase]
            last = server
        who[pipe, place] = batch
        what[pipe, place] = BEHIND_PROMPT if prompt else BEHIND_BATCH
        state.place[pipe] = place
        if keep:
            row = spans.count[0]
            step = state.steps[0]
            for server in range(last + 1):
                link = linked and server % 2 == 1
                spans.ts[row] = began[pipe, place, server]
                spans.dur[row] = ended[pipe, place, server] - began[pipe, place, server]
                spans.track[row] = tracks[pipe, server]
                spans.name[row] = NAME_ACTIVATION if link else (
                    NAME_PREFILL if prompt else NAME_DECODE
                )
                spans.batch[row] = batch
                spans.token[row] = NULL if prompt else token[batch]
                spans.step[row] = step
                spans.bytes[row] = moved[batch, phase] if link else NULL
                row += 1
            spans.count[0] = row
        state.steps[0] += 1

        if prompt:
            times[batch, 0] = began[pipe, place, 0]
            times[batch, 1] = began[pipe, place, last]
            times[batch, 2] = ready
            state.summed[batch] = times[batch, 0]
            for server in range(last + 1):
                prompt_began[pipe, server] = began[pipe, place, server]
                prompt_ended[pipe, server] = ended[pipe, place, server]
            prompt_who[pipe] = batch
        else:
            if token[batch] == 0:
                times[batch, 4] = began[pipe, place, 0]
            token[batch] += 1
        at = mark[batch]
        if at < mark_start[batch + 1] and mark_pass[at] == token[batch]:
            mark_ns[at] = ready
            mark[batch] = at + 1
            if not details:
                _sum_up(state, waits, batch, ready)
        if token[batch] == passes[batch]:
            times[batch, 5] = ready
            times[batch, 6] = pipe
            heap_push(heap, ready, _key(FINISHED, batch, 0))
        elif not (prompt and split):
            heap_push(heap, ready, _key(PASS, batch, 0))
        if prompt and split:
            heap_push(heap, ended[0, place, 0], _key(STAGE_FREE, batch, 0))
            if token[batch] < passes[batch]:
                stride = 2 if linked else 1
                for stage in range(state.stage_began.shape[1]):
                    state.stage_began[batch, stage] = began[0, place, stage * stride]
                for part in range(len(plan.part_stage)):
                    done = service[batch, 0] * plan.part_first[part] // plan.part_layers[part]
                    leaves = state.stage_began[batch, plan.part_stage[part]] + done
                    heap_push(heap, leaves, _key(TRANSFER, batch, part))
    return state.now[0]


@njit(cache=True, nogil=True)
def _let_decode(plan, state, waits, batch, now):
    """A KV cache has arrived: its prompt machines have room again, and it may decode."""
    state.used[0] -= plan.room[batch, 0]
    state.in_flight[0] -= 1
    state.pipe[batch] = 1
    if state.in_flight[1] < plan.limit[1]:
        state.in_flight[1] += 1
        heap_push(state.heap, now, _key(PASS, batch, 0))
    else:
        state.waiting[state.waiting_at[1]] = batch
        state.waiting_at[1] += 1
    _admit(plan, state, waits, 0, now, batch)


@njit(cache=True, nogil=True)
def _let_go(plan, state, waits, batch, now):
    """A batch has finished: give its place and its room to the next."""
    pipe = state.pipe[batch]
    state.in_flight[pipe] -= 1
    if not plan.split:
        state.used[pipe] -= plan.room[batch, 1]
        queue = pipe if len(plan.queue_start) > 2 else 0
        _admit(plan, state, waits, queue, now, batch)
        return
    state.used[1] -= plan.room[batch, 1]
    if pipe == 0:
        state.used[0] -= plan.room[batch, 0]
    elif state.waiting_at[0] < state.waiting_at[1]:
        follower = state.waiting[state.waiting_at[0]]
        state.waiting_at[0] += 1
        state.in_flight[1] += 1
        _waited_outside(plan, waits, follower, state.times[follower, 3], now, QUEUE, batch)
        heap_push(state.heap, now, _key(PASS, follower, 0))
    _admit(plan, state, waits, 0, now, batch)
