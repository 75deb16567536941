"""What is going to arrive, as a figure: rate over time, lengths, gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.report import words
from toolkit.report.arriving import Arriving
from toolkit.report.style import Width, panels, run_colours, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["arrivals"]

_PROMPT, _OUTPUT, _GAP, _POISSON = "#e08214", "#2166ac", "#3b3b3b", "#9aa5ad"

_BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
"""What keeps a label readable where it crosses a line."""

_SHARES = [at / 100 for at in range(101)]


def arrivals(arriving: Arriving, width: Width) -> Figure:
    """Draw the rate over time, stacked by tenant, above the distributions of lengths and gaps."""
    colours = run_colours(arriving.tenants)
    entries = [(name, colours[name]) for name in arriving.tenants]
    drawn, axes = panels(
        width,
        arriving.answer().rstrip("."),
        [1.5, 1.6, 1.6],
        left=0.62,
        between=0.72,
        entries=entries,
        named=True,
    )
    _over_time(axes[0], arriving, colours)
    _lengths(axes[1], arriving)
    _gaps(axes[2], arriving)
    return drawn


def _over_time(axes: Axes, arriving: Arriving, colours: dict[str, str]) -> None:
    edges = [*arriving.windows.filter(arriving.windows["run"] == 0)["from_s"].to_list()]
    edges.append(arriving.until_s)
    if arriving.tenants:
        base = [0.0] * (len(edges) - 1)
        for number_, name in enumerate(arriving.tenants, 1):
            top = [a + b for a, b in zip(base, arriving.rates(number_), strict=True)]
            axes.stairs(top, edges, baseline=base, fill=True, color=colours[name])
            base = top
    else:
        axes.stairs(arriving.rates(), edges, fill=True, color=_OUTPUT)
    rate = arriving.whole["rate_per_s"]
    if rate is not None:
        axes.axhline(rate, color="#444444", linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            f"mean {words.amount(rate)}",
            (edges[-1], rate),
            xytext=(-3, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="#444444",
            bbox=_BEHIND,
        )
    axes.set_xlim(0, edges[-1] * 1.02)  # room for the label of a tick at the end
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time since the start, s")
    title(axes, "requests per second")


def _lengths(axes: Axes, arriving: Arriving) -> None:
    for quantity, name, colour in (
        ("prompt_tokens", "prompts", _PROMPT),
        ("output_tokens", "answers", _OUTPUT),
    ):
        amounts = [max(amount, 1.0) for amount in arriving.quantiles(quantity)]
        axes.plot(amounts, _SHARES, color=colour, linewidth=1.8)
        place = 25 if quantity == "prompt_tokens" else 75
        axes.annotate(
            name,
            (amounts[place], _SHARES[place]),
            xytext=(6 if place == 25 else -6, 0),
            textcoords="offset points",
            ha="left" if place == 25 else "right",
            va="center",
            fontsize=9,
            color=colour,
            bbox=_BEHIND,
        )
    _logarithmic(axes)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("tokens")
    title(axes, "share of requests up to a length")


def _logarithmic(axes: Axes) -> None:
    """Make the x axis logarithmic, its decades in plain numbers."""
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415 - drawing only

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda at, _: f"{at:,.0f}" if at >= 1 else f"{at:g}")
    )
    axes.xaxis.set_minor_formatter(NullFormatter())


def _gaps(axes: Axes, arriving: Arriving) -> None:
    import numpy as np  # noqa: PLC0415 - drawing only

    gaps = arriving.quantiles("gap_s")
    mean = arriving.whole["mean_gap_s"]
    title(axes, "share of gaps between arrivals up to a length")
    axes.set_ylim(0, 1.02)
    if not gaps or not mean:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "all at once", ha="center", va="center", transform=axes.transAxes)
        return
    least = mean / 1000
    at = np.geomspace(least, max(gaps[-1], 5 * mean), 200)
    axes.plot(at, 1 - np.exp(-at / mean), color=_POISSON, linewidth=1.4, linestyle=(0, (4, 3)))
    axes.plot([max(gap, least) for gap in gaps], _SHARES, color=_GAP, linewidth=1.8)
    _logarithmic(axes)
    axes.set_xlim(at[0], at[-1])
    axes.set_xlabel(f"seconds; mean {words.seconds(mean)}; dashed: Poisson of the same rate")
