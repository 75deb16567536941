"""The native rendering: a store as a Perfetto trace, one packet sequence for each track.

Machines are processes and stages their threads, links and request lanes are
groups of their own, counters belong to their machine.  Descriptors are made
with the generated protobuf classes; the spans, two packets each, by the
compiled loops of :mod:`.wire`, a row group at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.trace.output import Sink, replacing
from toolkit.trace.selection import MAX_SPANS, Batch, Counters, Picture, Selection, select
from toolkit.trace.store import Store

__all__ = ["MOST_LEVELS", "TID", "draw", "overlap", "pid", "render"]

TID = 100_000
"""Thread id of track 0: unique in the whole trace, and never equal to a process id."""

MOST_LEVELS = 128
"""Depth is an int8."""

_LINKS, _REQUESTS, _FIRST = 1, 2, 3
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


def draw(picture: Picture, batches: Iterable[Batch], file: Path) -> None:
    """Write `batches` of the spans of `picture` to `file`."""
    from toolkit.trace import wire  # noqa: PLC0415 - numba, only where something is drawn

    ids = _Uuids(picture)
    tracks = max((track["track"] for track in picture.tracks), default=-1) + 1
    ends = np.zeros((tracks, MOST_LEVELS), np.int64)
    depths = np.zeros(tracks, np.int64)
    correlated = np.zeros(tracks, bool)
    for track in picture.tracks:
        correlated[track["track"]] = track["kind"] != "lane"

    with replacing(file) as sink:
        sink.write(_descriptors(picture, ids))
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
                columns["track"],
                columns["name"],
                columns["request"],
                columns["token"],
                columns["step"],
                columns["bytes"],
                columns["depth"],
                batch.flow_row,
                batch.flow,
                batch.flow_place,
                correlated,
                ends,
                depths,
            )
            if wrong >= 0:
                raise overlap(picture, batch, wrong)
            sink.write(out[:length])
        out = np.empty(MOST_LEVELS * wire.SPAN_BYTES, np.uint8)
        for at in range(tracks):
            sink.write(bytes(out[: wire.close_all(out, 0, at, ends, depths)]))


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

    def __init__(self, picture: Picture) -> None:
        keys = (
            [("machine", row["machine"]) for row in picture.machines]
            + [("track", row["track"]) for row in picture.tracks]
            + [("counter", row["counter"]) for row in picture.counter_defs]
        )
        self.of = {key: number for number, key in enumerate(keys, _FIRST)}
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


def _descriptors(picture: Picture, ids: _Uuids) -> bytes:
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

    root = describe(0)
    root.child_ordering = kinds.EXPLICIT
    for order in ("process_ordering", "thread_ordering"):  # since Perfetto 53; skipped by older UIs
        if order in kinds.DESCRIPTOR.fields_by_name:
            setattr(root, order, getattr(kinds, f"{order.upper()}_EXPLICIT"))

    present = {row["kind"] for row in picture.tracks}
    for kind, uuid, name, place in (
        ("lane", _REQUESTS, "Requests", -20),
        ("link", _LINKS, "Links", -10),
    ):
        if kind in present:
            describe(uuid, name, rank=place).child_ordering = kinds.EXPLICIT
    for place, row in enumerate(picture.machines):
        machine = describe(ids.of["machine", row["machine"]], rank=place)
        machine.process.pid = pid(row["machine"])
        machine.process.process_name = row["name"]
        machine.child_ordering = kinds.EXPLICIT
    for row in picture.tracks:
        _describe_track(describe, row, ids, kinds)
    for row in picture.counter_defs:
        _describe_counter(describe, row, ids)
    for row in picture.tracks:
        _open_sequence(trace.packet.add(), row["track"], ids, picture.names)
    packets: bytes = trace.SerializeToString(deterministic=True)
    return packets


def _describe_track(describe: Any, row: dict[str, Any], ids: _Uuids, kinds: Any) -> None:
    uuid = ids.of["track", row["track"]]
    machine = row["machine"]
    if row["kind"] == "stage" and ("machine", machine) in ids.of:
        made = describe(uuid, rank=row["rank"])
        made.thread.pid = pid(machine)
        made.thread.tid = TID + row["track"]
        made.thread.thread_name = row["name"]
        return
    parent = {"lane": _REQUESTS, "link": _LINKS}.get(row["kind"], 0)
    made = describe(uuid, row["name"], parent, row["rank"])
    made.sibling_merge_behavior = kinds.SIBLING_MERGE_BEHAVIOR_NONE


def _describe_counter(describe: Any, row: dict[str, Any], ids: _Uuids) -> None:
    parent = 0 if row["machine"] is None else ids.of["machine", row["machine"]]
    made = describe(ids.of["counter", row["counter"]], row["name"], parent, row["counter"])
    made.counter.unit_name = row["unit"]
    made.counter.y_axis_share_key = row["share_key"]


def _open_sequence(packet: Any, track: int, ids: _Uuids, names: dict[int, str]) -> None:
    packet.trusted_packet_sequence_id = track + 2
    packet.sequence_flags = _CLEARED
    packet.trace_packet_defaults.track_event_defaults.track_uuid = ids.of["track", track]
    for key, text in names.items():
        made = packet.interned_data.event_names.add()
        made.iid, made.name = key + 1, text
    for iid, text in enumerate(_ANNOTATIONS, 1):
        made = packet.interned_data.debug_annotation_names.add()
        made.iid, made.name = iid, text
