"""Seconds of one engine step by the roofline: whichever of arithmetic and memory traffic is slower.

A step takes prompt chunks and decodes through one stage of a replica: `devices`
of one tensor-parallel group, which hold 1 / `stages` of the layers.  Its parts
follow one another: the layers' matrices, the output head, attention, the
all-reduces between devices, and what the host spends.  Peak rates are the
device's, each cut by an efficiency that the catalog states with its source.

Sources: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, for the
bound; Pope et al., "Efficiently Scaling Transformer Inference", MLSys 2023, for
the counts of a transformer; Thakur, Rabenseifner, Gropp, "Optimization of
Collective Communication Operations in MPICH", IJHPCA 19(1), 2005, for the
all-reduce.

Left out: norms, activation functions, sampling and the embedding lookup (a few
percent on large models), and the overlap of communication with arithmetic.
"""

from __future__ import annotations

import math

from toolkit.scenario.model import Model, RooflineTiming

__all__ = [
    "all_reduce_s",
    "attention_s",
    "collectives_s",
    "dense_s",
    "distinct_experts",
    "expert_parameters",
    "head_s",
    "kv_read_bytes",
    "overhead_s",
]

ACTIVATION_BYTES = 2.0
"""Bytes of one value of a hidden state: 16 bits, whatever the weights have."""


def distinct_experts(experts: int, active: int, tokens: int) -> float:
    """Return how many of a layer's experts `tokens` tokens are expected to touch.

    Each token picks `active` of `experts`, all equally likely and independent of
    the others' picks: experts (1 - (1 - active / experts)^tokens).  Real routers
    are less even, and touch fewer.

    >>> distinct_experts(8, 2, 1), round(distinct_experts(8, 2, 16), 2)
    (2.0, 7.92)
    """
    return experts * (1.0 - (1.0 - active / experts) ** tokens)


def head_parameters(model: Model) -> int:
    """Return the parameters of the output head, vocabulary x hidden width."""
    return model.vocab * model.hidden


def expert_parameters(model: Model) -> float:
    """Return the parameters of all routed experts; 0 for a dense model.

    A token misses 1 - active / experts of them, which is all that sets its
    active parameters apart from the whole.
    """
    if not model.experts or model.experts_active == model.experts:
        return 0.0
    missed = model.parameters - model.active_parameters
    return missed / (1.0 - model.experts_active / model.experts)


def layer_parameters(model: Model, *, active: bool = False) -> float:
    """Return the parameters of the layers: all but embedding and head, which may be one table."""
    tables = (1 if model.tied_embeddings else 2) * head_parameters(model)
    return max((model.active_parameters if active else model.parameters) - tables, 0)


def dense_s(model: Model, timing: RooflineTiming, devices: int, stages: int, tokens: int) -> float:
    """Return the seconds of the layers' matrices for `tokens` tokens, prompts and decodes alike.

    The slower of two operations for each active parameter and token, and one
    read of the weights: of a mixture of experts, of those touched.

    >>> model = Model("m", 1, 1000, 8, 8, 125, 1, 1_000_002_000, active_parameters=1_000_002_000)
    >>> timing = RooflineTiming(1e15, 4e12, arithmetic_efficiency=0.5, memory_efficiency=0.5)
    >>> dense_s(model, timing, 1, 1, 1) == 2e9 / 2e12  # one token: the weights
    True
    >>> dense_s(model, timing, 1, 1, 1000) == 1000 * 2e9 / 5e14  # many: the arithmetic
    True
    """
    arithmetic = 2.0 * layer_parameters(model, active=True) * tokens
    experts = expert_parameters(model)
    weights = layer_parameters(model) - experts
    if experts:
        touched = distinct_experts(model.experts, model.experts_active, tokens)
        weights += experts * touched / model.experts
    return max(
        arithmetic / _flops_per_s(timing, devices * stages),
        weights * model.bytes_per_parameter / _bytes_per_s(timing, devices * stages),
    )


def head_s(model: Model, timing: RooflineTiming, devices: int, stages: int, sampled: int) -> float:
    """Return the seconds of the output head for the `sampled` tokens that are drawn from it.

    A stage's even share: the last stage really does it all (less than a layer's time).
    """
    if not sampled:
        return 0.0
    parameters = head_parameters(model)
    return max(
        2.0 * parameters * sampled / _flops_per_s(timing, devices * stages),
        parameters * model.bytes_per_parameter / _bytes_per_s(timing, devices * stages),
    )


def kv_read_bytes(model: Model, devices: int) -> float:
    """Return the bytes of KV cache that each device reads for a token of context, all layers.

    Heads of keys and values are shared out among the devices; where there are
    more devices than heads, each head is held more than once.  The latent of
    MLA has one head, held by every device.
    """
    return model.kv_bytes_per_token / min(devices, model.kv_heads)


def attention_s(
    model: Model, timing: RooflineTiming, devices: int, stages: int, pairs: float, context: float
) -> float:
    """Return the seconds of attention over `pairs` of a query and a token it looks at.

    The slower of 4 x heads x head width operations a layer for each pair (two
    products of two operations), and one read of the KV cache of `context` tokens.
    A decode looks at its whole context, so there `pairs` and `context` are alike.

    Linear in (pairs, context), so times of several requests add up.
    """
    arithmetic = 4.0 * model.layers * model.heads * model.head_dim * pairs
    return max(
        arithmetic / _flops_per_s(timing, devices * stages),
        kv_read_bytes(model, devices) * context / _bytes_per_s(timing, stages),
    )


def all_reduce_s(timing: RooflineTiming, devices: int, nbytes: float) -> float:
    """Return the seconds in which `devices` add up `nbytes` that each of them holds.

    Reduce-scatter and all-gather by halving and doubling:
    2 ceil(log2 t) latency + 2 (t - 1) / t x bytes / bandwidth.

    >>> fast = RooflineTiming(1, 1, link_bytes_per_s=1e11, link_latency_s=1e-6)
    >>> all_reduce_s(fast, 1, 1e6), round(all_reduce_s(fast, 4, 1e6) * 1e6, 3)
    (0.0, 19.0)
    """
    if devices == 1:
        return 0.0
    wire_s = nbytes / (timing.link_bytes_per_s * timing.link_efficiency)
    hops = 2 * math.ceil(math.log2(devices))
    return hops * timing.link_latency_s + 2 * (devices - 1) / devices * wire_s


def collectives_s(
    model: Model, timing: RooflineTiming, devices: int, stages: int, tokens: int
) -> float:
    """Return the seconds of a stage's all-reduces: two a layer, of the tokens' hidden states.

    Source: Shoeybi et al., "Megatron-LM", 2019 (one after attention, one after the
    feed-forward block).
    """
    nbytes = tokens * model.hidden * ACTIVATION_BYTES
    return 2 * model.layers / stages * all_reduce_s(timing, devices, nbytes)


def overhead_s(model: Model, timing: RooflineTiming, stages: int) -> float:
    """Return the seconds of a step that are neither arithmetic nor traffic: per step, per layer."""
    return timing.step_overhead_s + timing.layer_overhead_s * model.layers / stages


def _flops_per_s(timing: RooflineTiming, share: int) -> float:
    return timing.flops_per_s * timing.arithmetic_efficiency * share


def _bytes_per_s(timing: RooflineTiming, share: int) -> float:
    return timing.bytes_per_s * timing.memory_efficiency * share
