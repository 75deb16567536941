"""What became of every entry, and the small tables that follow from it.

Both disciplines end in an :class:`Outcome`; from there on nothing depends on
which of them it was.  Rows of `requests`, the spans of request lanes, flows,
counters and totals are all functions of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.scenario.model import Scenario
from toolkit.simulator.kernel import (
    SPAN_FIELDS,
    Records,
    compiled,
    heap_pop,
    heap_push,
    records,
)
from toolkit.simulator.layout import Layout
from toolkit.trace.columns import NULL, Chunk, Values, name_key
from toolkit.units import HOUR_S, NS_PER_S
from toolkit.workload.requests import Requests

__all__ = ["Lanes", "Outcome", "Slice", "Totals", "assign_lanes", "counters"]

I8 = npt.NDArray[np.int64]

COST_STEPS = 256
"""Rows of the counter of cost so far."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The span by which a flow passes, of each entry; track NULL where there is none."""

    track: I8
    ts_ns: I8


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times of each entry in ns, shape (entries,); NULL for what never happened.

    ``prefill``, ``transfer`` and ``decode`` are the spans a flow touches: the
    prompt on its last stage, the transfer of the part that arrived last, the
    first decode; empty where the entry shares them with others.
    """

    lead: I8
    replica: I8
    start: I8
    prefill_end: I8
    kv_ready: I8
    first_token: I8
    decode_start: I8
    finish: I8
    prefill: Slice | None = None
    transfer: Slice | None = None
    decode: Slice | None = None
    refused: npt.NDArray[np.bool_] | None = None
    """Entries that were turned away; None: not one."""
    prompt_replica: I8 | None = None
    """Engines that computed the prompts, of a split deployment of engines."""
    cancelled: npt.NDArray[np.bool_] | None = None
    """Entries whose clients lost patience; ``finish`` is when they left."""
    timed_out: npt.NDArray[np.bool_] | None = None
    given_up: I8 | None = None
    """When the client gave an entry up."""
    generated: I8 | None = None
    """Tokens generated of an entry that was given up."""
    sent: Requests | None = None
    """The requests as they were sent, where that hangs on the run; None: as planned."""
    cached_tokens: I8 | None = None
    """Prompt tokens found in a prefix cache; None: there is none."""

    @property
    def makespan_ns(self) -> int:
        """Time of the last token, from 0."""
        return int(self.finish.max())

    def requests_chunk(self, requests: Requests, lanes: Lanes) -> Chunk:
        """Return the rows of `requests`."""
        entries = len(requests)
        return Chunk(
            "requests",
            {
                "request": np.arange(entries, dtype=np.int32),
                "arrival_ns": requests.arrival_ns,
                "start_ns": self.start,
                "prefill_end_ns": self.prefill_end,
                "kv_ready_ns": self.kv_ready,
                "first_token_ns": self.first_token,
                "decode_start_ns": self.decode_start,
                "finish_ns": self.finish,
                "prompt_tokens": requests.prompt_tokens,
                "output_tokens": requests.output_tokens,
                "size": requests.size,
                "replica": self.replica.astype(np.int32),
                "lane": lanes.track.astype(np.int32),
                "lead": self.lead.astype(np.int32),
                "outcome": self._outcomes(entries),
                "prompt_replica": self._or_null(self.prompt_replica, entries),
                "cached_tokens": self._or_null(self.cached_tokens, entries),
                **self._feedback(requests),
                **_tenants(requests),
            },
        )

    @staticmethod
    def _or_null(values: I8 | None, entries: int) -> npt.NDArray[np.int32]:
        return (np.full(entries, NULL) if values is None else values).astype(np.int32)

    def _outcomes(self, entries: int) -> list[str]:
        if self.refused is None and self.given_up is None:
            return ["served"] * entries
        became = np.full(entries, "served", object)
        for outcome in ("refused", "cancelled", "timed_out"):
            if (chosen := getattr(self, outcome)) is not None:
                became[chosen] = outcome
        return list(became)

    def _feedback(self, requests: Requests) -> dict[str, Values]:
        """Return the columns of sessions, tries and entries given up, where there are any."""
        columns = {
            "session": requests.session,
            "turn": requests.turn,
            "attempt": requests.attempt,
            "attempt_of": requests.attempt_of,
            "generated_tokens": self.generated,
        }
        found: dict[str, Values] = {
            name: values.astype(np.int32) for name, values in columns.items() if values is not None
        }
        if self.given_up is not None:
            found["given_up_ns"] = self.given_up
        return found

    def flows_chunk(self, lanes: Lanes, *, own_slices: bool) -> Chunk:
        """Return one flow per entry that decodes: its prompt, its transfer if any, its decode.

        With `own_slices` a flow touches the entry's own spans on machines and
        links where it has them, else the phases on its lane.
        """
        on_lane = lanes.track
        prefill = (own_slices and self.prefill) or Slice(on_lane, self.start)
        transfer = (own_slices and self.transfer) or Slice(on_lane, self.prefill_end)
        own = transfer.track != NULL  # one that took no time has no span of its own
        transfer = Slice(
            np.where(own, transfer.track, on_lane), np.where(own, transfer.ts_ns, self.prefill_end)
        )
        decode = (own_slices and self.decode) or Slice(on_lane, self.decode_start)
        decodes = self.decode_start != NULL
        moved = decodes & (self.kv_ready > self.prefill_end)
        flow = np.arange(len(on_lane))
        steps = [
            (0, decodes & (self.prefill_end > self.start), prefill),
            (1, moved, transfer),
            (2, decodes & (self.finish > self.decode_start), decode),
        ]
        columns = {
            "flow": np.concatenate([flow[chosen] for _, chosen, _ in steps]),
            "order": np.concatenate([np.full(chosen.sum(), at) for at, chosen, _ in steps]),
            "track": np.concatenate([piece.track[chosen] for _, chosen, piece in steps]),
            "ts_ns": np.concatenate([piece.ts_ns[chosen] for _, chosen, piece in steps]),
        }
        order = np.lexsort((columns["order"], columns["flow"]))
        columns = {name: values[order] for name, values in columns.items()}
        first = np.concatenate(([True], columns["flow"][1:] != columns["flow"][:-1]))
        starts = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
        return Chunk(
            "flows",
            {
                "flow": columns["flow"].astype(np.int32),
                "order": (np.arange(len(order)) - starts).astype(np.int32),
                "track": columns["track"].astype(np.int32),
                "ts_ns": columns["ts_ns"].astype(np.int64),
                "ordinal": np.zeros(len(order), np.int32),
            },
        )


def _tenants(requests: Requests) -> dict[str, npt.NDArray[np.object_]]:
    """Return who sent each entry; nothing where the workload has no tenants."""
    if requests.tenant is None or not requests.tenants:
        return {}
    names = np.array([*requests.tenants, None], object)  # the last for those of nobody, -1
    return {"tenant": names[requests.tenant]}


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lane (track) of each entry, and how many lanes there are."""

    track: I8
    count: int

    @classmethod
    def none(cls, entries: int) -> Lanes:
        """Return no lanes, for entries that are not to be drawn."""
        return cls(np.full(entries, NULL), 0)

    def spans(self, requests: Requests, outcome: Outcome) -> Records:
        """Return the phases of every entry on its lane, sorted by time and lane.

        Queued, prefill, transfer, queued again, decode; those that take no
        time are left out.
        """
        if not self.count:
            return records(SPAN_FIELDS, 0)
        start, prefill_end, decode_start = outcome.start, outcome.prefill_end, outcome.decode_start
        if outcome.given_up is not None:  # whatever did not begin ends with the request
            start, prefill_end, decode_start = (
                np.where((at == NULL) & (outcome.given_up != NULL), outcome.finish, at)
                for at in (start, prefill_end, decode_start)
            )
        landed = np.where(outcome.kv_ready == NULL, prefill_end, outcome.kv_ready)
        decodes = decode_start != NULL
        begin = np.where(decodes, decode_start, landed)
        phases = [
            ("queued", requests.arrival_ns, start),
            ("prefill", start, prefill_end),
            ("transfer", prefill_end, landed),
            ("queued", landed, begin),
            ("decode", begin, np.where(decodes, outcome.finish, begin)),
        ]
        since = np.concatenate([phase[1] for phase in phases])
        took = np.concatenate([phase[2] for phase in phases]) - since
        lane = np.tile(self.track, len(phases))
        order = np.flatnonzero(took > 0)
        order = order[np.lexsort((lane[order], since[order]))]
        spans = records(SPAN_FIELDS, len(order), NULL)
        spans["ts"] = since[order]
        spans["dur"] = took[order]
        spans["track"] = lane[order]
        spans["name"] = np.repeat([name_key(phase[0]) for phase in phases], len(requests))[order]
        spans["batch"] = np.tile(np.arange(len(requests)), len(phases))[order]
        return spans


def assign_lanes(
    arrival_ns: I8,
    finish_ns: I8,
    first_track: int,
    refused: npt.NDArray[np.bool_] | None = None,
) -> Lanes:
    """Give each entry the lowest lane that is free when it arrives (interval colouring).

    Those refused get none.
    """
    by_arrival = np.argsort(arrival_ns, kind="stable")
    if refused is not None:
        by_arrival = by_arrival[~refused[by_arrival]]
    track = np.full(len(arrival_ns), NULL)
    lanes = _take_lanes(by_arrival, arrival_ns, finish_ns, first_track, track)
    return Lanes(track, lanes)


@compiled
def _take_lanes(order: I8, arrival_ns: I8, finish_ns: I8, first_track: int, track: I8) -> int:
    """Give entries their tracks in order of arrival; return how many lanes that takes."""
    free, ending = np.zeros((len(order), 2), np.int64), np.zeros((len(order), 2), np.int64)
    free_size, ending_size = np.zeros(1, np.int64), np.zeros(1, np.int64)
    lanes = 0
    for entry in order:
        while ending_size[0] > 0 and ending[0, 0] <= arrival_ns[entry]:
            _, lane = heap_pop(ending, ending_size)
            heap_push(free, free_size, lane, lane)
        if free_size[0] > 0:
            _, lane = heap_pop(free, free_size)
        else:
            lane = lanes
            lanes += 1
        track[entry] = first_track + lane
        heap_push(ending, ending_size, finish_ns[entry], lane)
    return lanes


class Totals:
    """Busy time, count and bytes by (track, name), gathered from whoever knows them."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rows: list[tuple[int, int, int, int, int]] = []

    def add(self, track: int, name: str, busy_ns: int, count: int, nbytes: int = NULL) -> None:
        """Add the whole of a track's name, once; nothing where there is no span."""
        if count:
            self._rows.append((track, name_key(name), busy_ns, count, nbytes))

    def chunk(self, lanes: Records) -> Chunk:
        """Return the rows of `totals`, with those of the lanes' spans."""
        order = np.lexsort((lanes["name"], lanes["track"]))
        track, name = lanes["track"][order], lanes["name"][order]
        first = np.flatnonzero(
            np.concatenate(([True], (track[1:] != track[:-1]) | (name[1:] != name[:-1])))
        )[: len(order)]
        rows = np.array(sorted(self._rows), np.int64).reshape(-1, 5)
        busy = np.add.reduceat(lanes["dur"][order], first) if len(order) else first
        count = np.diff(np.append(first, len(order)))
        return Chunk(
            "totals",
            {
                "track": np.concatenate((rows[:, 0], track[first])).astype(np.int32),
                "name": np.concatenate((rows[:, 1], name[first])).astype(np.int32),
                "busy_ns": np.concatenate((rows[:, 2], busy)),
                "count": np.concatenate((rows[:, 3], count)),
                "bytes": np.concatenate((rows[:, 4], np.full(len(first), NULL))),
            },
        )


def counters(
    scenario: Scenario, layout: Layout, requests: Requests, outcome: Outcome
) -> Iterator[Chunk]:
    """Yield `counter_defs` and `counters`: in flight, queued, KV reserved, cost so far."""
    defs: list[tuple[int, str, str, str]] = []
    rows: list[tuple[I8, npt.NDArray[np.float64]]] = []

    def counter(
        machine: int, name: str, unit: str, share: str, steps: tuple[I8, npt.NDArray[np.float64]]
    ) -> None:
        defs.append((machine, name, unit, share))
        rows.append(steps)

    leads = outcome.lead == np.arange(len(requests))
    end = np.zeros(len(requests), np.int64)
    np.maximum.at(end, outcome.lead, outcome.finish)
    ones = np.ones(len(requests))
    for pipeline in layout.pipelines:
        begin, until = _stay(pipeline.role, outcome, end)
        here = leads & (until > begin)
        if pipeline.role == "colocated":
            here &= outcome.replica == pipeline.replica
        label = {"colocated": f"replica {pipeline.replica}"}.get(pipeline.role, pipeline.role)
        counter(
            NULL, f"in flight, {label}", "microbatches", "in_flight",
            _steps((begin[here], ones[here]), (until[here], -ones[here])),
        )  # fmt: skip
    size = requests.size.astype(np.float64)
    counter(
        NULL, "queued", "requests", "queued",
        _steps((requests.arrival_ns, size), (outcome.start, -size)),
    )  # fmt: skip
    for machine, steps in _kv_reserved(scenario, layout, requests, outcome, end):
        counter(machine, "KV reserved", "bytes", "kv", steps)
    if scenario.hardware.price_usd_per_hour is not None:
        at = np.linspace(0, outcome.makespan_ns, COST_STEPS).astype(np.int64)
        rate = scenario.hardware.price_usd_per_hour * layout.machines / HOUR_S / NS_PER_S
        counter(NULL, "cost so far", "usd", "cost", (at, np.multiply(at, rate, dtype=np.float64)))
    yield Chunk(
        "counter_defs",
        {
            "counter": np.arange(len(defs), dtype=np.int32),
            "machine": np.array([machine for machine, *_ in defs], np.int32),
            "name": [name for _, name, *_ in defs],
            "unit": [unit for *_, unit, _ in defs],
            "share_key": [share for *_, share in defs],
        },
    )
    ts = np.concatenate([steps[0] for steps in rows])
    key = np.repeat(np.arange(len(rows)), [len(steps[0]) for steps in rows])
    order = np.lexsort((key, ts))
    yield Chunk(
        "counters",
        {
            "ts_ns": ts[order],
            "counter": key[order].astype(np.int32),
            "value": np.concatenate([steps[1] for steps in rows])[order],
        },
    )


def _stay(role: str, outcome: Outcome, end: I8) -> tuple[I8, I8]:
    """Return when each lead's batch entered and left the pipelines of a role."""
    if role == "token":
        decodes = outcome.decode_start != NULL
        return outcome.decode_start, np.where(decodes, end, NULL)
    if role == "prompt":
        left = np.where(outcome.kv_ready == NULL, outcome.prefill_end, outcome.kv_ready)
        return outcome.start, left
    return outcome.start, end


def _kv_reserved(
    scenario: Scenario, layout: Layout, requests: Requests, outcome: Outcome, end: I8
) -> Iterator[tuple[int, tuple[I8, npt.NDArray[np.float64]]]]:
    """Yield (machine, changes) of the bytes of KV cache set aside on each machine.

    Where a batch decodes, room for prompt and answer is set aside from the
    start of its prompt until it ends; on prompt machines, room for the prompt
    until the cache has left.
    """
    model = scenario.model
    if model is None:
        return
    longest = np.zeros((2, len(requests)), np.int64)
    np.maximum.at(longest[0], outcome.lead, requests.prompt_tokens)
    np.maximum.at(longest[1], outcome.lead, requests.output_tokens)
    size = np.zeros(len(requests), np.int64)
    np.add.at(size, outcome.lead, requests.size)
    leads = outcome.lead == np.arange(len(requests))
    for pipeline in layout.pipelines:
        here = leads.copy()
        begin, until = _stay(pipeline.role, outcome, end)
        tokens = longest[0] + (0 if pipeline.role == "prompt" else longest[1])
        if pipeline.role == "colocated":
            here &= outcome.replica == pipeline.replica
        if pipeline.role == "token":
            begin, until = outcome.start, end
        here &= until > begin
        whole = (size * tokens)[here] * model.kv_bytes_per_token
        at, value = _steps((begin[here], whole), (until[here], -whole))
        for stage, machine in enumerate(pipeline.machines):
            layers = pipeline.layers[stage] if pipeline.layers else 0
            yield machine, (at, np.rint(value * layers / model.layers))


def _steps(
    *changes: tuple[I8, npt.NDArray[np.float64]],
) -> tuple[I8, npt.NDArray[np.float64]]:
    """Return (times, values) of a level that changes so much at so many times, one row a time."""
    at = np.concatenate([times for times, _ in changes])
    by = np.concatenate([amounts for _, amounts in changes])
    order = np.argsort(at, kind="stable")
    at, level = at[order], np.rint(np.cumsum(by[order]))
    last = np.concatenate((at[1:] != at[:-1], [True])) if len(at) else np.empty(0, bool)
    at, level = at[last], level[last]
    moved = np.concatenate(([True], level[1:] != level[:-1])) if len(at) else last
    return at[moved], level[moved]
