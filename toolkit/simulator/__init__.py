"""A checked scenario in, a stream of columnar chunks out.

`simulate` is the whole interface: it knows no metric, writes no file and
keeps no statistics.  Whatever a report needs is in the rows it yields.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from toolkit.errors import FaultError, InputError
from toolkit.scenario.model import Scenario
from toolkit.simulator.layout import Layout, lay_out
from toolkit.simulator.outcome import Lanes, Outcome, Totals, assign_lanes
from toolkit.simulator.spans import SpanSorter
from toolkit.trace.columns import Chunk
from toolkit.workload import Requests, build

__all__ = ["simulate"]


class _Run(Protocol):
    """What a discipline offers: play once for the outcome, once more for the spans."""

    def waits(self) -> Iterator[Chunk]: ...
    def outcome(self) -> Outcome: ...
    def add_totals(self, totals: Totals) -> None: ...
    def counters(self, outcome: Outcome) -> Iterator[Chunk]: ...
    def spans(self, sorter: SpanSorter) -> Iterator[int]: ...
    @property
    def leads(self) -> npt.NDArray[np.int64]: ...


def simulate(
    scenario: Scenario, requests: Requests | None = None, *, accounts: bool = True
) -> Iterator[Chunk]:
    """Simulate one checked scenario and yield its trace, chunk by chunk.

    Chunks are rows of the tables in `toolkit.trace.columns`; those of `spans`
    come sorted by (ts_ns, track) across chunks, those of `waits` in the order
    of play, every other table in one chunk.  What comes at all depends on the
    scenario's trace level: `requests` has no spans, flows and counters,
    `steps` keeps stage spans of the last stage of each pipeline only.  Memory
    grows with the requests, not with the spans; a consumer that stops early
    stops the simulation.

    `requests` replaces the workload the scenario describes.  Without
    `accounts` only level `requests` is played, without waits and lanes, and
    busy time is count x duration (within half a nanosecond a span where
    durations are no whole nanoseconds): what a sweep of thousands asks for.

    Raises:
        InputError: the scenario has variants or a sweep (simulate one of them), or asks
            of the published discipline what it cannot play.
        FaultError: a request was lost: a fault of ours.
    """
    if scenario.variants:
        names = ", ".join(str(variant.variant) for variant in scenario.variants)
        raise InputError.one(
            str(scenario.file or scenario.name),
            "variant",
            "one variant to simulate",
            f"a scenario with {len(scenario.variants)}: {names}",
            "simulate each of scenario.variants, or load(..., variant=NAME)",
        )
    if scenario.sweep is not None:
        raise InputError.one(
            str(scenario.file or scenario.name),
            "sweep",
            "one deployment to simulate",
            "a scenario that sweeps many",
            "use toolkit.sweep(scenario), or `toolkit run` on its file",
        )
    requests = build(scenario) if requests is None else requests
    layout = lay_out(scenario)
    run = _player(scenario, layout, requests, accounts=accounts)
    if accounts:
        yield from run.waits()
    else:
        deque(run.waits(), maxlen=0)
    outcome = run.outcome()
    requests = outcome.sent if outcome.sent is not None else requests
    missing = outcome.finish < requests.arrival_ns
    if outcome.refused is not None:
        missing &= ~outcome.refused
    if np.any(missing):
        lost = int(np.argmax(missing))
        raise FaultError(f"request {lost} never finished; please report the scenario")

    level = scenario.trace.level
    lanes = Lanes.none(len(requests))
    if accounts:
        lanes = assign_lanes(
            requests.arrival_ns, outcome.finish, layout.first_lane, outcome.refused
        )
    lane_spans = lanes.spans(requests, outcome)
    totals = Totals()
    run.add_totals(totals)
    yield layout.machines_chunk()
    yield layout.tracks_chunk(lanes.count)
    yield layout.names_chunk()
    yield outcome.requests_chunk(requests, lanes)
    yield totals.chunk(lane_spans)
    if level == "requests" or not accounts:
        return
    yield outcome.flows_chunk(lanes, own_slices=level == "full")
    yield from run.counters(outcome)

    kept = _kept_tracks(layout, lanes.count) if level == "steps" else None
    sorter = SpanSorter(run.leads, lane_spans, layout.first_lane, kept)
    for watermark_ns in run.spans(sorter):
        yield from sorter.release(watermark_ns)
    yield from sorter.release()


def _player(scenario: Scenario, layout: Layout, requests: Requests, *, accounts: bool) -> _Run:
    """Return the discipline's run; the compiled loops are only imported here."""
    if scenario.discipline == "dejavu":
        from toolkit.simulator.dejavu_run import DejavuRun

        return DejavuRun(scenario, layout, requests, accounts=accounts)
    if scenario.deployment.engine is not None:
        from toolkit.simulator.engine_run import EngineRun

        return EngineRun(scenario, layout, requests, accounts=accounts)
    from toolkit.simulator.event_run import EventRun

    return EventRun(scenario, layout, requests)


def _kept_tracks(layout: Layout, lanes: int) -> npt.NDArray[np.bool_]:
    """Return which tracks level `steps` keeps: all but the stages before the last."""
    kept = np.ones(layout.first_lane + lanes, np.bool_)
    for pipeline in layout.pipelines:
        kept[list(pipeline.stages[:-1])] = False
    return kept
