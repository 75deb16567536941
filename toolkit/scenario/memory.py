"""Does the model fit?  Weights per stage and KV caches in flight against device memory.

This is arithmetic on a scenario's own values, asked when the scenario is
checked; `toolkit.costs.memory` offers it to the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from toolkit import catalog
from toolkit.scenario.model import Lengths, Model, Scenario, Workload
from toolkit.units import GB

__all__ = ["StageFit", "fit", "longest_request", "longest_tokens", "stage_layers"]

Role = Literal["colocated", "prompt", "token"]

PUBLISHED_TOKENS = {"colocated": 2000, "token": 2000, "prompt": 1000}
"""Tokens a KV cache holds in the published sweep's memory test, by role of the machine."""


@dataclass(frozen=True, slots=True)
class StageFit:
    """What one stage has to hold, and whether it can.

    ``layers`` is None under the published formula, which rounds weights up and
    takes the cache of one microbatch through all layers.
    """

    role: Role
    stage: int
    layers: int | None
    weights_bytes: float
    kv_bytes_per_microbatch: float
    in_flight: int
    memory_bytes: float
    fits: bool
    words: str
    """The arithmetic, as a reader would check it."""

    @property
    def needed_bytes(self) -> float:
        """Bytes of weights and of all KV caches in flight."""
        return self.weights_bytes + self.in_flight * self.kv_bytes_per_microbatch


def stage_layers(layers: int, stages: int) -> tuple[int, ...]:
    """Return the layers each stage holds: an even split, the remainder to the first stages.

    >>> stage_layers(70, 4)
    (18, 18, 17, 17)
    """
    each, more = divmod(layers, stages)
    return tuple(each + (stage < more) for stage in range(stages))


def longest_tokens(lengths: Lengths, entries: int) -> tuple[int, int]:
    """Return the most prompt and output tokens that a request of these lengths can have."""
    if lengths.kind == "tenants":
        longest = [longest_tokens(part, entries) for part in lengths.parts]
        return max(prompt for prompt, _ in longest), max(output for _, output in longest)
    if lengths.recording is not None:
        prompt = int(lengths.recording.prompt_tokens[:entries].max())
        output = int(lengths.recording.output_tokens[:entries].max())
    elif lengths.kind == "pairs":
        prompt = max(prompt for prompt, _ in lengths.pairs[:entries])
        output = max(output for _, output in lengths.pairs[:entries])
    elif lengths.kind == "fixed":
        prompt, output = lengths.prompt_tokens or 0, lengths.output_tokens or 0
    else:
        table = catalog.length_table(lengths.name or "")
        prompt = lengths.prompt_tokens or math.ceil(max(table.prompt_tokens))
        output = lengths.output_tokens or math.ceil(max(table.output_tokens))
    return (
        max(min(prompt, lengths.max_prompt_tokens or prompt), 1),
        max(min(output, lengths.max_output_tokens or output), lengths.min_output_tokens),
    )


def longest_request(workload: Workload) -> tuple[int, int]:
    """Return the most prompt and output tokens that a request of a workload can have.

    Where prompts hold the turns before them, those of the last turn, as far as
    ``max_prompt_tokens`` lets them grow.
    """
    prompt, output = longest_tokens(workload.lengths, workload.entries)
    sessions, most = workload.sessions, workload.lengths.max_prompt_tokens
    if sessions is None or sessions.turns is None or not sessions.history:
        return prompt, output
    turns = min(int(sessions.turns), workload.entries) if sessions.fixed else workload.entries
    grown = prompt + (turns - 1) * (prompt + output)
    return min(grown, most or grown), output


def fit(scenario: Scenario) -> tuple[StageFit, ...]:
    """Return what every stage has to hold; empty where memory is not checked.

    An engine fills whatever memory there is: see `toolkit.scenario.kv_room`.

    `exact`: weights in proportion to the stage's layers (embeddings spread
    likewise), and for each microbatch in flight the KV cache of those layers,
    padded to the longest request of the workload; prompt machines hold prompts
    only.  Activations and fragmentation are left out; they take a few percent.

    `dejavu`: the published sweep's test, ceil(weights / stages) + cache x batch
    x 2000 tokens (1000 on prompt machines) strictly below the memory.

    Source: msr-fiddle/dejavu at 07e76be, scripts/simulators/simulate_all.py.
    """
    model, memory_bytes = scenario.model, scenario.hardware.memory_bytes
    how = scenario.deployment.memory_fit
    if how == "off" or model is None or memory_bytes is None or scenario.deployment.engine:
        return ()
    stages = _exact if how == "exact" else _published
    return tuple(
        each
        for role, count in _pipelines(scenario)
        for each in stages(scenario, model, memory_bytes, role, count)
    )


def _pipelines(scenario: Scenario) -> tuple[tuple[Role, int], ...]:
    """Return the kinds of pipeline in a deployment and their depths."""
    if scenario.deployment.kind == "disaggregated":
        return (("prompt", scenario.prompt_stages), ("token", scenario.token_stages))
    return (("colocated", scenario.token_stages),)


def _exact(
    scenario: Scenario, model: Model, memory_bytes: float, role: Role, stages: int
) -> Iterator[StageFit]:
    prompt, output = longest_tokens(scenario.workload.lengths, scenario.workload.entries)
    tokens = prompt if role == "prompt" else prompt + output
    batch = scenario.deployment.microbatch_size
    in_flight = scenario.swap_slots or scenario.deployment.microbatches_in_flight or stages
    for stage, layers in enumerate(stage_layers(model.layers, stages)):
        share = layers / model.layers
        weights = model.weights_bytes * share
        kv = model.kv_bytes_per_token * share * batch * tokens
        fits = weights + in_flight * kv <= memory_bytes
        words = (
            f"{role} stage {stage} of {stages}: "
            f"weights {_gb(weights)} ({layers} of {model.layers} layers) + "
            f"{in_flight} in flight x KV {_gb(kv)} ({batch} requests x {tokens:,} tokens) = "
            f"{_gb(weights + in_flight * kv)}, {'within' if fits else 'more than'} "
            f"{_gb(memory_bytes)}"
        )
        yield StageFit(role, stage, layers, weights, kv, in_flight, memory_bytes, fits, words)


def _published(
    scenario: Scenario, model: Model, memory_bytes: float, role: Role, stages: int
) -> Iterator[StageFit]:
    assert model.dejavu_weights_gb is not None
    assert model.dejavu_kv_gb_per_token is not None
    tokens, batch = PUBLISHED_TOKENS[role], scenario.deployment.microbatch_size
    weights_gb = math.ceil(model.dejavu_weights_gb / stages)
    kv_gb = model.dejavu_kv_gb_per_token * batch * tokens
    fits = weights_gb + kv_gb < memory_bytes / GB
    words = (
        f"{role} stage of {stages}: ceil({model.dejavu_weights_gb} / {stages}) + "
        f"{model.dejavu_kv_gb_per_token:g} x {batch} requests x {tokens:,} tokens = "
        f"{weights_gb + kv_gb:.1f} GB, {'below' if fits else 'not below'} {_gb(memory_bytes)}"
    )
    for stage in range(stages):
        yield StageFit(role, stage, None, weights_gb * GB, kv_gb * GB, 1, memory_bytes, fits, words)


def _gb(size: float) -> str:
    return f"{size / GB:,.1f} GB"
