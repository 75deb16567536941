"""Tenants' limits, the warm-up cut, whether a run keeps up: counted again request by request."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import Row, told

from toolkit import analytics
from toolkit.analytics.memory import InMemory
from toolkit.trace.columns import Chunk

MS = 1_000_000
TENANTS = ("chat", "code", None)
SLO = {"ttft_ms": 300.0, "tpot_ms": 40.0}
OWN = {"e2e_ms": 900.0}


def requests(seed: int, count: int = 60) -> list[Row]:
    """Requests of tenants with random times; some are refused."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for number in range(count):
        arrival = chance.randrange(2_000) * MS
        start = arrival + chance.randrange(300) * MS
        first = start + chance.randrange(1, 200) * MS
        refused = chance.random() < 0.1
        rows.append(
            {
                "request": number,
                "arrival_ns": arrival,
                "start_ns": None if refused else start,
                "prefill_end_ns": None if refused else first,
                "finish_ns": None if refused else first + chance.randrange(800) * MS,
                "output_tokens": chance.randrange(1, 30),
                "size": chance.choice((1, 1, 3)),
                "tenant": chance.choice(TENANTS),
                "outcome": "refused" if refused else "served",
            }
        )
    return rows


def opened(tmp_path: Path, rows: list[Row], **scenario: Any) -> analytics.Run:
    run = told(requests=rows)
    run.manifest["scenario"] |= scenario
    return analytics.open(run.write(tmp_path / "run"))


def by_tenants(**own: dict[str, float]) -> dict[str, Any]:
    listed = [{"name": name, **({"slo": own[name]} if name in own else {})} for name in TENANTS[:2]]
    return {"tenant": listed}


def verdicts(row: Row, limits: dict[str, float]) -> dict[str, bool]:
    """Which limits a request meets, in the words of the views' comments."""
    served = row["outcome"] == "served"
    found = {}
    if "ttft_ms" in limits:
        took = served and row["prefill_end_ns"] - row["arrival_ns"]
        found["ttft"] = bool(served and took <= limits["ttft_ms"] * MS)
    if "tpot_ms" in limits:
        after = row["output_tokens"] - 1
        found["tpot"] = bool(
            served
            and (
                not after
                or row["finish_ns"] - row["prefill_end_ns"] <= limits["tpot_ms"] * MS * after
            )
        )
    if "e2e_ms" in limits:
        took = served and row["finish_ns"] - row["arrival_ns"]
        found["e2e"] = bool(served and took <= limits["e2e_ms"] * MS)
    return found | {"all": all(found.values())}


def limits_of(row: Row, slo: dict[str, float] | None) -> dict[str, float] | None:
    return OWN if row["tenant"] == "code" else slo


def shares(rows: Sequence[Row], slo: dict[str, float] | None) -> dict[str, tuple[int, int]]:
    found: dict[str, list[int]] = {}
    for row in rows:
        limits = limits_of(row, slo)
        for limit, ok in verdicts(row, limits).items() if limits else ():
            met = found.setdefault(limit, [0, 0])
            met[0] += row["size"]
            met[1] += row["size"] * ok
    return {limit: (asked, met) for limit, (asked, met) in found.items()}


@pytest.mark.parametrize("slo", [SLO, None], ids=["with limits for all", "tenants' own only"])
@pytest.mark.parametrize("warm_up_ms", [0, 700])
def test_every_request_is_judged_by_its_tenants_limits_in_place_of_those_for_all(
    slo: dict[str, float] | None, warm_up_ms: int, tmp_path: Path
) -> None:
    rows = requests(7)
    stated: dict[str, Any] = {"workload": by_tenants(code=OWN)}
    if slo:
        stated["slo"] = slo
    if warm_up_ms:
        stated["report"] = {"warm_up_s": warm_up_ms / 1e3}
    run = opened(tmp_path, rows, **stated)
    counted = [row for row in rows if row["arrival_ns"] >= warm_up_ms * MS]

    found = {row["slo"]: row for row in run.frame("FROM slo_attainment").to_dicts()}
    assert {key: (row["requests"], row["met"]) for key, row in found.items()} == shares(
        counted, slo
    )
    for name in ("chat", "code"):
        theirs = [row for row in counted if row["tenant"] == name]
        of_tenant = run.frame("FROM tenant_slo WHERE tenant = $name", name=name).to_dicts()
        assert {row["slo"]: (row["requests"], row["met"]) for row in of_tenant} == shares(
            theirs, slo
        )
    (goodput,) = run.frame("FROM goodput").to_dicts()
    asked, met = shares(counted, slo)["all"]
    makespan_ns = max(row["finish_ns"] or 0 for row in rows)
    assert goodput["attainment"] == pytest.approx(met / asked)
    assert goodput["goodput_per_s"] == pytest.approx(met * 1e9 / (makespan_ns - warm_up_ms * MS))
    assert goodput["good_requests_of_all"] == shares(rows, slo)["all"][1]


@pytest.mark.parametrize("warm_up_ms", [0, 700])
def test_a_tenants_figures_are_those_of_its_own_requests(warm_up_ms: int, tmp_path: Path) -> None:
    rows = requests(11)
    stated = {"report": {"warm_up_s": warm_up_ms / 1e3}} if warm_up_ms else {}
    run = opened(tmp_path, rows, slo=SLO, workload=by_tenants(code=OWN), **stated)
    makespan_s = max(row["finish_ns"] or 0 for row in rows) / 1e9
    found = {row["tenant"]: row for row in run.frame("FROM tenant_summary").to_dicts()}
    assert set(found) == {"chat", "code"}
    for name, figures in found.items():
        sent = [row for row in rows if row["tenant"] == name]
        served = [row for row in sent if row["outcome"] == "served"]
        counted = [row for row in served if row["arrival_ns"] >= warm_up_ms * MS]
        assert figures["arrived_requests"] == sum(row["size"] for row in sent)
        assert figures["requests"] == sum(row["size"] for row in served)
        assert figures["requests_per_s"] == pytest.approx(figures["requests"] / makespan_s)
        for metric, end, since in (
            ("ttft", "prefill_end_ns", "arrival_ns"),
            ("e2e", "finish_ns", "arrival_ns"),
        ):
            took = [(r[end] - r[since]) / 1e9 for r in counted for _ in range(r["size"])]
            assert figures[f"{metric}_median_s"] == pytest.approx(np.quantile(took, 0.5))
            assert figures[f"{metric}_p99_s"] == pytest.approx(np.quantile(took, 0.99))
        judged = [row for row in sent if row["arrival_ns"] >= warm_up_ms * MS]
        asked, met = shares(judged, SLO)["all"]
        assert figures["attainment"] == pytest.approx(met / asked)
        assert figures["goodput_per_s"] == pytest.approx(met / (makespan_s - warm_up_ms / 1e3))


def test_without_tenants_nothing_is_said_of_them(tmp_path: Path) -> None:
    rows = [row | {"tenant": None} for row in requests(3)]
    run = opened(tmp_path, rows, slo=SLO)
    assert not run.frame("FROM tenant_summary").height
    assert not run.frame("FROM tenant_slo").height
    assert run.frame("FROM slo_attainment").height == 3


@pytest.mark.parametrize(
    "stated", [{"warm_up_s": 0.7}, {"warm_up_share": 0.35}], ids=["seconds", "share"]
)
def test_latencies_leave_out_what_arrived_during_the_warm_up(
    stated: dict[str, float], tmp_path: Path
) -> None:
    rows = requests(5)
    first, last = (end(row["arrival_ns"] for row in rows) for end in (min, max))
    until = round(first + 0.35 * (last - first)) if "warm_up_share" in stated else 700 * MS
    run = opened(tmp_path, rows, report={"percentiles": [50.0, 90.0], **stated})
    kept = [row for row in rows if row["outcome"] == "served" and row["arrival_ns"] >= until]
    e2e = [(r["finish_ns"] - r["arrival_ns"]) / 1e9 for r in kept for _ in range(r["size"])]
    p90 = np.quantile(e2e, 0.9)

    summary = run.frame("FROM latency_summary WHERE metric = 'e2e'").to_dicts()[0]
    assert (summary["samples"], summary["max_s"]) == (len(e2e), max(e2e))
    late = "SELECT value_s FROM latency_percentiles WHERE metric = 'e2e' AND percentile = 90"
    assert run.frame(late).item() == pytest.approx(p90)
    spread = run.frame("FROM latency_spread WHERE metric = 'e2e'").to_dicts()[0]
    assert (spread["samples"], spread["percentiles_s"][1]) == (len(e2e), pytest.approx(p90))
    metric = run.frame("SELECT value FROM metrics WHERE metric = 'e2e_p90_ms'").item()
    assert metric == pytest.approx(p90 * 1e3)
    cut = run.frame("FROM warm_up_cut").to_dicts()[0]
    early = sum(row["size"] for row in rows if row["arrival_ns"] < until)
    assert (cut["until_s"], cut["left_out"]) == (until / 1e9, early)
    assert run.frame("SELECT requests FROM throughput").item() == sum(
        row["size"] for row in rows if row["outcome"] == "served"
    )


@pytest.mark.parametrize(
    ("samples", "enough"), [(99, {50.0}), (100, {50.0, 90.0}), (1000, {50.0, 90.0, 99.0})]
)
def test_a_percentile_takes_ten_requests_beyond_it(
    samples: int, enough: set[float], tmp_path: Path
) -> None:
    rows = [{"request": 0, "prefill_end_ns": 1, "finish_ns": 2, "size": samples}]
    run = opened(tmp_path, rows, report={"percentiles": [50.0, 90.0, 99.0, 99.9]})
    found = run.frame("FROM percentile_support WHERE metric = 'e2e' ORDER BY percentile").to_dicts()
    assert {row["percentile"] for row in found if row["enough"]} == enough
    assert [row["needed"] for row in found] == [20, 100, 1000, 10_000]
    assert [row["beyond"] for row in found] == pytest.approx(
        [samples * share for share in (0.5, 0.1, 0.01, 0.001)]
    )


# -- whether a run keeps up ----------------------------------------------------------------------


def queue(arrivals: Sequence[int], service: int, servers: int = 1) -> list[Row]:
    """Requests served first come first served, each for so long."""
    free = [0] * servers
    rows: list[Row] = []
    for number, arrival in enumerate(arrivals):
        at = min(range(servers), key=lambda each: free[each])
        start = max(arrival, free[at])
        free[at] = start + service
        times = {"start_ns": start, "prefill_end_ns": start, "finish_ns": start + service}
        rows.append({"request": number, "arrival_ns": arrival, **times})
    return rows


def asked(rows: list[Row], view: str = "saturation", **manifest: Any) -> Row:
    run = told(requests=rows)
    chunks = [
        Chunk(
            "requests",
            {
                name: [row[name] for row in run.rows["requests"]]
                if name in ("outcome", "tenant")
                else np.array([-1 if r[name] is None else r[name] for r in run.rows["requests"]])
                for name in run.rows["requests"][0]
            },
        )
    ]
    about = {**run.manifest, "scenario": manifest}
    with InMemory([(about, chunks)]) as memory:
        (found,) = memory.frame(f"FROM {view}").to_dicts()
    return dict(found)


EVERY_MS = [at * MS for at in range(400)]


@pytest.mark.parametrize(
    ("rows", "verdict", "because"),
    [
        (queue(EVERY_MS, MS * 9 // 10), "stable", None),
        (queue(EVERY_MS, MS * 3 // 2), "overloaded", None),
        # It keeps up to the nanosecond, behind fifty requests that were there at the start.
        (queue([0] * 50 + EVERY_MS, MS), "backlogged", None),
        # A burst in the first half, worked off by the second.
        (queue([0] * 100 + EVERY_MS, MS * 6 // 10), "stable", None),
        # As many as come are served at once, and none has finished when the last arrives.
        (queue(EVERY_MS, 500 * MS, 500), None, "short_span"),
        # The same for less than a quarter of the load: they are as many as there will be.
        (queue(EVERY_MS, 90 * MS, 500), "stable", None),
        # Long service, and yet the queue says it: it grows among those who wait.
        (queue(EVERY_MS, 150 * MS, 50), "overloaded", None),
        (queue([0] * 400, MS), None, "all_at_once"),
        (queue(EVERY_MS[:60], 2 * MS), None, "few_requests"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_runs_known_to_be_stable_backlogged_or_overloaded_are_called_so(
    rows: list[Row], verdict: str | None, because: str | None
) -> None:
    found = asked(rows)
    assert (found["verdict"], found["unknown_because"]) == (verdict, because)


def test_what_is_left_behind_is_the_share_that_a_server_cannot_take() -> None:
    found = asked(queue(EVERY_MS, MS * 3 // 2))
    assert found["left_behind_share"] == pytest.approx(1 - 2 / 3, abs=0.01)
    assert found["output_per_s"] == pytest.approx(1000 * 2 / 3, rel=0.02)
    assert found["offered_per_s"] == pytest.approx(1000, rel=0.01)


def test_requests_turned_away_are_left_behind() -> None:
    rows = queue(EVERY_MS, MS // 2)
    gone = {"outcome": "refused", "start_ns": None, "prefill_end_ns": None, "finish_ns": None}
    assert asked([row | (gone if at % 4 == 0 else {}) for at, row in enumerate(rows)])[
        "verdict"
    ] == ("overloaded")


@settings(max_examples=25, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 9), min_size=12, max_size=60),
    service=st.integers(1, 30),
    servers=st.integers(1, 4),
)
def test_the_second_half_is_counted_as_moment_by_moment(
    gaps: list[int], service: int, servers: int
) -> None:
    arrivals = np.cumsum([gap * 4 for gap in gaps]).tolist()
    rows = queue(arrivals, service, servers)
    found = asked(rows, "load_halves")
    last, quarter = arrivals[-1], (arrivals[-1] - arrivals[0]) // 4
    middle = last - 2 * quarter
    if not quarter:
        return
    late = [row for row in rows if row["arrival_ns"] >= middle]
    assert found["arrived"] == len(late)
    assert found["finished"] == sum(middle < row["finish_ns"] <= last for row in rows)
    assert found["mean_wait_ns"] == pytest.approx(
        mean(row["start_ns"] - row["arrival_ns"] for row in late)
    )

    def average(since: int, end: str) -> float:
        moments = range(since, since + quarter)
        counts = [sum(r["arrival_ns"] <= at < r[end] for r in rows) for at in moments]
        return float(mean(counts))

    assert found["third_in_system"] == pytest.approx(average(middle, "finish_ns"))
    assert found["fourth_in_system"] == pytest.approx(average(middle + quarter, "finish_ns"))
    assert found["third_waiting"] == pytest.approx(average(middle, "start_ns"))
    assert found["fourth_waiting"] == pytest.approx(average(middle + quarter, "start_ns"))


@pytest.mark.parametrize(
    ("service", "e2e_ms", "holds"),
    [
        (MS // 2, 1.0, True),
        (MS // 2, 0.4, False),
        (MS * 3 // 2, 1e6, False),  # every limit is met, but it does not keep up
    ],
    ids=["within limits", "over limits", "overloaded"],
)
def test_a_load_holds_where_limits_are_met_and_the_run_keeps_up(
    service: int, e2e_ms: float, holds: bool
) -> None:
    stated = {"slo": {"e2e_ms": e2e_ms}, "workload": {"arrivals": {"rate_per_s": 1000.0}}}
    found = asked(queue(EVERY_MS, service), "load_outcome", **stated)
    assert (found["holds"], found["rate_per_s"], found["target"]) == (holds, 1000.0, 0.99)


def test_what_a_thousand_requests_cost_is_the_machines_price_by_the_stated_rate(
    tmp_path: Path,
) -> None:
    run = told(
        requests=queue(EVERY_MS, MS // 2),
        machines=[
            {"machine": at, "name": f"m{at}", "role": "colocated", "price_usd_per_hour": 7.2}
            for at in range(2)
        ],
    )
    run.manifest["load"] = {"rate_per_s": 4.0}
    found = analytics.open(run.write(tmp_path / "run")).frame("FROM load_outcome").to_dicts()[0]
    assert found["usd_per_hour"] == pytest.approx(14.4)
    assert found["usd_per_1000_requests"] == pytest.approx(14.4 / 3600 / 4 * 1000)
    assert found["holds"] is None
