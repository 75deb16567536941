"""A scenario played several times: the same in all but the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toolkit.scenario.model import Scenario, Trace

__all__ = ["replicates", "seed_of"]


def seed_of(seed: int, number: int) -> int:
    """Return the seed of a replication, counted from 1, which has the scenario's own.

    The others are drawn from both, so that replications of one number have
    the same seed in every variant (common random numbers), and those of
    neighbouring scenario seeds have nothing in common.

    >>> seed_of(42, 1), seed_of(42, 2) != seed_of(43, 2)
    (42, True)
    """
    if number == 1:
        return seed
    (word,) = np.random.SeedSequence(seed, spawn_key=(_REPLICATION, number)).generate_state(
        1, np.uint64
    )
    return int(word >> np.uint64(1))  # within the schema's 63 bits


_REPLICATION = 0x7265706C
"""Tells these streams from every other that is spawned from a scenario's seed."""


def replicates(scenario: Scenario) -> Sequence[Scenario]:
    """Return the scenarios of all replications, the first of which is the scenario itself.

    The others keep no more than trace level `requests`.
    """
    stated = scenario.replications
    if stated is None:
        return (scenario,)
    return (scenario, *(_one(scenario, number) for number in range(2, stated.count + 1)))


def _one(scenario: Scenario, number: int) -> Scenario:
    seed = seed_of(scenario.workload.seed, number)
    document = {key: value for key, value in scenario.document.items() if key != "replications"}
    document["workload"] = {**document["workload"], "seed": seed}
    document["trace"] = {**document["trace"], "level": "requests", "renderings": []}
    return replace(
        scenario,
        workload=replace(scenario.workload, seed=seed),
        trace=Trace("requests", ()),
        replications=None,
        document=document,
    )
