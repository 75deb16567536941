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

COLUMNS = ("start_us", "end_us", "stage", "request", "token")


def name_of(token: int) -> str:
    return "prefill" if token == PROMPT else "decode"


def write_parquet(spans: Sequence[Span], file: Path) -> None:
    """Write spans to Parquet the way tuples invite to: transpose, guess types, write."""
    columns = zip(*sorted(spans), strict=True)
    pq.write_table(pa.table(dict(zip(COLUMNS, map(list, columns), strict=True))), file)


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
