"""Arrival processes: seconds (or the published programs' microseconds) since the start."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from toolkit import catalog
from toolkit.recordings import Recording
from toolkit.recordings.recording import mean_rate_per_s
from toolkit.scenario.model import Arrivals
from toolkit.units import US_PER_S
from toolkit.workload.profiles import to_clock_s

__all__ = [
    "GROUPS_SEED",
    "groups_us",
    "poisson_s",
    "recorded_ns",
    "renewal_s",
    "think_ns",
    "weibull_shape",
]

Floats = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int64]

NS_PER_S = 1_000_000_000

BLOCK = 4096
"""Gaps drawn at once, so that a longer workload begins with the shorter one."""

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


def renewal_s(
    arrivals: Arrivals, count: int, rate_per_s: float, rng: np.random.Generator
) -> Floats:
    """Return `count` arrival times in seconds of a renewal process, the first after one gap.

    Gaps are independent, of the distribution that `arrivals` names, with mean
    1 / `rate_per_s`; where it has a profile, in operational time.
    """
    if arrivals.kind == "poisson":
        times = poisson_s(count, rate_per_s, rng)
    else:
        draw = _UNIT_GAPS[arrivals.kind](arrivals)
        blocks = [draw(rng) for _ in range(-(-count // BLOCK))]
        unit = np.concatenate(blocks)[:count] if blocks else np.empty(0)
        times = np.cumsum(unit / rate_per_s)
    return times if arrivals.profile is None else to_clock_s(arrivals.profile, times)


Draw = Callable[[np.random.Generator], Floats]
"""Draws a block of gaps of mean 1, shape (BLOCK,)."""


def _gamma_gaps(arrivals: Arrivals) -> Draw:
    """Return gamma gaps: shape 1 / CV^2, scale CV^2."""
    assert arrivals.cv is not None
    shape = 1.0 / arrivals.cv**2
    return lambda rng: rng.standard_gamma(shape, BLOCK) / shape


def _weibull_gaps(arrivals: Arrivals) -> Draw:
    """Return Weibull gaps of a shape k: the mean of the standard one is Gamma(1 + 1/k)."""
    shape = arrivals.shape if arrivals.shape is not None else weibull_shape(arrivals.cv or 1.0)
    mean = math.gamma(1.0 + 1.0 / shape)
    return lambda rng: rng.weibull(shape, BLOCK) / mean


def _constant_gaps(arrivals: Arrivals) -> Draw:
    return lambda rng: np.ones(BLOCK)


def _table_gaps(arrivals: Arrivals) -> Draw:
    """Return gaps of a quantile table, divided by the mean of the lines between its rows."""
    table = catalog.interarrival_table(arrivals.name or "")
    gap = np.array(table.gap_s) / table.drawn_mean_s
    return lambda rng: np.interp(rng.random(BLOCK), table.quantiles, gap)


_UNIT_GAPS: Mapping[str, Callable[[Arrivals], Draw]] = {
    "gamma": _gamma_gaps,
    "weibull": _weibull_gaps,
    "constant": _constant_gaps,
    "catalog": _table_gaps,
}


def weibull_shape(cv: float) -> float:
    """Return the Weibull shape parameter k whose coefficient of variation is `cv`.

    CV^2 = Gamma(1 + 2/k) / Gamma(1 + 1/k)^2 - 1 falls as k grows; k is found
    by bisection of its logarithm.

    >>> round(weibull_shape(1.0), 9)
    1.0
    """
    low, high = math.log(0.05), math.log(1000.0)
    for _ in range(100):
        middle = (low + high) / 2
        inverse = math.exp(-middle)
        log_ratio = math.lgamma(1 + 2 * inverse) - 2 * math.lgamma(1 + inverse)
        if math.expm1(log_ratio) > cv * cv:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def recorded_ns(arrivals: Arrivals, recording: Recording, count: int, size: int) -> I8:
    """Return the first `count` recorded times in ns, scaled as `arrivals` says.

    With ``rate_per_s`` the factor is that of their mean rate (requests after
    the first, over the time between first and last) to it;
    an entry of `size` requests then comes that much less often.  Without any
    factor the times are those of the file to the nanosecond.
    """
    assert recording.arrival_ns is not None
    given = recording.arrival_ns[:count]
    factor = arrivals.time_scale
    if arrivals.rate_per_s and (own_rate := mean_rate_per_s(given)) is not None:
        factor = own_rate / (arrivals.rate_per_s / size)
    return given if factor == 1.0 else np.rint(given * factor).astype(np.int64)


def think_ns(mean_s: float, kind: str, count: int, rng: np.random.Generator) -> I8:
    """Return `count` think times in ns, all alike or exponentially distributed."""
    times = rng.exponential(mean_s, count) if kind == "exponential" else np.full(count, mean_s)
    return np.rint(times * NS_PER_S).astype(np.int64)
