"""Below which no run of engines can end: the bounds of `toolkit.costs.bounds` for their steps.

*Work conservation*: all replicas, busy from the first arrival on, need the time
of the tokens' arithmetic and KV traffic, or of reading the weights for the
fewest steps there can be, and what each of those steps adds.  *Longest entry*:
a request alone still computes its prompt, and takes a step for every token.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from toolkit.costs.steps import StepCosts, step_costs
from toolkit.scenario.model import Scenario
from toolkit.units import NS_PER_S

__all__ = ["EngineBound", "engine_bounds"]

F8 = npt.NDArray[np.float64]

ROUNDED = 0.5
"""Nanoseconds by which a step, or a run of steps, may be rounded down."""


class EngineBound(NamedTuple):
    """Name, seconds from 0 and words of a lower bound."""

    name: str
    lower_s: float
    words: str


class Arrivals(Protocol):
    """What is asked of requests here, columns of shape (requests,)."""

    @property
    def arrival_ns(self) -> npt.NDArray[np.int64]:
        """When each arrives."""

    @property
    def prompt_tokens(self) -> npt.NDArray[np.int32]:
        """Tokens of each prompt."""

    @property
    def output_tokens(self) -> npt.NDArray[np.int32]:
        """Tokens of each answer."""


def engine_bounds(
    scenario: Scenario, requests: Arrivals, cached: npt.NDArray[np.int64] | None = None
) -> tuple[EngineBound, ...]:
    """Return the lower bounds on the makespan; none where requests may be refused.

    `cached` (requests,) are the tokens of each prompt that a prefix cache may
    hold already; of every prompt one token is computed at least.
    """
    engine = scenario.deployment.engine
    assert engine is not None
    if engine.max_waiting is not None:
        return ()
    costs = step_costs(scenario)
    prompt = requests.prompt_tokens.astype(np.float64)
    decodes = requests.output_tokens.astype(np.float64) - 1
    computed = prompt if cached is None else np.maximum(prompt - cached, 1)
    return (
        _work(scenario, requests, costs, prompt, computed, decodes),
        _longest(requests, costs, prompt, computed, decodes),
    )


def _attention(costs: StepCosts, prompt: F8, computed: F8, decodes: F8) -> tuple[F8, F8]:
    """Return the ns of attention of each prompt, as far as computed, and of all decodes after it.

    The m tokens computed are the last of a prompt's n: (n - m) m + m (m + 1) / 2 pairs.
    """
    pairs = (prompt - computed) * computed + computed * (computed + 1) / 2
    prompts = np.maximum(costs.pair * pairs, costs.prompt_context * prompt)
    contexts = decodes * prompt + decodes * (decodes + 1) / 2
    return prompts, costs.context * contexts


def _work(
    scenario: Scenario,
    requests: Arrivals,
    costs: StepCosts,
    prompt: F8,
    computed: F8,
    decodes: F8,
) -> EngineBound:
    engine, replicas = scenario.deployment.engine, scenario.deployment.data_parallel
    assert engine is not None
    steps = float(decodes.sum()) / engine.max_num_seqs
    each_step = costs.overhead + costs.collective
    tokens = float((computed + decodes).sum())
    dense = max(costs.token_arithmetic * tokens, costs.weights * steps)
    attention = sum(float(part.sum()) for part in _attention(costs, prompt, computed, decodes))
    # A token may come of computing a preempted request anew, at the price of a prompt.
    shared = min(costs.decode / engine.max_num_seqs, costs.chunk) * float(decodes.sum())
    total = dense + attention + shared + costs.chunk * len(prompt)
    total += each_step * steps + costs.token_collective * tokens
    total = max(total - ROUNDED * (len(prompt) + float(decodes.sum())), 0.0)
    since_s, each_s = float(requests.arrival_ns.min()) / NS_PER_S, total / replicas / NS_PER_S
    of = f"{int(prompt.sum()):,}"
    if computed is not prompt:
        of = f"at least {int(computed.sum()):,} of {of}"
    whom = f"each of {replicas} replicas" if replicas > 1 else "the replica"
    words = (
        f"{len(prompt):,} prompts of {of} tokens and {int(decodes.sum()):,} "
        f"decodes keep {whom} busy for {each_s:,.6g} s"
    )
    return EngineBound("work_colocated", since_s + each_s, words)


def _longest(
    requests: Arrivals, costs: StepCosts, prompt: F8, computed: F8, decodes: F8
) -> EngineBound:
    prompts, contexts = _attention(costs, prompt, computed, decodes)
    head = max(costs.head_arithmetic, costs.head_weights)
    each = costs.overhead + costs.collective + head

    def dense(tokens: F8) -> F8:
        weights = costs.weights + costs.experts * (1 - costs.expert_miss**tokens)
        return np.maximum(costs.token_arithmetic * tokens, weights)

    prompt_ns = each + costs.chunk + dense(computed) + prompts + costs.token_collective * computed
    one = min(costs.decode, costs.chunk) if costs.chunk else costs.decode
    token_ns = each + one + float(dense(np.ones(1))[0]) + costs.token_collective
    alone_ns = prompt_ns + decodes * token_ns + contexts
    ends_ns = requests.arrival_ns + np.maximum(alone_ns - ROUNDED * (1 + decodes), 0)
    at = int(np.argmax(ends_ns))
    return EngineBound(
        "longest_entry",
        float(ends_ns[at]) / NS_PER_S,
        f"request {at} arrives at {requests.arrival_ns[at] / NS_PER_S:,.6g} s and alone takes "
        f"{alone_ns[at] / NS_PER_S:,.6g} s for {int(prompt[at]):,} prompt tokens and "
        f"{int(decodes[at]) + 1:,} of answer",
    )
