"""The time ledger, a cause at a time: the smallest world that has to show it, added up by hand."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from ledger_oracle import Piece, merged
from small_runs import Row, SmallRun, told

from toolkit import analytics
from toolkit.trace.columns import IDLE_CAUSES

COLOCATED = ["colocated", "colocated"]
"""Two machines, one pipeline of two stages: tracks 0 and 1; track 2 is the link between them."""

APART = ["prompt", "token"]
"""A prompt machine and a token machine."""


def world(
    roles: list[str],
    requests: list[Row],
    spans: list[tuple[int, int, int, str, int, int]],
    waits: list[tuple[int, int, int, str, int | None]] = [],  # noqa: B006 - never changed
    **more: Any,
) -> SmallRun:
    """Return a run of spans (track, from, until, name, request, step) and waits.

    Waits are (request, from, until, cause, on track); totals follow.
    """
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    for track, since, until, name, _, _ in spans:
        sums[track, name][0] += until - since
        sums[track, name][1] += 1
    stage = {"prompt": 0, "token": 0}
    return told(
        machines=[
            {
                "machine": at,
                "name": f"m{at}",
                "role": role,
                "replica": 1 if role == "token" else 0,
                "stage": stage.get(role, at),
                "price_usd_per_hour": 36.0,
            }
            for at, role in enumerate(roles)
        ],
        tracks=[
            {"track": at, "kind": "stage", "machine": at, "name": f"stage {at}", "rank": at}
            for at in range(len(roles))
        ]
        + [{"track": 2, "kind": "link", "machine": 0, "name": "link", "rank": 2}],
        requests=[
            {"request": at, "lead": at, "replica": 1 if roles == APART else 0} | row
            for at, row in enumerate(requests)
        ],
        spans=[
            {
                "track": track,
                "ts_ns": since,
                "dur_ns": until - since,
                "name": name,
                "request": request,
                "step": step,
            }
            for track, since, until, name, request, step in sorted(
                spans, key=lambda span: (span[1], span[0])
            )
        ],
        waits=[
            {
                "request": request,
                "from_ns": since,
                "until_ns": until,
                "wait_ns": until - since,
                "cause": cause,
                "on_track": track,
            }
            for request, since, until, cause, track in waits
        ],
        totals=[
            {"track": track, "name": name, "busy_ns": busy, "count": count}
            for (track, name), (busy, count) in sums.items()
        ],
        **more,
    )


def stretches(run: SmallRun, folder: Path, track: int) -> list[Piece]:
    """Return a track's stretches of one cause; the ledger has to add up to them."""
    opened = analytics.open(run.write(folder / "told"), kept=["idle_causes"])
    for check in ("time_ledger_adds_up", "time_ledger_is_a_partition", "bubbles_are_idle_causes"):
        assert opened.sql(f"FROM {check}").fetchall() == []
    query = "SELECT from_ns, until_ns, cause FROM time_ledger_intervals WHERE track = $track"
    return merged(opened.sql(f"{query} ORDER BY from_ns", track=track).fetchall())


def alone(arrival: int = 0) -> Row:
    """Return a request that a prompt of 10 + 10 and one decode of 2 + 2 serve, all by itself."""
    return {
        "arrival_ns": arrival,
        "start_ns": arrival,
        "prefill_end_ns": arrival + 20,
        "first_token_ns": arrival + 20,
        "decode_start_ns": arrival + 20,
        "finish_ns": arrival + 24,
    }


def alone_spans(request: int, at: int, step: int) -> list[tuple[int, int, int, str, int, int]]:
    return [
        (0, at, at + 10, "prefill", request, step),
        (1, at + 10, at + 20, "prefill", request, step),
        (0, at + 20, at + 22, "decode", request, step + 1),
        (1, at + 22, at + 24, "decode", request, step + 1),
    ]


def test_fill_and_drain_stand_at_both_ends_of_a_stretch_and_no_work_between_two(
    tmp_path: Path,
) -> None:
    """Two requests that never meet; the second arrives 6 ns after the first is out."""
    run = world(COLOCATED, [alone(), alone(30)], alone_spans(0, 0, 0) + alone_spans(1, 30, 2))
    assert stretches(run, tmp_path, 0) == [
        (0, 10, "prefill"),
        (10, 20, "fill"),  # there were never two for the two stages
        (20, 22, "decode"),
        (22, 24, "drain"),
        (24, 30, "no_work"),
        (30, 40, "prefill"),
        (40, 50, "fill"),
        (50, 52, "decode"),
        (52, 54, "drain"),
    ]
    assert stretches(run, tmp_path, 1)[0] == (0, 10, "fill")


def test_imbalance_is_waiting_for_one_that_a_prompt_holds_at_another_stage(tmp_path: Path) -> None:
    """Request 0 wants to decode on stage 0 while the long prompt of request 1 is there."""
    run = world(
        COLOCATED,
        [
            {"start_ns": 0, "prefill_end_ns": 20, "decode_start_ns": 50, "finish_ns": 54},
            {"start_ns": 10, "prefill_end_ns": 90, "finish_ns": 90},
        ],
        [
            (0, 0, 10, "prefill", 0, 0),
            (1, 10, 20, "prefill", 0, 0),
            (0, 10, 50, "prefill", 1, 1),
            (1, 50, 90, "prefill", 1, 1),
            (0, 50, 52, "decode", 0, 2),
            (1, 90, 92, "decode", 0, 2),
        ],
        [(0, 20, 50, "behind_prompt", 0), (0, 52, 90, "behind_prompt", 1)],
    )
    run.rows["requests"][0]["finish_ns"] = 92
    assert stretches(run, tmp_path, 1) == [
        (0, 10, "fill"),
        (10, 20, "prefill"),
        (20, 50, "imbalance"),  # for request 1, itself at work on stage 0: one for each stage
        (50, 90, "prefill"),
        (90, 92, "decode"),
    ]
    assert stretches(run, tmp_path, 0)[-2:] == [(50, 52, "decode"), (52, 92, "drain")]


def test_early_stop_is_a_place_that_was_taken_and_is_not_filled_again(tmp_path: Path) -> None:
    """Two requests take turns on two stages until one ends; the other goes on alone."""
    run = world(
        COLOCATED,
        [
            {"start_ns": 0, "prefill_end_ns": 20, "decode_start_ns": 20, "finish_ns": 60},
            {"start_ns": 10, "prefill_end_ns": 30, "finish_ns": 30},
        ],
        [
            (0, 0, 10, "prefill", 0, 0),
            (0, 10, 20, "prefill", 1, 1),
            (1, 10, 20, "prefill", 0, 0),
            (1, 20, 30, "prefill", 1, 1),
            (0, 20, 30, "decode", 0, 2),
            (1, 30, 40, "decode", 0, 2),
            (0, 40, 50, "decode", 0, 3),
            (1, 50, 60, "decode", 0, 3),
        ],
    )
    assert stretches(run, tmp_path, 0)[2:] == [
        (30, 40, "early_stop"),
        (40, 50, "decode"),
        (50, 60, "drain"),
    ]
    assert stretches(run, tmp_path, 1)[-2:] == [(40, 50, "early_stop"), (50, 60, "decode")]


def test_a_stage_is_blocked_on_a_transfer_while_what_comes_next_is_on_the_link_to_it(
    tmp_path: Path,
) -> None:
    """Request 0 decodes over a link of 3 ns, after 4 ns behind other traffic on it."""
    run = world(
        COLOCATED,
        [{"start_ns": 0, "prefill_end_ns": 23, "decode_start_ns": 23, "finish_ns": 34}],
        [
            (0, 0, 10, "prefill", 0, 0),
            (2, 10, 13, "activation", 0, 0),
            (1, 13, 23, "prefill", 0, 0),
            (0, 23, 25, "decode", 0, 1),
            (2, 29, 32, "activation", 0, 1),
            (1, 32, 34, "decode", 0, 1),
        ],
        [(0, 25, 29, "link_busy", 2)],
    )
    assert stretches(run, tmp_path, 1) == [
        (0, 13, "fill"),
        (13, 23, "prefill"),
        (23, 25, "fill"),  # at work on stage 0, and there was never another
        (25, 32, "blocked_transfer"),
        (32, 34, "decode"),
    ]
    assert stretches(run, tmp_path, 2) == [
        (0, 10, "no_work"),
        (10, 13, "transfer"),
        (13, 29, "no_work"),
        (29, 32, "transfer"),
        (32, 34, "no_work"),
    ]


def moved(arrival: int, start: int, landed: int, decode: int, until: int) -> Row:
    """Return a request with a prompt of 10 ns, on other machines than its decode."""
    return {
        "arrival_ns": arrival,
        "start_ns": start,
        "prefill_end_ns": start + 10,
        "first_token_ns": start + 10,
        "kv_ready_ns": landed,
        "decode_start_ns": decode,
        "finish_ns": until,
    }


def test_token_machines_starve_for_prompts_and_are_blocked_on_caches_and_room(
    tmp_path: Path,
) -> None:
    """The second request waits for room, is prefilled and moved, each for a while of its own."""
    run = world(
        APART,
        [moved(0, 0, 15, 15, 20), moved(2, 24, 39, 39, 44)],
        [
            (0, 0, 10, "prefill", 0, 0),
            (2, 10, 15, "kv_transfer", 0, 0),
            (1, 15, 20, "decode", 0, 1),
            (0, 24, 34, "prefill", 1, 2),
            (2, 34, 39, "kv_transfer", 1, 2),
            (1, 39, 44, "decode", 1, 3),
        ],
        [
            (0, 10, 15, "transfer", 2),
            (1, 2, 10, "behind_prompt", 0),
            (1, 10, 24, "kv_room", None),
            (1, 34, 39, "transfer", 2),
        ],
    )
    assert stretches(run, tmp_path, 1) == [
        (0, 10, "starved"),
        (10, 15, "blocked_transfer"),
        (15, 20, "decode"),
        (20, 24, "blocked_kv"),
        (24, 34, "starved"),
        (34, 39, "blocked_transfer"),
        (39, 44, "decode"),
    ]
    assert stretches(run, tmp_path, 0) == [
        (0, 10, "prefill"),
        (10, 24, "blocked_kv"),
        (24, 34, "prefill"),
        (34, 44, "no_work"),
    ]


def test_a_token_pipeline_that_is_not_full_lacks_what_is_nearest_to_it(tmp_path: Path) -> None:
    """One decodes on two token stages while the next is prefilled (10 .. 20) and moved (20 .. 30).

    After 30 nobody is left to come, but the second place was taken then for 4 ns.
    """
    run = world(
        ["prompt", "token"],
        [moved(0, 0, 10, 10, 50), moved(0, 10, 30, 30, 34)],
        [
            (0, 0, 10, "prefill", 0, 0),
            (0, 10, 20, "prefill", 1, 1),
            *((1, at, at + 2, "decode", 0, at) for at in range(10, 46, 4)),
            *((3, at + 2, at + 4, "decode", 0, at) for at in range(10, 46, 4)),
            (3, 46, 50, "decode", 0, 50),
            (1, 32, 34, "decode", 1, 30),
            (2, 20, 30, "kv_transfer", 1, 1),
        ],
        [
            (1, 0, 10, "behind_prompt", 0),
            (1, 20, 30, "transfer", 2),
            (1, 30, 32, "behind_batch", 1),
        ],
    )
    run.rows["machines"].append(run.rows["machines"][1] | {"machine": 2, "stage": 1})
    run.rows["tracks"].append(
        run.rows["tracks"][1] | {"track": 3, "machine": 2, "name": "stage 3", "rank": 3}
    )
    found = stretches(run, tmp_path, 1)
    idle = [each for each in found if each[2] != "decode"]
    assert idle == [
        (0, 10, "starved"),
        (12, 14, "starved"),
        (16, 18, "starved"),
        (20, 22, "blocked_transfer"),
        (24, 26, "blocked_transfer"),
        (28, 30, "blocked_transfer"),
        (36, 38, "early_stop"),
        (40, 42, "early_stop"),
        (44, 50, "drain"),
    ]


def test_head_of_line_is_standing_still_while_another_is_ready(tmp_path: Path) -> None:
    """By the list it is request 1's turn on stage 0 at 30; request 0 is ready at 20 and waits."""
    run = world(
        COLOCATED,
        [
            {"start_ns": 0, "prefill_end_ns": 20, "decode_start_ns": 40, "finish_ns": 60},
            {"arrival_ns": 30, "start_ns": 30, "prefill_end_ns": 50, "finish_ns": 50},
        ],
        [
            (0, 0, 10, "prefill", 0, 0),
            (1, 10, 20, "prefill", 0, 0),
            (0, 30, 40, "prefill", 1, 1),
            (1, 40, 50, "prefill", 1, 1),
            (0, 40, 42, "decode", 0, 2),
            (1, 50, 60, "decode", 0, 2),
        ],
        [
            (0, 20, 30, "head_of_line", 0),
            (0, 30, 40, "behind_prompt", 0),
            (0, 42, 50, "behind_prompt", 1),
        ],
        discipline="dejavu",
    )
    assert stretches(run, tmp_path, 0)[:3] == [
        (0, 10, "prefill"),
        (10, 20, "fill"),  # request 1 has not arrived: there was never a second one
        (20, 30, "head_of_line"),
    ]


def test_time_lost_with_a_machine_is_failed(tmp_path: Path) -> None:
    """Whoever comes next waits for a recovery; the waits' vocabulary knows failures already."""
    run = world(
        COLOCATED,
        [{"start_ns": 0, "prefill_end_ns": 20, "decode_start_ns": 50, "finish_ns": 54}],
        [
            (0, 0, 10, "prefill", 0, 0),
            (1, 10, 20, "prefill", 0, 0),
            (0, 50, 52, "decode", 0, 1),
            (1, 52, 54, "decode", 0, 1),
        ],
        [(0, 20, 50, "recovering", None)],
    )
    assert stretches(run, tmp_path, 0)[1:3] == [(10, 20, "fill"), (20, 50, "failed")]


def test_a_machine_that_is_down_is_so_whether_others_wait_for_it_or_not(tmp_path: Path) -> None:
    """Stage 1 fails at 15 in the middle of a prompt; stage 0 stands still until it is back."""
    down: list[Any] = [(1, 15, 25, "failed", None, None), (1, 25, 50, "starting", None, None)]
    run = world(
        COLOCATED,
        [{"start_ns": 0, "prefill_end_ns": 70, "finish_ns": 70}],
        [
            (0, 0, 10, "lost", 0, 0),
            (1, 10, 15, "lost", 0, 0),
            *down,
            (0, 50, 60, "prefill", 0, 1),
            (1, 60, 70, "prefill", 0, 1),
        ],
        [(0, 15, 50, "failed", 1)],
    )
    assert stretches(run, tmp_path, 0)[:3] == [
        (0, 10, "lost"),
        (10, 15, "fill"),
        (15, 50, "failed"),
    ]
    assert stretches(run, tmp_path / "once more", 1)[1:4] == [
        (10, 15, "lost"),
        (15, 25, "failed"),
        (25, 50, "starting"),
    ]


def test_a_stage_that_waits_for_a_cache_from_the_host_waits_for_swapping(tmp_path: Path) -> None:
    run = world(
        COLOCATED,
        [{"start_ns": 0, "prefill_end_ns": 20, "decode_start_ns": 30, "finish_ns": 34}],
        [
            (0, 0, 10, "prefill", 0, 0),
            (1, 10, 20, "prefill", 0, 0),
            (0, 30, 32, "decode", 0, 1),
            (1, 32, 34, "decode", 0, 1),
        ],
        [(0, 20, 30, "swapped", None)],
    )
    assert stretches(run, tmp_path, 0)[2] == (20, 30, "swapping")


def test_steps_of_both_kinds_swaps_and_names_of_other_tools_have_causes(tmp_path: Path) -> None:
    names = ("prefill", "mixed", "swap_out", "attention_kernel")
    run = world(
        COLOCATED,
        [{"start_ns": 0, "prefill_end_ns": 40, "finish_ns": 40}],
        [(0, 10 * at, 10 * at + 10, name, 0, at) for at, name in enumerate(names)],
    )
    foreign = ("mixed", "swap_out", "attention_kernel")
    keys = {name: 100 + at for at, name in enumerate(foreign)}
    run.rows["names"] += [{"name": key, "text": name} for name, key in keys.items()]
    for table in ("spans", "totals"):
        for row in run.rows[table]:
            row["name"] = keys.get(row["name"], row["name"])
    assert stretches(run, tmp_path, 0) == [
        (0, 10, "prefill"),
        (10, 20, "mixed"),
        (20, 30, "swapping"),
        (30, 40, "other"),
    ]


def test_below_level_full_bubbles_are_not_told_apart(tmp_path: Path) -> None:
    run = world(
        COLOCATED,
        [alone(), alone(30)],
        alone_spans(0, 0, 0) + alone_spans(1, 30, 2),
        level="requests",
    )
    run.rows["spans"] = []
    opened = analytics.open(run.write(tmp_path / "told"))
    query = "SELECT cause, dur_ns FROM time_ledger WHERE track = 0 ORDER BY cause"
    assert opened.sql(query).fetchall() == [
        ("bubble", 24),
        ("decode", 4),
        ("no_work", 6),
        ("prefill", 20),
    ]
    assert opened.sql("FROM time_ledger_windows").fetchall() == []
    assert opened.sql("FROM time_ledger_adds_up").fetchall() == []


def test_every_kind_of_price_and_power_is_said_with_its_source(tmp_path: Path) -> None:
    run = world(COLOCATED, [alone()], alone_spans(0, 0, 0))
    run.manifest["scenario"]["hardware"] = {
        "price": "spot",
        "price_usd_per_machine_hour": 36.0,
        "price_source": "a list",
        "busy_w_per_machine": 400,
    }
    (found,) = analytics.open(run.write(tmp_path / "told")).frame("FROM unit_costs").to_dicts()
    assert (found["price_kind"], found["price_source"]) == ("spot", "a list")
    assert found["power_source"] == "stated in the scenario"
    # Two machines for 24 ns; prefill : decode is 20 : 4; watts of standing still are not known.
    assert found["cost_usd"] == pytest.approx(2 * 24 * 36 / 3.6e12)
    assert found["input_usd"] == pytest.approx(2 * 24 * 36 / 3.6e12 * 20 / 24)
    assert found["energy_kwh"] is None
    assert found["co2_g"] is None


def test_the_causes_of_the_tests_above_are_all_there_are() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [cause for cause in IDLE_CAUSES if f'"{cause}")' not in text] == []
