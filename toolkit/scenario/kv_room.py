"""How many blocks of KV cache an engine has: what memory leaves beside weights and activations."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.scenario.memory import stage_layers
from toolkit.scenario.model import Engine, Model, Scenario
from toolkit.units import GB

__all__ = ["KvRoom", "block_bytes", "blocks_of", "host_block_s", "host_blocks", "kv_room"]

HIDDEN_STATES = 10
"""Hidden states of each token alive at once, in the estimate of activations: the residual, its
norm, queries, keys and values, and the feed-forward block, a few hidden widths wide."""

LOGIT_BYTES = 4


@dataclass(frozen=True, slots=True)
class KvRoom:
    """Blocks of KV cache of a replica, and the arithmetic; None blocks: nobody counts them."""

    blocks: int | None
    words: str


def blocks_of(tokens: int, block_tokens: int) -> int:
    """Return the blocks that `tokens` tokens take.

    >>> blocks_of(16, 16), blocks_of(17, 16)
    (1, 2)
    """
    return -(-tokens // block_tokens)


def kv_room(scenario: Scenario) -> KvRoom:
    """Return the KV blocks of each replica of a scenario with continuous batching.

    Stated, or of the machine with the most layers:

        floor((memory x utilisation - weights - activations) / bytes of a block),

    below 1 where not even weights and activations fit.  Heads of keys and
    values are held once, or once per device where there are more devices than
    heads.  Activations are `activations_gb`, or 10 hidden states of 2 bytes for
    each of ``max_num_batched_tokens`` tokens and 4 bytes of logits for each of
    ``max_num_seqs`` requests: an estimate; vLLM measures them as it starts.
    """
    engine, model = scenario.deployment.engine, scenario.model
    memory_bytes = scenario.hardware.memory_bytes
    assert engine is not None
    if engine.kv_blocks is not None:
        return KvRoom(engine.kv_blocks, f"{engine.kv_blocks:,} KV blocks a replica, as stated")
    if scenario.deployment.memory_fit == "off" or model is None or memory_bytes is None:
        return KvRoom(None, "KV blocks without limit")
    share = max(stage_layers(model.layers, scenario.token_stages)) / model.layers
    weights = model.weights_bytes * share
    activations = engine.activations_bytes
    if activations is None:
        activations = activation_estimate(model, engine)
    usable = memory_bytes * engine.memory_utilisation
    block = block_bytes(scenario)
    left = usable - weights - activations
    blocks = int(left // block)
    words = (
        f"{_gb(memory_bytes)} x {engine.memory_utilisation:g} - weights {_gb(weights)} - "
        f"activations {_gb(activations)} = {_gb(left)}: {max(blocks, 0):,} blocks of "
        f"{engine.kv_block_tokens} tokens, {block / 1e6:,.3g} MB each"
    )
    return KvRoom(blocks, words)


def block_bytes(scenario: Scenario) -> float:
    """Return the bytes of a block on all devices of the machine with the most layers; 0 unknown."""
    engine, model = scenario.deployment.engine, scenario.model
    assert engine is not None
    if model is None:
        return 0.0
    share = max(stage_layers(model.layers, scenario.token_stages)) / model.layers
    devices = scenario.hardware.devices_per_machine or 1
    copies = devices / min(devices, model.kv_heads)
    return model.kv_bytes_per_token * share * copies * engine.kv_block_tokens


def host_blocks(scenario: Scenario) -> int:
    """Return for how many blocks a replica has room in host memory."""
    engine, block = scenario.deployment.engine, block_bytes(scenario)
    assert engine is not None
    return int(engine.host_memory_bytes // block) if block else 0


def host_block_s(scenario: Scenario) -> float:
    """Return the seconds a block takes to or from host memory, every device on its own link."""
    engine = scenario.deployment.engine
    assert engine is not None
    devices = scenario.hardware.devices_per_machine or 1
    return block_bytes(scenario) / (engine.host_link_bytes_per_s * devices)


def activation_estimate(model: Model, engine: Engine) -> float:
    """Return the bytes of activations of the largest step, as :func:`kv_room` says."""
    states = HIDDEN_STATES * 2.0 * model.hidden * engine.max_num_batched_tokens
    return states + LOGIT_BYTES * model.vocab * engine.max_num_seqs


def _gb(size: float) -> str:
    return f"{size / GB:,.2f} GB"
