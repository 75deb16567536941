"""The published sweep as a picture: a bar for each family at each number of machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolkit.planner import sweep_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from toolkit.report.style import Width

__all__ = ["FAMILY_NAMES", "bars", "speedups"]

FAMILY_NAMES = {
    "Baseline": "one pipeline",
    "Baseline_dp": "data parallel",
    "DV": "prompt and token machines",
}

Series = Mapping[str, Sequence[float]]
"""A value for each number of machines, by family; 0 where nothing fits, as published."""


def bars(
    machines: Sequence[int], series: Series, width: Width, *, heading: str, unit: str
) -> Figure:
    """Draw the families side by side; what does not fit is marked, not drawn as 0."""
    named = {
        FAMILY_NAMES[family]: [value or None for value in values]
        for family, values in series.items()
    }
    places = [str(count) for count in machines]
    across = "machines  (×: does not fit, or no such layout)"
    return sweep_figures.bars(places, named, heading, across, unit, width)


def speedups(machines: Sequence[int], series: Series) -> dict[tuple[str, str], tuple[float, int]]:
    """Return how many times faster a family is than another at best, from two machines on.

    By (faster, slower) family: the largest ratio and the number of machines
    it is reached at.  Pairs that never both fit are left out.
    """
    pairs = [("Baseline_dp", "Baseline"), ("DV", "Baseline"), ("DV", "Baseline_dp")]
    best: dict[tuple[str, str], tuple[float, int]] = {}
    for faster, slower in pairs:
        ratios = [
            (slow / fast, count)
            for count, fast, slow in zip(machines, series[faster], series[slower], strict=True)
            if count >= 2 and fast > 0 and slow > 0
        ]
        if ratios:
            best[faster, slower] = max(ratios)
    return best
