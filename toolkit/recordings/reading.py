"""One file to one recording, or to everything that is wrong with it, by line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import InputError, Problem
from toolkit.recordings import cells
from toolkit.recordings.layouts import TIME_UNITS, Layout
from toolkit.recordings.recording import Ragged, Recording
from toolkit.recordings.rows import Batch, BrokenError, batches

__all__ = ["MOST_PROBLEMS", "digest", "read"]

MOST_PROBLEMS = 8
"""Rows that are complained about by line; a file with more is not read to its end."""

LARGEST = {"priority": 1_000_000, "session": 2**31 - 1}


def read(path: Path, layout: Layout) -> Recording:
    """Return the requests of a file, in order of arrival, the first at 0.

    Memory holds a batch of cells and the columns of numbers.

    Raises:
        InputError: no file, not of this layout, or rows that are not what they
            should be: each with its line, what was expected and what was found.
        OSError: the system does not let it be read.
    """
    gathered = _Gathered()
    try:
        for batch in batches(path, layout):
            gathered.take(batch, layout)
            if len(gathered.problems) > MOST_PROBLEMS:
                break
    except BrokenError as error:
        gathered.problems.append(error.problem)
    if not gathered.problems and not gathered.rows:
        gathered.problems.append(Problem("", "expected at least one request", "none"))
    if gathered.problems:
        raise InputError(str(path), _said(path, gathered.problems))
    return gathered.recording(layout).in_order()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for each in sorted(path.iterdir()):
        if each.is_file():
            whole.update(f"{each.name} {digest(each)}\n".encode())
    return whole.hexdigest()


def _said(path: Path, problems: list[Problem]) -> Iterator[Problem]:
    """Yield the problems in the order of the file, no more than a reader wants."""
    ordered = sorted(problems, key=lambda problem: _number(problem.where))
    for problem in ordered[:MOST_PROBLEMS]:
        yield replace(problem, file=str(path))
    if len(ordered) > MOST_PROBLEMS:
        yield Problem("", "and more: the file was read no further", file=str(path))


def _number(where: str) -> int:
    word = where.rpartition(" ")[2]
    return int(word) if word.isdigit() else 0


@dataclass(slots=True)
class _Gathered:
    """Columns as they grow."""

    parts: dict[str, list[Any]] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    lists: list[Ragged] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    rows: int = 0

    def take(self, batch: Batch, layout: Layout) -> None:
        """Convert a batch and add it."""
        self.problems += batch.problems
        self.rows += len(batch.lines)

        def say(row: int, expected: str, got: str) -> Problem:
            return Problem(f"{batch.unit} {batch.lines[row]}", expected, got)

        for holds, texts in batch.columns.items():
            name = layout.columns[holds]
            values, problems = self._converted(holds, name, texts, layout, say)
            self.problems += problems
            if holds == "hash_ids":
                self.lists.append(Ragged.of(values))
            else:
                self.parts.setdefault(holds, []).append(values)
        self._check_totals(batch, say)

    def _converted(
        self, holds: str, name: str, texts: list[Any], layout: Layout, say: cells.Say
    ) -> tuple[Any, list[Problem]]:
        if holds == "arrival":
            unit = layout.time_unit
            moments: tuple[Any, list[Problem]] = cells.moments_ns(
                texts, name, unit, TIME_UNITS[unit], say
            )
            return moments
        if holds == "hash_ids":
            return cells.blocks(texts, name, say)
        if holds == "priority":
            return cells.whole(texts, name, LARGEST[holds], say)
        if holds == "session":
            return np.array([self._session(text) for text in texts], np.int64), []
        if holds == "tenant":
            found, problems = cells.names(texts, name, say)
            codes = [self.codes.setdefault(each, len(self.codes)) for each in found]
            return np.array(codes, np.int64), problems
        most = 2 * cells.MOST_TOKENS if holds == "total_tokens" else cells.MOST_TOKENS
        return cells.whole(texts, name, most, say)

    def _session(self, text: str) -> int:
        """Return the number of a conversation; an empty cell is a request without one."""
        name = text.strip()
        if name in {"", "null"}:
            return -1
        return self.sessions.setdefault(name, len(self.sessions))

    def _check_totals(self, batch: Batch, say: cells.Say) -> None:
        """Hold a column of totals to the sum of the two it adds up."""
        if "total_tokens" not in batch.columns or self.problems:
            return
        prompt, output, total = (
            self.parts[each][-1] for each in ("prompt_tokens", "output_tokens", "total_tokens")
        )
        for row in np.flatnonzero(prompt + output != total).tolist():
            expected = "expected a total of prompt and generated tokens"
            got = f"{prompt[row]} + {output[row]}, but {total[row]}"
            self.problems.append(say(row, expected, got))

    def recording(self, layout: Layout) -> Recording:
        """Return what was gathered."""

        def column(holds: str, kind: Any) -> Any:
            parts = self.parts.get(holds)
            return np.concatenate(parts).astype(kind) if parts else None

        blocks = Ragged.joined(self.lists) if self.lists else None
        return Recording(
            prompt_tokens=column("prompt_tokens", np.int32),
            output_tokens=column("output_tokens", np.int32),
            arrival_ns=column("arrival", np.int64),
            tenant=column("tenant", np.int32),
            tenants=tuple(self.codes),
            priority=column("priority", np.int32),
            session=column("session", np.int32),
            hash_ids=blocks,
            block_tokens=layout.block_tokens if blocks else None,
        )
