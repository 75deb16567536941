"""Progress is for people who wait in front of a terminal, and for nobody else."""

from __future__ import annotations

import io
import sys
import time

import pytest

from toolkit import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.watch(range(3), "waiting", total=3)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("quiet", "seconds", "shown"), [(False, 0.3, True), (True, 0.3, False), (False, 0.0, False)]
)
def test_a_bar_shows_only_when_the_work_takes_long(
    quiet: bool, seconds: float, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "PATIENCE_S", 0.05)
    with progress.bar("simulating", total=2, quiet=quiet) as advance:
        advance(1)
        time.sleep(seconds)
    assert ("simulating" in terminal.getvalue()) is shown


def test_the_bar_is_gone_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.01)

    def fail() -> None:
        with progress.bar("simulating"):
            time.sleep(0.1)
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert terminal.getvalue().rstrip().endswith("\x1b[2K")
