"""A table on stdout or in a file: aligned text, CSV, JSON or Parquet.

A table is a DuckDB relation, read in batches: only aligned text, which needs
the widths first, holds rows, and no more than :data:`TABLE_ROWS` of them.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from toolkit.errors import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

__all__ = ["FORMATS", "TABLE_ROWS", "print_json", "print_table", "replacing", "write"]

FORMATS = ("table", "csv", "json", "parquet")

TABLE_ROWS = 1000
"""Most rows shown as aligned text; the other formats give all."""

_BATCH = 10_000


def write(relation: DuckDBPyRelation, form: str, file: Path | None) -> None:
    """Write a relation in one of :data:`FORMATS`, to stdout where `file` is None.

    A file appears under its name only when it is complete.
    """
    if form == "parquet":
        _write_parquet(relation, file)
    elif file is None:
        _write_text(relation, form, sys.stdout)
    else:
        with replacing(file) as part, part.open("w", encoding="utf-8", newline="") as stream:
            _write_text(relation, form, stream)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; what JSON has no word for is printed as text."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], stream: IO[str] | None = None
) -> None:
    """Print rows as aligned text: numbers to the right, nothing cut off."""
    texts = [[_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    right = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    for line in (columns, ["─" * width for width in widths], *texts):
        cells = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        )
        print("  ".join(cells).rstrip(), file=stream)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a hidden sibling of `file` that takes its place when the block ends well.

    Raises:
        InputError: the file cannot be written there.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(file)
    except OSError as error:
        raise InputError.one(
            str(file), "", "expected a place to write to", error.strerror or str(error)
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _write_parquet(relation: DuckDBPyRelation, file: Path | None) -> None:
    if file is None:
        raise InputError.one(
            "--format parquet", "", "expected a file to write to", way_out="add -o FILE"
        )
    with replacing(file) as part:
        relation.write_parquet(str(part), compression="zstd")


def _write_text(relation: DuckDBPyRelation, form: str, stream: IO[str]) -> None:
    if form == "csv":
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(relation.columns)
        out.writerows(_rows(relation))
    elif form == "json":
        _write_json(relation, stream)
    else:
        rows = list(islice(_rows(relation), TABLE_ROWS + 1))
        print_table(relation.columns, rows[:TABLE_ROWS], stream)
        if len(rows) > TABLE_ROWS:
            print(f"only the first {TABLE_ROWS} rows; --format csv gives all", file=sys.stderr)


def _write_json(relation: DuckDBPyRelation, stream: IO[str]) -> None:
    """Write a list of objects, one per line."""
    columns, before = relation.columns, "[\n"
    for row in _rows(relation):
        item = _finite(dict(zip(columns, row, strict=True)))
        stream.write(before + json.dumps(item, ensure_ascii=False, default=str))
        before = ",\n"
    stream.write("[]\n" if before == "[\n" else "\n]\n")


def _rows(relation: DuckDBPyRelation) -> Iterator[tuple[Any, ...]]:
    while batch := relation.fetchmany(_BATCH):
        yield from batch


def _finite(value: Any) -> Any:
    """Return a value with null for NaN and the infinities, which JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _text(value: Any) -> str:
    """Return a value as a reader wants it: floats to six digits or a tenth, empty for NULL."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}" if 1e5 <= abs(value) < 1e15 else f"{value:.6g}"
    return str(value)
