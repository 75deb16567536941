"""The reference pages say what schemas, trace tables and SQL views say of themselves."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = sorted((ROOT / "docs" / "questions").glob("*.md"))


def test_generated_parts_are_up_to_date(root: Path) -> None:
    """`just docs` writes them."""
    command = [sys.executable, "docs/reference.py", "--check"]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "stale: run `just docs`"


@pytest.fixture(scope="module")
def folder() -> Iterator[Any]:
    """Yield the folder in which the commands of all pages run."""
    spec = importlib.util.spec_from_file_location("questions", ROOT / "docs" / "questions.py")
    assert spec is not None
    assert spec.loader is not None
    questions = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(questions)
    with questions.folder() as opened:
        yield opened


@pytest.mark.parametrize("page", QUESTIONS, ids=lambda page: page.stem)
def test_the_commands_of_a_question_print_what_its_page_shows(folder: Any, page: Path) -> None:
    """`just docs` writes it."""
    text = page.read_text(encoding="utf-8")
    assert text.count("$ toolkit") >= 2
    assert folder.answered(text) == text
