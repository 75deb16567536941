"""Arrivals have the rate, the burstiness and the shape that a scenario states.

Statistical tests have fixed seeds; each says what its tolerance is made of.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toolkit import catalog
from toolkit.recordings import Recording
from toolkit.scenario.model import Arrivals, Profile
from toolkit.workload.arrivals import recorded_ns, renewal_s, think_ns, weibull_shape
from toolkit.workload.profiles import factor_at, operational_s, to_clock_s

Floats = npt.NDArray[np.float64]

DRAWS = 200_000

KINDS = [
    Arrivals("poisson"),
    Arrivals("gamma", cv=2.5),
    Arrivals("gamma", cv=0.3),
    Arrivals("weibull", cv=2.0),
    Arrivals("weibull", shape=0.7),
    Arrivals("constant"),
    Arrivals("catalog", name="azure-2023-conversation-gaps"),
    Arrivals("catalog", name="azure-2023-code-gaps"),
]

PROFILES = [
    Profile("sinusoid", amplitude=1.0, period_s=100.0, peak_s=25.0),
    Profile("sinusoid", amplitude=0.4, period_s=7.0, peak_s=0.0),
    Profile("spikes", factor=6.0, start_s=20.0, length_s=5.0),
    Profile("spikes", factor=0.0, start_s=0.0, length_s=5.0, every_s=20.0),
    Profile("spikes", factor=4.0, start_s=15.0, length_s=5.0, every_s=20.0),
    Profile("steps", points=((0.0, 0.0), (5.0, 2.0), (8.0, 0.0), (10.0, 1.0))),
    Profile("steps", points=((0.0, 1.0), (6.0, 0.0)), repeat_s=9.0),
]


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def gaps(arrivals: Arrivals, rate: float = 5.0, count: int = DRAWS) -> Floats:
    return np.diff(renewal_s(arrivals, count, rate, rng()), prepend=0.0)


def coefficient(values: Floats) -> float:
    return float(values.std() / values.mean())


def expected_cv(arrivals: Arrivals) -> float:
    if arrivals.kind == "weibull" and arrivals.shape is not None:
        first, second = (math.gamma(1 + n / arrivals.shape) for n in (1, 2))
        return math.sqrt(second / first**2 - 1)
    if arrivals.kind == "catalog":
        return catalog.interarrival_table(arrivals.name or "").cv
    return {"poisson": 1.0, "constant": 0.0}.get(arrivals.kind, arrivals.cv or 0.0)


# -- renewal processes ---------------------------------------------------------------------------


@pytest.mark.parametrize("arrivals", KINDS, ids=lambda each: f"{each.kind}-{each.cv or each.name}")
def test_gaps_have_the_rate_and_the_variation_stated(arrivals: Arrivals) -> None:
    """The mean within four standard errors, CV / sqrt(n); the CV within 4 %.

    The deviation of heavy-tailed gaps settles slowly, and a quantile table's
    straight lines between rows stretch it by up to 2 %.
    """
    drawn, cv = gaps(arrivals), expected_cv(arrivals)
    assert drawn.mean() == pytest.approx(0.2, rel=4 * cv / DRAWS**0.5 + 1e-9)
    assert coefficient(drawn) == pytest.approx(cv, rel=0.04, abs=1e-6)


def distance(sample: Floats, share_up_to: Any) -> float:
    """Return the Kolmogorov-Smirnov distance of a sample from a distribution function."""
    ordered = np.sort(sample)
    found = np.arange(1, len(ordered) + 1) / len(ordered)
    return float(np.abs(found - share_up_to(ordered)).max())


@pytest.mark.parametrize("shape", [0.5, 1.0, 3.0])
def test_weibull_gaps_have_their_distribution(shape: float) -> None:
    """KS distance below 1.95 / sqrt(n): exceeded by chance once in 1,000 seeds."""
    scale = 0.2 / math.gamma(1 + 1 / shape)
    drawn = gaps(Arrivals("weibull", shape=shape))
    assert distance(drawn, lambda x: 1 - np.exp(-((x / scale) ** shape))) < 1.95 / DRAWS**0.5


def test_gamma_gaps_of_cv_one_and_weibull_gaps_of_shape_one_are_poissons() -> None:
    for arrivals in (Arrivals("gamma", cv=1.0), Arrivals("weibull", cv=1.0)):
        drawn = gaps(arrivals)
        assert distance(drawn, lambda x: 1 - np.exp(-5.0 * x)) < 1.95 / DRAWS**0.5


def test_gamma_gaps_of_cv_one_over_root_two_are_sums_of_two_exponentials() -> None:
    """Erlang of two stages: 1 - (1 + 2 r x) exp(-2 r x)."""
    drawn = gaps(Arrivals("gamma", cv=0.5**0.5))
    assert distance(drawn, lambda x: 1 - (1 + 10 * x) * np.exp(-10 * x)) < 1.95 / DRAWS**0.5


@pytest.mark.parametrize("name", ["azure-2023-conversation-gaps", "azure-2023-code-gaps"])
def test_gaps_of_a_table_are_distributed_as_its_quantiles(name: str) -> None:
    table = catalog.interarrival_table(name)
    drawn = gaps(Arrivals("catalog", name=name), rate=1 / table.drawn_mean_s)
    found = distance(drawn, lambda x: np.interp(x, table.gap_s, table.quantiles))
    assert found < 1.95 / DRAWS**0.5


@pytest.mark.parametrize("name", ["azure-2023-conversation-gaps", "azure-2023-code-gaps"])
def test_a_table_between_its_rows_keeps_the_mean_and_the_variation(name: str) -> None:
    """Straight lines in the tail add 1 %, exactly: both moments of a piecewise linear quantile."""
    table = catalog.interarrival_table(name)
    share, x = np.diff(table.quantiles), np.array(table.gap_s)
    mean = (share * (x[1:] + x[:-1]) / 2).sum()
    square = (share * (x[1:] ** 2 + x[1:] * x[:-1] + x[:-1] ** 2) / 3).sum()
    assert mean == pytest.approx(table.drawn_mean_s)
    assert mean == pytest.approx(table.mean_s, rel=0.01)
    assert math.sqrt(square - mean**2) / mean == pytest.approx(table.cv, rel=0.02)


@given(st.floats(0.02, 50))
def test_the_shape_of_weibull_gaps_gives_their_variation_back(cv: float) -> None:
    shape = weibull_shape(cv)
    ratio = math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape)
    assert math.sqrt(math.expm1(ratio)) == pytest.approx(cv, rel=1e-6)


@given(
    arrivals=st.sampled_from(KINDS),
    profile=st.none() | st.sampled_from(PROFILES),
    few=st.integers(0, 5000),
    more=st.integers(0, 5000),
)
def test_fewer_arrivals_begin_more(
    arrivals: Arrivals, profile: Profile | None, few: int, more: int
) -> None:
    arrivals = replace(arrivals, profile=profile)
    shorter, longer = (renewal_s(arrivals, count, 2.0, rng()) for count in (few, few + more))
    assert np.array_equal(longer[:few], shorter)
    assert np.all(np.diff(longer) >= 0)


@given(arrivals=st.sampled_from(KINDS), doublings=st.integers(-4, 4))
def test_at_twice_the_rate_the_same_arrivals_come_twice_as_fast(
    arrivals: Arrivals, doublings: int
) -> None:
    """Exactly, by powers of two."""
    factor = 2.0**doublings
    once, faster = (renewal_s(arrivals, 300, rate, rng()) for rate in (2.0, 2.0 * factor))
    assert np.array_equal(faster * factor, once)


# -- profiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES, ids=lambda each: each.kind)
def test_operational_time_is_the_integral_of_the_factor(profile: Profile) -> None:
    """Against the midpoint rule on a millisecond, whose error is a piece's width at each jump."""
    step = 1e-3
    at = np.arange(0.0, 60.0, step)
    integral = np.cumsum(factor_at(profile, at + step / 2)) * step
    assert np.abs(operational_s(profile, at + step) - integral).max() < 0.01


@pytest.mark.parametrize("profile", PROFILES, ids=lambda each: each.kind)
def test_the_clock_is_the_inverse_of_operational_time(profile: Profile) -> None:
    operational = np.sort(rng().random(5000)) * 300
    clock = to_clock_s(profile, operational)
    assert np.all(np.diff(clock) >= 0)
    assert operational_s(profile, clock) == pytest.approx(operational, rel=1e-9, abs=1e-9)


@given(st.floats(0.1, 100), st.integers(0, 200))
def test_a_flat_profile_changes_nothing(factor: float, count: int) -> None:
    flat = Profile("steps", points=((0.0, 1.0),))
    plain = Arrivals("poisson")
    same = renewal_s(replace(plain, profile=flat), count, factor, rng())
    assert np.array_equal(same, renewal_s(plain, count, factor, rng()))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda each: each.kind)
def test_arrivals_follow_their_profile_as_thinned_ones_do(profile: Profile) -> None:
    """The oracle draws at the highest rate and keeps each with the factor over the highest.

    Two-sample KS over 40 s, with about 8,000 arrivals a side or more:
    1.95 sqrt(1/n + 1/m), exceeded by chance once in 1,000 seeds.
    """
    rate, until = 200.0, 40.0
    ours = renewal_s(replace(Arrivals("poisson"), profile=profile), 200_000, rate, rng(2))
    most = factor_at(profile, np.linspace(0, until, 40_001)).max()
    generator = rng(3)
    candidates = np.cumsum(generator.exponential(1 / (rate * most), 400_000))
    candidates = candidates[candidates < until]
    kept = candidates[generator.random(len(candidates)) * most < factor_at(profile, candidates)]
    ours = ours[ours < until]
    grid = np.linspace(0, until, 4001)
    apart = np.abs(
        np.searchsorted(ours, grid) / len(ours) - np.searchsorted(kept, grid) / len(kept)
    ).max()
    assert apart < 1.95 * math.sqrt(1 / len(ours) + 1 / len(kept))
    assert len(ours) == pytest.approx(len(kept), abs=5 * math.sqrt(len(ours) + len(kept)))


def test_constant_gaps_in_a_spike_come_so_many_times_closer() -> None:
    spike = Profile("spikes", factor=4.0, start_s=10.0, length_s=5.0)
    times = renewal_s(replace(Arrivals("constant"), profile=spike), 45, 1.0, rng())
    assert times.tolist() == pytest.approx(
        [*range(1, 11), *(10 + k / 4 for k in range(1, 21)), *range(16, 31)]
    )


# -- recorded times ------------------------------------------------------------------------------

times = st.lists(st.integers(0, 10**15), min_size=2, max_size=40).map(sorted)


def recording(moments: list[int]) -> Recording:
    ones = np.ones(len(moments), np.int32)
    return Recording(ones, ones, np.array(moments, np.int64))


@given(times)
def test_recorded_times_are_taken_to_the_nanosecond(moments: list[int]) -> None:
    taken = recorded_ns(Arrivals("trace"), recording(moments), len(moments), 1)
    assert taken.tolist() == moments


@given(times, st.integers(0, 6))
def test_scaled_times_scale_exactly_by_whole_factors(moments: list[int], doublings: int) -> None:
    factor = 2**doublings
    small = [moment // 64 for moment in moments]
    taken = recorded_ns(Arrivals("trace", time_scale=float(factor)), recording(small), 99, 1)
    assert taken.tolist() == [moment * factor for moment in small]


@given(times, st.floats(0.01, 1000), st.integers(1, 32))
def test_stretched_to_a_rate_they_have_it(moments: list[int], rate: float, size: int) -> None:
    """Of those taken, between first and last; a microbatch of several counts for all of them."""
    assume((len(moments) - 1) * 1e9 / max(moments[-1] - moments[0], 1) < 1e6)
    longer = recording([*moments, moments[-1] + 7, moments[-1] + 10**12])
    taken = recorded_ns(Arrivals("trace", rate_per_s=rate), longer, len(moments), size)
    span_s = (taken[-1] - taken[0]) / 1e9
    assert (len(moments) - 1) * size / span_s == pytest.approx(rate, rel=1e-6)


def test_think_times_have_their_mean() -> None:
    """Exponential: four standard errors."""
    assert think_ns(1.5, "constant", 3, rng()).tolist() == [1_500_000_000] * 3
    drawn = think_ns(2.0, "exponential", 100_000, rng())
    assert drawn.mean() == pytest.approx(2e9, rel=4 / 100_000**0.5)
