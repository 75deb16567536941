"""Spans too short to see, merged: a long trace at the resolution of a screen.

Neighbours of the same name on a track become one span where each of them, and
the gap between them, is shorter than a pixel.  Sub-spans and flows are left
out; what is merged loses its request, token and step, and sums its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.trace.columns import NULL, TABLES
from toolkit.trace.selection import Batch, Counters

__all__ = ["merged"]

_Columns = dict[str, npt.NDArray[Any]]
_KEYS = ("request", "token", "step")


def merged(batches: Iterable[Batch], pixel_ns: int) -> Iterator[Batch]:
    """Yield the spans of `batches` with those below `pixel_ns` merged.

    Spans of one track stay in order; over all tracks they need not be.  One
    span a track is held back until the next, so memory does not grow.
    """
    names = TABLES["spans"].column_names
    open_spans: _Columns = {name: np.empty(0, np.int64) for name in (*names, "short")}
    for batch in batches:
        top = batch.columns["depth"] == 0
        rows = {name: batch.columns[name][top] for name in names}
        rows["short"] = (rows["dur_ns"] < pixel_ns).astype(np.int64)
        done, open_spans = _merge(
            {name: np.concatenate([open_spans[name], rows[name]]) for name in rows}, pixel_ns
        )
        yield _batch(done, batch.busy)
    empty = np.empty(0, np.int64)
    yield _batch(open_spans, Counters(empty, empty, np.empty(0)))


def _merge(rows: _Columns, pixel_ns: int) -> tuple[_Columns, _Columns]:
    """Return the spans that are finished, and the last of each track, which may still grow."""
    if not len(rows["track"]):
        return rows, rows
    by_track = np.argsort(rows["track"], kind="stable")
    rows = {name: values[by_track] for name, values in rows.items()}
    ts, end, track = rows["ts_ns"], rows["ts_ns"] + rows["dur_ns"], rows["track"]
    joined = (
        (track[1:] == track[:-1])
        & (rows["name"][1:] == rows["name"][:-1])
        & (rows["short"][1:] & rows["short"][:-1]).astype(bool)
        & (ts[1:] - end[:-1] < pixel_ns)
    )
    first = np.flatnonzero(np.append(True, ~joined))
    last = np.append(first[1:], len(ts)) - 1
    made = {name: values[first] for name, values in rows.items()}
    made["dur_ns"] = end[last] - ts[first]
    several = last > first
    for name in _KEYS:
        made[name][several] = NULL
    moved = np.add.reduceat(np.maximum(rows["bytes"], 0), first)
    made["bytes"] = np.where(moved > 0, moved, made["bytes"])
    newest = np.append(made["track"][1:] != made["track"][:-1], True)
    return (
        {name: values[~newest] for name, values in made.items()},
        {name: values[newest] for name, values in made.items()},
    )


def _batch(rows: _Columns, busy: Counters) -> Batch:
    empty = np.empty(0, np.int64)
    columns = {column.name: rows[column.name] for column in TABLES["spans"].columns}
    return Batch(columns, empty, empty, empty, busy)
