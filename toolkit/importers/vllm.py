"""Results of `vllm bench serve --save-result --save-detailed`: one JSON object, a list a column.

The lists that count: `input_lens`, `output_lens`, `ttfts` and `itls` (seconds,
one list of gaps for each request), `errors`, and in newer results
`start_times` (seconds of the client's clock).  Times are the client's: a gap
is between chunks of the stream, which may hold several tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import accumulate
from typing import Any

import numpy as np

from toolkit.errors import InputError, Problem
from toolkit.importers.json_events import document
from toolkit.importers.recording import LIMIT_NS, Recording
from toolkit.importers.rules import Rules
from toolkit.importers.source import Source
from toolkit.trace.columns import NULL

__all__ = ["DETAILS", "read"]

DETAILS = ("input_lens", "output_lens", "ttfts", "itls")
"""Lists that every detailed result has."""


def read(source: Source, rules: Rules) -> Recording:
    """Return the requests of a detailed result."""
    result = document(source)
    _check(source, result)
    count = len(result["ttfts"])
    recording = Recording(
        title=rules.title or str(result.get("model_id") or ""),
        origin=rules.zero,
        price_usd_per_hour=rules.price_usd_per_hour,
        machine_count=rules.machines,
    )
    errors = result.get("errors") or [""] * count
    starts = result.get("start_times")
    arrival = np.zeros(count, np.int64) if starts is None else _ns(starts)
    if starts is None:
        recording.lacks.append(
            "arrivals: every request is placed at 0, so that latencies are "
            "true and nothing over time is"
        )
    else:
        recording.origin = "first_event" if rules.zero == "auto" else rules.zero
    served = np.array([not error for error in errors], bool)
    first = np.where(served, arrival + _ns(result["ttfts"]), NULL)
    finish = first.copy()
    for row in range(count):
        recording.request_ids.number(row)
        if served[row]:
            ends = [round(sum_s * 10**9) for sum_s in accumulate(map(Decimal, result["itls"][row]))]
            finish[row] += ends[-1] if ends else 0
    recording.requests = {
        "arrival_ns": arrival,
        "first_token_ns": first,
        "finish_ns": finish,
        "prompt_tokens": np.array(result["input_lens"], np.int64),
        "output_tokens": np.array(result["output_lens"], np.int64),
        "outcome": np.where(served, "served", "failed"),
    }
    duration = result.get("duration")
    if isinstance(duration, int | Decimal) and 0 <= duration < LIMIT_NS / 10**9:
        recording.end_ns = int(arrival.min()) + round(duration * 10**9)
    recording.lacks += [
        "machines, stages and steps: it is a client's record",
        "when the engine took a request up: queueing is part of the time to the first token",
    ]
    many = int(
        sum(
            len(gaps) + 1 != tokens
            for gaps, tokens in zip(result["itls"], result["output_lens"], strict=True)
        )
        - (~served).sum()
    )
    if many > 0:
        recording.notes.append(
            f"Requests ({many:,} of {count:,}) have another number of gaps than of tokens after "
            "the first: a chunk may hold several."
        )
    _token_spans(recording, result["itls"], first, served)
    return recording


def _token_spans(recording: Recording, itls: Any, first: Any, served: Any) -> None:
    """Note the gaps between chunks, to be drawn inside the decode of each lane."""
    rows = np.flatnonzero(served)
    gaps = [[round(sum_s * 10**9) for sum_s in accumulate(map(Decimal, itls[row]))] for row in rows]
    lengths = np.array([len(one) for one in gaps], np.int64)
    ends = np.array([end for one in gaps for end in one], np.int64)
    if not len(ends):
        return
    request = np.repeat(rows, lengths)
    token = np.arange(len(ends)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    begin = np.where(token == 0, 0, np.concatenate([[0], ends[:-1]]))
    recording.inside = {
        "ts": first[request] + begin,
        "dur": ends - begin,
        "request": request,
        "token": token,
        "name": np.full(len(ends), recording.names.number("token")),
    }


def _ns(seconds: Any) -> Any:
    return np.array([round(Decimal(each) * 10**9) for each in seconds], np.int64)


def _check(source: Source, result: Any) -> None:
    """Refuse what is not a detailed result, naming every list that is wrong."""
    if not isinstance(result, Mapping):
        raise source.wrong("", "expected one JSON object, the result of a benchmark", "a list")
    missing = [name for name in DETAILS if name not in result]
    if missing:
        raise source.wrong(
            "",
            "expected the lists of a detailed result",
            f"no {', '.join(missing)}",
            "run `vllm bench serve` with --save-result --save-detailed",
        )
    problems: list[Problem] = []
    lists = [name for name in (*DETAILS, "errors", "start_times") if result.get(name) is not None]
    for name in lists:
        if not isinstance(result[name], list):
            problems.append(Problem(name, "expected a list", type(result[name]).__name__))
        elif len(result[name]) != len(result["ttfts"]):
            got = f"{len(result[name])} beside {len(result['ttfts'])} in ttfts"
            problems.append(Problem(name, "expected one value a request", got))
    if not problems:
        for name in lists:
            problems += _bad_values(name, result[name])
    if not problems and not result["ttfts"]:
        problems.append(Problem("ttfts", "expected at least one request", "an empty list"))
    if problems:
        raise InputError(str(source.path), problems)


def _bad_values(name: str, values: list[Any]) -> list[Problem]:
    """Return the first value of a list that is none of its kind."""
    whole = name in ("input_lens", "output_lens")
    for place, value in enumerate(values):
        inner = value if name == "itls" and isinstance(value, list) else [value]
        for each in inner:
            if name == "errors":
                good = each is None or isinstance(each, str)
            elif whole:
                good = type(each) is int and 0 <= each < 1 << 31
            else:
                good = type(each) in (int, Decimal) and 0 <= each < LIMIT_NS // 10**9
            if not good or (name == "itls" and not isinstance(value, list)):
                expected = (
                    "expected text"
                    if name == "errors"
                    else "expected a whole number from 0 to 2147483647"
                    if whole
                    else "expected seconds, from 0"
                )
                return [Problem(f"{name}[{place}]", expected, repr(each)[:60])]
    return []
