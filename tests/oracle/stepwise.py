"""The `event` discipline told slowly: things that wait in queues, one instant after another.

Where the compiled loop settles a whole pass at once, here every server has a
queue and a worker, every network interface a line of parts before it, and
time goes from one instant at which anything happens to the next.  At each
instant first whatever work ends is handed on and idle servers take up the
next; then events are taken, one at a time, in the documented order of kinds,
then of batches, then of parts.

It reads the same plan as the compiled loop (durations rounded once, rooms,
limits), and nothing else of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby
from typing import NamedTuple

from toolkit.simulator.event_state import Plan

__all__ = ["Batch", "Span", "Wait", "World"]


class Kind(IntEnum):
    """What may happen at an instant, in the order in which it is taken."""

    FINISHED = 0
    FAILED = 1
    RESTORED = 2
    LANDED = 3
    STAGE_FREE = 4
    ARRIVED = 5
    TRANSFER = 6
    PASS = 7


class Span(NamedTuple):
    """A piece of work: batch, decode pass, step and bytes are None where there is none."""

    ts: int
    dur: int
    track: int
    name: str
    batch: int | None
    token: int | None
    step: int | None
    nbytes: int | None


class Wait(NamedTuple):
    """A stretch of a batch's waiting: why, for whom, for which track."""

    batch: int
    since: int
    until: int
    cause: str
    on_batch: int | None
    on_track: int | None


class Event(NamedTuple):
    """Something to be taken at a time; the fields' order is the order of taking."""

    time: int
    kind: Kind
    batch: int
    part: int = 0


@dataclass
class Batch:
    """A microbatch: what it asks for, and what has become of it.

    ``done`` counts the passes it has behind it, its prompt included; ``ends``
    are the ends of its passes, each as it first came to one; ``parts`` those of
    its KV cache that asked to leave, in that order.
    """

    number: int
    ready: int
    passes: int
    prompt_room: int
    room: int
    pipe: int | None = None
    began: dict[int, int] = field(default_factory=dict)
    start: int | None = None
    decode_start: int | None = None
    kv_ready: int | None = None
    done: int = 0
    ends: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.done == self.passes + 1


@dataclass
class Pass:
    """One way of a batch through a pipeline, and since when it has been ready for more."""

    batch: Batch
    prompt: bool
    token: int
    step: int
    ready: int
    place: int = 0


class Stay(NamedTuple):
    """Work a server has done."""

    batch: int
    prompt: bool
    start: int
    end: int


@dataclass
class Server:
    """A stage, or the link behind it: does one pass at a time, in the order of readiness."""

    track: int
    link: bool
    queue: deque[Pass] = field(default_factory=deque)
    working: Pass | None = None
    until: int = 0
    past: list[Stay] = field(default_factory=list)


@dataclass
class Pipeline:
    """Servers in order, places for so many batches, room for so many bytes."""

    servers: list[Server]
    limit: int
    capacity: int
    in_flight: int = 0
    used: int = 0
    stage_busy: bool = False


@dataclass
class Interface:
    """A network interface: the parts that want to use it, in the order they asked."""

    track: int
    line: deque[Part] = field(default_factory=deque)
    busy: bool = False
    last_end: int = 0
    last_batch: int | None = None


@dataclass
class Part:
    """A part of a batch's KV cache on its way."""

    number: int
    batch: Batch
    out: Interface
    into: Interface
    start: int = 0
    end: int = 0
    behind: tuple[int, int | None] = (0, None)
    """Track of the interface it was held by, and whose part was on it."""
    arrived: bool = False


@dataclass
class Queue:
    """Batches that want in, in order; since when and why the head of it stands."""

    batches: deque[Batch]
    since: int = 0
    cause: str = ""


class World:
    """A deployment in motion; `play` it, then read `batches`, `spans` and `waits`."""

    def __init__(self, plan: Plan) -> None:
        """Lay out the servers; nothing has happened yet."""
        self.plan = plan
        self.now = 0
        self.steps = 0
        self.spans: list[Span] = []
        self.waits: list[Wait] = []
        self.agenda: list[Event] = []
        self.batches = [
            Batch(
                number,
                ready=int(row["ready"]),
                passes=int(row["passes"]),
                prompt_room=int(row["prompt_room"]),
                room=int(row["room"]),
            )
            for number, row in enumerate(plan.batches)
        ]
        self.pipelines = [
            Pipeline(
                [
                    Server(int(track), plan.linked and place % 2 == 1)
                    for place, track in enumerate(tracks)
                    if track >= 0
                ],
                int(bounds["limit"]),
                int(bounds["capacity"]),
            )
            for tracks, bounds in zip(plan.tracks, plan.pipes, strict=True)
        ]
        self.interfaces = [Interface(int(track)) for track in plan.nic_tracks]
        self.queues = [
            Queue(deque(self.batches[number] for number in plan.queues[low:high].tolist()))
            for low, high in zip(plan.queue_start[:-1], plan.queue_start[1:], strict=True)
        ]
        self.landed: deque[Batch] = deque()
        self.moving: list[Part] = []
        for number, queue in enumerate(self.queues):
            self.agenda += [
                Event(batch.ready, Kind.ARRIVED, batch.number, number) for batch in queue.batches
            ]

    def play(self) -> World:
        """Go from instant to instant until nothing more is to come."""
        while not self.over() and (instants := list(self.instants())):
            self.now = min(instants)
            while not self.over():
                if self.settle():
                    continue
                due = [event for event in self.agenda if event.time == self.now]
                if not due:
                    break
                event = min(due)
                self.agenda.remove(event)
                self.take(event)
        return self

    def over(self) -> bool:
        """Return whether what is still to come is of no interest."""
        return False

    def instants(self) -> Iterator[int]:
        """Yield the times at which something is to happen."""
        yield from (event.time for event in self.agenda)
        yield from (part.end for part in self.moving)
        yield from (server.until for server in self.servers() if server.working)

    def servers(self) -> Iterator[Server]:
        """Yield all servers of all pipelines."""
        for pipeline in self.pipelines:
            yield from pipeline.servers

    def post(self, kind: Kind, batch: Batch, *, at: int | None = None, part: int = 0) -> None:
        """Put an event on the agenda, for now unless told otherwise."""
        self.agenda.append(Event(self.now if at is None else at, kind, batch.number, part))

    def wait(self, batch: Batch, since: int, cause: str, on: int | None, track: int | None) -> None:
        """Note that a batch waited until now, if it did."""
        if since < self.now:
            self.waits.append(Wait(batch.number, since, self.now, cause, on, track))

    # -- work: whatever ends is handed on, whoever is idle takes up the next -------------------

    def settle(self) -> bool:
        """Do one thing that is due without a decision; return whether there was one."""
        for pipeline in self.pipelines:
            for place, server in enumerate(pipeline.servers):
                if server.working and server.until <= self.now:
                    self.hand_on(pipeline, place)
                    return True
                if not server.working and server.queue:
                    self.take_up(server)
                    return True
        for part in self.moving:
            if part.end <= self.now:
                self.arrive(part)
                return True
        for interface in self.interfaces:
            if interface.line and self.may_leave(interface.line[0]):
                self.leave(interface.line[0])
                return True
        return False

    def take_up(self, server: Server) -> None:
        """Begin with the pass that has been ready longest."""
        work = server.working = server.queue.popleft()
        batch, phase = work.batch, 0 if work.prompt else 1
        took = int(self.plan.service[batch.number, 2 * phase + server.link])
        moved = int(self.plan.moved[batch.number, phase]) if server.link else None
        server.until = self.now + took
        name = "activation" if server.link else "prefill" if work.prompt else "decode"
        token = None if work.prompt else work.token
        self.spans.append(
            Span(self.now, took, server.track, name, batch.number, token, work.step, moved)
        )
        self.blame(server, work)
        server.past.append(Stay(batch.number, work.prompt, self.now, server.until))
        if work.place == 0 and work.prompt and batch.start is None:
            batch.start = self.now
        if work.place == 0 and work.token == 0 and batch.decode_start is None:
            batch.decode_start = self.now
        if work.prompt and not server.link:
            self.make_cache(work)

    def blame(self, server: Server, work: Pass) -> None:
        """Say for whom a pass waited: for each prompt, and for decodes in a row, as for the last.

        Somebody else was on the server all the time.
        """
        if server.link:
            last = server.past[-1].batch if server.past else None
            return self.wait(work.batch, work.ready, "link_busy", last, server.track)
        seen = [stay for stay in server.past if stay.end > work.ready]
        stretches = groupby(seen, key=lambda stay: stay.start if stay.prompt else -1)
        for prompt, stretch in stretches:
            stays = list(stretch)
            since, until = max(stays[0].start, work.ready), stays[-1].end
            cause = "behind_batch" if prompt < 0 else "behind_prompt"
            self.waits.append(
                Wait(work.batch.number, since, until, cause, stays[-1].batch, server.track)
            )
        assert sum(min(stay.end - work.ready, stay.end - stay.start) for stay in seen) == (
            self.now - work.ready
        ), "a server stood idle before work"
        return None

    def make_cache(self, work: Pass) -> None:
        """A prompt begins on a stage: each part of its KV cache may leave at a time now known."""
        batch = work.batch
        if not self.plan.split or batch.passes == 0:
            return
        stage = work.place // (2 if self.plan.linked else 1)
        batch.began[stage] = self.now
        service = int(self.plan.service[batch.number, 0])
        for number, part in enumerate(self.plan.parts):
            if part["stage"] == stage:
                done = service * int(part["first"]) // int(part["layers"])
                self.post(Kind.TRANSFER, batch, at=self.now + done, part=number)

    def hand_on(self, pipeline: Pipeline, place: int) -> None:
        """A pass has left a server: to the next one, or out of the pipeline."""
        server = pipeline.servers[place]
        work, server.working = server.working, None
        assert work is not None
        batch = work.batch
        if self.plan.split and work.prompt and place == 0:
            self.post(Kind.STAGE_FREE, batch)
        if place + 1 < len(pipeline.servers):
            work.place, work.ready = place + 1, self.now
            pipeline.servers[place + 1].queue.append(work)
            return
        batch.done += 1
        if batch.done > len(batch.ends):
            batch.ends.append(self.now)
        if batch.finished:
            self.post(Kind.FINISHED, batch)
        elif not (self.plan.split and work.prompt):
            self.post(Kind.PASS, batch)

    # -- transfers -------------------------------------------------------------------------------

    def may_leave(self, part: Part) -> bool:
        """Return whether a part is first in line at both its interfaces, and both are free."""
        sides = (part.out, part.into)
        return all(not side.busy and side.line[0] is part for side in sides)

    def leave(self, part: Part) -> None:
        """A part sets out: it ends no sooner than its last layer, done and sent, allows."""
        batch, row = part.batch, self.plan.parts[part.number]
        took, tail, nbytes = self.plan.part_work[batch.number, part.number].tolist()
        done = int(self.plan.service[batch.number, 0]) * int(row["last"]) // int(row["layers"])
        part.start = self.now
        part.end = max(self.now + took, batch.began[int(row["stage"])] + done + tail)
        held = part.out if part.out.last_end >= part.into.last_end else part.into
        part.behind = held.track, held.last_batch
        self.moving.append(part)
        self.hold(part.out, part, "kv_transfer", nbytes)
        if part.into is not part.out:  # else one link for both directions
            self.hold(part.into, part, "kv_receive", None)

    def hold(self, side: Interface, part: Part, name: str, moved: int | None) -> None:
        """A part takes its turn on an interface."""
        side.line.popleft()
        side.busy = True
        took = part.end - self.now
        self.spans.append(
            Span(self.now, took, side.track, name, part.batch.number, None, None, moved)
        )

    def arrive(self, part: Part) -> None:
        """A part has arrived; with the last of them the KV cache has landed."""
        self.moving.remove(part)
        for side in (part.out, part.into):
            side.busy, side.last_end, side.last_batch = False, part.end, part.batch.number
        part.arrived = True
        cache = part.batch.parts
        if len(cache) == len(self.plan.parts) and all(each.arrived for each in cache):
            self.post(Kind.LANDED, part.batch)

    # -- events ----------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Let an event have its effect."""
        batch = self.batches[event.batch]
        does: dict[Kind, Callable[[], None]] = {
            Kind.FINISHED: lambda: self.let_go(batch),
            Kind.LANDED: lambda: self.let_decode(batch),
            Kind.STAGE_FREE: lambda: self.free_stage(batch),
            Kind.ARRIVED: lambda: self.admit(event.part, None),
            Kind.TRANSFER: lambda: self.line_up(batch, event.part),
            Kind.PASS: lambda: self.enter(batch),
        }
        does[event.kind]()

    def let_go(self, batch: Batch) -> None:
        """A batch has ended: its place and room go to those who wait for them."""
        assert batch.pipe is not None
        pipeline = self.pipelines[batch.pipe]
        pipeline.in_flight -= 1
        if self.plan.split:
            self.pipelines[1].used -= batch.room
            if batch.passes == 0:
                self.pipelines[0].used -= batch.prompt_room
            elif self.landed:
                follower = self.landed.popleft()
                assert follower.kv_ready is not None
                self.wait(follower, follower.kv_ready, "queue", batch.number, None)
                self.start_decoding(follower)
        else:
            pipeline.used -= batch.room
        self.admit(batch.pipe if len(self.queues) > 1 else 0, batch)

    def let_decode(self, batch: Batch) -> None:
        """A KV cache has landed: it takes no more room where it came from."""
        prompt, token = self.pipelines
        prompt.used -= batch.prompt_room
        prompt.in_flight -= 1
        batch.kv_ready = self.now
        self.explain_transfer(batch)
        if token.in_flight < token.limit:
            self.start_decoding(batch)
        else:
            self.landed.append(batch)
        self.admit(0, batch)

    def explain_transfer(self, batch: Batch) -> None:
        """Say what a batch waited for since its prompt: the part that came last, or its link."""
        last = max(batch.parts, key=lambda part: part.end)
        since = batch.ends[0]
        start = max(last.start, since)
        track, behind = last.behind
        if since < start:
            self.waits.append(Wait(batch.number, since, start, "link_busy", behind, track))
        self.wait(batch, start, "transfer", None, last.out.track)

    def start_decoding(self, batch: Batch) -> None:
        """Give a batch whose KV cache has landed a place among those that decode."""
        batch.pipe = 1
        self.pipelines[1].in_flight += 1
        self.post(Kind.PASS, batch)

    def free_stage(self, batch: Batch) -> None:
        """The first prompt stage is done with a batch."""
        self.pipelines[0].stage_busy = False
        self.admit(0, batch)

    def line_up(self, batch: Batch, number: int) -> None:
        """A part of a KV cache wants to leave: it stands in line at both its interfaces."""
        row = self.plan.parts[number]
        out, into = self.interfaces[int(row["out"])], self.interfaces[int(row["into"])]
        part = Part(number, batch, out, into)
        batch.parts.append(part)
        out.line.append(part)
        if into is not out:
            into.line.append(part)

    def enter(self, batch: Batch) -> None:
        """A batch goes for its next pass: it queues before the first server."""
        assert batch.pipe is not None
        prompt = batch.done == 0
        work = Pass(batch, prompt, batch.done - 1, self.steps, self.now)
        self.steps += 1
        self.pipelines[batch.pipe].servers[0].queue.append(work)

    # -- admission -------------------------------------------------------------------------------

    def admit(self, number: int, by: Batch | None) -> None:
        """Let in whoever is at the head of a queue, as far as there are places and room."""
        queue = self.queues[number]
        while queue.batches and queue.batches[0].ready <= self.now:
            batch = queue.batches[0]
            pipe = self.place_for(number)
            cause = self.obstacle(pipe, batch)
            since = max(queue.since, batch.ready)
            if queue.cause and queue.cause != cause:
                self.wait(batch, since, queue.cause, by.number if by else None, None)
                since = self.now
            queue.since, queue.cause = since, cause
            if cause:
                return
            queue.batches.popleft()
            queue.since = self.now
            if queue.batches:
                follower = queue.batches[0]
                self.wait(follower, follower.ready, "queue", batch.number, None)
            self.let_in(batch, pipe)

    def place_for(self, queue: int) -> int:
        """Return the pipeline a queue leads to: its own, or of all the one with the fewest."""
        if self.plan.split or len(self.queues) > 1:
            return queue
        return min(range(len(self.pipelines)), key=lambda pipe: self.pipelines[pipe].in_flight)

    def obstacle(self, pipe: int, batch: Batch) -> str:
        """Return why a batch may not enter now, if so."""
        here = self.pipelines[pipe]
        if not self.plan.split:
            if here.in_flight == here.limit:
                return "queue"
            return "kv_room" if here.used + batch.room > here.capacity else ""
        if here.stage_busy:
            return "behind_prompt"
        token = self.pipelines[1]
        full = here.used + batch.prompt_room > here.capacity
        return "kv_room" if full or token.used + batch.room > token.capacity else ""

    def let_in(self, batch: Batch, pipe: int) -> None:
        """Give a batch its place and its room, and let it begin."""
        batch.pipe = pipe
        here = self.pipelines[pipe]
        here.in_flight += 1
        if self.plan.split:
            here.stage_busy = True
            here.used += batch.prompt_room
            self.pipelines[1].used += batch.room
        else:
            here.used += batch.room
        self.post(Kind.PASS, batch)
