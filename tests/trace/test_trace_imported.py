"""What our renderings say, an import reads back exactly: spans, flows, counters, tracks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worlds
from hypothesis import assume, given, settings
from small_runs import small_run
from test_trace_renderings import span_tables

from toolkit import importers
from toolkit.errors import InputError
from toolkit.trace import chrome, perfetto
from toolkit.trace.store import Store

Row = tuple[Any, ...]
RENDERERS: dict[str, Callable[..., Any]] = {
    "t.pftrace": perfetto.render,
    "t.pftrace.gz": perfetto.render,
    "t.json": chrome.render,
    "t.json.gz": chrome.render,
}


def imported(store: Store, file: Path, **how: Any) -> Store:
    """Render a store to a file, and import that."""
    RENDERERS[file.name](store, file)
    return Store(importers.read_into([file], file.parent / "out", **how))


def keyed(store: Store, table: str, key: str, text: str) -> dict[int, str]:
    rows = store.read(table).to_pylist()
    return {row[key]: row[text] for row in rows}


def spans(store: Store) -> list[Row]:
    """Return the spans in the store's order, names as text."""
    names = keyed(store, "names", "name", "text")
    return [
        tuple(names[value] if column == "name" else value for column, value in row.items())
        for row in store.read("spans").to_pylist()
    ]


def counters(store: Store) -> list[Row]:
    defs = {row["counter"]: row for row in store.read("counter_defs").to_pylist()}
    return [
        (
            row["ts_ns"],
            *(defs[row["counter"]][key] for key in ("machine", "name", "unit")),
            row["value"],
        )
        for row in store.read("counters").to_pylist()
    ]


def flows(store: Store) -> list[Row]:
    return [tuple(row.values()) for row in store.read("flows").to_pylist()]


def tracks(store: Store) -> list[Row]:
    return [(row["track"], row["kind"], row["name"]) for row in store.read("tracks").to_pylist()]


def inside_of_nothing(rows: list[Row]) -> bool:
    """Return whether JSON, which has no depth, would tell each depth: no sub-span at an edge."""
    top = [row for row in rows if row[-1] == 0]
    return all(
        row[-1] == 0
        or any(
            one[2] == row[2] and one[0] <= row[0] < one[0] + one[1] and one[1] > 0 for one in top
        )
        for row in rows
    ) and all(row[1] > 0 for row in rows if row[-1])


@settings(max_examples=40, deadline=None)
@given(rows=span_tables())
def test_any_table_of_spans_comes_back_exactly(
    rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Times up to 2**60 ns, zero lengths, values at every varint length: to the last digit."""
    assume(rows)
    folder = tmp_path_factory.mktemp("table")
    store = worlds.store(folder / "run", [*worlds.scenery(2, 1, 2), worlds.spans(rows)])
    assert spans(imported(store, folder / "t.pftrace")) == spans(store)
    if inside_of_nothing(rows):
        assert spans(imported(store, folder / "t.json")) == spans(store)


@pytest.mark.parametrize("name", RENDERERS)
def test_flows_counters_and_tracks_come_back_exactly(name: str, tmp_path: Path) -> None:
    store = worlds.store(tmp_path / "run", worlds.pipeline())
    again = imported(store, tmp_path / name)
    assert spans(again) == spans(store)
    assert flows(again) == flows(store)
    assert sorted(counters(again), key=str) == sorted(counters(store), key=str)
    assert tracks(again) == tracks(store)
    assert again.read("totals").num_rows == store.read("totals").num_rows


@pytest.mark.parametrize("name", ["t.pftrace", "t.json"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_requests_of_a_run_come_back_as_far_as_its_picture_shows_them(
    seed: int, split: bool, name: str, tmp_path: Path
) -> None:
    """Lanes say arrival, prompt, transfer and finish; what is in no picture stays empty."""
    store = Store(small_run(seed, split=split).write(tmp_path / "run"))
    again = imported(store, tmp_path / name)
    before = {row["request"]: row for row in store.read("requests").to_pylist()}
    after = {row["request"]: row for row in again.read("requests").to_pylist()}
    for request, row in after.items():
        told = before[request]
        for column in ("arrival_ns", "prefill_end_ns", "finish_ns"):
            assert row[column] == told[column], (request, column)
        if told["kv_ready_ns"] is not None:
            assert row["kv_ready_ns"] == told["kv_ready_ns"]
        if row["output_tokens"] is not None:
            assert row["output_tokens"] == told["output_tokens"]
        assert row["prompt_tokens"] is None
    assert spans(again) == spans(store)
    assert flows(again) == flows(store)
    assert sorted(counters(again), key=str) == sorted(counters(store), key=str)


@pytest.mark.parametrize("name", ["t.pftrace", "t.json"])
def test_the_same_file_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    store = worlds.store(tmp_path / "run", worlds.pipeline())
    first = imported(store, tmp_path / name).manifest
    second = Store(importers.read_into([tmp_path / name], tmp_path / "again")).manifest
    assert first == second


@pytest.mark.parametrize("name", ["t.pftrace", "t.pftrace.gz", "t.json", "t.json.gz"])
def test_a_rendering_cut_anywhere_is_refused_or_whole(name: str, tmp_path: Path) -> None:
    """A packet or an event that is torn is an error with its place; nothing is written."""
    store = worlds.store(tmp_path / "run", worlds.pipeline(requests=1))
    RENDERERS[name](store, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in np.linspace(1, len(whole) - 3, 23).astype(int).tolist():
        part = tmp_path / f"cut-{name}"
        part.write_bytes(whole[:length])
        kind = "perfetto" if "pftrace" in name else "chrome"
        try:
            importers.read_into([part], tmp_path / "out", kind=kind)
        except InputError as error:
            told = str(error)
        else:  # between two packets: what is there is whole
            told = ""
            shutil.rmtree(tmp_path / "out" / "traces" / part.name.partition(".")[0])
        assert told.startswith(str(part)) or (not told and name == "t.pftrace")
        assert not list((tmp_path / "out").glob("traces/*"))
