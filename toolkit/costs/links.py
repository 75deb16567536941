"""Seconds of a transfer between machines."""

from __future__ import annotations

from toolkit.scenario.model import Link, Model

__all__ = ["activation_bytes", "kv_bytes", "transfer_s"]


def transfer_s(link: Link, nbytes: float) -> float:
    """Return the seconds a link needs for `nbytes`: its latency, then the bytes at its bandwidth.

    Nominal bandwidth; protocol overhead is left out.

    >>> transfer_s(Link("ethernet-40g", bytes_per_s=5e9), 75.5e9)
    15.1
    """
    return link.latency_s + nbytes / link.bytes_per_s


def kv_bytes(model: Model, layers: int, requests: int, tokens: int) -> float:
    """Return the bytes of KV cache that `layers` layers hold for `requests` of `tokens` each."""
    return model.kv_bytes_per_token * (layers / model.layers) * requests * tokens


def activation_bytes(model: Model, requests: int, tokens: int) -> float:
    """Return the bytes of hidden states between two stages, `tokens` for each of `requests`.

    Hidden states have the weights' format or 16 bits, whichever is larger.
    """
    return requests * tokens * model.hidden * max(model.bytes_per_parameter, 2.0)
