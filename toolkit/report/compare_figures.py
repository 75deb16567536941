"""Figures of a comparison: waterfalls of time and money, what the ends hung on, who got faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.report import style, words
from toolkit.report.compared import cause, hung_name, signed
from toolkit.report.style import Width, label_room, panels, rectangles, run_colours

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["hung_on", "requests", "waterfall"]

Rows = Sequence[Mapping[str, Any]]

LESS, MORE, TOTAL = "#4d9221", "#d6604d", "#3b3b3b"
_ROW = 0.3  # inches
_HUNG_COLOURS = {
    "prefill": "#e08214",
    "decode": "#2166ac",
    "activation": "#80cdc1",
    "kv_transfer": "#1b9e77",
    "arrival": "#cfd6db",
}


def waterfall(
    changes: Mapping[str, Rows],
    base: str,
    column: str,
    unit: str,
    tell: Callable[[float], str],
    heading: str,
    width: Width,
) -> Figure:
    """Draw how each side's total comes from the first side's, cause by cause; a panel per side.

    `changes` are the rows of spending_changes by the label of
    their side; `column` is ``s`` or ``usd``.
    """
    shown = {label: _steps(rows, column) for label, rows in changes.items()}
    names = [base, *(step[0] for steps in shown.values() for step in steps), *changes]
    drawn, axes = panels(
        width,
        heading,
        [_ROW * (len(steps) + 2) for steps in shown.values()],
        left=label_room(names, 9),
        between=0.45,
    )
    most = max(
        _reach(rows, steps, column)
        for rows, steps in zip(changes.values(), shown.values(), strict=True)
    )
    for panel, (label, rows) in zip(axes, changes.items(), strict=True):
        before = sum(row[f"base_{column}"] for row in rows)
        _fall(panel, base, label, before, shown[label], tell, most, narrow=width.narrow)
    axes[-1].set_xlabel(unit)
    return drawn


def _steps(rows: Rows, column: str) -> list[tuple[str, float]]:
    """Return (cause, difference), what falls most first and what rises most last."""
    steps = [(cause(row["cause"]), row[f"difference_{column}"]) for row in rows]
    return sorted((step for step in steps if step[1]), key=lambda step: step[1])


def _reach(rows: Rows, steps: Sequence[tuple[str, float]], column: str) -> float:
    """Return the largest total that the steps pass through."""
    at = reach = sum(row[f"base_{column}"] for row in rows)
    for _, change in steps:
        at += change
        reach = max(reach, at)
    return float(reach) or 1.0


def _fall(
    axes: Axes,
    base: str,
    label: str,
    before: float,
    steps: Sequence[tuple[str, float]],
    tell: Callable[[float], str],
    most: float,
    *,
    narrow: bool,
) -> None:
    at = before
    rectangles(axes, [(0, -0.36, before, 0.72)], TOTAL)
    _tell(axes, before, 0, tell(before), most)
    for place, (_, change) in enumerate(steps, 1):
        left, wide = min(at, at + change), abs(change)
        rectangles(axes, [(left, place - 0.36, wide, 0.72)], LESS if change < 0 else MORE)
        axes.plot([at, at], [place - 1 + 0.36, place - 0.36], color="#999999", linewidth=0.8)
        _tell(axes, left + wide, place, signed(tell(abs(change)), change), most)
        at += change
    last = len(steps) + 1
    axes.plot([at, at], [last - 1 + 0.36, last - 0.36], color="#999999", linewidth=0.8)
    rectangles(axes, [(0, last - 0.36, at, 0.72)], TOTAL)
    _tell(axes, at, last, tell(at), most)
    style.rows_only(axes, [base, *(name for name, _ in steps), label], 9)
    axes.set_xlim(0, most * (1.45 if narrow else 1.2))


def _tell(axes: Axes, x: float, place: int, text: str, most: float) -> None:
    axes.text(x + 0.012 * most, place, text, va="center", fontsize=8.5)


def hung_on(sums: Mapping[str, Mapping[str, float]], width: Width) -> Figure:
    """Draw what the last token of each run hung on: seconds of each kind of work, a bar per run."""
    order = dict.fromkeys(_HUNG_COLOURS, 0.0)
    for each in sums.values():
        for what, taken in each.items():
            order[what] = order.get(what, 0.0) + taken
    shown = [what for what in order if order[what] > 0]
    heads = [
        f"{label} {hung_name(next(iter(each)))} ({words.seconds(next(iter(each.values())))})"
        for label, each in sums.items()
    ]
    drawn, (axes,) = panels(
        width,
        f"What the last token hung on most: {words.listed(heads)}",
        [0.42 * len(sums)],
        left=label_room(sums, 9),
        entries=[(hung_name(what), _HUNG_COLOURS.get(what, "#999999")) for what in shown],
    )
    most = max(sum(each.values()) for each in sums.values()) or 1.0
    for place, each in enumerate(sums.values()):
        left = 0.0
        for what in shown:
            taken = each.get(what, 0.0)
            rectangles(
                axes, [(left, place - 0.36, taken, 0.72)], _HUNG_COLOURS.get(what, "#999999")
            )
            if taken > most * (0.16 if width.narrow else 0.09):
                dark = what in ("prefill", "decode", "kv_transfer")
                axes.text(
                    left + taken / 2,
                    place,
                    words.seconds(taken),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if dark else "#333333",
                )
            left += taken
    style.rows_only(axes, list(sums), 9)
    axes.set_xlim(0, most * 1.01)
    axes.set_xlabel("s, one after the other")
    return drawn


def requests(curve: pl.DataFrame, labels: Mapping[str, str], base: str, width: Width) -> Figure:
    """Draw the distribution of the differences of the same requests.  Frame: matched_curve."""
    colours = run_colours([base, *labels.values()])
    halves = []
    lines = {}
    for run, label in labels.items():
        rows = curve.filter(curve["run"].cast(str) == run)
        if rows.height:
            lines[label] = (rows["difference_s"].to_list(), (rows["share"] * 100).to_list())
            middle = lines[label][0][50]
            way = "faster" if middle <= 0 else "slower"
            halves.append(f"{label} {words.seconds(abs(middle))} {way}")
    drawn, (axes,) = panels(
        width,
        f"The same request against itself in {base}, median: {words.listed(halves)}",
        [2.3],
        entries=[(label, colours[label]) for label in lines],
    )
    for label, (change, share) in lines.items():
        axes.plot(change, share, color=colours[label], linewidth=1.8)
    axes.axvline(0, color="#999999", linewidth=0.8)
    axes.set_xlabel("change of end-to-end time, s (left of 0: faster)")
    axes.set_ylabel("requests, %")
    axes.set_ylim(0, 100)
    axes.grid(visible=True)
    return drawn
