"""A finished sweep on a terminal, and as an object for ``--json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit import tables
from toolkit.planner.results import Winner
from toolkit.planner.sweep import Swept
from toolkit.planner.sweep_report import BESIDE, RESULTS, headline, metric_words, shown_value

__all__ = ["summary", "terminal"]


def terminal(swept: Swept, *, page: bool = True) -> Iterator[str]:
    """Yield the answer, the winners and where everything is, line by line."""
    results = swept.results
    played = sum(row["status"] == "done" for row in results.rows)
    yield f"{headline(results)}\n"
    yield f"{played} of {len(results.rows)} points were played; the others do not fit.\n\n"
    winners = results.winners()
    by = list(results.goal.by)
    chosen = [each for each in results.settings.values() if each not in by]
    metric = results.goal.metric
    beside = [each for each in ("makespan_s", *BESIDE[: 1 + _is_rate(metric)]) if each != metric]
    named = bool(results.families[0])
    header = ["family"] * named + [
        *by,
        *chosen,
        *(metric_words(each) for each in (metric, *beside)),
        "point",
    ]
    rows = []
    for winner in winners:
        row = winner.row or {}
        cells = [winner.family] * named
        cells += [str(winner.group.get(column, "all")) for column in by]
        cells += ["" if row.get(column) is None else str(row[column]) for column in chosen]
        shown = [shown_value(metric, winner.value) if row else "nothing fits"]
        shown += [shown_value(each, row.get(each)) for each in beside]
        cells += [each.replace("\N{NO-BREAK SPACE}", " ") for each in shown]
        rows.append([*cells, str(row.get("point", ""))])
    yield from tables.aligned(header, rows)
    yield "\n"
    yield f"results: {swept.folder / RESULTS}\n"
    if page:
        yield f"report: {swept.folder / 'report.html'}\n"
    for name, run in swept.traces.items():
        yield f"trace of {name}: {run.path}\n"


def _is_rate(metric: str) -> bool:
    return metric.endswith("_per_s")


def summary(swept: Swept) -> dict[str, Any]:
    """Return the winners and where everything is, as plain values."""
    return {
        "sweep": swept.folder.name,
        "results": str(swept.folder / RESULTS),
        "points": len(swept.results.rows),
        "metric": swept.results.goal.metric,
        "winners": [_winner(winner) for winner in swept.results.winners()],
        "traces": {name: str(run.path) for name, run in swept.traces.items()},
    }


def _winner(winner: Winner) -> dict[str, Any]:
    return {
        "family": winner.family,
        "group": dict(winner.group),
        "value": winner.value,
        "point": None if winner.row is None else dict(winner.row),
    }
