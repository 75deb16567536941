"""The workload of one scenario as a table of entries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from toolkit.scenario.model import Scenario
from toolkit.units import NS_PER_US, US_PER_S
from toolkit.workload.arrivals import groups_us, poisson_s
from toolkit.workload.lengths import TokenCounts, token_counts

__all__ = ["Requests", "Stream", "build"]


class Stream(IntEnum):
    """Purposes of randomness: each has a generator of its own, so none disturbs another."""

    ARRIVALS = 0
    LENGTHS = 1
    ORDER = 2
    ROUTER = 3

    def rng(self, seed: int) -> np.random.Generator:
        """Return this purpose's generator for a scenario's seed."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(self,))))


@dataclass(frozen=True, slots=True)
class Requests:
    """One row per entry; all columns have shape (entries,).

    An entry is one request, or with ``entry = "microbatch"`` ``size`` requests
    that are alike.  ``part`` is the data-parallel replica an entry is bound to
    before the run (`dejavu`), else -1.
    """

    arrival_ns: npt.NDArray[np.int64]
    arrival_us: npt.NDArray[np.float64]
    prompt_tokens: npt.NDArray[np.int32]
    output_tokens: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]
    part: npt.NDArray[np.int32]
    priority: npt.NDArray[np.int32] | None = None
    """Priority of each, lower first, for ``queue_order = "priority"``; None: all alike."""
    dropped: int = 0
    """Entries the published programs leave out when parts do not divide evenly."""

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def sha256(self) -> str:
        """Return the digest of all columns: two runs with one digest served the same requests."""
        digest = hashlib.sha256()
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, np.ndarray):
                digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()


def build(scenario: Scenario) -> Requests:
    """Return the entries that a scenario's deployment serves.

    With `equal_work_batch` B every entry is repeated B / microbatch_size
    times, so that deployments with other microbatch sizes serve the same
    requests.  In the `dejavu` discipline data-parallel parts are consecutive
    and equal, each with arrivals of its own from 0; what is left over is
    dropped, as published.
    """
    workload, deployment = scenario.workload, scenario.deployment
    tokens = token_counts(workload.lengths, workload.entries, Stream.LENGTHS.rng(workload.seed))
    size = deployment.microbatch_size if workload.entry == "microbatch" else 1
    order = _repetition(scenario)
    tokens = TokenCounts(tokens.prompt[order], tokens.output[order])

    parts = deployment.data_parallel if scenario.discipline == "dejavu" else 1
    per_part = len(order) // parts
    kept = per_part * parts
    if scenario.discipline == "dejavu" and workload.arrivals.kind == "groups":
        arrival_us = np.tile(_arrival_us(scenario, per_part, size), parts)
    else:
        arrival_us = _arrival_us(scenario, len(order), size)[:kept]
    part = np.repeat(np.arange(parts), per_part) if parts > 1 else np.full(kept, -1)
    return Requests(
        arrival_ns=np.rint(arrival_us * NS_PER_US).astype(np.int64),
        arrival_us=arrival_us,
        prompt_tokens=tokens.prompt[:kept],
        output_tokens=tokens.output[:kept],
        size=np.full(kept, size, np.int32),
        part=part.astype(np.int32),
        dropped=len(order) - kept,
    )


def _repetition(scenario: Scenario) -> npt.NDArray[np.int64]:
    """Return which of the workload's lengths each entry takes, in the stated order."""
    workload = scenario.workload
    lengths = np.arange(workload.entries)
    if workload.equal_work_batch is None or workload.entry == "request":
        return lengths
    times = workload.equal_work_batch // scenario.deployment.microbatch_size
    if workload.repeat_order == "in_place":
        return np.repeat(lengths, times)
    tiled = np.tile(lengths, times)
    if workload.repeat_order == "tiled":
        return tiled
    return Stream.ORDER.rng(workload.seed).permutation(tiled)


def _arrival_us(scenario: Scenario, count: int, size: int) -> npt.NDArray[np.float64]:
    """Return arrival times in microseconds, shape (count,), not decreasing except in `groups`."""
    arrivals = scenario.workload.arrivals
    if arrivals.kind == "at_zero":
        return np.zeros(count)
    if arrivals.kind == "times":
        given = np.asarray(arrivals.times_s, dtype=np.float64)
        return np.repeat(given, -(-count // len(given)))[:count] * US_PER_S
    if arrivals.kind == "poisson":
        rng = Stream.ARRIVALS.rng(scenario.workload.seed)
        return poisson_s(count, arrivals.rate_per_s / size, rng) * US_PER_S
    return groups_us(
        count, arrivals.rate_per_s, arrivals.group_size or _machines_of_a_part(scenario)
    )


def _machines_of_a_part(scenario: Scenario) -> int:
    return scenario.hardware.machines // scenario.deployment.data_parallel
