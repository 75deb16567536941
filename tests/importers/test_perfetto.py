"""Native traces of other writers: clocks, names, tracks, counters and flows as they mean them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto

import toolkit
from toolkit.analytics import Run
from toolkit.errors import InputError

BEGIN, END, COUNTER = 1, 2, 4


class Writer:
    """Packets of one sequence, with what they intern."""

    def __init__(self) -> None:
        self.trace = proto.Trace()

    def packet(self, sequence: int = 1, **values: Any) -> Any:
        packet = self.trace.packet.add()
        packet.trusted_packet_sequence_id = sequence
        for key, value in values.items():
            setattr(packet, key, value)
        return packet

    def thread(self, uuid: int, pid: int, tid: int, process: str, thread: str) -> None:
        descriptor = self.packet().track_descriptor
        descriptor.uuid = pid
        descriptor.process.pid, descriptor.process.process_name = pid, process
        descriptor = self.packet().track_descriptor
        descriptor.uuid, descriptor.parent_uuid = uuid, pid
        descriptor.thread.pid, descriptor.thread.tid = pid, tid
        descriptor.thread.thread_name = thread

    def event(self, kind: int, ts: int, sequence: int = 1, **values: Any) -> Any:
        packet = self.packet(sequence, timestamp=ts)
        packet.track_event.type = kind
        for key, value in values.items():
            setattr(packet.track_event, key, value)
        return packet

    def imported(self, folder: Path, **how: Any) -> Run:
        file = folder / "foreign.pftrace"
        file.write_bytes(self.trace.SerializeToString())
        return toolkit.import_trace(file, out=folder, name="it", renderings=False, **how)


def rows(run: Run, query: str) -> list[tuple[Any, ...]]:
    return run.sql(query).fetchall()


@pytest.fixture
def engine() -> Writer:
    """Return a process with one thread, and interned names that change after a reset."""
    writer = Writer()
    writer.thread(100, 7, 8, "engine", "gpu")
    first = writer.packet(sequence_flags=1)
    first.trace_packet_defaults.track_event_defaults.track_uuid = 100
    name = first.interned_data.event_names.add()
    name.iid, name.name = 1, "prefill"
    key = first.interned_data.debug_annotation_names.add()
    key.iid, key.name = 5, "request"
    outer = writer.event(BEGIN, 1000, name_iid=1)
    note = outer.track_event.debug_annotations.add()
    note.name_iid, note.uint_value = 5, 3
    outer.track_event.flow_ids.append(9)
    writer.event(BEGIN, 1200, name="inner")
    writer.event(END, 1500)
    writer.event(END, 2000)
    again = writer.packet(sequence_flags=1)
    name = again.interned_data.event_names.add()
    name.iid, name.name = 1, "decode"
    second = writer.event(BEGIN, 2000, name_iid=1)
    second.track_event.terminating_flow_ids.append(9)
    note = second.track_event.debug_annotations.add()
    note.name, note.int_value = "request", 3
    writer.event(END, 2100)
    return writer


def test_names_tracks_depths_and_flows_of_another_writer(engine: Writer, tmp_path: Path) -> None:
    run = engine.imported(tmp_path)
    spans = "SELECT track_name, name, ts_ns, dur_ns, request, depth FROM spans"
    assert rows(run, spans) == [
        ("gpu", "prefill", 1000, 1000, 3, 0),
        ("gpu", "inner", 1200, 300, None, 1),
        ("gpu", "decode", 2000, 100, 3, 0),
    ]
    assert rows(run, "SELECT flow, ts_ns FROM flows") == [(9, 1000), (9, 2000)]
    assert rows(run, "SELECT name FROM machines") == [("engine",)]
    assert run.check() == []


def test_a_clock_of_the_sequence_s_own_counts_from_its_snapshot(tmp_path: Path) -> None:
    writer = Writer()
    writer.thread(100, 7, 8, "engine", "gpu")
    snapshot = writer.packet().clock_snapshot
    for number, ts in ((6, 5_000), (64, 0)):
        clock = snapshot.clocks.add()
        clock.clock_id, clock.timestamp = number, ts
    snapshot.clocks[1].is_incremental = True
    snapshot.clocks[1].unit_multiplier_ns = 1000
    writer.packet().trace_packet_defaults.timestamp_clock_id = 64
    writer.event(BEGIN, 2, track_uuid=100, name="a")
    writer.event(END, 3, track_uuid=100)
    run = writer.imported(tmp_path)
    assert rows(run, "SELECT ts_ns, dur_ns FROM spans") == [(7_000, 3_000)]


def test_counters_keep_units_and_add_up_where_they_are_increments(tmp_path: Path) -> None:
    writer = Writer()
    writer.thread(100, 7, 8, "engine", "gpu")
    counter = writer.packet().track_descriptor
    counter.uuid, counter.parent_uuid, counter.name = 200, 7, "KV cache"
    counter.counter.unit_name, counter.counter.is_incremental = "blocks", True
    for ts, value in ((10, 4), (20, 3), (30, -7)):
        writer.event(COUNTER, ts, track_uuid=200, counter_value=value)
    writer.event(BEGIN, 5, track_uuid=100, name="a")
    run = writer.imported(tmp_path)
    assert rows(run, "SELECT ts_ns, name, unit, machine, value FROM counters") == [
        (10, "KV cache", "blocks", 0, 4.0),
        (20, "KV cache", "blocks", 0, 7.0),
        (30, "KV cache", "blocks", 0, 0.0),
    ]
    assert rows(run, "SELECT ts_ns, dur_ns FROM spans") == [(5, 25)]
    assert any("without an end" in note for note in run.manifest["facts"]["notes"])


def test_rules_apply_to_native_traces_too(engine: Writer, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    text = "schema_version = 1\n[[track]]\nprocess = 'engine'\nthread = '(?P<what>.*)'\n"
    rules.write_text(
        text + 'name = "{what} 0"\nrole = "prompt"\n[[span]]\nname = "inner"\nignore = true\n'
    )
    run = engine.imported(tmp_path, rules=rules)
    assert rows(run, "SELECT name, role FROM tracks") == [("gpu 0", "prompt")]
    assert rows(run, "SELECT name FROM spans") == [("prefill",), ("decode",)]
    rules.write_text(text + 'name = "{who}"\n')
    with pytest.raises(InputError, match="in braces"):
        engine.imported(tmp_path, rules=rules)
