"""Bytes of weights and KV cache on each stage, and whether they fit.

The arithmetic is asked first when a scenario is checked, so it lives in
:mod:`toolkit.scenario.memory`; this is where the simulation finds it.
"""

from toolkit.scenario.kv_room import KvRoom, block_bytes, host_block_s, host_blocks, kv_room
from toolkit.scenario.memory import StageFit, fit, longest_tokens, stage_layers

__all__ = [
    "KvRoom",
    "StageFit",
    "block_bytes",
    "fit",
    "host_block_s",
    "host_blocks",
    "kv_room",
    "longest_tokens",
    "stage_layers",
]
