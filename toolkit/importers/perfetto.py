"""Native Perfetto traces, as far as track events go: slices, counters and flows.

Packets are parsed one at a time with the published protobuf classes.  Interned
names, defaults of a sequence (track, clock), incremental clocks and
incremental counters are followed; scheduler, memory and other data sources are
counted and left out, and so are Chrome's legacy events inside track events.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.importers.chrome import (
    filled,
    machine_of_link,
    natural,
    noted_machine,
    own_machine,
    without_derived,
)
from toolkit.importers.nesting import pair
from toolkit.importers.recording import LIMIT_NS, Interned, Recording, Track
from toolkit.importers.rules import Rules
from toolkit.importers.source import Source
from toolkit.importers.timeline import Timeline, integer
from toolkit.trace.columns import NULL
from toolkit.trace.perfetto import TID

__all__ = ["looks_like", "read"]

_PACKET = 0x0A
"""Tag of a packet in a trace."""
_MOST = 1 << 28
_BEGIN, _END, _INSTANT, _COUNTER = 1, 2, 3, 4
_CLEARED = 1
_BOOT, _FIRST_OWN_CLOCK = 6, 64


@dataclass(slots=True)
class _Sequence:
    """What a packet sequence has said so far."""

    names: dict[int, str] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    strings: dict[int, str] = field(default_factory=dict)
    track: int | None = None
    clock: int = 0
    clocks: dict[int, list[int]] = field(default_factory=dict)
    """By id, of clocks of the sequence: boot time at 0, unit, whether incremental, last value."""

    def clear(self) -> None:
        for table in (self.names, self.categories, self.keys, self.strings):
            table.clear()


def looks_like(head: bytes) -> bool:
    """Return whether bytes begin like a Perfetto trace: a packet of a plausible length."""
    if not head or head[0] != _PACKET:
        return False
    length, at = _varint(head, 1)
    if length is None or not 0 < length < _MOST:
        return False
    if at + length >= len(head):
        return len(head) >= 1 << 16
    return head[at + length] == _PACKET or at + length == len(head)


def read(source: Source, rules: Rules) -> Recording:
    """Return what the track events of a trace say."""
    reader = _Reader(source, rules)
    for packet in _packets(source):
        reader.feed(packet)
    return reader.finish()


def _varint(data: bytes, at: int) -> tuple[int | None, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at
    return None, at


def _packets(source: Source) -> Iterator[Any]:
    """Yield the packets of a trace; other fields of the file are passed over."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from perfetto.protos.perfetto.trace import (  # noqa: PLC0415 - a megabyte of classes
        perfetto_trace_pb2 as proto,
    )

    blocks, data, at, done = source.blocks(), b"", 0, 0

    def wrong(got: str) -> Exception:
        return source.wrong(
            f"byte {done + at}",
            "expected a packet of a Perfetto trace",
            got,
            "the file is cut short or damaged: fetch or write it again",
        )

    while True:
        if at < len(data) and data[at] != _PACKET:
            raise wrong(f"byte 0x{data[at]:02x}")
        length, body = _varint(data, at + 1)
        if at >= len(data) or length is None or body + length > len(data):
            missing = 1 if length is None else max(body + length - len(data), 1)
            if length is not None and length > _MOST and at < len(data):
                raise wrong(f"one of {length:,} bytes")
            parts = [data[at:]]
            while missing > 0 and (block := next(blocks, None)) is not None:
                parts.append(block)
                missing -= len(block)
            if len(parts) == 1:
                if at < len(data):
                    raise wrong("the end of the file")
                return
            done, at, data = done + at, 0, b"".join(parts)
            continue
        try:
            packet = proto.TracePacket.FromString(data[body : body + length])
        except (DecodeError, ValueError) as error:
            raise wrong(str(error)[:80]) from None
        at = body + length
        yield packet


class _Reader:
    """Takes packets in the order of the file."""

    def __init__(self, source: Source, rules: Rules) -> None:
        self.source = source
        self.timeline = Timeline(rules, source.wrong)
        self.ignored: Counter[str] = Counter()
        self.sequences: dict[int, _Sequence] = {}
        self.descriptors: dict[Hashable, Any] = {}
        self.tracks = Interned()
        """Track uuid, or ("sequence", id), by number."""
        self.counters = Interned()
        self.counter_sum: dict[int, float] = {}
        self.own = False
        self._first = True
        self.events: dict[str, array[int]] = {
            name: array("q") for name in ("begin", "ts", "track", "row")
        }
        self.sequence_of: dict[int, int] = {}
        self.flows: list[tuple[int, int, int]] = []

    def feed(self, packet: Any) -> None:
        sequence = self.sequences.setdefault(packet.trusted_packet_sequence_id, _Sequence())
        if packet.sequence_flags & _CLEARED:
            sequence.clear()
        if packet.HasField("trace_packet_defaults"):
            defaults = packet.trace_packet_defaults
            sequence.clock = defaults.timestamp_clock_id
            if defaults.track_event_defaults.HasField("track_uuid"):
                sequence.track = defaults.track_event_defaults.track_uuid
        if packet.HasField("interned_data"):
            _intern(sequence, packet.interned_data)
        kind = packet.WhichOneof("data")
        if kind == "track_descriptor":
            self._describe(packet.track_descriptor)
        elif kind == "track_event":
            self._event(packet, sequence)
        elif kind == "clock_snapshot":
            self._clocks(packet.clock_snapshot, sequence)
        elif kind in ("process_descriptor", "thread_descriptor", None):
            pass
        else:
            self.ignored[f"packets of {kind}"] += 1
        self._first = False

    def _describe(self, descriptor: Any) -> None:
        if self._first and descriptor.uuid == 0 and not descriptor.name:
            # The root, ordered by hand, before anything else: our renderings begin so.
            self.own = descriptor.child_ordering == descriptor.EXPLICIT
        known = self.descriptors.get(descriptor.uuid)
        if known is None:
            self.descriptors[descriptor.uuid] = descriptor
        else:
            known.MergeFrom(descriptor)

    def _clocks(self, snapshot: Any, sequence: _Sequence) -> None:
        """Note where the sequence's own clocks stand beside the boot clock."""
        primary = snapshot.primary_trace_clock or _BOOT
        known = {clock.clock_id: clock for clock in snapshot.clocks}
        base = known.get(primary) or known.get(_BOOT)
        for clock in snapshot.clocks:
            if clock.clock_id >= _FIRST_OWN_CLOCK and base is not None:
                unit = clock.unit_multiplier_ns or 1
                zero = base.timestamp - (0 if clock.is_incremental else clock.timestamp * unit)
                start = base.timestamp if clock.is_incremental else 0
                sequence.clocks[clock.clock_id] = [
                    zero,
                    unit,
                    int(clock.is_incremental),
                    start,
                ]

    def _time(self, packet: Any, sequence: _Sequence) -> int:
        clock = packet.timestamp_clock_id or sequence.clock
        ts = int(packet.timestamp)
        if clock >= _FIRST_OWN_CLOCK:
            state = sequence.clocks.get(clock)
            if state is None:
                self.ignored["events on clocks that no snapshot explains"] += 1
                return NULL
            if state[2]:
                state[3] += ts * state[1]
                ts = state[3]
            else:
                ts = state[0] + ts * state[1]
        if not 0 <= ts < LIMIT_NS:
            raise self.source.wrong("timestamp", "expected a time within 146 years", f"{ts} ns")
        return ts

    def _event(self, packet: Any, sequence: _Sequence) -> None:
        event = packet.track_event
        if event.HasField("legacy_event") and event.legacy_event.phase:
            self.ignored["legacy events"] += 1
            return
        ts = self._time(packet, sequence)
        if ts == NULL:
            return
        uuid: Hashable = sequence.track
        if event.HasField("track_uuid"):
            uuid = event.track_uuid
        if uuid is None:
            uuid = ("sequence", packet.trusted_packet_sequence_id)
        if event.type == _COUNTER:
            self._count(ts, uuid, event)
        elif event.type == _BEGIN:
            track = self.tracks.number(uuid)
            self.sequence_of.setdefault(track, packet.trusted_packet_sequence_id)
            self._half(1, ts, track, self._slice(ts, track, event, sequence))
        elif event.type == _END:
            self._half(0, ts, self.tracks.number(uuid), NULL)
        else:
            self.ignored["instants" if event.type == _INSTANT else "events of no type"] += 1

    def _half(self, begin: int, ts: int, track: int, row: int) -> None:
        for column, value in zip(self.events.values(), (begin, ts, track, row), strict=True):
            column.append(value)

    def _slice(self, ts: int, track: int, event: Any, sequence: _Sequence) -> int:
        """Keep a slice that begins; NULL where rules leave it out."""
        name = event.name or sequence.names.get(event.name_iid, "")
        categories = [
            *event.categories,
            *(sequence.categories.get(iid, "") for iid in event.category_iids),
        ]
        args = {
            note.name or sequence.keys.get(note.name_iid, ""): _value(note, sequence)
            for note in event.debug_annotations
        }
        meaning = self.timeline.meaning(name, ",".join(categories), args)
        if meaning is None:
            self.ignored["spans that the rules name"] += 1
            return NULL
        recording = self.timeline.recording
        request = NULL
        if meaning.request is not None:
            number = integer(meaning.request)
            request = recording.request_ids.number(
                number if number != NULL else str(meaning.request)
            )
        row = recording.add(
            ts,
            0,
            track,
            recording.names.number(meaning.name),
            request,
            integer(meaning.token),
            integer(meaning.step),
            integer(meaning.bytes),
            depth=0,
        )
        self.flows += [(flow, row, 0) for flow in event.flow_ids]
        self.flows += [(flow, row, 1) for flow in event.terminating_flow_ids]
        return row

    def _count(self, ts: int, uuid: Hashable, event: Any) -> None:
        which = event.WhichOneof("counter_value_field")
        if which is None:
            return
        value = float(getattr(event, which))
        counter = self.descriptors[uuid].counter if uuid in self.descriptors else None
        key = self.counters.number(uuid)
        if counter is not None and counter.is_incremental:
            value = self.counter_sum[key] = self.counter_sum.get(key, 0.0) + value
        if counter is not None and counter.unit_multiplier > 1:
            value *= counter.unit_multiplier
        self.timeline.recording.count(key, ts, value)

    # -- at the end ------------------------------------------------------------------------------

    def finish(self) -> Recording:
        recording = self.timeline.recording
        if not len(recording) and not len(recording.counter_ts):
            seen = ", ".join(f"{count} {what}" for what, count in self.ignored.most_common(3))
            raise self.source.wrong(
                "",
                "expected track events",
                seen or "a trace without any",
                "scheduler and memory data are read by Perfetto's own tools only",
            )
        self._pair()
        self._make_tracks()
        self._make_counters()
        for flow, row, _ in sorted(self.flows, key=lambda one: (one[0], one[2])):
            recording.flow.append(recording.flow_ids.number(flow - 1 if self.own else flow))
            recording.flow_slice.append(row)
        if self.own:
            recording.own, recording.origin = True, "source"
            without_derived(recording)
        recording.note_left_out(self.ignored)
        return recording

    def _pair(self) -> None:
        """Give slices the time to their end, and their depth."""
        part = {name: np.array(values, np.int64) for name, values in self.events.items()}
        order = np.argsort(part["ts"], kind="stable")
        part = {name: values[order] for name, values in part.items()}
        begins, closes, depths, lost = pair(part["begin"], part["track"])
        last = int(part["ts"].max(initial=0))
        last = max(last, max(self.timeline.recording.counter_ts, default=0))
        columns = self.timeline.recording.columns
        for row, start, close, depth in zip(
            part["row"][begins].tolist(),
            part["ts"][begins].tolist(),
            closes.tolist(),
            depths.tolist(),
            strict=True,
        ):
            if row != NULL:
                columns["dur"][row] = (last if close == NULL else int(part["ts"][close])) - start
                columns["depth"][row] = depth
        if lost:
            self.ignored["ends without a begin"] += lost
        if unfinished := int((closes == NULL).sum()):
            self.timeline.recording.notes.append(
                f"Spans without an end ({unfinished:,}) are drawn to the end of the trace."
            )

    def _make_tracks(self) -> None:
        recording = self.timeline.recording
        for uuid, descriptor in self.descriptors.items():
            if self.own and descriptor.HasField("process"):
                name = descriptor.process.process_name
                recording.machines[descriptor.process.pid] = own_machine(name)
            if self.own and descriptor.HasField("thread"):
                self.tracks.number(uuid)  # stages are there without spans too
        for number, uuid in enumerate(self.tracks.things):
            if self.own:
                recording.tracks.append(self._own_track(number, uuid))
            else:
                recording.tracks.append(self._track(uuid))

    def _own_track(self, number: int, uuid: Hashable) -> Track:
        descriptor = self.descriptors[uuid]
        key = self.sequence_of.get(number, NULL) - 2
        if descriptor.HasField("thread"):
            thread = descriptor.thread
            return Track(thread.pid, thread.thread_name, "stage", (), thread.tid - TID)
        group = self.descriptors.get(descriptor.parent_uuid)
        kind = "link" if group is not None and group.name == "Links" else "lane"
        machine = machine_of_link(descriptor.name, self.timeline.recording)
        return Track(machine if kind == "link" else None, descriptor.name, kind, (), key)

    def _track(self, uuid: Hashable) -> Track:
        """Return a track as its descriptor and the rules have it."""
        process, thread = self._names(uuid)
        rule, groups = self.timeline.rules.track(process, thread) or (None, {})
        kind = (rule.kind if rule else None) or "stage"
        machine = None
        if kind in ("stage", "thread") or (kind == "link" and rule and rule.machine):
            machine = noted_machine(self.timeline, rule, groups, process)
        name = filled(rule.name, groups, self.timeline) if rule and rule.name else thread
        return Track(machine, name, kind, (natural(process), natural(thread)))

    def _names(self, uuid: Hashable) -> tuple[str, str]:
        """Return the process and the track's own name, following parents upwards."""
        descriptor = self.descriptors.get(uuid)
        if descriptor is None:
            return "trace", f"track {uuid[1] if isinstance(uuid, tuple) else uuid}"
        name = descriptor.name or descriptor.static_name
        thread = descriptor.thread
        own = name or thread.thread_name or descriptor.process.process_name
        process, at, hops = "", descriptor, 0
        while at is not None and hops < 64:
            if at.HasField("process"):
                process = at.process.process_name or f"process {at.process.pid}"
                break
            if at.HasField("thread"):
                process = self._process_name(at.thread.pid)
                break
            process = at.name or process
            at, hops = self.descriptors.get(at.parent_uuid), hops + 1
        return process or "trace", own or f"track {uuid}"

    def _process_name(self, pid: int) -> str:
        for descriptor in self.descriptors.values():
            if descriptor.HasField("process") and descriptor.process.pid == pid:
                return descriptor.process.process_name or f"process {pid}"
        return f"process {pid}"

    def _make_counters(self) -> None:
        recording = self.timeline.recording
        for uuid in self.counters.things:
            descriptor = self.descriptors.get(uuid)
            if descriptor is None:
                recording.counters.append((None, f"counter {uuid}", "", ""))
                continue
            counter = descriptor.counter
            units = {1: "ns", 2: "count", 3: "bytes"}
            unit = counter.unit_name or units.get(counter.unit, "")
            parent = self.descriptors.get(descriptor.parent_uuid)
            machine: Hashable = None
            if parent is not None and parent.HasField("process"):
                machine = parent.process.pid if self.own else parent.process.process_name
            if machine not in recording.machines:
                machine = None
            share = counter.y_axis_share_key
            recording.counters.append((machine, descriptor.name, unit, share))


def _intern(sequence: _Sequence, data: Any) -> None:
    for table, listed in (
        (sequence.names, data.event_names),
        (sequence.categories, data.event_categories),
        (sequence.keys, data.debug_annotation_names),
    ):
        for one in listed:
            table[one.iid] = one.name
    for one in data.debug_annotation_string_values:
        sequence.strings[one.iid] = one.str.decode("utf-8", "replace")


def _value(note: Any, sequence: _Sequence) -> Any:
    """Return a debug annotation's plain value; None for nested ones."""
    which = note.WhichOneof("value")
    if which == "string_value_iid":
        return sequence.strings.get(note.string_value_iid)
    if which in ("uint_value", "int_value", "double_value", "bool_value", "string_value"):
        return getattr(note, which)
    return None
