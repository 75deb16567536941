"""Requests that were recorded somewhere, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ragged", "Recording", "mean_rate_per_s"]

I4 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int64]

NS_PER_S = 10**9


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """A list of numbers for each request: those of request i are ``ids[starts[i]:starts[i+1]]``.

    ``starts`` has shape (requests + 1,), ``ids`` as many values as all lists together.
    """

    starts: I8
    ids: I8

    @classmethod
    def of(cls, lists: list[list[int]]) -> Ragged:
        """Return the lists as columns."""
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        starts = np.concatenate(([0], np.cumsum(lengths)))
        flat = (number for each in lists for number in each)
        return cls(starts, np.fromiter(flat, np.int64, int(starts[-1])))

    @classmethod
    def joined(cls, parts: list[Ragged]) -> Ragged:
        """Return the lists of all parts, one after the other."""
        lengths = np.concatenate([np.diff(part.starts) for part in parts])
        ids = np.concatenate([part.ids for part in parts])
        return cls(np.concatenate(([0], np.cumsum(lengths))), ids)

    def lists(self) -> list[list[int]]:
        """Return the columns as lists."""
        return [part.tolist() for part in np.split(self.ids, self.starts[1:-1])]

    def take(self, rows: I8) -> Ragged:
        """Return the lists of some requests, in the order of `rows`."""
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        return Ragged(starts, self.ids[np.repeat(self.starts[:-1][rows], lengths) + within])


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One row per request, in order of arrival; all columns have shape (requests,).

    ``arrival_ns`` counts from the file's first arrival, or from the start of
    the window; None where the file holds lengths alone.  ``tenant`` indexes
    ``tenants``.  ``session`` numbers conversations, -1 where a request has
    none.  ``hash_ids`` are the prefix blocks of a prompt, of ``block_tokens``
    tokens each, equal where the text up to there is.
    """

    prompt_tokens: I4
    output_tokens: I4
    arrival_ns: I8 | None = None
    tenant: I4 | None = None
    tenants: tuple[str, ...] = ()
    priority: I4 | None = None
    session: I4 | None = None
    hash_ids: Ragged | None = None
    block_tokens: int | None = None
    out_of_order: int = 0
    """Rows that stood behind a later arrival; they were put in order of time."""

    def __len__(self) -> int:
        return len(self.prompt_tokens)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recording):
            return NotImplemented
        mine, its = self._columns(), other._columns()
        return mine.keys() == its.keys() and all(
            np.array_equal(column, its[key]) for key, column in mine.items()
        )

    def __hash__(self) -> int:
        return hash((len(self), int(self.prompt_tokens.sum()), int(self.output_tokens.sum())))

    def take(self, rows: I8) -> Recording:
        """Return some requests, in the order of `rows`."""

        def of(column: npt.NDArray[Any] | None) -> Any:
            return None if column is None else column[rows]

        return replace(
            self,
            prompt_tokens=of(self.prompt_tokens),
            output_tokens=of(self.output_tokens),
            arrival_ns=of(self.arrival_ns),
            tenant=of(self.tenant),
            priority=of(self.priority),
            session=of(self.session),
            hash_ids=None if self.hash_ids is None else self.hash_ids.take(rows),
        )

    def in_order(self) -> Recording:
        """Return the requests in order of arrival, from 0; equal times keep the file's order."""
        if self.arrival_ns is None or not len(self):
            return self
        behind = int((self.arrival_ns < np.maximum.accumulate(self.arrival_ns)).sum())
        ordered = self.take(np.argsort(self.arrival_ns, kind="stable")) if behind else self
        assert ordered.arrival_ns is not None
        arrival_ns = ordered.arrival_ns - ordered.arrival_ns[0]
        return replace(ordered, arrival_ns=arrival_ns, out_of_order=behind)

    def within(self, window_s: tuple[float, float]) -> Recording:
        """Return the requests that arrive from a time up to another, counted from the first."""
        assert self.arrival_ns is not None
        start, end = (round(bound * NS_PER_S) for bound in window_s)
        rows = np.flatnonzero((self.arrival_ns >= start) & (self.arrival_ns < end))
        kept = self.take(rows)
        assert kept.arrival_ns is not None
        return replace(kept, arrival_ns=kept.arrival_ns - start)

    def answered(self) -> Recording:
        """Return the requests whose answer has a token."""
        return self.take(np.flatnonzero(self.output_tokens > 0))

    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns that are there; of tenants their names."""
        columns = {
            "arrival_ns": self.arrival_ns,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "priority": self.priority,
            "session": self.session,
            "tenant": None if self.tenant is None else np.array(self.tenants)[self.tenant],
        }
        if self.hash_ids is not None:
            columns |= {"starts": self.hash_ids.starts, "ids": self.hash_ids.ids}
        return {key: each for key, each in columns.items() if each is not None}

    def as_lists(self) -> dict[str, Any]:
        """Return the columns as plain lists, those that are absent left out."""
        columns = self._columns()
        lists: dict[str, Any] = {
            key: each.tolist() for key, each in columns.items() if key not in {"starts", "ids"}
        }
        if self.hash_ids is not None:
            lists |= {"hash_ids": self.hash_ids.lists(), "block_tokens": self.block_tokens}
        return lists

    @classmethod
    def of_lists(cls, lists: Mapping[str, Any]) -> Recording:
        """Return the recording whose columns these are, as :meth:`as_lists` gives them."""

        def column(key: str, kind: Any) -> Any:
            return np.array(lists[key], kind) if key in lists else None

        names: list[str] = lists.get("tenant", [])
        tenants = tuple(dict.fromkeys(names))
        codes = {name: code for code, name in enumerate(tenants)}
        return cls(
            prompt_tokens=column("prompt_tokens", np.int32),
            output_tokens=column("output_tokens", np.int32),
            arrival_ns=column("arrival_ns", np.int64),
            tenant=np.array([codes[name] for name in names], np.int32) if names else None,
            tenants=tenants,
            priority=column("priority", np.int32),
            session=column("session", np.int32),
            hash_ids=Ragged.of(lists["hash_ids"]) if "hash_ids" in lists else None,
            block_tokens=lists.get("block_tokens"),
        ).in_order()


def mean_rate_per_s(arrival_ns: I8) -> float | None:
    """Return the mean rate between first and last arrival, per second; None where that is no time.

    >>> mean_rate_per_s(np.array([0, 5, 1_000_000_000]))
    2.0
    """
    span_ns = int(arrival_ns[-1] - arrival_ns[0]) if len(arrival_ns) else 0
    return (len(arrival_ns) - 1) * NS_PER_S / span_ns if span_ns else None
