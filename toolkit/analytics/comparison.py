"""What changed between runs: the scenario's keys, every metric, the same requests, time and money.

Differences and ratios are rows of views (`metric_changes`, `matched_changes`,
`spending_changes`); which runs are seeds of one deployment says
the view `sides`.  What is computed here is what no view can say: which keys
differ, and how far seeds let a difference be trusted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.analytics.critical_path import Piece, critical_path
from toolkit.analytics.run import SHARED, Run
from toolkit.analytics.run import open as open_runs
from toolkit.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Changed", "Comparison", "Side", "compare"]

Row = Mapping[str, Any]

VIEWS = {
    "sides": "ordinal",
    "runs": "ordinal",
    "run_totals": "run",
    "metrics": "run, rank",
    "metric_changes": "side, rank",
    "matched_changes": "side, metric DESC",
    "matched_curve": "side, share",
    "spending_changes": "side, abs(difference_s) DESC, cause",
}
"""Views a comparison reads, and the order of their rows."""

KEPT = (*SHARED, *VIEWS, "matched_requests", "stage_spending")
"""Views that several others read, computed once."""

WORDS = frozenset(
    {
        "name",
        "title",
        "question",
        "variant",
        "schema_version",
        "trace",
        "report",
        "replications",
        "capacity",
    }
)
"""Parts of a scenario that change nothing about what happens."""

RESAMPLES = 2000
CONFIDENCE = 0.95

_LAST = """
    FROM requests WHERE run = $run AND outcome = 'served' ORDER BY finish_ns DESC, request LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One deployment: its runs (one for each seed), the first of which speaks for it."""

    number: int
    label: str
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    manifest: Row
    path: str

    @property
    def run(self) -> str:
        """Name of its first run."""
        return self.runs[0]


@dataclass(frozen=True, slots=True)
class Changed:
    """A key of the scenario with its value on each side; None where it is not stated."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that is said about runs side by side; the first side is what others differ from.

    ``intervals`` are (low, high) of a metric's difference by (side, metric),
    where several seeds allow one.  ``hung_on`` is, by side, what the end of its
    first run hung on (seconds by kind of work, from 0 to the makespan), empty
    where the trace does not tell.
    """

    sides: Sequence[Side]
    changed: Sequence[Changed]
    frames: Mapping[str, pl.DataFrame]
    intervals: Mapping[tuple[int, str], tuple[float, float]]
    hung_on: Sequence[Mapping[str, float]]

    def __getitem__(self, view: str) -> pl.DataFrame:
        return self.frames[view]

    def rows(self, view: str, side: Side) -> list[dict[str, Any]]:
        """Return a view's rows of a side's first run."""
        frame = self.frames[view]
        return frame.filter(frame["run"].cast(str) == side.run).to_dicts()

    def metric(self, side: Side, name: str) -> dict[str, Any]:
        """Return one metric of a side beside the first one's; all None where no run has it."""
        unknown = dict.fromkeys(("value", "base_value", "difference", "ratio"))
        rows = self.rows("metric_changes", side)
        return next((row for row in rows if row["metric"] == name), {"metric": name, **unknown})

    def _others(self, view: str) -> list[dict[str, Any]]:
        rows = self.frames[view].to_dicts()
        return [row | {"run": str(row["run"])} for row in rows if row["side"] > 0]

    def as_json(self) -> dict[str, Any]:
        """Return everything as one object."""
        return {
            "sides": [
                {"side": it.number, "label": it.label, "runs": it.runs, "seeds": it.seeds}
                for it in self.sides
            ],
            "changed": [{"key": it.key, "values": it.values} for it in self.changed],
            "metrics": [
                row | {"interval": self.intervals.get((row["side"], row["metric"]))}
                for row in self._others("metric_changes")
            ],
            "same_requests": self._others("matched_changes"),
            "spending": self._others("spending_changes"),
            "hung_on_s": [dict(it) for it in self.hung_on],
        }


def compare(paths: Sequence[Path | str]) -> Comparison:
    """Compare runs on disk; the first one's side is what the others differ from.

    Raises:
        InputError: there are fewer than two, or one of them cannot be read.
    """
    if len(paths) < 2:
        raise InputError.one("toolkit compare", "", "expected at least two traces", str(len(paths)))
    with open_runs(paths, kept=KEPT) as run:
        frames = {view: run.frame(f"FROM {view} ORDER BY {by}") for view, by in VIEWS.items()}
        _require_served(run, frames["run_totals"])
        sides = _sides(run, frames)
        hung = [_hung_on(run, side.run) for side in sides]
    frames["hung_on"] = _as_frame(sides, hung)
    return Comparison(
        sides=sides,
        changed=_changed(sides),
        frames=frames,
        intervals=dict(_intervals(sides, frames["metrics"])),
        hung_on=hung,
    )


def _require_served(run: Run, totals: pl.DataFrame) -> None:
    for row in totals.to_dicts():
        if not row["requests"]:
            store = run.stores[run.names.index(str(row["run"]))]
            raise InputError.one(
                str(store.folder), "", "expected a run that served a request", "none"
            )


def _sides(run: Run, frames: Mapping[str, pl.DataFrame]) -> list[Side]:
    manifests = dict(zip(run.names, run.stores, strict=True))
    labels = dict(zip(frames["runs"]["run"].cast(str), frames["runs"]["label"], strict=True))
    grouped: dict[int, list[dict[str, Any]]] = {}
    for row in frames["sides"].to_dicts():
        grouped.setdefault(row["side"], []).append(row)
    firsts = [str(rows[0]["run"]) for _, rows in sorted(grouped.items())]
    unique = len({labels[first] for first in firsts}) == len(firsts)
    return [
        Side(
            number=number,
            label=labels[first] if unique else f"{labels[first]} ({number + 1})",
            runs=tuple(str(row["run"]) for row in grouped[number]),
            seeds=tuple(row["seed"] for row in grouped[number]),
            manifest=manifests[first].manifest,
            path=str(manifests[first].folder),
        )
        for number, first in enumerate(firsts)
    ]


def _changed(sides: Sequence[Side]) -> list[Changed]:
    """Return the keys whose values differ: kinds first, then those that every side states."""
    flat = [dict(_flat(side.manifest.get("scenario") or {})) for side in sides]
    keys = dict.fromkeys(key for each in flat for key in each)
    several = any(len(side.runs) > 1 for side in sides)
    found = []
    for key in keys:
        if key.split(".")[0] in WORDS or (several and key == "workload.seed"):
            continue
        values = tuple(each.get(key) for each in flat)
        if len({json.dumps(value, sort_keys=True) for value in values}) > 1:
            found.append(Changed(key, values))
    return sorted(found, key=lambda it: (not it.key.endswith(".kind"), None in it.values))


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _hung_on(run: Run, name: str) -> dict[str, float]:
    """Return the seconds of each kind of work on the chain that a run's end hung on."""
    store = run.stores[run.names.index(name)]
    if store.manifest.get("level", "full") != "full" or "source" in store.manifest:
        return {}
    (last,) = run.frame(_LAST, run=name).to_dicts()
    sums: dict[str, float] = {}
    for piece in critical_path(run, name, last | {"arrival_ns": 0}):
        what = _kind(piece)
        sums[what] = sums.get(what, 0) + piece.dur_ns / 1e9
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _as_frame(sides: Sequence[Side], hung: Sequence[Mapping[str, float]]) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - a tenth of a second, only where something is compared

    rows = [
        (side.run, side.label, what, seconds)
        for side, each in zip(sides, hung, strict=True)
        for what, seconds in each.items()
    ]
    return pl.DataFrame(rows, ["run", "label", "what", "hung_on_s"], orient="row")


def _kind(piece: Piece) -> str:
    return "arrival" if piece.what == "packing" else piece.sort


def _intervals(
    sides: Sequence[Side], metrics: pl.DataFrame
) -> Iterator[tuple[tuple[int, str], tuple[float, float]]]:
    """Yield bootstrap intervals of the difference of each metric, for sides of several seeds.

    Runs are drawn again with replacement, from a fixed seed: pairs of runs of
    the same seed where both sides have the same seeds (what the seed does to
    both cancels out), else each side for itself.  The interval is that of
    percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13); of two or three seeds it is too narrow.
    """
    wide = {
        (str(row["run"]), row["metric"]): row["value"]
        for row in metrics.to_dicts()
        if row["value"] is not None
    }
    names = metrics["metric"].unique(maintain_order=True).to_list()
    base = sides[0]
    for side in sides[1:]:
        if len(base.runs) < 2 or len(side.runs) < 2:
            continue
        random = np.random.default_rng(0)
        paired = sorted(map(str, base.seeds)) == sorted(map(str, side.seeds))
        of_base, of_side = _by_seed(base), _by_seed(side)
        drawn = random.integers(len(of_base), size=(RESAMPLES, len(of_base)))
        other = drawn if paired else random.integers(len(of_side), size=(RESAMPLES, len(of_side)))
        for name in names:
            before = [wide.get((run, name)) for run in of_base]
            after = [wide.get((run, name)) for run in of_side]
            if None in before or None in after:
                continue
            means = np.asarray(after, float)[other].mean(1) - np.asarray(before, float)[drawn].mean(
                1
            )
            tail = (1 - CONFIDENCE) / 2
            low, high = np.quantile(means, [tail, 1 - tail])
            yield (side.number, name), (float(low), float(high))


def _by_seed(side: Side) -> list[str]:
    """Return a side's runs in the order of their seeds."""
    return [run for _, run in sorted(zip(map(str, side.seeds), side.runs, strict=True))]
