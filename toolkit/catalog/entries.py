"""Names to entries: what is known of a model, a device, a machine or a link, and from where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli

from toolkit.catalog.names import unknown

__all__ = [
    "DATA",
    "KINDS",
    "Entry",
    "Row",
    "Source",
    "describe",
    "device",
    "entries",
    "find",
    "link",
    "machine",
    "model",
    "tables",
]

DATA = Path(__file__).parent / "data"
"""Folder of the data files; it ships with the package."""

KINDS: Mapping[str, str] = {
    "model": "models.toml",
    "device": "devices.toml",
    "machine": "machines.toml",
    "link": "links.toml",
    "timing table": "timings.toml",
    "length table": "lengths.toml",
    "inter-arrival table": "interarrivals.toml",
}
"""Each kind of entry, and the file its entries are in."""

_ABOUT = frozenset({"source", "confidence", "sources"})
"""Keys of an entry that speak of its figures rather than being one."""

_UNITS = (
    ("_gb_per_token", "GB/token"),
    ("_gb_per_s", "GB/s"),
    ("_gbit_per_s", "Gbit/s"),
    ("_usd_per_hour", "USD/h"),
    ("usd_per_hour", "USD/h"),
    ("_tflops", "TFLOP/s"),
    ("_tops", "TOP/s"),
    ("_tokens", "tokens"),
    ("_gb", "GB"),
    ("mean_s", "s"),
    ("_ms", "ms"),
    ("_us", "us"),
    ("_w", "W"),
    ("gbit_per_s", "Gbit/s"),
)
"""Endings of keys, longest first where one ends in another, and the units they stand for."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure is from, and how far to believe it."""

    source: str
    confidence: str


@dataclass(frozen=True, slots=True)
class Row:
    """One figure as it is shown: its key, value, unit, source and confidence."""

    key: str
    value: Any
    unit: str
    source: str
    confidence: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing the catalog knows.

    ``figures`` maps keys, with the unit in the key, to values.  ``default``
    is the source of every figure but those that ``exceptions`` names.
    """

    kind: str
    name: str
    figures: Mapping[str, Any]
    default: Source
    exceptions: Mapping[str, Source]

    def source(self, key: str) -> Source:
        """Return where the figure `key` is from."""
        return self.exceptions.get(key, self.default)

    def rows(self) -> Iterator[Row]:
        """Yield the figures one by one; of a list of tables, every figure of every table."""
        for key, value in self.figures.items():
            if isinstance(value, Mapping):
                yield from self._rows_of(key, value)
            elif isinstance(value, tuple) and value and isinstance(value[0], Mapping):
                for index, each in enumerate(value):
                    yield from self._rows_of(f"{key}[{index}]", each)
            else:
                yield self._row(key, value, self.source(key))

    def _rows_of(self, name: str, table: Mapping[str, Any]) -> Iterator[Row]:
        source = Source(
            table.get("source", self.default.source),
            table.get("confidence", self.default.confidence),
        )
        for key, value in table.items():
            if key not in _ABOUT:
                yield self._row(f"{name}.{key}", value, source)

    def _row(self, key: str, value: Any, source: Source) -> Row:
        return Row(key, value, _unit(key), source.source, source.confidence)


def entries(kind: str | None = None) -> list[Entry]:
    """Return the entries of a kind of :data:`KINDS`, or all, in the order of the files."""
    kinds = KINDS if kind is None else (kind,)
    return [entry for each in kinds for entry in tables(each).values()]


def find(name: str) -> Entry:
    """Return the entry of any kind called `name`.

    Raises:
        InputError: nothing is called that; it names what comes closest.
    """
    for entry in entries():
        if entry.name == name:
            return entry
    raise unknown("catalog entry", name, [entry.name for entry in entries()])


def describe(name: str) -> list[Row]:
    """Return the figures of the entry called `name`, as rows to be shown.

    Raises:
        InputError: nothing is called that.
    """
    return list(find(name).rows())


def model(name: str) -> Entry:
    """Return the model called `name`; InputError if there is none."""
    return _named("model", name)


def device(name: str) -> Entry:
    """Return the device called `name`; InputError if there is none."""
    return _named("device", name)


def machine(name: str) -> Entry:
    """Return the machine called `name`; InputError if there is none."""
    return _named("machine", name)


def link(name: str) -> Entry:
    """Return the link called `name`; InputError if there is none."""
    return _named("link", name)


@cache
def tables(kind: str) -> Mapping[str, Entry]:
    """Return the entries of one kind by name, read once."""
    raw = tomli.loads((DATA / KINDS[kind]).read_text(encoding="utf-8"))
    return MappingProxyType({name: _entry(kind, name, table) for name, table in raw.items()})


def _named(kind: str, name: str) -> Entry:
    known = tables(kind)
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]


def _entry(kind: str, name: str, table: Mapping[str, Any]) -> Entry:
    return Entry(
        kind,
        name,
        MappingProxyType({k: _frozen(v) for k, v in table.items() if k not in _ABOUT}),
        Source(table["source"], table["confidence"]),
        MappingProxyType({key: Source(**each) for key, each in table.get("sources", {}).items()}),
    )


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(each) for key, each in value.items()})
    if isinstance(value, list):
        return tuple(_frozen(each) for each in value)
    return value


def _unit(key: str) -> str:
    last = key.rpartition(".")[2]
    return next((unit for ending, unit in _UNITS if last.endswith(ending)), "")
