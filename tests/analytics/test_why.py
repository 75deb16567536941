"""Where a request's time went, with names: recomputed in plain Python, on random runs."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import deployments
import engines
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import Row, SmallRun, small_run, told

from toolkit import analytics
from toolkit.analytics.why import at_percentile, slowest
from toolkit.errors import InputError
from toolkit.scenario.model import Scenario, Trace
from toolkit.simulator import simulate
from toolkit.trace import store
from toolkit.trace.columns import NAMES

LEVELS = ("full", "steps", "requests")

runs = st.builds(
    small_run,
    st.integers(0, 10**6),
    discipline=st.sampled_from(["event", "dejavu"]),
    split=st.booleans(),
    level=st.sampled_from(["full", "requests"]),
)
few = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])


def opened(run: SmallRun, folder: str) -> analytics.Run:
    return analytics.open(run.write(Path(folder) / "small"))


def waits_of(rows: dict[str, list[Row]], request: Row) -> list[tuple[str, int | None, int]]:
    """Return (cause, on whom, ns) of each wait of a request, cut to its life, one by one."""
    found = []
    for wait in rows["waits"]:
        cause = NAMES[wait["cause"]]
        whose = request["request"] if cause == "packing" else request["lead"]
        if wait["request"] == whose:
            since = max(wait["from_ns"], request["arrival_ns"])
            until = min(wait["until_ns"], request["finish_ns"])
            if until > since:
                found.append((cause, wait["on_request"], until - since))
    return found


@given(runs)
@few
def test_waits_are_laid_to_those_who_were_waited_for(run: SmallRun) -> None:
    if run.manifest["level"] != "full":
        return
    expected: dict[tuple[int, str, int | None], int] = defaultdict(int)
    for request in run.rows["requests"]:
        for cause, whom, ns in waits_of(run.rows, request):
            expected[request["request"], cause, whom] += ns
    query = """
        SELECT request, cause, on_request, sum(wait_ns)::BIGINT FROM request_blockers GROUP BY ALL
    """
    with tempfile.TemporaryDirectory() as folder, opened(run, folder) as view:
        found = {row[:3]: row[3] for row in view.sql(query).fetchall()}
    assert found == expected


@given(runs)
@few
def test_what_is_no_wait_is_prefill_until_the_prompts_end_and_decode_after_it(
    run: SmallRun,
) -> None:
    query = "SELECT request, part, dur_ns FROM request_parts WHERE kind = 'own work'"
    with tempfile.TemporaryDirectory() as folder, opened(run, folder) as view:
        found = {(request, part): ns for request, part, ns in view.sql(query).fetchall()}
    if run.manifest["level"] != "full":
        assert {part for _, part in found} <= {"work", "transfer", "prefill", "decode"}
        return
    busy: dict[tuple[int, str], int] = defaultdict(int)
    stages = {row["track"] for row in run.rows["tracks"] if row["kind"] in ("stage", "link")}
    for request in run.rows["requests"]:
        for span in run.rows["spans"]:
            over = span["ts_ns"] + span["dur_ns"]
            working = NAMES[span["name"]] in ("prefill", "decode", "activation")
            mine = span["request"] == request["lead"] and over <= request["finish_ns"]
            if span["track"] in stages and working and mine:
                early = over <= request["prefill_end_ns"]
                busy[request["request"], "prefill" if early else "decode"] += span["dur_ns"]
    assert {key: ns for key, ns in found.items() if key[1] != "transfer"} == busy


@given(
    st.lists(
        st.tuples(deployments.scenarios() | engines.scenarios(), st.sampled_from(LEVELS)),
        min_size=8,
        max_size=8,
    )
)
@settings(max_examples=2, suppress_health_check=[HealthCheck.too_slow])
def test_named_parts_add_up_to_the_end_to_end_time_at_every_level(
    drawn: list[tuple[Scenario, Any]],
) -> None:
    """Several runs at once: a view is planned once for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        stores = [
            stored(scenario, Path(folder) / f"drawn-{number}", level)
            for number, (scenario, level) in enumerate(drawn)
        ]
        with analytics.open(stores) as runs:
            assert runs.frame("FROM request_parts_add_up").height == 0
            assert runs.frame("FROM request_time_adds_up").height == 0
            lived = runs.sql(
                "SELECT run::VARCHAR, request, finish_ns - arrival_ns FROM requests "
                "WHERE outcome = 'served'"
            ).fetchall()
            added: dict[tuple[str, int], int] = defaultdict(int)
            for row in runs.frame("FROM request_parts").to_dicts():
                added[row["run"], row["request"]] += row["dur_ns"]
    assert added == {(run, request): dur for run, request, dur in lived}


def simulated(scenario: Scenario, folder: str) -> analytics.Run:
    return analytics.open(stored(scenario, Path(folder) / "drawn", "full"))


def stored(scenario: Scenario, place: Path, level: Any) -> Path:
    played = simulate(replace(scenario, trace=Trace(level, ())))
    manifest = {
        "name": "drawn",
        "discipline": scenario.discipline,
        "level": level,
        "scenario": {"deployment": {"batching": scenario.deployment.batching}},
    }
    return store.write(place, played, manifest)


@given(deployments.scenarios() | engines.scenarios())
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
def test_a_critical_path_is_work_end_to_end_handed_on_by_waits(scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory() as folder, simulated(scenario, folder) as run:
        activities = run.frame("FROM activities").to_dicts()
        began: dict[int, int] = {}
        for row in sorted(activities, key=lambda row: -row["from_ns"]):
            began[row["request"]] = row["from_ns"]
        served = run.frame("SELECT request FROM requests WHERE outcome = 'served'")
        for request in served["request"].to_list():
            why = run.why(request)
            start, end = why.window_ns
            bounds = [start, *(piece.until_ns for piece in why.path)]
            assert [piece.from_ns for piece in why.path] == bounds[:-1]
            assert bounds[-1] == end
            for piece in why.path:
                if piece.what in ("arrival", "packing"):
                    assert piece is why.path[0]
                    assert piece.until_ns == began[piece.request]
                else:
                    assert any(inside(piece, row) for row in activities), piece
            for before, after in zip(why.path, why.path[1:], strict=False):
                at = after.from_ns
                assert before.request in reached(activities, after.request, at), (before, after)


def inside(piece: Any, row: Row) -> bool:
    return bool(
        (row["request"], row["what"]) == (piece.request, piece.what)
        and row["from_ns"] <= piece.from_ns
        and row["until_ns"] >= piece.until_ns
    )


def reached(activities: list[Row], request: int, at: int) -> set[int]:
    """Return whom `request` can have been waiting for until `at`, directly or through others.

    Besides waits, a cache on a link waits for whatever used one of its links until then.
    """
    found, todo = {request}, [request]
    while todo:
        who = todo.pop()
        links = {
            row["track"]
            for row in activities
            if row["request"] == who
            and ((row["of"] == "carried" and row["from_ns"] == at) or row["what"] == "link_busy")
        }
        for row in activities:
            waited = row["request"] == who and row["from_ns"] < at <= row["until_ns"]
            nexts = {row["on_request"]} if waited and row["of"] == "wait" else set()
            if row["track"] in links and row["from_ns"] < at <= row["until_ns"]:
                nexts.add(row["request"])
            for each in nexts - found - {None}:
                found.add(each)
                todo.append(each)
    return found


@given(deployments.scenarios())
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_a_request_alone_hangs_on_nobody_else(scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory() as folder, simulated(scenario, folder) as run:
        leads = run.frame("SELECT DISTINCT lead FROM requests")["lead"].to_list()
        if len(leads) > 1:
            return
        assert all(hung.own for hung in run.why(0).hung_on())


def queue_of_two() -> SmallRun:
    """The second request waits for the first one's prompt."""
    spans = [
        {"ts_ns": 0, "dur_ns": 60, "name": "prefill", "request": 0},
        {"ts_ns": 60, "dur_ns": 30, "name": "prefill", "request": 1},
    ]
    return told(
        requests=[
            {"request": 0, "lead": 0, "start_ns": 0, "prefill_end_ns": 60, "finish_ns": 60},
            {
                "request": 1,
                "lead": 1,
                "arrival_ns": 10,
                "start_ns": 60,
                "prefill_end_ns": 90,
                "finish_ns": 90,
            },
        ],
        spans=spans,
        waits=[
            {
                "request": 1,
                "from_ns": 10,
                "until_ns": 60,
                "wait_ns": 50,
                "cause": "behind_prompt",
                "on_request": 0,
                "on_track": 0,
            }
        ],
    )


def test_the_blocker_and_its_work_are_named(tmp_path: Path) -> None:
    with analytics.open(queue_of_two().write(tmp_path / "two")) as run:
        why = run.why(1)
        top = run.sql("SELECT request, cause, wait_s, share FROM top_blockers").fetchall()
    assert why.by_part() == {"behind_prompt": 50, "prefill": 30}
    assert why.blockers("behind_prompt") == [(0, 50)]
    assert [(piece.request, piece.what, piece.dur_ns) for piece in why.path] == [
        (0, "prefill", 50),
        (1, "prefill", 30),
    ]
    assert top == [(0, "behind_prompt", 50e-9, 1.0)]


def test_the_slowest_and_a_percentile_are_requests_by_nearest_rank(tmp_path: Path) -> None:
    times = [30, 10, 50, 20, 40]
    requests = [
        {"request": at, "lead": at, "prefill_end_ns": ns, "finish_ns": ns}
        for at, ns in enumerate(times)
    ]
    with analytics.open(told(requests=requests).write(tmp_path / "five")) as run:
        assert slowest(run, 2) == [2, 4]
        assert slowest(run, 9) == [2, 4, 0, 3, 1]
        assert [at_percentile(run, each) for each in (1, 20, 21, 60, 99, 100)] == [1, 1, 3, 0, 2, 2]


def test_at_level_requests_it_says_what_is_lost(tmp_path: Path) -> None:
    with analytics.open(small_run(3, level="requests").write(tmp_path / "small")) as run:
        why = run.why(0)
    assert not why.path
    assert "sums of waits" in why.lost


@pytest.mark.parametrize(
    ("outcome", "request_", "words"),
    [
        ("served", 7, "expected a request from 0 to 0\n      got 7"),
        ("refused", 0, "expected a request that was served\n      got request 0: refused"),
    ],
)
def test_a_request_that_is_not_there_or_was_not_served_is_answered(
    tmp_path: Path, outcome: str, request_: int, words: str
) -> None:
    run = told(requests=[{"outcome": outcome, "finish_ns": 5 if outcome == "served" else None}])
    with (
        analytics.open(run.write(tmp_path / "told")) as view,
        pytest.raises(InputError) as caught,
    ):
        view.why(request_)
    assert words in str(caught.value)


@pytest.mark.parametrize("percentile", [0, -1, 101, float("nan")])
def test_a_percentile_outside_0_to_100_is_refused(tmp_path: Path, percentile: float) -> None:
    with (
        analytics.open(queue_of_two().write(tmp_path / "two")) as run,
        pytest.raises(InputError, match="above 0 and at most 100"),
    ):
        at_percentile(run, percentile)
