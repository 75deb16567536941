"""From filled span buffers to chunks in the order of a store, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from toolkit.simulator.kernel import Rows
from toolkit.trace.columns import NULL, Chunk

__all__ = ["Columns", "SpanSorter", "columns_of", "waits_chunk"]

I8 = npt.NDArray[np.int64]

Columns = Mapping[str, npt.NDArray[np.generic]]

NAMES = ("ts_ns", "dur_ns", "track", "name", "request", "token", "step", "bytes")


def columns_of(buffer: Rows, leads: I8) -> Columns:
    """Return the spans in use as columns of their stored types; batches become their leads."""
    rows = buffer.used
    return {
        "ts_ns": rows["ts"].copy(),
        "dur_ns": rows["dur"].copy(),
        "track": rows["track"].astype(np.int32),
        "name": rows["name"].astype(np.int32),
        "request": leads[rows["batch"]].astype(np.int32),
        "token": rows["token"].astype(np.int32),
        "step": rows["step"].astype(np.int32),
        "bytes": rows["bytes"].copy(),
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
