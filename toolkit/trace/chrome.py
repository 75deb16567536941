"""The portable rendering: a store as Chrome trace events, JSON that many tools read.

The same slices, flows and counters as :mod:`.perfetto`; what JSON cannot say
(order, colour by request) is left out.  Times are printed from integers as
microseconds with three decimals: no nanosecond is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.trace.output import Sink, replacing
from toolkit.trace.perfetto import MOST_LEVELS, TID, overlap, pid
from toolkit.trace.selection import MAX_SPANS, Batch, Counters, Picture, Selection, select
from toolkit.trace.store import Store

__all__ = ["draw", "render"]

_VALUES = ("request", "token", "step", "bytes")
_WORDS = (
    *(f'"{name}":' for name in _VALUES),
    ',"dur":',
    ',"args":{',
    "}},\n",
    *(f'{{"ph":"{phase}","bp":"e","cat":"flow","name":"request","id":' for phase in "stf"),
    "},\n",
)
"""The fixed parts of a span, in the order in which `wire.chrome_spans` counts them."""


def render(
    store: Store,
    file: Path,
    selection: Selection | None = None,
    *,
    max_spans: int | None = MAX_SPANS,
) -> Picture:
    """Write the selected part of `store` to `file` (``.json``, or compressed ``.json.gz``).

    Returns what was drawn; raises like :func:`toolkit.trace.perfetto.render`.
    """
    picture = select(store, selection or Selection(), max_spans=max_spans)
    draw(picture, picture.batches(), file)
    return picture


def draw(picture: Picture, batches: Iterable[Batch], file: Path) -> None:
    """Write `batches` of the spans of `picture` to `file`."""
    from toolkit.trace import wire  # noqa: PLC0415 - numba, only where something is drawn

    places = _Places(picture)
    words = _texts(_WORDS)
    names = _texts(_by_key({key: _head("X", name) for key, name in picture.names.items()}))
    tracks = _texts(_by_key(places.of_track))
    longest = sum(int(np.diff(bounds).max(initial=0)) for _, bounds in (names, tracks))
    ends = np.zeros((len(tracks[1]) - 1, MOST_LEVELS), np.int64)
    depths = np.zeros(len(tracks[1]) - 1, np.int64)

    with replacing(file) as sink:
        sink.write(b'{"displayTimeUnit":"ns","traceEvents":[\n')
        _write_counters(sink, picture.counters, picture, places)
        for batch in batches:
            _write_counters(sink, batch.busy, picture, places)
            if not len(batch):
                continue
            columns = batch.columns
            out = np.empty(
                len(batch) * (wire.JSON_SPAN_BYTES + longest)
                + len(batch.flow) * (wire.JSON_FLOW_BYTES + longest),
                np.uint8,
            )
            length, wrong = wire.chrome_spans(
                out,
                columns["ts_ns"],
                columns["dur_ns"],
                columns["track"],
                columns["name"],
                np.stack([columns[name] for name in _VALUES]),
                columns["depth"],
                batch.flow_row,
                batch.flow,
                batch.flow_place,
                ends,
                depths,
                words[0],
                words[1],
                names[0],
                names[1],
                tracks[0],
                tracks[1],
            )
            if wrong >= 0:
                raise overlap(picture, batch, wrong)
            sink.write(out[:length])
        # The names come last, for they end the list without a comma.
        sink.write(",\n".join(places.metadata).encode())
        sink.write(b"\n]}\n")


class _Places:
    """Where things are: a process for each machine, one each for links, requests and the whole."""

    def __init__(self, picture: Picture) -> None:
        machines = {row["machine"]: row["name"] for row in picture.machines}
        self.links = pid(max(machines, default=-1) + 1)
        self.requests = self.links + 1
        self.whole = self.links + 2
        self.of_track: dict[int, str] = {}
        processes = {pid(machine): name for machine, name in machines.items()}
        threads: list[str] = []
        for row in picture.tracks:
            process = self._process(row, machines)
            if process not in processes:
                processes[process] = "Links" if row["kind"] == "link" else "Requests"
            tid = TID + row["track"]
            self.of_track[row["track"]] = f',"pid":{process},"tid":{tid},"ts":'
            threads.append(_metadata("thread_name", process, row["name"], f'"tid":{tid},'))
        processes[self.whole] = "Deployment"
        self.metadata = [
            *(_metadata("process_name", key, name) for key, name in processes.items()),
            *threads,
        ]

    def _process(self, row: dict[str, Any], machines: dict[int, str]) -> int:
        if row["kind"] == "stage" and row["machine"] in machines:
            return pid(row["machine"])
        return self.links if row["kind"] == "link" else self.requests

    def of_counter(self, row: dict[str, Any]) -> str:
        process = self.whole if row["machine"] is None else pid(row["machine"])
        return f',"pid":{process},"ts":'


def _metadata(what: str, process: int, name: str, thread: str = "") -> str:
    return f'{{"ph":"M","pid":{process},{thread}"name":"{what}","args":{{"name":{_quoted(name)}}}}}'


def _head(phase: str, name: str) -> str:
    return f'{{"ph":"{phase}","name":{_quoted(name)}'


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # UTF-8: the importer shows \u escapes as they are


def _by_key(texts: dict[int, str]) -> list[str]:
    """Return texts as a list, empty where a key is not in use."""
    return [texts.get(key, "") for key in range(max(texts, default=-1) + 1)]


def _texts(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return texts as bytes end to end, and where each begins and the last one ends."""
    encoded = [text.encode() for text in texts]
    bounds = np.cumsum([0, *map(len, encoded)])
    return np.frombuffer(b"".join(encoded) or b" ", np.uint8), bounds


def _write_counters(sink: Sink, counters: Counters, picture: Picture, places: _Places) -> None:
    from toolkit.trace import wire  # noqa: PLC0415

    if not len(counters.ts_ns):
        return
    defs = picture.counter_defs
    heads = _texts(
        _by_key({row["counter"]: _head("C", row["name"]) + places.of_counter(row) for row in defs})
    )
    units = _texts(_by_key({row["counter"]: f',"args":{{{_quoted(row["unit"])}:' for row in defs}))
    step = 1 << 18
    for first in range(0, len(counters.ts_ns), step):
        here = slice(first, first + step)
        ts, which, value = counters.ts_ns[here], counters.counter[here], counters.value[here]
        odd = _odd_values(value)
        longest = sum(int(np.diff(bounds).max()) for _, bounds in (heads, units, odd))
        out = np.empty(len(ts) * (longest + 56), np.uint8)
        length = wire.chrome_counters(out, ts, which, value, *heads, *units, *odd)
        sink.write(out[:length])


def _odd_values(
    value: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return as texts the values that are not whole numbers from 0: the shortest that read back."""
    odd = np.flatnonzero((value != np.floor(value)) | (value < 0) | (value >= 2**53))
    encoded = [repr(one).encode() for one in value[odd].tolist()]
    lengths = np.zeros(len(value) + 1, np.int64)
    lengths[odd + 1] = [len(text) for text in encoded]
    return np.frombuffer(b"".join(encoded) or b" ", np.uint8), np.cumsum(lengths)
