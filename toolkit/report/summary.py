"""A run as one object, for machines to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit import analytics
from toolkit.analytics.replicated import replications_beside
from toolkit.report.outcomes import Outcome
from toolkit.report.outcomes import summary as outcomes_of
from toolkit.report.replicated import objects

if TYPE_CHECKING:
    from toolkit.analytics import Run

__all__ = ["summary"]

_OF_THE_LOAD = ("verdict", "unknown_because", "offered_per_s", "output_per_s", "left_behind_share")

_OF_THE_SLO = ("goodput_per_s", "slo_attainment")


def summary(run: Run, outcomes: Sequence[Outcome] = ()) -> dict[str, Any]:
    """Return the figures of one run: seconds, dollars, shares of all stages x makespan.

    ``throughput_per_s`` counts entries, as the published simulators do;
    ``requests_per_s`` counts requests.  ``ttft_s``, ``tpot_s`` and ``e2e_s``
    have mean, min, median, max and the scenario's percentiles (``p99``).  No
    schedule can beat ``least_makespan_s``.  ``goodput_per_s`` and
    ``slo_attainment`` are there where the scenario has an [slo],
    ``assertions`` where it has any, with what came of them.  ``load`` is whether
    it keeps up, ``tenants`` what each of them got, ``replications`` the mean and
    half-width of every metric over the replications beside it.
    """
    (row,) = run.frame("FROM run_summary").to_dicts()
    latencies = {each["metric"]: each for each in run.frame("FROM latency_summary").to_dicts()}
    late = run.frame("FROM latency_percentiles").to_dicts()

    def spread(metric: str) -> dict[str, float | None]:
        found = latencies.get(metric, {})
        named = {key: found.get(f"{key}_s") for key in ("mean", "min", "median", "max")}
        return named | {
            f"p{each['percentile']:g}": each["value_s"] for each in late if each["metric"] == metric
        }

    per_token = latencies.get("latency_per_token", {})
    (load,) = run.frame("FROM saturation").to_dicts()
    tenants = run.frame("SELECT * EXCLUDE (run) FROM tenant_summary").to_dicts()
    replicated = objects(_replications(run))
    judged = {} if row["slo_attainment"] is None else {key: row[key] for key in _OF_THE_SLO}
    asserted = {"assertions": told} if (told := outcomes_of(outcomes, run.name)) else {}
    return {
        "name": run.name,
        "makespan_s": row["makespan_s"],
        "least_makespan_s": row["least_makespan_s"],
        "throughput_per_s": row["throughput_per_s"],
        "latency_per_token_s": {key: per_token.get(f"{key}_s") for key in ("median", "max", "min")},
        "cost_usd": row["cost_usd"],
        "trace": str(run.path),
        "requests": row["requests"],
        "requests_per_s": row["requests_per_s"],
        "output_tokens_per_s": row["output_tokens_per_s"],
        "ttft_s": spread("ttft"),
        "tpot_s": spread("tpot"),
        "e2e_s": spread("e2e"),
        "utilisation": row["utilisation"],
        "bubble_share": row["bubble_share"],
        "machine_hours": row["machine_hours"],
        "usd_per_1000_requests": row["usd_per_1000_requests"],
        "usd_per_million_output_tokens": row["usd_per_million_output_tokens"],
        **judged,
        "load": {key: load[key] for key in _OF_THE_LOAD},
        **({"tenants": tenants} if tenants else {}),
        **({"replications": replicated} if replicated else {}),
        **asserted,
    }


def _replications(run: Run) -> list[dict[str, Any]]:
    beside = replications_beside(run.stores)
    if not beside:
        return []
    with analytics.open([run.path, *beside]) as together:
        return together.frame("FROM replication_summary").to_dicts()
