"""Questions to a stored run of a million spans, ours beside the plain way with the same answers.

Ours is the library: open the trace, query a view.  Plain is what one writes
without it: read the columns needed from Parquet into lists, and loop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from big_store import scenario

import toolkit
from toolkit import analytics, report
from toolkit.trace.store import write

SPANS = 1_050_000

Work = tuple[str, int, Callable[[], object], int, Callable[[], object]]


def pairs(folder: Path) -> Iterator[Work]:
    """Yield each question: on our side, and on the plain one."""
    checked = scenario(SPANS)
    manifest = {"name": "queries", "scenario": checked.document}
    run = write(folder / "queries", toolkit.simulate(checked), manifest)
    with analytics.open(run) as opened:
        (spans,) = opened.sql("SELECT count(*) FROM store.spans").fetchall()[0]
        (request,) = opened.sql("SELECT count(*) // 2 FROM requests").fetchall()[0]
    check(run, request)
    page = folder / "queries-report"
    questions: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("busy time by stage", partial(ask, run, BUSY), partial(busy, run)),
        ("idle time by stage", partial(ask, run, IDLE), partial(idle, run)),
        ("p99 of time to first token", partial(ask, run, LATE), partial(late, run)),
        ("p99 of inter-token latency", partial(ask, run, GAPS), partial(gaps, run)),
        (
            "spans of one request",
            partial(ask, run, ONE, request=request),
            partial(one, run, request),
        ),
        ("spans of 100 ms", partial(ask, run, WINDOW), partial(window, run)),
        ("report, whole", lambda: report.write([analytics.open(run)], page), partial(all_of, run)),
    ]
    for what, ours, plain in questions:
        yield what, spans, ours, spans, plain


BUSY = "SELECT track_name, sum(dur_ns) FROM spans WHERE track_kind = 'stage' GROUP BY ALL"
IDLE = "SELECT track, sum(dur_ns) FROM idle_intervals GROUP BY track"
LATE = "SELECT value_s FROM latency_percentiles WHERE metric = 'ttft' AND percentile = 99"
GAPS = "SELECT value_s FROM itl_summary WHERE percentile = 99"
ONE = "SELECT * FROM spans WHERE request = $request"
SINCE_NS, UNTIL_NS = 100_000_000_000, 100_100_000_000
WINDOW = f"SELECT * FROM spans WHERE ts_ns >= {SINCE_NS} AND ts_ns < {UNTIL_NS}"


def ask(run: Path, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with analytics.open(run) as opened:
        rows: list[tuple[Any, ...]] = opened.sql(query, **parameters).fetchall()
    return rows


# -- the plain way -------------------------------------------------------------------------------


def columns(run: Path, table: str, *names: str) -> list[tuple[Any, ...]]:
    found = pq.read_table(run / f"{table}.parquet", columns=list(names)).to_pydict()
    return list(zip(*(found[name] for name in names), strict=True))


def stages(run: Path) -> dict[int, str]:
    rows = columns(run, "tracks", "track", "kind", "name")
    return {track: name for track, kind, name in rows if kind == "stage"}


def busy(run: Path) -> dict[str, int]:
    names, total = stages(run), defaultdict[str, int](int)
    for track, dur in columns(run, "spans", "track", "dur_ns"):
        if track in names:
            total[names[track]] += dur
    return total


def idle(run: Path) -> dict[int, int]:
    until = dict.fromkeys(stages(run), 0)
    total = dict.fromkeys(until, 0)
    for ts, dur, track in columns(run, "spans", "ts_ns", "dur_ns", "track"):
        if track in until:
            total[track] += ts - until[track]
            until[track] = ts + dur
    makespan = max(finish for (finish,) in columns(run, "requests", "finish_ns"))
    return {track: total[track] + makespan - until[track] for track in total}


def late(run: Path) -> float:
    rows = columns(run, "requests", "arrival_ns", "first_token_ns", "size")
    values = [first - arrival for arrival, first, size in rows for _ in range(size)]
    return float(np.percentile(values, 99)) / 1e9


def gaps(run: Path) -> float:
    names = {text: key for key, text in columns(run, "names", "name", "text")}
    last = max(stages(run))
    before = dict(columns(run, "requests", "request", "first_token_ns"))
    sizes = dict(columns(run, "requests", "request", "size"))
    values: list[int] = []
    for ts, dur, track, name, request in columns(
        run, "spans", "ts_ns", "dur_ns", "track", "name", "request"
    ):
        if track == last and name == names["decode"]:
            values.extend([ts + dur - before[request]] * sizes[request])
            before[request] = ts + dur
    return float(np.percentile(values, 99)) / 1e9


def one(run: Path, request: int) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "spans.parquet").to_pylist()
    return [row for row in rows if row["request"] == request]


def window(run: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(run / "spans.parquet").to_pylist()
    return [row for row in rows if SINCE_NS <= row["ts_ns"] < UNTIL_NS]


def all_of(run: Path) -> tuple[object, ...]:
    """Compute the four figures above, a small part of what the report has."""
    return busy(run), idle(run), late(run), gaps(run)


def check(run: Path, request: int) -> None:
    """Stop where the two sides do not agree: then nothing is worth measuring."""
    assert dict(ask(run, BUSY)) == busy(run)
    assert dict(ask(run, IDLE)) == {t: ns for t, ns in idle(run).items() if ns}
    assert abs(ask(run, LATE)[0][0] / late(run) - 1) < 1e-9
    assert abs(ask(run, GAPS)[0][0] / gaps(run) - 1) < 1e-9
    assert len(ask(run, ONE, request=request)) == len(one(run, request))
    assert len(ask(run, WINDOW)) == len(window(run))
