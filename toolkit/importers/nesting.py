"""Which slice lies inside which: depths, and tracks of their own for slices that cross."""

from __future__ import annotations

import numpy as np

from toolkit.importers.recording import Ints
from toolkit.trace.columns import NULL

__all__ = ["MOST_DEPTH", "Nested", "enclosing", "nest", "ordered", "pair"]

MOST_DEPTH = 127
"""Depth is an int8."""


class Nested:
    """What :func:`nest` found."""

    def __init__(self, rows: int) -> None:
        """Start with everything on its own track at depth 0."""
        self.depth = np.zeros(rows, np.int64)
        self.overflow = np.zeros(rows, np.int64)
        """0, or the number of the additional track that a slice needs."""
        self.trimmed = 0
        """Slices cut by no more than the resolution of the source's clock."""


def ordered(ts: Ints, dur: Ints, track: Ints) -> Ints:
    """Return the rows by track and start; of one start the longer first, else as they came.

    A slice of no duration stays where it was among those of its start: before
    a longer one it is the neighbour, after it the child.
    """
    order = np.lexsort((ts, track))
    ts, dur, track = ts[order], dur[order], track[order]
    same = (ts[1:] == ts[:-1]) & (track[1:] == track[:-1])
    wrong = same & (dur[1:] > dur[:-1]) & (dur[:-1] > 0)
    if wrong.any():
        group = np.concatenate([[0], np.cumsum(~same)])
        mixed = np.isin(group, group[1:][wrong])
        key = np.where(mixed, -dur, 0)
        order = order[np.lexsort((np.arange(len(order)), key, group))]
    return order


def nest(ts: Ints, dur: Ints, track: Ints, resolution_ns: int) -> Nested:
    """Return the depth of each slice; rows come as :func:`ordered` has them.

    `dur` is cut in place where a slice ends no more than `resolution_ns` after
    its neighbour begins or its parent ends.  One that crosses another by more
    goes to an additional track.
    """
    found = Nested(len(ts))
    end = ts + dur
    apart = (track[1:] != track[:-1]) | (ts[1:] >= end[:-1])
    if apart.all():
        return found
    starts, ends, tracks = ts.tolist(), end.tolist(), track.tolist()
    # For each additional track in use, the rows of the slices that are open, outermost first.
    stacks: list[list[int]] = [[]]
    depth, overflow = found.depth, found.overflow
    before = -1
    for row, (start, at) in enumerate(zip(starts, tracks, strict=True)):
        if at != before:
            stacks, before = [[]], at
        level = 0
        while not _fits(row, start, starts, ends, stacks[level], resolution_ns, found):
            level += 1
            if level == len(stacks):
                stacks.append([])
        depth[row], overflow[row] = len(stacks[level]), level
        stacks[level].append(row)
    dur[:] = np.asarray(ends, np.int64) - ts
    return found


def _fits(
    row: int,
    start: int,
    starts: list[int],
    ends: list[int],
    stack: list[int],
    resolution_ns: int,
    found: Nested,
) -> bool:
    """Return whether a slice goes on a stack of open ones; close what has ended, cut what must."""

    def close() -> None:
        while stack and ends[stack[-1]] <= start:
            stack.pop()

    close()
    if stack and ends[row] > ends[stack[-1]]:
        inner = stack[-1]
        if ends[inner] - start <= resolution_ns and starts[inner] < start:
            ends[inner] = start
            found.trimmed += 1
            close()
    if stack and 0 < ends[row] - ends[stack[-1]] <= resolution_ns:
        ends[row] = ends[stack[-1]]
        found.trimmed += 1
    return not stack or ends[row] <= ends[stack[-1]]


def pair(begin: Ints, track: Ints) -> tuple[Ints, Ints, Ints, int]:
    """Match begins and ends of slices, in the order given.

    `begin` is 1 for a begin, 0 for an end.  Returns the rows of the begins, of
    their ends (NULL where there is none), the depths, and how many ends had no
    begin.
    """
    rows: list[int] = []
    ends: list[int] = []
    depths: list[int] = []
    stacks: dict[int, list[int]] = {}
    lost = 0
    for row, (begins, at) in enumerate(zip(begin.tolist(), track.tolist(), strict=True)):
        stack = stacks.setdefault(at, [])
        if begins:
            stack.append(len(rows))
            rows.append(row)
            ends.append(NULL)
            depths.append(len(stack) - 1)
        elif stack:
            ends[stack.pop()] = row
        else:
            lost += 1
    return np.array(rows, np.int64), np.array(ends, np.int64), np.array(depths, np.int64), lost


def enclosing(
    at_ts: Ints, at_track: Ints, following: Ints, ts: Ints, dur: Ints, track: Ints
) -> Ints:
    """Return for each point the row of the innermost slice around it on its track, else NULL.

    Rows come as :func:`ordered` has them.  Where `following` is 1 and no slice
    is around the point, the next one of the track is meant.
    """
    found = np.full(len(at_ts), NULL, np.int64)
    bounds = np.searchsorted(track, np.arange(int(track.max(initial=-1)) + 2))
    end = ts + dur
    for row, (when, where, next_counts) in enumerate(
        zip(at_ts.tolist(), at_track.tolist(), following.tolist(), strict=True)
    ):
        if where + 1 >= len(bounds):
            continue
        low, high = int(bounds[where]), int(bounds[where + 1])
        place = low + int(np.searchsorted(ts[low:high], when, side="right"))
        candidate = place - 1
        while candidate >= low and end[candidate] < when and place - candidate < 10_000:
            candidate -= 1
        if candidate >= low and end[candidate] >= when:
            found[row] = candidate
        elif next_counts and place < high:
            found[row] = place
    return found
