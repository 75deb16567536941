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

import numpy as np

from toolkit.simulator.event_faults import (
    LOST,
    await_failures,
    fail,
    lost,
    may_resume,
    recover,
    replicate,
    resume,
    undo,
)
from toolkit.simulator.event_state import (
    ARRIVED,
    BATCH_MASK,
    BATCH_SHIFT,
    FAILED,
    FINISHED,
    KIND_SHIFT,
    LANDED,
    PART_MASK,
    PASS,
    RESTORED,
    STAGE_FREE,
    TRANSFER,
    WHOLE,
    Plan,
    State,
    empty_state,
    schedule,
)
from toolkit.simulator.event_swap import fetch, settled, write_back
from toolkit.simulator.kernel import (
    BEHIND_BATCH,
    BEHIND_PROMPT,
    DECODE,
    KV_ROOM,
    KV_TRANSFER,
    LINK_BUSY,
    NOBODY,
    PREFILL,
    QUEUE,
    SWAPPED,
    Rows,
    compiled,
    heap_pop,
    heap_push,
    inner,
    wait_row,
    walk_back,
)
from toolkit.trace.columns import NULL, name_key

__all__ = ["Plan", "State", "advance", "margin", "new_state", "supply"]

ACTIVATION = np.int64(name_key("activation"))
KV_SENT = np.int64(name_key("kv_transfer"))
KV_RECEIVED = np.int64(name_key("kv_receive"))
DOWN = np.int64(name_key("failed"))


def new_state(plan: Plan) -> State:
    """Return the state before the first event: every queue's head is about to arrive."""
    state = empty_state(plan)
    for queue in range(len(state.queues)):
        _call_head(plan, state, queue)
    if plan.faults.failing:
        await_failures(plan, state)
    return state


def supply(plan: Plan, state: State) -> None:
    """Go on where the play stopped for want of failures to come, which `plan` now has."""
    await_failures(plan, state)


def margin(plan: Plan, state: State) -> int:
    """Return how many wait rows one event may write at most."""
    return (plan.tracks.shape[1] + 2) * (2 * state.passes.shape[1] + 4)


@compiled
def _call_head(plan: Plan, state: State, queue: int) -> None:
    """Schedule the arrival of a queue's head, once."""
    at = state.queues[queue]
    if at.head < plan.queue_start[queue + 1] and at.scheduled <= at.head:
        at.scheduled = at.head + 1
        batch = plan.queues[at.head]
        schedule(state, plan.batches[batch].ready, ARRIVED, batch, queue)


@inner
def _place_for(plan: Plan, state: State, queue: int) -> int:
    """Return the pipeline the head of a queue would enter: of those up, the emptiest."""
    if plan.split or len(plan.queue_start) > 2:
        return queue
    best = 0
    for pipe in range(len(state.pipes)):
        here, there = state.faults.pipes[pipe].phase, state.faults.pipes[best].phase
        if (here != 0) != (there != 0):
            best = pipe if here == 0 else best
        elif state.pipes[pipe].in_flight < state.pipes[best].in_flight:
            best = pipe
    return best


@inner
def _obstacle(plan: Plan, state: State, pipe: int, batch: int) -> int:
    """Return why a batch may not enter a pipeline now, 0 if it may."""
    want, pipes, here = plan.batches[batch], plan.pipes, state.pipes[pipe]
    if plan.split:
        if here.stage_busy != 0:
            return BEHIND_PROMPT
        if here.used + want.prompt_room > pipes[0].capacity:
            return KV_ROOM
        return KV_ROOM if state.pipes[1].used + want.room > pipes[1].capacity else 0
    if state.faults.pipes[pipe].phase != 0:
        return DOWN
    if here.in_flight >= pipes[pipe].limit:
        return QUEUE
    return KV_ROOM if here.used + want.room > pipes[pipe].capacity else 0


@inner
def _admit(plan: Plan, state: State, waits: Rows, queue: int, now: int, by: int) -> None:
    """Let batches at the head of a queue in, as far as there is place and room.

    `by` is the batch whose going made place.  What a batch waited for is
    written piece by piece: behind the heads before it, then as head.
    """
    at, behind = state.queues[queue], plan.queue_start[queue + 1]
    while at.head < behind:
        batch = plan.queues[at.head]
        ready = plan.batches[batch].ready
        if ready > now:
            _call_head(plan, state, queue)
            return
        pipe = _place_for(plan, state, queue)
        cause = _obstacle(plan, state, pipe, batch)
        since = max(at.since, ready)
        if at.cause not in (cause, 0):
            wait_row(waits, batch, since, now, now - since, at.cause, by, NOBODY)
            since = now
        at.since = since
        at.cause = cause
        if cause != 0:
            return
        at.head += 1
        at.since = now
        if at.head < behind:
            follower = plan.queues[at.head]
            since = plan.batches[follower].ready
            wait_row(waits, follower, since, now, now - since, QUEUE, batch, NOBODY)
        state.batches[batch].pipe = pipe
        state.pipes[pipe].in_flight += 1
        if plan.split:
            state.pipes[0].stage_busy = 1
            state.pipes[0].used += plan.batches[batch].prompt_room
            state.pipes[1].used += plan.batches[batch].room
        else:
            state.pipes[pipe].used += plan.batches[batch].room
        schedule(state, now, PASS, batch, WHOLE)


@inner
def _sum_up(state: State, waits: Rows, batch: int, until: int) -> None:
    """Write a batch's summed waits since the last time, a row for each cause."""
    since = state.batches[batch].summed
    for cause in (QUEUE, BEHIND_PROMPT, BEHIND_BATCH, LINK_BUSY, SWAPPED):
        waited = state.sums[batch, cause]
        wait_row(waits, batch, since, until, waited, cause, NOBODY, NOBODY)
        state.sums[batch, cause] = 0
    state.batches[batch].summed = until


@inner
def _send(
    plan: Plan,
    state: State,
    waits: Rows,
    spans: Rows,
    batch: int,
    number: int,
    now: int,
    keep: bool,
) -> None:
    """Put one part of a KV cache on its way, as soon as both interfaces are free.

    The part leaves when its first layer is done and its interfaces are free;
    it ends no sooner than its last layer, done and sent, allows.
    """
    part, this = plan.parts[number], state.batches[batch]
    took, tail, moved = plan.part_work[batch, number]
    out, into = state.nics[part.out], state.nics[part.into]
    held = part.out if out.free >= into.free else part.into
    start = max(now, out.free, into.free)
    last = plan.service[batch, 0] * part.last // part.layers
    end = max(start + took, state.stage_began[batch, part.stage] + last + tail)
    if end > this.landing:
        this.landing = end
        this.landing_start = start
        this.landing_held = plan.nic_tracks[held]
        this.landing_by = state.nics[held].who
        this.landing_track = plan.nic_tracks[part.out]
    for side in range(1 if part.out == part.into else 2):
        number = part.out if side == 0 else part.into
        nic = state.nics[number]
        nic.free = end
        nic.who = batch
        if side == 0:
            nic.busy += end - start
            nic.count += 1
            nic.bytes += moved
        else:
            nic.in_busy += end - start
            nic.in_count += 1
        if keep:
            span = spans.rows[spans.filled[0]]
            span.ts = start
            span.dur = end - start
            span.track = plan.nic_tracks[number]
            span.name = KV_SENT if side == 0 else KV_RECEIVED
            span.batch = batch
            span.token = NULL
            span.step = NULL
            span.bytes = moved if side == 0 else NULL
            spans.filled[0] += 1
    this.parts_left -= 1
    if this.parts_left == 0:
        _land(state, waits, batch)


@inner
def _land(state: State, waits: Rows, batch: int) -> None:
    """Every part of a KV cache is under way: say when it will have arrived, and what held it."""
    this = state.batches[batch]
    since, end = this.prefill_end, max(this.landing, this.prefill_end)
    start = min(max(this.landing_start, since), end)
    by, track = this.landing_by, this.landing_held
    wait_row(waits, batch, since, start, start - since, LINK_BUSY, by, track)
    wait_row(waits, batch, start, end, end - start, KV_TRANSFER, NOBODY, this.landing_track)
    this.kv_ready = end
    schedule(state, end, LANDED, batch, WHOLE)


@inner
def _let_decode(plan: Plan, state: State, waits: Rows, batch: int, now: int) -> None:
    """A KV cache has arrived: its prompt machines have room again, and it may decode."""
    run, this = state.run[0], state.batches[batch]
    state.pipes[0].used -= plan.batches[batch].prompt_room
    state.pipes[0].in_flight -= 1
    this.pipe = 1
    if state.pipes[1].in_flight < plan.pipes[1].limit:
        state.pipes[1].in_flight += 1
        schedule(state, now, PASS, batch, WHOLE)
    else:
        state.waiting[run.waiting_end] = batch
        run.waiting_end += 1
    _admit(plan, state, waits, WHOLE, now, batch)


@inner
def _let_go(plan: Plan, state: State, waits: Rows, batch: int, now: int) -> None:
    """A batch has finished: give its place and its room to the next."""
    run, pipe = state.run[0], state.batches[batch].pipe
    run.left -= 1
    state.pipes[pipe].in_flight -= 1
    if not plan.split:
        state.pipes[pipe].used -= plan.batches[batch].room
        _admit(plan, state, waits, pipe if len(plan.queue_start) > 2 else WHOLE, now, batch)
        return
    state.pipes[1].used -= plan.batches[batch].room
    if pipe == 0:
        state.pipes[0].used -= plan.batches[batch].prompt_room
    elif run.waiting_first < run.waiting_end:
        follower = state.waiting[run.waiting_first]
        run.waiting_first += 1
        state.pipes[1].in_flight += 1
        since = state.batches[follower].kv_ready
        wait_row(waits, follower, since, now, now - since, QUEUE, batch, NOBODY)
        schedule(state, now, PASS, follower, WHOLE)
    _admit(plan, state, waits, WHOLE, now, batch)


@inner
def _ship(plan: Plan, state: State, batch: int, place: int) -> None:
    """A prompt pass is settled: its first stage falls free, and its KV cache leaves in parts."""
    this = state.batches[batch]
    schedule(state, state.times[0, place, 0, 1], STAGE_FREE, batch, WHOLE)
    if this.token == plan.batches[batch].passes:
        return
    stride = 2 if plan.linked else 1
    for stage in range(state.stage_began.shape[1]):
        state.stage_began[batch, stage] = state.times[0, place, stage * stride, 0]
    for number in range(len(plan.parts)):
        part = plan.parts[number]
        done = plan.service[batch, 0] * part.first // part.layers
        schedule(state, state.stage_began[batch, part.stage] + done, TRANSFER, batch, number)


@inner
def _held(
    plan: Plan,
    state: State,
    waits: Rows,
    pipe: int,
    server: int,
    batch: int,
    ready: int,
    start: int,
) -> None:
    """Say who held a stage between two times, where that takes a look at every earlier pass."""
    passes, times = state.passes[pipe], state.times[pipe]
    walk_back(
        waits, state.sums[0 if plan.details else batch], plan.details, batch,
        plan.tracks[pipe, server], passes[:, 0], passes[:, 1],
        times[:, server, 0], times[:, server, 1], state.pipes[pipe].place, ready, start,
    )  # fmt: skip


@inner
def _interrupted(
    plan: Plan,
    state: State,
    waits: Rows,
    pipe: int,
    server: int,
    batch: int,
    ready: int,
    at: int,
) -> None:
    """Say who held the server before which a failure caught a batch: who began there last."""
    times, place = state.times[pipe], state.pipes[pipe].place
    for _ in range(len(times)):
        if times[place, server, 0] < times[place, server, 1]:
            break
        place = place - 1 if place > 0 else len(times) - 1
    cause = LINK_BUSY if plan.linked and server % 2 == 1 else state.passes[pipe, place, 1]
    if plan.details:
        on, track = state.passes[pipe, place, 0], plan.tracks[pipe, server]
        wait_row(waits, batch, ready, at, at - ready, cause, on, track)
    else:
        state.sums[batch, cause] += at - ready


@inner
def _await(
    plan: Plan,
    state: State,
    waits: Rows,
    pipe: int,
    server: int,
    batch: int,
    ready: int,
    start: int,
) -> None:
    """Say why a stage was taken: the pass before worked there, or waited for its cache first."""
    before, times = state.pipes[pipe].place, state.times[pipe]
    earlier = times[before - 1 if before > 0 else len(times) - 1, server, 1]
    on, cause = state.passes[pipe, before]
    since = max(ready, earlier)
    until = max(min(times[before, server, 0], start), since)
    if plan.details:
        track = plan.tracks[pipe, server]
        link = plan.swaps.tracks[pipe, server // 2 if plan.linked else server, 0]
        wait_row(waits, batch, ready, since, since - ready, cause, on, track)
        wait_row(waits, batch, since, until, until - since, SWAPPED, on, link)
        wait_row(waits, batch, until, start, start - until, cause, on, track)
    else:
        state.sums[batch, cause] += since - ready + start - until
        state.sums[batch, SWAPPED] += until - since


@inner
def _restored(
    plan: Plan, state: State, waits: Rows, spans: Rows, pipe: int, part: int, now: int, keep: bool
) -> None:
    """A machine is back, or its caches are: its pipeline goes on if it can."""
    if part == 0:
        if not recover(plan, state, spans, pipe, now, keep):
            return
    elif not may_resume(state, pipe, now):
        return
    resume(plan, state, waits, pipe, now, PASS)
    _admit(plan, state, waits, pipe if len(plan.queue_start) > 2 else WHOLE, now, NOBODY)


@compiled
def advance(plan: Plan, state: State, waits: Rows, spans: Rows, room: int, limit: int) -> int:
    """Play events until none is left or a buffer has no room for another.

    `room` rows must be free in `waits` before an event; `spans` are written up
    to row `limit`, 0 asks for none.  Returns the time up to which everything
    has been played: no later call starts anything before it.
    """
    run, batches, pipes, sums = state.run[0], state.batches, state.pipes, state.sums
    heap, heap_size = state.heap, state.heap_size
    passes, times, prompts, busy = state.passes, state.times, state.prompts, state.busy
    tracks, service, moved = plan.tracks, plan.service, plan.moved
    wanted, marks, mark_ns = plan.batches, plan.marks, state.mark_ns
    linked, split, details = plan.linked, plan.split, plan.details
    failing, replicated = plan.faults.failing, plan.faults.replicated
    faults, swapping = state.faults, plan.swaps.swapping
    servers, places = tracks.shape[1], passes.shape[1]
    waits_end = len(waits.rows) - room
    spans_end = limit - 3 * servers - 2
    fates_end = len(faults.fates) - len(faults.held)
    keep = limit > 0
    while heap_size[0] > 0:
        if waits.filled[0] > waits_end or (keep and spans.filled[0] > spans_end):
            break
        if faults.wanting[0] or faults.filled[0] > fates_end:
            break
        now, key = heap_pop(heap, heap_size)
        run.now = now
        kind = key >> KIND_SHIFT
        batch = (key >> BATCH_SHIFT) & BATCH_MASK
        if kind != PASS:
            part = key & PART_MASK
            if kind == TRANSFER:
                _send(plan, state, waits, spans, batch, part, now, keep)
            elif kind == ARRIVED:
                _admit(plan, state, waits, part, now, NOBODY)
            elif kind == STAGE_FREE:
                pipes[0].stage_busy = 0
                _admit(plan, state, waits, WHOLE, now, batch)
            elif kind == LANDED:
                _let_decode(plan, state, waits, batch, now)
            elif kind == FAILED:
                fail(plan, state, spans, batch, now, keep)
                queue = batch if len(plan.queue_start) > 2 else WHOLE
                _admit(plan, state, waits, queue, now, NOBODY)
            elif kind == RESTORED:
                _restored(plan, state, waits, spans, batch, part, now, keep)
            else:
                _let_go(plan, state, waits, batch, now)
                if failing and run.left == 0:
                    heap_size[0] = 0  # what fails from now on is nobody's concern
            continue

        # A pass: through the servers of its pipeline, one after the other.
        this = batches[batch]
        pipe = this.pipe
        if faults.pipes[pipe].phase != 0:
            continue  # it came to its end as its pipeline failed
        fails_at = faults.pipes[pipe].fails_at
        prompt = this.prompted == 0
        phase = 0 if prompt else 1
        done = 0 if prompt else this.token + 1
        undone = failing and keep and lost(plan, state, batch, done)
        cut, caught = False, servers
        before = pipes[pipe].place
        place = before + 1 if before + 1 < places else 0
        ready = now
        for server in range(servers):
            track = tracks[pipe, server]
            if track == NULL:
                break
            link = linked and server % 2 == 1
            start = times[pipe, before, server, 1]
            if cut:
                times[pipe, place, server, 0] = times[pipe, place, server, 1] = start
                continue
            if max(start, ready) >= fails_at:
                _interrupted(plan, state, waits, pipe, server, batch, ready, fails_at)
                times[pipe, place, server, 0] = times[pipe, place, server, 1] = start
                cut = True
                caught = server
                continue
            if start <= ready:
                start = ready
            elif link:
                if details:
                    on = passes[pipe, before, 0]
                    wait_row(waits, batch, ready, start, start - ready, LINK_BUSY, on, track)
                else:
                    sums[batch, LINK_BUSY] += start - ready
            elif swapping:
                _await(plan, state, waits, pipe, server, batch, ready, start)
            elif prompts[pipe, server, 0] > ready:
                _held(plan, state, waits, pipe, server, batch, ready, start)
            else:
                # The stage had begun its last prompt before: decodes filled what that did not.
                turn = min(max(prompts[pipe, server, 1], ready), start)
                if details:
                    on = pipes[pipe].prompt_who
                    wait_row(waits, batch, ready, turn, turn - ready, BEHIND_PROMPT, on, track)
                    on = passes[pipe, before, 0]
                    wait_row(waits, batch, turn, start, start - turn, BEHIND_BATCH, on, track)
                else:
                    sums[batch, BEHIND_PROMPT] += turn - ready
                    sums[batch, BEHIND_BATCH] += start - turn
            if swapping and not link:
                stage = server // 2 if linked else server
                there = fetch(plan, state, spans, pipe, stage, batch, done, keep)
                if there > start:
                    if details:
                        wait_row(
                            waits, batch, start, there, there - start, SWAPPED, NOBODY,
                            plan.swaps.tracks[pipe, stage, 0],
                        )  # fmt: skip
                    else:
                        sums[batch, SWAPPED] += there - start
                    start = there
            took = service[batch, 2 * phase + (1 if link else 0)]
            volume = moved[batch, phase] if link else NULL
            if start + took > fails_at:
                cut = True
                caught = server
                volume = volume * (fails_at - start) // took if link else NULL
                took = fails_at - start
            ready = start + took
            times[pipe, place, server, 0] = start
            times[pipe, place, server, 1] = ready
            if cut and not link:
                faults.lost[pipe, server, 0] += took
                faults.lost[pipe, server, 1] += 1
            else:
                busy[pipe, server, phase, 0] += took
                busy[pipe, server, phase, 1] += 1
                busy[pipe, server, phase, 2] += max(volume, 0)
            if server == 0 and prompt and this.start == NULL:
                this.start = start
                this.summed = start
            if server == 0 and done == 1 and this.decode_start == NULL:
                this.decode_start = start
            if prompt and not link and this.prefill_end == NULL:
                this.prefill_last = start
            if keep:
                span = spans.rows[spans.filled[0]]
                span.ts = start
                span.dur = took
                span.track = track
                span.name = ACTIVATION if link else (PREFILL if prompt else DECODE)
                if (undone or cut) and not link:
                    span.name = LOST
                span.batch = batch
                span.token = NULL if prompt or (cut and not link) else this.token
                span.step = run.steps
                span.bytes = volume
                spans.filled[0] += 1
            if swapping and not link:
                stage = server // 2 if linked else server
                write_back(plan, state, spans, pipe, stage, batch, done, ready, keep)
            if replicated and not (link or cut):
                stage = server // 2 if linked else server
                replicate(plan, state, spans, pipe, stage, batch, done, ready, keep)
        passes[pipe, place, 0] = batch
        passes[pipe, place, 1] = BEHIND_PROMPT if prompt else BEHIND_BATCH
        pipes[pipe].place = place
        run.steps += 1
        if prompt:
            pipes[pipe].prompt_who = batch
            for server in range(servers):
                prompts[pipe, server, 0] = times[pipe, place, server, 0]
                prompts[pipe, server, 1] = times[pipe, place, server, 1]
        if cut:
            undo(plan, state, pipe, batch, phase, 1, caught)
            continue
        if prompt:
            this.prompted = 1
            if this.prefill_end == NULL:
                this.prefill_end = ready
        else:
            this.token += 1
        if this.mark < wanted[batch].end_mark and marks[this.mark] == this.token:
            mark_ns[this.mark] = ready
            this.mark += 1
            if not details:
                _sum_up(state, waits, batch, ready)
        if prompt and split:
            _ship(plan, state, batch, place)
        if this.token == wanted[batch].passes:
            this.finish = ready
            heap_push(heap, heap_size, ready, (FINISHED << KIND_SHIFT) | (batch << BATCH_SHIFT))
        elif not (prompt and split):
            heap_push(heap, heap_size, ready, (PASS << KIND_SHIFT) | (batch << BATCH_SHIFT))
    return settled(plan, state, run.now) if swapping else run.now
