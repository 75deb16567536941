"""From filled span buffers to chunks in the order of a store, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from toolkit.simulator.kernel import SpanRows
from toolkit.trace.columns import Chunk

__all__ = ["SpanSorter", "columns_of"]

Columns = Mapping[str, npt.NDArray[np.generic]]

NAMES = ("ts_ns", "dur_ns", "track", "name", "request", "token", "step", "bytes")


def columns_of(rows: SpanRows, leads: npt.NDArray[np.int64] | None = None) -> Columns:
    """Return copies of a buffer's rows in use as span columns; batches become their leads."""
    used = slice(0, int(rows.count[0]))
    batch = rows.batch[used]
    request = batch.copy() if leads is None else leads[batch].astype(np.int32)
    return {
        "ts_ns": rows.ts[used].copy(),
        "dur_ns": rows.dur[used].copy(),
        "track": rows.track[used].copy(),
        "name": rows.name[used].copy(),
        "request": request,
        "token": rows.token[used].copy(),
        "step": rows.step[used].copy(),
        "bytes": rows.bytes[used].copy(),
    }


class SpanSorter:
    """Takes spans roughly in order of time, gives them back sorted by (time, track).

    What was pushed is held back until a watermark passes it: the time before
    which no later span will start.
    """

    def __init__(self, tracks: npt.NDArray[np.bool_] | None = None) -> None:
        """Keep spans of all tracks, or of those marked in `tracks` (tracks,)."""
        self._kept = tracks
        self._pending: list[Columns] = []

    def push(self, columns: Columns) -> None:
        """Add spans, in any order, none before a watermark already passed."""
        if self._kept is not None:
            chosen = self._kept[columns["track"]]
            columns = {name: values[chosen] for name, values in columns.items()}
        self._pending.append(columns)

    def release(self, watermark_ns: int | None = None) -> Iterator[Chunk]:
        """Yield the spans that start before the watermark (None: all), sorted."""
        if not self._pending:
            return
        pending = {
            name: np.concatenate([columns[name] for columns in self._pending]) for name in NAMES
        }
        self._pending = []
        if watermark_ns is not None:
            early = pending["ts_ns"] < watermark_ns
            self._pending = [{name: values[~early] for name, values in pending.items()}]
            pending = {name: values[early] for name, values in pending.items()}
        if len(pending["ts_ns"]):
            yield _chunk(pending)


def _chunk(columns: Columns) -> Chunk:
    """Return spans sorted by time, those of equal time by track.

    Each track's spans are pushed in order of time, so sorting by track first
    (a radix sort) leaves runs that the second sort only merges.
    """
    track = columns["track"]
    few = int(track.max()) <= np.iinfo(np.int16).max
    by_track = np.argsort(track.astype(np.int16) if few else track, kind="stable")
    order = by_track[np.argsort(columns["ts_ns"][by_track], kind="stable")]
    ordered = {name: values[order] for name, values in columns.items()}
    return Chunk("spans", {**ordered, "depth": np.zeros(len(order), np.int8)})
