"""`toolkit workload` shows what will arrive, as text, as an object and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

import toolkit
from toolkit import cli
from toolkit.workload import build

MIX: dict[str, Any] = {
    "schema_version": 1,
    "name": "mix",
    "hardware": {"machines": 2},
    "deployment": {"kind": "pipeline"},
    "workload": {
        "entries": 500,
        "arrivals": {"kind": "gamma", "cv": 2.0, "rate_per_s": 4.0},
        "tenant": [
            {"name": "chat", "share": 3, "lengths": {"kind": "catalog", "name": "azure-2023-code"}},
            {
                "name": "batch",
                "lengths": {"kind": "fixed", "prompt_tokens": 10, "output_tokens": 5},
            },
        ],
    },
    "timing": {"kind": "fixed", "prompt_ms": 40, "token_ms": 5},
}


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    file = tmp_path / "mix.toml"
    file.write_text(tomli_w.dumps(MIX), encoding="utf-8")
    return file


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main(["workload", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_fits_a_terminal(
    mix: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = told(capsys, mix)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for word in ("500 requests", "prompt, tokens", "chat", "batch", "Poisson: 1", "█"):
        assert word in out


def test_as_json_it_has_the_numbers_of_the_requests_that_are_served(
    mix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = told(capsys, mix, "--json")
    said = json.loads(out)
    requests = build(toolkit.load(mix))
    assert code == 0
    whole, *tenants = said["counts"]
    assert whole["requests"] == len(requests)
    assert whole["prompt_tokens"] == requests.prompt_tokens.sum()
    assert [row["tenant"] for row in tenants] == ["chat", "batch"]
    assert requests.tenant is not None
    for code, row in enumerate(tenants):
        mine = requests.tenant == code
        assert row["requests"] == mine.sum()
        assert row["output_tokens"] == requests.output_tokens[mine].sum()
    gaps = np.diff(requests.arrival_ns)
    assert whole["gap_cv"] == pytest.approx(gaps.std() / gaps.mean())
    in_windows = sum(row["requests"] for row in said["windows"] if row["tenant"] is None)
    assert in_windows == len(requests)


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_picture_is_the_same_every_time(
    suffix: str, mix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    for file in (one, other):
        assert told(capsys, mix, "-o", file)[0] == 0
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes()[:4] in (b"<svg", b"\x89PNG")
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        ["mix.toml", one.name, other.name]
    )


def test_all_at_once_can_be_shown_and_drawn(
    mix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["--set", 'workload.arrivals={kind = "at_zero"}', "--set", "workload.entries=1"]
    code, out, _ = told(capsys, mix, *plain, "-o", tmp_path / "a.svg")
    assert code == 0
    assert "1 request, all at 0" in out


def test_a_wrong_picture_is_answered(mix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = told(capsys, mix, "-o", "a.gif")
    assert code == 2
    assert "expected FILE.svg or FILE.png" in err


def test_a_variant_can_be_picked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, root / "scenarios/first.toml", "--variant", "apart", "--json")
    assert code == 0
    assert json.loads(out)["name"] == "first-apart"


def test_the_pause_in_azures_code_trace_and_mooncakes_ticks_are_pointed_out(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "azure": "azure_llm_2023/AzureLLMInferenceTrace_code.csv",
        "mooncake": "mooncake/conversation_trace.first8000.jsonl",
    }
    said = {}
    for kind, name in files.items():
        requests = {"kind": kind, "file": str(shared / "workloads" / name)}
        file = tmp_path / f"{kind}.toml"
        file.write_text(tomli_w.dumps({**MIX, "workload": {"requests": requests}}), "utf-8")
        said[kind] = json.loads(told(capsys, file, "--json")[1])
    assert said["azure"]["counts"][0]["longest_gap_s"] == pytest.approx(217.168952)
    assert said["azure"]["warnings"][0].startswith("The longest gap, 217")
    assert said["mooncake"]["warnings"][0].startswith("90% of the requests arrive at the same")
