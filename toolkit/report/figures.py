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

__all__ = ["cost", "e2e", "latency", "throughput", "timeline", "utilisation"]

Rows = list[dict[str, Any]]
Labels = Mapping[str, str]
"""Shown name of each run, in order."""

_ROW = 0.2  # inches of a stage's row
_DARK = {"prefill", "decode", "mixed", "work", "other", "transfer", "behind_prompt"}
"""Parts on whose colour figures are written in white."""

_MANY = 16  # stages of a run beyond which rows get thinner


def timeline(
    bars: pl.DataFrame, pipelines: pl.DataFrame, windows: pl.DataFrame, labels: Labels, width: Width
) -> Figure:
    """Draw what each stage did in a short stretch, a panel per run.

    Frames: the views timeline, timeline_pipelines and timeline_window.  Links
    that carry KV caches have rows of their own.
    """
    stages = {run: _rows_of(_of(bars, run), _of(pipelines, run)) for run in labels}
    spans = {
        str(row["run"]): (row["from_ns"] / 1e9, row["until_ns"] / 1e9) for row in windows.to_dicts()
    }
    said = [
        f"{label} {words.share(_worked(_of(bars, run), len(stages[run]), spans[run]))}"
        for run, label in labels.items()
    ]
    parts = [
        part
        for part in ("prefill", "decode", "mixed", "kv_transfer", "bubble")
        if part == "bubble" or part in bars["name"].to_list()
    ]
    length = max(until - since for since, until in spans.values())
    drawn, axes = panels(
        width,
        f"Where prompts meet decodes, in {words.seconds(length)} stages work: {words.listed(said)}",
        [_rows_height(len(names)) for names in stages.values()],
        left=label_room(name for names in stages.values() for name in names),
        entries=_part_entries(parts),
        named=True,
    )
    for panel, (run, label) in zip(axes, labels.items(), strict=True):
        panel.set_xlim(*spans[run])
        _timeline_panel(
            panel, _of(bars, run).to_dicts(), _of(pipelines, run).to_dicts(), stages[run]
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
    for part in ("decode", "prefill", "mixed", "kv_transfer", "other"):
        boxes: dict[bool, list[tuple[float, float, float, float]]] = {True: [], False: []}
        for bar in bars:
            if _part(bar["name"]) == part:
                wide = bar["until_s"] - bar["from_s"]
                high = 0.86 * bar["busy_s"] / max(wide, 1e-12)
                box = (bar["from_s"], row[bar["stage_name"]] + 0.43 - high, wide, high)
                boxes[bar["spans"] == 1 and wide > seen].append(box)
        rectangles(axes, boxes[False], PART_COLOURS[part])
        rectangles(axes, boxes[True], PART_COLOURS[part], edge=0.6)
    rows_only(axes, stages, 8 if len(stages) <= _MANY else 6)


def _rows_of(bars: pl.DataFrame, pipelines: pl.DataFrame) -> list[str]:
    """Return the rows of a run's panel: prompt stages, links, token stages, as the views order."""
    place = {
        row["stage_name"]: (row["place"], row["rank"], row["track"])
        for frame in (pipelines, bars)
        for row in frame.select("stage_name", "place", "rank", "track").unique().to_dicts()
    }
    return sorted(place, key=lambda name: place[name]) or ["no stage"]


def _worked(bars: pl.DataFrame, rows: int, span: tuple[float, float]) -> float:
    """Return the share of the shown time of a run's stages that is work."""
    work = bars.filter(bars["name"] != "kv_transfer")
    stages = rows - bars.filter(bars["name"] == "kv_transfer")["stage_name"].n_unique()
    return float(work["busy_s"].sum()) / (max(stages, 1) * (span[1] - span[0]) or 1)


def utilisation(stages: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw what each stage did with the makespan, a panel per run.  Frame: utilisation."""
    groups = {run: _of(stages, run).to_dicts() for run in labels}
    said = [
        f"{label} {words.share(_mean([row['utilisation'] for row in groups[run]]))}"
        for run, label in labels.items()
    ]
    kept = ("prefill", "decode", "mixed", "bubble", "waiting", "finished")
    shown = [p for p in kept if any(r[f"{p}_s"] > 0 for rows in groups.values() for r in rows)]
    drawn, axes = panels(
        width,
        f"Share of the makespan in which stages work: {words.listed(said)}",
        [_rows_height(len(rows)) for rows in groups.values()],
        left=label_room(row["stage_name"] for rows in groups.values() for row in rows),
        between=0.34,
        named=True,
        entries=_part_entries(shown),
    )
    for panel, (run, label) in zip(axes, labels.items(), strict=True):
        _utilisation_panel(panel, groups[run], shown)
        panel.tick_params(axis="x", labelbottom=panel is axes[-1])
        title(panel, label, run_colours(list(labels.values()))[label])
    axes[-1].set_xlabel("share of the run's makespan, %")
    return drawn


def _utilisation_panel(axes: Axes, rows: Rows, parts: Sequence[str]) -> None:
    left = [0.0] * len(rows)
    for part in parts:
        values = [100 * row[f"{part}_s"] / (row["makespan_s"] or 1) for row in rows]
        boxes = [(left[at], at - 0.4, value, 0.8) for at, value in enumerate(values)]
        rectangles(axes, boxes, PART_COLOURS[part])
        left = [at + value for at, value in zip(left, values, strict=True)]
    for place, row in enumerate(rows):
        work = 100 * row["utilisation"]
        if len(rows) <= _MANY and work > 6:
            axes.text(
                work - 1, place, f"{work:.0f}", va="center", ha="right", color="white", fontsize=7.5
            )
    rows_only(axes, [row["stage_name"] for row in rows], 8 if len(rows) <= _MANY else 6)
    axes.set_xlim(0, 100)


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
            line = _of(of_metric, run)
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
        rows = _of(windows, run)
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
    still = {
        label: sum(
            row[column] / scale
            for row in rows
            if str(row["run"]) == run and row["part"] in ("bubble", "waiting", "finished")
        )
        for run, label in labels.items()
    }
    tell = words.dollars if priced else words.amount
    tail = "" if priced else " machine-hours"
    said = [f"{label} {tell(value)}{tail}" for label, value in still.items()]
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
        tell,
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
                dark = part in _DARK
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


def _of(frame: pl.DataFrame, run: str) -> pl.DataFrame:
    return frame.filter(frame["run"].cast(str) == run)


def _rows_height(rows: int) -> float:
    return max(rows, 1) * (_ROW if rows <= _MANY else _ROW * _MANY / rows + 0.04)


def _part(name: str) -> str:
    return name if name in ("prefill", "decode", "mixed", "kv_transfer") else "other"


def _part_entries(parts: Sequence[str]) -> list[tuple[str, str]]:
    return [(words.PARTS.get(part, "KV cache on a link"), PART_COLOURS[part]) for part in parts]


def _summed(rows: Rows, names: Mapping[str, str], column: str, scale: float) -> dict[str, float]:
    return {part: sum(row[column] for row in rows if row["part"] == part) / scale for part in names}


def _total(rows: Rows, run: str, column: str) -> float:
    return float(sum(row[column] for row in rows if str(row["run"]) == run))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _weighted(values: pl.Series, weights: pl.Series) -> float | None:
    total = float(weights.sum())
    return float((values * weights).sum()) / total if total else None


def _second_scale(largest: Any) -> tuple[float, str]:
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if largest is not None and largest >= scale:
            return scale, unit
    return 1e-9, "ns"
