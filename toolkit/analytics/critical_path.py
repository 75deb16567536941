"""Why did it end when it did: the chain of work, back through blockers, that a request hung on.

A wait names whom it was for, but that one may have waited too: in a queue
everybody stands behind the one in front.  The critical path follows the chain
to its work.  It starts at the request's finish and goes back in time: a piece
of work goes back to its own start; a wait, which ended because somebody let
go, goes on with what that one did last.  So the path is pieces that lie end to
end, each of which had to be over before the next could begin, and inside the
request's arrival .. finish they add up to its end-to-end time exactly.

The pieces come from the view `activities`; here they are only followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import polars as pl

    from toolkit.analytics.run import Run

__all__ = ["Piece", "critical_path"]

I8 = npt.NDArray[np.int64]

_NOBODY = -1
_ACTIVITIES = """
    SELECT request, "of", what, track, on_request, from_ns, until_ns
    FROM activities
    WHERE run = $run AND from_ns < $until_ns AND until_ns > $from_ns
    ORDER BY request, until_ns, from_ns
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the path: whose it was, what was done, where, and when (ns from 0).

    ``what`` is ``prefill``, ``decode``, ``activation``, ``kv_transfer`` or
    ``transfer`` for work; ``packing`` or ``arrival`` where the chain ends with
    somebody who was not there before; the cause of a wait where nobody is named
    for it.
    """

    request: int
    what: str
    track: int | None
    from_ns: int
    until_ns: int

    @property
    def sort(self) -> str:
        """What was done, a cache on its way and on its link being one thing."""
        return "kv_transfer" if self.what == "transfer" else self.what

    @property
    def dur_ns(self) -> int:
        """How long it took."""
        return self.until_ns - self.from_ns


def critical_path(run: Run, name: str, row: dict[str, Any]) -> list[Piece]:
    """Return the path of one request, from its arrival to its finish.

    `name` is its run, `row` its row of the view `requests`.  The run has to be
    of trace level `full`: there every span and wait is a row.
    """
    frame = run.frame(_ACTIVITIES, run=name, from_ns=row["arrival_ns"], until_ns=row["finish_ns"])
    back = list(_Walk(frame, row).pieces())
    return back[::-1]


class _Rows:
    """Activities by a key (whose, or on which track), in order of their ends."""

    def __init__(self, frame: pl.DataFrame, key: str) -> None:
        frame = frame.sort(key, "until_ns", "from_ns")
        self.what = frame["what"].to_list()
        columns = ("request", "track", "on_request", "from_ns", "until_ns")
        self.request, self.track, self.on_request, self.since, self.until = (
            frame[column].fill_null(_NOBODY).cast(int).to_numpy() for column in columns
        )
        keys = frame[key].fill_null(_NOBODY).cast(int).to_numpy()
        found, first = np.unique(keys, return_index=True)
        bounds = pairwise([*first.tolist(), len(keys)])
        self._slice = dict(zip(found.tolist(), bounds, strict=True))

    def at(self, key: int, time: int) -> int | None:
        """Return the row of `key` that was under way just before `time`."""
        first, last = self._slice.get(key, (0, 0))
        row = first + int(np.searchsorted(self.until[first:last], time))
        return row if row < last and self.since[row] < time else None


class _Walk:
    """One request's way back."""

    def __init__(self, frame: pl.DataFrame, row: dict[str, Any]) -> None:
        carried = frame["of"] == "carried"
        self._waits = set(frame.filter(frame["of"] == "wait")["what"].to_list()) - {"transfer"}
        self._life = _Rows(frame.filter(~carried), "request")
        self._links = _Rows(frame.filter(carried), "track")
        self._asked = int(row["lead"])
        self._arrival, self._time = int(row["arrival_ns"]), int(row["finish_ns"])
        self._who = self._asked

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces, the last one first."""
        met: set[tuple[int, int]] = set()
        while self._time > self._arrival:
            row = self._life.at(self._who, self._time)
            if row is None:
                yield self._back_to(self._arrival, self._not_there_yet(), None)
                return
            what, by = self._life.what[row], int(self._life.on_request[row])
            here = (row, self._time)
            if what not in self._waits or by == _NOBODY or here in met:
                yield self._back_to(int(self._life.since[row]), what, int(self._life.track[row]))
                continue
            met.add(here)
            if what == "link_busy" and (sent := self._sent(int(self._life.track[row]))):
                yield from sent
            else:
                self._who = by

    def _sent(self, track: int) -> list[Piece]:
        """Go back over the KV caches that a link carried one after the other until now.

        A cache leaves when both of its ends are free: where one of them had
        just carried another, that one is next.
        """
        pieces: list[Piece] = []
        row = self._links.at(track, self._time)
        while row is not None and self._time > self._arrival:
            self._who = int(self._links.request[row])
            since = int(self._links.since[row])
            ends = self._ends_of(row)
            pieces.append(self._back_to(since, "kv_transfer", int(self._links.track[row])))
            row = next(filter(None, (self._just_over(end, since) for end in ends)), None)
        return pieces

    def _ends_of(self, row: int) -> list[int]:
        """Return the tracks a transfer held: its own, and the other side of the same one."""
        links = self._links
        same = (links.request == links.request[row]) & (links.since == links.since[row])
        same &= links.until == links.until[row]
        return [int(track) for track in links.track[np.flatnonzero(same)]]

    def _just_over(self, track: int, time: int) -> int | None:
        row = self._links.at(track, time)
        return row if row is not None and int(self._links.until[row]) == time else None

    def _back_to(self, since: int, what: str, track: int | None) -> Piece:
        since = max(since, self._arrival)
        piece = Piece(self._who, what, None if track == _NOBODY else track, since, self._time)
        self._time = since
        return piece

    def _not_there_yet(self) -> str:
        """Say what it was before the first thing that a microbatch did."""
        return "packing" if self._who == self._asked else "arrival"
