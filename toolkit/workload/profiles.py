"""Rates that change: from operational time, in which the rate is constant, to the clock.

A profile f(t) is a factor on a rate.  Its integral F(t) is the operational
time that has passed by the clock's t; a process that is stationary in
operational time, moved to F^-1 of its times, has the rate r f(t).  For Poisson
arrivals this is the non-homogeneous Poisson process exactly (Cinlar,
Introduction to Stochastic Processes, 1975, section 4.7), without the rejected
draws of thinning, so a longer workload still begins with the shorter one; for
other gaps it keeps their burstiness whatever the rate.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit.scenario.model import Profile

__all__ = ["factor_at", "operational_s", "to_clock_s"]

Floats = npt.NDArray[np.float64]

BISECTIONS = 60
"""Halvings of an interval: a period of a day is then known to far below a nanosecond."""


def factor_at(profile: Profile, times_s: Floats) -> Floats:
    """Return f(t), the factor on the rate, at some times from 0; shape of `times_s`."""
    if profile.kind == "sinusoid":
        angle = 2 * np.pi * (times_s - profile.peak_s) / profile.period_s
        wave: Floats = 1.0 + profile.amplitude * np.cos(angle)
        return wave
    starts, factors, cycle_s = _pieces(profile)
    within = np.mod(times_s, cycle_s) if cycle_s is not None else times_s
    found: Floats = factors[np.searchsorted(starts, within, side="right") - 1]
    return found


def operational_s(profile: Profile, times_s: Floats) -> Floats:
    """Return F(t), the integral of the factor from 0 to t, seconds; shape of `times_s`.

    >>> steps = Profile("steps", points=((0.0, 1.0), (10.0, 3.0)))
    >>> operational_s(steps, np.array([5.0, 10.0, 12.0])).tolist()
    [5.0, 10.0, 16.0]
    """
    if profile.kind == "sinusoid":
        per_radian = profile.period_s / (2 * np.pi)
        moved = np.sin((times_s - profile.peak_s) / per_radian) + np.sin(
            profile.peak_s / per_radian
        )
        integral: Floats = times_s + profile.amplitude * per_radian * moved
        return integral
    starts, factors, cycle_s = _pieces(profile)
    ends = np.concatenate(([0.0], np.cumsum(np.diff(starts) * factors[:-1])))
    cycles = np.floor(times_s / cycle_s) if cycle_s is not None else np.zeros_like(times_s)
    within = times_s - cycles * (cycle_s or 0.0)
    piece = np.searchsorted(starts, within, side="right") - 1
    of_a_cycle = ends[-1] + (cycle_s - starts[-1]) * factors[-1] if cycle_s is not None else 0.0
    result: Floats = cycles * of_a_cycle + ends[piece] + (within - starts[piece]) * factors[piece]
    return result


def to_clock_s(profile: Profile, operational: Floats) -> Floats:
    """Return F^-1: the clock's times of ascending operational times, seconds; same shape.

    >>> steps = Profile("steps", points=((0.0, 1.0), (10.0, 3.0)))
    >>> to_clock_s(steps, np.array([5.0, 10.0, 16.0])).tolist()
    [5.0, 10.0, 12.0]
    """
    if profile.kind == "sinusoid":
        return _of_sinusoid(profile, operational)
    starts, factors, cycle_s = _pieces(profile)
    ends = np.concatenate(([0.0], np.cumsum(np.diff(starts) * factors[:-1])))
    cycles = np.zeros_like(operational)
    within = operational
    if cycle_s is not None:
        of_a_cycle = ends[-1] + (cycle_s - starts[-1]) * factors[-1]
        cycles = np.floor(operational / of_a_cycle)
        within = operational - cycles * of_a_cycle
    going = np.flatnonzero(factors > 0)  # time stands still in the others
    piece = going[np.maximum(np.searchsorted(ends[going], within, side="right") - 1, 0)]
    clock: Floats = starts[piece] + (within - ends[piece]) / factors[piece]
    return clock + cycles * (cycle_s or 0.0)


def _of_sinusoid(profile: Profile, operational: Floats) -> Floats:
    """Return F^-1 of a sinusoid by bisection within its period, whose integral is the period."""
    cycles = np.floor(operational / profile.period_s)
    within = operational - cycles * profile.period_s
    low, high = np.zeros_like(within), np.full_like(within, profile.period_s)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = operational_s(profile, middle) < within
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    clock: Floats = cycles * profile.period_s + high
    return clock


def _pieces(profile: Profile) -> tuple[Floats, Floats, float | None]:
    """Return starts and factors of a profile of constant pieces, and after what it repeats."""
    if profile.kind == "steps":
        starts, factors = np.array(profile.points).T
        return starts, factors, profile.repeat_s
    end_s = profile.start_s + profile.length_s
    points = [(0.0, 1.0), (profile.start_s, profile.factor), (end_s, 1.0)]
    starts, factors = np.array(points).T
    last = np.append(np.diff(starts) > 0, True)  # of two at one time, the later said
    return starts[last], factors[last], profile.every_s
