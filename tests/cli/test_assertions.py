"""`[[assert]]`: asked of every run, told in the report, and exit code 1 where one is missed."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import toolkit
from toolkit import assertions, cli
from toolkit.errors import InputError, TargetMissedError

DOCUMENT: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "hardware": {"machines": 2},
    "deployment": {"kind": "pipeline", "microbatch_size": 2},
    "workload": {
        "entries": 6,
        "lengths": {"kind": "fixed", "prompt_tokens": 9, "output_tokens": 4},
    },
    "timing": {"kind": "fixed", "prompt_ms": 10.0, "token_ms": 1.0},
    "trace": {"renderings": []},
    "slo": {"ttft_ms": 25, "tpot_ms": 50},
}
"""Two stages, three microbatches of two requests: first tokens after 20, 30 and 55 ms."""

KEPT = {"name": "first token in time", "metric": "ttft_max_ms <= 60"}
MISSED = {"name": "first token at once", "metric": "ttft_p99_ms <= 30"}
ROWS = {
    "name": "no first token after 35 ms",
    "sql": "SELECT request, ttft_s FROM request_latency WHERE ttft_s > 0.035 ORDER BY request",
}
EMPTY = {"name": "none lost", "sql": "SELECT request FROM requests WHERE outcome <> 'served';"}


def document(*asserted: dict[str, str], **more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(DOCUMENT), "assert": list(asserted), **more}


def written(folder: Path, *asserted: dict[str, str], **more: Any) -> Path:
    file = folder / "small.toml"
    file.write_text(tomli_w.dumps(document(*asserted, **more)), encoding="utf-8")
    return file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Captured = pytest.CaptureFixture[str]


def test_what_holds_exits_0_and_is_listed(here: Path, capsys: Captured) -> None:
    assert cli.main(["run", str(written(here, KEPT, EMPTY)), "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out.count("held") == 2
    assert err == ""


def test_a_miss_exits_1_with_trace_and_report_written(here: Path, capsys: Captured) -> None:
    assert cli.main(["run", str(written(here, KEPT, MISSED, ROWS)), "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert Path("traces/small/manifest.json").is_file()
    page = Path("reports/small/report.html").read_text(encoding="utf-8")
    assert "2 of 3 assertions missed" in err
    for said in ("first token at once", "ttft_p99_ms is 55", "2 rows, where none should be"):
        assert said in out
        assert said in page
    assert "toolkit view traces/small --window 0s:" in page
    assert max(map(len, out.splitlines())) <= 80


def test_a_link_opens_the_viewer_at_the_offender(here: Path, capsys: Captured) -> None:
    cli.main(["run", str(written(here, ROWS)), "--quiet", "--json"])
    ((run,),) = (json.loads(capsys.readouterr().out),)
    (outcome,) = run["assertions"]
    assert [each["words"] for each in outcome["offenders"]] == [
        "request 4, ttft_s 0.055",
        "request 5, ttft_s 0.055",
    ]
    first = outcome["offenders"][0]
    window = re.search(r"--window (\S+)s:(\S+)s$", first["command"])
    assert window
    assert float(window[1]) == 0
    assert float(window[2]) >= 0.055
    base = "http://127.0.0.1:9001/#!/?url=http://127.0.0.1:9001/trace/small.pftrace"
    assert first["link"] == f"{base}&visStart=0&visEnd={round(float(window[2]) * 1e9)}"


def test_a_report_made_again_says_the_same(here: Path, capsys: Captured) -> None:
    cli.main(["run", str(written(here, KEPT, MISSED)), "--quiet"])
    before = Path("reports/small/report.html").read_bytes()
    capsys.readouterr()
    assert cli.main(["report", "traces/small"]) == 0
    assert Path("reports/small/report.html").read_bytes() == before
    assert "MISSED" in capsys.readouterr().out


def test_each_variant_is_asked(here: Path, capsys: Captured) -> None:
    variants = [{"name": "slow", "timing": {"prompt_ms": 30.0}}, {"name": "quick"}]
    assert cli.main(["run", str(written(here, KEPT, variant=variants)), "--quiet"]) == 1
    assert "first token in time (slow)" in capsys.readouterr().err


def test_offenders_beyond_those_shown_are_counted(tmp_path: Path) -> None:
    all_of_them = {"name": "none at all", "sql": "FROM requests"}
    run = toolkit.run(toolkit.load(document(all_of_them)), tmp_path, report=False)
    assert isinstance(run, toolkit.analytics.Run)
    (found,) = assertions.outcomes([run])
    assert (len(found.offenders), found.more) == (5, 1)
    with pytest.raises(TargetMissedError, match="6 rows"):
        assertions.require_held([found])


def test_metrics_go_by_seconds_or_milliseconds_and_by_arithmetic(tmp_path: Path) -> None:
    asked = [
        {"name": "a", "metric": "ttft_max_s = ttft_max_ms / 1000"},
        {"name": "b", "metric": "0 < slo_attainment < 1"},
        {"name": "c", "metric": "goodput_per_s * makespan_s > 1.99"},
    ]
    run = toolkit.run(toolkit.load(document(*asked)), tmp_path, report=False)
    assert isinstance(run, toolkit.analytics.Run)
    assert [each.held for each in assertions.outcomes([run])] == [True, True, True]


@pytest.mark.parametrize(
    ("asserted", "said"),
    [
        ({"name": "x", "metric": "ttft_p98_ms <= 1"}, "list its percentile"),
        ({"name": "x", "metric": "tfft_p99_ms <= 1"}, "did you mean ttft_p99_ms?"),
        ({"name": "x", "metric": "cost_usd <= 1"}, "needs a price"),
        ({"name": "x", "metric": "ttft_p99_ms"}, "no condition"),
        ({"name": "x", "metric": "ttft_p99_ms <= 1", "sql": "FROM runs"}, "got both"),
        ({"name": "x"}, "got neither"),
        ({"name": "x", "sql": "SELECT nope FROM itl"}, "nope"),
        ({"name": "x", "sql": "FROM reqests"}, "did you mean requests?"),
        ({"name": "x", "sql": "DROP VIEW itl"}, "never written"),
        ({"name": "x", "sql": "SELECT 1; SELECT 2"}, "2 statements"),
        ({"name": "x", "sqk": "SELECT 1"}, "did you mean sql?"),
        ({"metric": "ttft_p99_ms <= 1"}, "missing"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_simulated(
    here: Path, capsys: Captured, asserted: dict[str, str], said: str
) -> None:
    file = written(here, asserted)
    for words in (["run", str(file), "--quiet"], ["check", str(file)]):
        assert cli.main(words) == 2
        err = capsys.readouterr().err
        assert said in err
        assert "assert[0]" in err
    assert not Path("traces").exists()


def test_limits_are_needed_for_goodput(here: Path, capsys: Captured) -> None:
    asked = {"name": "x", "metric": "goodput_per_s > 1"}
    wrong = document(asked)
    del wrong["slo"]
    with pytest.raises(InputError, match=r"state an \[slo\]"):
        toolkit.run(toolkit.load(wrong), here)


def test_two_assertions_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="expected a name of its own"):
        toolkit.load(document(KEPT, KEPT))


def test_assertions_do_not_go_with_a_sweep() -> None:
    swept = document(KEPT, sweep={"hardware.machines": [1, 2]})
    with pytest.raises(InputError, match="limits of"):
        toolkit.load(swept)


def test_a_resolved_scenario_keeps_limits_and_assertions(tmp_path: Path) -> None:
    variants = [{"name": "a", "slo": {"ttft_ms": 9}}, {"name": "b"}]
    scenario = toolkit.load(document(KEPT, ROWS, variant=variants))
    first, second = scenario.variants
    assert first.slo is not None
    assert (first.slo.ttft_s, first.slo.tpot_s, first.slo.e2e_s) == (0.009, 0.05, None)
    assert len(second.assertions) == 2
    assert toolkit.load(scenario.document) == scenario
    assert toolkit.load(first.document) == first


def test_limits_do_not_change_what_is_simulated(tmp_path: Path) -> None:
    bare = document(KEPT)
    del bare["slo"], bare["assert"]
    for name, given in (("with", document(KEPT)), ("without", bare)):
        toolkit.run(toolkit.load(given), tmp_path / name, report=False)
    for file in (tmp_path / "with" / "traces" / "small").glob("*.parquet"):
        other = tmp_path / "without" / "traces" / "small" / file.name
        assert file.read_bytes() == other.read_bytes()
