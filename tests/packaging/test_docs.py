"""The reference pages say what schemas, trace tables and SQL views say of themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_generated_parts_are_up_to_date(root: Path) -> None:
    """`just docs` writes them."""
    command = [sys.executable, "docs/reference.py", "--check"]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "stale: run `just docs`"
