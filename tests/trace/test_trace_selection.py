"""A selection keeps what it names, whole, and nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import InputError
from toolkit.trace.coarse import merged
from toolkit.trace.selection import Picture, Selection, first_window, parse_window, select
from toolkit.trace.store import Store


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return worlds.store(tmp_path_factory.mktemp("pipeline") / "run", worlds.pipeline())


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same run in row groups of seven spans."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.trace.store.ROW_GROUP", 7)
        return worlds.store(tmp_path_factory.mktemp("grouped") / "run", worlds.pipeline())


def drawn(picture: Picture) -> list[tuple[int, ...]]:
    names = ("ts_ns", "dur_ns", "track", "request", "depth")
    return [
        tuple(row)
        for batch in picture.batches()
        for row in np.stack([batch.columns[name] for name in names], axis=1).tolist()
    ]


def flows(picture: Picture) -> list[tuple[int, int, int, int]]:
    """Return (flow, place, ts, track) of the slices the flows are attached to."""
    found = []
    for batch in picture.batches():
        for row, flow, place in zip(batch.flow_row, batch.flow, batch.flow_place, strict=True):
            ts, track = batch.columns["ts_ns"][row], batch.columns["track"][row]
            found.append((int(flow), int(place), int(ts), int(track)))
    return sorted(found)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("10s:20.5s", (10 * 10**9, 20_500_000_000)),
        ("0:1ns", (0, 1)),
        ("1.5us: 2min", (1500, 120 * 10**9)),
        (":3ms", (0, 3_000_000)),
        ("90s:", (90 * 10**9, 2**63 - 1)),
    ],
)
def test_windows_are_read_exactly(text: str, window: tuple[int, int]) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize(
    "text", ["", "5s", "5:6", "2s:1s", "1s:1s", "-1s:2s", "0.5ns:2ns", "a:b", "1s:2h"]
)
def test_windows_that_make_no_sense_are_answered(text: str) -> None:
    with pytest.raises(InputError, match="--window"):
        Selection.parse(window=text)


@pytest.mark.parametrize("text", ["", "1,,2", "3-1", "-1", "x", "0-99999999999"])
def test_numbers_that_make_no_sense_are_answered(text: str) -> None:
    with pytest.raises(InputError, match="--machines"):
        Selection.parse(machines=text)


@given(numbers=st.sets(st.integers(0, 10_000), min_size=1))
def test_numbers_are_read_back(numbers: set[int]) -> None:
    assert Selection.parse(requests=",".join(map(str, numbers))).requests == frozenset(numbers)


def test_unknown_machines_and_requests_are_named(pipeline: Store) -> None:
    with pytest.raises(InputError, match=r"--machines[\s\S]*from 0 to 2[\s\S]*7"):
        select(pipeline, Selection.parse(machines="1,7"))
    with pytest.raises(InputError, match=r"--requests[\s\S]*99"):
        select(pipeline, Selection.parse(requests="99"))


@given(start=st.integers(0, 110_000), length=st.integers(1, 60_000))
def test_a_window_keeps_whole_spans_that_overlap_it(
    pipeline: Store, grouped: Store, start: int, length: int
) -> None:
    window = (start, start + length)
    everything = drawn(select(pipeline, Selection()))
    wanted = [
        row
        for row in everything
        if row[0] < window[1] and (row[0] + row[1] > window[0] or row[0] >= window[0])
    ]
    kept = {(ts, track) for ts, _, track, *_ in wanted}
    threes = [one for one in flows(select(pipeline, Selection())) if one[2:] in kept]
    counts = {flow: sum(one[0] == flow for one in threes) for flow, *_ in threes}
    for store in (pipeline, grouped):
        picture = select(store, Selection(window_ns=window))
        assert drawn(picture) == wanted
        assert picture.spans == len(wanted)
        assert flows(picture) == [one for one in threes if counts[one[0]] == 3]


def test_flows_are_three_slices_of_a_request(pipeline: Store, grouped: Store) -> None:
    for store in (pipeline, grouped):
        found = flows(select(store, Selection()))
        assert [one[:2] for one in found] == [
            (flow, place) for flow in range(4) for place in range(3)
        ]
        assert {one[3] for one in found if one[1] == 0} == {2}
        assert {one[3] for one in found if one[1] == 1} == {3}
        assert {one[3] for one in found if one[1] == 2} == {0}


def test_ordinals_count_the_spans_of_one_time_across_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four spans of no length begin together; a flow on each of them finds its own."""
    rows = [(7, 0, 0, 0, r, None, None, None, 0) for r in range(4)]
    chunks = [
        *worlds.scenery(),
        worlds.spans(rows),
        worlds.chunk("flows", [(0, order, 0, 7, order) for order in range(4)]),
    ]
    for size in (1, 2, 3, 4):
        monkeypatch.setattr("toolkit.trace.store.ROW_GROUP", size)
        store = worlds.store(tmp_path / "run", chunks)
        for selection in (Selection(), Selection(window_ns=(7, 8))):
            picture = select(store, selection)
            requests = [
                int(batch.columns["request"][row])
                for batch in picture.batches()
                for row in batch.flow_row
            ]
            assert requests == [0, 1, 2, 3]


def test_machines_keep_their_stages_and_links(pipeline: Store) -> None:
    picture = select(pipeline, Selection(machines=frozenset({0})))
    assert {row[2] for row in drawn(picture)} == {0, 3}
    assert [row["name"] for row in picture.machines] == ["m00 stage-0"]
    assert {row["machine"] for row in picture.counter_defs} == {None, 0}
    assert flows(picture) == []


def test_requests_keep_their_spans_lanes_and_flows(pipeline: Store) -> None:
    picture = select(pipeline, Selection(requests=frozenset({2})))
    assert {row[3] for row in drawn(picture)} == {2}
    assert [one[0] for one in flows(picture)] == [2, 2, 2]


def test_a_request_is_found_by_the_spans_of_its_lead(tmp_path: Path) -> None:
    def row(request: int, lead: int) -> tuple[Any, ...]:
        return (request, 0, 0, 1, None, 1, 1, 2, 10, 3, 1, 0, None, lead, "served")

    chunks = [chunk for chunk in worlds.scenery() if chunk.table != "requests"]
    requests = worlds.chunk("requests", [row(0, 0), row(1, 0), row(2, 2)])
    spans = worlds.spans(
        [
            (0, 5, 0, 0, 0, None, 0, None, 0),
            (5, 5, 0, 0, 2, None, 1, None, 0),
            (0, 9, 3, 1, 0, None, None, None, 0),
            (0, 9, 4, 1, 1, None, None, None, 0),
        ]
    )
    store = worlds.store(tmp_path / "run", [*chunks, requests, spans])
    picture = select(store, Selection(requests=frozenset({1})))
    assert [(row[2], row[3]) for row in drawn(picture)] == [(0, 0), (4, 1)]


def test_a_counter_enters_a_window_with_its_value(pipeline: Store) -> None:
    whole = select(pipeline, Selection()).counters
    at = int(whole.ts_ns[3]) + 1
    part = select(pipeline, Selection(window_ns=(at, at + 10))).counters
    assert set(part.ts_ns.tolist()) == {at}
    for counter, value in zip(part.counter, part.value, strict=True):
        before = (whole.counter == counter) & (whole.ts_ns <= at)
        assert value == whole.value[before][-1]


def test_the_first_window_holds_as_many_spans_as_asked(grouped: Store) -> None:
    for spans in (1, 6, 7, 8, 50, 1000):
        picture = select(grouped, Selection(window_ns=first_window(grouped, spans)))
        assert picture.spans <= spans
    assert picture.spans == grouped.rows("spans")


@pytest.mark.parametrize("pixel_ns", [1, 800, 6000, 10**9])
def test_coarse_keeps_the_time_on_each_track(grouped: Store, pixel_ns: int) -> None:
    """Merging short neighbours never loses work, and never overlaps."""
    picture = select(grouped, Selection())
    spans = [row for row in drawn(picture) if row[4] == 0]
    coarse = [
        row
        for batch in merged(picture.batches(), pixel_ns)
        for row in zip(
            batch.columns["ts_ns"].tolist(),
            batch.columns["dur_ns"].tolist(),
            batch.columns["track"].tolist(),
            strict=True,
        )
    ]
    assert len(coarse) <= len(spans)
    for track in range(6):
        fine = [(ts, ts + dur) for ts, dur, on, *_ in spans if on == track]
        kept = [(ts, ts + dur) for ts, dur, on in coarse if on == track]
        assert all(a[1] <= b[0] for a, b in pairwise(kept))
        assert all(any(c[0] <= f[0] and f[1] <= c[1] for c in kept) for f in fine)
        gaps = sum(b[0] - a[1] for a, b in pairwise(fine) if b[0] - a[1] < pixel_ns)
        assert 0 <= sum(e - s for s, e in kept) - sum(e - s for s, e in fine) <= gaps
