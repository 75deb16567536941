"""A search for capacity as figures: what each rate attained, and what latency costs.

Call inside `toolkit.report.style.look()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.report.style import Width, panels, run_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["attainment", "cost_against_latency"]

Row = Mapping[str, Any]


def attainment(
    rows: Mapping[str, Sequence[Row]], target: float, heading: str, width: Width
) -> Figure:
    """Draw the share of requests that met their limits at each rate, a line per candidate.

    Hollow: the run was overloaded, or fell short of the target; neither holds.
    """
    colours = run_colours(list(rows))
    drawn, (axes,) = panels(
        width, heading, [2.2 if width.narrow else 2.6], entries=list(colours.items())
    )
    for candidate, played in rows.items():
        rates = [row["rate_per_s"] for row in played]
        shares = [100 * (row["attainment"] or 0.0) for row in played]
        axes.plot(rates, shares, color=colours[candidate], linewidth=1.3)
        for row, rate, share in zip(played, rates, shares, strict=True):
            _dot(axes, rate, share, colours[candidate], filled=bool(row["holds"]))
    axes.axhline(100 * target, color="#777777", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    _plain_ticks(axes, [row["rate_per_s"] for played in rows.values() for row in played])
    axes.set_ylim(0, 103)
    axes.set_xlabel("requests per second")
    axes.set_ylabel("met their limits, %")
    axes.grid(visible=True)
    return drawn


def cost_against_latency(
    rows: Mapping[str, Sequence[Row]],
    front: Sequence[Row],
    latency: str,
    across: str,
    heading: str,
    width: Width,
) -> Figure:
    """Draw dollars per 1000 requests against a latency of the rates that hold; the front in black.

    Along a candidate's line the load rises: requests get cheaper and slower.
    """
    colours = run_colours(list(rows))
    shown = [label for label, played in rows.items() if any(row["holds"] for row in played)]
    entries = [(label, colours[label]) for label in shown]
    entries.append(("none is cheaper and faster", "#111111"))
    drawn, (axes,) = panels(
        width, heading, [2.4 if width.narrow else 3.0], left=0.75, entries=entries
    )
    for candidate, played in rows.items():
        known = [row for row in played if row["holds"] and row[latency] is not None]
        known = [row for row in known if row["usd_per_1000_requests"] is not None]
        xs = [row["usd_per_1000_requests"] for row in known]
        ys = [row[latency] for row in known]
        axes.plot(xs, ys, color=colours[candidate], linewidth=1.1, alpha=0.7)
        for x, y in zip(xs, ys, strict=True):
            _dot(axes, x, y, colours[candidate], filled=True)
    axes.plot(
        [row["usd_per_1000_requests"] for row in front],
        [row[latency] for row in front],
        color="#111111",
        linewidth=1.6,
        marker="o",
        markersize=8 if not width.narrow else 6,
        markerfacecolor="none",
        drawstyle="steps-post",
        zorder=4,
    )
    axes.set_xscale("log")
    listed = [
        row["usd_per_1000_requests"]
        for played in rows.values()
        for row in played
        if row["holds"] and row["usd_per_1000_requests"]
    ]
    _plain_ticks(axes, listed)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_xlabel("US dollars per 1000 requests")
    axes.set_ylabel(across)
    axes.grid(visible=True)
    return drawn


def _dot(axes: Axes, x: float, y: float, colour: str, *, filled: bool) -> None:
    axes.plot(
        [x],
        [y],
        "o",
        markersize=4.5,
        color=colour,
        markerfacecolor=colour if filled else "white",
        zorder=3,
    )


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Put ticks at round numbers of each decade in sight, closer together where it is one."""
    if not values:
        return
    low, high = min(values) * 0.93, max(values) * 1.07
    leads = (1, 2, 5) if high / low > 12 else (1, 1.5, 2, 3, 4, 5, 7)
    ticks = [
        lead * 10.0**decade
        for decade in range(-6, 8)
        for lead in leads
        if low <= lead * 10.0**decade <= high
    ]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:,.6g}" for tick in ticks])
    axes.minorticks_off()
