"""Comparisons: recomputed in plain Python, and what must hold whatever the runs are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import Row, SmallRun, small_run, told

import toolkit
from toolkit.analytics.comparison import Comparison, compare
from toolkit.errors import InputError

runs = st.builds(
    small_run,
    st.integers(0, 10**6),
    discipline=st.sampled_from(["event", "dejavu"]),
    split=st.booleans(),
    level=st.sampled_from(["full", "requests"]),
    price=st.sampled_from([36.0, 7.5]),
)
few = settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])

SCENARIO: dict[str, Any] = {
    "schema_version": 1,
    "name": "pair",
    "hardware": {"machines": 4, "price_usd_per_machine_hour": 18.52},
    "trace": {"renderings": []},
    "workload": {
        "entry": "request",
        "entries": 12,
        "arrivals": {"kind": "poisson", "rate_per_s": 20.0},
        "lengths": {"kind": "fixed", "prompt_tokens": 100, "output_tokens": 8},
    },
    "timing": {"kind": "fixed", "prompt_ms": 40, "token_ms": 5},
}
TOGETHER = {"kind": "pipeline", "microbatch_size": 2}
SPLIT = {
    "kind": "disaggregated",
    "prompt_machines": 2,
    "token_machines": 2,
    "microbatch_size": 1,
    "transfer_time_ms": 12,
}


def played(out: Path, name: str, deployment: dict[str, Any], seed: int = 0) -> Path:
    workload = SCENARIO["workload"] | {"seed": seed}
    told_so = SCENARIO | {"name": name, "deployment": deployment, "workload": workload}
    toolkit.run(toolkit.load(told_so), out, report=False)
    return out / "traces" / name


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Return two deployments under three seeds each."""
    out = tmp_path_factory.mktemp("seeds")
    return {
        name: [played(out, f"{name}-{seed}", deployment, seed) for seed in (1, 2, 3)]
        for name, deployment in (("together", TOGETHER), ("split", SPLIT))
    }


def pair(one: SmallRun, other: SmallRun, folder: str) -> tuple[Path, Path]:
    return one.write(Path(folder) / "a"), other.write(Path(folder) / "b")


@given(runs)
@few
def test_comparing_a_run_with_itself_changes_nothing(run: SmallRun) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = run.write(Path(folder) / "a")
        found = compare([path, path])
    assert len(found.sides) == 2
    assert found.changed == []
    assert all(row["difference"] in (0, None) for row in found["metric_changes"].to_dicts())
    assert all(row["ratio"] in (1, None) for row in found["metric_changes"].to_dicts())
    assert all(row["difference_s"] == 0 for row in found["spending_changes"].to_dicts())
    assert all(row["difference_usd"] == 0 for row in found["spending_changes"].to_dicts())
    for row in found["matched_changes"].to_dicts():
        assert row["matched"] == row["requests"] == row["base_requests"]
        assert row["faster"] == row["slower"] == row["min_s"] == row["max_s"] == 0


@given(runs, runs)
@few
def test_swapping_the_runs_negates_the_differences(one: SmallRun, other: SmallRun) -> None:
    with tempfile.TemporaryDirectory() as folder:
        a, b = pair(one, other, folder)
        forth, back = compare([a, b]), compare([b, a])
    for view, key, columns in (
        ("metric_changes", "metric", ["difference"]),
        ("spending_changes", "cause", ["difference_s", "difference_usd"]),
        ("matched_changes", "metric", ["mean_s", "median_s"]),
    ):
        there = {row[key]: row for row in others(forth, view)}
        here = {row[key]: row for row in others(back, view)}
        assert there.keys() == here.keys()
        for name in there:
            for column in columns:
                value, negated = there[name][column], here[name][column]
                assert value == (None if negated is None else pytest.approx(-negated, abs=1e-12))


def others(comparison: Comparison, view: str) -> list[Row]:
    return [row for row in comparison[view].to_dicts() if row["side"] == 1]


@given(runs, runs)
@few
def test_metrics_are_those_of_the_requests_in_plain_python(one: SmallRun, other: SmallRun) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = compare(pair(one, other, folder))
    sides = {0: one, 1: other}
    for row in found["metric_changes"].to_dicts():
        requests = sides[row["side"]].rows["requests"]
        e2e_ms = sorted(
            (it["finish_ns"] - it["arrival_ns"]) / 1e6 for it in requests for _ in range(it["size"])
        )
        makespan_s = max(it["finish_ns"] for it in requests) / 1e9
        expected = {
            "makespan_s": makespan_s,
            "requests_per_s": len(e2e_ms) / makespan_s,
            "e2e_mean_ms": sum(e2e_ms) / len(e2e_ms),
            "e2e_max_ms": e2e_ms[-1],
            **{f"e2e_p{p}_ms": float(np.quantile(e2e_ms, p / 100)) for p in (50, 90, 95, 99)},
        }
        if row["metric"] in expected:
            assert row["value"] == pytest.approx(expected[row["metric"]], rel=1e-9)
            assert row["difference"] == pytest.approx(row["value"] - row["base_value"])


@given(runs, runs)
@few
def test_causes_add_up_to_makespan_and_bill(one: SmallRun, other: SmallRun) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = compare(pair(one, other, folder))
    for side in found.sides:
        rows = found.rows("spending_changes", side)
        for metric, column in (("makespan_s", "s"), ("cost_usd", "usd")):
            expected = found.metric(side, metric)
            for name in ("value", "difference"):
                added = sum(row[f"{name}_{column}"] for row in rows)
                assert added == pytest.approx(expected[name], rel=1e-9, abs=1e-15)


def test_requests_are_matched_through_microbatches_of_other_sizes(tmp_path: Path) -> None:
    """Requests 0..5 in entries of 2 and 4, against entries of 3 and 3; the last is longer."""

    def run(sizes: list[int], ends: list[int], last: int) -> SmallRun:
        return told(
            requests=[
                {
                    "request": at,
                    "size": size,
                    "output_tokens": last if at == len(sizes) - 1 else 1,
                    "prefill_end_ns": end,
                    "finish_ns": end,
                }
                for at, (size, end) in enumerate(zip(sizes, ends, strict=True))
            ]
        )

    a = run([2, 2, 2], [10, 20, 30], 1).write(tmp_path / "a")
    b = run([3, 3], [50, 15], 1).write(tmp_path / "b")
    c = run([2, 2, 2], [10, 20, 30], 9).write(tmp_path / "c")
    numbered = {path: [end for size, end in pairs for _ in range(size)] for path, pairs in (
        (a, [(2, 10), (2, 20), (2, 30)]),
        (b, [(3, 50), (3, 15)]),
    )}  # fmt: skip
    differences = [(y - x) / 1e9 for x, y in zip(numbered[a], numbered[b], strict=True)]
    (row, _) = sorted(others(compare([a, b]), "matched_changes"), key=lambda row: row["metric"])
    assert (row["matched"], row["faster"], row["slower"]) == (6, 3, 3)
    assert row["mean_s"] == pytest.approx(sum(differences) / 6)
    assert (row["min_s"], row["max_s"]) == (min(differences), max(differences))
    rows = others(compare([a, c]), "matched_changes")
    assert {row["matched"] for row in rows} == {4}


def test_runs_that_differ_in_the_seed_alone_are_one_side(seeds: dict[str, list[Path]]) -> None:
    found = compare([*seeds["together"], *seeds["split"]])
    assert [side.seeds for side in found.sides] == [(1, 2, 3), (1, 2, 3)]
    assert found.changed[0].key == "deployment.kind"
    assert not any(it.key == "workload.seed" for it in found.changed)
    split = found.metric(found.sides[1], "e2e_mean_ms")
    single = [
        next(
            row["difference"]
            for row in others(compare([a, b]), "metric_changes")
            if row["metric"] == "e2e_mean_ms"
        )
        for a, b in zip(seeds["together"], seeds["split"], strict=True)
    ]
    assert split["difference"] == pytest.approx(sum(single) / 3)
    low, high = found.intervals[1, "e2e_mean_ms"]
    # Of three pairs the bootstrap's means lie between the least and the largest of them.
    assert min(single) - 1e-9 <= low <= split["difference"] <= high <= max(single) + 1e-9
    assert found.intervals[1, "requests"] == (0, 0)
    matched = {row["metric"]: row for row in others(found, "matched_changes")}
    assert matched["e2e"]["matched"] == 36


def test_intervals_do_not_depend_on_the_order_of_the_seeds(seeds: dict[str, list[Path]]) -> None:
    forth = compare([*seeds["together"], *seeds["split"]])
    back = compare([*seeds["together"][::-1], *seeds["split"]])
    assert forth.intervals == back.intervals


def test_where_only_seeds_differ_each_run_is_a_side(seeds: dict[str, list[Path]]) -> None:
    found = compare(seeds["together"])
    assert [side.runs for side in found.sides] == [
        ("together-1",),
        ("together-2",),
        ("together-3",),
    ]
    assert [it.key for it in found.changed] == ["workload.seed"]
    assert found.intervals == {}


def test_what_the_end_hung_on_adds_up_to_the_makespan(seeds: dict[str, list[Path]]) -> None:
    found = compare([seeds["together"][0], seeds["split"][0]])
    for side, sums in zip(found.sides, found.hung_on, strict=True):
        makespan = found.metric(side, "makespan_s")["value"]
        assert sum(sums.values()) == pytest.approx(makespan, rel=1e-12)
    assert "kv_transfer" in found.hung_on[1]


def test_runs_of_several_levels_are_compared_by_the_parts_that_both_know(tmp_path: Path) -> None:
    a = small_run(5).write(tmp_path / "a")
    b = small_run(5, level="requests").write(tmp_path / "b")
    found = compare([a, b])
    assert all(row["difference_s"] == 0 for row in found["spending_changes"].to_dicts())
    causes = {row["cause"] for row in found["spending_changes"].to_dicts()}
    assert causes <= {"prefill", "decode", "other", "bubble", "waiting", "finished"}


def test_keys_that_only_name_things_are_not_changes(tmp_path: Path) -> None:
    def run(**scenario: Any) -> SmallRun:
        made = small_run(1)
        made.manifest["scenario"] = scenario
        return made

    a = run(title="a", workload={"seed": 1, "entries": 3}, report={"percentiles": [50.0]})
    b = run(title="b", workload={"seed": 1, "entries": 4}, deployment={"kind": "pipeline"})
    found = compare([a.write(tmp_path / "a"), b.write(tmp_path / "b")])
    assert [(it.key, it.values) for it in found.changed] == [
        ("deployment.kind", (None, "pipeline")),
        ("workload.entries", (3, 4)),
    ]


def test_one_trace_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two traces"):
        compare([tmp_path])


def test_a_run_that_served_nothing_is_refused(tmp_path: Path) -> None:
    good = small_run(1).write(tmp_path / "good")
    idle = told(requests=[{"outcome": "refused"}]).write(tmp_path / "idle")
    with pytest.raises(InputError, match="served a request"):
        compare([good, idle])
