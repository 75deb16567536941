"""What one would write without thinking of speed: the baselines of the benchmark.

Each does the work of its counterpart in the toolkit on plain Python values,
one span at a time: a list of work, dicts to JSON, objects to protobuf, tuples
to Parquet.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

Span = tuple[int, int, int, str, int, int]
"""(start ns, duration ns, stage, name, request, decode pass or -1)."""

COLUMNS = ("ts_ns", "dur_ns", "track", "name", "request", "token")


def simulate(
    tokens: Sequence[int],
    arrivals_us: Sequence[float],
    stages: int,
    prompt_us: float,
    token_us: float,
    spans: list[Span] | None = None,
) -> list[float]:
    """Return when each request ends, us: the published baseline's work list, item by item.

    With `spans` every pass is appended to it.
    """
    clock = [0.0] * stages
    ends = [0.0] * len(tokens)
    work = deque((0, request, -1, request * prompt_us) for request in range(stages))
    entered = stages
    while work:
        stage, request, token, ready = work.popleft()
        start = max(ready, clock[stage])
        end = clock[stage] = start + (prompt_us if token < 0 else token_us)
        if spans is not None:
            name = "prefill" if token < 0 else "decode"
            spans.append(
                (round(start * 1000), round((end - start) * 1000), stage, name, request, token)
            )
        if stage < stages - 1:
            work.append((stage + 1, request, token, end))
        elif token < tokens[request] - 1:
            work.append((0, request, token + 1, end))
        else:
            ends[request] = end
            if entered < len(tokens):
                work.append((0, entered, -1, max(clock[0], arrivals_us[entered])))
                entered += 1
    return ends


def write_parquet(spans: Sequence[Span], file: Path) -> None:
    """Write spans to Parquet the way tuples invite to: transpose, guess types, write."""
    columns = zip(*sorted(spans), strict=True)
    pq.write_table(pa.table(dict(zip(COLUMNS, map(list, columns), strict=True))), file)


def write_json(spans: Iterable[Span], file: Path) -> None:
    """Write spans as Chrome trace events: a dict each, one `json.dumps`."""
    events = [
        {
            "ph": "X",
            "ts": ts / 1000,
            "dur": dur / 1000,
            "pid": stage,
            "tid": 0,
            "name": name,
            "args": {"request": request, "token": token},
        }
        for ts, dur, stage, name, request, token in spans
    ]
    file.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")


def write_pftrace(spans: Iterable[Span], file: Path) -> None:
    """Write spans as Perfetto packets: a begin and an end object each, one serialisation."""
    trace = pb.Trace()
    for ts, dur, stage, name, request, token in spans:
        begin = trace.packet.add()
        begin.timestamp = ts
        begin.trusted_packet_sequence_id = stage + 2
        begin.track_event.type = pb.TrackEvent.TYPE_SLICE_BEGIN
        begin.track_event.track_uuid = stage + 1
        begin.track_event.name = name
        for key, value in (("request", request), ("token", token)):
            note = begin.track_event.debug_annotations.add()
            note.name = key
            note.int_value = value
        end = trace.packet.add()
        end.timestamp = ts + dur
        end.trusted_packet_sequence_id = stage + 2
        end.track_event.type = pb.TrackEvent.TYPE_SLICE_END
        end.track_event.track_uuid = stage + 1
    file.write_bytes(trace.SerializeToString())
