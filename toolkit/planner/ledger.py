"""What a sweep has found so far, on disk: a killed sweep continues where it stopped.

Each batch is a file of its own, complete from the moment it has its name.  A
row is known by its key, the digest of all that it depends on: the point's
resolved scenario, the code that played it, and the packages that calculated.
Rows of another scenario or another version are never taken for one's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import toolkit
from toolkit.errors import InputError
from toolkit.planner.points import Answer

__all__ = ["VERSIONED", "Ledger", "key_of"]

VERSIONED = ("duckdb", "numba", "numpy", "pyarrow")
"""Packages that take part in the result of a point."""


def key_of(digest: str) -> str:
    """Return the key of a point: its scenario's digest, and who plays it."""
    return hashlib.sha256(f"{digest} {_maker()}".encode()).hexdigest()


@cache
def _maker() -> str:
    """Return the digest of this package's code and data, and of the versions it works with."""
    digest = hashlib.sha256()
    root = Path(toolkit.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".sql", ".toml", ".json"}:
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    for package in VERSIONED:
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()


class Ledger:
    """The answers of a sweep under way, in a folder of its own that goes when it is done."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, which an earlier, interrupted sweep may have left."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def known(self, keys: Iterable[str]) -> dict[str, Answer]:
        """Return the answers to these keys that are there already; what is damaged is not."""
        wanted = set(keys)
        found: dict[str, Answer] = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            for answer in _read(path):
                if answer.key in wanted:
                    found[answer.key] = answer
        return found

    def add(self, answers: Sequence[Answer]) -> None:
        """Write the answers of a batch, so that neither a crash nor a kill loses them."""
        lines = [
            json.dumps({"key": each.key, "metrics": dict(each.metrics), "refused": each.refused})
            for each in answers
        ]
        text = "\n".join(lines) + "\n"
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        hidden = self.folder / f".{name}.partial"
        try:
            with hidden.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            hidden.replace(self.folder / f"{name}.jsonl")
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def close(self) -> None:
        """Remove the folder: what it held is in the results."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: Path) -> list[Answer]:
    try:
        rows: list[Mapping[str, object]] = [
            json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return [Answer(row["key"], row["metrics"], row["refused"]) for row in rows]  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError.one(
        str(folder),
        "",
        "expected a folder that can be written",
        error.strerror or str(error),
        "make room or choose another folder with --out",
    )
