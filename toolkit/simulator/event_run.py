"""An `event` run: first to its end for the outcome, then again for the spans.

Playing is cheap and spans are many.  So the first time only times, waits and
totals are kept; the second time spans are written, chunk by chunk, among
request lanes whose ends are known by then.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from toolkit.scenario.model import Scenario
from toolkit.simulator import event
from toolkit.simulator.batches import Batches, pack, plan
from toolkit.simulator.kernel import SpanRows, WaitRows, new_rows
from toolkit.simulator.layout import Layout
from toolkit.simulator.outcome import Outcome, Slice, Totals
from toolkit.simulator.spans import Columns, columns_of
from toolkit.trace.columns import NULL, Chunk, name_key
from toolkit.workload.requests import Requests

__all__ = ["EventRun"]

I8 = npt.NDArray[np.int64]

WAITS_AT_ONCE = 1 << 16
SPANS_AT_ONCE = 1 << 18


class EventRun:
    """One deployment's batches, played under the `event` discipline."""

    def __init__(self, scenario: Scenario, layout: Layout, requests: Requests) -> None:
        """Pack the requests and lay out the plan; nothing is played yet."""
        self._layout = layout
        self._requests = requests
        self._batches: Batches = pack(scenario, requests)
        self._plan = plan(scenario, layout, self._batches, requests)
        self._state = event.new_state(self._plan)
        self._margin = (self._plan.tracks.shape[1] + 2) * (2 * self._state.who.shape[1] + 4)

    def waits(self) -> Iterator[Chunk]:
        """Play to the end, yielding rows of `waits`."""
        yield self._packing()
        rows = new_rows(WaitRows, WAITS_AT_ONCE + self._margin)
        nothing = new_rows(SpanRows, 1)
        while self._state.heap.size[0]:
            event.advance(self._plan, self._state, rows, nothing, False)
            yield _waits_chunk(rows, self._batches.lead)
            rows.count[0] = 0

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
        times = dict(zip(event.TIMES, self._state.times.T, strict=True))
        of = batches.of_members()
        passes = self._requests.output_tokens[members].astype(np.int64) - 1
        finish = self._state.mark_ns[_find(self._plan.mark_start, self._plan.mark_pass, of, passes)]
        decodes = passes > 0

        def by_entry(values: I8) -> I8:
            column = np.empty(len(members), np.int64)
            column[members] = values
            return column

        def by_batch(name: str) -> I8:
            return by_entry(times[name][of])

        alone = np.diff(batches.member_start)[of] == 1
        prompt_tracks, replica = self._last_prompt_tracks(), times["replica"]
        shared = {} if not bool(alone.all()) else {
            "prefill": Slice(by_entry(prompt_tracks[replica][of]), by_batch("prefill_last")),
            "decode": Slice(by_entry(self._plan.tracks[replica, 0][of]), by_batch("decode_start")),
        }  # fmt: skip
        if shared and self._plan.split:
            landing = self._state.landing[of]
            shared["transfer"] = Slice(by_entry(landing[:, 4]), by_entry(landing[:, 1]))
        return Outcome(
            lead=by_entry(batches.lead[of]),
            replica=by_batch("replica"),
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
                busy, count = state.busy[pipe, server], state.counts[pipe, server]
                if plan_.linked and server % 2:
                    moved = int(state.bytes[pipe, server])
                    totals.add(track, "activation", int(busy.sum()), int(count.sum()), moved)
                else:
                    totals.add(track, "prefill", int(busy[0]), int(count[0]))
                    totals.add(track, "decode", int(busy[1]), int(count[1]))
        for nic, track in enumerate(self._layout.interfaces):
            for side, name in enumerate(("kv_transfer", "kv_receive")):
                busy_ns, count, moved = (int(value) for value in state.nic_busy[nic, side])
                totals.add(track, name, busy_ns, count, moved)

    def spans(self) -> Iterator[tuple[Columns, int]]:
        """Play once more, yielding spans and the time before which no more will start."""
        state = event.new_state(self._plan)
        rows = new_rows(SpanRows, SPANS_AT_ONCE)
        waits = new_rows(WaitRows, WAITS_AT_ONCE + self._margin)
        while state.heap.size[0]:
            waits.count[0] = rows.count[0] = 0
            now = event.advance(self._plan, state, waits, rows, True)
            yield columns_of(rows, self._batches.lead), int(now)


def _find(start: I8, values: I8, which: I8, wanted: I8) -> I8:
    """Return where `wanted` stands in the ascending stretch of `values` that `which` names."""
    top = int(values.max(initial=0)) + 1
    stretch = np.repeat(np.arange(len(start) - 1), np.diff(start))
    return np.searchsorted(stretch * top + values, which * top + wanted)


def _waits_chunk(rows: WaitRows, leads: I8) -> Chunk:
    """Return a buffer's rows in use as rows of `waits`; batches become their leads."""
    used = slice(0, int(rows.count[0]))
    on = rows.on_batch[used]
    return Chunk(
        "waits",
        {
            "request": leads[rows.batch[used]].astype(np.int32),
            "from_ns": rows.since[used].copy(),
            "until_ns": rows.until[used].copy(),
            "wait_ns": rows.waited[used].copy(),
            "cause": rows.cause[used].copy(),
            "on_request": np.where(on == NULL, NULL, leads[on]).astype(np.int32),
            "on_track": rows.on_track[used].copy(),
        },
    )
