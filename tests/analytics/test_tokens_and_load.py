"""Tokens, limits, queues and transfers, computed again in plain Python from the trace's rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import Row, SmallRun, small_run, told

from toolkit import analytics
from toolkit.planner.metrics import metrics
from toolkit.trace.columns import NAMES

LIMITS = {"ttft_ms": 3e-4, "tpot_ms": 4e-5, "e2e_ms": 6e-4}

runs = st.builds(
    small_run,
    seed=st.integers(0, 10_000),
    discipline=st.sampled_from(["event", "dejavu"]),
    split=st.booleans(),
    level=st.sampled_from(["full", "requests"]),
    slo=st.fixed_dictionaries({}, optional={key: st.just(ms) for key, ms in LIMITS.items()}),
)
examples = settings(max_examples=8, deadline=None)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose runs are written over one another."""
    return tmp_path_factory.mktemp("runs")


def opened(run: SmallRun, place: Path) -> analytics.Run:
    return analytics.open(run.write(place / "run"))


def first_token(run: SmallRun, row: Row) -> int:
    dejavu = run.manifest["discipline"] == "dejavu"
    return int(row["first_token_ns"] if dejavu else row["prefill_end_ns"])


def token_times(run: SmallRun) -> dict[int, list[int]]:
    """When each token of each entry was out, from the spans of the last decoding stage."""
    token_machines = [m for m in run.rows["machines"] if m["role"] in ("token", "colocated")]
    last = max(token_machines, key=lambda machine: machine["stage"])["machine"]
    ends: dict[int, dict[int, int]] = defaultdict(dict)
    for span in run.rows["spans"]:
        if span["track"] == last and NAMES[span["name"]] == "decode":
            ends[span["request"]][span["token"]] = span["ts_ns"] + span["dur_ns"]
    times = {}
    for row in run.rows["requests"]:
        passes = [ends[row["lead"]][at] for at in sorted(ends[row["lead"]])]
        if run.manifest["discipline"] != "dejavu":
            passes.insert(0, row["prefill_end_ns"])
        times[row["request"]] = passes[: row["output_tokens"]]
    return times


@examples
@given(runs)
def test_itl_is_the_gap_between_the_ends_of_tokens(place: Path, run: SmallRun) -> None:
    with opened(run, place) as it:
        found = it.sql("SELECT request, token, gap_ns, size FROM itl ORDER BY ALL").fetchall()
        summary = {row["statistic"]: row for row in it.frame("FROM itl_summary").to_dicts()}
    if run.manifest["level"] == "requests":
        assert (found, summary) == ([], {})
        return
    sizes = {row["request"]: row["size"] for row in run.rows["requests"]}
    expected = [
        (request, at, until - since, sizes[request])
        for request, times in token_times(run).items()
        for at, (since, until) in enumerate(pairwise(times), 1)
    ]
    assert found == expected
    alike = [gap / 1e9 for *_, gap, size in expected for _ in range(size)]
    gaps = pl.Series(alike, dtype=pl.Float64)
    if not expected:
        assert summary == {}
        return
    assert summary["mean"]["value_s"] == pytest.approx(gaps.mean(), rel=1e-12)
    assert (summary["min"]["value_s"], summary["max"]["value_s"]) == (gaps.min(), gaps.max())
    for percentile in (50, 90, 99):
        wanted = gaps.quantile(percentile / 100, "linear")
        assert summary[f"p{percentile}"]["value_s"] == pytest.approx(wanted, rel=1e-12)
        assert summary[f"p{percentile}"]["tokens"] == len(gaps)


def verdicts(run: SmallRun) -> dict[int, dict[str, bool | None]]:
    """Which limits each request met, in exact arithmetic of milliseconds as floats."""
    limits: Mapping[str, float] = run.manifest["scenario"]["slo"]
    found = {}
    for row in run.rows["requests"]:
        served = row["outcome"] == "served"
        took: dict[str, float | None] = dict.fromkeys(("ttft", "tpot", "e2e"))
        if served:
            token = first_token(run, row)
            took = {
                "ttft": (token - row["arrival_ns"]) / 1e6,
                "tpot": (row["finish_ns"] - token) / 1e6 / max(row["output_tokens"] - 1, 1),
                "e2e": (row["finish_ns"] - row["arrival_ns"]) / 1e6,
            }
            if row["output_tokens"] == 1:
                took["tpot"] = 0.0
        verdict: dict[str, bool | None] = {
            key: None
            if f"{key}_ms" not in limits
            else served and (value or 0.0) <= limits[f"{key}_ms"] * (1 + 1e-12)
            for key, value in took.items()
        }
        verdict["good"] = served and all(ok is not False for ok in verdict.values())
        found[row["request"]] = verdict
    return found


@examples
@given(runs)
def test_limits_attainment_and_goodput(place: Path, run: SmallRun) -> None:
    with opened(run, place) as it:
        slo = {row["request"]: row for row in it.frame("FROM request_slo").to_dicts()}
        shares = {row["slo"]: row for row in it.frame("FROM slo_attainment").to_dicts()}
        goodput = it.frame("FROM goodput").to_dicts()
    if not run.manifest["scenario"]["slo"]:
        assert not any(row["ttft_ok"] or row["tpot_ok"] or row["e2e_ok"] for row in slo.values())
        return
    expected = verdicts(run)
    assert {
        request: {
            "ttft": row["ttft_ok"],
            "tpot": row["tpot_ok"],
            "e2e": row["e2e_ok"],
            "good": row["good"],
        }
        for request, row in slo.items()
    } == expected
    rows = run.rows["requests"]
    arrived = sum(row["size"] for row in rows)
    for key in ("ttft", "tpot", "e2e", "good"):
        met = sum(row["size"] for row in rows if expected[row["request"]][key])
        name = "all" if key == "good" else key
        if expected[0][key] is None:
            assert name not in shares
        else:
            assert shares[name]["met"] == met
            assert shares[name]["requests"] == arrived
            assert shares[name]["attainment"] == pytest.approx(met / arrived)
    good = [row for row in rows if expected[row["request"]]["good"]]
    makespan_s = max(row["finish_ns"] for row in rows) / 1e9
    (found,) = goodput
    assert found["good_requests"] == sum(row["size"] for row in good)
    assert found["goodput_per_s"] == pytest.approx(found["good_requests"] / makespan_s)
    assert found["attainment"] == shares["all"]["attainment"]
    assert found["good_output_tokens_per_s"] == pytest.approx(
        sum(row["size"] * row["output_tokens"] for row in good) / makespan_s
    )


def test_refused_and_failed_requests_are_misses_and_one_token_meets_a_limit_on_tpot(
    tmp_path: Path,
) -> None:
    done = {"prefill_end_ns": 5, "first_token_ns": 5, "finish_ns": 5}
    run = told(
        requests=[
            done,
            {"request": 1, "outcome": "refused", "size": 2},
            {"request": 2, "outcome": "failed"},
        ]
    )
    run.manifest["scenario"]["slo"] = {"tpot_ms": 1e-9}
    it = opened(run, tmp_path)
    query = "SELECT request, tpot_ok, ttft_ok, good FROM request_slo ORDER BY request"
    assert it.sql(query).fetchall() == [
        (0, True, None, True),
        (1, False, None, False),
        (2, False, None, False),
    ]
    query = "SELECT slo, requests, met, attainment FROM slo_attainment"
    assert it.sql(query).fetchall() == [("tpot", 4, 1, 0.25), ("all", 4, 1, 0.25)]


def test_a_limit_is_met_by_what_is_exactly_as_long(tmp_path: Path) -> None:
    entry = {"prefill_end_ns": 3_000_000, "first_token_ns": 3_000_000, "output_tokens": 4}
    run = told(
        requests=[
            entry | {"finish_ns": 6_000_000},
            entry | {"request": 1, "finish_ns": 6_000_001},
        ]
    )
    run.manifest["scenario"]["slo"] = {"ttft_ms": 3, "tpot_ms": 1, "e2e_ms": 6}
    it = opened(run, tmp_path)
    query = "SELECT ttft_ok, tpot_ok, e2e_ok FROM request_slo ORDER BY request"
    assert it.sql(query).fetchall() == [(True, True, True), (True, False, False)]


def level(rows: Sequence[Row], since: str, until: str, at: int) -> int:
    return sum(row["size"] for row in rows if row[since] <= at < row[until])


@examples
@given(runs)
def test_queue_and_flight_are_counted_moment_by_moment(place: Path, run: SmallRun) -> None:
    with opened(run, place) as it:
        found = {view: it.frame(f"FROM {view}").to_dicts() for view in ("queue_depth", "in_flight")}
        windows = it.frame("FROM load_windows").to_dicts()
    rows = run.rows["requests"]
    spans = {"queue_depth": ("arrival_ns", "start_ns"), "in_flight": ("start_ns", "finish_ns")}
    for view, (since, until) in spans.items():
        for stretch in found[view]:
            for at in (stretch["from_ns"], stretch["until_ns"] - 1):
                assert stretch["requests"] == level(rows, since, until, at)
        area = sum(each["requests"] * (each["until_ns"] - each["from_ns"]) for each in found[view])
        assert area == sum(row["size"] * (row[until] - row[since]) for row in rows)
    for window in windows:
        since, until = round(window["from_s"] * 1e9), round(window["until_s"] * 1e9)
        queued = [level(rows, "arrival_ns", "start_ns", at) for at in range(since, until)]
        flying = [level(rows, "start_ns", "finish_ns", at) for at in range(since, until)]
        assert window["queued_mean"] == pytest.approx(sum(queued) / len(queued))
        assert window["in_flight_mean"] == pytest.approx(sum(flying) / len(flying))
        assert (window["queued_max"], window["in_flight_max"]) == (max(queued), max(flying))
        assert window["kv_mean_bytes"] is None


@examples
@given(runs)
def test_arrivals_and_prompts_over_time(place: Path, run: SmallRun) -> None:
    with opened(run, place) as it:
        windows = it.frame("FROM throughput_windows").to_dicts()
    rows = run.rows["requests"]
    last = windows[-1]
    for window in windows:
        since, until = round(window["from_s"] * 1e9), round(window["until_s"] * 1e9)
        arrived = sum(
            row["size"]
            for row in rows
            if since <= row["arrival_ns"] < until or (window is last and row["arrival_ns"] >= until)
        )
        read = sum(
            row["size"] * row["prompt_tokens"]
            for row in rows
            if since < row["prefill_end_ns"] <= until
        )
        assert window["arrivals_per_s"] == pytest.approx(arrived * 1e9 / (until - since))
        assert window["input_tokens_per_s"] == pytest.approx(read * 1e9 / (until - since))


def test_kv_occupancy_holds_until_its_next_change_and_knows_the_room(tmp_path: Path) -> None:
    run = told(
        machines=[
            {
                "machine": 0,
                "name": "m00",
                "role": "colocated",
                "memory_bytes": 110.0,
                "weights_bytes": 10.0,
            }
        ],
        requests=[{"prefill_end_ns": 5, "first_token_ns": 5, "finish_ns": 200}],
        counter_defs=[
            {"counter": 0, "machine": 0, "name": "KV reserved", "unit": "bytes", "share_key": "kv"}
        ],
        counters=[
            {"counter": 0, "ts_ns": 0, "value": 40.0},
            {"counter": 0, "ts_ns": 50, "value": 80.0},
            {"counter": 0, "ts_ns": 150, "value": 0.0},
        ],
    )
    it = opened(run, tmp_path)
    query = "SELECT from_ns, until_ns, bytes, share FROM kv_occupancy ORDER BY from_ns"
    assert it.sql(query).fetchall() == [
        (0, 50, 40.0, 0.4),
        (50, 150, 80.0, 0.8),
        (150, 200, 0.0, 0.0),
    ]
    (whole,) = it.sql("""
        SELECT sum(kv_mean_bytes * (until_s - from_s)) / sum(until_s - from_s) FROM load_windows
    """).fetchall()[0]
    assert whole == pytest.approx((40 * 50 + 80 * 100) / 200)
    assert it.sql("SELECT max(kv_share_max) FROM load_windows").fetchall() == [(0.8,)]


@examples
@given(runs)
def test_kv_transfers_know_what_hid_them(place: Path, run: SmallRun) -> None:
    with opened(run, place) as it:
        found = it.frame("FROM kv_transfers").to_dicts()
        summary = it.frame("FROM kv_transfer_summary").to_dicts()
    machines = {track["track"]: track["machine"] for track in run.rows["tracks"]}
    spans = run.rows["spans"]
    moved = [span for span in spans if NAMES[span["name"]] == "kv_transfer"]
    assert len(found) == len(moved)
    work = [span for span in spans if NAMES[span["name"]] in ("prefill", "decode")]
    stages = {track["track"] for track in run.rows["tracks"] if track["kind"] == "stage"}
    waits = {
        (wait["request"], wait["until_ns"]): wait["wait_ns"]
        for wait in run.rows["waits"]
        if NAMES[wait["cause"]] == "link_busy"
    }
    for row in found:
        here = [
            (span["ts_ns"], span["ts_ns"] + span["dur_ns"])
            for span in work
            if span["track"] in stages and machines[span["track"]] == row["machine"]
        ]
        hidden = sum(
            max(min(until, row["end_ns"]) - max(since, row["start_ns"]), 0) for since, until in here
        )
        assert row["overlap_ns"] == hidden
        assert row["wait_ns"] == waits.get((row["request"], row["start_ns"]), 0)
    if moved:
        (total,) = summary
        assert total["transfers"] == len(moved)
        assert total["bytes"] == sum(span["bytes"] for span in moved)
        assert total["link_s"] == pytest.approx(sum(span["dur_ns"] for span in moved) / 1e9)
        assert total["mean_wait_s"] == pytest.approx(
            sum(row["wait_ns"] for row in found) / len(found) / 1e9
        )
        assert total["max_wait_s"] == max(row["wait_ns"] for row in found) / 1e9
        assert total["waited"] == sum(row["wait_ns"] > 0 for row in found)
        share = sum(row["overlap_ns"] for row in found) / sum(span["dur_ns"] for span in moved)
        assert total["hidden_share"] == pytest.approx(share)


@examples
@given(runs)
def test_metrics_by_name_are_those_of_the_views_and_of_sweeps(place: Path, run: SmallRun) -> None:
    with opened(run, place) as it:
        found = {row["metric"]: row["value"] for row in it.frame("FROM metrics").to_dicts()}
        worst = it.frame("FROM slowest_requests").to_dicts()
        latency = it.frame("FROM request_latency").to_dicts()
        swept = metrics(it, slo=True)[it.name]
    for name, value in swept.items():
        assert found[name] == (None if value is None else pytest.approx(value, rel=1e-12)), name
    for metric in ("ttft", "tpot", "e2e", "decode_wait"):
        ranked = sorted(
            (row[f"{metric}_s"] for row in latency if row[f"{metric}_s"] is not None), reverse=True
        )
        shown = [row for row in worst if row["metric"] == metric]
        assert [row["value_s"] for row in shown] == ranked[:10]
        assert [row["rank"] for row in shown] == list(range(1, len(shown) + 1))
        if metric != "tpot":
            for row in shown:
                assert (row["until_ns"] - row["from_ns"]) / 1e9 == pytest.approx(row["value_s"])
