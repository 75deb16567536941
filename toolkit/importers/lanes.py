"""Lanes for requests whose times are known: a track each for as long as it lives, then the next."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.importers.recording import Ints, Recording, Track
from toolkit.trace.columns import NULL

__all__ = ["with_lanes"]


def with_lanes(recording: Recording, keys: Ints) -> dict[str, npt.NDArray[Any]]:
    """Draw each request that has a first and a last time on a lane; return the requests.

    Row `r` of the requests is the `r`-th of the recording's request ids, of
    key `keys[r]`.  The phases are queued (to its start), prefill (to its
    prompt's end or first token) and decode, as far as their borders are known.
    """
    requests = {"request": keys, **(recording.requests or {})}
    nothing = np.full(len(keys), NULL, np.int64)

    def column(name: str) -> Ints:
        return requests.get(name, nothing)

    arrival, start, finish = column("arrival_ns"), column("start_ns"), column("finish_ns")
    begin = np.where(arrival == NULL, start, arrival)
    prompt_end = np.where(
        column("prefill_end_ns") == NULL, column("first_token_ns"), column("prefill_end_ns")
    )
    lane = _coloured(begin, finish)
    digits = max(2, len(str(int(lane.max(initial=0)))))
    first = len(recording.tracks)
    for number in range(int(lane.max(initial=-1)) + 1):
        recording.tracks.append(Track(None, f"lane {number:0{digits}d}", "lane", (number,)))
    begun = np.where(start == NULL, begin, start)
    for name, since, until in (
        ("queued", begin, begun),
        ("prefill", begun, prompt_end),
        ("decode", np.where(prompt_end == NULL, begun, prompt_end), finish),
    ):
        drawn = (lane != NULL) & (since != NULL) & (until > since)
        if drawn.any():
            count = int(drawn.sum())
            recording.extend(
                {
                    "ts": since[drawn],
                    "dur": (until - since)[drawn],
                    "track": first + lane[drawn],
                    "name": np.full(count, recording.names.number(name)),
                    "request": np.flatnonzero(drawn),
                }
            )
    if recording.inside is not None:
        lanes = lane[recording.inside["request"]]
        drawn = lanes != NULL
        parts = {name: values[drawn] for name, values in recording.inside.items()}
        recording.extend({**parts, "track": first + lanes[drawn]})
    recording.names.number("queue")
    requests["lane_track"] = np.where(lane == NULL, NULL, first + lane)
    return requests


def _coloured(begin: Ints, end: Ints) -> Ints:
    """Return a lane for each request that has both times: the lowest free one (NULL else)."""
    lanes = np.full(len(begin), NULL, np.int64)
    known = np.flatnonzero((begin != NULL) & (end != NULL) & (end >= begin))
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    count = 0
    for row in known[np.lexsort((end[known], begin[known]))].tolist():
        while busy and busy[0][0] <= begin[row]:
            heappush(free, heappop(busy)[1])
        if not free:
            heappush(free, count)
            count += 1
        lanes[row] = heappop(free)
        heappush(busy, (int(end[row]), lanes[row]))
    return lanes
