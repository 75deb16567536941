"""Runs whose clients wait for answers, give up and try again: invariants, and what views say."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from small_runs import Row, tamper
from test_engine_runs import SCENARIO

import toolkit
from toolkit import analytics
from toolkit.trace import store

CLIENTS = {
    "cancel_share": 0.3,
    "cancel_after_ms": 900,
    "first_token_timeout_ms": 250,
    "timeout_ms": 1_500,
    "max_retries": 2,
    "backoff_ms": 40,
    "backoff_jitter": 0.5,
}
SESSIONS = {"mean_turns": 3, "think_s": 0.2, "think": "exponential"}
LENGTHS = SCENARIO["workload"]["lengths"]
CASES: dict[str, dict[str, Any]] = {
    "sessions": {
        "deployment": {"kv_blocks": 150, "max_num_seqs": 16},
        "workload": {"sessions": SESSIONS, "clients": CLIENTS},
    },
    "loop": {
        "deployment": {"max_waiting": 2, "max_num_seqs": 4, "router": "power_of_two"},
        "workload": {
            "arrivals": {"kind": "closed_loop", "concurrency": 24, "think_s": 0.05},
            "clients": CLIENTS,
        },
    },
    "shared": {
        "deployment": {"kv_blocks": 150, "router": "shared_queue", "max_num_seqs": 8},
        "workload": {"clients": CLIENTS},
    },
}


def written(case: str, level: str, folder: Path) -> analytics.Run:
    parts = CASES[case]
    deployment = {"kind": "pipeline", "batching": "continuous", "data_parallel": 2}
    scenario = toolkit.load(
        SCENARIO
        | {
            "deployment": deployment | parts["deployment"],
            "workload": SCENARIO["workload"] | {"entries": 120} | parts["workload"],
            "trace": {"level": level},
        }
    )
    manifest = {
        "name": case,
        "discipline": "event",
        "level": level,
        "scenario": scenario.document,
        "facts": {"link_model": "none"},
    }
    return analytics.open(store.write(folder / case, toolkit.simulate(scenario), manifest))


@pytest.mark.parametrize(
    ("case", "level"),
    [("sessions", "full"), ("sessions", "requests"), ("loop", "full"), ("shared", "full")],
)
def test_a_run_with_impatient_clients_breaks_no_invariant(
    case: str, level: str, tmp_path: Path
) -> None:
    run = written(case, level, tmp_path)
    assert run.check() == []
    outcomes = set(run.frame("FROM request_outcomes")["outcome"].to_list())
    assert outcomes >= {"served", "timed_out", "cancelled"}
    if case == "loop":
        assert "refused" in outcomes


def test_views_of_outcomes_tries_and_turns_say_what_the_rows_do(tmp_path: Path) -> None:
    run = written("sessions", "requests", tmp_path)
    rows = run.frame("FROM requests ORDER BY request").to_dicts()
    count, tokens, prompts, again = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        outcome, served = row["outcome"], row["outcome"] == "served"
        count[outcome] += 1
        again[outcome] += row["attempt"] > 0
        tokens[outcome] += row["output_tokens"] if served else row["generated_tokens"]
        if not served and row["prefill_end_ns"] is not None:
            prompts[outcome] += row["prompt_tokens"]
    found = {row["outcome"]: row for row in run.frame("FROM request_outcomes").to_dicts()}
    assert set(found) == set(count)
    for outcome, row in found.items():
        in_vain = 0 if outcome == "served" else tokens[outcome]
        assert row["requests"] == count[outcome]
        assert row["share"] == pytest.approx(count[outcome] / len(rows))
        assert row["retries"] == again[outcome]
        assert row["output_tokens"] == tokens[outcome]
        assert row["wasted_prompt_tokens"] == prompts[outcome]
        assert row["wasted_output_tokens"] == in_vain
        assert row["wasted_share"] == pytest.approx(in_vain / tokens.total())
    tries: dict[int, list[Row]] = defaultdict(list)
    turns: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        tries[row["request"] if row["attempt_of"] is None else row["attempt_of"]].append(row)
        turns[row["turn"]].append(row)
    for row in run.frame("FROM request_tries").to_dicts():
        own = sorted(tries.pop(row["request"]), key=lambda each: each["attempt"])
        last = own[-1]
        assert (row["tries"], row["outcome"]) == (len(own), last["outcome"])
        assert row["last_request"] == last["request"]
        ended = last["given_up_ns"] if last["given_up_ns"] is not None else last["finish_ns"]
        assert row["waited_ns"] == ended - own[0]["arrival_ns"]
    assert not tries
    for row in run.frame("FROM session_turns").to_dicts():
        own = turns.pop(row["turn"])
        ttfts = [
            (each["first_token_ns"] - each["arrival_ns"]) / 1e9
            for each in own
            if each["outcome"] == "served"
        ]
        assert (row["requests"], row["served_requests"]) == (len(own), len(ttfts))
        assert row["mean_prompt_tokens"] == pytest.approx(
            sum(each["prompt_tokens"] for each in own) / len(own)
        )
        assert row["ttft_median_s"] == (pytest.approx(median(ttfts)) if ttfts else None)
    assert not turns


def test_a_request_sent_too_early_is_found(tmp_path: Path) -> None:
    written("sessions", "requests", tmp_path)

    def hurry(rows: list[Row]) -> None:
        second = next(row for row in rows if row["turn"] == 1 and row["attempt"] == 0)
        again = next(row for row in rows if row["attempt"] == 1)
        second["arrival_ns"] = again["arrival_ns"] = 0

    tamper(tmp_path / "sessions", "requests", hurry)
    found = analytics.open(tmp_path / "sessions").frame("FROM clients_send_one_after_the_other")
    assert found.height == 2


def test_the_page_and_the_terminal_tell_what_was_in_vain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console  # noqa: PLC0415

    from toolkit.report.content import content  # noqa: PLC0415
    from toolkit.report.findings import find  # noqa: PLC0415
    from toolkit.report.terminal import terminal  # noqa: PLC0415

    run = written("sessions", "requests", tmp_path)
    timed_out = run.frame("FROM request_outcomes WHERE outcome = 'timed_out'").to_dicts()[0]
    terminal([run], Console(width=80))
    shown = capsys.readouterr().out
    (section,) = [each for each in content(find([run])).sections if each.title == "Outcomes"]
    for words in (f"{timed_out['requests']:,} (", "sent again", "answer tokens in vain"):
        assert words in shown
        assert words in str(section.blocks[0])
