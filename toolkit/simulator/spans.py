"""From span and wait buffers to chunks in the order of a store, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.simulator.kernel import (
    I8,
    Records,
    Rows,
    compiled,
    heap_push,
    heap_replace,
    span_rows,
)
from toolkit.trace.columns import NULL, Chunk

__all__ = ["SPANS_AT_ONCE", "SpanSorter", "waits_chunk"]

SPANS_AT_ONCE = 1 << 18
"""Spans written before they are sorted and passed on."""

COLUMNS = {
    "ts_ns": np.int64,
    "dur_ns": np.int64,
    "track": np.int32,
    "name": np.int32,
    "request": np.int32,
    "token": np.int32,
    "step": np.int32,
    "bytes": np.int64,
}


def waits_chunk(buffer: Rows, leads: I8) -> Chunk:
    """Return the waits in use as rows of `waits`; batches become their leads."""
    rows = buffer.used
    on = rows["on_batch"]
    return Chunk(
        "waits",
        {
            "request": leads[rows["batch"]].astype(np.int32),
            "from_ns": rows["since"].copy(),
            "until_ns": rows["until"].copy(),
            "wait_ns": rows["waited"].copy(),
            "cause": rows["cause"].astype(np.int32),
            "on_request": np.where(on == NULL, NULL, leads[on]).astype(np.int32),
            "on_track": rows["on_track"].astype(np.int32),
        },
    )


class SpanSorter:
    """Takes spans as they are played, gives them back sorted by (time, track).

    Players append to `buffer`, each track's spans in order of time, and say up
    to when they have played: the watermark, before which no later span will
    start.  What lies before it is merged, track by track and with the spans of
    request lanes, which are known beforehand; what lies behind it stays.
    """

    def __init__(
        self,
        leads: I8,
        lanes: Records,
        first_lane: int,
        kept: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Merge with the spans of `lanes`, sorted, on tracks from `first_lane` on.

        `leads` (batches,) is the request each batch's spans carry; `kept`
        (tracks,) marks the tracks to keep, None keeps all.
        """
        self.buffer = span_rows(2 * SPANS_AT_ONCE)
        self._leads = leads
        self._lanes = lanes
        self._next_lane = 0
        self._first_lane = first_lane
        tracks = max(first_lane, int(lanes["track"].max(initial=-1)) + 1)
        self._kept = np.ones(tracks, np.bool_) if kept is None else kept

    def add(self, rows: Records) -> None:
        """Append spans that are known beforehand, each track's in order of time."""
        while int(self.buffer.filled[0]) + len(rows) > len(self.buffer.rows) // 2:
            self.buffer = self.buffer.grown()
        first = int(self.buffer.filled[0])
        self.buffer.rows[first : first + len(rows)] = rows
        self.buffer.filled[0] += len(rows)

    def release(self, watermark_ns: int | None = None) -> Iterator[Chunk]:
        """Yield the spans that start before the watermark (None: all), sorted."""
        watermark = np.iinfo(np.int64).max if watermark_ns is None else watermark_ns
        until = int(np.searchsorted(self._lanes["ts"], watermark))
        lanes = self._lanes[self._next_lane : until]
        self._next_lane = until
        most = int(self.buffer.filled[0]) + len(lanes)
        columns = {name: np.empty(most, dtype) for name, dtype in COLUMNS.items()}
        count = _merge(
            self.buffer, lanes, self._first_lane, watermark, self._leads, self._kept,
            tuple(columns.values()),
        )  # fmt: skip
        if 2 * int(self.buffer.filled[0]) > len(self.buffer.rows):
            self.buffer = self.buffer.grown()
        if count:
            used = {name: values[:count] for name, values in columns.items()}
            yield Chunk("spans", {**used, "depth": np.zeros(count, np.int8)})


@compiled
def _merge(
    buffer: Rows,
    lanes: Records,
    first_lane: int,
    watermark: int,
    leads: I8,
    kept: npt.NDArray[np.bool_],
    columns: tuple[Any, ...],
) -> int:
    """Merge rows before the watermark into columns, move the others to the front; count rows out.

    The rows of each track form a list; a heap of the lists' first rows, and of
    the first lane span, says which row is next.
    """
    rows, count = buffer.rows, buffer.filled[0]
    following = np.full(count, NULL, np.int64)
    first = np.full(first_lane, NULL, np.int64)
    last = np.full(first_lane, NULL, np.int64)
    for at in range(count):
        if rows[at].ts < watermark:
            track = rows[at].track
            if first[track] == NULL:
                first[track] = at
            else:
                following[last[track]] = at
            last[track] = at
    heap = np.empty((first_lane + 1, 2), np.int64)
    size = np.zeros(1, np.int64)
    for track in range(first_lane):
        if first[track] != NULL:
            heap_push(heap, size, rows[first[track]].ts, np.int64(track))
    lane = 0
    if len(lanes) > 0:
        heap_push(heap, size, lanes[0].ts, lanes[0].track)
    ts, dur, tracks, name, request, token, step, moved = columns
    out = 0
    while size[0] > 0:
        track = heap[0, 1]
        if track >= first_lane:
            row = lanes[lane]
            lane += 1
            more = lane < len(lanes)
            upcoming = lanes[lane if more else 0]
        else:
            at = first[track]
            row = rows[at]
            at = following[at]
            more = at != NULL
            first[track] = at
            upcoming = rows[at if more else 0]
        if kept[track]:
            ts[out] = row.ts
            dur[out] = row.dur
            tracks[out] = track
            name[out] = row.name
            request[out] = row.batch if track >= first_lane else leads[row.batch]
            token[out] = row.token
            step[out] = row.step
            moved[out] = row.bytes
            out += 1
        if more:
            heap_replace(heap, size[0], upcoming.ts, upcoming.track)
        else:
            size[0] -= 1
            heap_replace(heap, size[0], heap[size[0], 0], heap[size[0], 1])
    left = 0
    for at in range(count):
        if rows[at].ts >= watermark:
            rows[left] = rows[at]
            left += 1
    buffer.filled[0] = left
    return out
