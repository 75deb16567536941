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

from toolkit.simulator.kernel import (
    BEHIND_BATCH,
    BEHIND_PROMPT,
    DECODE,
    HEAD_OF_LINE,
    I8,
    NOBODY,
    PREFILL,
    QUEUE,
    Records,
    Rows,
    compiled,
    inner,
    records,
    wait_row,
    walk_back,
)
from toolkit.trace.columns import NULL

__all__ = ["Job", "State", "advance", "grid", "new_state", "play_prompts"]

F8 = npt.NDArray[np.float64]

CAUSES = 1 + max(BEHIND_PROMPT, BEHIND_BATCH, HEAD_OF_LINE)

NS = 1000.0  # nanoseconds in a microsecond

GRID_US = 0.125
"""Sums of multiples of an eighth of a microsecond are exact in float64, and whole ns."""

START, PREFILL_LAST, PREFILL_END, DECODE_START, FIRST_TOKEN, FINISH = range(6)
"""Columns of :attr:`State.times`, microseconds."""


class Job(NamedTuple):
    """One pipeline's work: requests in list order, with when each may enter.

    `ready_us` is the arrival, or for a token pipeline the arrival of the KV
    cache; `tokens` decode passes each; with `prompts`, a prompt pass before.
    `tracks` are the stages.  Shapes: (requests,) and (stages,).
    """

    ready_us: F8
    tokens: I8
    tracks: I8
    first: int
    """Entry of the workload that is request 0 here."""
    prompt_us: float
    token_us: float
    prompts: bool
    exact: bool
    """All times lie on the grid of exact sums: sums are products."""
    accounts: bool
    """Waits and busy time are asked for, beside spans; for neither there is `frontier`."""
    details: bool
    """Each wait is written by itself, with whom it was for; else each request's by cause."""


class State(NamedTuple):
    """State between two calls of :func:`advance`.

    `run` is one record: slots in use, the slot whose turn it is, the next
    request, passes so far, the place of the last one, and prompt and decode
    passes.  `slots`: the request in each, decode passes left, whether its
    first pass is still to come (1) or its prompt is done (2), and who freed
    the slot; `slot_us` (slots, 2) when it is ready, and when the slot fell
    free; `sums` (slots, causes) waits not yet written.

    The last passes are remembered in a ring of places: `passes` whose and
    which, `began`, `ended` (places, stages) when.  Of each stage,
    `busy_since` is when it was last idle, `prompt_us` (stages, 2) when its
    last prompt pass began and ended, and `run` whose that was.
    """

    run: Records
    slots: Records
    slot_us: F8
    sums: I8
    passes: Records
    began: F8
    ended: F8
    busy_since: F8
    prompt_us: F8
    times: F8
    busy_ns: I8


def grid(*values: float | F8) -> bool:
    """Return whether every time is a multiple of :data:`GRID_US`."""
    return all(bool(np.all(np.mod(value, GRID_US) == 0.0)) for value in values)


def new_state(job: Job) -> State:
    """Return the state before the first pass: one request per stage in flight.

    Request i of the first ones may enter at i prompt times, as published, and
    not before it is ready, which the published arrival process never asks.
    """
    stages, requests = len(job.tracks), len(job.tokens)
    first = min(stages, requests)
    run = records(
        ("in_use", "at", "upcoming", "played", "place", "prompts", "decodes", "prompt_who"), 1
    )
    run["in_use"] = run["upcoming"] = first
    slots = records(("request", "left", "fresh", "freed_by"), first, NULL)
    slots["request"] = np.arange(first)
    slots["left"] = job.tokens[:first]
    slots["fresh"] = 1
    slot_us = np.zeros((first, 2))
    slot_us[:, 0] = job.ready_us[:first]
    if job.prompts:
        slot_us[:, 0] = np.maximum(slot_us[:, 0], np.arange(first) * job.prompt_us)
    places = stages + 2
    passes = records(("who", "what"), places, NULL)
    passes["what"] = BEHIND_PROMPT
    return State(
        run=run,
        slots=slots,
        slot_us=slot_us,
        sums=np.zeros((first, CAUSES), np.int64),
        passes=passes,
        began=np.zeros((places, stages)),
        ended=np.zeros((places, stages)),
        busy_since=np.zeros(stages),
        prompt_us=np.full((stages, 2), -1.0),
        times=np.zeros((requests, 6)),
        busy_ns=np.zeros((stages, 2), np.int64),
    )


def margin(job: Job) -> int:
    """Return how many wait rows one pass may write at most."""
    stages = len(job.tracks)
    return (stages + 1) * 2 * (stages + 2) + 4


@inner
def _to_ns(us: float) -> int:
    return np.int64(np.rint(us * NS))


@compiled
def advance(job: Job, state: State, waits: Rows, spans: Rows, room: int, limit: int) -> int:
    """Play passes until all requests are done or a buffer has no room for another.

    `room` rows must be free in `waits` before a pass; `spans` are written up
    to row `limit`, 0 asks for none.  Returns the start of the last pass at
    the first stage in nanoseconds: no later pass starts anything before it.
    """
    stages = len(job.tracks)
    tokens, tracks, details = job.tokens, job.tracks, job.details
    run = state.run[0]
    slots, slot_us, sums, passes = state.slots, state.slot_us, state.sums, state.passes
    began, ended, busy_since = state.began, state.ended, state.busy_since
    prompt_us, times, busy_ns = state.prompt_us, state.times, state.busy_ns
    places = len(passes)
    keep = limit > 0
    in_use, at, before = run.in_use, run.at, run.place
    last_start = 0.0
    accounts = job.accounts
    add_up = accounts and not job.exact
    leaping = accounts and job.exact and not keep
    calm = False
    while in_use > 0:
        if at == 0:
            if calm and leaping:
                run.decodes += in_use * _leap(job, state, in_use)
            calm = True
        if waits.filled[0] + room > len(waits.rows):
            break
        if keep and spans.filled[0] + stages > limit:
            break
        slot = slots[at]
        request = slot.request
        prompt = slot.fresh == 1 and job.prompts
        service = job.prompt_us if prompt else job.token_us
        place = before + 1 if before + 1 < places else 0
        if slot.fresh == 1 and accounts:
            _enter(job, state, waits, at, before)
        ready = slot_us[at, 0]
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
        if held or slot.fresh != 0:
            calm = False
        if held and accounts:
            # Who held each stage?  Mostly it was never idle meanwhile and had begun its last
            # prompt before: then decodes filled what that prompt did not.
            ready = slot_us[at, 0]
            for stage in range(stages):
                start = began[place, stage]
                if start > ready and (stage > 0 or slot.fresh != 1):
                    if busy_since[stage] > ready or prompt_us[stage, 0] > ready:
                        _held(job, state, waits, at, stage, before, ready, start)
                    else:
                        since, until = _to_ns(ready), _to_ns(start)
                        turn = min(max(_to_ns(prompt_us[stage, 1]), since), until)
                        if details:
                            on, track = run.prompt_who, tracks[stage]
                            wait_row(
                                waits, request, since, turn, turn - since, BEHIND_PROMPT, on, track
                            )
                            on = passes[before].who
                            wait_row(
                                waits, request, turn, until, until - turn, BEHIND_BATCH, on, track
                            )
                        else:
                            sums[at, BEHIND_PROMPT] += turn - since
                            sums[at, BEHIND_BATCH] += until - turn
                ready = ended[place, stage]
        if add_up:
            phase = 0 if prompt else 1
            for stage in range(stages):
                busy_ns[stage, phase] += _to_ns(ended[place, stage]) - _to_ns(began[place, stage])
        if keep:
            first = spans.filled[0]
            for stage in range(stages):
                span = spans.rows[first + stage]
                span.ts = _to_ns(began[place, stage])
                span.dur = _to_ns(ended[place, stage]) - span.ts
                span.track = tracks[stage]
                span.name = PREFILL if prompt else DECODE
                span.batch = job.first + request
                span.token = NULL if prompt else tokens[request] - slot.left
                span.step = run.played
                span.bytes = NOBODY
            spans.filled[0] = first + stages
        passes[place].who = request
        passes[place].what = BEHIND_PROMPT if prompt else BEHIND_BATCH
        before = place
        last_start = began[place, 0]
        run.played += 1
        slot_us[at, 0] = ready
        if slot.fresh == 1:
            times[request, START] = last_start
            slot.fresh = 2
        if prompt:
            run.prompts += 1
            run.prompt_who = request
            for stage in range(stages):
                prompt_us[stage, 0] = began[place, stage]
                prompt_us[stage, 1] = ended[place, stage]
            times[request, PREFILL_LAST] = began[place, stages - 1]
            times[request, PREFILL_END] = ready
        else:
            run.decodes += 1
            if slot.left == tokens[request]:
                times[request, DECODE_START] = last_start
                times[request, FIRST_TOKEN] = ready
                slot.fresh = 0
            slot.left -= 1
            if slot.left == 0:
                calm = False
                times[request, FINISH] = ready
                _end(job, state, waits, at)
        at += 1
        if at == in_use:
            at = 0
            in_use = run.in_use
            if in_use > 0 and run.upcoming == len(tokens):
                in_use = _close_ranks(state)
    run.in_use = in_use
    run.at = at
    run.place = before
    return _to_ns(last_start)


@inner
def _leap(job: Job, state: State, in_use: int) -> int:
    """Skip rounds in which nothing but decoding happens; return how many.

    In a calm round every pass found every stage free, and so do the same
    passes one round later: until a request ends, each slot is ready `stages`
    token times later each round.  That many additions are one product, for
    sums are exact where this is asked.  The last two rounds are left to be
    played, so that the ring remembers them.
    """
    rounds = state.slots[0].left
    for at in range(1, in_use):
        rounds = min(rounds, state.slots[at].left)
    rounds -= 2
    if rounds <= 0:
        return 0
    later_us = rounds * len(job.tracks) * job.token_us
    for at in range(in_use):
        state.slot_us[at, 0] += later_us
        state.slots[at].left -= rounds
    return rounds


@inner
def _enter(job: Job, state: State, waits: Rows, at: int, place: int) -> None:
    """Write what a request waited for before its first pass: a free slot, then the stage."""
    slot = state.slots[at]
    arrived = job.ready_us[slot.request]
    start = max(state.ended[place, 0], state.slot_us[at, 0])
    free = min(max(state.slot_us[at, 1], arrived), start)
    since, until = _to_ns(arrived), _to_ns(free)
    wait_row(waits, slot.request, since, until, until - since, QUEUE, slot.freed_by, job.tracks[0])
    if free < start:
        _held(job, state, waits, at, np.int64(0), place, free, start)


@inner
def _held(
    job: Job, state: State, waits: Rows, at: int, stage: int, place: int, since: float, until: float
) -> None:
    """Say who held `stage` between two times, where that takes a look at every earlier pass."""
    walk_back(
        waits,
        state.sums[at],
        job.details,
        state.slots[at].request,
        job.tracks[stage],
        state.passes.who,
        state.passes.what,
        np.rint(state.began[:, stage] * NS).astype(np.int64),
        np.rint(state.ended[:, stage] * NS).astype(np.int64),
        place,
        _to_ns(since),
        _to_ns(until),
    )


@inner
def _end(job: Job, state: State, waits: Rows, at: int) -> None:
    """Write a request's summed waits, take it out of its slot and let the next one in."""
    slot, run = state.slots[at], state.run[0]
    since = _to_ns(state.times[slot.request, START])
    until = _to_ns(state.times[slot.request, FINISH])
    for cause in (BEHIND_PROMPT, BEHIND_BATCH, HEAD_OF_LINE):
        waited = state.sums[at, cause]
        wait_row(waits, slot.request, since, until, waited, cause, NOBODY, NOBODY)
        state.sums[at, cause] = 0
    if run.upcoming == len(job.tokens):
        slot.request = NULL
        return
    slot.freed_by = slot.request
    slot.request = run.upcoming
    slot.left = job.tokens[run.upcoming]
    slot.fresh = 1
    state.slot_us[at, 1] = state.slot_us[at, 0]
    state.slot_us[at, 0] = job.ready_us[run.upcoming]
    run.upcoming += 1


@inner
def _close_ranks(state: State) -> int:
    """Drop slots whose request ended with none to follow; return how many are left."""
    kept = 0
    run = state.run[0]
    for at in range(run.in_use):
        if state.slots[at].request >= 0:
            if kept != at:
                state.slots[kept] = state.slots[at]
                state.slot_us[kept, 0] = state.slot_us[at, 0]
                state.slot_us[kept, 1] = state.slot_us[at, 1]
                for cause in range(CAUSES):
                    state.sums[kept, cause] = state.sums[at, cause]
            kept += 1
    run.in_use = kept
    return kept


@compiled
def play_prompts(arrival_us: F8, prompt_us: float) -> F8:
    """Return when each prompt starts on the first prompt stage, microseconds, in list order."""
    start = np.empty(len(arrival_us))
    free = 0.0
    for request in range(len(arrival_us)):
        start[request] = max(arrival_us[request], free)
        free = start[request] + prompt_us
    return start
