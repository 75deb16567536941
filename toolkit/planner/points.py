"""A batch of points to a row of metrics each: play them, ask the views, keep nothing else.

This is what a worker does, in whatever process or machine it lives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from toolkit import catalog
from toolkit.analytics.memory import InMemory
from toolkit.costs.bounds import Bound, bounds
from toolkit.errors import InputError
from toolkit.planner.metrics import PERCENTILES, SPREAD, metrics
from toolkit.runs import within_bounds
from toolkit.scenario.demand import served_entries
from toolkit.scenario.model import Lengths, Scenario, Trace
from toolkit.simulator import simulate
from toolkit.trace.columns import Chunk
from toolkit.workload import build, shared_tokens

__all__ = ["TABLES", "Answer", "Task", "answer", "batches", "manifest", "play"]

MOST_POINTS = 128
"""Points of a batch: the views take a few milliseconds a query, however many runs they see."""

MOST_ENTRIES = 400_000
"""Entries of a batch, which bound its memory: some 200 bytes each on the way through the views."""

TABLES = ("machines", "tracks", "names", "requests", "totals")
"""Tables that metrics are made of; waits are not."""


@dataclass(frozen=True, slots=True)
class Task:
    """A point to play; ``key`` stands for all that its result depends on.

    ``views`` are those whose metrics are asked for, None for all.
    """

    key: str
    scenario: Scenario
    views: tuple[str, ...] | None = None

    @property
    def entries(self) -> int:
        """Entries it serves."""
        return served_entries(self.scenario)

    @property
    def stage_events(self) -> float:
        """Passes of a microbatch through a stage, about: the work of playing it."""
        scenario = self.scenario
        workload = scenario.workload
        tokens = _mean_output_tokens(workload.lengths, workload.entries)
        size = scenario.deployment.microbatch_size if workload.entry == "request" else 1
        passes = scenario.prompt_stages + tokens * scenario.token_stages
        return passes * self.entries / size


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task: its metrics, or why it could not be played."""

    key: str
    metrics: Mapping[str, float | int | None]
    refused: str = ""


def batches(tasks: Sequence[Task], at_least: int = 1) -> Iterator[Sequence[Task]]:
    """Yield the tasks in batches, in their order: `at_least` so many, where there are as many."""
    most_points = max(min(MOST_POINTS, len(tasks) // at_least), 1)
    batch: list[Task] = []
    entries = 0
    for task in tasks:
        if batch and (len(batch) == most_points or entries + task.entries > MOST_ENTRIES):
            yield batch
            batch, entries = [], 0
        batch.append(task)
        entries += task.entries
    if batch:
        yield batch


def play(scenario: Scenario) -> tuple[tuple[Bound, ...], Iterator[Chunk]]:
    """Return the bounds of one point, and its rows at trace level `requests`.

    They come without waits and lanes; a run that ends before its bounds allow
    is a fault, raised on the way.
    """
    requests = build(scenario)
    lower = bounds(scenario, requests, shared_tokens(scenario, requests))
    chunks = simulate(replace(scenario, trace=Trace("requests", ())), requests, accounts=False)
    return lower, within_bounds(lower, chunks)


def answer(batch: Sequence[Task]) -> list[Answer]:
    """Return the metrics of every task of a batch, all of which ask for the same views.

    They do not depend on what else is in the batch.
    """
    views = batch[0].views
    played: list[tuple[str, Mapping[str, Any], list[Chunk]]] = []
    refused: list[Answer] = []
    for task in batch:
        try:
            lower, rows_of = play(task.scenario)
            chunks = [chunk for chunk in rows_of if chunk.table in TABLES]
        except InputError as error:
            problem = error.problems[0]
            words = f"{problem.where}: {problem.expected}, got {problem.got}"
            refused.append(Answer(task.key, {}, words))
        else:
            played.append((task.key, manifest(task.scenario, lower), chunks))
    if not played:
        return refused
    runs = [(manifest, chunks) for _, manifest, chunks in played]
    slo = any(task.scenario.has_limits for task in batch)
    kept = ("request_latency",) if views is None or SPREAD in views else ()
    with InMemory(runs, tables=TABLES, kept=kept) as opened:
        rows = metrics(opened, views, slo=slo)
    return [Answer(key, rows[at]) for at, (key, _, _) in enumerate(played)] + refused


def _mean_output_tokens(lengths: Lengths, entries: int) -> float:
    """Return how long an answer is on average; of a length table, between its quantiles.

    Of tenants, the mean over them: this weighs work, and shares need not be exact.
    """
    if lengths.kind == "tenants":
        means = [_mean_output_tokens(part, entries) for part in lengths.parts]
        return sum(means) / len(means)
    if lengths.recording is not None:
        return float(lengths.recording.output_tokens[:entries].mean())
    if lengths.output_tokens is not None:
        return lengths.output_tokens
    if lengths.kind == "pairs":
        return sum(output for _, output in lengths.pairs[:entries]) / entries
    table = catalog.length_table(lengths.name or "")
    points = zip(table.quantiles, table.output_tokens, strict=True)
    return sum((b - a) * (v + w) / 2 for (a, v), (b, w) in pairwise(points))


def manifest(scenario: Scenario, lower: Sequence[Bound]) -> Mapping[str, Any]:
    """Return what views read of a manifest, as far as metrics depend on it."""
    percentiles = sorted({*PERCENTILES, *scenario.report.percentiles})
    return {
        "name": scenario.name,
        "discipline": scenario.discipline,
        "level": "requests",
        "bounds": [asdict(bound) for bound in lower],
        "scenario": {
            "deployment": {"kind": scenario.deployment.kind},
            "report": {"percentiles": percentiles, **_warm_up(scenario)},
            **_limits(scenario),
        },
    }


def _warm_up(scenario: Scenario) -> Mapping[str, float]:
    stated = {
        "warm_up_s": scenario.report.warm_up_s,
        "warm_up_share": scenario.report.warm_up_share,
    }
    return {key: value for key, value in stated.items() if value is not None}


def _limits(scenario: Scenario) -> Mapping[str, Any]:
    """Return the limits of all requests and of tenants, where the manifest of a run has them."""
    tenants = scenario.document["workload"].get("tenant", ())
    own = [{"name": each["name"], "slo": each["slo"]} for each in tenants if "slo" in each]
    return {
        **({"slo": scenario.document["slo"]} if scenario.slo else {}),
        **({"workload": {"tenant": own}} if own else {}),
    }
