"""When machines fail: stated times and random ones, pipeline by pipeline, as far as asked for."""

from __future__ import annotations

import numpy as np

from toolkit.scenario.model import Failures
from toolkit.simulator.event_state import FAILURE_FIELDS, NEVER
from toolkit.simulator.kernel import I8, Records, records
from toolkit.simulator.layout import Layout
from toolkit.units import NS_PER_S, ns
from toolkit.workload.requests import Stream

__all__ = ["down_times", "upcoming"]


def upcoming(failures: Failures | None, layout: Layout, count: int) -> tuple[Records, I8]:
    """Return the failures of each pipeline in turn, ascending, and where each one's begin.

    At least `count` random ones of each machine are drawn, and those of a
    pipeline are told up to where the first of its machines' draws end: with a
    larger `count` more are told, the same ones first.  Without random failures
    all are told, and a last one that never comes.
    """
    told: list[tuple[int, int, int, int]] = []
    start = [0]
    for pipeline in layout.pipelines:
        own: list[tuple[int, int, int, int]] = []
        until = NEVER
        for stage, machine in enumerate(pipeline.machines):
            times = down_times(failures, machine, count)
            if failures is not None and failures.mtbf_s is not None:
                until = min(until, int(times[-1, 0]))
            own += [(*row, stage) for row in times.tolist()]
        own = sorted(row for row in own if row[0] <= until)
        if until == NEVER:
            own.append((NEVER, NEVER, NEVER, 0))
        told += own
        start.append(len(told))
    rows = records(FAILURE_FIELDS, len(told))
    for row, values in zip(rows, told, strict=True):
        for field, value in zip(FAILURE_FIELDS, values, strict=True):
            row[field] = value
    return rows, np.array(start, np.int64)


def down_times(failures: Failures | None, machine: int, count: int) -> I8:
    """Return (fails, is noticed, is back) of a machine in ns, ascending, shape (failures, 3).

    `count` random failures and all stated ones; a machine that is down does
    not fail, and one of two failures that meet is left out, the later one.
    """
    if failures is None:
        return np.empty((0, 3), np.int64)
    rows = [
        (ns(each.at_s), ns(each.detection_s), ns(each.restart_s))
        for each in failures.scheduled
        if each.machine == machine
    ]
    if failures.mtbf_s is not None:
        detection, restart = ns(failures.detection_s), ns(failures.restart_s)
        rng = Stream.FAILURES.rng(failures.seed, f"machine {machine}")
        gaps = rng.exponential(failures.mtbf_s, count)
        up = np.rint(gaps * NS_PER_S).astype(np.int64)
        at = np.cumsum(up) + np.arange(count) * (detection + restart)
        rows += [(time, detection, restart) for time in at.tolist()]
    kept: list[tuple[int, int, int]] = []
    for at_ns, detection_ns, restart_ns in sorted(rows):
        if not kept or at_ns >= kept[-1][2]:
            detected = at_ns + detection_ns
            kept.append((at_ns, detected, detected + restart_ns))
    return np.array(kept, np.int64).reshape(-1, 3)
