"""What both disciplines' compiled loops share: a heap, a history of each server, and who waited for whom.

A *server* is anything that does one piece of work at a time: a stage, or the
link behind it.  A *pipeline* is servers in order; a *pass* of a batch goes
through all of them, and at every server passes keep the order in which they
entered the first.  So one pass is a single loop over the servers,

    start = max(ready, end of the pass before it);  ready = start + service,

and the order at the first server is all there is to decide.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from toolkit.trace.columns import NULL, name_key

__all__ = [
    "Heap",
    "SpanRows",
    "WaitRows",
    "heap_pop",
    "heap_push",
    "new_rows",
    "wait_row",
    "walk_back",
]

QUEUE = name_key("queue")
BEHIND_PROMPT = name_key("behind_prompt")
HEAD_OF_LINE = name_key("head_of_line")

I8 = npt.NDArray[np.int64]
I4 = npt.NDArray[np.int32]


class SpanRows(NamedTuple):
    """Span columns being filled; `count[0]` rows are in use."""

    count: I8
    ts: I8
    dur: I8
    track: I4
    name: I4
    batch: I4
    token: I4
    step: I4
    bytes: I8


class WaitRows(NamedTuple):
    """Wait columns being filled, by batch and server; `count[0]` rows are in use."""

    count: I8
    batch: I4
    since: I8
    until: I8
    waited: I8
    cause: I4
    on_batch: I4
    on_track: I4


T = TypeVar("T", SpanRows, WaitRows)


def new_rows(kind: type[T], capacity: int) -> T:
    """Return empty columns of `capacity` rows."""
    types = {"count": np.int64, "ts": np.int64, "dur": np.int64, "bytes": np.int64}
    types |= {"since": np.int64, "until": np.int64, "waited": np.int64}
    columns = {
        field: np.zeros(1 if field == "count" else capacity, types.get(field, np.int32))
        for field in kind._fields
    }
    return kind(**columns)


@njit(cache=True, nogil=True, forceinline=True)
def wait_row(waits, batch, since, until, waited, cause, on_batch, on_track):
    """Append one wait of `waited` nanoseconds between two times, unless it is empty."""
    if waited <= 0:
        return
    row = waits.count[0]
    waits.batch[row] = batch
    waits.since[row] = since
    waits.until[row] = until
    waits.waited[row] = waited
    waits.cause[row] = cause
    waits.on_batch[row] = on_batch
    waits.on_track[row] = on_track
    waits.count[0] = row + 1


@njit(cache=True, nogil=True)
def walk_back(
    waits, sums, details, batch, track, who, what, began, ended, place, since, until
):
    """Say who held a server from `since` to `until`, walking back from the pass at `place`.

    `who`, `what`, `began`, `ended` (places,) remember the last passes in a
    ring: whose they were, and under which cause others waited for them.  Each
    prompt is named; decodes in a row are one stretch, named by the last of
    them.  What no pass filled, the server stood idle for the pass in front of
    it: head-of-line blocking by a batch that was not ready.
    """
    places = len(who)
    cause, on, upto = 0, NULL, until
    for _ in range(places):
        start = max(began[place], since)
        if cause != what[place] or (details and cause == BEHIND_PROMPT):
            _stretch(waits, sums, details, batch, until, upto, cause, on, track)
            cause, on, upto = what[place], who[place], until
        until = start
        behind = who[place]
        place = place - 1 if place > 0 else places - 1
        end = max(ended[place], since)
        if end < start:
            _stretch(waits, sums, details, batch, start, upto, cause, on, track)
            _stretch(waits, sums, details, batch, end, start, HEAD_OF_LINE, behind, track)
            cause, until = 0, end
        if until <= since:
            break
    _stretch(waits, sums, details, batch, until, upto, cause, on, track)
    _stretch(waits, sums, details, batch, since, until, QUEUE, NULL, track)


@njit(cache=True, nogil=True)
def _stretch(waits, sums, details, batch, since, until, cause, on, track):
    """Write one stretch of waiting, or add it to the batch's sums where details are not kept."""
    if cause != 0:
        if details:
            wait_row(waits, batch, since, until, until - since, cause, on, track)
        else:
            sums[cause] += until - since


class Heap(NamedTuple):
    """A binary heap of (time, key), smallest first; `size[0]` entries."""

    size: I8
    time: I8
    key: I8


@njit(cache=True, nogil=True)
def heap_push(heap, time, key):
    """Add an entry."""
    child = heap.size[0]
    heap.size[0] = child + 1
    while child > 0:
        parent = (child - 1) >> 1
        if heap.time[parent] < time or (heap.time[parent] == time and heap.key[parent] <= key):
            break
        heap.time[child] = heap.time[parent]
        heap.key[child] = heap.key[parent]
        child = parent
    heap.time[child] = time
    heap.key[child] = key


@njit(cache=True, nogil=True)
def heap_pop(heap):
    """Remove the smallest entry and return it as (time, key)."""
    top_time = heap.time[0]
    top_key = heap.key[0]
    last = heap.size[0] - 1
    heap.size[0] = last
    time = heap.time[last]
    key = heap.key[last]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= last:
            break
        right = child + 1
        if right < last and (
            heap.time[right] < heap.time[child]
            or (heap.time[right] == heap.time[child] and heap.key[right] < heap.key[child])
        ):
            child = right
        if time < heap.time[child] or (time == heap.time[child] and key <= heap.key[child]):
            break
        heap.time[hole] = heap.time[child]
        heap.key[hole] = heap.key[child]
        hole = child
    heap.time[hole] = time
    heap.key[hole] = key
    return top_time, top_key
