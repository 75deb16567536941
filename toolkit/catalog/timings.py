"""Timing tables: seconds of a microbatch through a whole model on one machine, by batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.catalog.entries import tables
from toolkit.catalog.names import unknown

__all__ = ["VARIANTS", "TimingTable", "timing_table"]

VARIANTS = ("central", "low_ratio", "high_ratio")
"""The best estimate; the end with cheaper prompts or slower decoding; the reverse."""


@dataclass(frozen=True, slots=True)
class TimingTable:
    """Points of one variant of a table, all columns of shape (points,), batch sizes ascending.

    ``prompt_provenance`` and ``token_provenance`` say of each point where it is
    from ("derived (...)" unless measured).
    """

    name: str
    variant: str
    model: str
    machine: str
    prompt_tokens: int
    context_tokens: int
    batch_sizes: tuple[int, ...]
    prompt_ms: tuple[float, ...]
    token_ms: tuple[float, ...]
    prompt_provenance: tuple[str, ...]
    token_provenance: tuple[str, ...]
    source: str
    confidence: str


def timing_table(name: str, variant: str = "central") -> TimingTable:
    """Return a variant (of :data:`VARIANTS`) of the timing table called `name`.

    Raises:
        InputError: there is no such table or variant; it names what comes closest.
    """
    known = tables("timing table")
    if name not in known:
        raise unknown("timing table", name, known)
    entry = known[name]
    if variant not in VARIANTS:
        raise unknown(f"variant of {name}", variant, VARIANTS)
    figures, points = entry.figures, entry.figures[variant]
    return TimingTable(
        name=name,
        variant=variant,
        model=figures["model"],
        machine=figures["machine"],
        prompt_tokens=figures["prompt_tokens"],
        context_tokens=figures["context_tokens"],
        batch_sizes=points["batch_sizes"],
        prompt_ms=points["prompt_ms"],
        token_ms=points["token_ms"],
        prompt_provenance=_per_point(points, "prompt_provenance"),
        token_provenance=_per_point(points, "token_provenance"),
        source=entry.default.source,
        confidence=entry.default.confidence,
    )


def _per_point(points: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return one provenance for each point; a single one in the file holds for all."""
    given = points[key]
    return (given,) * len(points["batch_sizes"]) if isinstance(given, str) else given
