"""`toolkit dejavu simulate-all` and `plot`: the published flags and files, without the crashes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.cli import main

CONFIG = {
    "OPT-30B": {
        "batch_sizes": [8, 16],
        "measurements_per_bs": {"8": [2000.0, 33.0], "16": [4000.0, 40.0]},
    }
}
PAIRS = [[1000, 5 * n % 37 + 2] for n in range(20)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.json").write_text(json.dumps(PAIRS))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def sweep(*more: str) -> int:
    flags = "--trace_file pairs.json --config_file config.json --model OPT-30B"
    flags += " --mem_per_machine 64 --machine_cost 8"
    return main(["dejavu", "simulate-all", *flags.split(), *more])


def test_the_winners_are_written_as_csv_with_a_json_of_the_same_name(files: Path) -> None:
    """Quirk 16: the published JSON is named by what stands before the first dot of the path."""
    assert sweep("--output_csv", "sub.v2.csv") == 0
    rows = (files / "sub.v2.csv").read_text().splitlines()
    assert rows[0] == ",Num_machines,Baseline,Baseline_dp,DV,Cost_baseline,Cost_baseline_dp,Cost_dv"
    assert [row[0] for row in json.loads((files / "sub.v2.json").read_text())] == [
        1, 2, 4, 6, 8, 10, 12, 14, 16,
    ]  # fmt: skip
    assert len(rows) == 10


def test_without_a_file_the_winners_are_printed(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quirk 17: the published driver does all the work and then has nowhere to put it."""
    assert sweep() == 0
    assert capsys.readouterr().out.startswith(",Num_machines,Baseline")


def test_batch_sizes_may_stand_in_any_order(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quirks 18 and 19: times belong to the batch size they are written under."""
    assert sweep() == 0
    sorted_ = capsys.readouterr().out
    entry = CONFIG["OPT-30B"]["measurements_per_bs"]
    swapped = {
        "batch_sizes": [16, 8],
        "measurements_per_bs": dict(reversed(list(entry.items()))),  # type: ignore[attr-defined]
    }
    (files / "config.json").write_text(json.dumps({"OPT-30B": swapped}))
    assert sweep() == 0
    assert capsys.readouterr().out == sorted_


def test_a_plot_survives_families_that_do_not_fit(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quirk 14: the published plotter divides by zero there."""
    assert sweep("--output_csv", "winners.csv") == 0
    assert ",0.0,0.0" in (files / "winners.csv").read_text()
    assert (
        main(["dejavu", "plot", "--model", "OPT-30B", "--suffix", "t", "--input", "winners.csv"])
        == 0
    )
    assert (files / "OPT-30B_makespan_t.svg").read_text().startswith("<svg")
    assert (files / "OPT-30B_makespan_t.png").read_bytes().startswith(b"\x89PNG")
    assert "at most" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("simulate-all", "--trace_file"),
        (
            "simulate-all --trace_file pairs.json --config_file config.json --model OPT-30B",
            "above 0",
        ),
        ("plot", "--input"),
        ("plot --input winners.csv --plot_cost", "--machine_cost"),
        ("plot --input nowhere.csv", "can be read"),
        ("plot --input config.json", "Num_machines"),
    ],
)
def test_wrong_flags_are_said_and_exit_2(
    files: Path, capsys: pytest.CaptureFixture[str], flags: str, said: str
) -> None:
    assert main(["dejavu", *flags.split()]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "times of this model"),
        ({"OPT-30B": {}}, "batch_sizes"),
        ({"OPT-30B": {"batch_sizes": [8, 16], "measurements_per_bs": {"8": [1, 1]}}}, "for each"),
        ({"OPT-30B": {"batch_sizes": [8], "measurements_per_bs": {"8": [0, 1]}}}, "above 0"),
    ],
)
def test_wrong_times_are_said_and_exit_2(
    files: Path, capsys: pytest.CaptureFixture[str], config: object, said: str
) -> None:
    (files / "config.json").write_text(json.dumps(config))
    assert sweep() == 2
    assert said in capsys.readouterr().err
