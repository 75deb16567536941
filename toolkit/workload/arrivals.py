"""Arrival processes: seconds (or the published programs' microseconds) since the start."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit.units import US_PER_S

__all__ = ["GROUPS_SEED", "groups_us", "poisson_s"]

Floats = npt.NDArray[np.float64]

GROUPS_SEED = 42
"""Seed to which the published simulators reset numpy's legacy generator on every call."""


def poisson_s(count: int, rate_per_s: float, rng: np.random.Generator) -> Floats:
    """Return `count` arrival times in seconds of a Poisson process, the first after one gap.

    ``rate_per_s`` is entries per second.  Exponential gaps are added up one by
    one, so a longer workload of the same seed begins with the shorter one.
    """
    return np.cumsum(rng.exponential(1.0 / rate_per_s, count))


def groups_us(count: int, groups_per_s: float, group_size: int) -> Floats:
    """Return the published simulators' arrival times in microseconds, shape (count,).

    ``count // group_size`` groups arrive, all entries of a group at once, the
    first at 0 and the next after exponential gaps of mean ``1/groups_per_s``
    (0: all at 0); the last ``count % group_size`` entries keep arrival 0.
    The sums are float64 microseconds in the published order of additions.

    Source: msr-fiddle/dejavu at 07e76be, scripts/simulators (get_arrivals).

    >>> groups_us(7, 1.0, 2).tolist()[:5]
    [0.0, 0.0, 469268.0899768591, 469268.0899768591, 3479389.5208943803]
    """
    arrivals = np.zeros(count)
    groups = count // group_size
    if groups_per_s <= 0 or groups == 0:
        return arrivals
    legacy = np.random.RandomState(GROUPS_SEED)
    gaps = legacy.exponential(1.0 / groups_per_s, count) * US_PER_S
    starts = np.concatenate(([0.0], np.cumsum(gaps[: groups - 1])))
    arrivals[: groups * group_size] = np.repeat(starts, group_size)
    return arrivals
