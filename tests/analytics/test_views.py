"""One view at a time: a handful of rows in, the expected table beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import SmallRun, told

from toolkit import analytics


def rows(run: SmallRun, folder: Path, query: str) -> list[tuple[Any, ...]]:
    return analytics.open(run.write(folder / "told")).sql(query).fetchall()


@pytest.mark.parametrize(("discipline", "expected"), [("event", 30), ("dejavu", 45)])
def test_the_first_token_is_the_prompts_end_or_the_end_of_the_first_token_pass(
    tmp_path: Path, discipline: str, expected: int
) -> None:
    run = told(
        discipline=discipline,
        requests=[{"prefill_end_ns": 30, "first_token_ns": 45, "finish_ns": 90}],
    )
    assert rows(run, tmp_path, "SELECT first_token_ns FROM first_token") == [(expected,)]


def test_latencies_count_queueing_and_tpot_leaves_the_first_token_out(tmp_path: Path) -> None:
    run = told(
        requests=[
            {
                "arrival_ns": 1_000_000_000,
                "start_ns": 2_000_000_000,
                "prefill_end_ns": 4_000_000_000,
                "kv_ready_ns": 5_000_000_000,
                "decode_start_ns": 6_000_000_000,
                "first_token_ns": 4_000_000_000,
                "finish_ns": 9_000_000_000,
                "output_tokens": 6,
            }
        ]
    )
    query = """
        SELECT ttft_s, tpot_s, e2e_s, queueing_s, prefill_s, transfer_s, decode_wait_s, decode_s,
            latency_per_token_s
        FROM request_latency
    """
    assert rows(run, tmp_path, query) == [(3.0, 1.0, 8.0, 1.0, 2.0, 1.0, 1.0, 3.0, 8 / 6)]


def test_a_single_token_has_no_time_per_token_and_a_refused_request_no_latency(
    tmp_path: Path,
) -> None:
    done = {"prefill_end_ns": 5, "first_token_ns": 5, "finish_ns": 5}
    run = told(requests=[done, {"request": 1, "outcome": "refused"}])
    assert rows(run, tmp_path, "SELECT request, tpot_s FROM request_latency") == [(0, None)]


def test_each_of_the_like_requests_of_an_entry_counts(tmp_path: Path) -> None:
    """Entries of 3 and 1 requests: the median is the entry of three, the mean lies near it."""
    run = told(
        requests=[
            {"size": 3, "prefill_end_ns": 2_000_000_000, "finish_ns": 2_000_000_000},
            {"request": 1, "prefill_end_ns": 6_000_000_000, "finish_ns": 6_000_000_000},
        ]
    )
    query = "SELECT samples, median_s, mean_s FROM latency_summary WHERE metric = 'e2e'"
    assert rows(run, tmp_path, query) == [(4, 2.0, 3.0)]


def test_latency_per_token_counts_entries_as_the_published_simulators_do(tmp_path: Path) -> None:
    run = told(
        requests=[
            {"size": 3, "prefill_end_ns": 2_000_000_000, "finish_ns": 2_000_000_000},
            {"request": 1, "prefill_end_ns": 6_000_000_000, "finish_ns": 6_000_000_000},
        ]
    )
    query = "SELECT samples, median_s FROM latency_summary WHERE metric = 'latency_per_token'"
    assert rows(run, tmp_path, query) == [(2, 4.0)]


def test_percentiles_interpolate_between_order_statistics(tmp_path: Path) -> None:
    """Of 1, 2, 3 and 5 s the 90th percentile lies at place 2.7, at 3 + 0.7 x 2 s."""
    run = told(
        requests=[
            {"request": at, "prefill_end_ns": seconds * 10**9, "finish_ns": seconds * 10**9}
            for at, seconds in enumerate((5, 1, 3, 2))
        ]
    )
    query = "SELECT percentile, value_s FROM latency_percentiles WHERE metric = 'e2e'"
    assert rows(run, tmp_path, query) == [(50.0, 2.5), (90.0, pytest.approx(4.4))]


def test_the_time_of_a_request_is_its_waits_cut_to_its_life_and_the_rest_is_work(
    tmp_path: Path,
) -> None:
    """Request 1 joined late and left early: its lead's waits count only in between."""
    life = {"prefill_end_ns": 60, "first_token_ns": 60, "lead": 0}
    run = told(
        requests=[
            {"arrival_ns": 0, "start_ns": 25, "finish_ns": 200, **life},
            {"request": 1, "arrival_ns": 10, "start_ns": 25, "finish_ns": 120, **life},
        ],
        waits=[
            {"request": 0, "from_ns": 0, "until_ns": 20, "wait_ns": 20, "cause": "packing"},
            {"request": 1, "from_ns": 10, "until_ns": 20, "wait_ns": 10, "cause": "packing"},
            {"request": 0, "from_ns": 20, "until_ns": 25, "wait_ns": 5, "cause": "queue"},
            {"request": 0, "from_ns": 110, "until_ns": 130, "wait_ns": 20, "cause": "behind_batch"},
        ],
    )
    query = "SELECT request, part, dur_ns FROM request_time ORDER BY ALL"
    assert rows(run, tmp_path, query) == [
        (0, "behind_batch", 20),
        (0, "packing", 20),
        (0, "queue", 5),
        (0, "work", 155),
        (1, "behind_batch", 10),
        (1, "packing", 10),
        (1, "queue", 5),
        (1, "work", 85),
    ]


def test_a_sum_of_waits_that_outlasts_a_request_is_not_split(tmp_path: Path) -> None:
    life = {"start_ns": 0, "prefill_end_ns": 60, "first_token_ns": 60, "lead": 0}
    run = told(
        level="requests",
        requests=[{"finish_ns": 200, **life}, {"request": 1, "finish_ns": 120, **life}],
        waits=[
            {"request": 0, "from_ns": 30, "until_ns": 150, "wait_ns": 70, "cause": "behind_batch"}
        ],
    )
    query = "SELECT request, part, dur_ns FROM request_time ORDER BY ALL"
    assert rows(run, tmp_path, query) == [
        (0, "behind_batch", 70),
        (0, "work", 130),
        (1, "unsplit", 120),
    ]


def test_a_pipeline_has_work_from_first_span_to_last_token_and_touching_lives_are_one(
    tmp_path: Path,
) -> None:
    lives = [(10, 30), (20, 25), (30, 40), (50, 60)]
    run = told(
        requests=[
            {"request": at, "start_ns": start, "finish_ns": finish, "replica": 0}
            for at, (start, finish) in enumerate(lives)
        ]
    )
    query = "SELECT from_ns, until_ns FROM pipeline_work ORDER BY from_ns"
    assert rows(run, tmp_path, query) == [(10, 40), (50, 60)]


def test_every_nanosecond_of_a_stage_is_work_bubble_waiting_or_finished(tmp_path: Path) -> None:
    """Of 100 ns the pipeline has work in 10..40 and 50..60; the stage works 25 ns of these."""
    run = told(
        machines=[
            {"machine": 0, "name": "m00", "role": "colocated", "replica": 0},
            {"machine": 1, "name": "m01", "role": "colocated", "replica": 1},
        ],
        tracks=[
            {"track": at, "kind": "stage", "machine": at, "name": f"stage {at}"} for at in (0, 1)
        ],
        requests=[
            {"start_ns": 10, "finish_ns": 40, "replica": 0},
            {"request": 1, "start_ns": 50, "finish_ns": 60, "replica": 0},
            {"request": 2, "start_ns": 0, "finish_ns": 100, "replica": 1},
        ],
        totals=[
            {"track": 0, "name": "prefill", "busy_ns": 15, "count": 1},
            {"track": 0, "name": "decode", "busy_ns": 10, "count": 5},
        ],
    )
    query = "SELECT part, dur_ns FROM stage_time WHERE track = 0 AND dur_ns > 0 ORDER BY part"
    assert rows(run, tmp_path, query) == [
        ("bubble", 15),
        ("decode", 10),
        ("finished", 40),
        ("prefill", 15),
        ("waiting", 20),
    ]


def test_idle_intervals_are_the_pauses_before_between_and_after(tmp_path: Path) -> None:
    run = told(
        requests=[{"finish_ns": 100}],
        spans=[
            {"ts_ns": 5, "dur_ns": 15, "name": "prefill", "request": 0, "step": 0},
            {"ts_ns": 20, "dur_ns": 10, "name": "decode", "request": 0, "step": 1},
            {"ts_ns": 40, "dur_ns": 30, "name": "decode", "request": 0, "step": 2},
        ],
    )
    query = "SELECT from_ns, until_ns, next_step FROM idle_intervals ORDER BY from_ns"
    assert rows(run, tmp_path, query) == [(0, 5, 0), (30, 40, 2), (70, 100, None)]


def test_without_a_price_there_is_no_bill_and_a_word_about_it(tmp_path: Path) -> None:
    run = told(requests=[{"finish_ns": 3_600_000_000_000}])
    query = "SELECT machine_hours, cost_usd, usd_per_1000_requests, note FROM cost"
    assert rows(run, tmp_path, query) == [(1.0, None, None, "no price stated")]


def test_all_machines_are_paid_for_the_whole_makespan(tmp_path: Path) -> None:
    run = told(
        machines=[
            {"machine": at, "name": f"m{at}", "role": "colocated", "price_usd_per_hour": 18.0}
            for at in (0, 1)
        ],
        requests=[{"finish_ns": 1_800_000_000_000, "size": 10, "output_tokens": 100}],
    )
    query = "SELECT cost_usd, usd_per_1000_requests, usd_per_million_output_tokens FROM cost"
    assert rows(run, tmp_path, query) == [(18.0, 1800.0, 18_000.0)]


def test_throughput_windows_are_round_and_hold_all_tokens(tmp_path: Path) -> None:
    """10 s in windows of 0.1 s: the first token counts where it falls, the others evenly after."""
    run = told(
        requests=[
            {"prefill_end_ns": 5 * 10**9, "finish_ns": 10 * 10**9, "output_tokens": 51, "size": 2}
        ]
    )
    query = """
        SELECT count(*), max(until_s), sum(output_tokens_per_s * (until_s - from_s)),
            max(output_tokens_per_s) FILTER (from_s >= 5), sum(requests_per_s * (until_s - from_s))
        FROM throughput_windows
    """
    (found,) = rows(run, tmp_path, query)
    assert found == (100, 10.0, pytest.approx(102), pytest.approx(20), pytest.approx(2))


def test_a_timeline_draws_close_spans_of_a_name_as_one_bar(tmp_path: Path) -> None:
    """In a stretch of 500 us, decodes 1 us apart make one bar, a prompt one of its own."""
    run = told(
        requests=[{"start_ns": 0, "finish_ns": 500_000}],
        spans=[
            {"ts_ns": 0, "dur_ns": 100_000, "name": "prefill", "step": 0},
            *(
                {"ts_ns": at, "dur_ns": 1_000, "name": "decode", "step": 1}
                for at in (200_000, 202_000, 204_000, 300_000)
            ),
        ],
    )
    run.manifest["scenario"]["report"]["window_s"] = [0.0, 0.0005]
    query = "SELECT name, from_s * 1e9, until_s * 1e9, busy_s * 1e9, spans FROM timeline"
    assert rows(run, tmp_path, query) == [
        ("prefill", 0, 100_000, 100_000, 1),
        ("decode", 200_000, 205_000, 3_000, 3),
        ("decode", 300_000, 301_000, 1_000, 1),
    ]


def test_ratios_are_to_the_first_run(tmp_path: Path) -> None:
    paths = [
        told(requests=[{"prefill_end_ns": 1, "finish_ns": seconds * 10**9}]).write(tmp_path / name)
        for name, seconds in (("first", 4), ("second", 1))
    ]
    together = analytics.open(paths)
    query = "SELECT run, value, ratio_to_first FROM headline WHERE metric = 'makespan'"
    assert together.sql(query).fetchall() == [("first", 4.0, 1.0), ("second", 1.0, 0.25)]
