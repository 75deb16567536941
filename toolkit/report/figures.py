"""Tables to figures: each function takes frames and returns a matplotlib Figure.

One question per figure, answered in its title.  Reading and saving happen
elsewhere.  Call inside `style.look()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.report import words
from toolkit.report.style import (
    CAUSE_COLOURS,
    PART_COLOURS,
    Width,
    figure,
    legend,
    run_colours,
    title,
)

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["cost", "e2e", "latency", "throughput", "timeline", "utilisation"]

Rows = list[dict[str, Any]]
Labels = Mapping[str, str]
"""Shown name of each run, in order."""

_ROW = 0.2  # inches of a stage's row
_MANY = 16  # stages of a run beyond which rows get thinner


def timeline(
    bars: pl.DataFrame, pipelines: pl.DataFrame, windows: pl.DataFrame, labels: Labels, width: Width
) -> Figure:
    """Draw what each stage did in a short stretch, a panel per run.

    Frames: the views timeline, timeline_pipelines and timeline_window.
    """
    stages = {run: _stages(_of(pipelines, run)) for run in labels}
    heights = [_rows_height(len(names)) for names in stages.values()]
    length = max((row["until_ns"] - row["from_ns"]) / 1e9 for row in windows.to_dicts())
    drawn = figure(
        width,
        sum(heights) + 0.55 * len(labels) + 0.6,
        f"What the stages do in {words.seconds(length)} where prompts meet decodes",
    )
    panels = drawn.subplots(len(labels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (run, label) in zip(panels, labels.items(), strict=True):
        _timeline_panel(
            axes, _of(bars, run).to_dicts(), _of(pipelines, run).to_dicts(), stages[run]
        )
        (window,) = _of(windows, run).to_dicts()
        axes.set_xlim(window["from_ns"] / 1e9, window["until_ns"] / 1e9)
        title(axes, label, run_colours(list(labels.values()))[label])
    panels[-1].set_xlabel("time since the start, s")
    legend(drawn, _part_entries(["prefill", "decode", "bubble"]), width)
    return drawn


def _timeline_panel(axes: Axes, bars: Rows, pipelines: Rows, stages: Sequence[str]) -> None:
    """Draw bars on rows; a bar of many small spans is as high as it is busy."""
    row = {name: at for at, name in enumerate(stages)}
    for back in pipelines:
        axes.barh(
            row[back["stage_name"]],
            back["until_s"] - back["from_s"],
            left=back["from_s"],
            height=0.86,
            color=PART_COLOURS["bubble"],
            linewidth=0,
        )
    for name in ("decode", "prefill", "other"):
        these = [bar for bar in bars if _part(bar["name"]) == name]
        heights = [
            0.86 * bar["busy_s"] / max(bar["until_s"] - bar["from_s"], 1e-12) for bar in these
        ]
        axes.bar(
            [bar["from_s"] for bar in these],
            heights,
            width=[bar["until_s"] - bar["from_s"] for bar in these],
            bottom=[
                row[bar["stage_name"]] + 0.43 - height
                for bar, height in zip(these, heights, strict=True)
            ],
            align="edge",
            color=PART_COLOURS[name],
            linewidth=[0.4 if bar["spans"] == 1 else 0 for bar in these] or 0,
            edgecolor="white",
        )
    axes.set_yticks(range(len(stages)), stages, fontsize=8 if len(stages) <= _MANY else 6)
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def utilisation(stages: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw what each stage did with the makespan, a panel per run.  Frame: utilisation."""
    groups = {run: _of(stages, run).to_dicts() for run in labels}
    heights = [_rows_height(len(rows)) for rows in groups.values()]
    busy = {
        label: _mean([row["utilisation"] for row in groups[run]]) for run, label in labels.items()
    }
    said = [f"{label} {words.share(value)}" for label, value in busy.items()]
    drawn = figure(
        width,
        sum(heights) + 0.5 * len(labels) + 0.7,
        f"Share of the makespan in which stages work: {words.listed(said)}",
    )
    panels = drawn.subplots(len(labels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (run, label) in zip(panels, labels.items(), strict=True):
        _utilisation_panel(axes, groups[run])
        title(axes, label, run_colours(list(labels.values()))[label])
    panels[-1].set_xlabel("share of the run's makespan, %")
    kept = ("prefill", "decode", "bubble", "waiting", "finished")
    shown = [p for p in kept if any(r[f"{p}_s"] > 0 for rows in groups.values() for r in rows)]
    legend(drawn, _part_entries(shown), width)
    return drawn


def _utilisation_panel(axes: Axes, rows: Rows) -> None:
    names = [row["stage_name"] for row in rows]
    places = range(len(rows))
    left = [0.0] * len(rows)
    for part in ("prefill", "decode", "bubble", "waiting", "finished"):
        values = [100 * row[f"{part}_s"] / (row["makespan_s"] or 1) for row in rows]
        axes.barh(places, values, left=left, height=0.8, color=PART_COLOURS[part], linewidth=0)
        left = [at + value for at, value in zip(left, values, strict=True)]
    for place, row in zip(places, rows, strict=True):
        work = 100 * row["utilisation"]
        if len(rows) <= _MANY:
            axes.text(
                max(work - 1, 5),
                place,
                f"{work:.0f}",
                va="center",
                ha="right",
                color="white",
                fontsize=7.5,
            )
    axes.set_yticks(places, names, fontsize=8 if len(rows) <= _MANY else 6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def latency(curve: pl.DataFrame, medians: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw which share of requests was at most so long.  Frames: latency_curve, latency_summary."""
    metrics = [("ttft", "time to first token"), ("e2e", "end-to-end time")]
    found = {(row["metric"], str(row["run"])): row["median_s"] for row in medians.to_dicts()}
    said = [f"{label} {words.seconds(found.get(('e2e', run)))}" for run, label in labels.items()]
    rows, columns = (2, 1) if width.narrow else (1, 2)
    drawn = figure(
        width,
        2.6 * rows + 0.4,
        f"Half of the requests are done after: {words.listed(said)}",
    )
    colours = run_colours(list(labels.values()))
    panels = drawn.subplots(rows, columns, squeeze=False).flatten()
    for axes, (metric, name) in zip(panels, metrics, strict=True):
        of_metric = curve.filter(curve["metric"] == metric)
        scale, unit = _second_scale(of_metric["value_s"].max())
        for run, label in labels.items():
            line = _of(of_metric, run)
            axes.plot(
                line["value_s"] / scale, line["share"] * 100, color=colours[label], linewidth=1.8
            )
        axes.set_xlabel(f"{name}, {unit}")
        axes.set_ylabel("requests, %")
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.grid(visible=True)
    legend(drawn, list(colours.items()), width)
    return drawn


def throughput(windows: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw output tokens per second over time.  Frame: throughput_windows."""
    colours = run_colours(list(labels.values()))
    peaks = []
    for run, label in labels.items():
        rows = _of(windows, run)
        mean = _weighted(rows["output_tokens_per_s"], rows["until_s"] - rows["from_s"])
        peaks.append(f"{label} {words.amount(mean)}")
    drawn = figure(width, 2.9, f"Output tokens per second, on average: {words.listed(peaks)}")
    axes = drawn.subplots()
    for run, label in labels.items():
        rows = _of(windows, run)
        edges = [*rows["from_s"].to_list(), rows["until_s"].to_list()[-1]] if len(rows) else [0, 0]
        axes.stairs(
            rows["output_tokens_per_s"].to_list() or [0],
            edges,
            color=colours[label],
            linewidth=1.6,
            fill=len(labels) == 1,
            alpha=0.85 if len(labels) == 1 else 1,
        )
    axes.set_xlabel("time since the start, s")
    axes.set_ylabel("output tokens/s")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(visible=True, axis="y")
    legend(drawn, list(colours.items()), width)
    return drawn


def cost(parts: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw what the paid machine time went into, a bar per run.  Frame: cost_parts."""
    rows = parts.to_dicts()
    priced = all(row["cost_usd"] is not None for row in rows)
    column, scale, unit = (
        ("cost_usd", 1.0, "US dollars")
        if priced
        else ("machine_s", 3600.0, "machine-hours (no price stated)")
    )
    work = {
        label: sum(
            row[column] / scale
            for row in rows
            if str(row["run"]) == run and row["part"] in ("bubble", "waiting", "finished")
        )
        for run, label in labels.items()
    }
    sign = "$" if priced else ""
    tail = "" if priced else " machine-hours"
    said = [f"{label} {sign}{words.amount(value)}{tail}" for label, value in work.items()]
    return _stacked(
        f"Paid for stages that stand still: {words.listed(said)}",
        {
            label: _summed(
                [row for row in rows if str(row["run"]) == run], words.PARTS, column, scale
            )
            for run, label in labels.items()
        },
        words.PARTS,
        PART_COLOURS,
        unit,
        width,
        lambda value: f"{sign}{words.amount(value)}",
    )


def e2e(parts: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw what a request's time goes into, on average, a bar per run.  Frame: e2e_parts."""
    rows = parts.to_dicts()
    scale, unit = _second_scale(max((_total(rows, run, "mean_s") for run in labels), default=1.0))
    own = {
        label: sum(row["share"] for row in rows if str(row["run"]) == run and row["part"] == "work")
        for run, label in labels.items()
    }
    said = [f"{label} {words.share(value)}" for label, value in own.items()]
    return _stacked(
        f"Share of its end-to-end time in which a request is worked on: {words.listed(said)}",
        {
            label: _summed(
                [row for row in rows if str(row["run"]) == run], words.CAUSES, "mean_s", scale
            )
            for run, label in labels.items()
        },
        words.CAUSES,
        CAUSE_COLOURS,
        f"mean end-to-end time of a request, {unit}",
        width,
        words.amount,
    )


def _stacked(
    heading: str,
    bars: Mapping[str, Mapping[str, float]],
    names: Mapping[str, str],
    colours: Mapping[str, str],
    axis: str,
    width: Width,
    tell: Callable[[float], str],
) -> Figure:
    """Draw a horizontal bar per run, its parts in the order of `names`, the larger ones told."""
    shown = [part for part in names if any(bar.get(part) for bar in bars.values())]
    legend_rows = -(-len(shown) // (2 if width.narrow else 4))
    drawn = figure(width, 0.42 * len(bars) + 0.7 + 0.2 * legend_rows, heading)
    axes = drawn.subplots()
    largest = max((sum(bar.values()) for bar in bars.values()), default=1.0) or 1.0
    for place, bar in enumerate(bars.values()):
        left = 0.0
        for part in shown:
            value = bar.get(part, 0.0)
            axes.barh(place, value, left=left, height=0.72, color=colours[part], linewidth=0)
            if value > largest * (0.16 if width.narrow else 0.075):
                dark = part in ("prefill", "decode", "work", "other", "transfer", "behind_prompt")
                axes.text(
                    left + value / 2,
                    place,
                    tell(value),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if dark else "#333333",
                )
            left += value
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, largest * 1.01)
    axes.set_xlabel(axis)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    legend(drawn, [(names[part], colours[part]) for part in shown], width)
    return drawn


def _of(frame: pl.DataFrame, run: str) -> pl.DataFrame:
    return frame.filter(frame["run"].cast(str) == run)


def _stages(pipelines: pl.DataFrame) -> list[str]:
    return list(dict.fromkeys(pipelines["stage_name"].to_list())) or ["stage"]


def _rows_height(rows: int) -> float:
    return max(rows, 1) * (_ROW if rows <= _MANY else _ROW * _MANY / rows + 0.04)


def _part(name: str) -> str:
    return name if name in ("prefill", "decode") else "other"


def _part_entries(parts: Sequence[str]) -> list[tuple[str, str]]:
    return [(words.PARTS[part], PART_COLOURS[part]) for part in parts]


def _summed(rows: Rows, names: Mapping[str, str], column: str, scale: float) -> dict[str, float]:
    return {part: sum(row[column] for row in rows if row["part"] == part) / scale for part in names}


def _total(rows: Rows, run: str, column: str) -> float:
    return float(sum(row[column] for row in rows if str(row["run"]) == run))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _weighted(values: pl.Series, weights: pl.Series) -> float | None:
    total = weights.sum()
    return float((values * weights).sum() / total) if total else None


def _second_scale(largest: Any) -> tuple[float, str]:
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if largest is not None and largest >= scale:
            return scale, unit
    return 1e-9, "ns"
