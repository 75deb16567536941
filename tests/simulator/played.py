"""A simulated scenario as whole tables: what the stream of chunks adds up to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from toolkit.scenario.model import Scenario
from toolkit.simulator import dejavu_run, event_run, simulate, spans
from toolkit.trace.columns import NAMES, NULL, TABLES, Chunk, Column, Values, empty, name_key

__all__ = ["Played", "buffers", "gathered", "name_of", "or_none", "play"]

Table = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Played:
    """The tables of a run, as columns by name."""

    tables: Mapping[str, Table]

    def __getitem__(self, table: str) -> Table:
        return self.tables[table]

    def rows(self, table: str, *columns: str) -> list[tuple[int, ...]]:
        """Return the rows of some columns as tuples of Python values, in order."""
        return list(zip(*(self[table][column].tolist() for column in columns), strict=True))

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        return len(self[table][TABLES[table].columns[0].name])

    def tracks(self, *kinds: str) -> list[int]:
        """Return the tracks of some kinds."""
        return np.flatnonzero(np.isin(self["tracks"]["kind"], kinds)).tolist()

    def of(self, kind: str) -> npt.NDArray[np.bool_]:
        """Return which spans are on tracks of a kind."""
        return np.isin(self["spans"]["track"], self.tracks(kind))

    @cached_property
    def e2e(self) -> npt.NDArray[np.int64]:
        """Time of each request in the system, ns."""
        times = self["requests"]
        return np.asarray(times["finish_ns"] - times["arrival_ns"], np.int64)

    def named(self, table: str, *names: str) -> npt.NDArray[np.bool_]:
        """Return which rows of `spans`, `totals` or `waits` have one of the names."""
        column = "cause" if table == "waits" else "name"
        return np.isin(self[table][column], [name_key(name) for name in names])


def play(scenario: Scenario) -> Played:
    """Simulate a scenario and gather its chunks."""
    return gathered(simulate(scenario))


def gathered(chunks: Iterable[Chunk]) -> Played:
    """Return chunks as whole tables; a table of which none came has no rows."""
    by_table: dict[str, list[Chunk]] = {table: [empty(table)] for table in TABLES}
    for chunk in chunks:
        by_table[chunk.table].append(chunk)
    return Played(
        {
            table: {
                column.name: np.concatenate(
                    [np.asarray(_values(chunk, column), _type(column.type)) for chunk in some]
                )
                for column in TABLES[table].columns
            }
            for table, some in by_table.items()
        }
    )


@contextmanager
def buffers(*, waits_rows: int, span_rows: int) -> Iterator[None]:
    """Let a run hold so many rows before it hands them on."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (event_run, dejavu_run):
            patch.setattr(module, "WAITS_AT_ONCE", waits_rows)
        for module in (spans, event_run, dejavu_run):
            patch.setattr(module, "SPANS_AT_ONCE", span_rows)
        yield


def _values(chunk: Chunk, column: Column) -> Values:
    """Return a column of a chunk; one it may be without and is has no value."""
    if column.optional and column.name not in chunk.columns:
        return np.full(len(chunk), "" if column.type == "string" else NULL)
    return chunk.columns[column.name]


def _type(name: str) -> npt.DTypeLike:
    return np.dtype("U64") if name == "string" else np.dtype(name)


def name_of(key: int) -> str:
    """Return the text of a name's key."""
    return NAMES[key]


def or_none(value: int) -> int | None:
    """Return a stored value, None where it is null."""
    return None if value == NULL else value
