"""The time ledger once more, moment by moment in plain Python: slow and obvious.

The definitions are those of the views `time_ledger`, `idle_causes` and
`pipeline_load`; nothing of their SQL is used.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from toolkit.trace.columns import NAMES

Row = Mapping[str, Any]
Piece = tuple[int, int, str]
"""From, until, cause."""

ENTERING = ("packing", "queue", "kv_room")


@dataclass
class Stay:
    """A microbatch in a pipeline."""

    entered: int
    since: int
    until: int


@dataclass
class Load:
    """A pipeline over time: at each change, what it lacks for one more microbatch."""

    times: list[int] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)

    def at(self, time: int) -> str:
        return self.lacks[bisect_right(self.times, time) - 1]

    def empty_within(self, since: int, until: int) -> bool:
        """Return whether the pipeline is empty at `since` or becomes so before `until`."""
        first = bisect_right(self.times, since) - 1
        return any(
            lack == "empty"
            for time, lack in zip(self.times[first:], self.lacks[first:], strict=True)
            if time < until
        )


class Oracle:
    """The ledger of one run from the rows of its tables; empty values are None."""

    def __init__(self, rows: Mapping[str, Sequence[Row]]) -> None:
        self.rows = rows
        self.machines = {row["machine"]: row for row in rows["machines"]}
        self.arrival = {row["request"]: row["arrival_ns"] for row in rows["requests"]}
        self.makespan = max(
            row["finish_ns"] for row in rows["requests"] if row["outcome"] == "served"
        )
        self.waits: dict[int, list[Row]] = defaultdict(list)
        for wait in rows["waits"]:
            self.waits[wait["request"]].append(wait)
        self.spans: dict[int, list[Row]] = defaultdict(list)
        for span in rows["spans"]:
            self.spans[span["track"]].append(span)
        self.batches = self._batches()
        self.pipelines = sorted({(row["role"], row["replica"]) for row in self.machines.values()})
        self.stages = {
            pipeline: sum(
                1
                for track in rows["tracks"]
                if track["kind"] == "stage" and self.pipeline(track) == pipeline
            )
            for pipeline in self.pipelines
        }
        self.engines = any(
            row["name"].startswith(("running", "waiting")) for row in rows["counter_defs"]
        )
        self.loads = {pipeline: self._load(*pipeline) for pipeline in self.pipelines}

    def pipeline(self, track: Row) -> tuple[str, int]:
        machine = self.machines[track["machine"]]
        return machine["role"], machine["replica"]

    def _batches(self) -> list[dict[str, Any]]:
        """Return each microbatch: when the first of its requests began, the last one ended."""
        members: dict[int, list[Row]] = defaultdict(list)
        for row in self.rows["requests"]:
            if row["outcome"] == "served":
                members[row["lead"]].append(row)

        def known(rows: Sequence[Row], column: str) -> list[int]:
            return [row[column] for row in rows if row[column] is not None]

        return [
            {
                "lead": lead,
                "replica": rows[0]["replica"],
                "arrival": self.arrival[lead],
                "first_arrival": min(row["arrival_ns"] for row in rows),
                "start": min(known(rows, "start_ns")),
                "prefill_end": max(known(rows, "prefill_end_ns")),
                "landed": max(known(rows, "kv_ready_ns"), default=None),
                "decode_start": min(known(rows, "decode_start_ns"), default=None),
                "finish": max(known(rows, "finish_ns")),
                "ready": max(
                    row["prefill_end_ns"] if row["kv_ready_ns"] is None else row["kv_ready_ns"]
                    for row in rows
                ),
            }
            for lead, rows in members.items()
        ]

    def _stays(self, role: str, replica: int) -> Iterator[Stay]:
        alike = sum(1 for each, _ in self.pipelines if each == role)
        for batch in self.batches:
            if not (alike == 1 or role == "prompt" or batch["replica"] == replica):
                continue
            waits = [w for w in self.waits[batch["lead"]] if NAMES[w["cause"]] in ENTERING]
            if role == "token":
                since, until, entered = batch["decode_start"], batch["finish"], batch["ready"]
                after = [
                    wait["until_ns"]
                    for wait in waits
                    if since is not None
                    and wait["from_ns"] >= batch["ready"]
                    and wait["until_ns"] <= since
                ]
            else:
                since, entered = batch["start"], batch["arrival"]
                until = batch["prefill_end"] if role == "prompt" else batch["finish"]
                after = [wait["until_ns"] for wait in waits if wait["until_ns"] <= since]
            if since is not None and since < until:
                yield Stay(min(max(after, default=entered), since), since, until)

    def _to_come(self, role: str, replica: int) -> Iterator[tuple[str, int, int]]:
        """Yield where those that are to enter a pipeline are, from when to when."""
        of = {row["request"]: row["replica"] for row in self.rows["requests"]}
        for request, waits in self.waits.items():
            for wait in waits:
                if NAMES[wait["cause"]] == "kv_room" and (
                    role == "prompt" or of[request] == replica
                ):
                    yield "kv_room", wait["from_ns"], wait["until_ns"]
        if role != "token":
            return
        for batch in self.batches:
            if batch["replica"] == replica and batch["landed"] is not None:
                yield "transfer", batch["prefill_end"], batch["landed"]
                yield "prompt", batch["start"], batch["prefill_end"]
                yield "queue", batch["first_arrival"], batch["start"]

    def _load(self, role: str, replica: int) -> Load:
        stays, load = list(self._stays(role, replica)), Load()
        coming = [each for each in self._to_come(role, replica) if each[1] < each[2]]
        times = {0}
        times |= {time for stay in stays for time in (stay.entered, stay.since, stay.until)}
        times |= {time for _, since, until in coming for time in (since, until)}
        most = 0
        for time in sorted(times):
            present = sum(stay.since <= time < stay.until for stay in stays)
            admitted = sum(stay.entered <= time < stay.until for stay in stays)
            most = admitted if present == 0 else max(most, admitted)
            where = {what for what, since, until in coming if since <= time < until}
            load.times.append(time)
            load.lacks.append(_lack(present, admitted, most, self.stages[role, replica], where))
        return load

    # -- the partition -----------------------------------------------------------------------

    def partition(self) -> dict[int, list[Piece]]:
        """Return the pieces of each stage and link between 0 and the makespan."""
        return {
            track["track"]: _merged(
                self._stage(track) if track["kind"] == "stage" else self._link(track)
            )
            for track in self.rows["tracks"]
            if track["kind"] != "lane"
        }

    def _link(self, track: Row) -> Iterator[Piece]:
        now = 0
        for span in sorted(self.spans[track["track"]], key=lambda span: span["ts_ns"]):
            yield now, span["ts_ns"], "no_work"
            now = span["ts_ns"] + span["dur_ns"]
            yield span["ts_ns"], now, "transfer"
        yield now, self.makespan, "no_work"

    def _stage(self, track: Row) -> Iterator[Piece]:
        def order(span: Row) -> tuple[int, ...]:
            step = -1 if span["step"] is None else span["step"]
            end = span["ts_ns"] + span["dur_ns"]
            # Where no step says whose turn it is, nulls come last.
            return (span["ts_ns"], end, span["step"] is None, step, span["request"])

        now = 0
        for span in sorted(self.spans[track["track"]], key=order):
            yield from self._pause(track, now, span["ts_ns"], span)
            now = span["ts_ns"] + span["dur_ns"]
            name = NAMES[span["name"]]
            cause = name if name in ("prefill", "decode", "mixed") else "other"
            yield span["ts_ns"], now, "swapping" if name.startswith("swap_") else cause
        yield from self._pause(track, now, self.makespan, None)

    def _pause(self, track: Row, since: int, until: int, span: Row | None) -> Iterator[Piece]:
        """Cut a pause at every moment at which anything about it may change."""
        if since >= until:
            return
        load = self.loads[self.pipeline(track)]
        cuts = {since, until, *load.times, *self.arrival.values()}
        cuts |= {
            row[column]
            for row in self.rows["requests"]
            for column in ("start_ns", "prefill_end_ns", "decode_start_ns", "finish_ns")
            if self.engines and row[column] is not None
        }
        cuts |= {time for waits in self.waits.values() for w in waits
                 for time in (w["from_ns"], w["until_ns"])}  # fmt: skip
        cuts |= {link["ts_ns"] for link in self._links_into(span, until)}
        inside = sorted(cut for cut in cuts if since <= cut <= until)
        for begin, end in pairwise(inside):
            yield begin, end, self._cause(track, begin, since, until, span)

    def _links_into(self, span: Row | None, until: int) -> list[Row]:
        if span is None or span["step"] is None:
            return []
        return [
            each
            for track in self.rows["tracks"]
            if track["kind"] == "link"
            for each in self.spans[track["track"]]
            if NAMES[each["name"]] == "activation"
            and each["step"] == span["step"]
            and each["ts_ns"] + each["dur_ns"] == until
        ]

    def _engine_cause(self, replica: int, time: int) -> str:
        """Return why an engine stands still at a time: what is not there."""
        on_link = for_room = here = in_prompt = False
        for row in self.rows["requests"]:
            if row["outcome"] != "served":
                continue
            prompts, decodes = row["prompt_replica"], row["replica"]
            prompts = decodes if prompts is None else prompts
            moved = prompts != decodes
            if prompts == replica:
                here |= row["start_ns"] <= time < row["prefill_end_ns" if moved else "finish_ns"]
            elif decodes == replica:
                here |= row["decode_start_ns"] <= time < row["finish_ns"]
                in_prompt |= row["arrival_ns"] <= time < row["prefill_end_ns"]
            for wait in self.waits[row["request"]]:
                if wait["from_ns"] <= time < wait["until_ns"]:
                    where = prompts if wait["from_ns"] < row["start_ns"] else decodes
                    cause = NAMES[wait["cause"]] if where == replica else ""
                    on_link |= cause in ("transfer", "link_busy")
                    for_room |= cause == "kv_room"
        if on_link:
            return "blocked_transfer"
        if for_room or here:
            return "blocked_kv"
        return "starved" if in_prompt else "no_work"

    def _cause(self, track: Row, time: int, since: int, until: int, span: Row | None) -> str:
        role, replica = self.pipeline(track)
        if self.engines:
            return self._engine_cause(replica, time)
        load = self.loads[self.pipeline(track)]
        lack, state = load.at(time), self._state(time, until, span)
        if any(
            NAMES[wait["cause"]] == "head_of_line"
            and wait["on_track"] == track["track"]
            and wait["until_ns"] == until
            and wait["from_ns"] <= time
            for waits in self.waits.values()
            for wait in waits
        ):
            return "head_of_line"
        if state == "kv_room":
            return "blocked_kv"
        if state in ("transfer", "link_busy"):
            return "blocked_transfer"
        if lack == "empty":
            here = state not in ("nobody", "absent", "packing")
            return "starved" if here and role == "token" else "no_work"
        if since == 0 or load.empty_within(since, time + 1):
            return "fill"
        if span is None or load.empty_within(time, until):
            return "drain"
        if state == "handed_over":
            return "blocked_transfer"
        if state in ("behind_prompt", "behind_batch") or lack == "nothing":
            return "imbalance"
        return {"transfer": "blocked_transfer", "prompt": "starved", "kv_room": "blocked_kv"}.get(
            lack, lack
        )

    def _state(self, time: int, until: int, span: Row | None) -> str:
        """Return what the microbatch that comes next does at a time."""
        if span is None or span["request"] is None:  # nobody, or an engine's step of several
            return "nobody"
        if any(link["ts_ns"] <= time for link in self._links_into(span, until)):
            return "handed_over"
        for wait in self.waits[span["request"]]:
            if wait["from_ns"] <= time < wait["until_ns"]:
                return NAMES[wait["cause"]]
        return "absent" if time < self.arrival[span["request"]] else "on_its_way"


def _lack(present: int, admitted: int, most: int, stages: int, where: set[str]) -> str:
    if present == 0:
        return "empty"
    if admitted >= stages:
        return "nothing"
    for place, name in (
        ("transfer", "transfer"),
        ("prompt", "prompt"),
        ("kv_room", "kv_room"),
        ("queue", "prompt"),
    ):
        if place in where:
            return name
    return "early_stop" if admitted < most else "fill"


def _merged(pieces: Iterator[Piece]) -> list[Piece]:
    """Return pieces with neighbours of one cause made one, and those of no length left out."""
    return merged(piece for piece in pieces if piece[0] < piece[1])


def merged(pieces: Any) -> list[Piece]:
    """Return sorted pieces with neighbours of one cause made one."""
    found: list[Piece] = []
    for since, until, cause in pieces:
        if found and found[-1][1] == since and found[-1][2] == cause:
            found[-1] = (found[-1][0], until, cause)
        else:
            found.append((since, until, cause))
    return found
