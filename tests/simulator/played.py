"""A simulated scenario as whole tables: what the stream of chunks adds up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from toolkit.scenario.model import Scenario
from toolkit.simulator import simulate
from toolkit.trace.columns import NAMES, NULL, TABLES, Chunk, empty, name_key

__all__ = ["Played", "gathered", "play"]

Column = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Played:
    """The tables of a run, as columns by name."""

    tables: Mapping[str, Mapping[str, npt.NDArray[np.generic]]]

    def __getitem__(self, table: str) -> Mapping[str, npt.NDArray[np.generic]]:
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
        return np.asarray(times["finish_ns"] - times["arrival_ns"], np.int64)  # type: ignore[operator]

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
                    [np.asarray(chunk.columns[column.name], _type(column.type)) for chunk in some]
                )
                for column in TABLES[table].columns
            }
            for table, some in by_table.items()
        }
    )


def _type(name: str) -> npt.DTypeLike:
    return np.dtype("U64") if name == "string" else np.dtype(name)


def name_of(key: int) -> str:
    """Return the text of a name's key."""
    return NAMES[key]


def or_none(value: int) -> int | None:
    """Return a stored value, None where it is null."""
    return None if value == NULL else value
