"""The world of `stepwise` in which machines fail.

A failure stops its pipeline in mid-work: whatever is on a server or before it
is gone.  Nobody knows of a failure before it comes.  Replicas stand in line
before their stage's sender and land one by one; what has landed when the
machine fails is what is left.  Replicas that nobody needs any more, for all
was begun anew, are sent to the end: later failures do not stop them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from stepwise import Batch, Event, Kind, Pass, Pipeline, Server, Span, Stay, Wait, World

from toolkit.simulator.event_state import NEVER, Plan

__all__ = ["FailingWorld"]

BACK, RESUME = 0, 1


@dataclass
class Sending:
    """Bytes on their way from one host to another, cut `until` then if they do not arrive."""

    name: str
    batch: int | None
    volume: int
    took: int
    passes: int = 0
    attempt: int = 0
    life: int = 0
    """How often its pipeline had gone on after a failure when it was made."""
    start: int = 0
    until: int = NEVER

    @property
    def end(self) -> int:
        return self.start + self.took


@dataclass
class Sender:
    """Where a stage's replicas leave: in line, one after the other."""

    track: int
    line: deque[Sending] = field(default_factory=deque)
    working: Sending | None = None
    sent: list[Sending] = field(default_factory=list)
    landed: dict[int, int] = field(default_factory=dict)
    """Passes of each batch that the next stage's host knows."""

    @property
    def idle(self) -> bool:
        return self.working is None and not self.line


@dataclass
class Trouble:
    """What is wrong with a pipeline, if anything."""

    since: int | None = None
    stage: int = 0
    together: bool = False
    back: int = 0
    restoring: deque[tuple[Sender, Sending]] = field(default_factory=deque)
    kept: dict[int, int] = field(default_factory=dict)
    lives: int = 0


class FailingWorld(World):
    """A deployment whose machines fail as its plan says."""

    def __init__(self, plan: Plan) -> None:
        """Put every failure on the agenda."""
        super().__init__(plan)
        faults = plan.faults
        self.attempts = [0] * len(self.batches)
        self.made: list[tuple[int, int, int, int]] = []
        self.left = len(self.batches)
        self.troubles = [Trouble() for _ in self.pipelines]
        self.senders = [
            [Sender(int(track)) for track in tracks] if faults.replicated else []
            for tracks in faults.tracks
        ]
        for pipe in range(len(self.pipelines)):
            for number in range(int(faults.start[pipe]), int(faults.start[pipe + 1])):
                at = int(faults.failures[number]["at"])
                if at < NEVER:
                    self.agenda.append(Event(at, Kind.FAILED, pipe, number))

    def play(self) -> FailingWorld:
        """Play until all is served; what is still on its way then is cut there."""
        super().play()
        for senders in self.senders:
            for sender in senders:
                for each in sender.sent:
                    self.draw(sender.track, each)
        ends = (
            span._replace(dur=min(span.dur, self.now - span.ts))
            if span.name in ("failed", "starting")
            else span
            for span in self.spans
        )
        self.spans = [span for span in ends if span.dur > 0 or span.name != "starting"]
        return self

    def draw(self, track: int, each: Sending) -> None:
        until = min(each.end, each.until, self.now)
        if until > each.start:
            volume = each.volume * (until - each.start) // each.took
            dur = until - each.start
            self.spans.append(
                Span(each.start, dur, track, each.name, each.batch, None, None, volume)
            )

    def over(self) -> bool:
        """Return whether every batch has ended."""
        return self.left == 0

    def instants(self) -> Iterator[int]:
        """Yield the times at which something is to happen."""
        yield from super().instants()
        for senders in self.senders:
            yield from (sender.working.end for sender in senders if sender.working)

    def stands(self, pipe: int) -> bool:
        """Return whether a pipeline is down, or about to be at this instant."""
        return self.troubles[pipe].since is not None or any(
            event.kind == Kind.FAILED and event.batch == pipe and event.time == self.now
            for event in self.agenda
        )

    def settle(self) -> bool:
        """Do one thing that is due without a decision; return whether there was one."""
        for pipe, pipeline in enumerate(self.pipelines):
            for place, server in enumerate(pipeline.servers):
                if server.working and server.until <= self.now:
                    self.hand_on(pipeline, place)
                    return True
                if not server.working and server.queue and not self.stands(pipe):
                    self.take_up(server)
                    return True
            if self.settle_senders(pipe):
                return True
        return False

    def settle_senders(self, pipe: int) -> bool:
        """Let replicas land and leave; where all have, let a lost cache come back."""
        for sender in self.senders[pipe]:
            if sender.working and sender.working.end <= self.now:
                self.land(pipe, sender, sender.working)
                return True
            if sender.working is None and sender.line:
                self.leave_host(sender, sender.line.popleft())
                return True
        trouble = self.troubles[pipe]
        if trouble.restoring and all(sender.idle for sender in self.senders[pipe]):
            self.leave_host(*trouble.restoring.popleft())
            return True
        return False

    def leave_host(self, sender: Sender, each: Sending) -> None:
        each.start = self.now
        sender.working = each
        sender.sent.append(each)

    def land(self, pipe: int, sender: Sender, each: Sending) -> None:
        """A replica or a cache has arrived."""
        sender.working = None
        if each.batch is not None:
            if each.attempt == self.attempts[each.batch]:
                sender.landed[each.batch] = each.passes
        elif not self.troubles[pipe].restoring:
            self.agenda.append(Event(self.now, Kind.RESTORED, pipe, RESUME))

    def over_link(self, volume: int) -> int:
        bytes_per_s, latency_s = (float(each) for each in self.plan.faults.link)
        return round((latency_s + volume / bytes_per_s) * 1e9)

    def share(self, volume: int, stage: int) -> int:
        return round(volume * float(self.plan.faults.shares[stage]))

    # -- work, remembered by whose pass it was -------------------------------------------------

    def take_up(self, server: Server) -> None:
        """Begin with a pass; remember which, for it may be lost."""
        work = server.queue[0]
        number = work.batch.number
        self.made.append((len(self.spans), number, work.token + 2, self.attempts[number]))
        super().take_up(server)

    def hand_on(self, pipeline: Pipeline, place: int) -> None:
        """A pass has left a server; what it added to a stage's cache goes to the next host."""
        server, pipe = pipeline.servers[place], self.pipelines.index(pipeline)
        work = server.working
        assert work is not None
        super().hand_on(pipeline, place)
        if self.senders[pipe] and not server.link:
            stage = place // (2 if self.plan.linked else 1)
            number = work.batch.number
            token = int(self.plan.faults.token_kv[number])
            volume = self.share(work.batch.prompt_room if work.prompt else token, stage)
            took, passes = self.over_link(volume), work.token + 2
            self.senders[pipe][stage].line.append(
                Sending(
                    *("replica", number, volume, took, passes, self.attempts[number]),
                    self.troubles[pipe].lives,
                )
            )

    # -- events --------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Let an event have its effect."""
        if event.kind == Kind.FAILED:
            self.fail(event.batch, event.part)
        elif event.kind == Kind.RESTORED:
            self.restored(event.batch, event.part)
        elif event.kind == Kind.PASS and self.in_trouble(self.batches[event.batch]):
            pass  # it came to its end as its pipeline failed
        else:
            self.left -= event.kind == Kind.FINISHED
            super().take(event)

    def in_trouble(self, batch: Batch) -> bool:
        assert batch.pipe is not None
        return self.troubles[batch.pipe].since is not None

    def fail(self, pipe: int, number: int) -> None:
        """A machine fails: its pipeline stands still, and all under way there is lost."""
        row = self.plan.faults.failures[number]
        stage, at, detected, back = (int(row[x]) for x in ("stage", "at", "detected", "back"))
        track = int(self.plan.tracks[pipe, stage * (2 if self.plan.linked else 1)])
        self.spans.append(Span(at, detected - at, track, "failed", None, None, None, None))
        self.spans.append(
            Span(detected, back - detected, track, "starting", None, None, None, None)
        )
        trouble = self.troubles[pipe]
        if trouble.since is None:
            trouble.since, trouble.stage, trouble.together = self.now, stage, False
            trouble.back = back
            for server in self.pipelines[pipe].servers:
                self.stop(server)
            stages = len(self.senders[pipe])
            for each in {stage, (stage - 1) % stages} if stages else ():
                self.silence(self.senders[pipe][each], trouble.lives)
        else:
            trouble.together = True
            trouble.back = max(trouble.back, back)
            for sender in self.senders[pipe]:
                if sender.working and sender.working.batch is None:
                    self.silence(sender, trouble.lives)
            trouble.restoring.clear()
            self.agenda = [
                event for event in self.agenda if event.kind != Kind.RESTORED or event.batch != pipe
            ]
        self.agenda.append(Event(trouble.back, Kind.RESTORED, pipe, BACK))
        self.admit(pipe if len(self.queues) > 1 else 0, None)

    def silence(self, sender: Sender, life: int) -> None:
        """Drop what a sender has been given since its pipeline last went on."""
        if sender.working and sender.working.life == life:
            sender.working.until = self.now
            sender.working = None
        sender.line = deque(each for each in sender.line if each.life < life)

    def stop(self, server: Server) -> None:
        """Take from a server what it is doing, and what waits for it."""
        if work := server.working:
            at, *_ = next(each for each in reversed(self.made) if self.is_of(each, server))
            span = self.spans[at]
            took = self.now - span.ts
            if server.link:
                assert span.nbytes is not None
                span = span._replace(dur=took, nbytes=span.nbytes * took // span.dur)
            else:
                span = span._replace(dur=took, name="lost", token=None)
            self.spans[at] = span
            server.past[-1] = Stay(work.batch.number, work.prompt, span.ts, self.now)
            server.working = None
        for work in server.queue:
            self.interrupt(server, work)
        server.queue.clear()

    def is_of(self, made: tuple[int, int, int, int], server: Server) -> bool:
        return self.spans[made[0]].track == server.track

    def interrupt(self, server: Server, work: Pass) -> None:
        """A failure ends a wait: it was for whoever began last."""
        last = server.past[-1] if server.past else None
        if last is None:
            assert work.ready == self.now
            return
        cause = "behind_prompt" if last.prompt else "behind_batch"
        self.wait(
            work.batch, work.ready, "link_busy" if server.link else cause, last.batch, server.track
        )

    def in_flight(self, pipe: int) -> list[Batch]:
        return [batch for batch in self.batches if batch.pipe == pipe and not batch.finished]

    def restored(self, pipe: int, part: int) -> None:
        """A machine is back, or its caches are."""
        trouble = self.troubles[pipe]
        if part == BACK:
            own, before = self.what_is_left(pipe)
            if own:
                stages = len(self.senders[pipe])
                for stage, volume in ((trouble.stage + 1, own), (trouble.stage - 1, before)):
                    took, lives = self.over_link(volume), trouble.lives
                    sending = Sending("restore", None, volume, took, life=lives)
                    trouble.restoring.append((self.senders[pipe][stage % stages], sending))
                return
        self.go_on(pipe)

    def what_is_left(self, pipe: int) -> tuple[int, int]:
        """Decide how many passes are left of each batch; return the bytes that come back."""
        trouble, senders = self.troubles[pipe], self.senders[pipe]
        own = before = 0
        trouble.kept = {}
        for batch in self.in_flight(pipe):
            kept = 0
            if senders and not trouble.together:
                kept = min(batch.done, senders[trouble.stage].landed.get(batch.number, 0))
            trouble.kept[batch.number] = kept
            if kept:
                token = int(self.plan.faults.token_kv[batch.number])
                whole = batch.prompt_room + (kept - 1) * token
                own += self.share(whole, trouble.stage)
                before += self.share(whole, (trouble.stage - 1) % len(senders))
        return own, before

    def go_on(self, pipe: int) -> None:
        """Everybody resumes from what is left."""
        trouble = self.troubles[pipe]
        assert trouble.since is not None
        track = int(self.plan.tracks[pipe, trouble.stage * (2 if self.plan.linked else 1)])
        for batch in self.in_flight(pipe):
            kept, number = trouble.kept[batch.number], batch.number
            for cause, since, until in (
                ("failed", trouble.since, trouble.back),
                ("recovering", trouble.back, self.now),
            ):
                if since < until:
                    self.waits.append(Wait(number, since, until, cause, None, track))
            for at, whose, passes, _ in self.made:  # what an earlier failure had spared, too
                if whose == number and passes > kept:
                    span = self.spans[at]
                    if span.name in ("prefill", "decode"):
                        self.spans[at] = span._replace(name="lost")
            self.attempts[number] += 1
            batch.done = kept
            for sender in self.senders[pipe]:
                sender.landed[number] = kept
            self.post(Kind.PASS, batch)
        trouble.since = None
        trouble.lives += 1
        self.admit(pipe if len(self.queues) > 1 else 0, None)

    # -- admission -----------------------------------------------------------------------------

    def place_for(self, queue: int) -> int:
        """Return the pipeline a queue leads to: of all, the one that is up with the fewest."""
        if len(self.queues) > 1:
            return queue
        return min(
            range(len(self.pipelines)),
            key=lambda pipe: (
                self.troubles[pipe].since is not None,
                self.pipelines[pipe].in_flight,
            ),
        )

    def obstacle(self, pipe: int, batch: Batch) -> str:
        """Return why a batch may not enter now, if so."""
        down = self.troubles[pipe].since is not None
        return "failed" if down else super().obstacle(pipe, batch)
