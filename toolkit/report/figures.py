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
    label_room,
    panels,
    rectangles,
    rows_only,
    run_colours,
    title,
)

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MANY",
    "e2e",
    "latency",
    "load",
    "rows_height",
    "rows_of",
    "stacked",
    "throughput",
    "timeline",
]

Rows = list[dict[str, Any]]
Labels = Mapping[str, str]
"""Shown name of each run, in order."""

_ROW = 0.2  # inches of a stage's row
MANY = 16
"""Stages of a run beyond which rows get thinner."""


DOWN = ("lost", "failed", "starting")
"""What failures make of a stage: work undone, and a machine that is down."""

DARK = frozenset(
    {"prefill", "decode", "mixed", "work", "other", "transfer", "behind_prompt", "failed"}
)
"""Parts whose colour asks for white letters."""


def timeline(
    bars: pl.DataFrame, pipelines: pl.DataFrame, windows: pl.DataFrame, labels: Labels, width: Width
) -> Figure:
    """Draw what each stage did in a short stretch, a panel per run.

    Frames: the views timeline, timeline_pipelines and timeline_window.  Links
    that carry KV caches have rows of their own.
    """
    stages = {run: _stages_of(rows_of(bars, run), rows_of(pipelines, run)) for run in labels}
    spans = {
        str(row["run"]): (row["from_ns"] / 1e9, row["until_ns"] / 1e9) for row in windows.to_dicts()
    }
    said = [
        f"{label} {words.share(_worked(rows_of(bars, run), len(stages[run]), spans[run]))}"
        for run, label in labels.items()
    ]
    parts = [
        part
        for part in ("prefill", "decode", "mixed", "other", *DOWN, "kv_transfer", "bubble")
        if part in bars["name"].to_list() or (part == "bubble" and pipelines.height)
    ]
    length = max(until - since for since, until in spans.values())
    meet = {"prefill", "decode"} <= set(bars["name"].to_list())
    where = "Where prompts meet decodes, in" if meet else "In"
    drawn, axes = panels(
        width,
        f"{where} {words.seconds(length)} stages work: {words.listed(said)}",
        [rows_height(len(names)) for names in stages.values()],
        left=label_room(name for names in stages.values() for name in names),
        entries=_part_entries(parts),
        named=True,
    )
    for panel, (run, label) in zip(axes, labels.items(), strict=True):
        since, until = spans[run]
        panel.set_xlim(since, max(until, since + 1e-9))
        _timeline_panel(
            panel, rows_of(bars, run).to_dicts(), rows_of(pipelines, run).to_dicts(), stages[run]
        )
        title(panel, label, run_colours(list(labels.values()))[label])
    axes[-1].set_xlabel("time since the start, s")
    return drawn


def _timeline_panel(axes: Axes, bars: Rows, pipelines: Rows, stages: Sequence[str]) -> None:
    """Draw bars on rows; a bar of many small spans is as high as it is busy."""
    row = {name: at for at, name in enumerate(stages)}
    since, until = axes.get_xlim()
    seen = (until - since) / 60
    rectangles(
        axes,
        [
            (back["from_s"], row[back["stage_name"]] - 0.43, back["until_s"] - back["from_s"], 0.86)
            for back in pipelines
        ],
        PART_COLOURS["bubble"],
    )
    for part in ("decode", "prefill", "mixed", "kv_transfer", "other", *DOWN):
        boxes: dict[bool, list[tuple[float, float, float, float]]] = {True: [], False: []}
        for bar in bars:
            if _part(bar["name"]) == part:
                wide = bar["until_s"] - bar["from_s"]
                high = 0.86 * bar["busy_s"] / max(wide, 1e-12)
                box = (bar["from_s"], row[bar["stage_name"]] + 0.43 - high, wide, high)
                boxes[bar["spans"] == 1 and wide > seen].append(box)
        rectangles(axes, boxes[False], PART_COLOURS[part])
        rectangles(axes, boxes[True], PART_COLOURS[part], edge=0.6)
    rows_only(axes, stages, 8 if len(stages) <= MANY else 6)


def _stages_of(bars: pl.DataFrame, pipelines: pl.DataFrame) -> list[str]:
    """Return the rows of a run's panel: prompt stages, links, token stages, as the views order."""
    place = {
        row["stage_name"]: (row["place"], row["rank"], row["track"])
        for frame in (pipelines, bars)
        for row in frame.select("stage_name", "place", "rank", "track").unique().to_dicts()
    }
    return sorted(place, key=lambda name: place[name]) or ["no stage"]


def _worked(bars: pl.DataFrame, rows: int, span: tuple[float, float]) -> float:
    """Return the share of the shown time of a run's stages that is work."""
    work = bars.filter(~bars["name"].is_in(("kv_transfer", *DOWN)))
    stages = rows - bars.filter(bars["name"] == "kv_transfer")["stage_name"].n_unique()
    return float(work["busy_s"].sum()) / (max(stages, 1) * (span[1] - span[0]) or 1)


def latency(curve: pl.DataFrame, medians: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw which share of requests was at most so long.  Frames: latency_curve, latency_summary."""
    metrics = [("ttft", "time to first token"), ("e2e", "end-to-end time")]
    found = {(row["metric"], str(row["run"])): row["median_s"] for row in medians.to_dicts()}
    said = [f"{label} {words.seconds(found.get(('e2e', run)))}" for run, label in labels.items()]
    colours = run_colours(list(labels.values()))
    drawn, all_axes = panels(
        width,
        f"Half of the requests are done after: {words.listed(said)}",
        [2.3, 2.3] if width.narrow else [2.4],
        columns=1 if width.narrow else 2,
        entries=list(colours.items()),
    )
    for axes, (metric, name) in zip(all_axes, metrics, strict=True):
        of_metric = curve.filter(curve["metric"] == metric)
        scale, unit = _second_scale(of_metric["value_s"].max())
        for run, label in labels.items():
            line = rows_of(of_metric, run)
            axes.plot(
                line["value_s"] / scale, line["share"] * 100, color=colours[label], linewidth=1.8
            )
        axes.set_xlabel(f"{name}, {unit}")
        axes.set_ylabel("requests, %")
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.grid(visible=True)
    return drawn


def throughput(windows: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw output tokens per second over time.  Frame: throughput_windows."""
    colours = run_colours(list(labels.values()))
    peaks = []
    for run, label in labels.items():
        rows = rows_of(windows, run).drop_nulls("output_tokens_per_s")
        mean = _weighted(rows["output_tokens_per_s"], rows["until_s"] - rows["from_s"])
        peaks.append(f"{label} {words.amount(mean)}")
    drawn, (axes,) = panels(
        width,
        f"Output tokens per second, on average: {words.listed(peaks)}",
        [2.4],
        left=0.75,
        entries=list(colours.items()),
    )
    for run, label in labels.items():
        rows = rows_of(windows, run).drop_nulls("output_tokens_per_s")
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
    return drawn


def load(windows: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw how many requests waited, and how many were served, over time.  Frame: load_windows."""
    colours = run_colours(list(labels.values()))
    most = [
        f"{label} {max(rows_of(windows, run)['queued_max'].drop_nulls().to_list(), default=0):,}"
        for run, label in labels.items()
        if rows_of(windows, run)["queued_max"].count()
    ]
    heading = (
        f"Most requests waiting at once: {words.listed(most)}"
        if most
        else "How many requests were served at once"
    )
    drawn, axes = panels(
        width,
        heading,
        [1.6, 1.6],
        left=0.75,
        entries=list(colours.items()),
    )
    panes = (("queued_mean", "waiting"), ("in_flight_mean", "being served"))
    for pane, (column, name) in zip(axes, panes, strict=True):
        for run, label in labels.items():
            rows = rows_of(windows, run).drop_nulls(column)
            ends = (
                [*rows["from_s"].to_list(), rows["until_s"].to_list()[-1]] if len(rows) else [0, 0]
            )
            values = rows[column].to_list() or [0]
            alone = len(labels) == 1
            pane.stairs(
                values,
                ends,
                color=colours[label],
                linewidth=1.6,
                fill=alone,
                alpha=0.85 if alone else 1,
            )
        pane.set_ylabel(name)
        pane.set_ylim(bottom=0)
        pane.set_xlim(left=0)
        pane.grid(visible=True, axis="y")
    axes[-1].set_xlabel("time since the start, s")
    return drawn


def e2e(parts: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw what a request's time goes into, on average, a bar per run.  Frame: e2e_parts."""
    rows = parts.to_dicts()
    scale, unit = _second_scale(max((_total(rows, run, "mean_s") for run in labels), default=1.0))
    own = {
        label: sum(
            row["share"]
            for row in rows
            if str(row["run"]) == run and row["part"] in ("work", "unsplit")
        )
        for run, label in labels.items()
    }
    unsplit = any(row["part"] == "unsplit" for row in rows)
    said = [f"{label} {words.share(value)}" for label, value in own.items()]
    heading = (
        "Share of its end-to-end time after a request was taken up"
        if unsplit
        else "Share of its end-to-end time in which a request is worked on"
    )
    return stacked(
        f"{heading}: {words.listed(said)}",
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


def stacked(
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
    drawn, (axes,) = panels(
        width,
        heading,
        [0.42 * len(bars)],
        left=label_room(bars, 9),
        entries=[(names[part], colours[part]) for part in shown],
    )
    largest = max((sum(bar.values()) for bar in bars.values()), default=1.0) or 1.0
    for place, bar in enumerate(bars.values()):
        left = 0.0
        for part in shown:
            value = bar.get(part, 0.0)
            rectangles(axes, [(left, place - 0.36, value, 0.72)], colours[part])
            if value > largest * (0.16 if width.narrow else 0.075):
                dark = part in DARK
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
    rows_only(axes, list(bars), 9)
    axes.set_xlim(0, largest * 1.01)
    axes.set_xlabel(axis)
    return drawn


def rows_of(frame: pl.DataFrame, run: str) -> pl.DataFrame:
    """Return the rows of one run."""
    return frame.filter(frame["run"].cast(str) == run)


def rows_height(rows: int) -> float:
    """Return the inches that so many rows take; many are thinner."""
    return max(rows, 1) * (_ROW if rows <= MANY else _ROW * MANY / rows + 0.04)


def _part(name: str) -> str:
    return name if name in ("prefill", "decode", "mixed", *DOWN, "kv_transfer") else "other"


def _part_entries(parts: Sequence[str]) -> list[tuple[str, str]]:
    known = words.LEDGER | words.PARTS | {"kv_transfer": "KV cache on a link"}
    return [(known[part], PART_COLOURS[part]) for part in parts]


def _summed(rows: Rows, names: Mapping[str, str], column: str, scale: float) -> dict[str, float]:
    return {part: sum(row[column] for row in rows if row["part"] == part) / scale for part in names}


def _total(rows: Rows, run: str, column: str) -> float:
    return float(sum(row[column] for row in rows if str(row["run"]) == run))


def _weighted(values: pl.Series, weights: pl.Series) -> float | None:
    total = float(weights.sum())
    return float((values * weights).sum()) / total if total else None


def _second_scale(largest: Any) -> tuple[float, str]:
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if largest is not None and largest >= scale:
            return scale, unit
    return 1e-9, "ns"
