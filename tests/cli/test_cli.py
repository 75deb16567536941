"""What the command line says and returns, whatever the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from toolkit import cli
from toolkit.errors import FaultError, InputError, TargetMissedError

HEAVY = {
    "duckdb",
    "jsonschema",
    "matplotlib",
    "numba",
    "numpy",
    "perfetto",
    "polars",
    "pyarrow",
    "rich",
}


def answer(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Return the exit code of a command that raises."""

    def raising(_: object) -> int:
        raise error

    command = cli.Command("fail", lambda _: None, raising)
    monkeypatch.setattr(cli, "COMMANDS", {"fail": command})
    return cli.main(["fail"])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["rnu"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """Time would be a flaky measure of this; the modules loaded are not."""
    program = (
        "import sys\n"
        "from toolkit.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(ast_list(done.stderr.splitlines()[-1]))
    assert "toolkit" in loaded
    assert not loaded & HEAVY


def ast_list(text: str) -> list[str]:
    return [word.strip(" '") for word in text.strip("[]").split(",")]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert name in text
        assert command.about.split(",")[0] in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], ["rnu", "unknown command", "did you mean run?"]),
        (["zzz"], ["zzz", "unknown command", "see `toolkit --help`"]),
        (["run", "x.toml", "--jsno"], ["toolkit run", "--jsno", "did you mean --json?"]),
        (["run"], ["toolkit run", "the following arguments are required: SCENARIO"]),
        (["check", "a.toml", "--variants=x"], ["--variants=x", "unknown option"]),
        (["explain", "t", "q", "extra"], ["extra", "one argument too many"]),
        (["sql"], ["expected a trace and a query, or --list"]),
        (["dejavu", "basline"], ["basline", "baseline", "disaggregated"]),
        (["dejavu", "baseline", "--num_machnes=2"], ["did you mean --num_machines?"]),
        (["dejavu", "baseline", "--num_machines", "two"], ["--num_machines", "invalid int value"]),
    ],
)
def test_a_mistyped_word_is_answered_with_what_was_meant(
    arguments: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    for words in expected:
        assert words in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TargetMissedError("p99 over its target"), 1),
        (InputError.one("a.toml", "seed", "expected an integer"), 2),
        (FaultError("spans overlap at 3 ns"), 3),
    ],
)
def test_an_error_on_purpose_is_printed_and_gives_its_code(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert answer(monkeypatch, error) == code
    assert capsys.readouterr().err == f"{error}\n"


def test_an_error_nobody_foresaw_says_what_to_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TOOLKIT_DEBUG", raising=False)
    assert answer(monkeypatch, ZeroDivisionError("division by zero")) == 3
    err = capsys.readouterr().err
    assert "a fault of ours: ZeroDivisionError: division by zero" in err
    assert "TOOLKIT_DEBUG=1" in err
    assert "Traceback" not in err


def test_the_traceback_is_there_for_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOOLKIT_DEBUG", "1")
    assert answer(monkeypatch, ZeroDivisionError()) == 3
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_not_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(monkeypatch, KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_interrupted_query_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB turns Ctrl-C into an error of its own; this one is made by a real signal."""
    relation = duckdb.connect().sql("SELECT sum(range * range) FROM range(1000000000000)")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises((RuntimeError, KeyboardInterrupt)) as caught:
        relation.pl()
    timer.join()
    assert answer(monkeypatch, caught.value) == 130


def test_a_place_that_cannot_be_written_is_wrong_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(monkeypatch, PermissionError(13, "Permission denied", "/there")) == 2
    assert capsys.readouterr().err.startswith("/there: 1 problem")


def test_a_reader_that_leaves_early_ends_the_command_quietly(root: Path) -> None:
    command = f"{sys.executable} -m toolkit catalog | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
