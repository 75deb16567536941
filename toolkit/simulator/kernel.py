"""What both disciplines' compiled loops share: row buffers, a heap, and who waited for whom.

A *server* is anything that does one piece of work at a time: a stage, or the
link behind it.  A *pipeline* is servers in order; a *pass* of a batch goes
through all of them, and at every server passes keep the order in which they
entered the first.  So one pass is a single loop over the servers,

    start = max(ready, end of the pass before it);  ready = start + service,

and the order at the first server is all there is to decide.

State lives in a few record arrays of int64 fields.  That is for the compiler:
every array a compiled function is handed costs it code, and a second integer
width would compile every helper twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from toolkit.simulator.reference import ReferenceType, by_reference
from toolkit.trace.columns import NULL, name_key

__all__ = [
    "Records",
    "Rows",
    "heap_pop",
    "heap_push",
    "heap_remove",
    "heap_replace",
    "records",
    "span_rows",
    "wait_row",
    "wait_rows",
    "walk_back",
]

# numpy's integers, for numba would compile a helper anew for every value of Python's.
NOBODY = np.int64(NULL)
QUEUE = np.int64(name_key("queue"))
BEHIND_PROMPT = np.int64(name_key("behind_prompt"))
BEHIND_BATCH = np.int64(name_key("behind_batch"))
HEAD_OF_LINE = np.int64(name_key("head_of_line"))
LINK_BUSY = np.int64(name_key("link_busy"))
SWAPPED = np.int64(name_key("swapped"))
KV_ROOM = np.int64(name_key("kv_room"))
KV_TRANSFER = np.int64(name_key("transfer"))
PREFILL = np.int64(name_key("prefill"))
DECODE = np.int64(name_key("decode"))

I8 = npt.NDArray[np.int64]
Records = npt.NDArray[Any]
"""A structured array whose fields are all int64."""

SPAN_FIELDS = ("ts", "dur", "track", "name", "batch", "token", "step", "bytes")
WAIT_FIELDS = ("batch", "since", "until", "waited", "cause", "on_batch", "on_track")


class Rows(NamedTuple):
    """A buffer of rows being filled; `filled[0]` of them are in use."""

    filled: I8
    rows: Records

    @property
    def used(self) -> Records:
        """The rows in use, not copied."""
        return self.rows[: int(self.filled[0])]

    def grown(self) -> Rows:
        """Return the same rows with room for twice as many."""
        more = np.zeros(2 * len(self.rows), self.rows.dtype)
        more[: len(self.rows)] = self.rows
        return Rows(self.filled, more)


class RowsReference(ReferenceType):
    pass


rows_reference = by_reference(Rows._fields, RowsReference)

_OPTIONS: Any = {"cache": True, "nogil": True}
_NO_WRAPPERS: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

compiled = njit(**_OPTIONS)
"""What Python calls."""

inner = njit(**_OPTIONS, **_NO_WRAPPERS)
"""What only compiled code calls: without the wrappers Python would need, it compiles sooner."""


def records(fields: Sequence[str], count: int, fill: int = 0) -> Records:
    """Return `count` records of int64 fields, all set to `fill`."""
    rows = np.zeros(count, np.dtype([(field, np.int64) for field in fields], align=True))
    if fill != 0:
        for field in fields:
            rows[field] = fill
    return rows


def span_rows(capacity: int) -> Rows:
    """Return an empty buffer of spans; memory is taken as it fills."""
    return Rows(np.zeros(1, np.int64), records(SPAN_FIELDS, capacity))


def wait_rows(capacity: int) -> Rows:
    """Return an empty buffer of waits."""
    return Rows(np.zeros(1, np.int64), records(WAIT_FIELDS, capacity))


@inner
def wait_row(
    waits: Rows,
    batch: int,
    since: int,
    until: int,
    waited: int,
    cause: int,
    on_batch: int,
    on_track: int,
) -> None:
    """Append one wait of `waited` nanoseconds between two times, unless it is empty."""
    if waited <= 0:
        return
    row = waits.rows[waits.filled[0]]
    row.batch = batch
    row.since = since
    row.until = until
    row.waited = waited
    row.cause = cause
    row.on_batch = on_batch
    row.on_track = on_track
    waits.filled[0] += 1


@inner
def walk_back(
    waits: Rows,
    sums: I8,
    details: bool,
    batch: int,
    track: int,
    who: I8,
    what: I8,
    began: I8,
    ended: I8,
    place: int,
    since: int,
    until: int,
) -> None:
    """Say who held a server from `since` to `until`, walking back from the pass at `place`.

    `who`, `what`, `began`, `ended` (places,) remember the last passes in a
    ring: whose they were, and under which cause others waited for them.  Each
    prompt is named; decodes in a row are one stretch, named by the last of
    them.  What no pass filled, the server stood idle for the pass in front of
    it: head-of-line blocking by a batch that was not ready.  Where the ring
    does not reach back to `since`, its first pass stands for those before it.
    Without `details` each stretch is added to `sums` by cause.
    """
    places = len(who)
    cause, on, upto, first = np.int64(0), NOBODY, until, waits.filled[0]
    for _ in range(places):
        start = max(began[place], since)
        if cause != what[place] or (details and cause == BEHIND_PROMPT):
            if cause != 0:
                wait_row(waits, batch, until, upto, upto - until, cause, on, track)
            cause, on, upto = what[place], who[place], until
        until = start
        behind = who[place]
        place = place - 1 if place > 0 else places - 1
        end = max(ended[place], since)
        if end < start:
            wait_row(waits, batch, start, upto, upto - start, cause, on, track)
            wait_row(waits, batch, end, start, start - end, HEAD_OF_LINE, behind, track)
            cause, until = np.int64(0), end
        if until <= since:
            break
    if cause != 0:
        wait_row(waits, batch, since, upto, upto - since, cause, on, track)
    if not details:
        for row in range(first, waits.filled[0]):
            sums[waits.rows[row].cause] += waits.rows[row].waited
        waits.filled[0] = first


# A heap is an int64 array (capacity, 2) of (time, key), smallest first; `size[0]` are in use.


@inner
def heap_push(heap: I8, size: I8, time: int, key: int) -> None:
    """Add an entry."""
    child = size[0]
    size[0] = child + 1
    while child > 0:
        parent = (child - 1) >> 1
        if heap[parent, 0] < time or (heap[parent, 0] == time and heap[parent, 1] <= key):
            break
        heap[child, 0] = heap[parent, 0]
        heap[child, 1] = heap[parent, 1]
        child = parent
    heap[child, 0] = time
    heap[child, 1] = key


@inner
def heap_replace(heap: I8, size: int, time: int, key: int) -> None:
    """Put an entry in the place of the smallest, of `size` entries."""
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            heap[right, 0] < heap[child, 0]
            or (heap[right, 0] == heap[child, 0] and heap[right, 1] < heap[child, 1])
        ):
            child = right
        if time < heap[child, 0] or (time == heap[child, 0] and key <= heap[child, 1]):
            break
        heap[hole, 0] = heap[child, 0]
        heap[hole, 1] = heap[child, 1]
        hole = child
    heap[hole, 0] = time
    heap[hole, 1] = key


@inner
def heap_pop(heap: I8, size: I8) -> tuple[int, int]:
    """Remove the smallest entry and return it as (time, key)."""
    top_time, top_key = heap[0, 0], heap[0, 1]
    last = size[0] - 1
    size[0] = last
    heap_replace(heap, last, heap[last, 0], heap[last, 1])
    return top_time, top_key


@inner
def heap_remove(heap: I8, size: I8, key: int) -> None:
    """Remove the entry of a key, which has to be there, by looking for it."""
    hole = 0
    while heap[hole, 1] != key:
        hole += 1
    last = size[0] - 1
    size[0] = last
    if hole == last:
        return
    time, moved = heap[last, 0], heap[last, 1]
    while hole > 0:
        parent = (hole - 1) >> 1
        heap[hole, 0] = heap[parent, 0]
        heap[hole, 1] = heap[parent, 1]
        hole = parent
    heap_replace(heap, last, time, moved)
