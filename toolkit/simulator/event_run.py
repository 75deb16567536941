"""An `event` run: first to its end for the outcome, then again for the spans.

Playing is cheap and spans are many.  So the first time only times, waits and
totals are kept; the second time spans are written, chunk by chunk, among
request lanes whose ends are known by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import InputError
from toolkit.scenario.model import Scenario
from toolkit.simulator import event
from toolkit.simulator.batches import FAILURES_AT_FIRST, Batches, pack, plan
from toolkit.simulator.event_state import Plan
from toolkit.simulator.failures import upcoming
from toolkit.simulator.kernel import span_rows, wait_rows
from toolkit.simulator.layout import Layout
from toolkit.simulator.outcome import Outcome, Slice, Totals, counters
from toolkit.simulator.spans import SPANS_AT_ONCE, SpanSorter, waits_chunk
from toolkit.trace.columns import NULL, Chunk, name_key
from toolkit.units import GB, HOUR_S
from toolkit.workload.requests import Requests

__all__ = ["EventRun"]

I8 = npt.NDArray[np.int64]

WAITS_AT_ONCE = 1 << 16

MOST_FAILURES = 1 << 15
"""Random failures of one machine after which a run is given up."""

SWAPS = ("swap_in", "swap_out")

SENDER_FIELDS = (("busy", "count", "bytes"), ("restoring", "restored", "restored_bytes"))


class EventRun:
    """One deployment's batches, played under the `event` discipline."""

    def __init__(self, scenario: Scenario, layout: Layout, requests: Requests) -> None:
        """Pack the requests and lay out the plan; nothing is played yet.

        Raises:
            InputError: a batch's KV cache alone is larger than its pipeline's room.
        """
        self._scenario = scenario
        self._layout = layout
        self._requests = requests
        self._batches: Batches = pack(scenario, requests)
        self._plan = plan(scenario, layout, self._batches, requests)
        _refuse_too_large(scenario, self._plan)
        self._state = event.new_state(self._plan)
        self._room = event.margin(self._plan, self._state)
        self._told = FAILURES_AT_FIRST

    def waits(self) -> Iterator[Chunk]:
        """Play to the end, yielding rows of `waits`."""
        yield self._packing()
        rows, no_spans = wait_rows(WAITS_AT_ONCE + self._room), span_rows(0)
        fates: list[I8] = []
        while self._state.heap_size[0]:
            event.advance(self._plan, self._state, rows, no_spans, self._room, 0)
            yield waits_chunk(rows, self._batches.lead)
            rows.filled[0] = 0
            fates.append(_drained(self._state))
            if self._state.faults.wanting[0]:
                self._more_failures()
        faults = self._plan.faults
        if faults.failing or faults.replicated or self._plan.swaps.swapping:
            self._play_to_the_end(np.concatenate(fates))

    def _more_failures(self) -> None:
        """Tell twice as many failures as were known, and go on.

        Raises:
            InputError: the requests are begun anew so often that no end is in sight.
        """
        self._told *= 2
        if self._told > MOST_FAILURES:
            raise _no_end_in_sight(self._scenario, int(self._state.run["left"][0]))
        failures, start = upcoming(self._scenario.failures, self._layout, self._told)
        self._plan = self._plan._replace(
            faults=self._plan.faults._replace(failures=failures, start=start)
        )
        event.supply(self._plan, self._state)

    def _play_to_the_end(self, fates: I8) -> None:
        """Play once more, with the end in view: nothing is counted that outlasts it."""
        order = np.argsort(fates[:, 0], kind="stable")
        start = np.searchsorted(fates[order, 0], np.arange(len(self._batches) + 1))
        faults = self._plan.faults._replace(
            fates=np.append(_least_from_here(*fates[order].T), NULL),
            fate_start=start.astype(np.int64),
            horizon=int(self._state.batches["finish"].max()),
        )
        self._plan = self._plan._replace(faults=faults)
        rows, no_spans = wait_rows(WAITS_AT_ONCE + self._room), span_rows(0)
        self._state = event.new_state(self._plan)
        while self._state.heap_size[0]:
            rows.filled[0] = 0
            event.advance(self._plan, self._state, rows, no_spans, self._room, 0)
            _drained(self._state)

    def _packing(self) -> Chunk:
        """Return each request's wait for its microbatch to be ready."""
        batches, members = self._batches, self._batches.members
        ready = batches.ready_ns[batches.of_members()]
        arrival = self._requests.arrival_ns[members]
        waited = ready > arrival
        request = members[waited].astype(np.int32)
        lead = batches.lead[batches.of_members()][waited].astype(np.int32)
        return Chunk(
            "waits",
            {
                "request": request,
                "from_ns": arrival[waited],
                "until_ns": ready[waited],
                "wait_ns": (ready - arrival)[waited],
                "cause": np.full(len(request), name_key("packing"), np.int32),
                "on_request": np.where(lead == request, NULL, lead).astype(np.int32),
                "on_track": np.full(len(request), NULL, np.int32),
            },
        )

    def outcome(self) -> Outcome:
        """Return what became of each entry, once all is played."""
        batches, members = self._batches, self._batches.members
        times = self._state.batches
        of = batches.of_members()
        passes = self._requests.output_tokens[members].astype(np.int64) - 1
        finish = self._state.mark_ns[_find(self._plan, of, passes)]
        decodes = passes > 0

        def by_entry(values: I8) -> I8:
            column = np.empty(len(members), np.int64)
            column[members] = values
            return column

        def by_batch(name: str) -> I8:
            return by_entry(times[name][of])

        alone = np.diff(batches.member_start)[of] == 1
        prompt_tracks, replica = self._last_prompt_tracks(), times["pipe"]
        shared: dict[str, Any] = {} if not bool(alone.all()) else {
            "prefill": Slice(by_entry(prompt_tracks[replica][of]), by_batch("prefill_last")),
            "decode": Slice(by_entry(self._plan.tracks[replica, 0][of]), by_batch("decode_start")),
        }  # fmt: skip
        if shared and self._plan.split:
            shared["transfer"] = Slice(by_batch("landing_track"), by_batch("landing_start"))
        return Outcome(
            lead=by_entry(batches.lead[of]),
            replica=by_batch("pipe"),
            start=by_batch("start"),
            prefill_end=by_batch("prefill_end"),
            kv_ready=by_entry(np.where(decodes, times["kv_ready"][of], NULL)),
            first_token=by_batch("prefill_end"),
            decode_start=by_entry(np.where(decodes, times["decode_start"][of], NULL)),
            finish=by_entry(finish),
            **shared,
        )

    def _last_prompt_tracks(self) -> I8:
        """Return the last stage a prompt passes, for each pipeline that decodes."""
        pipelines = self._layout.pipelines
        prompts = [pipelines[0]] * len(pipelines) if self._plan.split else list(pipelines)
        return np.array([pipeline.stages[-1] for pipeline in prompts], np.int64)

    def add_totals(self, totals: Totals) -> None:
        """Add the busy time of stages and links."""
        state, plan_ = self._state, self._plan
        for pipe, pipeline in enumerate(self._layout.pipelines):
            for server, track in enumerate(pipeline.servers):
                prompt, token = state.busy[pipe, server]
                if plan_.linked and server % 2:
                    totals.add(track, "activation", *(prompt + token).tolist())
                else:
                    totals.add(track, "prefill", *prompt[:2].tolist())
                    totals.add(track, "decode", *token[:2].tolist())
                    totals.add(track, "lost", *state.faults.lost[pipe, server].tolist())
            for stage, track in enumerate(pipeline.stages):
                failed, starting = state.faults.down[pipe, stage].tolist()
                totals.add(track, "failed", *failed)
                totals.add(track, "starting", *starting)
            for sender, track in zip(state.faults.senders[pipe], pipeline.replicas, strict=False):
                busy, restoring = (
                    [int(sender[field]) for field in fields] for fields in SENDER_FIELDS
                )
                totals.add(track, "replica", *busy)
                totals.add(track, "restore", *restoring)
            for channels, tracks in zip(state.swaps.channels[pipe], pipeline.host, strict=False):
                for channel, track, name in zip(channels, tracks, SWAPS, strict=True):
                    moved = [int(channel[field]) for field in SENDER_FIELDS[0]]
                    totals.add(track, name, *moved)
        for nic, track in zip(state.nics, self._layout.interfaces, strict=False):
            totals.add(track, "kv_transfer", int(nic["busy"]), int(nic["count"]), int(nic["bytes"]))
            totals.add(track, "kv_receive", int(nic["in_busy"]), int(nic["in_count"]))

    def counters(self, outcome: Outcome) -> Iterator[Chunk]:
        """Yield `counter_defs` and `counters`."""
        return counters(self._scenario, self._layout, self._requests, outcome)

    @property
    def leads(self) -> I8:
        """The request that each batch's spans carry; where machines fail, the last is none."""
        lead = self._batches.lead
        return np.append(lead, NULL) if self._plan.faults.failing else lead

    def spans(self, sorter: SpanSorter) -> Iterator[int]:
        """Play once more into a sorter's buffer, yielding how far the play has come, ns."""
        plan_ = self._plan._replace(details=False)  # waits are known by now
        state = event.new_state(plan_)
        waits = wait_rows(WAITS_AT_ONCE + self._room)
        while state.heap_size[0]:
            waits.filled[0] = 0
            rows = sorter.buffer
            limit = min(int(rows.filled[0]) + SPANS_AT_ONCE, len(rows.rows))
            yield int(event.advance(plan_, state, waits, rows, self._room, limit))
            _drained(state)


def _drained(state: event.State) -> I8:
    """Return what failures have left of batches since the last time: rows of (batch, passes)."""
    faults = state.faults
    rows = faults.fates[: int(faults.filled[0])].copy()
    faults.filled[0] = 0
    return rows


def _no_end_in_sight(scenario: Scenario, left: int) -> InputError:
    failures = scenario.failures
    assert failures is not None
    return InputError.one(
        str(scenario.file or scenario.name),
        "failures.mtbf_h",
        "expected machines that stay up long enough for requests to be served",
        f"{(failures.mtbf_s or 0) / HOUR_S:g} h: after {MOST_FAILURES:,} failures of a machine "
        f"{left:,} microbatches are not done",
        'use a longer mtbf_h, shorter requests, or deployment.replication = "next_stage"',
    )


def _least_from_here(batch: I8, kept: I8) -> I8:
    """Return what is left of each attempt in the end: what one failure spares a later one may not.

    `batch` ascends; `kept` are the passes that each failure of a batch in turn left.
    """
    if not len(kept):
        return kept
    apart = batch * (int(kept.max()) + 1)  # from the back, the least begins anew with each batch
    least: I8 = np.minimum.accumulate((kept + apart)[::-1])[::-1] - apart
    return least


def _refuse_too_large(scenario: Scenario, plan_: Plan) -> None:
    """Refuse a batch that could never enter, which a checked scenario does not have."""
    sides = ("prompt_room", "room") if plan_.split else ("room",)
    for side, capacity in zip(sides, plan_.pipes["capacity"].tolist(), strict=False):
        largest = int(plan_.batches[side].max())
        if largest > capacity:
            raise InputError.one(
                str(scenario.file or scenario.name),
                "deployment.microbatch_size",
                f"expected KV caches of at most {capacity / GB:.6g} GB, the room by the weights",
                f"{largest / GB:.6g} GB for the largest microbatch",
                "use smaller microbatches, more stages, or machines with more memory",
            )


def _find(plan_: Plan, batch: I8, passes: I8) -> I8:
    """Return where the mark of so many passes stands among its batch's."""
    top = int(plan_.marks.max(initial=0)) + 1
    count = plan_.batches["end_mark"] - plan_.batches["first_mark"]
    owner = np.repeat(np.arange(len(count)), count)
    return np.searchsorted(owner * top + plan_.marks, batch * top + passes)
