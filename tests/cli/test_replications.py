"""Replications: seeds in common, every mean and interval computed again, what is beside a run."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import toolkit
from toolkit import report
from toolkit.analytics.replicated import replications_beside
from toolkit.scenario.replicating import replicates, seed_of
from toolkit.workload import build

COUNT = 3
DOCUMENT: dict[str, Any] = {
    "schema_version": 1,
    "name": "again",
    "title": "The same again",
    "hardware": {"machines": 1, "price_usd_per_machine_hour": 3.6},
    "deployment": {"kind": "pipeline"},
    "workload": {
        "entries": 40,
        "entry": "request",
        "seed": 7,
        "arrivals": {"kind": "poisson", "rate_per_s": 30},
        "lengths": {"kind": "fixed", "prompt_tokens": 100, "output_tokens": 10},
    },
    "timing": {"kind": "fixed", "prompt_ms": 10, "token_ms": 2},
    "replications": {"count": COUNT, "confidence": 0.9},
    "trace": {"level": "steps", "renderings": []},
    "variant": [{"name": "quick"}, {"name": "slow", "timing": {"token_ms": 2.5}}],
}

Runs = Mapping[str, toolkit.analytics.Run]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("again")


@pytest.fixture(scope="module")
def runs(place: Path) -> Runs:
    done = toolkit.run(toolkit.load(DOCUMENT), place, executor="serial")
    assert isinstance(done, dict)
    return done


def between(quantile: float, degrees: int) -> float:
    """Probability that a variable of Student's t lies within a quantile, by its closed form."""
    angle = math.atan(quantile / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    if degrees == 1:
        return 2 * angle / math.pi
    term = total = cosine if degrees % 2 else 1.0
    for at in range(3 if degrees % 2 else 2, degrees - 1, 2):
        term *= cosine**2 * (at - 1) / at
        total += term
    return 2 / math.pi * (angle + sine * total) if degrees % 2 else sine * total


@given(seed=st.integers(0, 2**63 - 1), number=st.integers(2, 64))
def test_a_replications_seed_follows_from_the_scenarios_and_its_number(
    seed: int, number: int
) -> None:
    found = seed_of(seed, number)
    assert found == seed_of(seed, number)
    assert 0 <= found < 2**63
    assert found not in {seed, seed_of(seed, number - 1), seed_of((seed + 1) % 2**63, number)}


def test_variants_have_the_same_requests_in_replications_of_one_number() -> None:
    quick, slow = (replicates(each) for each in toolkit.load(DOCUMENT).variants)
    assert quick[0].workload.seed == 7
    digests = [[build(each).sha256() for each in side] for side in (quick, slow)]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == COUNT


def test_every_replication_is_a_trace_and_the_first_has_the_scenarios_level(
    place: Path, runs: Runs
) -> None:
    names = {path.name for path in (place / "traces").iterdir()}
    assert names == {
        f"again-{variant}{end}" for variant in ("quick", "slow") for end in ("", "-r2", "-r3")
    }
    assert runs["slow"].manifest["level"] == "steps"
    other = toolkit.open(place / "traces" / "again-slow-r3")
    assert other.manifest["level"] == "requests"
    assert other.manifest["seed"] == seed_of(7, 3)
    assert not other.check()


def test_a_replication_is_played_again_from_its_manifest_alone(place: Path, runs: Runs) -> None:
    assert runs
    folder = place / "traces" / "again-quick-r2"
    again = toolkit.run(
        toolkit.load(toolkit.open(folder).manifest["scenario"]), place / "once", report=False
    )
    assert isinstance(again, toolkit.analytics.Run)
    told = "requests.parquet"
    assert (again.path / told).read_bytes() == (folder / told).read_bytes()


def test_the_quantiles_of_students_t_are_those_of_its_distribution(runs: Runs) -> None:
    rows = runs["quick"].frame("FROM t_quantiles").to_dicts()
    assert [row["degrees"] for row in rows] == list(range(1, 64))
    view = next(view for view in runs["quick"].views() if view.name == "t_quantiles")
    lists = [part.split("]")[0] for part in view.sql.split("[")[2:]]
    shares = (0.8, 0.9, 0.95, 0.98, 0.99)
    assert len(lists) == len(shares)
    for share, listed in zip(shares, lists, strict=True):
        quantiles = [float(each) for each in listed.split(",")]
        assert len(quantiles) == 63
        for degrees, quantile in enumerate(quantiles, 1):
            assert between(quantile, degrees) == pytest.approx(share, abs=2e-8)


def test_means_and_paired_differences_are_those_of_the_runs(place: Path, runs: Runs) -> None:
    paths = {
        variant: [place / "traces" / f"again-{variant}{end}" for end in ("", "-r2", "-r3")]
        for variant in runs
    }
    values: dict[str, list[dict[str, float]]] = {}
    for variant, folders in paths.items():
        opened = [toolkit.open(folder) for folder in folders]
        values[variant] = [
            dict(run.sql("SELECT metric, value FROM metrics WHERE value IS NOT NULL").fetchall())
            for run in opened
        ]
    t = 2.91998558  # 90 % of Student's t with 2 degrees of freedom
    with toolkit.open([*paths["quick"], *paths["slow"]]) as together:
        summary = together.frame("FROM replication_summary").to_dicts()
        differences = together.frame("FROM replication_differences").to_dicts()
    assert {row["metric"] for row in summary} == set(values["quick"][0])
    for row in summary:
        each = [found[row["metric"]] for found in values[str(row["run"]).split("-")[1]]]
        assert row["mean"] == pytest.approx(mean(each))
        half = t * stdev(each) / math.sqrt(COUNT)
        assert row["half_width"] == pytest.approx(half, rel=1e-6, abs=1e-12)
        assert row["low"] == pytest.approx(mean(each) - half)
        assert (row["replications"], row["confidence"]) == (COUNT, 0.9)
    assert {str(row["run"]) for row in differences} == {"again-slow"}
    for row in differences:
        apart = [
            slow[row["metric"]] - quick[row["metric"]]
            for quick, slow in zip(values["quick"], values["slow"], strict=True)
        ]
        half = t * stdev(apart) / math.sqrt(COUNT)
        assert row["difference"] == pytest.approx(mean(apart))
        assert row["half_width"] == pytest.approx(half, rel=1e-6, abs=1e-9)
        assert row["clear"] == (abs(row["difference"]) > row["half_width"])
    told = {row["metric"]: row for row in differences}
    assert told["tpot_p50_ms"]["clear"]
    assert told["tpot_p50_ms"]["difference"] == pytest.approx(0.5)


def test_a_report_tells_of_the_replications_beside_its_runs(place: Path, runs: Runs) -> None:
    page = (place / "reports" / "again" / "report.md").read_text(encoding="utf-8")
    assert "## Replications" in page
    assert "3 replications, each with a seed of its own: means with 90" in page
    assert (place / "reports" / "again" / "tables" / "replication_summary.csv").is_file()
    told = report.summary(runs["quick"])["replications"]
    assert told["e2e_p50_ms"]["replications"] == COUNT


def test_replications_of_another_scenario_or_none_are_left_out(
    place: Path, runs: Runs, tmp_path: Path
) -> None:
    assert len(replications_beside(runs["quick"].stores)) == COUNT - 1
    shutil.copytree(place / "traces", tmp_path / "traces")
    shutil.rmtree(tmp_path / "traces" / "again-quick-r2")
    file = tmp_path / "traces" / "again-quick-r3" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["replication"]["of"] = "what it was of before"
    file.write_text(json.dumps(manifest))
    alone = toolkit.open(tmp_path / "traces" / "again-quick")
    assert replications_beside(alone.stores) == []
    assert "replications" not in report.summary(alone)


def test_the_terminal_shows_means_and_what_differs(runs: Runs) -> None:
    console = Console(width=80, record=True, file=StringIO())
    report.terminal(list(runs.values()), console)
    shown = console.export_text()
    assert " over replications" in shown
    assert " less quick" in shown
    assert "pairs of the same seed" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
