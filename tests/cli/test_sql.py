"""`toolkit sql`: several traces, patterns, stdin, the prompt, the library on paper."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from small_runs import small_run

from toolkit import analytics
from toolkit.cli import main
from toolkit.commands.prompt import ViewsAndColumns, answer
from toolkit.errors import InputError


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place") / "traces"
    for seed in (1, 2):
        small_run(seed).write(folder / f"run-{seed}")
    (folder / "README.md").write_text("no run")
    return folder


@pytest.fixture(scope="module")
def completer(traces: Path) -> ViewsAndColumns:
    return ViewsAndColumns(analytics.open(traces / "run-1").columns())


Captured = pytest.CaptureFixture[str]


def asked(capsys: Captured, *words: str | Path) -> tuple[int, str, str]:
    code = main(["sql", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_several_traces_have_a_run_column(traces: Path, capsys: Captured) -> None:
    query = "SELECT run, count(*) AS n FROM requests GROUP BY run ORDER BY run"
    two = asked(capsys, traces / "run-2", traces / "run-1", query, "--json")
    runs = [row["run"] for row in json.loads(two[1])]
    assert (two[0], runs) == (0, ["run-2", "run-1"])


def test_a_pattern_stands_for_the_runs_it_matches(traces: Path, capsys: Captured) -> None:
    query = "SELECT DISTINCT run FROM requests ORDER BY run"
    code, out, _ = asked(capsys, f"{traces}/*", query, "--json")
    assert (code, [row["run"] for row in json.loads(out)]) == (0, ["run-1", "run-2"])


@pytest.mark.parametrize("pattern", ["none-*", "READ*"])
def test_a_pattern_without_runs_is_an_input_error(
    traces: Path, capsys: Captured, pattern: str
) -> None:
    code, _, err = asked(capsys, traces / pattern, "SELECT 1")
    assert (code, "expected a pattern that matches runs" in err) == (2, True)


def test_options_may_stand_before_the_query(traces: Path, capsys: Captured) -> None:
    code, out, _ = asked(capsys, traces / "run-1", "--format", "csv", "SELECT 1 AS one")
    assert (code, out) == (0, "one\n1\n")


def test_own_views_join_on_the_command_line(traces: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "mine.sql").write_text("-- All of them.\nSELECT run, request FROM requests")
    file = tmp_path / "mine.sql"
    code, out, _ = asked(capsys, traces / "run-1", "--with", file, "SELECT count(*) n FROM mine")
    assert (code, out.split()[0]) == (0, "n")
    assert "mine\n      All of them." in asked(capsys, "--list", "--with", file)[1]
    assert "SELECT run, request" in asked(capsys, "--show", "mine", "--with", file)[1]


def test_queries_on_stdin_are_answered_one_after_the_other(
    traces: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ([traces / "run-1"], [traces / "run-1", "-"]):
        monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1 AS a; SELECT 2 AS b;"))
        code, out, _ = asked(capsys, *words, "--format", "csv")
        assert (code, out) == (0, "a\n1\nb\n2\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "got nothing"), ("SELEC 1", "syntax error"), ("SELECT 1; SELECT 2", "2 queries")],
)
def test_wrong_input_on_stdin_is_told(
    traces: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code, _, err = asked(capsys, traces / "run-1", "--format", "parquet")
    assert (code, said in err) == (2, True)


def test_show_prints_what_a_view_says_and_its_sql(capsys: Captured) -> None:
    code, out, _ = asked(capsys, "--show", "request_slo")
    assert code == 0
    for said in ("request_slo (facts)", "Grain: one row", "Reads: requests", "CREATE OR REPLACE"):
        assert said in out
    assert max(map(len, out.partition("CREATE")[0].splitlines())) <= 80
    code, out, _ = asked(capsys, "--show", "itl", "--json")
    assert json.loads(out)[0]["name"] == "itl"


def test_a_view_that_is_not_there_gets_its_neighbour(capsys: Captured) -> None:
    code, _, err = asked(capsys, "--show", "request_sloo")
    assert (code, "did you mean request_slo?" in err) == (2, True)


def test_the_prompt_answers_queries_and_commands(traces: Path, capsys: Captured) -> None:
    run = analytics.open(traces / "run-1")
    for text, said in (
        ("SELECT 41 + 1 AS answer; SELECT 3 AS more", "42"),
        (".help", ".columns VIEW"),
        (".list", "throughput_windows"),
        (".show itl", "CREATE OR REPLACE VIEW itl"),
        (".columns goodput", "goodput_per_s"),
        ("", ""),
    ):
        assert answer(run, text, "table")
        assert said in capsys.readouterr().out
    assert not answer(run, ".quit", "table")
    for wrong in (".dance", ".show itll", "SELECT", "DROP VIEW itl"):
        with pytest.raises(InputError):
            answer(run, wrong, "table")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM request_la", {"request_latency"}),
        ("SELECT g.x FROM goodput WHERE goodput.att", {"goodput.attainment"}),
        ("FROM goodput SELECT good_out", {"good_output_tokens_per_s"}),
        ("SELE", {"SELECT"}),
        (".show throughput_w", {"throughput_windows"}),
    ],
)
def test_completion_knows_views_and_columns(
    completer: ViewsAndColumns, text: str, expected: set[str]
) -> None:
    found = completer.get_completions(Document(text), CompleteEvent())
    assert {each.text for each in found} == expected


def test_a_column_completes_before_its_view_is_named_after_it(completer: ViewsAndColumns) -> None:
    text = "SELECT ttft_ FROM request_latency"
    found = completer.get_completions(Document(text, len("SELECT ttft_")), CompleteEvent())
    assert {each.text for each in found} == {"ttft_s"}


def test_the_prompt_is_not_loaded_for_a_query() -> None:
    program = (
        "import sys, toolkit.cli, toolkit.commands.sql; assert 'prompt_toolkit' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_query_longer_than_any_file_name_is_a_query(traces: Path, capsys: Captured) -> None:
    query = f"SELECT 1 AS one {'-- and so on ' * 30}"
    code, out, _ = asked(capsys, traces / "run-1", query, "--format", "csv")
    assert (code, out.split()) == (0, ["one", "1"])
