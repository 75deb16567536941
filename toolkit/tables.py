"""A table on stdout or in a file: aligned text, CSV, JSON or Parquet.

A table is a DuckDB relation, read in batches: only aligned text, which needs
the widths first, holds rows, and no more than :data:`TABLE_ROWS` of them.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from toolkit.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyRelation

__all__ = ["FORMATS", "TABLE_ROWS", "aligned", "print_json", "rows", "write"]

TABLE_ROWS = 1000
"""Most rows shown as aligned text; the other formats give all."""


def write(relation: DuckDBPyRelation, form: str, file: Path | None) -> None:
    """Write a relation in one of :data:`FORMATS`, to stdout where `file` is None.

    A file appears under its name only when it is complete.
    """
    if file is not None:
        from toolkit.trace.output import replacing

        with replacing(file) as sink:
            _write(relation, form, sink.write)
    elif form == "parquet" and sys.stdout.isatty():
        expected = "expected a file to write to"
        raise InputError.one("--format parquet", "", expected, "a terminal", "add -o FILE")
    else:
        sys.stdout.flush()
        _write(relation, form, sys.stdout.buffer.write)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; what JSON has no word for is printed as text."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str))


def aligned(columns: Sequence[str], values: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield rows as lines of aligned text: numbers to the right, nothing cut off."""
    texts = [[_text(value) for value in row] for row in values]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    right = [any(isinstance(row[i], int | float) for row in values) for i in range(len(columns))]
    for line in (columns, ["─" * width for width in widths], *texts):
        cells = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        )
        yield "  ".join(cells).rstrip() + "\n"


def rows(relation: DuckDBPyRelation) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a relation as Python values, a batch in memory at a time."""
    for batch in _batches(_reader(relation)):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _reader(relation: DuckDBPyRelation) -> pa.RecordBatchReader:
    """Return the rows of a relation as Arrow batches, computed as they are read."""
    import pyarrow as pa

    with _computing():
        return pa.RecordBatchReader.from_stream(relation)


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with _computing():
        yield from reader


@contextmanager
def _computing() -> Iterator[None]:
    """Raise as InputError what goes wrong while rows are computed; Arrow calls it an OSError."""
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError.one(
            "the query", "", "expected rows that can be computed", reason
        ) from error


def _write(relation: DuckDBPyRelation, form: str, put: Callable[[bytes], object]) -> None:
    if form == "parquet":
        _write_parquet(relation, put)
    else:
        for line in LINES[form](relation):
            put(line.encode())


def _write_parquet(relation: DuckDBPyRelation, put: Callable[[bytes], object]) -> None:
    """Write a relation to Parquet, a row group per batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    class Sink:
        closed = False
        write = staticmethod(put)

        def flush(self) -> None:
            """Leave it to whoever owns the bytes."""

    reader, file = _reader(relation), pa.PythonFile(Sink(), "w")
    with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
        for batch in _batches(reader):
            writer.write_batch(batch)


def _table(relation: DuckDBPyRelation) -> Iterator[str]:
    shown = list(islice(rows(relation), TABLE_ROWS + 1))
    yield from aligned(relation.columns, shown[:TABLE_ROWS])
    if len(shown) > TABLE_ROWS:
        print(f"only the first {TABLE_ROWS} rows; --format csv gives all", file=sys.stderr)


def _csv(relation: DuckDBPyRelation) -> Iterator[str]:
    class Line:
        write = staticmethod(str)  # the writer returns what its file's `write` returns

    writer = csv.writer(Line(), lineterminator="\n")
    for row in chain([relation.columns], rows(relation)):
        yield cast("str", writer.writerow(row))


def _json(relation: DuckDBPyRelation) -> Iterator[str]:
    """Yield a list of objects, one per line."""
    before = "["
    for row in rows(relation):
        item = _finite(dict(zip(relation.columns, row, strict=True)))
        yield before + json.dumps(item, ensure_ascii=False, default=str)
        before = ",\n "
    yield "[]\n" if before == "[" else "]\n"


LINES = {"table": _table, "csv": _csv, "json": _json}
FORMATS = (*LINES, "parquet")
"""What a table can be written as."""


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
