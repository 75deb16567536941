"""The published sweep: best of three families for each number of machines.

Every rule is that of the published driver: whole-model times by batch size,
divided by the stages; each length repeated in place so that every batch size
serves the same requests; memory in rounded gigabytes; data-parallel parts one
by one, each with arrivals of its own; the strictly smallest makespan, the
first found winning ties.  What does not fit has no makespan here; it is 0 only
in the files of the published layout.

Source: msr-fiddle/dejavu at 07e76be, scripts/simulators/simulate_all.py.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.simulator.makespan import disaggregated_us, pipeline_us
from toolkit.units import HOUR_S, US_PER_MS, US_PER_S

__all__ = ["MACHINES", "Candidate", "Study", "Winners", "as_csv", "as_json", "best", "candidates"]

I8 = npt.NDArray[np.int64]

MACHINES = (1, 2, 4, 6, 8, 10, 12, 14, 16)
"""Numbers of machines the published driver tries."""

FAMILIES = ("Baseline", "Baseline_dp", "DV")
LONGEST = {"prompt": 1000, "whole": 2000}
"""Tokens a KV cache holds in the memory test: on prompt machines, and elsewhere."""


@dataclass(frozen=True, slots=True)
class Study:
    """One figure's question.

    ``tokens`` (entries,) are generated tokens, clamped; ``batch_sizes``
    ascending, with ``prompt_ms`` and ``token_ms`` of the whole model;
    ``weights_gb`` and ``kv_gb_per_token`` as the published driver rounds them.
    """

    tokens: I8
    batch_sizes: tuple[int, ...]
    prompt_ms: tuple[float, ...]
    token_ms: tuple[float, ...]
    weights_gb: int
    kv_gb_per_token: float
    memory_gb: float
    machine_usd_per_hour: float
    groups_per_s: float = 0.0

    def repeated(self, batch: int) -> I8:
        """Return the tokens of every microbatch of a batch size, each length in a row."""
        return np.repeat(self.tokens, self.batch_sizes[-1] // batch)

    def fits(self, stages: int, batch: int, longest: int) -> bool:
        """Return whether a stage holds its weights and the caches in flight."""
        weights = math.ceil(self.weights_gb / stages)
        return weights + self.kv_gb_per_token * batch * longest < self.memory_gb


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration and its makespan, None where it does not fit.

    ``parts`` is (1, stages), (replicas, stages) or (prompt machines, token
    machines), by family.
    """

    machines: int
    family: str
    batch: int
    parts: tuple[int, int]
    makespan_s: float | None

    def cost_usd(self, machine_usd_per_hour: float) -> float | None:
        """Return the price of all machines for the makespan."""
        if self.makespan_s is None:
            return None
        return self.makespan_s / HOUR_S * self.machines * machine_usd_per_hour


Winners = Mapping[int, Mapping[str, Candidate | None]]
"""The chosen configuration of each family, by number of machines."""


def candidates(study: Study, machines: Sequence[int] = MACHINES) -> Iterator[Candidate]:
    """Yield every configuration in the published order of search, fitting or not."""
    for count in machines:
        for family, parts in _layouts(count):
            for at, batch in enumerate(study.batch_sizes):
                yield Candidate(count, family, batch, parts, _makespan_s(study, family, parts, at))


def _layouts(machines: int) -> Iterator[tuple[str, tuple[int, int]]]:
    yield "Baseline", (1, machines)
    for replicas in range(2, machines + 1):
        if machines % replicas == 0:
            yield "Baseline_dp", (replicas, machines // replicas)
    for prompt in range(1, machines):
        yield "DV", (prompt, machines - prompt)


def _makespan_s(study: Study, family: str, parts: tuple[int, int], at: int) -> float | None:
    """Return the makespan of one configuration, None where it does not fit."""
    batch, (first, second) = study.batch_sizes[at], parts
    tokens, rate = study.repeated(batch), study.groups_per_s
    prompt_us = study.prompt_ms[at] / (first if family == "DV" else second) * US_PER_MS
    token_us = study.token_ms[at] / second * US_PER_MS
    if not study.fits(second, batch, LONGEST["whole"]):
        return None
    if family == "DV":
        if not study.fits(first, batch, LONGEST["prompt"]) or len(tokens) < second:
            return None
        took = disaggregated_us(tokens, first, second, prompt_us, token_us, groups_per_s=rate)
        return took / US_PER_S
    size = len(tokens) // first
    if size < second:
        return None
    return max(
        pipeline_us(tokens[low : low + size], second, prompt_us, token_us, rate) / US_PER_S
        for low in range(0, size * first, size)
    )


def best(found: Sequence[Candidate]) -> Winners:
    """Return the winner of each family by number of machines, None where nothing fits."""
    winners: dict[int, dict[str, Candidate | None]] = {}
    for candidate in found:
        row = winners.setdefault(candidate.machines, dict.fromkeys(FAMILIES))
        leader = row[candidate.family]
        if candidate.makespan_s is not None and (
            leader is None or candidate.makespan_s < (leader.makespan_s or math.inf)
        ):
            row[candidate.family] = candidate
    return winners


def as_csv(winners: Winners, machine_usd_per_hour: float) -> str:
    """Return the published CSV: 0 where nothing fits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    costs = [f"Cost_{family.lower()}" for family in FAMILIES]
    writer.writerow(["", "Num_machines", *FAMILIES, *costs])
    for index, (machines, row) in enumerate(winners.items()):
        chosen = [_published(row[family], machine_usd_per_hour) for family in FAMILIES]
        times, prices = zip(*chosen, strict=True)
        writer.writerow([index, machines, *times, *prices])
    return text.getvalue()


def as_json(winners: Winners, machine_usd_per_hour: float) -> str:
    """Return the published JSON of the chosen configurations: 0 where nothing fits."""
    keys = {"Baseline": (), "Baseline_dp": ("dp", "pp"), "DV": ("pm", "tm")}
    rows: list[Any] = []
    for machines, row in winners.items():
        entry = {}
        for family in FAMILIES:
            chosen = row[family]
            time, cost = _published(chosen, machine_usd_per_hour)
            parts = (0, 0) if chosen is None else chosen.parts
            entry[family] = {
                **dict(zip(keys[family], parts, strict=False)),
                "bs": 0 if chosen is None else chosen.batch,
                "total_time": time,
                "cost": cost,
            }
        rows.append([machines, entry])
    return json.dumps(rows)


def _published(chosen: Candidate | None, machine_usd_per_hour: float) -> tuple[float, float]:
    if chosen is None or chosen.makespan_s is None:
        return 0.0, 0.0
    return chosen.makespan_s, chosen.cost_usd(machine_usd_per_hour) or 0.0
