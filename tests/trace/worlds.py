"""Small deployments made of nothing but chunks: what a simulation might have said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.trace.columns import NAMES, NULL, TABLES, Chunk, name_key
from toolkit.trace.store import Store, write

MANIFEST = {"name": "world", "title": "a test world"}


def chunk(table: str, rows: Sequence[Sequence[Any]]) -> Chunk:
    """Return rows as a chunk; None stands for an empty value, as do columns left out at the end."""
    columns: dict[str, Any] = {}
    for position, column in enumerate(TABLES[table].columns):
        values = [row[position] if position < len(row) else None for row in rows]
        if column.type == "string":
            columns[column.name] = values
        else:
            empty = np.nan if column.type == "float64" else NULL
            columns[column.name] = np.array(
                [empty if value is None else value for value in values], column.type
            )
    return Chunk(table, columns)


def spans(rows: Sequence[Sequence[Any]]) -> Chunk:
    """Return (ts_ns, dur_ns, track, name, request, token, step, bytes, depth) rows as a chunk."""
    return chunk("spans", sorted(rows, key=lambda row: (row[0], row[2])))


def scenery(stages: int = 2, links: int = 1, lanes: int = 2, requests: int = 4) -> list[Chunk]:
    """Return the small tables: stages on machines of their own, then links, then lanes."""
    tracks: list[tuple[Any, ...]] = [(s, "stage", s, s, f"stage {s}", s) for s in range(stages)]
    tracks += [(stages + k, "link", k, k, f"m{k:02d} out", k) for k in range(links)]
    first = stages + links
    tracks += [(first + k, "lane", None, k, f"lane {k:02d}", k) for k in range(lanes)]
    return [
        chunk(
            "machines",
            [
                (m, f"m{m:02d} stage-{m}", "colocated", 0, m, 4.0, None, None, 18.5)
                for m in range(stages)
            ],
        ),
        chunk("tracks", tracks),
        chunk("names", list(enumerate(NAMES))),
        chunk(
            "counter_defs",
            [
                (0, None, "cost so far", "usd", "cost"),
                *((1 + m, m, "KV bytes", "bytes", "kv") for m in range(stages)),
            ],
        ),
        chunk(
            "requests",
            [(r, 0, 0, 1, None, 1, 1, 2, 10, 3, 1, 0, None, r, "served") for r in range(requests)],
        ),
    ]


def pipeline(
    stages: int = 3, requests: int = 4, tokens: int = 5, prompt_ns: int = 5000, token_ns: int = 700
) -> list[Chunk]:
    """Return a pipeline that serves requests one after another, with every feature in use.

    Each request has a lane, waits in it, is prefilled, moves its cache over the link and decodes;
    a flow ties its prompt, its transfer and its first token together.
    """
    link, lane = stages, stages + 1
    rows: list[tuple[Any, ...]] = []
    flows: list[tuple[Any, ...]] = []
    counters: list[tuple[Any, ...]] = []
    now, step = 1000, 0
    prefill, decode, queued, transfer, kv = map(
        name_key, ("prefill", "decode", "queued", "transfer", "kv_transfer")
    )
    for request in range(requests):
        lane_track = lane + request % 2
        rows.append((now - 300, 300, lane_track, queued, request, None, None, None, 0))
        began = now
        for stage in range(stages):
            rows.append((now, prompt_ns, stage, prefill, request, None, step, None, 0))
            rows.append((now + 10, prompt_ns // 2, stage, transfer, request, None, step, None, 1))
            now += prompt_ns
        flows.append((request, 0, stages - 1, now - prompt_ns, 0))
        rows.append((began, now - began, lane_track, prefill, request, None, None, None, 0))
        rows.append((now, 900, link, kv, request, None, step, 10**9 + request, 0))
        rows.append((now, 900, lane_track, transfer, request, None, None, None, 0))
        flows.append((request, 1, link, now, 0))
        counters += [(now, 0, now * 0.25e-3), (now, 1 + request % stages, float(request << 30))]
        now += 900
        flows.append((request, 2, 0, now, 0))
        began = now
        for token in range(tokens):
            step += 1
            for stage in range(stages):
                rows.append((now, token_ns, stage, decode, request, token, step, None, 0))
                now += token_ns
        rows.append((began, now - began, lane_track, decode, request, None, None, None, 0))
        now += 300
        step += 1
    totals: dict[tuple[int, int], list[int]] = {}
    for _, dur, track, name, *_, size, depth in rows:
        if depth == 0:
            one = totals.setdefault((track, name), [0, 0, 0])
            one[0] += dur
            one[1] += 1
            one[2] += size or 0
    return [
        *scenery(stages, 1, 2, requests),
        spans(rows),
        chunk("flows", flows),
        chunk("counters", counters),
        chunk("totals", [(*key, *one) for key, one in sorted(totals.items())]),
        chunk("waits", [(0, 0, 300, 300, name_key("queue"), None, 0)]),
    ]


def large(spans_wanted: int, stages: int = 8, *, seed: int = 0) -> Iterator[Chunk]:
    """Yield a pipeline of `stages` with microbatches in flight on each, in many chunks."""
    yield from scenery(stages, 0, 0, 1000)
    passes = spans_wanted // stages
    dur = 4_600_000
    rng = np.random.default_rng(seed)
    per_chunk = max(30_000 // stages, 1)
    for first in range(0, passes, per_chunk):
        p = np.arange(first, min(first + per_chunk, passes), dtype=np.int64)
        stage = np.arange(stages, dtype=np.int32)
        ts = p[:, None] * dur + np.zeros(stages, np.int64)
        n = ts.size
        step = np.maximum(p[:, None] - stage, 0)
        yield Chunk(
            "spans",
            {
                "ts_ns": ts.ravel(),
                "dur_ns": (dur - rng.integers(0, 2, n)).astype(np.int64),
                "track": np.tile(stage, len(p)),
                "name": np.ones(n, np.int32),
                "request": (step % 1000).astype(np.int32).ravel(),
                "token": (step // stages % 170).astype(np.int32).ravel(),
                "step": step.astype(np.int32).ravel(),
                "bytes": np.full(n, NULL, np.int64),
                "depth": np.zeros(n, np.int8),
            },
        )


def store(folder: Path, chunks: Sequence[Chunk] | Iterator[Chunk]) -> Store:
    """Write chunks as a run and open it."""
    return Store(write(folder, chunks, MANIFEST))


def table(opened: Store, name: str) -> dict[str, npt.NDArray[Any]]:
    """Return a table of a store as numpy columns, nulls as NULL."""
    read = opened.read(name)
    return {
        column: (
            read.column(column).fill_null(NULL).to_numpy()
            if TABLES[name].columns[position].type.startswith("int")
            else np.array(read.column(column).to_pylist(), object)
        )
        for position, column in enumerate(read.column_names)
    }
