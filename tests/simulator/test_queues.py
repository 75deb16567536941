"""Engines as servers of queueing theory: constant service, Poisson arrivals, one request at a time.

The tolerances are confidence intervals from batch means, so a right simulator
fails about once in a thousand seeds; the seeds are fixed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from played import play

from toolkit import load

COUNT = 60_000
SERVICE_S = 0.010


def waits_s(servers: int, load_factor: float, seed: int, router: str) -> Any:
    """Return the waits of requests that take `SERVICE_S` each, in order of arrival."""
    scenario = load(
        {
            "schema_version": 1,
            "hardware": {"machines": servers},
            "deployment": {
                "kind": "pipeline",
                "batching": "continuous",
                "data_parallel": servers,
                "router": router,
                "max_num_seqs": 1,
            },
            "workload": {
                "entries": COUNT,
                "seed": seed,
                "arrivals": {"kind": "poisson", "rate_per_s": load_factor * servers / SERVICE_S},
                "lengths": {"kind": "fixed", "prompt_tokens": 1, "output_tokens": 1},
            },
            "timing": {"kind": "fixed", "prompt_ms": SERVICE_S * 1e3, "token_ms": 1},
            "trace": {"level": "requests"},
        }
    )
    rows = play(scenario)["requests"]
    return (rows["start_ns"] - rows["arrival_ns"]) / 1e9


def interval(values: Any) -> tuple[float, float]:
    """Return mean and 3.3 standard errors, by 30 batch means after the first."""
    means = np.array([batch.mean() for batch in np.array_split(values, 31)[1:]])
    return float(means.mean()), 3.3 * float(means.std(ddof=1)) / len(means) ** 0.5


@pytest.mark.parametrize("load_factor", [0.3, 0.6, 0.8])
def test_one_seat_waits_as_in_m_d_1(load_factor: float) -> None:
    """Pollaczek and Khinchine: rho D / (2 (1 - rho))."""
    mean, error = interval(waits_s(1, load_factor, 1, "round_robin"))
    expected = load_factor * SERVICE_S / (2 * (1 - load_factor))
    assert abs(mean - expected) < error
    assert error < 0.2 * expected


def m_d_c_wait_s(servers: int, load_factor: float) -> float:
    """Return the mean wait of M/D/c from the chain of the number in the system, seen every D.

    What is in service at a time has left D later, and Poisson(rate x D) have
    come: p(j) = sum over i <= c of p(i) a(j) + sum over i > c of p(i) a(j - i + c)
    (Crommelin, 1932).  Solved by iteration on a state space cut where nobody is.
    """
    rate, states = load_factor * servers, 400
    count = np.arange(1, states)
    log_a = np.cumsum(np.append(-rate, np.log(rate) - np.log(count)))
    a = np.exp(log_a)
    p = np.full(states, 1 / states)
    for _ in range(4_000):
        idle = p[: servers + 1].sum()
        queue = np.concatenate(([idle], p[servers + 1 :]))
        p = np.convolve(queue, a)[:states]
        p /= p.sum()
    waiting = (np.maximum(np.arange(states) - servers, 0) * p).sum()
    return float(waiting / rate * SERVICE_S)


def test_the_chain_is_m_d_1_for_one_server() -> None:
    assert m_d_c_wait_s(1, 0.7) == pytest.approx(0.7 * SERVICE_S / 0.6, rel=1e-6)


@pytest.mark.parametrize(("servers", "load_factor"), [(2, 0.7), (4, 0.8)])
def test_replicas_behind_one_queue_wait_as_in_m_d_c(servers: int, load_factor: float) -> None:
    mean, error = interval(waits_s(servers, load_factor, 2, "shared_queue"))
    assert abs(mean - m_d_c_wait_s(servers, load_factor)) < error


def test_each_in_turn_is_one_queue_where_all_take_equally_long() -> None:
    """Of servers with one constant service time the one free next is always the next in turn."""
    one, turns = (waits_s(8, 0.9, 3, router) for router in ("shared_queue", "round_robin"))
    assert one.tolist() == turns.tolist()


def test_a_router_that_looks_at_all_waits_less_than_one_that_looks_at_two() -> None:
    one, all_, two = (
        waits_s(8, 0.9, 3, router).mean()
        for router in ("shared_queue", "least_loaded", "power_of_two")
    )
    assert one < all_ < two
