"""What one would write without thinking of speed: the baselines of the benchmark.

Each does the work of its counterpart in the toolkit on plain Python values,
one span at a time: tuples to Parquet, dicts to JSON, objects to protobuf.  The
simulation is the one the tests hold ours to, `tests/oracle/published.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb
from published import PROMPT, Span


def name_of(token: int) -> str:
    return "prefill" if token == PROMPT else "decode"


def write_parquet(spans: Sequence[Span], file: Path) -> None:
    """Write what the toolkit's spans.parquet holds, column by column, in its order.

    Whole nanoseconds, sorted by time and track, the passes numbered, what is
    empty null.
    """
    rows = sorted(
        (round(start * 1000), stage, round(end * 1000), request, token)
        for start, end, stage, request, token in spans
    )
    steps: dict[tuple[int, int], int] = {}
    columns = {
        "ts_ns": [row[0] for row in rows],
        "dur_ns": [row[2] - row[0] for row in rows],
        "track": [row[1] for row in rows],
        "name": [int(row[4] != PROMPT) for row in rows],
        "request": [row[3] for row in rows],
        "token": [None if row[4] == PROMPT else row[4] for row in rows],
        "step": [steps.setdefault((row[3], row[4]), len(steps)) for row in rows],
        "bytes": [None] * len(rows),
        "depth": [0] * len(rows),
    }
    pq.write_table(pa.table(columns), file)


def write_json(spans: Iterable[Span], file: Path) -> None:
    """Write spans as Chrome trace events: a dict each, one `json.dumps`."""
    events = [
        {
            "ph": "X",
            "ts": start,
            "dur": end - start,
            "pid": stage,
            "tid": 0,
            "name": name_of(token),
            "args": {"request": request, "token": token},
        }
        for start, end, stage, request, token in spans
    ]
    file.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")


def write_pftrace(spans: Iterable[Span], file: Path) -> None:
    """Write spans as Perfetto packets: a begin and an end object each, one serialisation."""
    trace = pb.Trace()
    for start_us, end_us, stage, request, token in spans:
        begin = trace.packet.add()
        begin.timestamp = round(start_us * 1000)
        begin.trusted_packet_sequence_id = stage + 2
        begin.track_event.type = pb.TrackEvent.TYPE_SLICE_BEGIN
        begin.track_event.track_uuid = stage + 1
        begin.track_event.name = name_of(token)
        for key, value in (("request", request), ("token", token)):
            note = begin.track_event.debug_annotations.add()
            note.name = key
            note.int_value = value
        end = trace.packet.add()
        end.timestamp = round(end_us * 1000)
        end.trusted_packet_sequence_id = stage + 2
        end.track_event.type = pb.TrackEvent.TYPE_SLICE_END
        end.track_event.track_uuid = stage + 1
    file.write_bytes(trace.SerializeToString())
