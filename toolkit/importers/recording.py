"""What a foreign trace says, as columns, before it becomes a store.

A reader fills a :class:`Recording`: tracks and slices of them, counters,
flows, and requests where the source knows them.  Slices are columns of 64-bit
integers, 72 bytes each; what is read is never kept as objects.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.trace.columns import NULL

__all__ = ["LIMIT_NS", "Interned", "Ints", "Machine", "Recording", "Track"]

Ints = npt.NDArray[np.int64]

LIMIT_NS = 1 << 62
"""Times of a larger size, 146 years, are refused: their sums would not fit 64 bits."""

_SLICE = ("ts", "dur", "track", "name", "request", "token", "step", "bytes", "depth")


class Interned:
    """Things numbered in the order in which they first come up."""

    def __init__(self) -> None:
        """Start with none."""
        self._numbers: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, thing: Hashable) -> int:
        """Return the number of a thing, a new one for a new thing."""
        return self._numbers.setdefault(thing, len(self._numbers))

    @property
    def things(self) -> list[Any]:
        """All of them, by number."""
        return list(self._numbers)


@dataclass(slots=True)
class Machine:
    """What a machine of the trace is called, and its place in a pipeline."""

    name: str
    role: str = "colocated"
    replica: int = 0
    stage: int = 0
    memory_bytes: float | None = None


@dataclass(slots=True)
class Track:
    """One thing that did one job at a time: its machine's key, its name, its kind."""

    machine: Hashable
    name: str
    kind: str
    order: tuple[Any, ...] = ()
    """Where it stands among the tracks of its kind."""
    number: int | None = None
    """Its key: as it was in the store that this trace was rendered from, else given at the end."""
    index: int | None = None


@dataclass
class Recording:
    """Everything a reader found; keys of tracks, names and requests are positions in lists."""

    tracks: list[Track] = field(default_factory=list)
    machines: dict[Hashable, Machine] = field(default_factory=dict)
    names: Interned = field(default_factory=Interned)
    request_ids: Interned = field(default_factory=Interned)
    columns: dict[str, array[int]] = field(
        default_factory=lambda: {name: array("q") for name in _SLICE}
    )
    counters: list[tuple[Hashable, str, str, str]] = field(default_factory=list)
    """Machine key or None, name, unit and share key of each counter."""
    counter_ts: array[int] = field(default_factory=lambda: array("q"))
    counter: array[int] = field(default_factory=lambda: array("q"))
    counter_value: array[float] = field(default_factory=lambda: array("d"))
    flow_ids: Interned = field(default_factory=Interned)
    flow: array[int] = field(default_factory=lambda: array("q"))
    flow_slice: array[int] = field(default_factory=lambda: array("q"))
    """Row of the slice that a flow joins."""
    requests: dict[str, npt.NDArray[Any]] | None = None
    """Columns of the table `requests`, times not yet shifted, where the source has requests."""
    inside: dict[str, npt.NDArray[Any]] | None = None
    """Slices to be drawn on the lanes of requests, inside their phases."""
    discipline: str = "event"
    title: str = ""
    origin: str = "auto"
    """Whether the source's times are kept: `source`, `first_event` or `auto`."""
    own: bool = False
    """Whether it is a rendering of one of our stores."""
    end_ns: int | None = None
    """When the run ended by the source's clock, where that is not its last span or token."""
    machine_count: int | None = None
    price_usd_per_hour: float | None = None
    notes: list[str] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)
    """What the views would need and the source does not say."""

    def __len__(self) -> int:
        return len(self.columns["ts"])

    def add(
        self,
        ts: int,
        dur: int,
        track: int,
        name: int,
        request: int = NULL,
        token: int = NULL,
        step: int = NULL,
        size: int = NULL,
        depth: int = NULL,
    ) -> int:
        """Keep a slice and return its row; a depth of NULL is worked out from the times."""
        columns = self.columns
        row = len(columns["ts"])
        columns["ts"].append(ts)
        columns["dur"].append(dur)
        columns["track"].append(track)
        columns["name"].append(name)
        columns["request"].append(request)
        columns["token"].append(token)
        columns["step"].append(step)
        columns["bytes"].append(size)
        columns["depth"].append(depth)
        return row

    def count(self, key: int, ts: int, value: float) -> None:
        """Keep a change of a counter."""
        self.counter.append(key)
        self.counter_ts.append(ts)
        self.counter_value.append(value)

    def absorb(self, other: Recording, shift_ns: int) -> None:
        """Add what another recording has, its times moved by `shift_ns`; it is used up."""
        rows, tracks, counters = len(self), len(self.tracks), len(self.counters)
        names = np.array([self.names.number(text) for text in other.names.things] or [0], np.int64)
        slices = other.slices()
        slices["ts"] = slices["ts"] + shift_ns
        slices["track"] = slices["track"] + tracks
        slices["name"] = names[slices["name"]]
        self.extend(slices)
        self.tracks += other.tracks
        self.machines |= other.machines
        self.counters += other.counters
        self.counter_ts.extend(ts + shift_ns for ts in other.counter_ts)
        self.counter.extend(key + counters for key in other.counter)
        self.counter_value.extend(other.counter_value)
        flows = len(self.flow_ids)
        for key in other.flow_ids.things:
            self.flow_ids.number((flows, key))
        self.flow.extend(key + flows for key in other.flow)
        self.flow_slice.extend(row + rows for row in other.flow_slice)
        self.notes += [note for note in other.notes if note not in self.notes]

    def note_left_out(self, counts: Mapping[str, int]) -> None:
        """Say what the source has and the store has not."""
        if counts:
            said = ", ".join(f"{what} ({count:,})" for what, count in sorted(counts.items()))
            self.notes.append(f"Left out: {said}.")

    def drop_counter(self, dropped: int) -> None:
        """Leave out a counter and its values."""
        kept = [at for at, key in enumerate(self.counter) if key != dropped]
        self.counter_ts = array("q", [self.counter_ts[at] for at in kept])
        self.counter_value = array("d", [self.counter_value[at] for at in kept])
        self.counter = array("q", [self.counter[at] - (self.counter[at] > dropped) for at in kept])
        del self.counters[dropped]

    def slices(self) -> dict[str, Ints]:
        """Return the slices as numpy columns."""
        return {name: np.array(column, np.int64) for name, column in self.columns.items()}

    def extend(self, columns: dict[str, Ints]) -> None:
        """Keep many slices at once; columns that are missing are empty."""
        rows = len(columns["ts"])
        for name in _SLICE:
            values = columns.get(name)
            filled = np.full(rows, NULL, np.int64) if values is None else values
            self.columns[name].frombytes(np.ascontiguousarray(filled, np.int64).tobytes())
