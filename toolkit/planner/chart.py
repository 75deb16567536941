"""The published sweep as a picture: a bar for each family at each number of machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolkit.report.style import Width, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FAMILY_NAMES", "bars", "speedups"]

FAMILY_NAMES = {
    "Baseline": "one pipeline",
    "Baseline_dp": "data parallel",
    "DV": "prompt and token machines",
}
_COLOURS = {"Baseline": "#3b3b3b", "Baseline_dp": "#d6604d", "DV": "#1b7fa6"}

Series = Mapping[str, Sequence[float]]
"""A value for each number of machines, by family; 0 where nothing fits, as published."""


def bars(
    machines: Sequence[int], series: Series, width: Width, *, heading: str, unit: str
) -> Figure:
    """Draw the families side by side; what does not fit is marked, not drawn as 0."""
    entries = [(FAMILY_NAMES[family], _COLOURS[family]) for family in series]
    drawn, (axes,) = panels(width, heading, [2.6], left=0.7, entries=entries)
    each = 0.8 / len(series)
    for at, (family, values) in enumerate(series.items()):
        centres = [x + (at - (len(series) - 1) / 2) * each for x in range(len(machines))]
        axes.bar(centres, values, each * 0.92, color=_COLOURS[family], zorder=2)
        for x, value in zip(centres, values, strict=True):
            if value == 0:
                axes.plot([x], [0], marker="x", ms=4, color=_COLOURS[family], clip_on=False)
    axes.set_xticks(range(len(machines)), [str(count) for count in machines])
    axes.set_xlim(-0.6, len(machines) - 0.4)
    axes.set_xlabel("machines  (×: does not fit, or no such layout)")
    axes.set_ylabel(unit)
    axes.yaxis.grid(visible=True)
    axes.set_axisbelow(True)
    return drawn


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
