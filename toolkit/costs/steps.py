"""The time of an engine's step as a handful of coefficients, whatever its source.

A step's time depends on its batch through seven counts (:class:`Work`), and on
those almost linearly.  So each source of times becomes one :class:`StepCosts`,
which compiled code takes as it is.
"""

from __future__ import annotations

from typing import NamedTuple

from toolkit.costs.roofline import (
    attention_s,
    collectives_s,
    dense_s,
    expert_parameters,
    head_s,
    overhead_s,
)
from toolkit.scenario.model import FixedTiming, Model, RooflineTiming, Scenario
from toolkit.units import NS_PER_S

__all__ = ["StepCosts", "Work", "step_costs", "step_s"]


class Work(NamedTuple):
    """What one step takes: counts, all of them sums over the batch."""

    decodes: int = 0
    context: int = 0
    """Tokens the decodes look at, their own included."""
    chunks: int = 0
    prompt_tokens: int = 0
    pairs: int = 0
    """Pairs of a prompt token and a token it looks at: m c + m (m + 1) / 2 for m after c others."""
    prompt_context: int = 0
    """Tokens that chunks look at, read once a chunk."""
    sampled: int = 0
    """Tokens drawn at the end: decodes, and prompts that end."""


class StepCosts(NamedTuple):
    """Coefficients of a step's time, ns; with T = decodes + prompt tokens it is

    overhead + chunk x chunks + (decode, if there are decodes)
    + max(token_arithmetic T, weights + experts (1 - expert_miss^T))
    + max(head_arithmetic x sampled, head_weights), if any is sampled
    + context x context + max(pair x pairs, prompt_context x prompt context)
    + collective + token_collective T.
    """

    overhead: float = 0.0
    chunk: float = 0.0
    decode: float = 0.0
    token_arithmetic: float = 0.0
    weights: float = 0.0
    experts: float = 0.0
    expert_miss: float = 0.0
    head_arithmetic: float = 0.0
    head_weights: float = 0.0
    context: float = 0.0
    pair: float = 0.0
    prompt_context: float = 0.0
    collective: float = 0.0
    token_collective: float = 0.0


def step_costs(scenario: Scenario) -> StepCosts:
    """Return the coefficients of a checked scenario's step on one stage.

    `fixed`: every prompt or chunk in a step adds ``prompt_ms``, its decodes
    together ``token_ms``, whatever their lengths.  `roofline`: see
    `toolkit.costs.roofline`.
    """
    timing = scenario.timing
    if isinstance(timing, FixedTiming):
        return StepCosts(chunk=timing.prompt_s * NS_PER_S, decode=timing.token_s * NS_PER_S)
    assert isinstance(timing, RooflineTiming)
    assert scenario.model is not None
    devices = scenario.hardware.devices_per_machine or 1
    return _roofline(scenario.model, timing, devices, scenario.token_stages)


def _roofline(model: Model, timing: RooflineTiming, devices: int, stages: int) -> StepCosts:
    """Return the coefficients of the roofline, each by asking it for one thing at a time."""
    group = (devices, stages)
    endless = 1e18  # tokens: no expert is missed, and only the arithmetic counts

    def ns(seconds: float) -> float:
        return seconds * NS_PER_S

    dear = timing.without_memory()
    free = timing.without_arithmetic()
    experts = expert_parameters(model) * model.bytes_per_parameter
    experts_s = experts / (timing.bytes_per_s * timing.memory_efficiency * devices * stages)
    all_weights_s = dense_s(model, free, *group, int(endless))
    one_token_s = collectives_s(model, timing, *group, 1)
    no_token_s = collectives_s(model, timing, *group, 0)
    return StepCosts(
        overhead=ns(overhead_s(model, timing, stages)),
        token_arithmetic=ns(dense_s(model, dear, *group, 1)),
        weights=ns(all_weights_s - experts_s),
        experts=ns(experts_s),
        expert_miss=1.0 - model.experts_active / model.experts if experts else 0.0,
        head_arithmetic=ns(head_s(model, dear, *group, 1)),
        head_weights=ns(head_s(model, free, *group, 1)),
        context=ns(attention_s(model, timing, *group, 1, 1)),
        pair=ns(attention_s(model, timing, *group, 1, 0)),
        prompt_context=ns(attention_s(model, timing, *group, 0, 1)),
        collective=ns(no_token_s),
        token_collective=ns(one_token_s - no_token_s),
    )


def step_s(model: Model, timing: RooflineTiming, devices: int, stages: int, work: Work) -> float:
    """Return the seconds of one step on one stage by the roofline, part by part.

    The plain sum of `toolkit.costs.roofline`'s parts, which :func:`step_costs`
    puts into coefficients.
    """
    tokens = work.decodes + work.prompt_tokens
    return (
        overhead_s(model, timing, stages)
        + dense_s(model, timing, devices, stages, tokens)
        + head_s(model, timing, devices, stages, work.sampled)
        + attention_s(model, timing, devices, stages, work.context, work.context)
        + attention_s(model, timing, devices, stages, work.pairs, work.prompt_context)
        + collectives_s(model, timing, devices, stages, tokens)
    )
