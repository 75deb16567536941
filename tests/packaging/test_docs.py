"""The reference pages say what schemas, trace tables and SQL views say of themselves."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path


def test_generated_parts_are_up_to_date(root: Path) -> None:
    """`just docs` writes them."""
    command = [sys.executable, "docs/reference.py", "--check"]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "stale: run `just docs`"


def test_the_answers_to_questions_are_true(root: Path, tmp_path: Path) -> None:
    """Every command of docs/questions prints what its page shows; `just docs` writes it."""
    spec = importlib.util.spec_from_file_location("reference", root / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    reference.traces_in_question(tmp_path)
    pages = sorted((root / "docs" / "questions").glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.count("$ toolkit") >= 2
        assert reference.answered(text, tmp_path) == text, f"stale: {page.name}; run `just docs`"
