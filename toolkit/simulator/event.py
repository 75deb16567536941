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

from toolkit.simulator.kernel import (
    BEHIND_BATCH,
    BEHIND_PROMPT,
    DECODE,
    I8,
    KV_ROOM,
    KV_TRANSFER,
    LINK_BUSY,
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
    walk_back,
)
from toolkit.trace.columns import NULL, name_key

__all__ = [
    "BATCH_FIELDS",
    "PART_FIELDS",
    "PIPE_FIELDS",
    "WORK_FIELDS",
    "Plan",
    "State",
    "advance",
    "margin",
    "new_state",
]

FINISHED, LANDED, STAGE_FREE, ARRIVED, TRANSFER, PASS = np.arange(6)
WHOLE = np.int64(0)
"""Part of an event that is about a whole batch; and the queue where there is one."""

KIND_SHIFT = 44
BATCH_SHIFT = 12
BATCH_MASK = (1 << (KIND_SHIFT - BATCH_SHIFT)) - 1
PART_MASK = (1 << BATCH_SHIFT) - 1

ACTIVATION = np.int64(name_key("activation"))
KV_SENT = np.int64(name_key("kv_transfer"))
KV_RECEIVED = np.int64(name_key("kv_receive"))
CAUSES = 1 + max(QUEUE, BEHIND_PROMPT, BEHIND_BATCH, LINK_BUSY)

PILE = 64
"""Prompts that pile up before a slower one's stage and are still told apart."""

BATCH_FIELDS = ("ready", "passes", "prompt_room", "room", "first_mark", "end_mark")
"""Of each batch: when it is ready to enter; decode passes after its prompt;
bytes of KV cache it takes on the prompt side and where it decodes; its marks."""

PART_FIELDS = ("stage", "out", "into", "first", "last", "layers")
"""Of each part of a KV cache: the prompt stage that makes it, the interfaces it
leaves and enters by, and the layers it holds of the stage's."""

WORK_FIELDS = ("ns", "tail_ns", "bytes")
"""Of each batch and part: time on the link, time of its last layer there, volume."""

PIPE_FIELDS = ("limit", "capacity")
"""Of each pipeline: batches at once, and bytes of KV cache."""


class Plan(NamedTuple):
    """What is to be played; never changed by playing it.

    `service` (batches, 4) is ns on a stage and on the link behind it: prompt,
    prompt link, token, token link; `moved` (batches, 2) bytes over such a link
    by a prompt and by a token pass.  `queues` (batches,) are batches in order
    of entry, `queue_start` (queues + 1,) where each queue begins.

    `tracks` (pipelines, servers) are stages, with links in turn where
    `linked`, NULL beyond the last.  With `split`, pipeline 0 takes prompts
    and pipeline 1 tokens; else each takes both.

    `marks` are the passes of a batch whose ends are to be told apart,
    ascending.  With `details` every wait is written by itself.
    """

    batches: Records
    service: I8
    moved: I8
    queues: I8
    queue_start: I8
    pipes: Records
    tracks: I8
    linked: bool
    split: bool
    parts: Records
    part_work: I8
    nic_tracks: I8
    marks: I8
    details: bool


class State(NamedTuple):
    """State between two calls of :func:`advance`, and in the end the outcome.

    `run` is one record: the time, passes so far, and the ends of the line of
    batches `waiting` to decode.  `batches` has what became of each so far
    (`landing_...`: the part of its KV cache that arrives last), `mark_ns` when
    each mark was passed, `sums` (batches, causes) waits not yet written.

    `heap` and `heap_size` are the events to come.  `queues` says who is next
    and why it stands; `pipes` what is in each pipeline; `nics` each network
    interface.  The last passes of each pipeline are remembered in a ring of
    places: `passes` (pipelines, places, 2) whose and which, `times`
    (pipelines, places, servers, 2) from when to when; `prompts` (pipelines,
    servers, 2) are the times of the last prompt pass.

    `busy` (pipelines, servers, 2, 3): ns, count and bytes by phase.
    """

    run: Records
    batches: Records
    mark_ns: I8
    sums: I8
    stage_began: I8
    heap: I8
    heap_size: I8
    queues: Records
    pipes: Records
    nics: Records
    waiting: I8
    passes: I8
    times: I8
    prompts: I8
    busy: I8


def new_state(plan: Plan) -> State:
    """Return the state before the first event: every queue's head is about to arrive."""
    batches, parts = len(plan.batches), len(plan.parts)
    pipelines, servers = plan.tracks.shape
    queues = records(("head", "since", "cause", "scheduled"), len(plan.queue_start) - 1)
    queues["head"] = plan.queue_start[:-1]
    outcome = records(
        (
            *("pipe", "token", "mark", "summed", "parts_left"),
            *("landing", "landing_start", "landing_held", "landing_by", "landing_track"),
            *("start", "prefill_last", "prefill_end", "kv_ready", "decode_start", "finish"),
        ),
        batches,
        NULL,
    )
    outcome["token"] = 0
    outcome["mark"] = plan.batches["first_mark"]
    outcome["parts_left"] = parts
    pipes = records(("in_flight", "used", "stage_busy", "place", "prompt_who"), pipelines)
    pipes["prompt_who"] = NULL
    nics = records(
        ("free", "who", "busy", "count", "bytes", "in_busy", "in_count"),
        max(len(plan.nic_tracks), 1),
    )
    nics["who"] = NULL
    places = int(plan.pipes["limit"].max()) + servers + 2 + (PILE if plan.split else 0)
    passes = np.full((pipelines, places, 2), NULL, np.int64)
    passes[:, :, 1] = BEHIND_PROMPT
    prompt_stages = int(plan.parts["stage"].max()) + 1 if parts else 1
    state = State(
        run=records(("now", "steps", "waiting_first", "waiting_end"), 1),
        batches=outcome,
        mark_ns=np.full(len(plan.marks), NULL, np.int64),
        sums=np.zeros((1 if plan.details else batches, CAUSES), np.int64),
        stage_began=np.zeros((batches if parts else 1, prompt_stages), np.int64),
        heap=np.zeros((len(queues) + batches * (2 + parts) + 8, 2), np.int64),
        heap_size=np.zeros(1, np.int64),
        queues=queues,
        pipes=pipes,
        nics=nics,
        waiting=np.zeros(batches, np.int64),
        passes=passes,
        times=np.zeros((pipelines, places, servers, 2), np.int64),
        prompts=np.full((pipelines, servers, 2), NULL, np.int64),
        busy=np.zeros((pipelines, servers, 2, 3), np.int64),
    )
    for queue in range(len(queues)):
        _call_head(plan, state, queue)
    return state


def margin(plan: Plan, state: State) -> int:
    """Return how many wait rows one event may write at most."""
    return (plan.tracks.shape[1] + 2) * (2 * state.passes.shape[1] + 4)


@inner
def _schedule(state: State, time: int, kind: int, batch: int, part: int) -> None:
    heap_push(
        state.heap, state.heap_size, time, (kind << KIND_SHIFT) | (batch << BATCH_SHIFT) | part
    )


@compiled
def _call_head(plan: Plan, state: State, queue: int) -> None:
    """Schedule the arrival of a queue's head, once."""
    at = state.queues[queue]
    if at.head < plan.queue_start[queue + 1] and at.scheduled <= at.head:
        at.scheduled = at.head + 1
        batch = plan.queues[at.head]
        _schedule(state, plan.batches[batch].ready, ARRIVED, batch, queue)


@inner
def _place_for(plan: Plan, state: State, queue: int) -> int:
    """Return the pipeline the head of a queue would enter."""
    if plan.split or len(plan.queue_start) > 2:
        return queue
    best = 0
    for pipe in range(len(state.pipes)):
        if state.pipes[pipe].in_flight < state.pipes[best].in_flight:
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
        _schedule(state, now, PASS, batch, WHOLE)


@inner
def _sum_up(state: State, waits: Rows, batch: int, until: int) -> None:
    """Write a batch's summed waits since the last time, a row for each cause."""
    since = state.batches[batch].summed
    for cause in (QUEUE, BEHIND_PROMPT, BEHIND_BATCH, LINK_BUSY):
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
    _schedule(state, end, LANDED, batch, WHOLE)


@inner
def _let_decode(plan: Plan, state: State, waits: Rows, batch: int, now: int) -> None:
    """A KV cache has arrived: its prompt machines have room again, and it may decode."""
    run, this = state.run[0], state.batches[batch]
    state.pipes[0].used -= plan.batches[batch].prompt_room
    state.pipes[0].in_flight -= 1
    this.pipe = 1
    if state.pipes[1].in_flight < plan.pipes[1].limit:
        state.pipes[1].in_flight += 1
        _schedule(state, now, PASS, batch, WHOLE)
    else:
        state.waiting[run.waiting_end] = batch
        run.waiting_end += 1
    _admit(plan, state, waits, WHOLE, now, batch)


@inner
def _let_go(plan: Plan, state: State, waits: Rows, batch: int, now: int) -> None:
    """A batch has finished: give its place and its room to the next."""
    run, pipe = state.run[0], state.batches[batch].pipe
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
        _schedule(state, now, PASS, follower, WHOLE)
    _admit(plan, state, waits, WHOLE, now, batch)


@inner
def _ship(plan: Plan, state: State, batch: int, place: int) -> None:
    """A prompt pass is settled: its first stage falls free, and its KV cache leaves in parts."""
    this = state.batches[batch]
    _schedule(state, state.times[0, place, 0, 1], STAGE_FREE, batch, WHOLE)
    if this.token == plan.batches[batch].passes:
        return
    stride = 2 if plan.linked else 1
    for stage in range(state.stage_began.shape[1]):
        state.stage_began[batch, stage] = state.times[0, place, stage * stride, 0]
    for number in range(len(plan.parts)):
        part = plan.parts[number]
        done = plan.service[batch, 0] * part.first // part.layers
        _schedule(state, state.stage_began[batch, part.stage] + done, TRANSFER, batch, number)


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
    servers, places = tracks.shape[1], passes.shape[1]
    waits_end = len(waits.rows) - room
    spans_end = limit - servers - 2
    keep = limit > 0
    while heap_size[0] > 0:
        if waits.filled[0] > waits_end or (keep and spans.filled[0] > spans_end):
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
            else:
                _let_go(plan, state, waits, batch, now)
            continue

        # A pass: through the servers of its pipeline, one after the other.
        this = batches[batch]
        pipe = this.pipe
        prompt = this.start == NULL
        phase = 0 if prompt else 1
        before = pipes[pipe].place
        place = before + 1 if before + 1 < places else 0
        ready = now
        for server in range(servers):
            track = tracks[pipe, server]
            if track == NULL:
                break
            link = linked and server % 2 == 1
            start = times[pipe, before, server, 1]
            if start <= ready:
                start = ready
            elif link:
                if details:
                    on = passes[pipe, before, 0]
                    wait_row(waits, batch, ready, start, start - ready, LINK_BUSY, on, track)
                else:
                    sums[batch, LINK_BUSY] += start - ready
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
            took = service[batch, 2 * phase + (1 if link else 0)]
            volume = moved[batch, phase] if link else NULL
            ready = start + took
            times[pipe, place, server, 0] = start
            times[pipe, place, server, 1] = ready
            busy[pipe, server, phase, 0] += took
            busy[pipe, server, phase, 1] += 1
            busy[pipe, server, phase, 2] += max(volume, 0)
            if prompt and not link:
                this.prefill_last = start
            if keep:
                span = spans.rows[spans.filled[0]]
                span.ts = start
                span.dur = took
                span.track = track
                span.name = ACTIVATION if link else (PREFILL if prompt else DECODE)
                span.batch = batch
                span.token = NULL if prompt else this.token
                span.step = run.steps
                span.bytes = volume
                spans.filled[0] += 1
        passes[pipe, place, 0] = batch
        passes[pipe, place, 1] = BEHIND_PROMPT if prompt else BEHIND_BATCH
        pipes[pipe].place = place
        run.steps += 1
        if prompt:
            this.start = times[pipe, place, 0, 0]
            this.prefill_end = ready
            this.summed = this.start
            pipes[pipe].prompt_who = batch
            for server in range(servers):
                prompts[pipe, server, 0] = times[pipe, place, server, 0]
                prompts[pipe, server, 1] = times[pipe, place, server, 1]
        else:
            if this.token == 0:
                this.decode_start = times[pipe, place, 0, 0]
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
    return run.now
