"""What requests have in common: text numbered so that equal numbers are equal beginnings."""

from __future__ import annotations

import engines
import numpy as np
from block_cache import texts
from hypothesis import given, settings

import toolkit
from toolkit.scenario.model import Scenario
from toolkit.workload import Requests, build
from toolkit.workload.prefixes import contents

SCENARIO = {
    "schema_version": 1,
    "hardware": {"machines": 1},
    "deployment": {"kind": "pipeline", "batching": "continuous"},
    "timing": {"kind": "fixed", "prompt_ms": 10.0, "token_ms": 1.0},
}
LENGTHS = {"kind": "fixed", "prompt_tokens": 100, "output_tokens": 10}


@given(engines.deployed())
@settings(max_examples=80, deadline=None)
def test_equal_numbers_are_equal_beginnings(deployed: tuple[Scenario, Requests]) -> None:
    scenario, requests = deployed
    found = contents(scenario, requests)
    written = texts(scenario, requests)
    beginnings: dict[int, tuple[object, ...]] = {}
    numbers: dict[tuple[object, ...], int] = {}
    for request, text in enumerate(written):
        runs = range(found.starts[request], found.starts[request + 1])
        assert found.ends[runs[-1]] == len(text)
        for end in range(1, len(text) + 1):
            run = next(run for run in runs if found.ends[run] >= end)
            number = int(found.shifts[run]) + end
            assert number > 0
            assert beginnings.setdefault(number, text[:end]) == text[:end]
            assert numbers.setdefault(text[:end], number) == number


@given(engines.deployed())
@settings(max_examples=80, deadline=None)
def test_what_a_cache_may_hold_is_no_less_than_what_requests_share(
    deployed: tuple[Scenario, Requests],
) -> None:
    scenario, requests = deployed
    most = contents(scenario, requests).shared_tokens(requests.prompt_tokens)
    written = texts(scenario, requests)
    for request, text in enumerate(written):
        prompt = int(requests.prompt_tokens[request])
        others = [other for at, other in enumerate(written) if at != request]
        alike = [end for end in range(prompt + 1) if text[:end] in {it[:end] for it in others}]
        shared = max(alike, default=0)
        assert shared <= most[request] <= prompt


def test_a_share_of_the_requests_begins_with_a_prefix() -> None:
    prefixes = [
        {"name": "everybody", "tokens": 50, "share": 0.2},
        {"name": "chat", "tokens": 70, "share": 0.5, "tenant": "chat"},
    ]
    tenants = [{"name": "chat", "lengths": LENGTHS}, {"name": "code", "lengths": LENGTHS}]
    workload = {"entries": 4000, "tenant": tenants, "prefix": prefixes}
    requests = build(toolkit.load(SCENARIO | {"workload": workload}))
    assert requests.prefix is not None
    assert requests.tenant is not None
    chat = requests.prefix[requests.tenant == 0]
    code = requests.prefix[requests.tenant == 1]
    np.testing.assert_allclose([(chat == each).mean() for each in (0, 1)], [0.2, 0.5], atol=0.05)
    np.testing.assert_allclose([(code == each).mean() for each in (0, 1)], [0.2, 0.0], atol=0.05)


def test_prefixes_change_nothing_else_of_a_workload() -> None:
    workload = {"entries": 50, "lengths": LENGTHS, "arrivals": {"kind": "poisson", "rate_per_s": 1}}
    plain = build(toolkit.load(SCENARIO | {"workload": workload}))
    more = {"prefix": [{"name": "system", "tokens": 60}]}
    begun = build(toolkit.load(SCENARIO | {"workload": workload | more}))
    assert plain.prefix is None
    assert begun.prefix is not None
    assert set(begun.prefix.tolist()) == {0}
    assert begun.arrival_ns.tolist() == plain.arrival_ns.tolist()
    assert begun.prompt_tokens.tolist() == plain.prompt_tokens.tolist()
