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
from toolkit.scenario.pools import pools
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

    @property
    def after(self) -> npt.NDArray[np.int64] | None:
        """The row whose end each waits for, below 0 for none; None: all arrive by themselves."""

    @property
    def think_ns(self) -> npt.NDArray[np.int64] | None:
        """How long after that end each is sent."""


def engine_bounds(
    scenario: Scenario, requests: Arrivals, cached: npt.NDArray[np.int64] | None = None
) -> tuple[EngineBound, ...]:
    """Return the lower bounds on the makespan; none where requests may be refused or given up.

    `cached` (requests,) are the tokens of each prompt that a prefix cache may
    hold already; of every prompt one token is computed at least.
    """
    engine = scenario.deployment.engine
    assert engine is not None
    if engine.max_waiting is not None or scenario.workload.clients is not None:
        return ()
    both = pools(scenario)
    prompt = requests.prompt_tokens.astype(np.float64)
    decodes = requests.output_tokens.astype(np.float64) - 1
    computed = prompt if cached is None else np.maximum(prompt - cached, 1)
    if len(both) == 1:
        costs = step_costs(scenario)
        return (
            _work(scenario, requests, costs, prompt, computed, decodes),
            _longest(requests, (costs, costs), prompt, computed, decodes),
        )
    costs, of_tokens, none = step_costs(both[0]), step_costs(both[1]), np.zeros_like(prompt)
    return (
        _work(both[0], requests, costs, prompt, computed, none, "prompt"),
        _work(both[1], requests, of_tokens, prompt, none, decodes, "token"),
        _longest(requests, (costs, of_tokens), prompt, computed, decodes),
    )


def _prompt_attention(costs: StepCosts, prompt: F8, computed: F8) -> F8:
    """Return the ns of attention of each prompt, as far as computed.

    The m tokens computed are the last of a prompt's n: (n - m) m + m (m + 1) / 2 pairs.
    """
    pairs = (prompt - computed) * computed + computed * (computed + 1) / 2
    read = np.where(computed > 0, costs.prompt_context * prompt, 0.0)
    return np.maximum(costs.pair * pairs, read)


def _decode_attention(costs: StepCosts, before: F8, decodes: F8) -> F8:
    """Return the ns of attention of all decodes that follow a context of so many tokens."""
    return costs.context * (decodes * before + decodes * (decodes + 1) / 2)


def _work(
    scenario: Scenario,
    requests: Arrivals,
    costs: StepCosts,
    prompt: F8,
    computed: F8,
    decodes: F8,
    role: str = "colocated",
) -> EngineBound:
    """Return the bound of a pool that computes so many of the prompts' tokens, and decodes."""
    engine, replicas = scenario.deployment.engine, scenario.deployment.data_parallel
    assert engine is not None
    steps = float(decodes.sum()) / engine.max_num_seqs
    each_step = costs.overhead + costs.collective
    tokens = float((computed + decodes).sum())
    dense = max(costs.token_arithmetic * tokens, costs.weights * steps)
    attention = float(_prompt_attention(costs, prompt, computed).sum())
    attention += float(_decode_attention(costs, prompt, decodes).sum())
    # A token may come of computing a preempted request anew, at the price of a prompt.
    shared = min(costs.decode / engine.max_num_seqs, costs.chunk) * float(decodes.sum())
    total = dense + attention + shared + costs.chunk * int(np.count_nonzero(computed))
    total += each_step * steps + costs.token_collective * tokens
    total = max(float(total) - ROUNDED * (len(prompt) + float(decodes.sum())), 0.0)
    since_s, each_s = float(requests.arrival_ns.min()) / NS_PER_S, total / replicas / NS_PER_S
    of = f"{int(prompt.sum()):,}"
    if computed is not prompt:
        of = f"at least {int(computed.sum()):,} of {of}"
    whom = f"each of {replicas} replicas" if replicas > 1 else "the replica"
    done = []
    if computed.any():
        done.append(f"{len(prompt):,} prompts of {of} tokens")
    if not computed.any() or role == "colocated":
        done.append(f"{int(decodes.sum()):,} decodes")
    words = f"{' and '.join(done)} keep {whom} busy for {each_s:,.6g} s"
    return EngineBound(f"work_{role}", since_s + each_s, words)


def _longest(
    requests: Arrivals,
    costs: tuple[StepCosts, StepCosts],
    prompt: F8,
    computed: F8,
    decodes: F8,
) -> EngineBound:
    """Return the bound of the request that alone takes longest, its KV transfer left out."""
    parts = [_alone(each, prompt, computed, decodes) for each in costs]
    alone_ns = parts[0][0] + parts[1][1]
    least_ns = np.maximum(alone_ns - ROUNDED * (1 + decodes), 0)
    if requests.after is not None:
        return _longest_chain(requests, least_ns)
    ends_ns = requests.arrival_ns + least_ns
    at = int(np.argmax(ends_ns))
    return EngineBound(
        "longest_entry",
        float(ends_ns[at]) / NS_PER_S,
        f"request {at} arrives at {requests.arrival_ns[at] / NS_PER_S:,.6g} s and alone takes "
        f"{alone_ns[at] / NS_PER_S:,.6g} s for {int(prompt[at]):,} prompt tokens and "
        f"{int(decodes[at]) + 1:,} of answer",
    )


def _alone(costs: StepCosts, prompt: F8, computed: F8, decodes: F8) -> tuple[F8, F8]:
    """Return the ns that each request's prompt takes by itself, and its decodes."""
    prompts = _prompt_attention(costs, prompt, computed)
    contexts = _decode_attention(costs, prompt, decodes)
    head = max(costs.head_arithmetic, costs.head_weights)
    each = costs.overhead + costs.collective + head

    def dense(tokens: F8) -> F8:
        weights = costs.weights + costs.experts * (1 - costs.expert_miss**tokens)
        return np.maximum(costs.token_arithmetic * tokens, weights)

    prompt_ns = each + costs.chunk + dense(computed) + prompts + costs.token_collective * computed
    one = min(costs.decode, costs.chunk) if costs.chunk else costs.decode
    token_ns = each + one + float(dense(np.ones(1))[0]) + costs.token_collective
    return prompt_ns, decodes * token_ns + contexts


def _longest_chain(requests: Arrivals, least_ns: F8) -> EngineBound:
    """Return the bound of requests of which some wait for others: each at its least, one by one."""
    assert requests.after is not None
    assert requests.think_ns is not None
    ends_ns, length = requests.arrival_ns + least_ns, np.ones(len(least_ns), np.int64)
    for row in np.flatnonzero(requests.after >= 0):
        before = requests.after[row]
        sent_ns = max(ends_ns[before] + requests.think_ns[row], requests.arrival_ns[row])
        ends_ns[row] = sent_ns + least_ns[row]
        length[row] = length[before] + 1
    at = int(np.argmax(ends_ns))
    return EngineBound(
        "longest_entry",
        float(ends_ns[at]) / NS_PER_S,
        f"request {at} is the last of {length[at]:,} that wait for one another; each alone on the "
        f"machines, and with the time between them, they end at {ends_ns[at] / NS_PER_S:,.6g} s",
    )
