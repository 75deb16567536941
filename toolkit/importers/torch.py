"""PyTorch profiler traces (Kineto) of one rank or several: steps, GPU streams, host threads.

A rank is a machine.  A GPU stream with kernels or copies is a stage, one with
nothing but collectives a link; host threads, and annotations drawn over a
stream, are threads.  A span's step is the number of the `ProfilerStep#` around
it, for a kernel around its launch.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from toolkit.importers.chrome import natural
from toolkit.importers.json_events import EventFile
from toolkit.importers.recording import Ints, Machine, Recording, Track
from toolkit.importers.rules import Meaning, Rules
from toolkit.importers.source import Source
from toolkit.importers.timeline import Timeline, integer
from toolkit.trace.columns import NULL

__all__ = ["read"]

_DEVICE = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
_OVER_DEVICE = frozenset({"gpu_user_annotation", "cuda_sync"})
_STEP = re.compile(r"ProfilerStep\s*#(\d{1,9})")
_COLLECTIVE = re.compile(r"(?i).*(nccl|rccl|oneccl)")


def read(sources: Sequence[Source], rules: Rules) -> Recording:
    """Return what the files of one job's ranks say, on one clock."""
    whole = Recording(
        title=rules.title,
        origin="first_event" if rules.zero == "auto" else rules.zero,
        price_usd_per_hour=rules.price_usd_per_hour,
        machine_count=rules.machines,
    )
    seen: dict[int, Source] = {}
    for place, source in enumerate(sources):
        rank = _Rank(source, rules, place)
        recording = rank.read()
        if rank.number in seen:
            raise source.wrong(
                "distributedInfo.rank",
                "expected each rank once",
                f"rank {rank.number}, as in {seen[rank.number].path}",
            )
        seen[rank.number] = source
        whole.absorb(recording, rank.base_ns)
    if not any(track.kind == "stage" for track in whole.tracks):
        whole.lacks.append("GPU work: the trace is of the host alone")
    return whole


class _Rank:
    """One rank's file."""

    def __init__(self, source: Source, rules: Rules, place: int) -> None:
        self.source = source
        self.number = place
        self.base_ns = 0
        self.memory: float | None = None
        self._timeline = Timeline(replace(rules, zero="source"), source.wrong)
        self._timeline.meaning = self._meaning
        self._timeline.left_out = "marks of the profiler's own"
        self._device: set[tuple[Hashable, Hashable]] = set()
        self._launches: dict[str, array[int]] = {
            name: array("q") for name in ("correlation", "row", "device")
        }
        self._steps: dict[str, array[int]] = {name: array("q") for name in ("row", "step")}

    def read(self) -> Recording:
        """Return what the file says, by its own clock."""
        file = EventFile(self.source)
        for event in file:
            category = event.get("cat")
            if category in _DEVICE:
                self._device.add((event.get("pid", 0), event.get("tid", 0)))
            elif category in _OVER_DEVICE:  # they lie around kernels, and are none
                event["pid"] = ("over", str(event.get("pid", 0)))
            self._timeline.feed(event)
        self._about(file.about)
        recording = self._timeline.finish(self._tracks)
        self._number_steps(recording)
        return recording

    def _meaning(self, name: str, category: str, args: Mapping[str, Any]) -> Meaning | None:
        if category == "Trace":  # the time in which the profiler was on
            return None
        row = len(self._timeline.recording)
        if category == "user_annotation" and (found := _STEP.fullmatch(name)):
            self._steps["row"].append(row)
            self._steps["step"].append(int(found[1]))
        correlation = integer(args.get("correlation"))
        if correlation > 0:
            for column, value in zip(
                self._launches.values(), (correlation, row, category in _DEVICE), strict=True
            ):
                column.append(value)
        return Meaning(name, bytes=args.get("bytes") if category in _DEVICE else None)

    def _about(self, about: Mapping[str, Any]) -> None:
        distributed, devices = about.get("distributedInfo"), about.get("deviceProperties")
        if isinstance(distributed, Mapping) and integer(distributed.get("rank")) != NULL:
            self.number = integer(distributed["rank"])
        if isinstance(devices, list) and devices and isinstance(devices[0], Mapping):
            size = integer(devices[0].get("totalGlobalMem"))
            self.memory = float(size) if size > 0 else None
        self.base_ns = max(integer(about.get("baseTimeNanoseconds")), 0)

    def _tracks(self, timeline: Timeline) -> None:
        recording = timeline.recording
        rank = ("rank", self.number)
        recording.machines[rank] = Machine(
            f"rank {self.number}", "colocated", self.number, 0, self.memory
        )
        carries = _carries_collectives_only(recording, len(timeline.keys))
        host = 0
        for number, (pid, tid) in enumerate(timeline.keys.things):
            named = timeline.thread_names.get((pid, tid), "")
            if (pid, tid) in self._device:
                kind, name = ("link" if carries[number] else "stage"), f"gpu {pid} stream {tid}"
            elif isinstance(pid, tuple):
                kind, name = "thread", f"gpu {pid[1]} stream {tid}, annotations"
            else:
                host += 1
                kind, name = "thread", named or f"thread {tid}"
            order = (self.number, kind == "thread" and not isinstance(pid, tuple), natural(name))
            recording.tracks.append(Track(rank, f"r{self.number} {name}", kind, order))
        for pid, name, unit in timeline.counter_keys.things:
            recording.counters.append((rank, f"{name} ({pid})", unit, name))

    def _number_steps(self, recording: Recording) -> None:
        """Write the step of every span that begins within one, or was launched there."""
        if not len(self._steps["row"]):
            return
        columns = recording.slices()
        rows = np.array(self._steps["row"], np.int64)
        steps = np.array(self._steps["step"], np.int64)
        order = np.argsort(columns["ts"][rows], kind="stable")
        rows, steps = rows[order], steps[order]
        begin, end = columns["ts"][rows], columns["ts"][rows] + columns["dur"][rows]

        def around(times: Ints) -> Ints:
            place = np.searchsorted(begin, times, side="right") - 1
            inside = (place >= 0) & (times < end[place])
            return np.where(inside, steps[place], NULL)

        found = around(columns["ts"])
        launch = {name: np.array(values, np.int64) for name, values in self._launches.items()}
        device = launch["device"] == 1
        if device.any() and (~device).any():
            keys, first = np.unique(launch["correlation"][~device], return_index=True)
            launched_at = columns["ts"][launch["row"][~device][first]]
            place = np.minimum(np.searchsorted(keys, launch["correlation"][device]), len(keys) - 1)
            known = keys[place] == launch["correlation"][device]
            found[launch["row"][device][known]] = around(launched_at[place[known]])
        recording.columns["step"] = array("q", found.tobytes())


def _carries_collectives_only(recording: Recording, tracks: int) -> list[bool]:
    columns = recording.slices()
    collective = np.array(
        [_COLLECTIVE.match(str(text)) is not None for text in recording.names.things] or [False]
    )
    others = np.bincount(columns["track"][~collective[columns["name"]]], minlength=tracks)
    every = np.bincount(columns["track"], minlength=tracks)
    return [bool(one) for one in (every > 0) & (others == 0)]
