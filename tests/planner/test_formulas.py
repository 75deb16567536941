"""The paper's formulas agree with the worked example, with each other and with a play of rounds."""

from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toolkit.planner import formulas

MACHINES = st.integers(2, 64)
SECONDS = st.floats(1e-3, 1e3)
TOKENS = st.integers(1, 2000)
SLOWDOWNS = st.floats(1, 3)


def test_the_worked_example_holds() -> None:
    assert doctest.testmod(formulas).failed == 0


@given(MACHINES, SECONDS, SECONDS, TOKENS, SLOWDOWNS)
def test_at_the_optimum_both_sides_keep_one_pace(
    machines: int, prompt_s: float, token_s: float, tokens: int, slowdown: float
) -> None:
    split = formulas.optimum(machines, prompt_s, token_s, tokens, slowdown)
    prompt = formulas.prompt_s_per_round(machines, split.prompt_machines, prompt_s, slowdown)
    token = formulas.token_s_per_round(machines, split.token_machines, token_s, tokens)
    assert split.prompt_machines + split.token_machines == pytest.approx(machines)
    assert prompt == pytest.approx(token)


@given(MACHINES, SECONDS, SECONDS, TOKENS, SLOWDOWNS)
def test_disaggregation_pays_exactly_above_the_threshold(
    machines: int, prompt_s: float, token_s: float, tokens: int, slowdown: float
) -> None:
    threshold = formulas.pays_above(machines, slowdown)
    assume(math.isinf(threshold) or abs(prompt_s / token_s / threshold - 1) > 1e-6)
    split = formulas.optimum(machines, prompt_s, token_s, tokens, slowdown)
    apart = formulas.disaggregated_s(
        machines,
        split.prompt_machines,
        split.token_machines,
        prompt_s,
        token_s,
        tokens,
        slowdown,
    )
    together = formulas.colocated_s(machines, prompt_s, token_s, tokens)
    assume(abs(apart / together - 1) > 1e-9)
    assert (apart < together) == (prompt_s / token_s > threshold)


@given(MACHINES, SECONDS, SECONDS, TOKENS, SLOWDOWNS, st.integers(1, 8), st.integers(1, 8))
def test_the_rounded_split_is_the_best_that_memory_allows(
    machines: int,
    prompt_s: float,
    token_s: float,
    tokens: int,
    slowdown: float,
    least_prompt: int,
    least_token: int,
) -> None:
    times = (prompt_s, token_s, tokens, slowdown)
    split = formulas.rounded(machines, *times, least_prompt=least_prompt, least_token=least_token)
    if split is None:
        assert least_prompt + least_token > machines
        return
    assert split.prompt_machines >= least_prompt
    assert split.token_machines >= least_token
    pace = formulas.disaggregated_s(machines, split.prompt_machines, split.token_machines, *times)
    for prompt in range(least_prompt, machines - least_token + 1):
        assert pace <= formulas.disaggregated_s(machines, prompt, machines - prompt, *times)


@given(st.integers(1, 100), st.floats(1, 1e3), st.floats(0.1, 10), st.floats(0, 10))
def test_memory_bounds_are_the_least_that_fit(
    layers: int, memory: float, weights: float, cache: float
) -> None:
    prompt = formulas.least_prompt_machines(layers, memory, weights, cache)
    held = math.floor(memory / (weights + cache))
    assert (prompt is None) == (held == 0)
    if prompt is not None:
        assert prompt * held >= layers > (prompt - 1) * held
    token = formulas.least_token_machines(layers, memory, weights, cache)
    held = math.floor((memory - layers * cache) / weights)
    assert (token is None) == (held <= 0)
    if token is not None:
        assert token * held >= layers > (token - 1) * held
