"""The published simulators' flags give the published simulators' answers.

Golden: recorded from the unedited programs (msr-fiddle/dejavu, commit 07e76be);
the store keeps whole nanoseconds, so a time may differ by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import toolkit
from toolkit import cli

NS_IN_US = 1e-3

GOLDEN = {"baseline": "reference_baseline.json", "disaggregated": "reference_disaggregated.json"}
FILES = {"baseline": "baseline_trace.json", "disaggregated": "dv_trace.json"}
MOST_EVENTS = 4000

Case = Mapping[str, Any]


@pytest.fixture(scope="module")
def inputs(shared: Path) -> Mapping[str, Any]:
    text = (shared / "golden" / "reference_inputs.json").read_text(encoding="utf-8")
    return dict(json.loads(text)["inputs"])


def cases(shared: Path, simulator: str) -> list[Case]:
    text = (shared / "golden" / GOLDEN[simulator]).read_text(encoding="utf-8")
    return list(json.loads(text)["cases"])


def command(simulator: str, case: Case, inputs: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the command line of a golden case, its input written to a file."""
    file = folder / "pairs.json"
    file.write_text(json.dumps(inputs[case["input"]]), encoding="utf-8")
    words = ["dejavu", simulator, "--trace_file", str(file)]
    for key, value in case["params"].items():
        if key == "do_traces":
            words += ["--do_traces"] if value else []
        else:
            words += [f"--{key.removesuffix('_ms')}", str(value)]
    return words


def spread(found: list[Case], count: int) -> list[Case]:
    """Return `count` cases from the whole breadth of the list."""
    return found[:: max(len(found) // count, 1)][:count]


def assert_summary(answer: Mapping[str, Any], golden: Mapping[str, Any]) -> None:
    makespan_s = golden["makespan_s"]
    assert answer["makespan_s"] == pytest.approx(makespan_s, rel=1e-9, abs=1e-9)
    tolerance = 1e-9 + 1e-9 / makespan_s  # of a quotient whose divisor may be off by 1 ns
    throughput = golden["throughput_ubatches_per_s"]
    assert answer["throughput_per_s"] == pytest.approx(throughput, rel=tolerance)
    for key, value in golden["latency_per_token_s"].items():
        assert answer["latency_per_token_s"][key] == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("simulator", GOLDEN)
def test_a_spread_of_golden_cases_agrees(
    simulator: str,
    shared: Path,
    inputs: Mapping[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    good = [
        case
        for case in cases(shared, simulator)
        if "error" not in case["result"] and not case["params"]["do_traces"]
    ]
    clamped = [
        case for case in good if case["input"] in ("low_clamp", "high_clamp", "chat_over512")
    ]
    for case in spread(good, 5) + spread(clamped, 3):
        assert cli.main([*command(simulator, case, inputs, tmp_path), "--json"]) == 0
        assert_summary(json.loads(capsys.readouterr().out), case["result"])
    assert [file.name for file in tmp_path.iterdir()] == ["pairs.json"]


@pytest.mark.parametrize("simulator", GOLDEN)
def test_traces_agree_event_by_event(
    simulator: str,
    shared: Path,
    inputs: Mapping[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a set: the published file is in the order of a work list, ours in that of time."""
    monkeypatch.chdir(tmp_path)
    traced = [
        case
        for case in cases(shared, simulator)
        if len(case["result"].get("trace_events", [])) in range(1, MOST_EVENTS)
    ]
    for case in spread(traced, 4):
        assert cli.main([*command(simulator, case, inputs, tmp_path), "--json"]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert_summary(summary, case["result"])
        assert toolkit.open(tmp_path / summary["trace"]).check() == []
        events = json.loads((tmp_path / FILES[simulator]).read_text(encoding="utf-8"))
        assert_same_events(events, case["result"]["trace_events"])


def assert_same_events(events: list[Any], golden: list[Any]) -> None:
    ours, theirs = sorted(events, key=identity), sorted(golden, key=identity)
    assert list(map(identity, ours)) == list(map(identity, theirs))
    for time in ("ts", "dur"):
        expected = [event.get(time, 0.0) for event in theirs]
        found = [event.get(time, 0.0) for event in ours]
        assert found == pytest.approx(expected, rel=1e-9, abs=1.001 * NS_IN_US)


def identity(event: Any) -> tuple[str, ...]:
    """Return all of an event but its times."""
    keys = ("ph", "pid", "name", "cname", "args")
    return tuple(str(event.get(key)) for key in keys)


@pytest.mark.parametrize("simulator", GOLDEN)
def test_where_the_published_programs_crash_there_is_an_error_or_the_answer(
    simulator: str,
    shared: Path,
    inputs: Mapping[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An answer where the palette ran out of colours; else exit code 2 and the flag to blame."""
    monkeypatch.chdir(tmp_path)
    crashed = [case for case in cases(shared, simulator) if "error" in case["result"]]
    by_accident = [case for case in crashed if case["params"]["do_traces"]]
    for case in spread([case for case in crashed if case not in by_accident], 8):
        assert cli.main(command(simulator, case, inputs, tmp_path)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "\n  --" in err
    for case in spread(by_accident, 1):
        words = command(simulator, case, inputs, tmp_path)
        assert cli.main([*words, "--json"]) == 0
        traced = json.loads(capsys.readouterr().out)
        events = json.loads((tmp_path / FILES[simulator]).read_text(encoding="utf-8"))
        assert max(event["pid"] for event in events) >= 13
        words.remove("--do_traces")
        assert cli.main([*words, "--json"]) == 0
        untraced = json.loads(capsys.readouterr().out)
        for key in ("name", "makespan_s", "throughput_per_s", "latency_per_token_s"):
            assert untraced[key] == traced[key]


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pairs.json"
    file.write_text("[[10, 5], [10, 3], [10, 4]]", encoding="utf-8")
    return file


def test_the_summary_says_what_the_published_programs_say(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One machine, 1 ms a prompt, 1 ms a token: 3 + 5 + 3 + 4 passes."""
    assert cli.main(["dejavu", "baseline", "--trace_file", str(pairs)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "makespan           0.015 s",
        "throughput         200 microbatches/s",
        "latency per token  0.00333333333 s median, 0.00375 s max, 0.0012 s min",
    ]


def test_a_saved_scenario_runs_to_the_same_answer(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scenario names its trace file as seen from its own folder."""
    (tmp_path / "saved").mkdir()
    words = ["dejavu", "disaggregated", "--trace_file", "pairs.json", "--rps", "3", "--json"]
    assert cli.main([*words, "--save-scenario", "saved/one.toml"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert cli.main(["run", "saved/one.toml", "--no-report", "--json", "--out", "again"]) == 0
    (again,) = json.loads(capsys.readouterr().out)
    assert again["makespan_s"] == answer["makespan_s"]
    assert again["latency_per_token_s"] == answer["latency_per_token_s"]


@pytest.mark.parametrize(
    ("flags", "blamed"),
    [
        ([], "--trace_file"),
        (["--trace_file", "nowhere.json"], "--trace_file"),
        (["--trace_file", "pairs.json", "--num_machines", "0"], "--num_machines"),
        (["--trace_file", "pairs.json", "--num_machines", "4"], "--trace_file"),
        (["--trace_file", "pairs.json", "--prompt_time", "nan"], "--prompt_time"),
        (["--trace_file", "pairs.json", "--token_time", "-1"], "--token_time"),
        (["--trace_file", "pairs.json", "--rps", "inf"], "--rps"),
        (
            ["--trace_file", "pairs.json", "--prompt_time", "0", "--token_time", "0"],
            "--prompt_time",
        ),
    ],
)
def test_errors_speak_of_the_flags(
    flags: list[str], blamed: str, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["dejavu", "baseline", *flags]) == 2
    assert f"\n  {blamed}\n" in capsys.readouterr().err


def test_a_negative_rate_is_no_rate(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for rate in ("0", "-5"):
        assert cli.main(["dejavu", "baseline", "--trace_file", str(pairs), "--rps", rate]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
