"""The reference pages say what schemas, trace tables and SQL views say of themselves."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

QUESTIONS = sorted((Path(__file__).resolve().parents[2] / "docs" / "questions").glob("*.md"))


def test_generated_parts_are_up_to_date(root: Path) -> None:
    """`just docs` writes them."""
    command = [sys.executable, "docs/reference.py", "--check"]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "stale: run `just docs`"


@pytest.mark.parametrize("page", QUESTIONS, ids=lambda page: page.stem)
def test_the_commands_of_a_question_print_what_its_page_shows(root: Path, page: Path) -> None:
    """`just docs` writes it."""
    spec = spec_from_file_location("reference", root / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = module_from_spec(spec)
    spec.loader.exec_module(reference)
    text = page.read_text(encoding="utf-8")
    assert "```console" in text
    assert reference.answered(text) == text
