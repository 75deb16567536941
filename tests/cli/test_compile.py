"""`toolkit compile`, and what one deployment's simulation refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

import toolkit
from toolkit.cli import main


def test_compiling_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compile"]) == 0
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_not_one_simulation(root: Path) -> None:
    scenario = toolkit.load(root / "scenarios" / "figure17.toml")
    with pytest.raises(toolkit.InputError, match=r"toolkit\.sweep"):
        next(toolkit.simulate(scenario))
