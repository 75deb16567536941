"""Results of a sweep to figures: each function takes series and returns a matplotlib Figure.

Call inside `toolkit.report.style.look()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from toolkit.report import words
from toolkit.report.style import Width, panels, run_colours, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Series", "bars", "lines", "panels_of_bars"]

Series = Mapping[str, Sequence[float | None]]
"""A value, or None where nothing fits, for each place on the x axis, by family."""


def bars(
    places: Sequence[str], series: Series, heading: str, across: str, up: str, width: Width
) -> Figure:
    """Draw a bar per family at each place; a small cross stands where nothing fits."""
    return panels_of_bars(places, {"": series}, heading, across, up, width)


def panels_of_bars(
    places: Sequence[str],
    panels_by_name: Mapping[str, Series],
    heading: str,
    across: str,
    up: str,
    width: Width,
) -> Figure:
    """Draw bars once for each name, one panel under the other, all on one scale."""
    families = dict.fromkeys(each for series in panels_by_name.values() for each in series)
    colours = run_colours(list(families))
    alone = len(panels_by_name) == 1
    high = (2.0 if width.narrow else 2.6) if alone else 1.15
    drawn, every = panels(
        width,
        heading,
        [high] * len(panels_by_name),
        left=0.75,
        between=0.42,
        entries=_entries(colours),
        named=not alone,
    )
    top = _top(
        [
            value
            for series in panels_by_name.values()
            for line in series.values()
            for value in line
            if value is not None
        ]
    )
    for axes, (name, series) in zip(every, panels_by_name.items(), strict=True):
        _draw_bars(axes, places, series, colours, top, width)
        axes.set_ylim(0, top)
        axes.set_ylabel(up)
        if name:
            title(axes, name)
        if axes is not every[-1]:
            axes.set_xticklabels([])
    every[-1].set_xlabel(across)
    return drawn


OUTLYING, WORTH_IT = 4.0, 2.0
"""Bars of more than so many medians are cut off, where the axis then ends so many times sooner."""


def _top(values: Sequence[float]) -> float:
    """Return where the y axis ends: above every bar, but for a few that dwarf the others."""
    if not values:
        return 1.0
    within = max((value for value in values if value <= OUTLYING * median(values)), default=0.0)
    highest = max(values)
    return 1.06 * (within if highest > WORTH_IT * within > 0 else highest) or 1.0


def _draw_bars(
    axes: Axes,
    places: Sequence[str],
    series: Series,
    colours: Mapping[str, str],
    top: float,
    width: Width,
) -> None:
    """Draw the bars of one panel; one that does not fit is cut off and says its value."""
    wide = 0.8 / max(len(series), 1)
    for at, (family, values) in enumerate(series.items()):
        offset = (at + 0.5) * wide - 0.4
        xs = [x + offset for x in range(len(places))]
        heights = [min(value or 0.0, top) for value in values]
        axes.bar(xs, heights, wide * 0.92, color=colours[family])
        for x, value in zip(xs, values, strict=True):
            if value is None:
                axes.plot(
                    [x],
                    [0.0],
                    "x",
                    color=colours[family],
                    markersize=4 if width.narrow else 5,
                    clip_on=False,
                    zorder=3,
                )
            elif value > top:
                _cut_off(axes, x, wide, value, top, 6.0 if width.narrow else 7.5)
    axes.set_xticks(range(len(places)), places, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_formatter("{x:,.0f}" if top >= 10 else "{x:g}")
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="y")


def _cut_off(axes: Axes, x: float, wide: float, value: float, top: float, size: float) -> None:
    """Mark a bar that goes on above the axis: a gap near its end, its value along it."""
    half = wide / 2
    for level in (0.90, 0.925):
        axes.plot(
            [x - half, x + half],
            [(level - 0.012) * top, (level + 0.012) * top],
            color="white",
            linewidth=1.1,
            zorder=3,
        )
    axes.text(
        x,
        0.86 * top,
        words.amount(value),
        rotation=90,
        va="top",
        ha="center",
        color="white",
        fontsize=size,
        zorder=4,
    )


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
