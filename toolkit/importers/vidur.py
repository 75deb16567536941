"""Vidur's Chrome trace: an event for each batch on each pipeline stage, with its requests.

`pid` is the replica, `tid` the stage; args hold the batch's id, its requests
and how many tokens of each it computed.  A request's chunks are its prompt
until the last of more than one token; each later one is a decode pass.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from toolkit.importers.chrome import natural
from toolkit.importers.json_events import EventFile
from toolkit.importers.recording import Ints, Machine, Recording, Track
from toolkit.importers.rules import Meaning, Rules
from toolkit.importers.source import Source
from toolkit.importers.timeline import Timeline, integer
from toolkit.trace.columns import NULL

__all__ = ["read"]

_PART = ("request", "tokens", "slice", "track")


def read(source: Source, rules: Rules) -> Recording:
    """Return what a Vidur trace says."""
    timeline = Timeline(rules, source.wrong)
    parts: dict[str, array[int]] = {name: array("q") for name in _PART}
    ids = timeline.recording.request_ids

    def meaning(_: str, __: str, args: Mapping[str, Any]) -> Meaning:
        requests, tokens = args.get("request_ids"), args.get("num_tokens")
        if (
            not isinstance(requests, list)
            or not isinstance(tokens, list)
            or len(requests) != len(tokens)
            or not all(type(each) is int and 0 <= each < 1 << 31 for each in (*requests, *tokens))
        ):
            expected = "expected request_ids and num_tokens: two lists of as many whole numbers"
            raise timeline.wrong("args", expected, {key: args[key] for key in list(args)[:4]})
        row = len(timeline.recording)
        for request, count in zip(requests, tokens, strict=True):
            for column, value in zip(
                parts.values(), (ids.number(request), count, row, NULL), strict=True
            ):
                column.append(value)
        prompts = sum(count > 1 for count in tokens)
        name = "decode" if not prompts else "prefill" if prompts == len(tokens) else "mixed"
        alone = requests[0] if len(requests) == 1 else None
        return Meaning(name, alone, step=integer(args.get("batch_id")))

    timeline.meaning = meaning
    for event in EventFile(source):
        timeline.feed(event)
    recording = timeline.finish(_tracks)
    if len(parts["request"]):
        columns = {name: np.array(values, np.int64) for name, values in parts.items()}
        recording.requests = _requests(recording, columns)
    recording.lacks += [
        "arrivals: hence no TTFT, E2E or queueing time",
        "why requests waited",
        "KV cache room and transfers between stages",
    ]
    recording.notes.append(
        "A request's prompt is read as its chunks up to the last of more than one token, and each "
        "later pass as one token; requests that a cut trace leaves unfinished look finished."
    )
    return recording


def _tracks(timeline: Timeline) -> None:
    recording = timeline.recording
    keys = timeline.keys.things
    replicas = sorted({pid for pid, _ in keys}, key=natural)
    number = {pid: place for place, pid in enumerate(replicas)}
    for pid, tid in sorted(keys, key=lambda key: (natural(key[0]), natural(key[1]))):
        stage = integer(tid) if not isinstance(tid, Decimal) else 0
        stage = stage if 0 <= stage < 1 << 31 else 0
        place = f"stage {stage}" if len(replicas) == 1 else f"r{number[pid]} stage {stage}"
        machine: Hashable = (pid, tid)
        name = f"m{len(recording.machines):02d} {place}"
        recording.machines[machine] = Machine(name, "colocated", number[pid], stage)
    for pid, tid in keys:
        made = recording.machines[pid, tid]
        recording.tracks.append(
            Track((pid, tid), made.name.partition(" ")[2], "stage", (made.replica, made.stage))
        )


def _requests(recording: Recording, parts: dict[str, Ints]) -> dict[str, Any]:
    """Return requests from the batches that they were in: a row per request and batch."""
    slices = recording.slices()
    machine = [recording.machines[track.machine] for track in recording.tracks]
    stage = np.array([each.stage for each in machine])[slices["track"]][parts["slice"]]
    replica = np.array([each.replica for each in machine])[slices["track"]][parts["slice"]]
    begin = slices["ts"][parts["slice"]]
    end = begin + slices["dur"][parts["slice"]]
    order = np.lexsort((begin, parts["request"]))
    request, tokens = parts["request"][order], parts["tokens"][order]
    begin, end, stage, replica = begin[order], end[order], stage[order], replica[order]
    count = len(recording.request_ids)
    last = stage == stage.max()
    chunk = last & (tokens > 1)
    # The prompt ends with the last chunk of several tokens, or with the first pass of all.
    prefill_end = np.full(count, NULL, np.int64)
    np.maximum.at(prefill_end, request[chunk], end[chunk])
    first_end = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first_end, request[last], end[last])
    known = first_end < np.iinfo(np.int64).max
    prefill_end = np.where(prefill_end == NULL, np.where(known, first_end, NULL), prefill_end)
    start = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(start, request, begin)
    finish = np.full(count, NULL, np.int64)
    np.maximum.at(finish, request[last], end[last])
    decode = last & (end > prefill_end[request])
    prompt = np.bincount(request[last & ~decode], tokens[last & ~decode], count).astype(np.int64)
    passes = np.bincount(request[decode], minlength=count)
    first_stage = (stage == 0) & (begin >= prefill_end[request])
    decode_start = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(decode_start, request[first_stage], begin[first_stage])
    of = np.zeros(count, np.int64)
    of[request] = replica
    return {
        "start_ns": start,
        "prefill_end_ns": prefill_end,
        "first_token_ns": prefill_end,
        "decode_start_ns": np.where(
            (passes > 0) & (decode_start < np.iinfo(np.int64).max), decode_start, NULL
        ),
        "finish_ns": finish,
        "prompt_tokens": prompt,
        "output_tokens": passes + 1,
        "replica": of,
    }
