"""Chrome trace events to a recording: what each phase of event adds to it.

Complete events (X), begin and end (B, E), asynchronous ones (b, e), counters
(C), flows (s, t, f) and metadata (M).  Instants and the rest take no time:
they are counted and left out.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.importers.nesting import enclosing, ordered, pair
from toolkit.importers.recording import LIMIT_NS, Interned, Recording
from toolkit.importers.rules import Meaning, Rules
from toolkit.trace.columns import NULL

__all__ = ["NS", "Timeline", "TracksOf", "integer"]

NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds in a unit."""

_IGNORED = {"i": "instants", "I": "instants", "R": "marks", "n": "asynchronous instants"}

Key = tuple[Hashable, Hashable]
TracksOf = Callable[["Timeline"], None]


def integer(value: Any) -> int:
    """Return what stands for a key in a column; NULL for what is no whole number."""
    if type(value) is int:
        return value if -1 <= value < 1 << 63 else NULL
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, Decimal | float) and value == int(value):
        return integer(int(value))
    return NULL


class Timeline:
    """Takes events one by one, in any order; `finish` makes tracks and binds flows."""

    def __init__(self, rules: Rules, wrong: Callable[..., InputError]) -> None:
        """Start an empty recording; `wrong` makes the error about the file."""
        self.rules = rules
        self.recording = Recording(
            title=rules.title,
            origin=rules.zero,
            discipline=rules.discipline,
            price_usd_per_hour=rules.price_usd_per_hour,
            machine_count=rules.machines,
        )
        self.keys = Interned()
        """(pid, tid) of each track, or (pid, ("async", name)), by its number."""
        self.counter_keys = Interned()
        """(pid, name, unit) of each counter, by its number."""
        self.process_names: dict[Hashable, str] = {}
        self.thread_names: dict[Key, str] = {}
        self.ignored: Counter[str] = Counter()
        self.meaning: Callable[[str, str, Mapping[str, Any]], Meaning | None] = rules.meaning
        self.left_out = "spans that the rules name"
        """What spans without a meaning are, in a note."""
        self.last_row: dict[int, int] = {}
        self._wrong = wrong
        self._scale = NS[rules.unit]
        self._events = 0
        self._half = {"B": self._half_columns(), "b": self._half_columns()}
        self._flows: dict[str, array[int]] = {
            name: array("q") for name in ("flow", "ts", "track", "row", "next", "place")
        }
        self._stacks = Interned()
        self._by_phase: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "X": self._complete,
            "B": self._begin,
            "E": self._end,
            "b": self._async_begin,
            "S": self._async_begin,
            "e": self._async_end,
            "F": self._async_end,
            "C": self._counter,
            "s": self._flow,
            "t": self._flow,
            "f": self._flow,
            "M": self._metadata,
        }

    @staticmethod
    def _half_columns() -> dict[str, array[int]]:
        return {name: array("q") for name in ("begin", "ts", "track", "stack", "row")}

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take one event; raises `InputError` for one that is not of the format."""
        phase = event.get("ph")
        handle = self._by_phase.get(phase)  # type: ignore[arg-type]
        if handle is not None:
            handle(event)
        elif isinstance(phase, str):
            self.ignored[_IGNORED.get(phase, f"events of phase {phase[:8]!r}")] += 1
        else:
            raise self.wrong("ph", "expected the phase of an event, a letter", phase)
        self._events += 1

    def wrong(self, where: str, expected: str, got: Any = None, way_out: str = "") -> InputError:
        """Return the error about the event that is being read."""
        shown = "nothing" if got is None else str(got)[:60]
        place = f"event {self._events + 1}, {where}" if where else f"event {self._events + 1}"
        return self._wrong(place, expected, shown, way_out)

    def time(self, event: Mapping[str, Any], key: str) -> int:
        """Return a time of an event in nanoseconds."""
        value = event.get(key)
        if type(value) is int:
            ns = value * self._scale
        elif isinstance(value, Decimal) and abs(value) < 1 << 63:
            ns = int((value * self._scale).to_integral_value())
        else:
            raise self.wrong(key, "expected a number", value)
        if not -LIMIT_NS < ns < LIMIT_NS:
            raise self.wrong(key, "expected a time within 146 years", value)
        return ns

    # -- one method a phase ----------------------------------------------------------------------

    def _complete(self, event: Mapping[str, Any]) -> None:
        start = self.time(event, "ts")
        dur = self.time(event, "dur") if "dur" in event else 0
        if dur < 0:
            raise self.wrong("dur", "expected a duration of at least 0", event["dur"])
        track = self._track(event)
        row = self._span(event, track, start)
        if row != NULL:
            self.recording.columns["dur"][row] = dur

    def _begin(self, event: Mapping[str, Any]) -> None:
        track = self._track(event)
        start = self.time(event, "ts")
        self._keep_half("B", 1, start, track, track, self._span(event, track, start))

    def _end(self, event: Mapping[str, Any]) -> None:
        track = self._track(event)
        self._keep_half("B", 0, self.time(event, "ts"), track, track, NULL)

    def _async_begin(self, event: Mapping[str, Any]) -> None:
        track, stack, number = self._async_place(event)
        start = self.time(event, "ts")
        args = {**_args(event), "$id": number}
        row = self._span({**event, "args": args}, track, start)
        self._keep_half("b", 1, start, track, stack, row)

    def _async_end(self, event: Mapping[str, Any]) -> None:
        track, stack, _ = self._async_place(event)
        self._keep_half("b", 0, self.time(event, "ts"), track, stack, NULL)

    def _async_place(self, event: Mapping[str, Any]) -> tuple[int, int, Any]:
        """Return the track of an asynchronous event, what it nests in, and its id."""
        scoped = event.get("id2")
        scoped = scoped if isinstance(scoped, Mapping) else {}
        number = event.get("id", scoped.get("global", scoped.get("local")))
        if number is None or isinstance(number, dict | list):
            raise self.wrong("id", "expected the id of an asynchronous event", number)
        pid = event.get("pid", 0)
        category = str(event.get("cat", ""))
        name = category or str(event.get("name", ""))
        stack = self._stacks.number((pid if "local" in scoped else None, category, str(number)))
        return self.keys.number((_id(pid), ("async", name))), stack, number

    def _keep_half(self, form: str, begin: int, ts: int, track: int, stack: int, row: int) -> None:
        for column, value in zip(
            self._half[form].values(), (begin, ts, track, stack, row), strict=True
        ):
            column.append(value)

    def _span(self, event: Mapping[str, Any], track: int, start: int) -> int:
        """Keep the slice of an event, without a duration yet; NULL where rules leave it out."""
        name = event.get("name")
        meaning = self.meaning(
            name if isinstance(name, str) else str(name or ""),
            str(event.get("cat", "")),
            _args(event),
        )
        if meaning is None:
            self.ignored[self.left_out] += 1
            return NULL
        recording = self.recording
        request = NULL
        if meaning.request is not None and not isinstance(meaning.request, dict | list):
            number = integer(meaning.request)
            request = recording.request_ids.number(
                number if number != NULL else str(meaning.request)
            )
        row = recording.add(
            start,
            0,
            track,
            recording.names.number(meaning.name),
            request,
            integer(meaning.token),
            integer(meaning.step),
            integer(meaning.bytes),
        )
        self.last_row[track] = row
        return row

    def _counter(self, event: Mapping[str, Any]) -> None:
        ts = self.time(event, "ts")
        pid = event.get("pid", 0)
        name = str(event.get("name", ""))
        if "id" in event:
            name = f"{name} {event['id']}"
        for unit, value in _args(event).items():
            if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                key = self.counter_keys.number((_id(pid), name, unit))
                try:
                    self.recording.count(key, ts, float(value))
                except OverflowError:
                    raise self.wrong(
                        "args", "expected a number of 64 bits", "a larger one"
                    ) from None

    def _flow(self, event: Mapping[str, Any]) -> None:
        scoped = event.get("id2")
        number = event.get("id", scoped if scoped is None else str(scoped))
        if number is None or isinstance(number, dict | list):
            raise self.wrong("id", "expected the id of a flow", number)
        ts = self.time(event, "ts")
        track = self._track(event)
        phase = event["ph"]
        # A rendering has the flow's event right behind its slice.
        row = self.last_row.get(track, NULL)
        if row != NULL and self.recording.columns["ts"][row] != ts:
            row = NULL
        key = (str(event.get("cat", "")), str(event.get("name", "")), number)
        values = (
            self.recording.flow_ids.number(key),
            ts,
            track,
            row,
            int(phase == "f" and event.get("bp") != "e"),
            "stf".index(phase),
        )
        for column, value in zip(self._flows.values(), values, strict=True):
            column.append(value)

    def _metadata(self, event: Mapping[str, Any]) -> None:
        name = _args(event).get("name")
        if name is None:
            return
        if event.get("name") == "process_name":
            self.process_names[_id(event.get("pid", 0))] = str(name)
        elif event.get("name") == "thread_name":
            self.thread_names[_id(event.get("pid", 0)), _id(event.get("tid", 0))] = str(name)

    def _track(self, event: Mapping[str, Any]) -> int:
        return self.keys.number((_id(event.get("pid", 0)), _id(event.get("tid", 0))))

    # -- at the end ------------------------------------------------------------------------------

    def finish(self, tracks_of: TracksOf) -> Recording:
        """Pair begins and ends, make the tracks with `tracks_of`, bind flows; return it all."""
        self._pair()
        recording = self.recording
        tracks_of(self)
        self._bind_flows()
        recording.note_left_out(self.ignored)
        return recording

    def _pair(self) -> None:
        """Give the slices that were begun the duration to their end."""
        columns = self.recording.columns
        ends = np.array(columns["ts"], np.int64) + np.array(columns["dur"], np.int64)
        last = int(ends.max(initial=0))
        lost = unfinished = 0
        for half in self._half.values():
            ts = np.array(half["ts"], np.int64)
            if not len(ts):
                continue
            last = max(last, int(ts.max()))
            order = np.argsort(ts, kind="stable")
            part = {name: np.array(values, np.int64)[order] for name, values in half.items()}
            begins, closes, _, missing = pair(part["begin"], part["stack"])
            lost += missing
            unfinished += int((closes == NULL).sum())
            for row, start, close in zip(
                part["row"][begins].tolist(),
                part["ts"][begins].tolist(),
                closes.tolist(),
                strict=True,
            ):
                if row != NULL:
                    columns["dur"][row] = (
                        last if close == NULL else int(part["ts"][close])
                    ) - start
        if lost:
            self.ignored["ends without a begin"] += lost
        if unfinished:
            self.recording.notes.append(
                f"Spans without an end ({unfinished:,}) are drawn to the end of the trace."
            )

    def _bind_flows(self) -> None:
        """Find the slice of each flow's event: right before it in the file, or around its time."""
        recording = self.recording
        flows = {name: np.array(values, np.int64) for name, values in self._flows.items()}
        if not len(flows["ts"]):
            return
        rows = flows["row"]
        open_ends = np.flatnonzero(rows == NULL)
        if len(open_ends):
            columns = recording.slices()
            order = ordered(columns["ts"], columns["dur"], columns["track"])
            found = enclosing(
                *(flows[name][open_ends] for name in ("ts", "track", "next")),
                *(columns[name][order] for name in ("ts", "dur", "track")),
            )
            rows[open_ends] = np.where(found == NULL, NULL, order[found] if len(order) else NULL)
        unbound = int((rows == NULL).sum())
        if unbound:
            self.ignored["ends of flows without a span"] += unbound
        # In order of time; where times are equal, a start comes before a step before an end.
        by_time = np.lexsort((flows["place"], flows["ts"], flows["flow"]))
        for row in by_time.tolist():
            if rows[row] != NULL:
                recording.flow.append(int(flows["flow"][row]))
                recording.flow_slice.append(int(rows[row]))
        ids = recording.flow_ids.things
        if len({key[:2] for key in ids}) == 1:
            recording.flow_ids = Interned()
            for key in ids:
                number = integer(key[2])
                recording.flow_ids.number(number if number != NULL else key[2])


def _args(event: Mapping[str, Any]) -> Mapping[str, Any]:
    args = event.get("args")
    return args if isinstance(args, Mapping) else {}


def _id(value: Any) -> Hashable:
    """Return a pid or tid that can be a key."""
    return str(value) if isinstance(value, dict | list | Decimal) else value
