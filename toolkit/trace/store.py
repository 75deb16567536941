"""The record: a folder of Parquet files and a manifest, written at once or not at all.

Chunks stream through :class:`StoreWriter` into one Parquet file a table, on a
thread of its own, in row groups of exactly :data:`ROW_GROUP` rows whatever the
size of the chunks: the same rows give the same bytes.  :func:`write` makes
that a run: it works in a hidden sibling folder, and one rename makes the run
visible.  :class:`Store` opens one and refuses whatever is not one.

Written with PyArrow rather than DuckDB's ``COPY``: on one core 15-20 M spans/s
at 0.2-3 bytes a span against 6.4 M/s at 3.4 (measured on two million spans of
a pipeline), and a row group at a time instead of the whole table at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.errors import FaultError, InputError
from toolkit.trace.columns import FORMAT_VERSION, NULL, TABLES, Chunk, Column, Table, Values

try:
    import fcntl
except ImportError:  # pragma: no cover - a platform without advisory locks: nothing to wait for
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "MANIFEST",
    "ROW_GROUP",
    "Store",
    "StoreWriter",
    "locked",
    "schema",
    "to_arrow",
    "write",
]

ROW_GROUP = 250_000
"""Rows of a row group: the grain at which a window of time is found and read."""

MANIFEST = "manifest.json"

_QUEUE_CHUNKS = 4
_LOCK_WAIT_S = 5.0

_ARROW = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "int8": pa.int8(),
    "float64": pa.float64(),
    "string": pa.string(),
}

# Measured on the spans of opt66 and of regular pipelines, column by column.  Times and tokens count
# up and are small as differences; bytes have few values, worth a dictionary; keys, steps and
# durations repeat so well that the compressor alone does them at half the cost of any coding.  lz4
# takes a fifth less time than zstd at level 1.  Together some 1 to 2 bytes a span.
_DELTA = ("ts_ns", "token", "from_ns", "until_ns", "wait_ns")
_DICTIONARY = ("bytes",)
_STATISTICS = ("ts_ns", "dur_ns", "request", "from_ns", "until_ns")
_VALUES_AT_ONCE = 1 << 16
"""Values handed to an encoder at once; PyArrow's 1024 costs it a tenth of its time."""


def schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of `table`, as stored and as expected when read."""
    return pa.schema(
        [pa.field(column.name, _ARROW[column.type], column.nullable) for column in table.columns]
    )


def to_arrow(chunk: Chunk) -> pa.Table:
    """Return the rows of a chunk as the store would hold them, empty values as nulls."""
    table = TABLES[chunk.table]
    given = _with_optional(table, chunk)
    arrays = [_arrow(column, given[column.name]) for column in table.columns]
    return pa.Table.from_arrays(arrays, schema=schema(table))


class StoreWriter:
    """Write chunks into the Parquet files of `folder`, which must not exist yet.

    A context manager.  Large tables stream to disk on a writer thread, small
    ones are kept, sorted and written at the end; every table gets its file,
    with rows or without.  On an exception inside the block, its own included,
    the folder is gone again.

    The arrays of a chunk are not copied where that can be avoided: they belong
    to the writer from :meth:`write` on and must not be changed.

    Raises `FaultError` for a chunk that is not rows of its table, or for spans
    out of order; `OSError` for a disk that does not take the files.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is created on entry."""
        self.folder = folder
        self.tables: dict[str, dict[str, Any]] = {}
        """After a clean exit, by table: its file, rows, bytes and sha256."""
        self._rows = dict.fromkeys(TABLES, 0)
        self._small: dict[str, list[Chunk]] = {name: [] for name in TABLES}
        self._queue: queue.Queue[Chunk | None] = queue.Queue(_QUEUE_CHUNKS)
        self._failure: BaseException | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._drain, name="store writer", daemon=True)

    def __enter__(self) -> StoreWriter:
        self.folder.mkdir()
        self._thread.start()
        return self

    def write(self, chunk: Chunk) -> None:
        """Take one chunk; blocks while the disk is more than a few chunks behind."""
        if self._failure is not None:
            raise self._failure
        chunk = _checked(chunk)
        if not len(chunk):
            return
        self._rows[chunk.table] += len(chunk)
        if TABLES[chunk.table].large:
            self._queue.put(chunk)
        else:
            self._small[chunk.table].append(chunk)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        done = False
        try:
            self._abandoned = error is not None
            self._queue.put(None)
            self._thread.join()
            if error is None:
                self._finish()
                done = True
        finally:
            if not done:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _finish(self) -> None:
        if self._failure is not None:
            raise self._failure
        for name, table in TABLES.items():
            if not table.large:
                with _RowGroups(self.folder, table) as groups:
                    for chunk in _sorted(table, self._small[name]):
                        groups.write(chunk)
        for name in TABLES:
            path = self.folder / f"{name}.parquet"
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.tables[name] = {
                "file": path.name,
                "rows": self._rows[name],
                "bytes": path.stat().st_size,
                "sha256": digest,
            }

    def _drain(self) -> None:
        """Write large tables until told to stop; after a failure, only empty the queue."""
        groups: dict[str, _RowGroups] = {}
        with self._noted():
            groups = {
                name: _RowGroups(self.folder, table)
                for name, table in TABLES.items()
                if table.large
            }
        while (chunk := self._queue.get()) is not None:
            with self._noted():
                if self._failure is None and not self._abandoned:
                    groups[chunk.table].write(chunk)
        for one in groups.values():
            with self._noted():
                one.close(abandon=self._abandoned or self._failure is not None)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Keep what goes wrong on the thread, to be raised on the caller's."""
        try:
            yield
        except BaseException as failure:
            self._failure = self._failure or failure


class _RowGroups:
    """One Parquet file, filled with chunks of any size, written in full row groups."""

    def __init__(self, folder: Path, table: Table) -> None:
        self._table = table
        self._schema = schema(table)
        self._pending: list[Chunk] = []
        self._waiting = 0
        self._last: tuple[int, int] | None = None
        names = table.column_names
        self._writer = pq.ParquetWriter(
            folder / f"{table.name}.parquet",
            self._schema,
            use_dictionary=[
                column.name
                for column in table.columns
                if column.name in _DICTIONARY or column.type == "string"
            ],
            column_encoding={name: "DELTA_BINARY_PACKED" for name in names if name in _DELTA},
            compression="lz4",
            write_batch_size=_VALUES_AT_ONCE,
            write_statistics=[name for name in names if name in _STATISTICS] or False,
            sorting_columns=[pq.SortingColumn(names.index(name)) for name in table.sorted_by]
            or None,
        )

    def __enter__(self) -> _RowGroups:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(abandon=kind is not None)

    def write(self, chunk: Chunk) -> None:
        self._pending.append(chunk)
        self._waiting += len(chunk)
        while self._waiting >= ROW_GROUP:
            self._write_group(ROW_GROUP)

    def close(self, *, abandon: bool = False) -> None:
        try:
            if self._waiting and not abandon:
                self._write_group(self._waiting)
        finally:
            self._writer.close()

    def _write_group(self, rows: int) -> None:
        """Write the first `rows` of what is waiting; a group inside one chunk is not copied."""
        parts: list[Chunk] = []
        missing = rows
        while missing:
            chunk = self._pending[0]
            if len(chunk) <= missing:
                parts.append(self._pending.pop(0))
                missing -= len(chunk)
            else:
                parts.append(_rows(chunk, 0, missing))
                self._pending[0] = _rows(chunk, missing, len(chunk))
                missing = 0
        self._waiting -= rows
        group = _joined(self._table, parts)
        if self._table.name == "spans":
            self._check_order(group)
        self._writer.write_table(to_arrow(group), row_group_size=ROW_GROUP)

    def _check_order(self, group: Chunk) -> None:
        ts = np.asarray(group.columns["ts_ns"])
        track = np.asarray(group.columns["track"])
        in_order = (ts[:-1] < ts[1:]) | ((ts[:-1] == ts[1:]) & (track[:-1] <= track[1:]))
        first = (int(ts[0]), int(track[0]))
        if not in_order.all():
            at = int(np.argmin(in_order))
            self._last = (int(ts[at]), int(track[at]))
            first = (int(ts[at + 1]), int(track[at + 1]))
        if self._last is not None and first < self._last:
            raise FaultError(
                f"spans are not sorted by (ts_ns, track): {first} follows {self._last}; "
                "please report this with the scenario"
            )
        self._last = (int(ts[-1]), int(track[-1]))


def _checked(chunk: Chunk) -> Chunk:
    """Return `chunk` with arrays of the declared types, or raise `FaultError`."""
    table = TABLES.get(chunk.table)
    if table is None:
        raise FaultError(f"a chunk of an unknown table {chunk.table!r}")
    given = _with_optional(table, chunk)
    if set(given) != set(table.column_names):
        odd = sorted(set(given) ^ set(table.column_names))
        raise FaultError(f"a chunk of {table.name} with missing or unknown columns: {odd}")
    columns = {column.name: _typed(table, column, given[column.name]) for column in table.columns}
    if len({len(values) for values in columns.values()}) > 1:
        raise FaultError(f"a chunk of {table.name} with columns of unequal length")
    return Chunk(table.name, columns)


def _with_optional(table: Table, chunk: Chunk) -> Mapping[str, Values]:
    """Return the columns of a chunk, those empty that it may be without and is."""
    missing = [
        column for column in table.columns if column.optional and column.name not in chunk.columns
    ]
    if not missing:
        return chunk.columns
    return {**chunk.columns, **{column.name: _nothing(column, len(chunk)) for column in missing}}


def _nothing(column: Column, rows: int) -> npt.NDArray[Any]:
    """Return so many empty values of a nullable column."""
    return (
        np.full(rows, None, object) if column.type == "string" else np.full(rows, NULL, column.type)
    )


def _typed(table: Table, column: Column, values: Values) -> Values:
    if column.type == "string":
        return values
    given = np.asarray(values)
    if given.dtype == column.type:
        return given
    typed = given.astype(column.type)
    if not np.array_equal(typed, given, equal_nan=typed.dtype.kind == "f"):
        raise FaultError(f"{table.name}.{column.name} does not fit {column.type}")
    return typed


def _rows(chunk: Chunk, start: int, stop: int) -> Chunk:
    return Chunk(chunk.table, {name: values[start:stop] for name, values in chunk.columns.items()})


def _joined(table: Table, parts: list[Chunk]) -> Chunk:
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Values] = {}
    for column in table.columns:
        pieces = [part.columns[column.name] for part in parts]
        columns[column.name] = (
            [text for piece in pieces for text in piece]
            if column.type == "string"
            else np.concatenate(pieces)
        )
    return Chunk(table.name, columns)


def _sorted(table: Table, chunks: list[Chunk]) -> Iterator[Chunk]:
    """Yield the rows of a small table as one chunk in the table's order (equal rows as given)."""
    if not chunks:
        return
    whole = _joined(table, chunks)
    order = np.lexsort([np.asarray(whole.columns[name]) for name in reversed(table.sorted_by)])
    yield Chunk(
        table.name,
        {name: np.asarray(values)[order] for name, values in whole.columns.items()},
    )


def _arrow(column: Column, values: Values) -> pa.Array:
    """Return a column as Arrow, sharing the numpy buffer; empty values become nulls."""
    if column.type == "string":
        return pa.array(values, pa.string(), from_pandas=False)
    array = np.ascontiguousarray(values)
    if not column.nullable:
        return pa.array(array)
    valid: npt.NDArray[np.bool_] = ~np.isnan(array) if array.dtype.kind == "f" else array != NULL
    nulls = len(array) - int(np.count_nonzero(valid))
    if not nulls:
        return pa.array(array)
    if nulls == len(array):
        return pa.nulls(nulls, _ARROW[column.type])
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(
        _ARROW[column.type], len(array), [bitmap, pa.py_buffer(array)], nulls
    )


def write(
    folder: Path,
    chunks: Iterable[Chunk],
    manifest: Mapping[str, Any],
    *,
    finish: Callable[[Store], object] | None = None,
) -> Path:
    """Write a run into `folder`, whole or not at all, and return the folder.

    Everything is written into a hidden sibling; when it is complete a run of
    the same name is moved aside, the new one renamed into place, and only then
    the old one removed.  Whatever stops this, Ctrl-C and ``kill -9`` included,
    the previous run is still there (or put back by whoever next opens or writes
    it) and no half-written one is.  A second writer of the same run waits a
    few seconds and is then refused.

    `manifest` is read after the last chunk, and completed with
    ``format_version`` and ``tables`` (file, rows, bytes and sha256 of each).
    `finish` is called with the complete store before it becomes visible: files
    it adds (renderings) are part of the same commit.

    Raises `InputError` where the folder cannot be written or is not a run.
    """
    folder = Path(os.path.abspath(folder))
    hidden, previous = _sibling(folder, "partial"), _sibling(folder, "previous")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _put_back(folder)
            shutil.rmtree(hidden, ignore_errors=True)
            _refuse_what_is_not_a_run(folder)
            try:
                with StoreWriter(hidden) as writer:
                    for chunk in chunks:
                        writer.write(chunk)
                _write_manifest(hidden, manifest, writer.tables)
                if finish is not None:
                    finish(Store(hidden))
                _exchange(folder, hidden, previous)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
    except OSError as error:
        raise InputError.one(
            str(folder),
            "",
            "expected a folder that can be written",
            error.strerror or str(error),
            "make room or choose another folder with --out",
        ) from error
    return folder


def _sibling(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")


def _write_manifest(
    folder: Path, manifest: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]
) -> None:
    whole = {**manifest, "format_version": FORMAT_VERSION, "tables": tables}
    try:
        text = json.dumps(whole, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FaultError(f"the manifest is not JSON: {error}") from error
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _refuse_what_is_not_a_run(folder: Path) -> None:
    """Replace only what an earlier run left: never a file, never a folder of something else."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_dir() and ((folder / MANIFEST).exists() or not any(folder.iterdir())):
        return
    what = "a folder with other files in it" if folder.is_dir() else "a file"
    raise InputError.one(
        str(folder),
        "",
        "expected the folder of an earlier run, or nothing",
        f"{what}, which is left alone",
        "move it away, or choose another folder with --out",
    )


def _exchange(folder: Path, new: Path, previous: Path) -> None:
    """Put `new` in the place of `folder`; on any failure between, the old one goes back."""
    if folder.exists():
        folder.rename(previous)
    try:
        new.rename(folder)
    except BaseException:
        if previous.exists() and not folder.exists():
            previous.rename(folder)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _put_back(folder: Path) -> None:
    """Undo a replacement that was killed half-way: the run moved aside is still the run."""
    previous = _sibling(folder, "previous")
    if previous.exists():
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
        else:
            previous.rename(folder)


@contextmanager
def locked(folder: Path, wait_s: float | None = None) -> Iterator[None]:
    """Hold the lock file of `folder`, which names the owner's process.

    The operating system drops the lock with its owner, so a dead owner's file
    is simply taken over.  Raises `InputError` when it is not free in `wait_s`.
    """
    path = _sibling(folder, "lock")
    until = time.monotonic() + (_LOCK_WAIT_S if wait_s is None else wait_s)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _take(handle) and _names(path, handle):
            break
        owner = os.read(handle, 32).decode("ascii", "replace").strip()
        os.close(handle)
        if time.monotonic() > until:
            raise InputError.one(
                str(folder),
                "",
                "expected to be the only one writing this run",
                f"process {owner or 'unknown'} is writing it",
                "wait for it to end, or choose another folder with --out",
            )
        time.sleep(0.05)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _take(handle: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _names(path: Path, handle: int) -> bool:
    """Return whether `path` still is the open file: its last owner may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


class Store:
    """A run on disk, checked when opened: every file there, whole, and as expected.

    Raises `InputError` for a folder that is not a run, a store of another
    format version, and a file that is missing, truncated or not ours.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open and check the run in `folder` (or named by its manifest.json)."""
        given = Path(folder)
        self.folder = given.parent if given.name == MANIFEST else given
        if not self.folder.exists() and _sibling(_absolute(self.folder), "previous").exists():
            with locked(_absolute(self.folder)):
                _put_back(_absolute(self.folder))
        self.manifest: Mapping[str, Any] = _read_manifest(self.folder)
        self._lacks: dict[str, tuple[str, ...]] = {}
        for table in TABLES.values():
            self._check(table)

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def path(self, table: str) -> Path:
        """Return the Parquet file of `table` (one of :data:`~.columns.TABLES`)."""
        return self.folder / f"{TABLES[table].name}.parquet"

    def lacks(self, table: str) -> tuple[str, ...]:
        """Return the optional columns that the file of `table` was written without."""
        return self._lacks.get(table, ())

    def rows(self, table: str) -> int:
        """Return the number of rows of `table`."""
        return int(self.manifest["tables"][table]["rows"])

    def read(self, table: str) -> pa.Table:
        """Return the whole of a table in memory; meant for the small ones."""
        return pq.read_table(self.path(table))

    def _check(self, table: Table) -> None:
        path = self.path(table.name)
        try:
            metadata = pq.read_metadata(path)
        except FileNotFoundError:
            raise _unreadable(path, "no such file") from None
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, f"a file cut short or damaged ({_short(error)})") from None
        expected, found = schema(table), metadata.schema.to_arrow_schema()
        if not _fits(table, found, expected):
            wrong = [
                f"{field.name} {field.type}" for field in expected if field not in set(found)
            ] or ["columns in another order"]
            raise _unreadable(path, f"a table without {', '.join(wrong)}")
        lacks = tuple(name for name in table.column_names if name not in found.names)
        if lacks:
            self._lacks[table.name] = lacks
        noted = self.manifest["tables"].get(table.name, {})
        size = path.stat().st_size
        if (noted.get("rows"), noted.get("bytes")) != (metadata.num_rows, size):
            raise _unreadable(
                path,
                f"{metadata.num_rows} rows in {size} bytes, but the manifest says "
                f"{noted.get('rows')} rows in {noted.get('bytes')} bytes",
            )


def _fits(table: Table, found: pa.Schema, expected: pa.Schema) -> bool:
    """Return whether columns are the expected ones, save optional ones.

    One that is never empty may be so by type.
    """
    optional = {column.name for column in table.columns if column.optional}
    kept = [field for field in expected if field.name in found.names or field.name not in optional]
    return found.names == [field.name for field in kept] and all(
        one.type == other.type and one.nullable <= other.nullable
        for one, other in zip(found, kept, strict=True)
    )


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder))


def _short(error: Exception) -> str:
    return str(error).split("\n", 1)[0].rstrip(".")[:120]


def _unreadable(path: Path, got: str) -> InputError:
    return InputError.one(
        str(path),
        "",
        f"expected the {path.stem} of a run, as `toolkit run` wrote it",
        got,
        "restore the file, or make the run again with `toolkit run`",
    )


def _read_manifest(folder: Path) -> Mapping[str, Any]:
    def wrong(got: str, way_out: str = "name the folder of a run, e.g. traces/opt66") -> InputError:
        return InputError.one(
            str(folder), "", "expected the folder of a run, with its manifest.json", got, way_out
        )

    if not folder.exists():
        raise wrong("nothing of that name")
    if not folder.is_dir():
        raise wrong("a file")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise wrong("a folder without manifest.json") from None
    except (OSError, ValueError) as error:
        raise wrong(f"a manifest.json that cannot be read ({_short(error)})") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("tables"), dict):
        raise wrong("a manifest.json of something else")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise wrong(
            f"a store of format version {version!r}; this toolkit reads {FORMAT_VERSION}",
            "make the run again with `toolkit run`, or read it with the toolkit that wrote it",
        )
    return manifest
