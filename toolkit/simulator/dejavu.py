"""The `dejavu` discipline: the published simulators, pass by pass instead of item by item.

The published programs keep one first-in-first-out list of (request, stage)
items and play its head.  Every item moves one stage forward per round of the
list and a follow-up is appended at the tail, so all requests in flight stand
at the same stage in the same round, always in the same order, and a newcomer
takes the place of the one that ended.  The list is therefore a ring of slots,
and the order of the two loops (stages, slots) can be exchanged: here a slot's
whole pass is played at once.  Every start is the same maximum and every end
the same float64 sum as in the published order, in microseconds, so results
agree to the last digit; nanoseconds are rounded only where rows are written.

Source: msr-fiddle/dejavu at 07e76be, scripts/simulators (simulate, simulate_dv).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from toolkit.simulator.kernel import I4, I8, wait_row, walk_back
from toolkit.trace.columns import NULL, name_key

__all__ = ["Job", "Slots", "advance", "grid", "new_slots", "play_prompts"]

F8 = npt.NDArray[np.float64]

PREFILL = name_key("prefill")
DECODE = name_key("decode")
QUEUE = name_key("queue")
BEHIND_PROMPT = name_key("behind_prompt")
BEHIND_BATCH = name_key("behind_batch")
HEAD_OF_LINE = name_key("head_of_line")

NS = 1000.0  # nanoseconds in a microsecond

GRID_US = 0.125
"""Sums of multiples of an eighth of a microsecond are exact in float64, and whole ns."""


class Job(NamedTuple):
    """One pipeline's work: requests in list order, with when each may enter.

    `ready_us` is the arrival, or for a token pipeline the arrival of the KV
    cache; `tokens` decode passes each; with `prompts`, a prompt pass before.
    `tracks` are the stages.  Shapes: (requests,) and (stages,).
    """

    ready_us: F8
    tokens: I8
    tracks: I4
    prompt_us: float
    token_us: float
    prompts: bool
    exact: bool
    """All times lie on the grid of exact sums: durations need not be added up."""
    details: bool
    """Each wait is written by itself, with whom it was for; else each request's by cause."""


class Slots(NamedTuple):
    """State between two calls of :func:`advance`.

    `cursor` holds: slots in use, position in the round, next request, passes
    so far, place of the last one.  `began`, `ended` (places, stages) remember the last passes at each
    stage, `who`, `what` whose they were and which phase; places are
    used in turn.  `times` (requests, 4) are start, prompt end, first token and end,
    in microseconds, `prompt_us` and `decode_us` when its prompt began on the
    last stage and its first decode on the first; `free_us` is when a slot fell free, and `freed_by` by whom;
    `sums` (slots, causes) are waits not yet written.  Of each stage,
    `busy_since` is when it was last idle, `prompt_...` its last prompt pass.
    """

    cursor: I8
    request: I4
    left: I8
    fresh: I8
    ready_us: F8
    free_us: F8
    freed_by: I4
    began: F8
    ended: F8
    who: I4
    what: I4
    busy_since: F8
    prompt_began: F8
    prompt_ended: F8
    prompt_who: I4
    sums: I8
    times: F8
    prompt_us: F8
    decode_us: F8
    busy_ns: I8
    passes: I8


def grid(*values: float | F8) -> bool:
    """Return whether every time is a multiple of :data:`GRID_US`."""
    return all(bool(np.all(np.mod(value, GRID_US) == 0.0)) for value in values)


def new_slots(job: Job) -> Slots:
    """Return the state before the first pass: one request per stage in flight.

    Request i of the first ones may enter at i prompt times, as published, and
    not before it is ready, which the published arrival process never asks.
    """
    stages, requests = len(job.tracks), len(job.tokens)
    first = np.arange(min(stages, requests))
    ready = job.ready_us[: len(first)].copy()
    if job.prompts:
        ready = np.maximum(ready, first * job.prompt_us)
    places = stages + 2
    return Slots(
        cursor=np.array([len(first), 0, len(first), 0, 0], np.int64),
        request=first.astype(np.int32),
        left=job.tokens[: len(first)].copy(),
        fresh=np.ones(len(first), np.int64),
        ready_us=ready,
        free_us=np.zeros(len(first)),
        freed_by=np.full(len(first), NULL, np.int32),
        began=np.zeros((places, stages)),
        ended=np.zeros((places, stages)),
        who=np.full(places, NULL, np.int32),
        what=np.full(places, BEHIND_PROMPT, np.int32),
        busy_since=np.zeros(stages),
        prompt_began=np.full(stages, -1.0),
        prompt_ended=np.full(stages, -1.0),
        prompt_who=np.full(stages, NULL, np.int32),
        sums=np.zeros((len(first), 1 + max(BEHIND_PROMPT, BEHIND_BATCH, HEAD_OF_LINE)), np.int64),
        times=np.zeros((requests, 4)),
        prompt_us=np.zeros(requests),
        decode_us=np.zeros(requests),
        busy_ns=np.zeros((stages, 2), np.int64),
        passes=np.zeros(2, np.int64),
    )


@njit(cache=True, nogil=True, forceinline=True)
def _to_ns(us):
    return np.int64(np.rint(us * NS))


@njit(cache=True, nogil=True)
def _held(job, slots, waits, slot, stage, place, since, until):
    """Say who held `stage` between two times, where that takes a look at every earlier pass."""
    began, ended = slots.began[:, stage], slots.ended[:, stage]
    walk_back(
        waits,
        slots.sums[slot],
        job.details,
        slots.request[slot],
        job.tracks[stage],
        slots.who,
        slots.what,
        np.rint(began * NS).astype(np.int64),
        np.rint(ended * NS).astype(np.int64),
        place,
        _to_ns(since),
        _to_ns(until),
    )


@njit(cache=True, nogil=True)
def _enter(job, slots, waits, slot, place):
    """Write what a request waited for before its first pass: a free slot, then the stage."""
    request = slots.request[slot]
    arrived = job.ready_us[request]
    start = max(slots.ended[place, 0], slots.ready_us[slot])
    free = min(max(slots.free_us[slot], arrived), start)
    since, until = _to_ns(arrived), _to_ns(free)
    wait_row(
        waits, request, since, until, until - since, QUEUE, slots.freed_by[slot], job.tracks[0]
    )
    if free < start:
        _held(job, slots, waits, slot, 0, place, free, start)


@njit(cache=True, nogil=True)
def _sum_up(slots, waits, slot):
    """Write a request's summed waits, a row for each cause, and begin anew."""
    request = slots.request[slot]
    since = _to_ns(slots.times[request, 0])
    until = _to_ns(slots.times[request, 3])
    for cause in (BEHIND_PROMPT, BEHIND_BATCH, HEAD_OF_LINE):
        wait_row(waits, request, since, until, slots.sums[slot, cause], cause, NULL, NULL)
        slots.sums[slot, cause] = 0


@njit(cache=True, nogil=True)
def advance(job, slots, waits, spans):
    """Play passes until all requests are done or a buffer is nearly full.

    Returns the start of the last pass at the first stage in nanoseconds: no
    later pass starts anything before it.  `spans` is None where no spans are
    asked for; numba then compiles the loop without them.
    """
    stages = len(job.tracks)
    places = len(slots.who)
    requests = len(job.tokens)
    tokens, began, ended = job.tokens, slots.began, slots.ended
    slot_request, slot_left, slot_fresh = slots.request, slots.left, slots.fresh
    slot_ready, who, what, times = slots.ready_us, slots.who, slots.what, slots.times
    tracks, sums, details = job.tracks, slots.sums, job.details
    busy_since, prompt_who = slots.busy_since, slots.prompt_who
    prompt_began, prompt_ended = slots.prompt_began, slots.prompt_ended
    waits_room = len(waits.batch) - ((stages + 1) * 2 * places + 4)
    waits_count = waits.count
    in_use, at, upcoming, played, before = slots.cursor
    prompts = decodes = 0
    gone = bool(np.any(slot_request[:in_use] < 0))
    last_start = 0.0
    while in_use > 0:
        if waits_count[0] > waits_room:
            break
        if spans is not None and spans.count[0] + stages > len(spans.ts):
            break
        request = slot_request[at]
        fresh = slot_fresh[at]
        prompt = fresh == 1 and job.prompts
        service = job.prompt_us if prompt else job.token_us
        place = before + 1 if before + 1 < places else 0
        if fresh == 1:
            _enter(job, slots, waits, at, before)
        ready = slot_ready[at]
        held = False
        for stage in range(stages):
            start = ended[before, stage]
            if start > ready:
                held = True
            else:
                if start < ready:
                    busy_since[stage] = ready
                start = ready
            ready = start + service
            began[place, stage] = start
            ended[place, stage] = ready
        if held:
            # Who held each stage?  Mostly it was never idle meanwhile and had begun its last
            # prompt before: then decodes filled what that prompt did not.
            ready = slot_ready[at]
            for stage in range(stages):
                start = began[place, stage]
                if start > ready and (stage > 0 or fresh != 1):
                    if busy_since[stage] > ready or prompt_began[stage] > ready:
                        _held(job, slots, waits, at, stage, before, ready, start)
                    else:
                        since, until = _to_ns(ready), _to_ns(start)
                        turn = min(max(_to_ns(prompt_ended[stage]), since), until)
                        if details:
                            on, track = prompt_who[stage], tracks[stage]
                            wait_row(
                                waits, request, since, turn, turn - since, BEHIND_PROMPT, on, track
                            )
                            on = who[before]
                            wait_row(
                                waits, request, turn, until, until - turn, BEHIND_BATCH, on, track
                            )
                        else:
                            sums[at, BEHIND_PROMPT] += turn - since
                            sums[at, BEHIND_BATCH] += until - turn
                ready = ended[place, stage]
        if prompt:
            _remember_prompt(slots, place, request)
        if not job.exact:
            _add_up(slots, place, 0 if prompt else 1)
        if spans is not None:
            _write_pass(job, slots, spans, at, place, played)
        who[place] = request
        what[place] = BEHIND_PROMPT if prompt else BEHIND_BATCH
        before = place
        last_start = began[place, 0]
        played += 1
        slot_ready[at] = ready
        if fresh == 1:
            times[request, 0] = last_start
            slot_fresh[at] = 2 if prompt else 0
        if prompt:
            prompts += 1
            times[request, 1] = ready
            slots.prompt_us[request] = began[place, stages - 1]
        else:
            decodes += 1
            left = slot_left[at]
            if left == tokens[request]:
                times[request, 2] = ready
                slots.decode_us[request] = last_start
            slot_left[at] = left - 1
            if left == 1:
                upcoming = _end(job, slots, waits, at, upcoming)
                gone = gone or slot_request[at] < 0
        at += 1
        if at == in_use:
            at = 0
            if gone:
                in_use = _close_ranks(slots, in_use)
                gone = False
    slots.cursor[:] = (in_use, at, upcoming, played, before)
    slots.passes[0] += prompts
    slots.passes[1] += decodes
    return _to_ns(last_start)


@njit(cache=True, nogil=True)
def _remember_prompt(slots, place, request):
    """Note the pass at `place` as each stage's last prompt."""
    for stage in range(slots.ended.shape[1]):
        slots.prompt_began[stage] = slots.began[place, stage]
        slots.prompt_ended[stage] = slots.ended[place, stage]
        slots.prompt_who[stage] = request


@njit(cache=True, nogil=True)
def _add_up(slots, place, phase):
    """Add the pass at `place` to the busy time of its stages, in whole nanoseconds."""
    for stage in range(slots.ended.shape[1]):
        end_ns = _to_ns(slots.ended[place, stage])
        slots.busy_ns[stage, phase] += end_ns - _to_ns(slots.began[place, stage])


@njit(cache=True, nogil=True)
def _write_pass(job, slots, spans, slot, place, step):
    """Write the spans of the pass at `place`, one for each stage."""
    request = slots.request[slot]
    prompt = slots.fresh[slot] == 1 and job.prompts
    token = NULL if prompt else job.tokens[request] - slots.left[slot]
    name = PREFILL if prompt else DECODE
    first = spans.count[0]
    for stage in range(len(job.tracks)):
        row = first + stage
        begin_ns = _to_ns(slots.began[place, stage])
        spans.ts[row] = begin_ns
        spans.dur[row] = _to_ns(slots.ended[place, stage]) - begin_ns
        spans.track[row] = job.tracks[stage]
        spans.name[row] = name
        spans.batch[row] = request
        spans.token[row] = token
        spans.step[row] = step
    spans.count[0] = first + len(job.tracks)


@njit(cache=True, nogil=True)
def _end(job, slots, waits, slot, upcoming):
    """Take the request in `slot` out and let the next one in; return which comes after it."""
    request = slots.request[slot]
    slots.times[request, 3] = slots.ready_us[slot]
    _sum_up(slots, waits, slot)
    if upcoming == len(job.tokens):
        slots.request[slot] = NULL
        return upcoming
    slots.free_us[slot] = slots.ready_us[slot]
    slots.freed_by[slot] = request
    slots.request[slot] = upcoming
    slots.left[slot] = job.tokens[upcoming]
    slots.fresh[slot] = 1
    slots.ready_us[slot] = job.ready_us[upcoming]
    return upcoming + 1


@njit(cache=True, nogil=True)
def _close_ranks(slots, in_use):
    """Drop slots whose request ended with none to follow; return how many are left."""
    kept = 0
    for slot in range(in_use):
        if slots.request[slot] >= 0:
            if kept != slot:
                slots.request[kept] = slots.request[slot]
                slots.left[kept] = slots.left[slot]
                slots.fresh[kept] = slots.fresh[slot]
                slots.ready_us[kept] = slots.ready_us[slot]
                slots.free_us[kept] = slots.free_us[slot]
                slots.freed_by[kept] = slots.freed_by[slot]
                slots.sums[kept] = slots.sums[slot]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def play_prompts(arrival_us, prompt_us):
    """Return when each prompt starts on the first prompt stage, microseconds, in list order."""
    start = np.empty(len(arrival_us))
    free = 0.0
    for request in range(len(arrival_us)):
        start[request] = max(arrival_us[request], free)
        free = start[request] + prompt_us
    return start


