"""A healthy trace breaks no invariant; each way to damage one is found by its check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import Row, SmallRun, small_run, tamper

from toolkit import analytics
from toolkit.trace.columns import NAMES, name_key

Rows = list[Row]


def broken(folder: Path) -> set[str]:
    return {each.name for each in analytics.open(folder).check()}


@settings(max_examples=2, deadline=None)
@given(
    st.lists(
        st.builds(
            small_run,
            st.integers(0, 10_000),
            discipline=st.sampled_from(["event", "dejavu"]),
            split=st.booleans(),
            level=st.sampled_from(["full", "requests"]),
        ),
        min_size=8,
        max_size=8,
    )
)
def test_healthy_traces_break_nothing(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[SmallRun]
) -> None:
    place = tmp_path_factory.mktemp("runs")
    folders = [run.write(place / f"healthy-{number}") for number, run in enumerate(drawn)]
    with analytics.open(folders) as runs:
        assert runs.check() == []


def first(rows: Rows, **wanted: Any) -> Row:
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def let_a_stage_do_two_things_at_once(rows: Rows) -> None:
    on_stage = [row for row in rows if row["track"] == 0]
    on_stage[0]["dur_ns"] = on_stage[1]["ts_ns"] + 1 - on_stage[0]["ts_ns"]


def put_a_deep_span_nowhere(rows: Rows) -> None:
    rows.append(rows[-1] | {"ts_ns": rows[-1]["ts_ns"] + 10**6, "depth": 1})


def last_a_negative_time(rows: Rows) -> None:
    rows[0]["dur_ns"] = -5


def name_a_track_that_is_not_there(rows: Rows) -> None:
    rows[0]["track"] = 999


def name_a_request_that_is_not_there(rows: Rows) -> None:
    rows[0]["request"] = 999


def wait_for_a_track_that_is_not_there(rows: Rows) -> None:
    rows[0]["on_track"] = 999


def have_a_track_twice(rows: Rows) -> None:
    rows.append(rows[0])


def tell_of_a_late_span_first(rows: Rows) -> None:
    rows.insert(0, rows.pop())


def count_backwards(rows: Rows) -> None:
    rows.reverse()


def work_before_it_arrived(rows: Rows) -> None:
    late = max(rows, key=lambda row: row["ts_ns"])
    late["ts_ns"] = -1 + min(row["ts_ns"] for row in rows if row["request"] == late["request"])


def arrive_after_the_first_work(rows: Rows) -> None:
    rows[-1]["arrival_ns"] = rows[-1]["finish_ns"]


def lose_a_request(rows: Rows) -> None:
    rows.pop(1)


def serve_without_an_end(rows: Rows) -> None:
    rows[0]["finish_ns"] = None


def give_the_first_token_later(rows: Rows) -> None:
    rows[0]["first_token_ns"] += 1


def add_up_wrongly(rows: Rows) -> None:
    rows[0]["busy_ns"] += 1


def work_longer_than_there_is_work(rows: Rows) -> None:
    first(rows, track=0)["busy_ns"] += 10**9


def lose_a_stage(rows: Rows) -> None:
    rows.remove(first(rows, track=0))


def wait_beyond_the_end(rows: Rows) -> None:
    rows[0]["until_ns"] += 10**9


def wait_for_two_things_at_once(rows: Rows) -> None:
    rows.append(rows[0] | {"cause": name_key("kv_room")})


def wait_a_little_longer_than_true(rows: Rows) -> None:
    wait = next(row for row in rows if NAMES[row["cause"]] == "behind_batch")
    wait["until_ns"] -= 1
    wait["wait_ns"] -= 1


def flow_into_nothing(rows: Rows) -> None:
    rows[0]["ts_ns"] += 1


def keep_a_cache(rows: Rows) -> None:
    rows[-1]["value"] += 1


def receive_nothing(rows: Rows) -> None:
    rows.remove(first(rows, name=name_key("kv_receive")))


def lose_a_token(rows: Rows) -> None:
    passes = [row for row in rows if row["token"] is not None]
    rows.remove(passes[-1])


DAMAGE: list[tuple[str, Callable[[Rows], None], str]] = [
    ("spans", let_a_stage_do_two_things_at_once, "spans_do_not_overlap"),
    ("spans", put_a_deep_span_nowhere, "spans_nest"),
    ("spans", last_a_negative_time, "times_are_not_negative"),
    ("spans", name_a_track_that_is_not_there, "keys_resolve"),
    ("spans", name_a_request_that_is_not_there, "keys_resolve"),
    ("waits", wait_for_a_track_that_is_not_there, "keys_resolve"),
    ("tracks", have_a_track_twice, "keys_are_unique"),
    ("spans", tell_of_a_late_span_first, "spans_are_sorted"),
    ("counters", count_backwards, "counters_are_in_order"),
    ("spans", work_before_it_arrived, "work_follows_arrival"),
    ("requests", arrive_after_the_first_work, "requests_run_their_course"),
    ("requests", lose_a_request, "requests_are_all_there"),
    ("requests", serve_without_an_end, "requests_run_their_course"),
    ("requests", give_the_first_token_later, "first_token_follows_the_rule"),
    ("totals", add_up_wrongly, "totals_are_spans"),
    ("totals", work_longer_than_there_is_work, "stage_time_adds_up"),
    ("totals", add_up_wrongly, "time_ledger_adds_up"),
    ("spans", let_a_stage_do_two_things_at_once, "time_ledger_is_a_partition"),
    ("totals", add_up_wrongly, "bubbles_are_idle_causes"),
    ("tracks", lose_a_stage, "cost_ledger_is_the_bill"),
    ("waits", wait_beyond_the_end, "waits_lie_inside"),
    ("waits", wait_for_two_things_at_once, "waits_do_not_overlap"),
    ("waits", wait_for_two_things_at_once, "work_is_spans"),
    ("waits", wait_for_two_things_at_once, "request_parts_add_up"),
    ("waits", wait_a_little_longer_than_true, "work_is_spans"),
    ("flows", flow_into_nothing, "flows_resolve"),
    ("counters", keep_a_cache, "counters_return_to_zero"),
    ("spans", receive_nothing, "sent_is_received"),
    ("spans", lose_a_token, "itl_adds_up"),
]


@pytest.mark.parametrize(
    ("table", "damage", "check"), DAMAGE, ids=[f"{how.__name__}-{it}" for _, how, it in DAMAGE]
)
def test_damage_is_found(
    tmp_path: Path, table: str, damage: Callable[[Rows], None], check: str
) -> None:
    folder = small_run(2, split=True, batches=6).write(tmp_path / "damaged")
    tamper(folder, table, damage)
    assert analytics.open(folder).frame(f"FROM {check}").height > 0


def test_parts_that_do_not_add_up_are_found(tmp_path: Path) -> None:
    folder = small_run(2, split=True).write(tmp_path / "damaged")

    def wait_longer_than_it_lived(rows: Rows) -> None:
        for row in rows:
            row["from_ns"], row["until_ns"], row["wait_ns"] = 0, 10**9, 10**9

    tamper(folder, "waits", wait_longer_than_it_lived)
    assert analytics.open(folder).frame("FROM request_time_adds_up").height > 0


def test_every_check_is_proved_by_some_damage() -> None:
    checks = {view.name for view in analytics.library() if view.layer == "checks"}
    assert checks == {check for _, _, check in DAMAGE} | {
        "request_time_adds_up",
        "engine_waits_are_steps",  # test_engine_runs
    }


def test_a_broken_invariant_comes_with_its_rows_and_words(tmp_path: Path) -> None:
    folder = small_run(2).write(tmp_path / "damaged")
    tamper(folder, "counters", keep_a_cache)
    (found,) = analytics.open(folder).check()
    assert found.name == "counters_return_to_zero"
    assert found.doc
    assert found.rows["last_value"].to_list() == [1.0]
