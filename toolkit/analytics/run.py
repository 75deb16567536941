"""An opened run: a DuckDB connection in memory, with the library's views over the store's files."""

from __future__ import annotations

import difflib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.analytics.library import STORE, View, library, needed
from toolkit.analytics.own_views import OwnView, read_views
from toolkit.errors import InputError, Problem
from toolkit.trace.columns import TABLES
from toolkit.trace.store import Store

if TYPE_CHECKING:
    import polars as pl

    from toolkit.analytics.why import Why

__all__ = ["SHARED", "Broken", "Run", "keep", "open"]

_READING = frozenset({"SELECT", "EXPLAIN", "MULTI", "PRAGMA"})
"""Kinds of statements that leave files alone (PIVOT is one of several parts: MULTI)."""


_OF_THE_QUERY = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.ParserException,
)
"""Errors that are of a query's making, whatever the files hold."""

MEMORY = "1600MB"
"""Memory of a connection; what needs more goes to disk while it is computed."""


SHARED = (
    "idle_cells",
    "machines",
    "run_totals",
    "stage_busy",
    "stage_time",
    "time_ledger",
    "tracks",
)
"""Views that many others read and that have few rows, or that take long to compute.

Worth computing once for many questions: a view inside a view is planned again
wherever it is read, which for small traces takes longer than the rows.
"""

_MANIFESTS = frozenset({"runs"})
"""Views of the manifests alone, which are in memory: computed once in every connection."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that a trace breaks, with the rows that break it."""

    name: str
    doc: str
    rows: pl.DataFrame


def open(
    path: Path | str | Sequence[Path | str],
    *,
    views: Path | str | Sequence[Path | str] = (),
    threads: int | None = None,
    kept: Sequence[str] = (),
) -> Run:
    """Open one trace, or several side by side.

    `path` is the folder of a run (``traces/opt66-baseline``) or several; every
    view has a column ``run`` with the folder's name, which sorts in the order
    given.  `views` are .sql files of one's own, or folders of them: each is a
    view of its file's name, which may read the library's.  Nothing of a trace
    is read until it is asked for.  `kept` are views that are computed once,
    when first needed, because several others read them.

    Raises:
        InputError: a folder is not a run, or a file of it is missing, cut
            short, or of another format version; a view is no query, or does
            not fit the library.
    """
    paths = [path] if isinstance(path, Path | str) else list(path)
    if not paths:
        raise InputError.one("traces", "", "expected at least one trace", "none")
    own = read_views([views] if isinstance(views, Path | str) else views)
    return Run([Store(Path(one)) for one in paths], own, threads=threads, kept=kept)


class Run:
    """One run or several, as tables.

    ``name`` and ``manifest`` are those of the first; ``names`` and ``stores``
    hold all.  A connection is not to be shared between threads.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        own: Sequence[OwnView] = (),
        *,
        threads: int | None = None,
        kept: Sequence[str] = (),
    ) -> None:
        """Connect to opened stores; see :func:`open`."""
        self._kept = _MANIFESTS | frozenset(kept)
        self.stores = tuple(stores)
        self.names = _names([store.folder for store in stores])
        self._views: Mapping[str, View] = {
            view.name: view for view in (*library(), *(each.view for each in own))
        }
        self._created: set[str] = set()
        self._connection = duckdb.connect(":memory:")
        if threads is not None:
            self._connection.execute("SET threads = ?", [threads])
        self._connection.execute("SET preserve_insertion_order = false")
        # An ASOF join whose smaller side is underestimated would run as a loop over the larger.
        self._connection.execute("SET asof_loop_join_threshold = 0")
        self._connection.execute("SET memory_limit = ?", [MEMORY])
        self._connection.execute("SET temp_directory = ?", [_spill()])
        self._attach()
        self._join(own)

    def __repr__(self) -> str:
        return f"Run({', '.join(str(store.folder) for store in self.stores)})"

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    @property
    def path(self) -> Path:
        """Folder of the (first) run."""
        return self.stores[0].folder

    @property
    def name(self) -> str:
        """Name of the (first) run: its folder's."""
        return self.names[0]

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Manifest of the (first) run."""
        return self.stores[0].manifest

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB connection, with every view created: for tools that want the real thing."""
        self._create(self._views.values())
        return self._connection

    def views(self) -> tuple[View, ...]:
        """Return the library: each view with its name, layer and documentation."""
        return tuple(self._views.values())

    def sql(self, query: str, **parameters: Any) -> duckdb.DuckDBPyRelation:
        """Return the rows of a query as a DuckDB relation.

        ``$name`` in the query stands for the parameter `name`.  Queries read:
        whatever would write a file or change a table is refused, so that no
        query can damage a trace.  Write results with the relation's own
        ``write_csv`` or ``write_parquet``.

        Raises:
            InputError: the query is not SQL, names a view or column that is
                not there, or is no query.
        """
        try:
            self._require_reading(query)
            self._create(needed(query, self._views) or self._listing(query))
            relation = self._connection.sql(query, params=parameters or None)
        except duckdb.Error as error:
            raise self._explained(query, error) from error
        if relation is None:
            raise InputError.one(_short(query), "", "expected a query that returns rows")
        return relation

    def frame(self, query: str, **parameters: Any) -> pl.DataFrame:
        """Return the rows of a query as a Polars frame; otherwise like :meth:`sql`."""
        relation = self.sql(query, **parameters)
        try:
            frame: pl.DataFrame = relation.pl()
        except duckdb.Error as error:
            raise self._explained(query, error) from error
        return frame

    def split(self, text: str) -> list[str]:
        """Return the queries of a text, which semicolons divide.

        Raises:
            InputError: it is not SQL.
        """
        try:
            found = self._connection.extract_statements(text)
        except duckdb.Error as error:
            raise self._explained(text, error) from error
        return [statement.query.strip().removesuffix(";").strip() for statement in found]

    def columns(self) -> dict[str, list[str]]:
        """Return the names of the columns of every view."""
        found: dict[str, list[str]] = {name: [] for name in self._views}
        rows = self.connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'main' "
            "AND NOT internal ORDER BY table_name, column_index"
        )
        for view, column in rows.fetchall():
            found.setdefault(view, []).append(column)
        return found

    def check(self) -> list[Broken]:
        """Return every invariant that the trace breaks; a healthy trace breaks none."""
        checks = [view for view in self._views.values() if view.layer == "checks"]
        with Run(self.stores, kept=("idle_causes", *SHARED)) as asked:
            found = [(view, asked.frame(f"FROM {view.name}")) for view in checks]
        return [Broken(view.name, view.doc, rows) for view, rows in found if rows.height]

    def damage(self) -> InputError | None:
        """Return which file of the traces cannot be read to its end, None if all can."""
        for store in self.stores:
            for table in TABLES:
                try:
                    with pq.ParquetFile(store.path(table)) as file:
                        for group in range(file.num_row_groups):
                            file.read_row_group(group)
                except (pa.ArrowException, OSError) as error:
                    reason = str(error).partition("\n")[0]
                    return InputError.one(
                        str(store.path(table)),
                        "",
                        "expected a Parquet file that can be read",
                        reason,
                        "it was damaged after it was written; run its scenario again",
                    )
        return None

    def why(self, request: int, *, of: str | None = None) -> Why:
        """Say where one request's end-to-end time went; `of` names its run if several are opened.

        Raises:
            InputError: there is no such request, or it was not served.
        """
        from toolkit.analytics.why import why  # noqa: PLC0415 - it needs Run itself

        return why(self, request, of=of)

    # -- setting up ------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Create schema `store`: the manifests as a table, the Parquet files as views."""
        connection = self._connection
        connection.execute(f"CREATE SCHEMA {STORE}")
        connection.execute(
            f"CREATE TABLE {STORE}.manifests (ordinal INTEGER, run VARCHAR, manifest JSON)"
        )
        connection.executemany(
            f"INSERT INTO {STORE}.manifests VALUES (?, ?, ?)",
            [
                (ordinal, name, json.dumps(dict(store.manifest)))
                for ordinal, (name, store) in enumerate(zip(self.names, self.stores, strict=True))
            ],
        )
        connection.execute(
            f"CREATE TYPE run_name AS ENUM (SELECT run FROM {STORE}.manifests ORDER BY ordinal)"
        )
        connection.execute(f"ALTER TABLE {STORE}.manifests ALTER run TYPE run_name")
        for table in TABLES:
            connection.execute(f"CREATE VIEW {STORE}.{table} AS {self._files(table)}")

    def _join(self, own: Sequence[OwnView]) -> None:
        """Create the user's views; InputError with all that do not fit the library."""
        problems: list[Problem] = []
        for each in own:
            try:
                self._create([each.view])
            except duckdb.Error as error:
                told = self._explained(each.view.sql, error).problems[0]
                problems.append(each.problem(str(error), told.expected, told.way_out))
        if problems:
            problems = list(dict.fromkeys(problems))
            raise InputError(problems[0].file, problems)

    def _files(self, table: str) -> str:
        """Return the SQL that reads one table of all stores, with the run's name.

        A column that an older store is without is empty there.
        """
        return " UNION ALL ".join(
            f"SELECT {_literal(name)}::run_name AS run, {_columns(table, store)}, file_row_number "
            f"FROM read_parquet({_literal(str(store.path(table)))}, file_row_number = true)"
            for name, store in zip(self.names, self.stores, strict=True)
        )

    def _create(self, views: Sequence[View] | Any) -> None:
        """Create the views that are not there yet; they come after what they read."""
        for view in views:
            for each in needed(view.name, self._views):
                if each.name not in self._created:
                    self._connection.execute(each.sql)
                    if each.name in self._kept:
                        keep(self._connection, each.name)
                    self._created.add(each.name)

    def _listing(self, query: str) -> list[View]:
        """Return all views for a query that lists what is there (SHOW, information_schema)."""
        listing = re.search(r"\b(show|information_schema|duckdb_\w+|pragma)\b", query, re.I)
        return list(self._views.values()) if listing else []

    # -- refusing --------------------------------------------------------------------------------

    def _require_reading(self, query: str) -> None:
        statements = self._connection.extract_statements(query)
        if len(statements) != 1:
            raise InputError.one(
                _short(query), "", "expected one query", f"{len(statements)} statements"
            )
        kind = statements[0].type.name
        if kind not in _READING:
            raise InputError.one(
                _short(query),
                "",
                "expected a query: traces are read, never written",
                f"a statement that does more ({kind})",
                "select the rows, and choose a format and a file for them",
            )

    def _explained(self, query: str, error: duckdb.Error) -> InputError:
        """Return what is wrong with a query, or with the file it met; names the nearest view."""
        if not isinstance(error, _OF_THE_QUERY) and (damage := self.damage()):
            return damage
        message = str(error)
        head, _, rest = message.partition("\n")
        way_out = ""
        if missing := re.search(r"Table with name \"?(\w+)\"? does not exist", message):
            near = difflib.get_close_matches(missing[1], self._views, 1)
            way_out = f"did you mean {near[0]}?" if near else "`toolkit sql --list` lists the views"
        elif candidates := re.search(r"Candidate bindings: :?\s*(.+)", rest):
            way_out = f"columns near it: {candidates[1]}"
        return InputError.one(_short(query), "", head, "", way_out)


def keep(connection: duckdb.DuckDBPyConnection, view: str) -> None:
    """Put a table with its rows in the place of a view."""
    connection.execute(f"CREATE TABLE kept AS FROM {view}")
    connection.execute(f"DROP VIEW {view}")
    connection.execute(f"ALTER TABLE kept RENAME TO {view}")


_TYPES = {
    "int64": "BIGINT",
    "int32": "INTEGER",
    "int8": "TINYINT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
}
"""What DuckDB calls the types of columns."""


def _columns(table: str, store: Store) -> str:
    lacks = store.lacks(table)
    return ", ".join(
        f'NULL::{_TYPES[column.type]} AS "{column.name}"'
        if column.name in lacks
        else f'"{column.name}"'
        for column in TABLES[table].columns
    )


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return a name for each folder: its own, with as many parents as tell them apart."""
    parts = [folder.absolute().parts for folder in folders]
    names: list[str] = []
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(f"{name} ({number})" for number, name in enumerate(names, 1))


def _spill() -> str:
    """Return a folder of this connection's own, which DuckDB makes when it needs it and removes."""
    return str(Path(tempfile.gettempdir()) / f"toolkit-{os.getpid()}-{uuid4().hex[:8]}")


def _literal(text: str) -> str:
    """Return a string as SQL writes it."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'"


def _short(query: str) -> str:
    """Return a query on one line, cut where it gets long."""
    line = " ".join(query.split())
    return line if len(line) <= 70 else f"{line[:67]}..."
