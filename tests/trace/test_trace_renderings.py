"""Both renderings say exactly what the store says, to the nanosecond."""

from __future__ import annotations

import gzip
import hashlib
import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto

from toolkit.errors import InputError
from toolkit.trace import chrome, perfetto, wire
from toolkit.trace.columns import NAMES, NULL, Chunk
from toolkit.trace.render import render_default
from toolkit.trace.selection import Selection, select
from toolkit.trace.store import Store

Span = tuple[int, ...]
TracedSlice = tuple[int, int, int, str, tuple[tuple[str, int], ...]]

VARINT_EDGES = [0, 1, 2**7 - 1, 2**7, 2**14 - 1, 2**14, 2**21, 2**28 - 1, 2**28, 2**31 - 1]
LONG_EDGES = [*VARINT_EDGES, 2**35, 2**42 - 1, 2**42, 2**49, 2**56, 2**60]
small = st.one_of(st.sampled_from(VARINT_EDGES), st.integers(0, 300))
maybe = st.one_of(st.none(), small)


@st.composite
def span_tables(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Draw spans that nest or touch: on each track a row of spans, some with spans inside."""
    rows: list[tuple[Any, ...]] = []
    for track in range(5):
        now = draw(st.sampled_from([0, 0, 5, *LONG_EDGES[-8:]]))
        for _ in range(draw(st.integers(0, 5))):
            now += draw(st.sampled_from([0, 0, 1, 1000, 2**28]))
            dur = draw(st.sampled_from([0, 1, 10, 999, 1000, 2**21, 2**35]))
            rows.append((now, dur, track, *draw(labels()), 0))
            inside = now
            for _ in range(draw(st.integers(0, 2))):
                inside += draw(st.integers(0, 2))
                part = draw(st.integers(0, max(min(5, now + dur - inside), 0)))
                if inside + part <= now + dur:
                    rows.append((inside, part, track, *draw(labels()), 1))
                    inside += part
            now += dur
    return rows


@st.composite
def labels(draw: st.DrawFn) -> tuple[Any, ...]:
    size = draw(st.one_of(st.none(), st.sampled_from(LONG_EDGES)))
    return draw(st.integers(0, len(NAMES) - 1)), draw(maybe), draw(maybe), draw(maybe), size


def expected(rows: list[tuple[Any, ...]]) -> list[TracedSlice]:
    keys = ("request", "token", "step", "bytes")
    return sorted(
        (
            ts,
            dur,
            track,
            NAMES[name],
            tuple(
                (key, value) for key, value in zip(keys, values, strict=True) if value is not None
            ),
        )
        for ts, dur, track, name, *values, _ in rows
    )


def parse_perfetto(file: Path) -> list[TracedSlice]:
    """Return the slices of a trace as Perfetto pairs them: by time, and in file order."""
    trace = proto.Trace()
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    trace.ParseFromString(content)
    names: dict[int, dict[int, str]] = {}
    keys: dict[int, dict[int, str]] = {}
    events = []
    for packet in trace.packet:
        sequence = packet.trusted_packet_sequence_id
        if packet.HasField("interned_data"):
            data = packet.interned_data
            names[sequence] = {one.iid: one.name for one in data.event_names}
            keys[sequence] = {one.iid: one.name for one in data.debug_annotation_names}
        if packet.HasField("track_event") and packet.track_event.type in (1, 2):
            events.append(packet)
    open_slices: dict[int, list[Any]] = {}
    slices = []
    for packet in sorted(events, key=lambda one: one.timestamp):
        sequence, event = packet.trusted_packet_sequence_id, packet.track_event
        if event.type == proto.TrackEvent.TYPE_SLICE_BEGIN:
            open_slices.setdefault(sequence, []).append(packet)
            continue
        begin = open_slices[sequence].pop()
        values = [
            (keys[sequence][one.name_iid], one.uint_value)
            for one in begin.track_event.debug_annotations
        ]
        slices.append(
            (
                begin.timestamp,
                packet.timestamp - begin.timestamp,
                sequence - 2,
                names[sequence][begin.track_event.name_iid],
                tuple(values),
            )
        )
    assert not any(open_slices.values())
    return sorted(slices)


def read_chrome(file: Path) -> list[dict[str, Any]]:
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    events: list[dict[str, Any]] = json.loads(content, parse_float=Decimal)["traceEvents"]
    return events


def nanoseconds(microseconds: Any) -> int:
    return int(Decimal(microseconds) * 1000)


def parse_chrome(file: Path) -> list[TracedSlice]:
    return sorted(
        (
            nanoseconds(event["ts"]),
            nanoseconds(event["dur"]),
            event["tid"] - perfetto.TID,
            event["name"],
            tuple(event["args"].items()),
        )
        for event in read_chrome(file)
        if event["ph"] == "X"
    )


@settings(max_examples=40, deadline=None)
@given(rows=span_tables())
def test_what_is_rendered_parses_back_to_the_table(
    rows: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("table")
    store = worlds.store(folder / "run", [*worlds.scenery(2, 1, 2), worlds.spans(rows)])
    perfetto.render(store, folder / "t.pftrace")
    assert parse_perfetto(folder / "t.pftrace") == expected(rows)
    chrome.render(store, folder / "t.json")
    assert parse_chrome(folder / "t.json") == expected(rows)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return worlds.store(tmp_path_factory.mktemp("pipeline") / "run", worlds.pipeline())


def test_spans_open_across_batches_are_closed_in_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.trace.store.ROW_GROUP", 3)
    chunks = worlds.pipeline()
    columns = next(chunk for chunk in chunks if chunk.table == "spans").columns
    values = [np.asarray(column).tolist() for column in columns.values()]
    rows = [
        tuple(None if value == NULL else value for value in row)
        for row in zip(*values, strict=True)
    ]
    store = worlds.store(tmp_path / "run", chunks)
    picture = perfetto.render(store, tmp_path / "t.pftrace")
    chrome.render(store, tmp_path / "t.json")
    assert parse_perfetto(tmp_path / "t.pftrace") == expected(rows)
    assert parse_chrome(tmp_path / "t.json") == expected(rows)
    assert picture.flows == 4
    flows = [event for event in read_chrome(tmp_path / "t.json") if event["ph"] in "stf"]
    assert len(flows) == 12


def test_compressed_renderings_hold_the_same_and_no_time(pipeline: Store, tmp_path: Path) -> None:
    for render, plain in ((perfetto.render, "t.pftrace"), (chrome.render, "t.json")):
        render(pipeline, tmp_path / plain)
        render(pipeline, tmp_path / f"{plain}.gz")
        packed = (tmp_path / f"{plain}.gz").read_bytes()
        assert gzip.decompress(packed) == (tmp_path / plain).read_bytes()
        assert packed[4:8] == bytes(4)


def test_the_same_store_gives_the_same_bytes(pipeline: Store, tmp_path: Path) -> None:
    digests = []
    for turn in ("a", "b"):
        again = worlds.store(tmp_path / turn, worlds.pipeline())
        assert render_default(again) == ""
        digests.append(
            [
                hashlib.sha256((again.folder / name).read_bytes()).digest()
                for name in ("trace.pftrace", "trace.json.gz")
            ]
        )
    assert digests[0] == digests[1]


def test_the_encoder_uses_the_numbers_of_the_published_schema() -> None:
    def tag(message: str, field: str, kind: int) -> int:
        return int(getattr(proto, message).DESCRIPTOR.fields_by_name[field].number) << 3 | kind

    assert tag("Trace", "packet", 2) == wire.PACKET
    assert tag("TracePacket", "timestamp", 0) == wire.TIMESTAMP
    assert tag("TracePacket", "trusted_packet_sequence_id", 0) == wire.SEQUENCE
    assert tag("TracePacket", "track_event", 2) == wire.TRACK_EVENT
    assert tag("TrackEvent", "debug_annotations", 2) == wire.ANNOTATION
    assert tag("TrackEvent", "type", 0) == wire.TYPE
    assert tag("TrackEvent", "name_iid", 0) == wire.NAME_IID
    assert tag("TrackEvent", "track_uuid", 0) == wire.TRACK_UUID
    assert tag("TrackEvent", "counter_value", 0) == wire.COUNTER_VALUE
    assert tag("TrackEvent", "double_counter_value", 1) == wire.DOUBLE_COUNTER_VALUE
    assert tag("TrackEvent", "flow_ids", 1) == wire.FLOW_ID
    assert tag("TrackEvent", "terminating_flow_ids", 1) == wire.TERMINATING_FLOW_ID
    assert tag("TrackEvent", "correlation_id", 0) == wire.CORRELATION_ID
    assert tag("DebugAnnotation", "name_iid", 0) == wire.ANNOTATION_NAME_IID
    assert tag("DebugAnnotation", "uint_value", 0) == wire.ANNOTATION_UINT


@pytest.mark.parametrize(("annotations", "budget"), [(2, 48), (0, 30)])
def test_a_span_stays_within_its_bytes(annotations: int, budget: int, tmp_path: Path) -> None:
    """Lanes: without correlation ids, for which the budget has no room."""
    count = 20_000
    ts = np.arange(count, dtype=np.int64) * 1_000_000
    nothing = np.full(count, -1, np.int32)
    some = np.arange(count, dtype=np.int32) % 200
    spans = Chunk(
        "spans",
        {
            "ts_ns": ts,
            "dur_ns": np.full(count, 900_000, np.int64),
            "track": np.full(count, 3, np.int32),
            "name": np.ones(count, np.int32),
            "request": some if annotations else nothing,
            "token": some if annotations else nothing,
            "step": nothing,
            "bytes": nothing.astype(np.int64),
            "depth": np.zeros(count, np.int8),
        },
    )
    sizes = []
    for name, rows in (("none", []), ("all", [spans])):
        store = worlds.store(tmp_path / name, [*worlds.scenery(), *rows])
        perfetto.render(store, tmp_path / "t.pftrace")
        sizes.append((tmp_path / "t.pftrace").stat().st_size)
    lane_and_names = 600
    assert (sizes[1] - sizes[0] - lane_and_names) / count <= budget


OVERLAPS = {
    "neighbours that overlap": [(0, 10, 0, 0), (5, 10, 0, 0)],
    "the same start": [(0, 10, 0, 0), (0, 10, 0, 0)],
    "a child that outlives its parent": [(0, 10, 0, 0), (5, 10, 0, 1)],
    "a child without a parent": [(0, 10, 0, 1)],
    "a negative duration": [(5, -3, 0, 0)],
}


@pytest.mark.parametrize("what", OVERLAPS)
def test_spans_a_viewer_would_mispair_are_refused(what: str, tmp_path: Path) -> None:
    rows = [
        (ts, dur, track, 0, 0, None, None, None, depth) for ts, dur, track, depth in OVERLAPS[what]
    ]
    store = worlds.store(tmp_path / "run", [*worlds.scenery(), worlds.spans(rows)])
    for render, name in ((perfetto.render, "t.pftrace"), (chrome.render, "t.json.gz")):
        with pytest.raises(InputError, match="toolkit check"):
            render(store, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_empty_and_single_span_stores_render(tmp_path: Path) -> None:
    nothing = worlds.store(tmp_path / "nothing", [])
    scenery = worlds.store(tmp_path / "scenery", worlds.scenery())
    for store in (nothing, scenery):
        perfetto.render(store, tmp_path / "t.pftrace")
        chrome.render(store, tmp_path / "t.json")
        assert parse_perfetto(tmp_path / "t.pftrace") == []
        assert parse_chrome(tmp_path / "t.json") == []


def test_text_is_utf8_and_escaped_where_json_needs_it(tmp_path: Path) -> None:
    chunks = [chunk for chunk in worlds.scenery() if chunk.table != "names"]
    names = worlds.chunk("names", [(0, 'Größe "→"\n')])
    rows = [(0, 10, 0, 0, None, None, None, None, 0)]
    store = worlds.store(tmp_path / "run", [*chunks, names, worlds.spans(rows)])
    chrome.render(store, tmp_path / "t.json")
    assert "Größe" in (tmp_path / "t.json").read_text(encoding="utf-8")
    assert parse_chrome(tmp_path / "t.json")[0][3] == 'Größe "→"\n'
    perfetto.render(store, tmp_path / "t.pftrace")
    assert parse_perfetto(tmp_path / "t.pftrace")[0][3] == 'Größe "→"\n'


def test_counters_keep_their_values_exactly(tmp_path: Path) -> None:
    values = [0.0, 1.0, 0.1, -2.0, -0.5, 2.0**53, 2.0**60, 1e-300, 127.0, 128.0]
    counters = worlds.chunk("counters", [(ts, 0, value) for ts, value in enumerate(values)])
    store = worlds.store(tmp_path / "run", [*worlds.scenery(), counters])
    chrome.render(store, tmp_path / "t.json")
    events = [event for event in read_chrome(tmp_path / "t.json") if event["ph"] == "C"]
    assert [float(event["args"]["usd"]) for event in events] == values
    perfetto.render(store, tmp_path / "t.pftrace")
    trace = proto.Trace()
    trace.ParseFromString((tmp_path / "t.pftrace").read_bytes())
    found = [
        packet.track_event.double_counter_value
        if packet.track_event.HasField("double_counter_value")
        else packet.track_event.counter_value
        for packet in trace.packet
        if packet.track_event.type == proto.TrackEvent.TYPE_COUNTER
    ]
    assert found == values


def test_busy_stages_count_the_stages_at_work(pipeline: Store) -> None:
    spans = worlds.table(pipeline, "spans")
    stage = (spans["track"] < 3) & (spans["depth"] == 0)
    start, end = spans["ts_ns"][stage], (spans["ts_ns"] + spans["dur_ns"])[stage]
    picture = select(pipeline, Selection())
    rows = [
        (ts, value)
        for batch in picture.batches()
        for ts, value in zip(batch.busy.ts_ns.tolist(), batch.busy.value.tolist(), strict=True)
    ]
    for (ts, value), (following, _) in zip(rows, [*rows[1:], (rows[-1][0] + 1, 0)], strict=True):
        for at in (ts, following - 1):
            assert value == int(((start <= at) & (at < end)).sum())
    values = [value for _, value in rows]
    assert all(a != b for a, b in pairwise(values))
    assert rows[-1][1] == 0


def test_a_store_too_large_to_draw_is_drawn_as_far_as_that_goes(
    pipeline: Store, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--window"):
        perfetto.render(pipeline, tmp_path / "t.pftrace", max_spans=50)
    store = worlds.store(tmp_path / "run", worlds.pipeline())
    words = render_default(store, max_spans=50)
    assert "toolkit export --window" in words
    drawn = parse_perfetto(store.folder / "trace.pftrace")
    assert 40 < len(drawn) <= 50
    assert drawn == parse_chrome(store.folder / "trace.json.gz")


def test_a_file_that_cannot_be_written_is_an_input_error(pipeline: Store, tmp_path: Path) -> None:
    for render in (perfetto.render, chrome.render):
        with pytest.raises(InputError, match="can be written"):
            render(pipeline, tmp_path / "missing" / "t.json.gz")
