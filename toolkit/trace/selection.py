"""What part of a store is shown: a window of time, machines, requests.

:func:`select` looks a store through once (times, tracks and requests only) and
returns a :class:`Picture`: the tracks, counters and flows to draw, and how many
spans there are.  Its :meth:`~Picture.batches` then stream the spans themselves,
a row group at a time; row groups outside the window are never read.

Spans are kept whole when they overlap the window, counters bring the value they
had at its start, and a flow is kept only with all of its slices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from toolkit.errors import InputError
from toolkit.trace.columns import NULL, TABLES
from toolkit.trace.store import Store

__all__ = [
    "MAX_SPANS",
    "Batch",
    "Counters",
    "Picture",
    "Selection",
    "first_window",
    "parse_window",
    "select",
]

MAX_SPANS = 2_000_000
"""Spans the Perfetto UI opens without trouble; it needs 220-330 bytes of memory for each."""

BUSY_STAGES = "busy stages"
"""The derived counter: stages at work, over the spans shown."""

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9}
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|min)")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Selection:
    """Part of a trace: each condition narrows it, None leaves it as it is.

    ``window_ns`` is half open.  Request lanes belong to no machine: with
    machines chosen they are kept only where requests are chosen too.
    """

    window_ns: tuple[int, int] | None = None
    machines: frozenset[int] | None = None
    requests: frozenset[int] | None = None

    @classmethod
    def parse(
        cls, window: str | None = None, machines: str | None = None, requests: str | None = None
    ) -> Selection:
        """Return the selection written as on the command line; raises `InputError`.

        >>> Selection.parse("1.5s:2s", "0,3-5").machines == {0, 3, 4, 5}
        True
        """
        return cls(
            None if window is None else parse_window(window),
            None if machines is None else _parse_numbers("--machines", machines),
            None if requests is None else _parse_numbers("--requests", requests),
        )

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection()


def parse_window(text: str, option: str = "--window") -> tuple[int, int]:
    """Return ``START:END`` (either may be left out) in nanoseconds, exactly.

    Raises `InputError`, which names the `option` it was given with.

    >>> parse_window("10s:20.5s")
    (10000000000, 20500000000)
    """
    start, colon, end = text.partition(":")
    first = _parse_time(start) if start.strip() else 0
    last = _parse_time(end) if end.strip() else np.iinfo(np.int64).max
    if not colon or first is None or last is None or first >= last:
        raise InputError.one(
            option,
            "",
            "expected START:END with a unit (ns, us, ms, s or min) and START before END",
            repr(text),
            "for example 10s:20s, 500ms:1.5s, or 90s: for the rest",
        )
    return first, int(last)


def _parse_time(text: str) -> int | None:
    text = text.strip()
    if text == "0":
        return 0
    found = _TIME.fullmatch(text)
    if not found:
        return None
    ns = Decimal(found[1]) * _UNITS_NS[found[2]]
    return int(ns) if ns == int(ns) and ns < 2**63 else None


def _parse_numbers(option: str, text: str) -> frozenset[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 0 <= first <= last < 2**31 or last - first > 10**7:
            raise InputError.one(
                option, "", "expected numbers and ranges from 0", repr(text), "for example 0,3-5"
            )
        numbers.update(range(first, last + 1))
    return frozenset(numbers)


class Counters(NamedTuple):
    """Changes of counters, in time order: when, which, and the value from then on."""

    ts_ns: Ints
    counter: Ints
    value: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some selected spans as int64 columns (shape ``(spans,)``, empty values are NULL), and what
    hangs on them.

    Rows are sorted by (ts_ns, track) and, where these are equal, stand in the order in which
    the spans begin.  The three flow arrays, of shape ``(slices of flows,)``, are sorted by row:
    which row, which flow, and whether the slice is its first (0), a middle one (1) or its last (2).
    """

    columns: dict[str, npt.NDArray[Any]] = field(repr=False)
    flow_row: Ints
    flow: Ints
    flow_place: Ints
    busy: Counters

    def __len__(self) -> int:
        return len(self.columns["ts_ns"])


@dataclass(frozen=True, slots=True)
class Picture:
    """The selected part of a store: everything small at hand, its spans in batches.

    ``from_ns`` and ``until_ns`` are the start of the first span and the end of the last.
    """

    store: Store
    selection: Selection
    spans: int
    from_ns: int
    until_ns: int
    machines: Sequence[dict[str, Any]]
    tracks: Sequence[dict[str, Any]]
    names: dict[int, str]
    counter_defs: Sequence[dict[str, Any]]
    counters: Counters
    flows: int
    _scan: _Scan = field(repr=False)
    _busy: int = NULL
    """Key of the derived counter of busy stages; NULL where the store has its own."""

    def batches(self) -> Iterator[Batch]:
        """Yield the selected spans in order, at most a row group at a time."""
        stages = np.zeros(self._scan.tracks, bool)
        stages[[track["track"] for track in self.tracks if track["kind"] == "stage"]] = True
        busy = _Busy(self._busy, stages)
        for found in self._scan.run(TABLES["spans"].column_names):
            columns = {
                name: values[found.kept].astype(np.int64, copy=False)
                for name, values in found.columns.items()
            }
            row = (np.cumsum(found.kept) - 1)[found.flow_row] if len(found.flow_row) else _EMPTY
            counters = busy.feed(columns) if self._busy != NULL else _NO_COUNTERS
            yield Batch(columns, row, found.flow, found.flow_place, counters)
        if self._busy != NULL:
            nothing = {column.name: _EMPTY for column in TABLES["spans"].columns}
            yield Batch(nothing, _EMPTY, _EMPTY, _EMPTY, busy.end())


_EMPTY: Ints = np.empty(0, np.int64)
_NO_COUNTERS = Counters(_EMPTY, _EMPTY, np.empty(0))


def select(store: Store, selection: Selection, *, max_spans: int | None = MAX_SPANS) -> Picture:
    """Return the picture of `selection`.

    Raises `InputError` where it names machines or requests the store does not have, or holds
    more than `max_spans` spans (None: no limit); the message has commands that narrow it.
    """
    if selection.everything and max_spans is not None and store.rows("spans") > max_spans:
        raise _too_many(store, store.rows("spans"), max_spans)
    machines = _rows(store, "machines")
    tracks = _rows(store, "tracks")
    _known("--machines", selection.machines, {row["machine"] for row in machines})
    requests = _columns(store, "requests", ("request", "lead"))
    _known("--requests", selection.requests, set(requests["request"].tolist()))

    scan = _Scan(store, selection, tracks, requests)
    spans, from_ns, until_ns = 0, 0, 0
    seen = np.zeros(scan.tracks, np.int64)
    complete: dict[int, int] = {}
    for found in scan.run(("ts_ns", "dur_ns", "track", "request")):
        ts = found.columns["ts_ns"][found.kept]
        if len(ts):
            from_ns = from_ns if spans else int(ts[0])
            until_ns = max(until_ns, int((ts + found.columns["dur_ns"][found.kept]).max()))
        spans += len(ts)
        seen += np.bincount(found.columns["track"][found.kept], minlength=scan.tracks)
        for flow in found.flow.tolist():
            complete[flow] = complete.get(flow, 0) + 1
        if max_spans is not None and spans > max_spans:
            raise _too_many(store, spans, max_spans, more=True)
    scan.keep_flows(complete)

    chosen = selection.machines
    defs = [
        row
        for row in _rows(store, "counter_defs")
        if chosen is None or row["machine"] is None or row["machine"] in chosen
    ]
    counters = _window_of_counters(store, selection, [row["counter"] for row in defs])
    busy = NULL
    if not any(row["machine"] is None and row["name"] == BUSY_STAGES for row in defs):
        busy = max((row["counter"] for row in _rows(store, "counter_defs")), default=-1) + 1
        defs.append(
            {
                "counter": busy,
                "machine": None,
                "name": BUSY_STAGES,
                "unit": "stages",
                "share_key": BUSY_STAGES,
            }
        )
    return Picture(
        store=store,
        selection=selection,
        spans=spans,
        from_ns=from_ns,
        until_ns=until_ns,
        machines=[row for row in machines if chosen is None or row["machine"] in chosen],
        tracks=[
            row
            for row in tracks
            if scan.track_chosen[row["track"]] and (row["kind"] == "stage" or seen[row["track"]])
        ],
        names={row["name"]: row["text"] for row in _rows(store, "names")},
        counter_defs=defs,
        counters=counters,
        flows=scan.flows,
        _scan=scan,
        _busy=busy,
    )


def first_window(store: Store, spans: int) -> tuple[int, int]:
    """Return the window from 0 that holds at most `spans` of the store's spans."""
    file = pq.ParquetFile(store.path("spans"))
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if spans < rows:
            ts = file.read_row_group(group, ["ts_ns"]).column(0).to_numpy()
            return 0, max(int(ts[spans]), 1)
        spans -= rows
    return 0, int(np.iinfo(np.int64).max)


def _too_many(store: Store, spans: int, limit: int, *, more: bool = False) -> InputError:
    end_s = max(first_window(store, limit)[1] // 10**9, 1)
    return InputError.one(
        str(store.folder),
        "",
        f"expected at most {limit:,} spans to draw (--max-spans)",
        f"{'more than ' if more else ''}{spans:,}",
        "narrow it: "
        f"`toolkit export {store.folder} --window 0s:{end_s}s`, `--machines 0-1`, `--requests 0-9`",
    )


def _known(option: str, chosen: frozenset[int] | None, keys: set[int]) -> None:
    missing = sorted((chosen or frozenset()) - keys)
    if missing:
        raise InputError.one(
            option,
            "",
            f"expected numbers from {min(keys, default=0)} to {max(keys, default=0)}"
            if keys
            else "expected a trace that has some",
            ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else ""),
        )


def _rows(store: Store, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.read(table).to_pylist()
    return rows


def _columns(store: Store, table: str, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    read = pq.read_table(store.path(table), columns=list(names))
    return {name: _numpy(read.column(name)) for name in names}


def _numpy(column: Any) -> npt.NDArray[Any]:
    """Return an Arrow column as numpy, nulls as NULL; no copy where there is no null."""
    column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if column.null_count:
        column = column.fill_null(NULL)
    array: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array


def _window_of_counters(store: Store, selection: Selection, kept: Sequence[int]) -> Counters:
    columns = _columns(store, "counters", ("ts_ns", "counter", "value"))
    ts, counter, value = columns["ts_ns"], columns["counter"].astype(np.int64), columns["value"]
    chosen = np.isin(counter, np.asarray(kept, np.int64))
    start, end = selection.window_ns or (0, np.iinfo(np.int64).max)
    chosen &= ts < end
    before = np.flatnonzero(chosen & (ts < start))
    after = np.flatnonzero(chosen & (ts >= start))
    keys, newest = np.unique(counter[before][::-1], return_index=True)
    carried = before[::-1][newest]
    silent = ~np.isin(keys, counter[after][ts[after] == start])
    carried = carried[silent]
    rows = np.concatenate([carried, after])
    return Counters(np.maximum(ts[rows], start), counter[rows], value[rows])


class _Found(NamedTuple):
    """One row group as read: its columns, which rows are kept, and the kept slices of flows."""

    columns: dict[str, npt.NDArray[Any]]
    kept: Mask
    flow_row: Ints
    flow: Ints
    flow_place: Ints


class _Scan:
    """Passes over the spans of a selection, row group by row group."""

    def __init__(
        self,
        store: Store,
        selection: Selection,
        tracks: Sequence[dict[str, Any]],
        requests: dict[str, npt.NDArray[Any]],
    ) -> None:
        self._file = pq.ParquetFile(store.path("spans"))
        self._window = selection.window_ns
        self.tracks = max((row["track"] for row in tracks), default=-1) + 1
        self._lane = np.zeros(self.tracks, bool)
        self.track_chosen = np.zeros(self.tracks, bool)
        for row in tracks:
            lane = row["kind"] == "lane"
            self._lane[row["track"]] = lane
            self.track_chosen[row["track"]] = (
                selection.machines is None
                or row["machine"] in selection.machines
                or (lane and selection.requests is not None)
            )
        self._every_track = bool(self.track_chosen.all())
        self._chosen: Mask | None = None
        if selection.requests is not None:
            self._chosen, self._led = _request_masks(selection.requests, requests)
        flows = _columns(store, "flows", ("flow", "order", "track", "ts_ns", "ordinal"))
        self._flows = {name: values.astype(np.int64) for name, values in flows.items()}
        self._length = dict(
            zip(
                *(part.tolist() for part in np.unique(flows["flow"], return_counts=True)),
                strict=True,
            )
        )
        self._sort_flows(np.ones(len(flows["flow"]), bool))

    @property
    def flows(self) -> int:
        return len(np.unique(self._flows["flow"]))

    def keep_flows(self, slices: dict[int, int]) -> None:
        """Keep the flows of which as many slices were found as there are."""
        whole = [flow for flow, count in slices.items() if self._length[flow] == count]
        self._sort_flows(np.isin(self._flows["flow"], np.asarray(whole, np.int64)))

    def _sort_flows(self, kept: Mask) -> None:
        flows = {name: values[kept] for name, values in self._flows.items()}
        last = np.asarray([self._length[flow] - 1 for flow in flows["flow"].tolist()], np.int64)
        place = flows.get("place")
        if place is None:
            place = np.where(flows["order"] == 0, 0, np.where(flows["order"] == last, 2, 1))
        by_time = np.lexsort((flows["order"], flows["ordinal"], flows["track"], flows["ts_ns"]))
        self._flows = {name: values[by_time] for name, values in {**flows, "place": place}.items()}

    def run(self, names: Sequence[str]) -> Iterator[_Found]:
        """Yield each row group that the selection can touch, with the columns `names`."""
        before = (NULL, NULL, 0)
        for group in self._groups():
            read = self._file.read_row_group(group, columns=list(names))
            columns = {name: _numpy(read.column(name)) for name in names}
            kept = self._kept(columns)
            row, at = self._slices(columns["ts_ns"], columns["track"], before)
            held = kept[row]
            if self._chosen is not None:
                held &= self._chosen[self._flows["flow"][at]]
            row, at = row[held], at[held]
            by_row = np.argsort(row, kind="stable")
            row, at = row[by_row], at[by_row]
            yield _Found(columns, kept, row, self._flows["flow"][at], self._flows["place"][at])
            before = _tail(columns["ts_ns"], columns["track"], before)

    def _groups(self) -> list[int]:
        """Return the row groups with a span that may overlap the window, by their statistics.

        A group that only shares its last time with the next one is read too: the ordinals of
        flows count from the first span of a time.
        """
        metadata = self._file.metadata
        start, end = self._window or (0, np.iinfo(np.int64).max)
        ts, dur = (TABLES["spans"].column_names.index(name) for name in ("ts_ns", "dur_ns"))
        groups: list[int] = []
        previous_last = None
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            times = group.column(ts).statistics
            longest = group.column(dur).statistics.max
            if times.min < end and (times.max + longest > start or times.max >= start):
                if previous_last == times.min and index - 1 not in groups:
                    groups.append(index - 1)
                groups.append(index)
            previous_last = times.max
        return groups

    def _kept(self, columns: dict[str, npt.NDArray[Any]]) -> Mask:
        ts, track = columns["ts_ns"], columns["track"]
        kept = np.ones(len(ts), bool) if self._every_track else self.track_chosen[track]
        if self._window is not None:
            start, end = self._window
            kept &= (ts < end) & ((ts >= start) | (ts + columns["dur_ns"] > start))
        if self._chosen is not None:
            request = columns["request"]
            known = np.where(self._lane[track], self._chosen[request], self._led[request])
            kept &= known & (request != NULL)
        return kept

    def _slices(
        self, ts: Ints, track: npt.NDArray[Any], before: tuple[int, int, int]
    ) -> tuple[Ints, Ints]:
        """Return the rows that are slices of flows, and which slices they are.

        `before` is the (ts, track) that the last rows of the previous group share and how many
        they are: ordinals go on counting over the border of a group.
        """
        flows = self._flows
        low, high = np.searchsorted(flows["ts_ns"], (ts[0], ts[-1] + 1))
        at = np.arange(low, high)
        if not len(at):
            return _EMPTY, _EMPTY
        times = np.concatenate([[0], np.cumsum(ts[1:] != ts[:-1])])
        keys = times * self.tracks + track
        first = np.minimum(np.searchsorted(ts, flows["ts_ns"][at]), len(ts) - 1)
        wanted = times[first] * self.tracks + flows["track"][at]
        row = np.searchsorted(keys, wanted) + flows["ordinal"][at]
        row -= np.where(
            (flows["ts_ns"][at] == before[0]) & (flows["track"][at] == before[1]), before[2], 0
        )
        inside = (row >= 0) & (row < len(ts)) & (ts[first] == flows["ts_ns"][at])
        inside[inside] = keys[row[inside]] == wanted[inside]
        return row[inside].astype(np.int64), at[inside]


def _request_masks(
    chosen: frozenset[int], requests: dict[str, npt.NDArray[Any]]
) -> tuple[Mask, Mask]:
    """Return which requests are chosen, and which of them, or of whose leads, spans are."""
    size = int(requests["request"].max(initial=-1)) + 2
    own = np.zeros(size, bool)
    own[list(chosen)] = True
    led = own.copy()
    lead = requests["lead"][own[requests["request"]]]
    led[lead[lead != NULL]] = True
    return own, led


def _tail(ts: Ints, track: npt.NDArray[Any], before: tuple[int, int, int]) -> tuple[int, int, int]:
    last = (int(ts[-1]), int(track[-1]))
    same = int(np.argmin(((ts == last[0]) & (track == last[1]))[::-1])) or len(ts)
    carried = before[2] if same == len(ts) and before[:2] == last else 0
    return (*last, same + carried)


class _Busy:
    """Stages at work over time, from their spans in time order; only changes are kept."""

    def __init__(self, counter: int, stages: Mask) -> None:
        self._counter = counter
        self._stages = stages
        self._ends = _EMPTY
        self._starts = _EMPTY
        self._value = 0

    def feed(self, columns: dict[str, npt.NDArray[Any]]) -> Counters:
        """Take more spans; return the changes before the start of the last of them."""
        ts = columns["ts_ns"]
        if not len(ts):
            return _NO_COUNTERS
        work = self._stages[columns["track"]] & (columns["depth"] == 0)
        starts = ts[work]
        self._starts = np.concatenate([self._starts, starts])
        self._ends = np.sort(np.concatenate([self._ends, starts + columns["dur_ns"][work]]))
        return self._changes(int(ts[-1]))

    def end(self) -> Counters:
        """Return the changes that are left."""
        return self._changes(int(np.iinfo(np.int64).max))

    def _changes(self, before_ns: int) -> Counters:
        started, ended = (np.searchsorted(times, before_ns) for times in (self._starts, self._ends))
        starts, self._starts = self._starts[:started], self._starts[started:]
        ends, self._ends = self._ends[:ended], self._ends[ended:]
        # One sort of (time, begins?) does for both: the lists are runs, which it merges.
        events = np.concatenate([starts * 2 + 1, ends * 2])
        if not len(events):
            return _NO_COUNTERS
        events.sort(kind="stable")
        times = events >> 1
        value = self._value + np.cumsum((events & 1) * 2 - 1)
        last = np.append(times[1:] != times[:-1], True)
        times, value = times[last], value[last]
        changed = np.append(self._value, value[:-1]) != value
        self._value = int(value[-1])
        times, value = times[changed], value[changed]
        return Counters(times, np.full(len(times), self._counter), value.astype(np.float64))
