"""Each command does its work, and answers bad input with words and exit code 2."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
import tomli_w

import toolkit
from toolkit import analytics, cli

Told = tuple[int, str, str]
Tell = Callable[..., Told]


SMALL = {
    "schema_version": 1,
    "name": "small",
    "hardware": {"machines": 2, "price_usd_per_machine_hour": 3.6},
    "deployment": {"kind": "pipeline", "microbatch_size": 2},
    "workload": {
        "entries": 6,
        "lengths": {"kind": "fixed", "prompt_tokens": 9, "output_tokens": 4},
    },
    "timing": {"kind": "fixed", "prompt_ms": 10.0, "token_ms": 1.0},
}
"""Two stages, three microbatches of two requests, four tokens each."""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small run."""
    out = tmp_path_factory.mktemp("small")
    toolkit.run(toolkit.load(SMALL), out=out, report=False)
    return out / "traces" / "small"


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Return a function that runs a command and returns exit code, stdout and stderr."""

    def run(*words: object) -> Told:
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a scenario's file; the test runs in its folder."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "small.toml"
    variants = [{"name": "slow", "timing": {"token_ms": 2.0}}, {"name": "quick"}]
    file.write_text(tomli_w.dumps({**SMALL, "variant": variants}), encoding="utf-8")
    return file


# -- check, explain ------------------------------------------------------------------------------


def test_check_finds_a_good_scenario_good(scenario: Path, tell: Tell) -> None:
    assert tell("check", scenario) == (0, f"{scenario}: good; variants slow, quick\n", "")


def test_check_goes_on_after_a_bad_one(scenario: Path, small: Path, tell: Tell) -> None:
    bad = scenario.with_name("bad.toml")
    bad.write_text("schema_version = 1\nhardwear = 3\n", encoding="utf-8")
    code, out, err = tell("check", bad, scenario, small)
    assert code == 2
    assert "did you mean hardware?" in err
    assert f"{scenario}: good" in out
    assert f"{small}: every invariant holds" in out


def test_check_of_a_trace_that_lies_is_our_fault(
    small: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken invariant gives exit code 3, its name and what it says."""
    rows = pl.DataFrame({"track": [3, 5]})
    broken = analytics.Broken("spans_do_not_overlap", "One job at a time.", rows)
    monkeypatch.setattr(analytics.Run, "check", lambda _: [broken])
    code, _, err = tell("check", small)
    assert code == 3
    assert "1 broken invariant\n  spans_do_not_overlap: 2 rows\n      One job at a time." in err


def test_check_as_json_lists_a_verdict_per_path(scenario: Path, tell: Tell) -> None:
    code, out, _ = tell("check", scenario, "nowhere.toml", "--json")
    assert code == 2
    assert [verdict["exit_code"] for verdict in json.loads(out)] == [0, 2]


def test_explain_says_file_and_line(scenario: Path, tell: Tell) -> None:
    code, out, _ = tell("explain", scenario, "hardware.machines", "--set", "hardware.machines=4")
    assert code == 0
    assert out.startswith("hardware.machines = 4\n")
    assert "small.toml:" in out


def test_explain_as_json(scenario: Path, tell: Tell) -> None:
    _, out, _ = tell("explain", scenario, "timing.token_ms", "--variant", "slow", "--json")
    assert json.loads(out)["value"] == 2.0


def test_explain_answers_a_misspelt_key(scenario: Path, tell: Tell) -> None:
    code, _, err = tell("explain", scenario, "hardware.machine_count")
    assert code == 2
    assert "no such key" in err


# -- run, report ---------------------------------------------------------------------------------


def test_run_writes_traces_and_a_report_below_out(scenario: Path, tell: Tell) -> None:
    code, out, _ = tell("run", scenario, "--out", "there", "--quiet")
    assert code == 0
    assert "makespan" in out
    assert {each.name for each in Path("there/traces").iterdir()} >= {"small-slow", "small-quick"}
    assert list(Path("there/reports").rglob("report.html"))


def test_run_as_json_has_what_machines_read(scenario: Path, tell: Tell) -> None:
    code, out, _ = tell("run", scenario, "--no-report", "--json")
    assert code == 0
    slow, quick = json.loads(out)
    assert (slow["name"], quick["name"]) == ("small-slow", "small-quick")
    assert slow["makespan_s"] > quick["makespan_s"] > 0
    assert set(quick["latency_per_token_s"]) == {"median", "max", "min"}
    assert quick["throughput_per_s"] == pytest.approx(6 / quick["makespan_s"])
    assert quick["cost_usd"] == pytest.approx(2 * 3.6 * quick["makespan_s"] / 3600)
    assert Path(quick["trace"], "manifest.json").is_file()
    assert not Path("reports").exists()


def test_run_takes_one_variant_and_overrides(scenario: Path, tell: Tell) -> None:
    _, out, _ = tell(
        "run",
        scenario,
        "--variant",
        "slow",
        "--set",
        "timing.token_ms=7.0",
        "--json",
        "--no-report",
    )
    (run,) = json.loads(out)
    manifest = json.loads(Path(run["trace"], "manifest.json").read_text(encoding="utf-8"))
    assert manifest["variant"] == "slow"
    assert manifest["scenario"]["timing"]["token_ms"] == 7.0


@pytest.mark.parametrize("level", ["full", "steps", "requests"])
def test_run_keeps_what_the_level_says(level: str, scenario: Path, tell: Tell) -> None:
    _, out, _ = tell(
        "run", scenario, "--variant", "slow", "--level", level, "--json", "--no-report"
    )
    (run,) = json.loads(out)
    spans = pq.ParquetFile(Path(run["trace"], "spans.parquet")).metadata.num_rows
    assert (spans == 0) is (level == "requests")


def test_a_manifest_runs_again_to_the_same_bytes(scenario: Path, tell: Tell) -> None:
    tell("run", scenario, "--variant", "slow", "--no-report", "--quiet", "--out", "first")
    manifest = Path("first/traces/small-slow/manifest.json")
    code, _, err = tell("run", manifest, "--no-report", "--quiet", "--out", "second")
    assert code == 0, err
    for file in Path("first/traces/small-slow").glob("*.parquet"):
        assert file.read_bytes() == Path("second/traces/small-slow", file.name).read_bytes()


def test_nothing_runs_when_one_of_several_scenarios_is_wrong(scenario: Path, tell: Tell) -> None:
    code, _, err = tell("run", scenario, "nowhere.toml")
    assert code == 2
    assert "nowhere.toml" in err
    assert not Path("traces").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "hardware.machines"), "hardware.machines"),
        (("--set", "hardware.machines=many"), "hardware.machines"),
        (("--set", "hardware.machnes=3"), "did you mean"),
        (("--variant", "slwo"), "slow"),
        (("--level", "everything"), "trace.level"),
    ],
)
def test_a_wrong_option_is_answered(
    words: tuple[str, ...], said: str, scenario: Path, tell: Tell
) -> None:
    code, out, err = tell("run", scenario, *words)
    assert code == 2
    assert out == ""
    assert said in err


def test_output_that_cannot_be_written_is_wrong_input(scenario: Path, tell: Tell) -> None:
    Path("occupied").write_text("a file", encoding="utf-8")
    code, _, err = tell("run", scenario, "--out", "occupied", "--quiet")
    assert code == 2
    assert "occupied" in err


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs a folder nobody may write to")
def test_an_unwritable_folder_is_wrong_input(scenario: Path, tell: Tell) -> None:
    code, _, err = tell("run", scenario, "--out", "/proc/nowhere", "--quiet")
    assert code == 2
    assert "/proc/nowhere" in err


def test_report_is_made_again_from_traces_alone(scenario: Path, tell: Tell) -> None:
    tell("run", scenario, "--no-report", "--quiet")
    scenario.unlink()
    code, out, _ = tell("report", "traces/small-slow", "traces/small-quick", "-o", "page")
    assert code == 0
    assert "slow" in out
    assert Path("page/report.html").is_file()


# -- sql, export, catalog ------------------------------------------------------------------------


def test_sql_prints_aligned_text(small: Path, tell: Tell) -> None:
    query = "SELECT count(*) AS n FROM requests"
    assert tell("sql", small, query) == (0, "n\n─\n6\n", "")


def test_sql_writes_files_of_every_format(small: Path, tmp_path: Path, tell: Tell) -> None:
    for form in ("table", "csv", "json", "parquet"):
        file = tmp_path / f"out.{form}"
        assert tell("sql", small, "FROM requests", "--format", form, "-o", file) == (0, "", "")
        assert file.stat().st_size > 0


def test_sql_puts_several_traces_side_by_side(scenario: Path, tell: Tell) -> None:
    tell("run", scenario, "--no-report", "--quiet")
    query = "SELECT label FROM runs ORDER BY ordinal"
    _, out, _ = tell("sql", "traces/small-slow", "traces/small-quick", query, "--json")
    assert [row["label"] for row in json.loads(out)] == ["slow", "quick"]


def test_sql_lists_the_library(tell: Tell) -> None:
    code, out, _ = tell("sql", "--list")
    assert code == 0
    assert "run_summary" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEKT 1", "syntax error"),
        ("SELECT * FROM requets", "did you mean requests?"),
        ("SELECT arival_ns FROM requests", "arrival_ns"),
        ("DROP VIEW requests", "traces are read, never written"),
        ("COPY requests TO 'here.csv'", "traces are read, never written"),
        ("SELECT 1; SELECT 2", "expected one query"),
        ("SELECT outcome::INTEGER FROM requests", "Could not convert"),
    ],
)
def test_sql_answers_a_wrong_query(query: str, said: str, small: Path, tell: Tell) -> None:
    code, out, err = tell("sql", small, query)
    assert code == 2
    assert out == ""
    assert said in err


def test_sql_refuses_a_truncated_file(small: Path, tmp_path: Path, tell: Tell) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(small, cut)
    whole = (cut / "spans.parquet").read_bytes()
    (cut / "spans.parquet").write_bytes(whole[: len(whole) // 2])
    code, _, err = tell("sql", cut, "SELECT 1")
    assert code == 2
    assert "spans.parquet" in err


@pytest.mark.parametrize(
    "words", [("sql", "nowhere", "SELECT 1"), ("report", "nowhere"), ("view", "nowhere")]
)
def test_a_trace_that_is_not_there_is_wrong_input(words: tuple[str, ...], tell: Tell) -> None:
    code, _, err = tell(*words)
    assert code == 2
    assert "nowhere" in err


def test_export_writes_both_renderings(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tell("export", small, "--to", "perfetto")[0] == 0
    assert Path("small.pftrace").stat().st_size > 0
    code, out, _ = tell("export", small, "--to", "chrome", "--window", "0:15ms", "--machines", "0")
    assert code == 0
    assert out.startswith("small.json.gz: ")
    with gzip.open("small.json.gz") as file:
        assert json.load(file)["traceEvents"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--window", "10:20"), "with a unit"),
        (("--machines", "zero"), "numbers and ranges"),
        (("--machines", "17"), "--machines"),
        (("--max-spans", "3"), "3"),
    ],
)
def test_export_answers_a_wrong_selection(
    words: tuple[str, ...], said: str, small: Path, tmp_path: Path, tell: Tell
) -> None:
    code, _, err = tell("export", small, "--to", "perfetto", "-o", tmp_path / "a.pftrace", *words)
    assert code == 2
    assert said in err
    assert not any(tmp_path.iterdir())


def test_catalog_shows_figures_with_their_sources(tell: Tell) -> None:
    code, out, _ = tell("catalog", "V100-16GB")
    assert code == 0
    assert "memory_gb" in out
    assert "from memory" in out


def test_catalog_answers_a_misspelt_name(tell: Tell) -> None:
    code, _, err = tell("catalog", "opt66b")
    assert code == 2
    assert "did you mean OPT-66B?" in err


def test_an_interrupted_run_leaves_nothing_half_written(
    scenario: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of before is still there, byte for byte."""
    tell("run", scenario, "--variant", "slow", "--no-report", "--quiet")
    before = {file: file.read_bytes() for file in Path("traces").rglob("*") if file.is_file()}

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("toolkit.trace.store.StoreWriter.write", interrupt)
    code, _, err = tell("run", scenario, "--variant", "slow", "--no-report", "--quiet")
    assert code == 130
    assert "Traceback" not in err
    after = {file: file.read_bytes() for file in Path("traces").rglob("*") if file.is_file()}
    assert {file for file in after if not file.name.startswith(".")} == set(before)
    assert all(after[file] == before[file] for file in before)
    assert os.listdir("traces")


# -- explain-run ---------------------------------------------------------------------------------


def test_explain_run_says_three_sentences_whose_numbers_are_the_view_s(
    small: Path, tell: Tell
) -> None:
    code, out, err = tell("explain-run", small)
    assert (code, err) == (0, "")
    told = " ".join(out.split()).replace("\N{NO-BREAK SPACE}", " ")
    assert told.startswith("small Stages work ")
    assert told.count(".  ") == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    with analytics.open(small) as opened:
        first = opened.frame("FROM dominant_causes").to_dicts()[0]
    assert f"{100 * first['share']:.0f} % of all stage time" in told
    assert f"({first['cause'].replace('_', ' ')})" in told
    assert f"{first['without_s'] * 1000:.1f} ms of the {first['makespan_s'] * 1000:.1f} ms" in told
    _, text, _ = tell("explain-run", small, small, "--json")
    one, two = json.loads(text)
    assert one["causes"] == two["causes"]
    assert one["causes"][0]["share"] == first["share"]
    sentences = (one["dominates"], one["because"], one["change"])
    assert all(each.endswith(".") and ". " not in each for each in sentences)
    assert " ".join(sentences).replace("\N{NO-BREAK SPACE}", " ") == told.removeprefix("small ")


def test_explain_run_refuses_what_is_no_run(tmp_path: Path, tell: Tell) -> None:
    code, out, err = tell("explain-run", tmp_path)
    assert (code, out) == (2, "")
    assert str(tmp_path) in err
