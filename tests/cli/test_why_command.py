"""`toolkit why`: the story of a request, at 80 columns, as JSON and as a picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import toolkit
from toolkit import cli
from toolkit.trace.view import link, window_at

Tell = Callable[..., tuple[int, str, str]]

SCENARIO: dict[str, Any] = {
    "schema_version": 1,
    "name": "late",
    "hardware": {"machines": 2},
    "deployment": {"kind": "pipeline", "microbatch_size": 1},
    "workload": {"entry": "microbatch", "lengths": {"kind": "pairs", "pairs": [[9, 4]] * 5}},
    "timing": {"kind": "fixed", "prompt_ms": 10.0, "token_ms": 1.0},
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folder of a run by its trace level."""
    out = tmp_path_factory.mktemp("late")
    made = {}
    for level in ("full", "steps", "requests"):
        trace: dict[str, Any] = {"level": level, "renderings": []}
        toolkit.run(toolkit.load(SCENARIO | {"name": level, "trace": trace}), out, report=False)
        made[level] = out / "traces" / level
    return made


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tell:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def test_one_request_is_told_in_words_a_bar_and_tables_within_80_columns(
    traces: dict[str, Path], tell: Tell
) -> None:
    code, out, err = tell("why", traces["full"], "--request", 4)
    assert (code, err) == (0, "")
    for said in (
        "Request 4 of full:",
        "own work",
        "where its time went",
        "critical path",
        "--at 4",
    ):
        assert said in out
    assert all(
        len(line) <= 80
        for line in out.splitlines()
        if "toolkit view" not in line and "http" not in line
    )


def test_the_parts_in_json_add_up_and_lead_to_the_viewer(
    traces: dict[str, Path], tell: Tell
) -> None:
    for level, folder in traces.items():
        _, out, _ = tell("why", folder, "--slowest", 5, "--json")
        stories = json.loads(out)
        assert len(stories) == 5
        for story in stories:
            assert sum(part["dur_ns"] for part in story["parts"]) == story["e2e_ns"]
            path = story["critical_path"]
            assert sum(part["dur_ns"] for part in path) == (story["e2e_ns"] if path else 0)
            assert bool(path) == (level == "full")
            assert story["view"]["command"].endswith(f"--at {story['request']}")
            opened = window_at(folder, str(story["request"]))
            assert story["view"]["link"] == link(9001, f"{folder.name}.pftrace", opened)


def test_without_a_choice_it_is_the_99th_percentile(traces: dict[str, Path], tell: Tell) -> None:
    slowest = json.loads(tell("why", traces["full"], "--slowest", 1, "--json")[1])
    assert json.loads(tell("why", traces["full"], "--json")[1]) == slowest


def test_several_requests_stand_under_each_other_with_the_top_blockers(
    traces: dict[str, Path], tell: Tell
) -> None:
    code, out, _ = tell("why", traces["full"], "--slowest", 3)
    assert code == 0
    assert "3 requests of full" in out
    assert "kept others" in out


@pytest.mark.parametrize("level", ["steps", "requests"])
def test_a_leaner_trace_says_what_is_lost(level: str, traces: dict[str, Path], tell: Tell) -> None:
    _, out, _ = tell("why", traces[level], "--request", 4)
    assert f"This trace (level `{level}`)" in out


def test_the_picture_is_drawn_the_same_every_time(
    traces: dict[str, Path], tell: Tell, tmp_path: Path
) -> None:
    for name in ("a.svg", "b.svg", "c.png"):
        assert tell("why", traces["full"], "--request", 2, "-o", tmp_path / name)[0] == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert tell("why", traces["requests"], "--slowest", 2, "-o", tmp_path / "d.svg")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--request", "99"], "expected a request from 0 to 4"),
        (["--slowest", "0"], "expected a number of at least 1"),
        (["--percentile", "200"], "expected a number above 0 and at most 100"),
        (["-o", "why.pdf"], "ends in .svg or .png"),
        (["--request", "1", "--slowest", "2"], "not allowed with"),
    ],
)
def test_a_wrong_choice_is_answered(
    words: list[str], said: str, traces: dict[str, Path], tell: Tell
) -> None:
    code, out, err = tell("why", traces["full"], *words)
    assert (code, out) == (2, "")
    assert said in err


def test_a_trace_that_is_missing_foreign_or_cut_short_is_wrong_input_and_draws_nothing(
    traces: dict[str, Path], tell: Tell, tmp_path: Path
) -> None:
    foreign, cut, picture = tmp_path / "foreign", tmp_path / "cut", tmp_path / "kept.svg"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"displayTimeUnit": "ms"}')
    shutil.copytree(traces["full"], cut)
    waits = cut / "waits.parquet"
    waits.write_bytes(waits.read_bytes()[:100])
    picture.write_text("what was there")
    for place in (tmp_path / "missing", foreign, cut, tmp_path):
        code, out, err = tell("why", place, "-o", picture)
        assert (code, out) == (2, ""), err
        assert "problem" in err
    assert picture.read_text() == "what was there"


def test_view_opens_at_a_request_or_a_stretch(traces: dict[str, Path], tell: Tell) -> None:
    start, end = window_at(traces["full"], "4")
    assert start == 0
    story = json.loads(tell("why", traces["full"], "--request", 4, "--json")[1])[0]
    assert story["finish_ns"] < end < story["finish_ns"] * 1.1
    assert window_at(traces["full"], "10ms:20ms") == (10_000_000, 20_000_000)
    for wrong in ("99", "soon"):
        code, _, err = tell("view", traces["full"], "--at", wrong, "--no-browser")
        assert code == 2
        assert "--at" in err
