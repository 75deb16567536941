"""`toolkit compare`: on a terminal, as JSON, as a page, and as a gate that exits 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import toolkit
from toolkit import cli

Tell = Callable[..., tuple[int, str, str]]

SCENARIO: dict[str, Any] = {
    "schema_version": 1,
    "name": "gate",
    "hardware": {"machines": 2, "price_usd_per_machine_hour": 18.52},
    "deployment": {"kind": "pipeline", "microbatch_size": 1},
    "workload": {"entry": "microbatch", "lengths": {"kind": "pairs", "pairs": [[9, 4]] * 5}},
    "trace": {"renderings": []},
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folders of a run and of one whose tokens take twice as long."""
    out = tmp_path_factory.mktemp("gate")
    for name, token_ms in (("quick", 1.0), ("slow", 2.0)):
        timing = {"kind": "fixed", "prompt_ms": 10.0, "token_ms": token_ms}
        toolkit.run(toolkit.load(SCENARIO | {"name": name, "timing": timing}), out, report=False)
    return out / "traces" / "quick", out / "traces" / "slow"


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tell:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def test_the_keys_come_first_then_the_answer_within_80_columns(
    traces: tuple[Path, Path], tell: Tell
) -> None:
    code, out, err = tell("compare", *traces)
    assert (code, err) == (0, "")
    told = ["quick → slow", "timing.token_ms", "slow serves its 5 requests", "metric", "The same 5"]
    places = [out.index(each) for each in told]
    assert places == sorted(places)
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_broken_limit_exits_1_with_its_words(traces: tuple[Path, Path], tell: Tell) -> None:
    limits = ["--fail-if", "e2e_p99_ms > +5%", "--fail-if", "makespan_s > 100"]
    code, out, err = tell("compare", *traces, *limits)
    assert code == 1
    assert "quick → slow" in out
    assert err.startswith("missed: e2e_p99_ms > +5%: slow has ")
    assert "makespan_s" not in err
    assert tell("compare", *reversed(traces), *limits)[0] == 0


def test_as_json_it_is_one_object(traces: tuple[Path, Path], tell: Tell) -> None:
    code, out, _ = tell("compare", *traces, "--json", "--fail-if", "e2e_p99_ms > +5%")
    found = json.loads(out)
    assert code == 1
    assert [side["label"] for side in found["sides"]] == ["quick", "slow"]
    assert found["changed"] == [{"key": "timing.token_ms", "values": [1.0, 2.0]}]
    assert found["missed"][0]["limit"] == "e2e_p99_ms > +5%"
    by_name = {row["metric"]: row for row in found["metrics"]}
    assert by_name["makespan_s"]["difference"] > 0
    assert found["same_requests"][0]["matched"] == 5


def test_a_run_against_itself_is_said_to_be_the_same(traces: tuple[Path, Path], tell: Tell) -> None:
    _, out, _ = tell("compare", traces[0], traces[0])
    assert "every metric is the same" in out
    assert "take exactly as long in both" in out


def test_the_page_comes_with_figures_tables_and_one_picture_of_both_the_same_every_time(
    traces: tuple[Path, Path], tell: Tell, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        code, out, _ = tell("compare", *traces, "-o", tmp_path / name)
        assert code == 0
        assert f"toolkit view {tmp_path / name / 'together.pftrace'}" in out
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.*"))
    assert {"report.html", "report.md", "together.pftrace"} <= {str(file) for file in files}
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    page = (tmp_path / "a" / "report.html").read_text()
    assert page.index("slow serves its 5 requests") < page.index("<figure")
    for name in ("hung_on", "time", "money", "matched_curve"):
        assert f'id="{name}"' in page
    assert tell("compare", *traces, "-o", tmp_path / "a")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail-if", "e2e is slow"], "expected METRIC"),
        (["--fail-if", "e2e_p98_ms > 3"], "did you mean e2e_p9"),
        (["--fail"], "ambiguous|expected one argument|unknown"),
    ],
)
def test_a_wrong_limit_is_answered(
    words: list[str], said: str, traces: tuple[Path, Path], tell: Tell
) -> None:
    code, out, err = tell("compare", *traces, *words)
    assert (code, out) == (2, "")
    assert any(each in err for each in said.split("|"))


def test_one_trace_is_not_enough(traces: tuple[Path, Path], tell: Tell) -> None:
    assert "at least two traces" in tell("compare", traces[0])[2]


def test_missing_foreign_and_cut_traces_are_wrong_input_and_nothing_is_written_over(
    traces: tuple[Path, Path], tell: Tell, tmp_path: Path
) -> None:
    foreign, cut, kept = tmp_path / "foreign", tmp_path / "cut", tmp_path / "kept"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"displayTimeUnit": "ms"}')
    shutil.copytree(traces[0], cut)
    spans = cut / "spans.parquet"
    spans.write_bytes(spans.read_bytes()[:200])
    assert tell("compare", *traces, "-o", kept)[0] == 0
    before = {file: file.read_bytes() for file in kept.rglob("*.*") if file.is_file()}
    for bad in (tmp_path / "missing", foreign, cut, tmp_path):
        code, out, err = tell("compare", traces[0], bad, "-o", kept)
        assert (code, out) == (2, ""), err
    assert {file: file.read_bytes() for file in before} == before


def test_a_folder_of_something_else_is_left_alone(
    traces: tuple[Path, Path], tell: Tell, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    code, _, err = tell("compare", *traces, "-o", tmp_path / "mine")
    assert code == 2
    assert "expected a report to replace" in err
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]
