"""Files to batches of cells: CSV, one JSON object a line, Parquet.

A batch holds some rows of the columns wanted, each column a list of texts (or,
for lists of numbers, of lists), and tells where in the file each row stands.
Nothing is converted here.  What a file is not is raised as :class:`BrokenError`;
what is wrong with single rows is yielded, so that reading goes on behind it.
"""
# ruff: noqa: PLC0415 - Parquet is loaded where a file is of that form

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from toolkit.errors import Problem
from toolkit.recordings.layouts import Layout

__all__ = ["BATCH", "Batch", "BrokenError", "batches"]

BATCH = 20_000
"""Rows in a batch."""


class BrokenError(Exception):
    """The file as a whole, or from a line on, cannot be read as what it was said to be."""

    def __init__(self, where: str, expected: str, got: str = "", way_out: str = "") -> None:
        """Say it as a problem of the file."""
        super().__init__(expected)
        self.problem = Problem(where, expected, got, way_out)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows: for each column that the file has, a list of its cells.

    ``lines`` are the lines (or, in Parquet, the rows) they stand in, counted
    from 1.  ``problems`` are rows that are not in the columns.
    """

    columns: Mapping[str, list[Any]]
    lines: Sequence[int]
    problems: tuple[Problem, ...] = field(default=())
    unit: str = "line"


def batches(path: Path, layout: Layout) -> Iterator[Batch]:
    """Yield the rows of a file, batch by batch.

    Raises:
        BrokenError: no such file, not of this form, or without a column it has to have.
        OSError: the system does not let it be read.
    """
    yield from _READERS[layout.form](path, layout)


def require(layout: Layout, present: Sequence[str], where: str) -> dict[str, str]:
    """Return the columns to be read, by what they hold.

    Raises:
        BrokenError: the file lacks one that it has to have.
    """
    found = {
        holds: name
        for holds, name in layout.columns.items()
        if name in present or holds not in layout.optional
    }
    missing = [name for name in found.values() if name not in present]
    if missing:
        near = get_close_matches(missing[0], present, 1)
        way_out = f'did you mean "{near[0]}"? ' if near else ""
        raise BrokenError(
            where,
            f"expected the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            f"the columns {_short(', '.join(present))}" if present else "no columns",
            f"{way_out}columns = {{ ... }} says which column holds what",
        )
    return found


# -- CSV -----------------------------------------------------------------------------------------


def _csv(path: Path, layout: Layout) -> Iterator[Batch]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        with _reading(path, lambda: reader.line_num):
            header = next(reader, [])
        if not header:
            raise BrokenError("", "expected a header and a row for each request", "an empty file")
        columns = require(layout, header, "line 1")
        twice = next((name for name in columns.values() if header.count(name) > 1), None)
        if twice is not None:
            raise BrokenError("line 1", "expected each column once", f'"{twice}" twice')
        while True:
            before = reader.line_num
            with _reading(path, lambda: reader.line_num):
                rows = list(islice(reader, BATCH))
            if not rows:
                return
            yield _csv_batch(rows, header, columns, before, reader.line_num)


def _csv_batch(
    rows: list[list[str]], header: list[str], columns: Mapping[str, str], before: int, after: int
) -> Batch:
    lines: Sequence[int] = range(before + 1, after + 1)
    if len(lines) != len(rows):  # a cell in quotes goes over several lines
        lines = _last_lines(rows, before)
    width = len(header)
    problems = []
    if any(len(row) != width for row in rows):
        kept = []
        for line, row in zip(lines, rows, strict=True):
            if len(row) == width:
                kept.append((line, row))
            elif row:  # an empty line is no row
                expected = f"expected {width} cells as in the header"
                got = f"{len(row)}: {_short(','.join(row))}"
                problems.append(Problem(f"line {line}", expected, got))
        lines, rows = [line for line, _ in kept], [row for _, row in kept]
    cells = list(zip(*rows, strict=True)) if rows else [()] * width
    taken = {holds: list(cells[header.index(name)]) for holds, name in columns.items()}
    return Batch(taken, lines, tuple(problems))


def _last_lines(rows: Sequence[Sequence[str]], before: int) -> list[int]:
    """Return the line each row ends in."""
    lines = []
    for row in rows:
        before += 1 + sum(cell.count("\n") for cell in row)
        lines.append(before)
    return lines


class _reading:  # noqa: N801 - a context manager reads as a word
    """Say by line what a text file is not, while some of it is read."""

    def __init__(self, path: Path, line: Callable[[], int]) -> None:
        self.path, self.line = path, line

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise in our words."""
        if isinstance(error, UnicodeDecodeError):
            where = f"line {_undecodable_line(self.path)}"
            raise BrokenError(where, "expected text in UTF-8", "other bytes") from None
        if isinstance(error, csv.Error):
            raise BrokenError(f"line {self.line()}", "expected CSV", str(error)) from None


def _undecodable_line(path: Path) -> int:
    """Return the first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


# -- JSON lines ----------------------------------------------------------------------------------


def _jsonl(path: Path, layout: Layout) -> Iterator[Batch]:
    columns: dict[str, str] | None = None
    with path.open(encoding="utf-8-sig") as file:
        numbered = enumerate(file, 1)
        while True:
            with _reading(path, lambda: 0):
                texts = list(islice(numbered, BATCH))
            if not texts:
                break
            objects, lines, problems = _objects(texts)
            if columns is None and objects:
                columns = require(layout, list(objects[0]), f"line {lines[0]}")
            yield _jsonl_batch(objects, lines, problems, columns or {})


def _objects(
    texts: Sequence[tuple[int, str]],
) -> tuple[list[dict[str, Any]], list[int], list[Problem]]:
    objects: list[dict[str, Any]] = []
    lines: list[int] = []
    problems = []
    for line, text in texts:
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            got = getattr(error, "msg", "") or "brackets too deep, or a number too long"
            column = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            problems.append(Problem(f"line {line}", "expected a JSON object", f"{got}{column}"))
            continue
        if isinstance(value, dict):
            objects.append(value)
            lines.append(line)
        else:
            got = _short(json.dumps(value))
            problems.append(Problem(f"line {line}", "expected a JSON object", got))
    return objects, lines, problems


def _jsonl_batch(
    objects: list[dict[str, Any]],
    lines: list[int],
    problems: list[Problem],
    columns: Mapping[str, str],
) -> Batch:
    names = set(columns.values())
    if not all(names <= each.keys() for each in objects):
        kept = []
        for line, each in zip(lines, objects, strict=True):
            missing = [name for name in columns.values() if name not in each]
            if missing:
                expected = f"expected {', '.join(missing)}"
                problems.append(Problem(f"line {line}", expected, f"only {', '.join(each)}"))
            else:
                kept.append((line, each))
        lines, objects = [line for line, _ in kept], [each for _, each in kept]
    taken: dict[str, list[Any]] = {}
    for holds, name in columns.items():
        cells = [each[name] for each in objects]
        taken[holds] = cells if holds == "hash_ids" else list(map(_text, cells))
    return Batch(taken, lines, tuple(problems))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# -- Parquet -------------------------------------------------------------------------------------


def _parquet(path: Path, layout: Layout) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise BrokenError("", "expected a Parquet file", str(error).partition("\n")[0]) from None
    with file:
        columns = require(layout, file.schema_arrow.names, "")
        before = 0
        names = list(dict.fromkeys(columns.values()))
        try:
            for rows in file.iter_batches(BATCH, columns=names):
                cells = {holds: _cells(rows.column(name)) for holds, name in columns.items()}
                yield Batch(cells, range(before + 1, before + rows.num_rows + 1), unit="row")
                before += rows.num_rows
        except (pa.ArrowException, OSError) as error:
            got = str(error).partition("\n")[0]
            raise BrokenError(f"row {before + 1}", "expected Parquet to the end", got) from None


def _cells(column: Any) -> list[Any]:
    """Return a column's values as texts; lists stay lists, times become whole nanoseconds."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    values: list[Any] = column.to_pylist()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return values
    return [value if isinstance(value, str) else _plain(value) for value in values]


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)


_READERS: Mapping[str, Callable[[Path, Layout], Iterator[Batch]]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
