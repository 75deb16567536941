"""Machines that fail under the `event` discipline: what stops, what is kept, what is begun anew.

A pass is settled with the next failure of its pipeline in view, so nothing has
to be taken back: what would start at the failure or later does not start, what
is under way ends there.  A failure stops the whole pipeline.  Once its machine
is back (detected, then started again) every batch in flight goes on from the
passes that are left of it: none without replicas, else those of which the
failed stage's part had reached the next stage's host.

With replicas the stage's own cache comes back from there, and the stage before
sends its cache again, whose replica was lost too; one after the other, for
both enter by the same interface, and after all replicas still under way.  Two
machines of a pipeline that are down together leave nothing.  Where nothing is
left nobody waits for replicas still under way: they are sent to the end.

Source: the four steps of Strati et al., DejaVu (arXiv 2403.01876), as far as
summaries tell them; which machine sends at what time is not published.
"""

from __future__ import annotations

import numpy as np

from toolkit.simulator.event_state import (
    F8,
    FAILED,
    NEVER,
    RESTORED,
    Plan,
    State,
    schedule,
)
from toolkit.simulator.kernel import NOBODY, Rows, compiled, inner, wait_row
from toolkit.trace.columns import NULL, name_key

__all__ = ["await_failures", "fail", "lost", "may_resume", "recover", "replicate", "resume", "undo"]

BACK, RESUME = np.arange(2)
"""Parts of the event RESTORED: the machine is back; its pipeline may go on."""

DOWN, RECOVERING = np.arange(1, 3)
"""Phases of a pipeline that is not at work."""

LOST = np.int64(name_key("lost"))
REPLICA = np.int64(name_key("replica"))
RESTORE = np.int64(name_key("restore"))
FAILED_NAME = np.int64(name_key("failed"))
RECOVERING_NAME = np.int64(name_key("recovering"))
STARTING = np.int64(name_key("starting"))


@inner
def await_failure(plan: Plan, state: State, pipe: int) -> None:
    """Schedule a pipeline's next failure; where it is not known yet, ask for more."""
    at, faults = state.faults.pipes[pipe], plan.faults
    number = faults.start[pipe] + at.next
    if number >= faults.start[pipe + 1]:
        at.awaits = 1
        state.faults.wanting[0] = 1
        return
    at.awaits = 0
    at.fails_at = faults.failures[number].at
    at.fails_stage = faults.failures[number].stage
    if at.fails_at < NEVER:
        schedule(state, at.fails_at, FAILED, pipe, 0)


@compiled
def await_failures(plan: Plan, state: State) -> None:
    """Schedule the next failure of every pipeline that waits for one to be known."""
    state.faults.wanting[0] = 0
    for pipe in range(len(state.faults.pipes)):
        if state.faults.pipes[pipe].awaits == 1:
            await_failure(plan, state, pipe)


@inner
def lost(plan: Plan, state: State, batch: int, done: int) -> bool:
    """Return whether a batch's pass number `done` + 1 will not be left by the next failure."""
    faults = plan.faults
    fate = faults.fate_start[batch] + state.batches[batch].attempt
    return fate < faults.fate_start[batch + 1] and done >= faults.fates[fate]


@inner
def _write(
    spans: Rows, since: int, until: int, track: int, name: int, batch: int, volume: int
) -> None:
    span = spans.rows[spans.filled[0]]
    span.ts = since
    span.dur = until - since
    span.track = track
    span.name = name
    span.batch = batch
    span.token = NULL
    span.step = NULL
    span.bytes = volume
    spans.filled[0] += 1


@inner
def _over(link: F8, nbytes: int) -> int:
    """Return ns that so many bytes hold a link."""
    return np.int64(np.rint((link[1] + nbytes / link[0]) * 1e9))


@inner
def _share(plan: Plan, nbytes: int, stage: int) -> int:
    """Return a stage's part of so many bytes of KV cache."""
    return np.int64(np.rint(nbytes * plan.faults.shares[stage]))


@inner
def replicate(
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
    """A stage is through with a batch's pass number `done` + 1: send what it added to the cache."""
    faults, at = plan.faults, state.faults.pipes[pipe]
    whole = plan.batches[batch].prompt_room if done == 0 else faults.token_kv[batch]
    volume = _share(plan, whole, stage)
    sender = state.faults.senders[pipe, stage]
    start = max(now, sender.free)
    end = start + _over(faults.link, volume)
    if stage == at.fails_stage and end <= at.fails_at:
        state.batches[batch].replicated = done + 1
    stages = faults.tracks.shape[1]
    until = faults.horizon
    if stage == at.fails_stage or (stage + 1) % stages == at.fails_stage:
        until = min(until, at.fails_at)
    if start >= until:
        return
    if end > until:
        volume = volume * (until - start) // (end - start)
        end = until
    sender.free = end
    sender.busy += end - start
    sender.count += 1
    sender.bytes += volume
    if keep:
        _write(spans, start, end, faults.tracks[pipe, stage], REPLICA, batch, volume)


@inner
def fail(plan: Plan, state: State, spans: Rows, pipe: int, now: int, keep: bool) -> None:
    """A machine fails: its pipeline stands still until it is back."""
    faults, at = plan.faults, state.faults.pipes[pipe]
    row = faults.failures[faults.start[pipe] + at.next]
    track = plan.tracks[pipe, row.stage * (2 if plan.linked else 1)]
    for which in range(2):
        since = row.detected if which else row.at
        until = min(row.back if which else row.detected, faults.horizon)
        if until > since or (which == 0 and until == since):  # a failure is always seen
            state.faults.down[pipe, row.stage, which, 0] += until - since
            state.faults.down[pipe, row.stage, which, 1] += 1
            if keep:
                name = STARTING if which else FAILED_NAME
                _write(spans, since, until, track, name, NOBODY, NULL)
    if at.phase == 0:
        at.failed_at = now
        at.stage = row.stage
        at.together = 0
        at.back = row.back
    else:
        at.together = 1
        at.back = max(at.back, row.back)
    at.phase = DOWN
    schedule(state, at.back, RESTORED, pipe, BACK)
    at.next += 1
    await_failure(plan, state, pipe)


@inner
def _hold(plan: Plan, state: State, pipe: int) -> int:
    """List the batches in flight in a pipeline in `held`; return how many there are."""
    queue = pipe if len(plan.queue_start) > 2 else 0
    place, count = state.queues[queue].head, 0
    while count < state.pipes[pipe].in_flight:
        place -= 1
        batch = plan.queues[place]
        if state.batches[batch].pipe == pipe and state.batches[batch].finish == NULL:
            state.faults.held[count] = batch
            count += 1
    return count


@inner
def recover(plan: Plan, state: State, spans: Rows, pipe: int, now: int, keep: bool) -> bool:
    """A machine is back: decide what is left of each batch, and fetch the caches it lost.

    Returns whether its pipeline may go on now.
    """
    faults, at = plan.faults, state.faults.pipes[pipe]
    if at.phase != DOWN or now != at.back:
        return False
    at.phase = RECOVERING
    at.resume = now
    own = before = 0
    stages = faults.tracks.shape[1]
    sent_again = (at.stage + stages - 1) % stages
    for each in range(_hold(plan, state, pipe)):
        batch = state.faults.held[each]
        this = state.batches[batch]
        this.kept = 0
        if faults.replicated and at.together == 0:
            this.kept = min(this.prompted + this.token, this.replicated)
        if this.kept > 0:
            whole = plan.batches[batch].prompt_room + (this.kept - 1) * faults.token_kv[batch]
            own += _share(plan, whole, at.stage)
            before += _share(plan, whole, sent_again)
    if own > 0:
        start = now
        for stage in range(stages):
            start = max(start, state.faults.senders[pipe, stage].free)
        start = _restore(plan, state, spans, pipe, (at.stage + 1) % stages, own, start, keep)
        at.resume = _restore(plan, state, spans, pipe, sent_again, before, start, keep)
    if at.resume > now:
        schedule(state, at.resume, RESTORED, pipe, RESUME)
        return False
    return True


@inner
def _restore(
    plan: Plan,
    state: State,
    spans: Rows,
    pipe: int,
    stage: int,
    volume: int,
    start: int,
    keep: bool,
) -> int:
    """Send a cache to the machine that lost it; return when it would have arrived."""
    end = start + _over(plan.faults.link, volume)
    until = min(end, plan.faults.horizon, state.faults.pipes[pipe].fails_at)
    if until > start:
        sender = state.faults.senders[pipe, stage]
        sent = volume * (until - start) // (end - start)
        sender.free = until
        sender.restoring += until - start
        sender.restored += 1
        sender.restored_bytes += sent
        if keep:
            _write(spans, start, until, plan.faults.tracks[pipe, stage], RESTORE, NOBODY, sent)
    return end


@inner
def undo(
    plan: Plan, state: State, pipe: int, batch: int, phase: int, passes: int, until: int
) -> None:
    """Count so many passes of a batch as lost, on the stages before server `until`."""
    took = passes * plan.service[batch, 2 * phase]
    for server in range(0, until, 2 if plan.linked else 1):
        state.busy[pipe, server, phase, 0] -= took
        state.busy[pipe, server, phase, 1] -= passes
        state.faults.lost[pipe, server, 0] += took
        state.faults.lost[pipe, server, 1] += passes


@inner
def may_resume(state: State, pipe: int, now: int) -> bool:
    """Return whether a pipeline's caches are where they belong, at this moment."""
    at = state.faults.pipes[pipe]
    return at.phase == RECOVERING and now == at.resume


@inner
def resume(plan: Plan, state: State, waits: Rows, pipe: int, now: int, passing: int) -> None:
    """Let every batch in flight go on from what is left of it, by an event of kind `passing`."""
    at, faults = state.faults.pipes[pipe], state.faults
    stride = 2 if plan.linked else 1
    track = plan.tracks[pipe, at.stage * stride]
    for each in range(_hold(plan, state, pipe)):
        batch = faults.held[each]
        this = state.batches[batch]
        since, back = at.failed_at, at.back
        wait_row(waits, batch, since, back, back - since, FAILED_NAME, NOBODY, track)
        wait_row(waits, batch, back, now, now - back, RECOVERING_NAME, NOBODY, track)
        prompts = this.prompted - min(this.kept, 1)
        tokens = this.token - max(this.kept - 1, 0)
        undo(plan, state, pipe, batch, 0, prompts, plan.tracks.shape[1])
        undo(plan, state, pipe, batch, 1, tokens, plan.tracks.shape[1])
        faults.fates[faults.filled[0], 0] = batch
        faults.fates[faults.filled[0], 1] = this.kept
        faults.filled[0] += 1
        this.attempt += 1
        this.prompted -= prompts
        this.token -= tokens
        this.replicated = this.kept
        schedule(state, now, passing, batch, 0)
    at.phase = 0
