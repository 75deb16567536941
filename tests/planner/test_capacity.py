"""The search for capacity: brackets that were played, deployments that hold a load, the front."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit
from toolkit.cli import main
from toolkit.errors import InputError
from toolkit.planner.bisection import narrowed
from toolkit.planner.capacity import Searched, capacity, front
from toolkit.planner.capacity_words import answer, cautions, latency_words
from toolkit.planner.loads import at_rate, candidates, sized, step_of
from toolkit.planner.show_capacity import plot
from toolkit.scenario.model import Capacity
from toolkit.workload import build

SERVICE_S = 0.028
"""A prompt of 10 ms and nine decodes of 2 ms on a stage that serves one request at a time."""

SMALL: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "hardware": {"machines": 1, "price_usd_per_machine_hour": 3.6},
    "deployment": {"kind": "pipeline", "router": "shared_queue"},
    "workload": {
        "entries": 200,
        "entry": "request",
        "arrivals": {"kind": "constant", "rate_per_s": 30},
        "lengths": {"kind": "fixed", "prompt_tokens": 100, "output_tokens": 10},
    },
    "timing": {"kind": "fixed", "prompt_ms": 10, "token_ms": 2},
    "slo": {"e2e_ms": 40},
    "capacity": {"least_span_s": 0, "tolerance": 0.25},
}
"""Coarse: each rate that is played is a database opened."""


def small(**tables: Any) -> dict[str, Any]:
    return {key: {**SMALL.get(key, {}), **value} for key, value in tables.items()}


def search(rate_per_s: float | None = None, **tables: Any) -> Searched:
    scenario = toolkit.load({**SMALL, **small(**tables)})
    return capacity(scenario, rate_per_s=rate_per_s, executor="serial")


@given(
    change=st.floats(0.011, 1e4),
    low=st.floats(0.001, 0.01),
    high=st.floats(1e4 + 1, 1e5),
    close=st.floats(1.001, 3),
)
def test_a_bracket_ends_on_both_sides_of_the_change_and_within_the_tolerance(
    change: float, low: float, high: float, close: float
) -> None:
    asked = []

    def same(value: float) -> bool:
        asked.append(value)
        return value <= change

    stays, changes = narrowed(low, high, close, same)
    assert low <= stays <= change < changes <= high
    assert changes / stays <= close
    assert {stays, changes} <= {low, high, *asked}


def test_the_capacity_of_a_queue_with_even_gaps_is_the_inverse_of_its_service_time() -> None:
    found = search(capacity={"tolerance": 0.01}).found[0]
    assert found.holds_per_s is not None
    assert found.fails_per_s is not None
    # A run may fall behind a little at its end before 1 % of its requests exceed their limit.
    assert found.holds_per_s == pytest.approx(1 / SERVICE_S, rel=0.03)
    assert 1 < found.fails_per_s / found.holds_per_s <= 1.01
    played = {row["rate_per_s"]: row["holds"] for row in found.rows}
    assert played[found.holds_per_s] is True
    assert played[found.fails_per_s] is False
    assert found.monotone


def test_replicas_with_one_queue_hold_as_many_times_the_load() -> None:
    searched = search(capacity={"replicas": [3, 1]})
    assert [each.candidate.machines for each in searched.found] == [1, 3]
    for each in searched.found:
        assert each.holds_per_s is not None
        assert each.fails_per_s is not None
        most = each.candidate.replicas / SERVICE_S
        assert each.holds_per_s < 1.03 * most
        assert each.fails_per_s > 0.97 * most


def test_the_smallest_number_of_replicas_for_a_rate_was_played_and_so_was_one_fewer() -> None:
    searched = search(rate_per_s=100)
    assert searched.smallest is not None
    assert searched.smallest["replicas"] == 3  # 100 x 0.028 = 2.8
    assert {row["replicas"]: row["holds"] for row in searched.at_rate} == {2: False, 3: True}
    assert searched.cheapest is searched.smallest
    assert searched.smallest["usd_per_hour"] == pytest.approx(3 * 3.6)
    assert "3 replicas is the smallest and the cheapest" in " ".join(answer(searched))


def test_the_cheapest_deployment_may_be_larger_than_the_smallest() -> None:
    dear = {"name": "dear", "hardware": {"price_usd_per_machine_hour": 20.0}}
    slow = {"name": "slow", "timing": {"prompt_ms": 20, "token_ms": 2}}
    scenario = toolkit.load(
        {
            **SMALL,
            **small(slo={"e2e_ms": 60}, capacity={"replicas": [1, 2], "tolerance": 1}),
            "variant": [dear, slow],
        }
    )
    both = capacity(scenario, rate_per_s=30, executor="serial")
    assert both.smallest is not None
    assert both.cheapest is not None
    assert both.smallest["candidate"] == "dear × 1"
    assert both.cheapest["candidate"] == "slow × 2"
    told = " ".join(answer(both))
    assert "the cheapest slow × 2 (2 machines, $7.20 an hour)" in told


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 6), st.one_of(st.none(), st.integers(1, 6))), max_size=12
    )
)
def test_the_front_is_what_nothing_beats(rows: list[tuple[int, int | None]]) -> None:
    listed = [
        {"usd_per_1000_requests": float(cost), "ttft_p99_ms": latency, "at": at}
        for at, (cost, latency) in enumerate(rows)
    ]
    known = [row for row in listed if row["ttft_p99_ms"] is not None]

    def beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
        a = (one["usd_per_1000_requests"], one["ttft_p99_ms"])
        b = (other["usd_per_1000_requests"], other["ttft_p99_ms"])
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    best = {
        (row["usd_per_1000_requests"], row["ttft_p99_ms"])
        for row in known
        if not any(beats(other, row) for other in known)
    }
    found = [
        (row["usd_per_1000_requests"], row["ttft_p99_ms"]) for row in front(listed, "ttft_p99_ms")
    ]
    assert found == sorted(best)


def test_a_range_is_kept_to_and_its_ends_say_what_they_did() -> None:
    inside = search(capacity={"rate_range_per_s": [20, 60]}).found[0]
    assert {20, 60} <= {row["rate_per_s"] for row in inside.rows}
    low = search(capacity={"rate_range_per_s": [1, 5]})
    assert (low.found[0].holds_per_s, low.found[0].fails_per_s) == (5, None)
    assert any("still holds" in each for each in cautions(low))
    high = search(capacity={"rate_range_per_s": [60, 90]})
    assert (high.found[0].holds_per_s, high.found[0].fails_per_s) == (None, 60)
    assert any("out of reach" in each for each in cautions(high))
    assert next(answer(high)).startswith("No rate that was tried holds")
    assert not plot(high)


def test_limits_that_even_an_empty_system_misses_end_the_search() -> None:
    found = search(slo={"e2e_ms": 20}).found[0]
    assert found.holds_per_s is None
    assert len(found.rows) == 11


def test_tenants_keep_their_shares_of_a_rate_and_their_pattern_of_gaps() -> None:
    tenants = [
        {"name": "a", "arrivals": {"kind": "poisson", "rate_per_s": 1}},
        {"name": "b", "arrivals": {"kind": "gamma", "rate_per_s": 3, "cv": 2}},
    ]
    workload = {key: value for key, value in SMALL["workload"].items() if key != "arrivals"}
    scenario = toolkit.load({**SMALL, "workload": {**workload, "tenant": tenants}})
    slow, fast = build(scenario), build(at_rate(scenario, 8.0))
    assert fast.tenant is not None
    assert slow.tenant is not None
    assert (fast.tenant == slow.tenant).all()
    assert abs(2 * fast.arrival_ns - slow.arrival_ns).max() <= 2


@settings(max_examples=20)
@given(rate=st.floats(0.5, 500), span_s=st.floats(0, 100))
def test_requests_arrive_for_at_least_the_span(rate: float, span_s: float) -> None:
    scenario = toolkit.load(SMALL)
    entries = at_rate(scenario, rate, span_s).workload.entries
    assert entries >= max(200, rate * span_s)
    assert entries <= max(200, rate * span_s + 1)


def test_recorded_lengths_are_not_made_up() -> None:
    pairs = {"kind": "pairs", "pairs": [[8, 4]] * 200}
    scenario = toolkit.load({**SMALL, "workload": {**SMALL["workload"], "lengths": pairs}})
    assert at_rate(scenario, 100.0, 100.0).workload.entries == 200


def test_replicas_fill_whole_machines() -> None:
    hardware = {
        "machines": 1,
        "devices_per_machine": 4,
        "memory_gb_per_machine": 320,
        "price_usd_per_machine_hour": 8.0,
    }
    deployment = {"kind": "pipeline", "tensor_parallel": 2, "batching": "continuous"}
    scenario = toolkit.load(
        {
            **SMALL,
            "model": {"use": "Llama-3.1-8B"},
            "hardware": hardware,
            "deployment": {**deployment, "data_parallel": 2},
        }
    )
    assert step_of(scenario) == 2
    four = sized(scenario, 4)
    assert (four.machines, four.devices, four.replicas) == (2, 8, 4)
    with pytest.raises(InputError, match="numbers of replicas that fill whole machines: 2 fit"):
        candidates(scenario, [3])


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({key: value for key, value in SMALL.items() if key != "slo"}, "missing; a rate holds if"),
        (
            {**SMALL, **small(workload={"arrivals": {"kind": "at_zero"}})},
            "arrivals with a rate that can be raised",
        ),
        ({**SMALL, "sweep": {"hardware.machines": [1, 2]}}, "does not go with a search"),
        ({**SMALL, "capacity": {"latency": "ttft_p98_ms"}}, "did you mean ttft_p99_ms?"),
        (
            {
                **SMALL,
                "hardware": {"machines": 2},
                "deployment": {
                    "kind": "disaggregated",
                    "prompt_machines": 1,
                    "token_machines": 1,
                    "transfer_time_ms": 1,
                },
                "capacity": {"replicas": [2]},
            },
            "whose replicas are alike",
        ),
    ],
    ids=["no limits", "no rate", "a sweep", "no such latency", "split machines"],
)
def test_what_cannot_be_searched_is_refused(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        capacity(toolkit.load(document), executor="serial")
    assert complaint in str(raised.value).replace("\n      ", " ")


def test_the_schemas_defaults_are_those_of_a_scenario_that_says_nothing() -> None:
    stated = toolkit.load({**SMALL, "capacity": {}}).capacity
    assert stated == Capacity()


def test_latencies_have_names() -> None:
    assert latency_words("ttft_p99_9_ms") == "TTFT, p99.9"
    assert latency_words("decode_wait_p50_ms") == "wait for the first decode, median"


def test_the_command_writes_its_folder_and_tells_the_same_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(toolkit.scenario.dumps({**SMALL, "title": "A small queue"}))
    out = tmp_path / "found"
    call = ["capacity", str(file), "--rate", "50", "--executor", "serial", "-o", str(out)]
    assert main([*call, "--all"]) == 0
    shown = capsys.readouterr().out
    assert (
        "2 replicas is the smallest and the cheapest deployment that holds 50.0"
        in shown.replace("\n", "")
    )
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("report:"))
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert {path.name for path in before} >= {
        *("report.html", "report.md", "results.parquet", "played.csv", "front.csv"),
        *("attainment.svg", "cost_against_latency.png"),
    }
    assert main([*call, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert before == {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert told["smallest"]["replicas"] == 2
    rows = pl.read_parquet(out / "results.parquet")
    assert rows.height == len(told["played"])
    assert rows["rate_per_s"].to_list() == [row["rate_per_s"] for row in told["played"]]


def test_a_rate_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.toml"
    file.write_text(toolkit.scenario.dumps(SMALL))
    assert main(["capacity", str(file), "--rate", "-1"]) == 2
    assert "expected requests per second, above 0" in capsys.readouterr().err
