"""The arrows between the rooms point one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

BASE = {"errors", "units"}
MAY_IMPORT = {
    "errors": set(),
    "units": set(),
    "progress": set(),
    "tables": {"errors", "trace"},
    "catalog": BASE,
    "recordings": {"errors"},
    "scenario": BASE | {"catalog", "recordings"},
    "costs": BASE | {"catalog", "scenario"},
    "workload": BASE | {"catalog", "recordings", "scenario"},
    "trace": BASE,
    "importers": BASE | {"trace"},
    "simulator": BASE | {"catalog", "scenario", "costs", "workload", "trace"},
    "analytics": BASE | {"trace"},
    "report": BASE | {"analytics"},
}
"""Rooms not named here may import everything: runs, importing, planner, commands, cli, toolkit."""

ROOMS = sorted(MAY_IMPORT)


def modules_imported(file: Path) -> Iterator[str]:
    """Yield the dotted names of our own modules a file imports, at any depth of the file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] == "toolkit")


def files_of(room: str, root: Path) -> list[Path]:
    folder = root / "toolkit" / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room: str, root: Path) -> None:
    for file in files_of(room, root):
        for module in modules_imported(file):
            other = module.split(".")[1]
            assert other in MAY_IMPORT[room] | {room}, f"{file.relative_to(root)} imports {module}"


def test_only_the_trace_vocabulary_crosses_from_trace_to_the_simulator(root: Path) -> None:
    for file in files_of("simulator", root):
        for module in modules_imported(file):
            if module.startswith("toolkit.trace"):
                assert module.startswith("toolkit.trace.columns"), (
                    f"{file.relative_to(root)} imports {module}"
                )


def test_imports_are_absolute(root: Path) -> None:
    """So that the two tests above see every one of them."""
    for file in (root / "toolkit").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), file.relative_to(root)
