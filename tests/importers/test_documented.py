"""The examples of docs/importing.md print what the page shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import toolkit
from toolkit import importers
from toolkit.importers import KINDS

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
PAGE = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```console\n\$ toolkit ([^\n]*)\n(.*?)```", PAGE, re.DOTALL)


def laid_out(words: list[str], folder: Path, request: pytest.FixtureRequest) -> None:
    """Put the files of an example where it looks for them."""
    file = words[1]
    if file.startswith("traces/"):
        scenario = toolkit.load(ROOT / "scenarios" / "first.toml", variant="apart")
        toolkit.run(scenario, out=folder, report=False)
    elif (DATA / file).exists():
        for each in DATA.iterdir():
            shutil.copy(each, folder)
    else:
        shared = Path(request.getfixturevalue("shared"))
        if file == "dejavu.json":
            golden = (shared / "golden" / "reference_disaggregated.json").read_text()
            cases = [each for each in json.loads(golden)["cases"] if each["id"] == "d0047"]
            (folder / file).write_text(json.dumps(cases[0]["result"]["trace_events"]))
        else:
            (found,) = (shared / "samples" / "foreign_traces").glob(f"*/{file}")
            shutil.copy(found, folder)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[words for words, _ in EXAMPLES])
def test_an_example_prints_what_the_page_shows(
    command: str, shown: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    words = command.split()
    laid_out(words, tmp_path, request)
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


def test_the_command_offers_every_kind() -> None:
    from_kinds = import_module("toolkit.commands.import_").KINDS
    assert from_kinds == (importers.AUTO, *KINDS)


def test_the_page_has_an_example_of_every_kind() -> None:
    kinds = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")}
    assert set(KINDS) <= kinds
    assert len(EXAMPLES) == len(KINDS)
