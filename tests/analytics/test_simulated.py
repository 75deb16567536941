"""Runs of the real simulator keep every invariant, and their figures follow from their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import toolkit
from toolkit import analytics
from toolkit.trace import store
from toolkit.trace.columns import name_key

SCENARIO: dict[str, Any] = {
    "schema_version": 1,
    "title": "small",
    "hardware": {"machines": 4, "machine": "4xA100-80GB", "link": "ethernet-40g"},
    "model": {"use": "OPT-66B"},
    "timing": {"kind": "table", "name": "opt-66b-4xa100-80gb"},
    "workload": {
        "entries": 24,
        "entry": "request",
        "arrivals": {"kind": "poisson", "rate_per_s": 2.0},
        "lengths": {
            "kind": "catalog",
            "name": "lmsys-chat-english",
            "prompt_tokens": 1000,
            "max_output_tokens": 40,
        },
    },
}

DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "together": {"kind": "pipeline", "microbatch_size": 4},
    "replicas": {"kind": "pipeline", "data_parallel": 2, "microbatch_size": 4},
    "apart": {
        "kind": "disaggregated",
        "prompt_machines": 2,
        "token_machines": 2,
        "microbatch_size": 4,
    },
    "engines": {"kind": "pipeline", "batching": "continuous", "data_parallel": 4},
    "failing": {"kind": "pipeline", "data_parallel": 2, "microbatch_size": 4},
    "replicated": {"kind": "pipeline", "microbatch_size": 4, "replication": "next_stage"},
}

FAILURES: dict[str, Any] = {
    "failures": {"detection_s": 1, "restart_s": 2},
    "failure": [{"machine": at % 4, "at_s": 2.5 + 2.5 * at} for at in range(4)],
}

TIMINGS = {"engines": {"kind": "roofline"}}


Kind = tuple[str, str]
KINDS: list[Kind] = [
    (name, level) for name in DEPLOYMENTS for level in ("full", "steps", "requests")
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    """Return a run of every deployment at every level."""
    place = tmp_path_factory.mktemp("runs")
    return {kind: written(*kind, place) for kind in KINDS}


def written(name: str, level: str, place: Path) -> Path:
    parts = {"deployment": DEPLOYMENTS[name], "trace": {"level": level}}
    parts |= FAILURES if name in ("failing", "replicated") else {}
    timing = TIMINGS.get(name, SCENARIO["timing"])
    scenario = toolkit.load(SCENARIO | parts | {"timing": timing})
    manifest = {
        "name": name,
        "discipline": scenario.discipline,
        "level": level,
        "scenario": scenario.document,
        "facts": {"link_model": scenario.hardware.links},
    }
    return store.write(place / f"{name}-{level}", toolkit.simulate(scenario), manifest)


@pytest.fixture(params=KINDS, ids="-".join)
def folder(request: pytest.FixtureRequest, folders: dict[Kind, Path]) -> Path:
    return folders[request.param]


def test_a_simulated_run_breaks_no_invariant(folders: dict[Kind, Path]) -> None:
    """All side by side: a row that breaks one says whose it is."""
    with analytics.open(list(folders.values())) as runs:
        assert len(runs.names) == len(KINDS)
        assert runs.check() == []


def test_its_latencies_follow_from_its_requests(folder: Path) -> None:
    found = analytics.open(folder).frame(
        "FROM latency_percentiles WHERE metric IN ('ttft', 'e2e') ORDER BY ALL"
    )
    requests = pl.read_parquet(folder / "requests.parquet")
    for metric, until in (("ttft", "prefill_end_ns"), ("e2e", "finish_ns")):
        values = (requests[until] - requests["arrival_ns"]) / 1e9
        for row in found.filter(pl.col("metric") == metric).to_dicts():
            expected = values.quantile(row["percentile"] / 100, "linear")
            assert row["value_s"] == pytest.approx(expected, rel=1e-12)


def test_its_stages_account_for_every_nanosecond(folder: Path) -> None:
    run = analytics.open(folder)
    sums = run.sql("SELECT track, sum(dur_ns) FROM stage_time GROUP BY track").fetchall()
    ((makespan,),) = run.sql("SELECT makespan_ns FROM run_totals").fetchall()
    assert {added for _, added in sums} == {makespan}
    totals = pl.read_parquet(folder / "totals.parquet")
    down = [name_key("failed"), name_key("starting")]
    busy = totals.filter(~pl.col("name").is_in(down)).group_by("track").agg(pl.sum("busy_ns"))
    told = run.frame("SELECT track, busy_ns FROM stage_busy")
    joined = told.join(busy, on="track", suffix="_added")
    assert joined.height == told.height
    assert joined["busy_ns"].to_list() == joined["busy_ns_added"].to_list()
