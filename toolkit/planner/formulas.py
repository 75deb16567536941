"""The DéjàVu paper's formulas: how many machines for prompts, how many for tokens.

In the paper's letters, as arguments are documented here: D machines of M bytes,
L layers of W0 bytes of weights; C0 and K0 bytes of KV cache that a microbatch
leaves in one layer, of its prompt and of its answer; Y and t, the times of a
prompt pass and of a token pass of one microbatch through the whole model; N
token passes; m >= 1, by how much streaming stretches a prompt.

The *inverse throughput* of a deployment is the time in which it serves D
microbatches.  The formulas know no queue, no link and no microbatch longer than
another; a simulation beside them says what that is worth.

Source: Strati et al., "DéjàVu: KV-cache Streaming for Fast, Fault-tolerant
Generative LLM Serving", ICML 2024 (arXiv 2403.01876), as its public summaries
and the published planner (msr-fiddle/dejavu at 07e76be) give them.

The example of D = 4, Y = 10, t = 1, N = 20, m = 1 through all of them:

>>> split = optimum(machines=4, prompt_s=10, token_s=1, tokens=20)
>>> round(split.token_machines, 3), round(split.prompt_machines, 3)
(2.667, 1.333)
>>> disaggregated_s(4, split.prompt_machines, split.token_machines, 10, 1, 20)
30.0
>>> colocated_s(machines=4, prompt_s=10, token_s=1, tokens=20)
36.75
>>> pays_above(machines=4)
1.0
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "Split",
    "colocated_s",
    "disaggregated_s",
    "kv_layer_bytes",
    "least_prompt_machines",
    "least_token_machines",
    "optimum",
    "pays_above",
    "prompt_s_per_round",
    "rounded",
    "token_s_per_round",
]


@dataclass(frozen=True, slots=True)
class Split:
    """Machines for prompts and machines for tokens; whole only once :func:`rounded`."""

    prompt_machines: float
    token_machines: float


# -- memory --------------------------------------------------------------------------------------


def kv_layer_bytes(tokens: int, batch: int, width: int, bytes_per_value: float) -> float:
    """Return C0 or K0: the KV cache of `tokens` tokens of `batch` requests in one layer, bytes.

    ``width`` is the hidden size, or key-value heads x head size where heads
    share their cache.

    >>> kv_layer_bytes(1000, batch=32, width=9216, bytes_per_value=2)
    1179648000
    """
    return 2 * tokens * batch * width * bytes_per_value


def least_prompt_machines(
    layers: int, memory_bytes: float, weights_bytes: float, prompt_kv_bytes: float
) -> int | None:
    """Return ceil(L / floor(M / (C0 + W0))): machines that hold the weights and a prompt's cache.

    ``weights_bytes`` and ``prompt_kv_bytes`` are those of one layer.  A prompt
    machine holds the cache of one microbatch at a time.  None: not even one
    layer fits a machine.

    >>> least_prompt_machines(64, 320e9, weights_bytes=2.06e9, prompt_kv_bytes=1.18e9)
    1
    """
    a_machine_holds = math.floor(memory_bytes / (weights_bytes + prompt_kv_bytes))
    return math.ceil(layers / a_machine_holds) if a_machine_holds else None


def least_token_machines(
    layers: int, memory_bytes: float, weights_bytes: float, kv_bytes: float
) -> int | None:
    """Return ceil(L / floor((M - L (C0 + K0)) / W0)): machines that hold weights and caches.

    ``weights_bytes`` and ``kv_bytes`` = C0 + K0 are those of one layer.  With as
    many microbatches in flight as machines, each machine holds the equivalent
    of one microbatch's cache through all layers, however many machines there
    are.  None: no number of machines is enough.

    >>> least_token_machines(64, 320e9, weights_bytes=2.06e9, kv_bytes=2.36e9)
    1
    >>> least_token_machines(64, 320e9, weights_bytes=2.06e9, kv_bytes=5.1e9) is None
    True
    """
    a_machine_holds = math.floor((memory_bytes - layers * kv_bytes) / weights_bytes)
    return math.ceil(layers / a_machine_holds) if a_machine_holds > 0 else None


# -- time ----------------------------------------------------------------------------------------


def colocated_s(machines: int, prompt_s: float, token_s: float, tokens: float) -> float:
    """Return I_c = Y + N t + (D - 1)(Y - t) / D, seconds per D microbatches on one pipeline.

    The last term is the bubbles that prompts tear into the token passes of
    the others.  One pipeline of all D machines: data parallelism is not
    considered, nor is it by the paper's formula.
    """
    bubbles_s = (machines - 1) * (prompt_s - token_s) / machines
    return prompt_s + tokens * token_s + bubbles_s


def prompt_s_per_round(
    machines: int, prompt_machines: float, prompt_s: float, slowdown: float = 1.0
) -> float:
    """Return I_p = m D Y / D_p, seconds in which the prompt side serves D microbatches."""
    return slowdown * machines * prompt_s / prompt_machines


def token_s_per_round(machines: int, token_machines: float, token_s: float, tokens: float) -> float:
    """Return I_t = N D t / D_t, seconds in which the token side serves D microbatches."""
    return tokens * machines * token_s / token_machines


def disaggregated_s(
    machines: int,
    prompt_machines: float,
    token_machines: float,
    prompt_s: float,
    token_s: float,
    tokens: float,
    slowdown: float = 1.0,
) -> float:
    """Return max(I_p, I_t), seconds per D microbatches: the slower side sets the pace."""
    return max(
        prompt_s_per_round(machines, prompt_machines, prompt_s, slowdown),
        token_s_per_round(machines, token_machines, token_s, tokens),
    )


def optimum(
    machines: int, prompt_s: float, token_s: float, tokens: float, slowdown: float = 1.0
) -> Split:
    """Return D_p = D m Y / (m Y + N t) and D_t = D N t / (m Y + N t), where I_p = I_t.

    Real numbers; together they are D.
    """
    prompt_work, token_work = slowdown * prompt_s, tokens * token_s
    both = prompt_work + token_work
    return Split(machines * prompt_work / both, machines * token_work / both)


def rounded(
    machines: int,
    prompt_s: float,
    token_s: float,
    tokens: float,
    slowdown: float = 1.0,
    *,
    least_prompt: int = 1,
    least_token: int = 1,
) -> Split | None:
    """Return the whole split with the least max(I_p, I_t) among those memory allows.

    None: memory allows none.  Of equals the one with fewer prompt machines.

    >>> rounded(4, prompt_s=10, token_s=1, tokens=20)
    Split(prompt_machines=1, token_machines=3)
    """
    allowed = range(max(least_prompt, 1), machines - max(least_token, 1) + 1)
    if not allowed:
        return None

    def pace_s(prompt: int) -> float:
        split = (prompt, machines - prompt)
        return disaggregated_s(machines, *split, prompt_s, token_s, tokens, slowdown)

    best = min(allowed, key=pace_s)
    return Split(best, machines - best)


def pays_above(machines: int, slowdown: float = 1.0) -> float:
    """Return (D - 1) / (D (2 - m) - 1): disaggregation pays where Y / t is above it.

    Comes from max(I_p, I_t) = m Y + N t at the optimum against I_c.  Infinite
    where streaming costs more than the bubbles it saves, D (2 - m) <= 1; the
    paper states it for 1 <= m < 2.  The real-valued optimum is meant: whole
    machines come close to it only where D is large.

    >>> pays_above(8, slowdown=1.5), pays_above(2, slowdown=1.6)
    (2.3333333333333335, inf)
    """
    saved = machines * (2 - slowdown) - 1
    return (machines - 1) / saved if saved > 0 else math.inf
