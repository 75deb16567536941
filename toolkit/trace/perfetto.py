"""The native rendering: a store as a Perfetto trace, one packet sequence for each track.

Machines are processes and stages their threads, links and request lanes are
groups of their own, counters belong to their machine.  Descriptors are made
with the generated protobuf classes; the spans, two packets each, by the
compiled loops of :mod:`.wire`, a row group at a time.

Several runs share a file where each has a :class:`Place` in it: a range of
every kind of key, so that no number of one is taken for another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.trace.output import Sink, replacing
from toolkit.trace.selection import (
    MAX_SPANS,
    Batch,
    Counters,
    Ints,
    Picture,
    Selection,
    first_window,
    select,
)
from toolkit.trace.store import Store

__all__ = ["MOST_LEVELS", "TID", "draw", "overlap", "pid", "render", "render_together"]

TID = 100_000
"""Thread id of track 0: unique in the whole trace, and never equal to a process id."""

MOST_LEVELS = 128
"""Depth is an int8."""

_ANNOTATIONS = ("request", "token", "step", "bytes")
_CLEARED = 1  # TracePacket.SEQ_INCREMENTAL_STATE_CLEARED


def render(
    store: Store,
    file: Path,
    selection: Selection | None = None,
    *,
    max_spans: int | None = MAX_SPANS,
) -> Picture:
    """Write the selected part of `store` to `file` (``.pftrace``, or ``.pftrace.gz``).

    Returns what was drawn.  Raises `InputError` for a selection of more than `max_spans` spans,
    for spans that overlap on their track, and where the file cannot be written.
    """
    picture = select(store, selection or Selection(), max_spans=max_spans)
    draw(picture, picture.batches(), file)
    return picture


def render_together(
    stores: Sequence[Store],
    labels: Sequence[str],
    file: Path,
    *,
    max_spans: int = MAX_SPANS,
) -> list[Picture]:
    """Write several runs under each other, on one clock, to one file; return what was drawn.

    Everything of a run is named after its label.  Where together they hold
    more than `max_spans` spans, all are shown from 0 to one and the same time,
    as far as that goes.
    """
    selection = Selection()
    if sum(store.rows("spans") for store in stores) > max_spans:
        share = max(max_spans // len(stores), 1)
        selection = Selection((0, min(first_window(store, share)[1] for store in stores)))
    pictures = [select(store, selection, max_spans=None) for store in stores]
    place = Place()
    with replacing(file) as sink:
        for label, picture in zip(labels, pictures, strict=True):
            here = replace(place, label=f"{label}: ")
            _draw(sink, picture, picture.batches(), here)
            place = here.after(picture)
    return pictures


@dataclass(frozen=True, slots=True)
class Place:
    """Where the keys of a run begin in a file, and what its names begin with."""

    label: str = ""
    uuid: int = 1
    machine: int = 0
    track: int = 0
    flow: int = 0
    rank: int = 0

    def after(self, picture: Picture) -> Place:
        """Return the place of the run that follows `picture`."""
        described = (*picture.machines, *picture.tracks, *picture.counter_defs)
        return Place(
            uuid=self.uuid + _GROUPS + len(described),
            machine=self.machine + _next(picture.machines, "machine"),
            track=self.track + _next(picture.tracks, "track"),
            flow=self.flow + picture.store.rows("requests"),
            rank=self.rank + len(picture.machines) + _RANKS_BETWEEN,
        )


_GROUPS = 2
"""Groups of tracks that a run has beside its machines: links and requests."""

_RANKS_BETWEEN = 100


def _next(rows: Sequence[dict[str, Any]], key: str) -> int:
    return max((int(row[key]) for row in rows), default=-1) + 1


def draw(picture: Picture, batches: Iterable[Batch], file: Path) -> None:
    """Write `batches` of the spans of `picture` to `file`."""
    with replacing(file) as sink:
        _draw(sink, picture, batches, Place())


def _draw(sink: Sink, picture: Picture, batches: Iterable[Batch], place: Place) -> None:
    from toolkit.trace import wire  # noqa: PLC0415 - numba, only where something is drawn

    ids = _Uuids(picture, place)
    tracks = place.track + _next(picture.tracks, "track")
    ends = np.zeros((tracks, MOST_LEVELS), np.int64)
    depths = np.zeros(tracks, np.int64)
    correlated = np.zeros(tracks, bool)
    for track in picture.tracks:
        correlated[place.track + track["track"]] = track["kind"] != "lane"

    sink.write(_descriptors(picture, ids, place))
    _write_counters(sink, picture.counters, ids)
    for batch in batches:
        _write_counters(sink, batch.busy, ids)
        if not len(batch):
            continue
        rows = len(batch) + int(depths.sum())  # what is still open may end here
        out = np.empty(rows * wire.SPAN_BYTES + len(batch.flow) * wire.FLOW_BYTES, np.uint8)
        columns = batch.columns
        length, wrong = wire.begin_end_packets(
            out,
            columns["ts_ns"],
            columns["dur_ns"],
            _moved(columns["track"], place.track),
            columns["name"],
            columns["request"],
            columns["token"],
            columns["step"],
            columns["bytes"],
            columns["depth"],
            batch.flow_row,
            _moved(batch.flow, place.flow),
            batch.flow_place,
            correlated,
            ends,
            depths,
        )
        if wrong >= 0:
            raise overlap(picture, batch, wrong)
        sink.write(out[:length])
    out = np.empty(MOST_LEVELS * wire.SPAN_BYTES, np.uint8)
    for at in range(place.track, tracks):
        sink.write(bytes(out[: wire.close_all(out, 0, at, ends, depths)]))


def _moved(keys: Ints, by: int) -> Ints:
    """Return keys moved up; the array itself where that changes nothing."""
    return keys + by if by else keys


def overlap(picture: Picture, batch: Batch, row: int) -> InputError:
    """Return the error for a span that overlaps another of its track, or leaves its parent."""
    track = int(batch.columns["track"][row])
    name = next((one["name"] for one in picture.tracks if one["track"] == track), "unknown")
    return InputError.one(
        str(picture.store.path("spans")),
        f"track {track} ({name}), {int(batch.columns['ts_ns'][row])} ns",
        "expected spans of one track to follow each other, and deeper ones to lie inside",
        "a span that overlaps another; a viewer would pair their ends wrongly, without a word",
        f"see all of them with `toolkit check {picture.store.folder}`",
    )


def pid(machine: int) -> int:
    """Return the process id of a machine."""
    return machine + 1


class _Uuids:
    """Small numbers for the descriptors: two bytes each where random ones take nine."""

    def __init__(self, picture: Picture, place: Place) -> None:
        self.links, self.requests = place.uuid, place.uuid + 1
        keys = (
            [("machine", row["machine"]) for row in picture.machines]
            + [("track", row["track"]) for row in picture.tracks]
            + [("counter", row["counter"]) for row in picture.counter_defs]
        )
        self.of = {key: number for number, key in enumerate(keys, place.uuid + _GROUPS)}
        most = max((row["counter"] for row in picture.counter_defs), default=-1)
        self.counter = np.zeros(most + 1, np.int64)
        for row in picture.counter_defs:
            self.counter[row["counter"]] = self.of["counter", row["counter"]]


def _write_counters(sink: Sink, counters: Counters, ids: _Uuids) -> None:
    from toolkit.trace import wire  # noqa: PLC0415

    step = 1 << 18
    for first in range(0, len(counters.ts_ns), step):
        here = slice(first, first + step)
        ts, which, value = counters.ts_ns[here], counters.counter[here], counters.value[here]
        out = np.empty(len(ts) * wire.COUNTER_BYTES, np.uint8)
        length = wire.counter_packets(out, ts, ids.counter[which], value, value.view(np.uint64))
        sink.write(out[:length])


def _descriptors(picture: Picture, ids: _Uuids, place: Place) -> bytes:
    """Return the packets that name and order everything, and open each track's sequence."""
    from perfetto.protos.perfetto.trace import (  # noqa: PLC0415 - a megabyte of classes
        perfetto_trace_pb2 as proto,
    )

    trace = proto.Trace()
    kinds = proto.TrackDescriptor

    def describe(uuid: int, name: str = "", parent: int = 0, rank: int | None = None) -> Any:
        made = trace.packet.add().track_descriptor
        made.uuid = uuid
        if name:
            made.name = name
        if parent:
            made.parent_uuid = parent
        if rank is not None:
            made.sibling_order_rank = rank
        return made

    if place.uuid == Place().uuid:  # the first run of the file
        root = describe(0)
        root.child_ordering = kinds.EXPLICIT
        for order in ("process_ordering", "thread_ordering"):  # since Perfetto 53
            if order in kinds.DESCRIPTOR.fields_by_name:  # skipped by older UIs
                setattr(root, order, getattr(kinds, f"{order.upper()}_EXPLICIT"))

    present = {row["kind"] for row in picture.tracks}
    for kind, uuid, name, rank in (
        ("lane", ids.requests, "Requests", -20),
        ("link", ids.links, "Links", -10),
    ):
        if kind in present:
            group = describe(uuid, f"{place.label}{name}", rank=place.rank + rank)
            group.child_ordering = kinds.EXPLICIT
    for rank, row in enumerate(picture.machines, place.rank):
        machine = describe(ids.of["machine", row["machine"]], rank=rank)
        machine.process.pid = pid(place.machine + row["machine"])
        machine.process.process_name = f"{place.label}{row['name']}"
        machine.child_ordering = kinds.EXPLICIT
    for row in picture.tracks:
        _describe_track(describe, row, ids, kinds, place)
    for row in picture.counter_defs:
        _describe_counter(describe, row, ids, place)
    for row in picture.tracks:
        _open_sequence(trace.packet.add(), row["track"], ids, picture.names, place)
    packets: bytes = trace.SerializeToString(deterministic=True)
    return packets


def _describe_track(
    describe: Any, row: dict[str, Any], ids: _Uuids, kinds: Any, place: Place
) -> None:
    uuid = ids.of["track", row["track"]]
    machine = row["machine"]
    if row["kind"] == "stage" and ("machine", machine) in ids.of:
        made = describe(uuid, rank=row["rank"])
        made.thread.pid = pid(place.machine + machine)
        made.thread.tid = TID + place.track + row["track"]
        made.thread.thread_name = row["name"]
        return
    parent = {"lane": ids.requests, "link": ids.links}.get(row["kind"], 0)
    made = describe(uuid, row["name"], parent, row["rank"])
    made.sibling_merge_behavior = kinds.SIBLING_MERGE_BEHAVIOR_NONE


def _describe_counter(describe: Any, row: dict[str, Any], ids: _Uuids, place: Place) -> None:
    everywhere = row["machine"] is None
    parent = 0 if everywhere else ids.of["machine", row["machine"]]
    name = f"{place.label}{row['name']}" if everywhere else row["name"]
    rank = (place.rank if everywhere else 0) + row["counter"]
    made = describe(ids.of["counter", row["counter"]], name, parent, rank)
    made.counter.unit_name = row["unit"]
    made.counter.y_axis_share_key = row["share_key"]


def _open_sequence(
    packet: Any, track: int, ids: _Uuids, names: dict[int, str], place: Place
) -> None:
    packet.trusted_packet_sequence_id = place.track + track + 2
    packet.sequence_flags = _CLEARED
    packet.trace_packet_defaults.track_event_defaults.track_uuid = ids.of["track", track]
    for key, text in names.items():
        made = packet.interned_data.event_names.add()
        made.iid, made.name = key + 1, text
    for iid, text in enumerate(_ANNOTATIONS, 1):
        made = packet.interned_data.debug_annotation_names.add()
        made.iid, made.name = iid, text
