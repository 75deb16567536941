"""The ledgers as figures: stages by cause, roles over time, dollars by cause.

Each takes frames and returns a matplotlib Figure; call inside `style.look()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.report import words
from toolkit.report.figures import MANY, rows_height, rows_of, stacked
from toolkit.report.style import (
    LEDGER_COLOURS,
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

__all__ = ["cost", "over_time", "stages"]

Labels = Mapping[str, str]

WORK = ("prefill", "decode", "mixed", "other")


def stages(ledger: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw what each stage did with the makespan, a panel per run.  Frame: time_ledger."""
    found = ledger.filter(ledger["kind"] == "stage")
    groups = {run: _by_track(rows_of(found, run).to_dicts()) for run in labels}
    said = [f"{label} {words.share(_worked(groups[run]))}" for run, label in labels.items()]
    shown = _shown(found["cause"].to_list())
    drawn, axes = panels(
        width,
        f"Share of the makespan in which stages work: {words.listed(said)}",
        [rows_height(len(rows)) for rows in groups.values()],
        left=label_room(name for rows in groups.values() for name, _ in rows),
        between=0.34,
        named=True,
        entries=[(words.LEDGER[cause], LEDGER_COLOURS[cause]) for cause in shown],
    )
    for panel, (run, label) in zip(axes, labels.items(), strict=True):
        _stages_panel(panel, groups[run], shown)
        panel.tick_params(axis="x", labelbottom=panel is axes[-1])
        title(panel, label, run_colours(list(labels.values()))[label])
    axes[-1].set_xlabel("share of the run's makespan, %")
    return drawn


Tracks = Sequence[tuple[str, Mapping[str, float]]]


def _by_track(rows: Sequence[Mapping[str, Any]]) -> Tracks:
    """Return each track's name and its time by cause, as shares, in the order of tracks."""
    tracks: dict[tuple[int, str], dict[str, float]] = {}
    for row in rows:
        tracks.setdefault((row["track"], row["track_name"]), {})[row["cause"]] = row["dur_ns"]
    return [
        (name, {cause: dur / sum(causes.values()) for cause, dur in causes.items()})
        for (_, name), causes in sorted(tracks.items())
    ]


def _worked(tracks: Tracks) -> float:
    shares = [sum(causes.get(name, 0.0) for name in WORK) for _, causes in tracks]
    return sum(shares) / len(shares) if shares else 0.0


def _stages_panel(axes: Axes, tracks: Tracks, shown: Sequence[str]) -> None:
    left = [0.0] * len(tracks)
    for cause in shown:
        values = [100 * causes.get(cause, 0.0) for _, causes in tracks]
        boxes = [(left[at], at - 0.4, value, 0.8) for at, value in enumerate(values) if value]
        rectangles(axes, boxes, LEDGER_COLOURS[cause])
        left = [at + value for at, value in zip(left, values, strict=True)]
    for place, (_, causes) in enumerate(tracks):
        work = 100 * sum(causes.get(name, 0.0) for name in WORK)
        if len(tracks) <= MANY and work > 6:
            axes.text(
                work - 1, place, f"{work:.0f}", va="center", ha="right", color="white", fontsize=7.5
            )
    rows_only(axes, [name for name, _ in tracks], 8 if len(tracks) <= MANY else 6)
    axes.set_xlim(0, 100)


def over_time(windows: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw what the stages of each role did, window by window.  Frame: time_ledger_windows."""
    found = windows.filter(windows["kind"] == "stage")
    groups = {
        (run, role): rows.filter(rows["role"] == role)
        for run in labels
        for rows in [rows_of(found, run)]
        for role in rows["role"].unique(maintain_order=True).to_list()
    }
    shown = _shown(found["cause"].to_list())
    said = [f"{label} {_largest_loss(rows_of(found, run))}" for run, label in labels.items()]
    drawn, axes = panels(
        width,
        f"Over time, stages stand still most for: {words.listed(said)}",
        [0.95] * len(groups),
        left=0.6,
        between=0.34,
        named=True,
        entries=[(words.LEDGER[cause], LEDGER_COLOURS[cause]) for cause in shown],
    )
    latest = max(found["until_s"].to_list(), default=1.0)
    for panel, ((run, role), rows) in zip(axes, groups.items(), strict=True):
        _window_panel(panel, rows.to_dicts(), shown, latest)
        panel.tick_params(axis="x", labelbottom=panel is axes[-1])
        name = labels[run] if role == "colocated" else f"{labels[run]}, {role} stages"
        title(panel, name, run_colours(list(labels.values()))[labels[run]])
    axes[-1].set_xlabel("time since the start, s")
    return drawn


def _largest_loss(windows: pl.DataFrame) -> str:
    lost: dict[str, float] = {}
    for row in windows.to_dicts():
        if row["cause"] not in WORK:
            lost[row["cause"]] = lost.get(row["cause"], 0.0) + row["dur_s"]
    return words.LEDGER[max(lost, key=lambda cause: lost[cause])] if lost else "nothing"


def _window_panel(
    axes: Axes, rows: Sequence[Mapping[str, Any]], shown: Sequence[str], latest: float
) -> None:
    """Stack the shares of each window; one rectangle for a cause in a window."""
    boxes: dict[str, list[tuple[float, float, float, float]]] = {cause: [] for cause in shown}
    tops: dict[float, float] = {}
    for row in sorted(rows, key=lambda row: shown.index(row["cause"])):
        since, share = row["from_s"], 100 * row["share"]
        bottom = tops.get(since, 0.0)
        # A little into the next window, or a renderer shows seams.
        wide = 1.02 * (row["until_s"] - since)
        boxes[row["cause"]].append((since, bottom, wide, share))
        tops[since] = bottom + share
    for cause, pieces in boxes.items():
        rectangles(axes, pieces, LEDGER_COLOURS[cause])
    axes.set_xlim(0, latest)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])


def cost(uses: pl.DataFrame, labels: Labels, width: Width) -> Figure:
    """Draw what the paid machine time went into, a bar per run.  Frame: cost_uses."""
    rows = uses.to_dicts()
    priced = all(row["cost_usd"] is not None for row in rows)
    column, scale, unit = (
        ("cost_usd", 1.0, "US dollars")
        if priced
        else ("machine_s", 3600.0, "machine-hours (no price stated)")
    )
    bars = {label: _by_cause(rows, run, column, scale) for run, label in labels.items()}
    tell = words.dollars if priced else words.amount
    tail = "" if priced else " machine-hours"
    lost = {
        label: sum(value for cause, value in bar.items() if cause not in WORK)
        for label, bar in bars.items()
    }
    said = [f"{label} {tell(value)}{tail}" for label, value in lost.items()]
    return stacked(
        f"Paid for stages that stand still: {words.listed(said)}",
        bars,
        words.LEDGER,
        LEDGER_COLOURS,
        unit,
        width,
        tell,
    )


def _by_cause(
    rows: Sequence[Mapping[str, Any]], run: str, column: str, scale: float
) -> dict[str, float]:
    added: dict[str, float] = {}
    for row in rows:
        if str(row["run"]) == run:
            added[row["cause"]] = added.get(row["cause"], 0.0) + row[column] / scale
    return added


def _shown(causes: Sequence[str]) -> list[str]:
    found = set(causes)
    return [cause for cause in words.LEDGER if cause in found]
