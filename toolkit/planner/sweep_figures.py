"""Results of a sweep to figures: each function takes series and returns a matplotlib Figure.

Call inside `toolkit.report.style.look()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolkit.report.style import Width, panels, run_colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Series", "bars", "lines"]

Series = Mapping[str, Sequence[float | None]]
"""A value, or None where nothing fits, for each place on the x axis, by family."""


def bars(
    places: Sequence[str], series: Series, heading: str, across: str, up: str, width: Width
) -> Figure:
    """Draw a bar per family at each place; a small cross stands where nothing fits."""
    colours = run_colours(list(series))
    drawn, (axes,) = panels(
        width, heading, [2.0 if width.narrow else 2.6], left=0.75, entries=_entries(colours)
    )
    wide = 0.8 / max(len(series), 1)
    for at, (family, values) in enumerate(series.items()):
        offset = (at + 0.5) * wide - 0.4
        xs = [x + offset for x in range(len(places))]
        axes.bar(xs, [value or 0.0 for value in values], wide * 0.92, color=colours[family])
        empty = [x for x, value in zip(xs, values, strict=True) if value is None]
        axes.plot(
            empty,
            [0.0] * len(empty),
            "x",
            color=colours[family],
            markersize=4 if width.narrow else 5,
            clip_on=False,
            zorder=3,
        )
    axes.set_xticks(range(len(places)), places, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_ylim(bottom=0)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="y")
    return drawn


def lines(
    places: Sequence[float], series: Series, heading: str, across: str, up: str, width: Width
) -> Figure:
    """Draw a line per family, broken where nothing fits; doubling places are evenly apart."""
    colours = run_colours(list(series))
    drawn, (axes,) = panels(
        width, heading, [2.0 if width.narrow else 2.6], left=0.75, entries=_entries(colours)
    )
    for family, values in series.items():
        axes.plot(
            list(places),
            [float("nan") if value is None else value for value in values],
            color=colours[family],
            marker="o",
            markersize=3.5,
            linewidth=1.6,
        )
    if min(places) > 0 and max(places) / min(places) >= 16:
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
    axes.set_xticks(list(places), [f"{place:g}" for place in places], fontsize=8)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True)
    return drawn


def _entries(colours: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(family, colour) for family, colour in colours.items() if family]
