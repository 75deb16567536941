"""The metrics of a point: which figures of which views make its row, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from toolkit.catalog import nearest
from toolkit.scenario.expressions import ConditionError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["PERCENTILES", "SPREAD", "Named", "metric_names", "metrics", "named", "views_of"]

PERCENTILES = (50.0, 90.0, 95.0, 99.0)
"""Percentiles of every latency that are always among the metrics."""

MS_PER_S = 1e3

VIEWS: Mapping[str, tuple[str, ...]] = {
    "throughput": (
        "makespan_s",
        "entries",
        "requests",
        "prompt_tokens",
        "output_tokens",
        "entries_per_s",
        "requests_per_s",
        "output_tokens_per_s",
        "total_tokens_per_s",
        "mean_requests_in_system",
    ),
    "highest_bound": ("least_makespan_s", "most_requests_per_s"),
    "stage_shares": ("utilisation", "bubble_share", "empty_share"),
    "cost": (
        "machine_hours",
        "cost_usd",
        "usd_per_1000_requests",
        "usd_per_million_input_tokens",
        "usd_per_million_output_tokens",
        "machine_hours_per_1000_requests",
    ),
}
"""Columns taken as they are, by view."""

SPREAD = "latency_spread"
"""The view of all latencies."""

SLO = {"goodput_per_s": "goodput_per_s", "attainment": "slo_attainment"}
"""Columns of the view `goodput`, and their names here; only where the scenario has an [slo]."""

COUNTS = frozenset({"entries", "requests", "prompt_tokens", "output_tokens"})
"""Metrics that are whole numbers."""

LATENCIES = (
    "ttft",
    "tpot",
    "e2e",
    "queueing",
    "prefill",
    "transfer",
    "decode_wait",
    "decode",
    "latency_per_token",
)
"""Latencies of the view `request_latency`; each gives min, mean, max and percentiles, in ms."""

ALIASES = {"throughput_per_s": "entries_per_s"} | {
    f"{latency}_median_{unit}": f"{latency}_p50_{unit}"
    for latency in LATENCIES
    for unit in ("ms", "s")
}
"""Other names by which reports and views call a metric."""

Row = dict[str, float | int | None]


class Asked(Protocol):
    """Runs that answer queries over the library's views: opened, or in memory."""

    def frame(self, query: str) -> pl.DataFrame:
        """Return the rows of a query."""
        ...


def metric_names(percentiles: Iterable[float], *, slo: bool = False) -> tuple[str, ...]:
    """Return every metric's name, in the order of a row; `percentiles` besides the usual ones.

    With `slo` there are goodput and attainment, which a scenario without limits has not.
    """
    names = [name for columns in VIEWS.values() for name in columns]
    names += SLO.values() if slo else ()
    asked = sorted({*PERCENTILES, *percentiles})
    for latency in LATENCIES:
        names += [f"{latency}_{it}_ms" for it in ("min", "mean", "max")]
        names += [_percentile_name(latency, each) for each in asked]
    return tuple(names)


def metrics(
    opened: Asked, views: Iterable[str] | None = None, *, slo: bool = False
) -> dict[Any, Row]:
    """Return the row of metrics of every run, by its key; what a run has not is left out.

    With `views` only those of these views (:func:`views_of`) are asked for;
    with `slo`, or where they are among the views, those of limits too.
    """
    asked = set(VIEWS) | {SPREAD} if views is None else {"throughput", *views}
    rows: dict[Any, Row] = {}
    for view, columns in VIEWS.items():
        if view in asked:
            for found in opened.frame(f"SELECT run, {', '.join(columns)} FROM {view}").to_dicts():
                rows.setdefault(found.pop("run"), {}).update(found)
    for found in opened.frame("FROM goodput").to_dicts() if slo else ():
        rows[found["run"]].update({name: found[column] for column, name in SLO.items()})
    if SPREAD not in asked:
        return rows
    for spread in opened.frame(f"FROM {SPREAD}").to_dicts():
        row, latency = rows[spread["run"]], spread["metric"]
        for it in ("min", "mean", "max"):
            row[f"{latency}_{it}_ms"] = spread[f"{it}_s"] * MS_PER_S
        for each, value in zip(spread["percentiles"], spread["percentiles_s"], strict=True):
            row[_percentile_name(latency, each)] = value * MS_PER_S
    return rows


def views_of(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the views that these metrics come from."""
    home = {column: view for view, listed in VIEWS.items() for column in listed}
    home |= dict.fromkeys(SLO.values(), "goodput")
    return tuple(sorted({home.get(column, SPREAD) for column in columns}))


def _percentile_name(latency: str, percentile: float) -> str:
    """Return the column of a percentile.

    >>> _percentile_name("ttft", 99.9)
    'ttft_p99_9_ms'
    """
    return f"{latency}_p{percentile:g}".replace(".", "_") + "_ms"


class Named:
    """A figure of a row by one of its names, in the unit that the name says."""

    def __init__(self, column: str, factor: float = 1.0) -> None:
        """Take a column, and by how much its values are multiplied."""
        self.column = column
        self.factor = factor

    def of(self, row: Mapping[str, Any]) -> Any:
        """Return the figure, None where the row has none."""
        value = row[self.column]
        return value if value is None or self.factor == 1.0 else value * self.factor


def named(name: str, columns: Sequence[str]) -> Named:
    """Return the figure that `name` stands for; seconds and milliseconds go for one another.

    Raises:
        ConditionError: there is none; it names what comes closest.
    """
    name = ALIASES.get(name, name)
    stem, _, unit = name.rpartition("_")
    for each, factor in ((name, 1.0), (f"{stem}_{_OTHER.get(unit, '')}", _FACTOR.get(unit, 1.0))):
        if each in columns:
            return Named(each, factor)
    close = nearest(name, [*columns, *ALIASES])
    hint = f"; did you mean {close}?" if close else ""
    raise ConditionError(f"no such metric or key: {name}{hint}")


_OTHER = {"s": "ms", "ms": "s"}
_FACTOR = {"s": 1 / MS_PER_S, "ms": MS_PER_S}
