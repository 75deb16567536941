"""The ledgers of imported traces: exact sums, and no more causes than a source can tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import toolkit
from toolkit.analytics import Run

DATA = Path(__file__).parent / "data"
MAKESPAN_NS = 2_950_500
MIXED = '\n[[span]]\nname = "step"\ncategory = "both"\nrename = "mixed"\n'


def engine(folder: Path, *more: dict[str, Any], rules: str = "") -> Run:
    """Import the imaginary engine's trace with events and rules added."""
    document = json.loads((DATA / "engine.json").read_text())
    document["traceEvents"] += more
    (folder / "engine.json").write_text(json.dumps(document))
    text = (DATA / "engine.toml").read_text()
    (folder / "engine.toml").write_text(
        text.replace("price_usd", f"{rules}price_usd", 1) if "[[" not in rules else text + rules
    )
    return toolkit.import_trace(
        folder / "engine.json",
        out=folder,
        rules=folder / "engine.toml",
        name="it",
        renderings=False,
    )


def ledger(run: Run, track: str) -> dict[str, int]:
    query = "SELECT cause, dur_ns FROM time_ledger WHERE track_name = $track"
    return dict(run.sql(query, track=track).fetchall())


def test_a_stage_that_works_for_known_requests_has_bubbles_and_pauses_with_a_cause(
    tmp_path: Path,
) -> None:
    run = engine(tmp_path)
    assert ledger(run, "prompt 0") == {
        "prefill": 1_000_000,
        "waiting": 1_500_000,
        "no_work": MAKESPAN_NS - 2_500_000,
    }
    assert ledger(run, "token 0") == {"decode": 200_000, "waiting": MAKESPAN_NS - 200_000}
    assert ledger(run, "worker 0 out") == {"transfer": 250_500, "no_work": MAKESPAN_NS - 250_500}
    assert run.check() == []


def test_a_stage_that_stands_still_inside_a_known_request_is_in_a_bubble(tmp_path: Path) -> None:
    times = {"ph": "X", "name": "step", "pid": 11, "tid": 1, "dur": 50}
    step = {**times, "cat": "token", "ts": 2960, "args": {"req": "req-a", "k": 2, "batch": 3}}
    end = {"ph": "e", "cat": "request", "name": "request", "id": "req-a", "pid": 10, "tid": 9}
    document = json.loads((DATA / "engine.json").read_text())
    events = [event for event in document["traceEvents"] if event.get("ts") != 2950.5]
    (tmp_path / "longer.json").write_text(
        json.dumps({"traceEvents": [*events, step, {**end, "ts": 3010}]})
    )
    run = toolkit.import_trace(
        tmp_path / "longer.json", out=tmp_path, rules=DATA / "engine.toml", renderings=False
    )
    assert ledger(run, "token 0") == {"decode": 250_000, "waiting": 2_750_500, "bubble": 9_500}
    assert run.check() == []


def test_a_stage_that_works_for_no_known_request_leaves_its_pauses_unexplained(
    tmp_path: Path,
) -> None:
    stray = {"ph": "X", "name": "step", "pid": 11, "tid": 1, "ts": 2000, "dur": 100}
    run = engine(tmp_path, {**stray, "cat": "both"}, rules=MIXED)
    assert ledger(run, "token 0") == {
        "mixed": 100_000,
        "decode": 200_000,
        "unexplained": MAKESPAN_NS - 300_000,
    }
    assert "unexplained" not in ledger(run, "prompt 0")
    uses = "SELECT DISTINCT use FROM time_ledger WHERE cause = $cause"
    assert run.sql(uses, cause="unexplained").fetchall() == [("idle",)]
    assert run.sql(uses, cause="mixed").fetchall() == [("useful",)]
    windows = "SELECT sum(dur_s) FROM time_ledger_windows WHERE role = 'token'"
    assert run.sql(windows).fetchall() == [(pytest.approx(MAKESPAN_NS / 1e9),)]
    assert run.check() == []


@pytest.mark.parametrize(("rules", "machines"), [("", 2), ("machines = 1\n", 1)])
def test_the_dollars_of_the_ledger_are_the_bill_of_the_machines_stated(
    rules: str, machines: int, tmp_path: Path
) -> None:
    run = engine(tmp_path, rules=rules)
    bill = machines * 3.6 * MAKESPAN_NS / 3.6e12
    for query in (
        "SELECT cost_usd FROM cost",
        "SELECT cost_usd FROM unit_costs",
        "SELECT sum(cost_usd) FROM cost_ledger",
        "SELECT sum(cost_usd) FROM stage_spending WHERE detail = 'ledger'",
        "SELECT sum(cost_usd) FROM stage_spending WHERE detail = 'parts'",
    ):
        assert run.sql(query).fetchall() == [(pytest.approx(bill),)], query
    assert run.sql("SELECT sum(share) FROM cost_ledger").fetchall() == [(pytest.approx(1),)]


def test_a_request_whose_passes_are_all_there_has_its_gaps_between_tokens(tmp_path: Path) -> None:
    run = engine(tmp_path)
    gaps = "SELECT request, token, gap_ns FROM itl ORDER BY token"
    assert run.sql(gaps).fetchall() == [(0, 1, 350_500), (0, 2, 100_000)]


def test_an_imported_request_s_own_work_is_not_told_apart_from_what_it_waited_for(
    tmp_path: Path,
) -> None:
    story = engine(tmp_path).why(0)
    assert story.by_part() == {"unsplit": 1_450_500, "queue": 500_000}
    assert story.path == []
    assert story.pieces == []
    assert "imported" in story.lost
