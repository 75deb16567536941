"""A recording to the tables of a store: one zero, tracks in order, depths, totals, requests."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import InputError
from toolkit.importers.lanes import with_lanes
from toolkit.importers.nesting import nest, ordered
from toolkit.importers.recording import Ints, Recording, Track
from toolkit.importers.requests import derived, shown_ids
from toolkit.trace.columns import NULL, TABLES, Chunk, empty

__all__ = ["Laid", "lay_out"]

_KINDS = ("stage", "link", "thread", "lane")
_INT32 = np.iinfo(np.int32).max
_AT_ONCE = 250_000

Columns = dict[str, npt.NDArray[Any]]


@dataclass
class Laid:
    """A recording as a store has it: chunks, and what the manifest says of it."""

    chunks: list[Chunk]
    spans: Columns
    facts: dict[str, Any]
    end_ns: int
    level: str
    request_ids: list[Any] | None
    """The source's own ids by our keys, where they are others."""

    def stream(self) -> Iterator[Chunk]:
        """Yield everything, the spans in pieces."""
        yield from self.chunks
        rows = len(self.spans["ts_ns"])
        for first in range(0, rows, _AT_ONCE):
            here = slice(first, first + _AT_ONCE)
            yield Chunk("spans", {name: values[here] for name, values in self.spans.items()})


def lay_out(recording: Recording, file: str) -> Laid:
    """Return the tables of a recording; it is used up.

    Raises `InputError` where it holds nothing that a store can keep.
    """
    notes = recording.notes
    keys, ids = shown_ids(recording)
    if recording.requests is None:
        recording.requests = derived(recording, keys)
    else:
        recording.requests = with_lanes(recording, keys)
    slices = recording.slices()
    slices["request"] = np.where(
        slices["request"] == NULL, NULL, keys[slices["request"]] if len(keys) else NULL
    )
    if not len(slices["ts"]) and not len(recording.requests["request"]):
        raise InputError.one(
            file,
            "",
            "expected something that took time: spans or requests",
            f"{len(recording.counter_ts)} counter values and nothing else",
            "see docs/importing.md for what each kind of file is read for",
        )
    spans, row_of, tracks = _placed(recording, slices)
    zero = _shift(recording, spans)
    requests = recording.requests
    if "outcome" not in requests:
        requests["outcome"] = _outcomes(recording, requests["finish_ns"])
    machines = _machines(recording, tracks)
    if "lane_track" in requests:
        lanes = requests.pop("lane_track")
        number = np.array(
            [NULL if track.number is None else track.number for track in recording.tracks] or [NULL]
        )
        requests["lane"] = np.where(lanes == NULL, NULL, number[lanes])
    end = int((spans["ts_ns"] + spans["dur_ns"]).max(initial=0))
    end = max(end, *(int(requests[name].max(initial=0)) for name in _times(requests)))
    if recording.end_ns is not None:
        end = max(end, recording.end_ns - zero)
    chunks = [
        _machine_chunk(recording, machines),
        _track_chunk(recording, tracks, machines),
        Chunk(
            "names",
            {
                "name": np.arange(len(recording.names), dtype=np.int32),
                "text": [str(text) for text in recording.names.things],
            },
        ),
        *_counter_chunks(recording, machines, zero),
        _request_chunk(requests),
        _flow_chunk(recording, spans, row_of),
        _totals(spans),
        _wait_chunk(recording, zero),
    ]
    typed = {
        column.name: spans[column.name].astype(column.type) for column in TABLES["spans"].columns
    }
    facts = {
        "link_model": "unknown",
        "memory": [],
        "outside_table": [],
        "lacks": recording.lacks,
        "notes": notes,
        "zero_ns": zero,
        "price_usd_per_hour": recording.price_usd_per_hour,
        "machines": recording.machine_count,
    }
    return Laid(chunks, typed, facts, end, "full" if len(spans["ts_ns"]) else "requests", ids)


def _outcomes(recording: Recording, finish: Ints) -> npt.NDArray[Any]:
    """Return what became of requests by whether they have an end."""
    if unfinished := int((finish == NULL).sum()):
        recording.notes.append(f"Requests without an end ({unfinished:,}) count as failed.")
    return np.where(finish == NULL, "failed", "served")


def _placed(recording: Recording, slices: dict[str, Ints]) -> tuple[Columns, Ints, list[Track]]:
    """Return the spans in the store's order, where each slice went, and the tracks in order."""
    order = ordered(slices["ts"], slices["dur"], slices["track"])
    ignored = np.array([track.kind == "ignore" for track in recording.tracks] or [False])
    if ignored.any():
        dropped = ignored[slices["track"][order]]
        order = order[~dropped]
        recording.note_left_out({"spans of tracks that the rules name": int(dropped.sum())})
    slices = {name: values[order] for name, values in slices.items()}
    split = np.zeros(len(order), np.int64)
    if (slices["depth"] == NULL).any():
        found = nest(slices["ts"], slices["dur"], slices["track"], _resolution(slices))
        slices["depth"], split = found.depth, found.overflow
        if found.trimmed:
            recording.notes.append(
                f"Spans that ended after their neighbour began ({found.trimmed:,}), by no more "
                "than the clock resolves, are cut there."
            )
    if int(slices["depth"].max(initial=0)) > 127:
        recording.notes.append("Spans more than 127 deep are left out.")
        kept = slices["depth"] <= 127
        slices = {name: values[kept] for name, values in slices.items()}
        split, order = split[kept], order[kept]
    tracks, number = _numbered(recording, slices["track"], split)
    base = slices["track"] * (int(split.max(initial=0)) + 1) + split
    slices["track"] = number[base]
    by_time = np.lexsort((np.arange(len(order)), slices["track"], slices["ts"]))
    row_of = np.full(len(recording), NULL, np.int64)
    row_of[order[by_time]] = np.arange(len(order))
    renamed = {"ts": "ts_ns", "dur": "dur_ns"}
    spans = {renamed.get(name, name): values[by_time] for name, values in slices.items()}
    for name in ("token", "step"):
        wide = spans[name] > _INT32
        if wide.any():
            spans[name] = np.where(wide, NULL, spans[name])
            recording.notes.append(
                f"Values of {name} beyond 32 bits ({int(wide.sum())}) are empty."
            )
    return spans, row_of, tracks


def _resolution(slices: dict[str, Ints]) -> int:
    """Return how finely the source tells time: whole microseconds, or nanoseconds."""
    whole = not (slices["ts"] % 1000).any() and not (slices["dur"] % 1000).any()
    return 1000 if whole and len(slices["ts"]) > 1 else 1


def _numbered(recording: Recording, track: Ints, split: Ints) -> tuple[list[Track], Ints]:
    """Return the tracks in the order of their keys, and the key of each (track, split)."""
    width = int(split.max(initial=0)) + 1
    used = set(np.unique(track * width + split).tolist())
    places: list[tuple[Any, int, Track]] = []
    for at, one in enumerate(recording.tracks):
        for level in range(width if one.kind != "ignore" else 0):
            if level and at * width + level not in used:
                continue
            made = one
            if level:
                made = Track(one.machine, f"{one.name} ({level + 1})", one.kind, one.order)
            key = (_KINDS.index(one.kind), one.order, at, level)
            places.append((key, at * width + level, made))
    kept = recording.own and width == 1 and all(one.number is not None for one in recording.tracks)
    places.sort(key=lambda place: place[2].number or 0 if kept else place[0])
    if any(used) and width > 1:
        extra = sum(1 for value in used if value % width)
        recording.notes.append(
            f"Spans of one track that cross are on more tracks ({extra}), named (2) and on."
        )
    number = np.full(max(len(recording.tracks) * width, 1), NULL, np.int64)
    for place, (_, base, made) in enumerate(places):
        shown = made.number if kept and made.number is not None else place
        number[base] = made.number = shown
    return [made for _, _, made in places], number


def _shift(recording: Recording, spans: Columns) -> int:
    """Move every time to one zero and return it, by the source's clock."""
    requests = recording.requests or {}
    firsts = [
        int(values.min())
        for values in (
            spans["ts_ns"],
            *(requests[name][requests[name] != NULL] for name in _times(requests)),
        )
        if len(values)
    ] or [0]
    lasts = [int((spans["ts_ns"] + spans["dur_ns"]).max(initial=0))]
    first, last = min(firsts), max([*lasts, *firsts])
    zero = first
    if recording.origin == "source" or (
        recording.origin == "auto" and first >= 0 and first <= 10 * max(last - first, 1)
    ):
        zero = min(0, first)
    if zero:
        spans["ts_ns"] = spans["ts_ns"] - zero
        for name in _times(requests):
            requests[name] = np.where(requests[name] == NULL, NULL, requests[name] - zero)
        recording.notes.append(f"Time 0 is {zero} ns of the source's clock.")
    return zero


def _times(requests: Mapping[str, Any]) -> list[str]:
    return [name for name in requests if name.endswith("_ns")]


def _machines(recording: Recording, tracks: list[Track]) -> dict[Hashable, int]:
    """Return the number of each machine that has a track or a counter."""
    used = {one.machine for one in tracks if one.machine is not None}
    used |= {key[0] for key in recording.counters}
    return {key: number for number, key in enumerate(k for k in recording.machines if k in used)}


def _machine_chunk(recording: Recording, machines: Mapping[Hashable, int]) -> Chunk:
    rows = [recording.machines[key] for key in machines]
    nothing = np.full(len(rows), np.nan)
    price = recording.price_usd_per_hour
    memory = [np.nan if row.memory_bytes is None else row.memory_bytes for row in rows]
    return Chunk(
        "machines",
        {
            "machine": np.arange(len(rows), dtype=np.int32),
            "name": [row.name for row in rows],
            "role": [row.role for row in rows],
            "replica": np.array([row.replica for row in rows], np.int32),
            "stage": np.array([row.stage for row in rows], np.int32),
            "layers": nothing,
            "weights_bytes": nothing,
            "memory_bytes": np.array(memory, np.float64),
            "price_usd_per_hour": np.full(len(rows), np.nan if price is None else price),
        },
    )


def _track_chunk(
    recording: Recording, tracks: list[Track], machines: Mapping[Hashable, int]
) -> Chunk:
    index: list[int] = []
    seen: dict[str, int] = {}
    for one in tracks:
        machine = recording.machines.get(one.machine)
        place = machine.stage if one.kind == "stage" and machine else seen.get(one.kind, 0)
        index.append(place if one.index is None else one.index)
        seen[one.kind] = seen.get(one.kind, 0) + 1
    return Chunk(
        "tracks",
        {
            "track": np.array([one.number for one in tracks], np.int32),
            "kind": [one.kind for one in tracks],
            "machine": np.array([machines.get(one.machine, NULL) for one in tracks], np.int32),
            "index": np.array(index, np.int32),
            "name": _unique_names(recording, tracks),
            "rank": np.arange(len(tracks), dtype=np.int32),
        },
    )


def _unique_names(recording: Recording, tracks: list[Track]) -> list[str]:
    """Return names unique within their kind: with the machine's before them where needed."""
    taken: dict[tuple[str, str], int] = {}
    for one in tracks:
        taken[one.kind, one.name] = taken.get((one.kind, one.name), 0) + 1
    names: list[str] = []
    given: set[tuple[str, str]] = set()
    for one in tracks:
        machine = recording.machines.get(one.machine)
        name = one.name
        if taken[one.kind, one.name] > 1 and machine is not None:
            name = f"{machine.name} {one.name}"
        number, shown = 2, name
        while (one.kind, shown) in given:
            shown, number = f"{name} [{number}]", number + 1
        given.add((one.kind, shown))
        names.append(shown)
    return names


def _counter_chunks(
    recording: Recording, machines: Mapping[Hashable, int], zero: int
) -> Iterator[Chunk]:
    keys = recording.counters
    yield Chunk(
        "counter_defs",
        {
            "counter": np.arange(len(keys), dtype=np.int32),
            "machine": np.array([machines.get(key[0], NULL) for key in keys], np.int32),
            "name": [str(key[1]) for key in keys],
            "unit": [str(key[2]) for key in keys],
            "share_key": [str(key[3]) for key in keys],
        },
    )
    ts = np.array(recording.counter_ts, np.int64) - zero
    order = np.lexsort((np.arange(len(ts)), np.array(recording.counter, np.int64), ts))
    kept = order[ts[order] >= 0]
    if len(kept) < len(ts):
        recording.note_left_out({"counter values before time 0": len(ts) - len(kept)})
    yield Chunk(
        "counters",
        {
            "ts_ns": ts[kept],
            "counter": np.array(recording.counter, np.int32)[kept],
            "value": np.array(recording.counter_value, np.float64)[kept],
        },
    )


def _request_chunk(requests: Mapping[str, npt.NDArray[Any]]) -> Chunk:
    rows = len(requests["request"])
    columns: dict[str, Any] = {}
    for column in TABLES["requests"].columns:
        if column.optional and column.name not in requests:
            continue
        if column.type == "string":
            columns[column.name] = list(requests.get(column.name, ["served"] * rows))
        else:
            default = np.full(rows, 1 if column.name == "size" else NULL)
            columns[column.name] = requests.get(column.name, default).astype(column.type)
    return Chunk("requests", columns)


def _flow_chunk(recording: Recording, spans: Columns, row_of: Ints) -> Chunk:
    """Return the slices of flows (foreign ones: of two or more).

    The ordinal counts the spans of one track and start.
    """
    if not len(recording.flow):
        return empty("flows")
    flow = np.array(recording.flow, np.int64)
    row = row_of[np.array(recording.flow_slice, np.int64)]
    flow, row = flow[row != NULL], row[row != NULL]
    sizes = np.bincount(flow, minlength=1)
    kept = sizes[flow] > (0 if recording.own else 1)
    flow, row = flow[kept], row[kept]
    if not len(flow):
        return empty("flows")
    # Rows are sorted by (ts, track): the ordinal is the distance to the first of a kind.
    ts, track = spans["ts_ns"], spans["track"]
    new = np.concatenate([[True], (ts[1:] != ts[:-1]) | (track[1:] != track[:-1])])
    first = np.maximum.accumulate(np.where(new, np.arange(len(ts)), 0))
    ids = recording.flow_ids.things
    plain = all(type(each) is int and 0 <= each < _INT32 for each in ids)
    key = np.array(ids, np.int64)[flow] if plain else flow
    by_key = np.lexsort((np.arange(len(key)), key))
    key, row = key[by_key], row[by_key]
    begins = np.concatenate([[True], key[1:] != key[:-1]])
    place = np.arange(len(key)) - np.maximum.accumulate(np.where(begins, np.arange(len(key)), 0))
    return Chunk(
        "flows",
        {
            "flow": key.astype(np.int32),
            "order": place.astype(np.int32),
            "track": track[row].astype(np.int32),
            "ts_ns": ts[row],
            "ordinal": (row - first[row]).astype(np.int32),
        },
    )


def _totals(spans: Columns) -> Chunk:
    """Return what the spans of depth 0 add up to by track and name."""
    top = spans["depth"] == 0
    track, name = spans["track"][top], spans["name"][top]
    if not len(track):
        return empty("totals")
    width = int(name.max()) + 1
    keys, place = np.unique(track * width + name, return_inverse=True)
    busy = np.zeros(len(keys), np.int64)
    moved = np.zeros(len(keys), np.int64)
    size = spans["bytes"][top]
    np.add.at(busy, place, spans["dur_ns"][top])
    np.add.at(moved, place, np.maximum(size, 0))
    known = np.bincount(place, weights=size != NULL, minlength=len(keys)) > 0
    return Chunk(
        "totals",
        {
            "track": (keys // width).astype(np.int32),
            "name": (keys % width).astype(np.int32),
            "busy_ns": busy,
            "count": np.bincount(place, minlength=len(keys)).astype(np.int64),
            "bytes": np.where(known, moved, NULL),
        },
    )


def _wait_chunk(recording: Recording, zero: int) -> Chunk:
    """Return the stretches in which requests are known to have queued."""
    requests = recording.requests or {}
    arrival, start = requests.get("arrival_ns"), requests.get("start_ns")
    if arrival is None or start is None or "queue" not in recording.names.things:
        return empty("waits")
    waited = (arrival != NULL) & (start > arrival)
    rows = int(waited.sum())
    nothing = np.full(rows, NULL, np.int32)
    return Chunk(
        "waits",
        {
            "request": requests["request"][waited].astype(np.int32),
            "from_ns": arrival[waited],
            "until_ns": start[waited],
            "wait_ns": (start - arrival)[waited],
            "cause": np.full(rows, recording.names.number("queue"), np.int32),
            "on_request": nothing,
            "on_track": nothing,
        },
    )
