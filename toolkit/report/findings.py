"""What a report says: the frames it shows, and the sentences read out of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from toolkit import analytics
from toolkit.analytics.replicated import replications_beside
from toolkit.report import failing, words
from toolkit.report.explaining import Explanation, explained

if TYPE_CHECKING:
    import polars as pl

    from toolkit.analytics import Run, View

__all__ = ["TABLES", "Findings", "find"]

TABLES = (
    "runs",
    "headline",
    "run_summary",
    "throughput",
    "latency_summary",
    "latency_percentiles",
    "latency_curve",
    "e2e_parts",
    "utilisation",
    "pool_utilisation",
    "machine_utilisation",
    "transfer_summary",
    "link_utilisation",
    "cost",
    "time_ledger",
    "role_ledger",
    "time_ledger_windows",
    "dominant_causes",
    "cost_ledger",
    "cost_uses",
    "unit_costs",
    "slo_attainment",
    "goodput",
    "request_outcomes",
    "saturation",
    "tenant_summary",
    "tenant_slo",
    "percentile_support",
    "warm_up_cut",
    "itl_summary",
    "kv_transfer_summary",
    "throughput_windows",
    "load_windows",
    "prefix_cache",
    "prefix_cache_windows",
    "timeline_window",
    "timeline",
    "timeline_pipelines",
)
"""Views a report reads, each saved beside it as a table of that name; `reliability` too, where
anything failed."""

REPLICATED = ("replication_summary", "replication_differences")
"""Views over all replications of the runs shown, those that are traces beside them included."""

_ORDER = {
    "latency_summary": "run, metric",
    "latency_curve": "run, metric, share",
    "e2e_parts": "run, part",
    "runs": "ordinal",
    "run_summary": "ordinal",
    "throughput": "run",
    "cost": "run",
    "goodput": "run",
    "kv_transfer_summary": "run",
    "timeline_window": "run",
    "time_ledger": "run, track, cause",
}
"""Order of the rows of views that come in none of their own."""


@dataclass(frozen=True)
class Findings:
    """Everything a report shows about one run or several side by side."""

    frames: Mapping[str, pl.DataFrame]
    manifests: Sequence[Mapping[str, Any]]
    paths: Sequence[str]
    views: Mapping[str, View]

    def __getitem__(self, view: str) -> pl.DataFrame:
        return self.frames[view]

    @property
    def labels(self) -> dict[str, str]:
        """Shown name of each run, in order."""
        runs = self["runs"]
        names, labels = runs["run"].cast(str).to_list(), runs["label"].to_list()
        return dict(zip(names, labels if len(set(labels)) == len(labels) else names, strict=True))

    def of(self, view: str, run: str) -> pl.DataFrame:
        """Return the rows of one run."""
        frame = self[view]
        return frame.filter(frame["run"].cast(str) == run)

    def facts(self, key: str) -> dict[str, list[str]]:
        """Return the words under ``facts.key`` of each manifest that has some, by label."""
        found = {}
        for label, manifest in zip(self.labels.values(), self.manifests, strict=True):
            said = manifest.get("facts", {}).get(key) or []
            if lines := [said] if isinstance(said, str) else [str(each) for each in said]:
                found[label] = lines
        return found

    def shared_facts(self, key: str) -> dict[str, list[str]]:
        """Return each sentence under ``facts.key`` once, with the runs it is about."""
        said: dict[str, list[str]] = {}
        for label, lines in self.facts(key).items():
            for line in _stages_together(lines):
                said.setdefault(line, []).append(label)
        return said

    @staticmethod
    def best(rows: Sequence[Mapping[str, Any]]) -> int | None:
        """Return which run is best by one metric of the headline; None for a single run."""
        known = [at for at, row in enumerate(rows) if row["value"] is not None]
        if len(rows) < 2 or not known:
            return None
        sign = 1 if rows[0]["better"] == "less" else -1
        return min(known, key=lambda at: sign * rows[at]["value"])

    def title(self) -> str:
        """Return what was simulated."""
        studies = self["runs"]["study"].unique(maintain_order=True).to_list()
        return words.listed([str(study) for study in studies])

    def question(self) -> str:
        """Return what the scenario asks."""
        return str(self["runs"]["question"][0] or "")

    def unequal_work(self) -> str:
        """Return a warning where the runs do not serve the same requests and tokens, else ''."""
        served = self["throughput"].select("requests", "prompt_tokens", "output_tokens")
        if served.n_unique() == 1:
            return ""
        said = [
            f"{label} {_count(row['requests'])} requests, {_count(row['output_tokens'])} output "
            "tokens"
            for label, row in zip(self.labels.values(), served.to_dicts(), strict=True)
        ]
        return f"These runs do not serve the same work: {words.listed(said)}."

    def explanations(self) -> list[Explanation]:
        """Return what dominates each run and what would change it."""
        stages = self["utilisation"]
        working = set(stages.filter(stages["makespan_s"] > 0)["run"].cast(str))
        return [
            explained(run, label, self.of("dominant_causes", run).to_dicts(), self.imported(run))
            for run, label in self.labels.items()
            if run in working
        ]

    def imported(self, run: str) -> bool:
        """Return whether a run is from elsewhere, and may lack what a simulation says."""
        return bool(self.of("runs", run)["source"].count())

    def answer(self) -> list[str]:
        """Return the answer in sentences: who is first and by how much, then what each one did."""
        rows = self["run_summary"].to_dicts()
        pools = [_occupation(self, run, label) for run, label in self.labels.items()]
        verdict = _verdict(rows, list(self.labels.values()))
        kept = _kept(self["slo_attainment"].to_dicts(), self["goodput"].to_dicts(), self.labels)
        return [f"{kept} {verdict}" if kept else verdict, *pools]


def find(runs: Sequence[Run]) -> Findings:
    """Query the runs, side by side where there are several; the same runs are queried once."""
    return _find(tuple(runs))


@lru_cache(maxsize=2)
def _find(runs: tuple[Run, ...]) -> Findings:
    stores = [store for run in runs for store in run.stores]
    folders = [store.folder for store in stores]
    # What is asked for anyway is computed once for views that read it; a table has no order.
    with analytics.open(folders, kept=(*analytics.SHARED, *_ORDER)) as together:
        frames = {
            view: together.frame(
                f"FROM {view} ORDER BY {_ORDER[view]}" if view in _ORDER else f"FROM {view}"
            )
            for view in TABLES
        }
        frames |= {view: together.frame(f"FROM {view}") for view in REPLICATED}
        reliability = together.frame("FROM reliability")
    if failing.happened(reliability):
        frames["reliability"] = reliability
    if beside := replications_beside(stores):
        with analytics.open([*folders, *beside]) as replicated:
            frames |= {view: replicated.frame(f"FROM {view}") for view in REPLICATED}
    return Findings(
        frames=frames,
        manifests=[store.manifest for store in stores],
        paths=[str(store.folder) for store in stores],
        views={view.name: view for view in analytics.library()},
    )


def _stages_together(lines: Sequence[str]) -> list[str]:
    """Return sentences that differ in nothing but the number of a stage as one."""
    stages: dict[tuple[str, ...], list[str]] = {}
    for line in lines:
        found = re.match(r"(.*?\bstage )(\d+)(.*)", line, re.S)
        key, number = ((found[1], found[3]), found[2]) if found else ((line,), "")
        stages.setdefault(key, []).append(number)
    return [
        (numbers[0] if len(numbers) == 1 else f"{numbers[0]} – {numbers[-1]}").join(key)
        for key, numbers in stages.items()
    ]


def _kept(
    attained: Sequence[Mapping[str, Any]],
    goodput: Sequence[Mapping[str, Any]],
    labels: Mapping[str, str],
) -> str:
    """Say which of several runs keeps its limits best; nothing where one states none."""
    rates = {str(row["run"]): row["goodput_per_s"] for row in goodput}
    good = {str(row["run"]): row for row in attained if row["slo"] == "all"}
    if len(labels) == 1 or rates.keys() != labels.keys() or good.keys() != labels.keys():
        return ""
    order = sorted(labels, key=lambda run: -(rates[run] or 0.0))
    told = [
        f"{labels[run]} {good[run]['met']:,} of {good[run]['requests']:,}, "
        f"{words.amount(rates[run])} a second"
        for run in order
    ]
    return f"Requests within every limit: {'; '.join(told)}."


def _verdict(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    """Say who finished first, and how each of the others compares with the first run."""
    best = min(range(len(rows)), key=lambda at: rows[at]["makespan_s"])
    won = rows[best]
    served = f"{_count(won['requests'])} requests in {words.seconds(won['makespan_s'])}"
    if len(rows) == 1:
        if not won["requests"]:
            lasted = words.seconds(won["makespan_s"])
            return f"{labels[0]} lasts {lasted}; its trace knows no requests{_for(won)}."
        return (
            f"{labels[0]} serves {served}: {words.amount(won['requests_per_s'])} requests per "
            f"second{_for(won)}."
        )
    if any(row["requests"] is None for row in rows):
        each = [
            f"{label} lasts {words.seconds(row['makespan_s'])}{_for(row)}"
            for label, row in zip(labels, rows, strict=True)
        ]
        return f"{words.listed(each)}; not all of these traces know requests, so none is first."
    others = []
    for at, (label, row) in enumerate(zip(labels, rows, strict=True)):
        if at != best:
            taken = words.seconds(row["makespan_s"])
            others.append(f"{label} takes {taken}{_speed(row, rows, labels, at)}{_for(row)}")
    first = f"{labels[best]} is first: it serves {served}{_speed(won, rows, labels, best)}"
    return f"{first}{_for(won)}; {'; '.join(others)}."


def _count(value: int | None) -> str:
    return "an unknown number of" if value is None else f"{value:,}"


def _speed(
    row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], labels: Sequence[str], at: int
) -> str:
    """Say how many times as fast as the first run another one is."""
    if at == 0 or not row["makespan_s"]:
        return ""
    return f", {rows[0]['makespan_s'] / row['makespan_s']:.2f} times as fast as {labels[0]}"


def _for(row: Mapping[str, Any]) -> str:
    return "" if row["cost_usd"] is None else f", for {words.dollars(row['cost_usd'])}"


def _occupation(findings: Findings, run: str, label: str) -> str:
    """Say what the stages of one run did with their time."""
    said = []
    for pool in findings.of("pool_utilisation", run).to_dicts():
        who = "stages" if pool["role"] == "colocated" else f"{pool['role']} stages"
        parts = [
            f"{words.share(pool[column])} {name}"
            for column, name in (
                ("prefill_share", "prefill"),
                ("decode_share", "decode"),
                ("mixed_share", "both at once"),
                ("other_share", "other work"),
                ("lost_share", "work that failures undid"),
                ("bubble_share", "in bubbles"),
                ("waiting_share", "waiting for requests"),
                ("finished_share", "with nothing left to do"),
                ("idle_share", "idle for no stated reason"),
            )
            if (pool[column] or 0) >= 0.005
        ]
        said += [f"{who} {words.listed(parts)}"] if parts else []
    moved = [
        row
        for row in findings.of("transfer_summary", run).to_dicts()
        if row["name"] == "kv_transfer"
    ]
    said += [
        f"KV caches hold the busiest link {words.share(row['busiest_link_share'])} of the time"
        for row in moved
    ]
    return f"{label}: {'; '.join(said) or 'the trace knows no stages'}."
