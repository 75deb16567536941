"""The library over runs that are not on disk: the chunks of many simulations, side by side.

A sweep asks the same few questions of a thousand runs and keeps none of them.
Here their tables go from arrays to DuckDB without a file between, a batch of
runs at a time, and the views that read a store answer for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from toolkit.analytics.library import STORE, View, library, needed
from toolkit.analytics.run import keep
from toolkit.trace.columns import TABLES, Chunk, empty
from toolkit.trace.store import to_arrow

if TYPE_CHECKING:
    import polars as pl

__all__ = ["InMemory"]


class InMemory:
    """Runs as tables in memory; ``run`` is the number, from 0, of a run in what was given.

    Each run is a manifest (only what the view `runs` reads is needed) and its
    chunks; tables that no chunk is of are empty.  `kept` are views that are
    computed once and kept, because several others read them.
    """

    def __init__(
        self,
        runs: Iterable[tuple[Mapping[str, Any], Iterable[Chunk]]],
        *,
        tables: Sequence[str] = tuple(TABLES),
        kept: Sequence[str] = (),
    ) -> None:
        """Take the chunks of `tables`; those of others are dropped."""
        self._views: Mapping[str, View] = {view.name: view for view in library()}
        self._created: set[str] = set()
        self._connection = duckdb.connect(":memory:")
        # One thread: whoever has many runs has a process for each core.
        self._connection.execute("SET threads = 1")
        self._fill(runs, tables)
        for name in kept:
            self._create(name)
            keep(self._connection, name)

    def __enter__(self) -> InMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the tables."""
        self._connection.close()

    def frame(self, query: str) -> pl.DataFrame:
        """Return the rows of a query over the library's views as a Polars frame."""
        self._create(query)
        frame: pl.DataFrame = self._connection.sql(query).pl()
        return frame

    def _create(self, query: str) -> None:
        for view in needed(query, self._views):
            if view.name not in self._created:
                self._connection.execute(view.sql)
                self._created.add(view.name)

    def _fill(
        self, runs: Iterable[tuple[Mapping[str, Any], Iterable[Chunk]]], tables: Sequence[str]
    ) -> None:
        """Make schema `store` as an opened trace has it."""
        parts: dict[str, list[pa.Table]] = {table: [] for table in tables}
        manifests: list[tuple[int, str]] = []
        for number, (manifest, chunks) in enumerate(runs):
            manifests.append((number, json.dumps(dict(manifest))))
            for chunk in chunks:
                if chunk.table in parts:
                    rows = to_arrow(chunk)
                    run = pa.repeat(pa.scalar(number, pa.int32()), rows.num_rows)
                    parts[chunk.table].append(rows.add_column(0, "run", run))
        connection = self._connection
        connection.execute(f"CREATE SCHEMA {STORE}")
        connection.execute(
            f"CREATE TABLE {STORE}.manifests (ordinal INTEGER, run INTEGER, manifest JSON)"
        )
        connection.executemany(
            f"INSERT INTO {STORE}.manifests VALUES (?, ?, ?)",
            [(number, number, text) for number, text in manifests],
        )
        for name in TABLES:
            whole = pa.concat_tables(parts[name]) if parts.get(name) else _empty(name)
            connection.register(f"given_{name}", whole)  # scanned where it is, never copied
            connection.execute(f"CREATE VIEW {STORE}.{name} AS FROM given_{name}")


def _empty(name: str) -> pa.Table:
    rows = to_arrow(empty(name))
    return rows.add_column(0, "run", pa.array([], pa.int32()))
