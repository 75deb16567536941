"""Requests read out of spans: when each one arrived, began, had its first token, ended.

A lane is a request's own track, so its first span begins at the arrival;
stages say when work began and ended, by the names prefill and decode.  What
neither says is empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.importers.recording import Ints, Recording
from toolkit.trace.columns import NULL

__all__ = ["derived", "shown_ids"]

_FAR = np.iinfo(np.int64).max
_MOST = np.iinfo(np.int32).max


def shown_ids(recording: Recording) -> tuple[Ints, list[Any] | None]:
    """Return the key of each request found, and the source's ids where keys are others.

    Ids that are numbers stay as they are; anything else is numbered in order
    of appearance.
    """
    ids = recording.request_ids.things
    if all(type(each) is int and 0 <= each <= _MOST for each in ids):
        return np.array(ids, np.int64), None
    return np.arange(len(ids), dtype=np.int64), ids


def derived(recording: Recording, keys: Ints) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of `requests` that spans tell, one row per request that has any."""
    slices = recording.slices()
    kept = slices["request"] != NULL
    slices = {name: values[kept] for name, values in slices.items()}
    count = len(keys)
    request = slices["request"]
    kinds = np.array([track.kind for track in recording.tracks] or [""])
    names = np.array([str(text) for text in recording.names.things] or [""])
    kind = kinds[slices["track"]] if count else np.empty(0, str)
    name = names[slices["name"]] if count else np.empty(0, str)
    begin, end = slices["ts"], slices["ts"] + slices["dur"]

    def first(values: Ints, mask: npt.NDArray[np.bool_]) -> Ints:
        found = np.full(count, _FAR, np.int64)
        np.minimum.at(found, request[mask], values[mask])
        return np.where(found == _FAR, NULL, found)

    def last(values: Ints, mask: npt.NDArray[np.bool_]) -> Ints:
        found = np.full(count, NULL, np.int64)
        np.maximum.at(found, request[mask], values[mask])
        return found

    def either(values: Ints, other: Ints) -> Ints:
        return np.where(values == NULL, other, values)

    lane, stage = kind == "lane", kind == "stage"
    prompt, decode = name == "prefill", name == "decode"
    finish = either(last(end, lane & (decode | prompt)), last(end, lane | stage))
    prefill_end = either(last(end, lane & prompt), last(end, stage & prompt))
    token = slices["token"]
    own = stage & decode & (token != NULL) & (end <= finish[request] if count else stage)
    passes = last(token, own)
    credit = 1 if recording.discipline == "dejavu" else 2
    first_decode_end = last(end, stage & decode & (token == 0))
    lane_of = last(slices["track"], lane)
    work = stage & decode
    replicas = np.array(
        [
            getattr(recording.machines.get(track.machine), "replica", NULL)
            for track in recording.tracks
        ]
        or [NULL],
        np.int64,
    )
    replica = last(replicas[slices["track"]] if count else begin, work)
    seen = np.zeros(count, bool)
    seen[request[kind != "ignore"]] = True
    key_order = np.argsort(keys, kind="stable")
    key_order = key_order[seen[key_order]]
    columns = {
        "request": keys,
        "arrival_ns": first(begin, lane),
        "start_ns": either(first(begin, stage), first(begin, lane & prompt)),
        "prefill_end_ns": prefill_end,
        "kv_ready_ns": last(end, lane & (name == "transfer")),
        "first_token_ns": first_decode_end if recording.discipline == "dejavu" else prefill_end,
        "decode_start_ns": either(first(begin, work), first(begin, lane & decode)),
        "finish_ns": finish,
        "output_tokens": np.where(passes == NULL, NULL, passes + credit),
        "replica": replica,
        "lane_track": lane_of,
        "lead": np.where(first(begin, stage) == NULL, NULL, keys),
    }
    _say_what_is_missing(recording, columns, count)
    return {name: values[key_order] for name, values in columns.items()}


def _say_what_is_missing(recording: Recording, columns: dict[str, Ints], count: int) -> None:
    if not count:
        recording.lacks.append("requests: nothing in the file is marked with the request it is for")
        return
    recording.names.number("queue")
    for column, what in (
        ("arrival_ns", "arrivals: hence no TTFT, E2E or queueing time"),
        ("first_token_ns", "first tokens: hence no TTFT or TPOT"),
        ("output_tokens", "output tokens"),
    ):
        if (columns[column] == NULL).all():
            recording.lacks.append(what)
    recording.lacks.append("prompt tokens")
    recording.lacks.append("why requests waited, beyond the time before their first span")
