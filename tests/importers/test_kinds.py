"""Each kind of file: what the program that wrote it meant is what the store says."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit
from toolkit import analytics, importers
from toolkit.analytics import Run
from toolkit.trace.store import Store

DATA = Path(__file__).parent / "data"
Event = dict[str, Any]


def imported(file: Path | list[Path], folder: Path, **how: Any) -> Run:
    return toolkit.import_trace(file, out=folder, name="it", renderings=False, **how)


def read_json(file: Path) -> Any:
    content = file.read_bytes()
    unpacked = gzip.decompress(content) if file.suffix == ".gz" else content
    return json.loads(unpacked, parse_float=Decimal)


def rows(run: Run, query: str) -> list[tuple[Any, ...]]:
    return run.sql(query).fetchall()


# -- DéjàVu -------------------------------------------------------------------------------------


def golden(shared: Path, kind: str) -> list[dict[str, Any]]:
    cases = json.loads((shared / "golden" / f"reference_{kind}.json").read_text())["cases"]
    return [case for case in cases if "trace_events" in case["result"]]


@pytest.mark.parametrize("kind", ["baseline", "disaggregated"])
def test_a_published_trace_gives_the_published_ends_and_makespan(
    kind: str, shared: Path, tmp_path: Path
) -> None:
    folders = []
    for number, case in enumerate(golden(shared, kind)[::8]):
        file = tmp_path / "trace.json"
        file.write_text(json.dumps(case["result"]["trace_events"]))
        run = imported(file, tmp_path / str(number))
        folders.append(run.path)
        assert run.manifest["source"]["kind"] == "dejavu"
        ends = rows(run, "SELECT finish_ns FROM requests ORDER BY request")
        expected = [round(end * 1000) for end in case["result"]["ends_us"]]
        assert [end for (end,) in ends] == pytest.approx(expected, abs=1)
        assert rows(run, "SELECT makespan_s, requests FROM throughput") == [
            (pytest.approx(case["result"]["makespan_s"]), case["result"]["n_requests"])
        ]
        roles = {role for (role,) in rows(run, "SELECT DISTINCT role FROM machines")}
        assert roles == ({"colocated"} if kind == "baseline" else {"prompt", "token"})
        run.close()
    with analytics.open(folders) as runs:
        assert runs.check() == []


def test_a_published_trace_has_every_pass_on_its_stage(shared: Path, tmp_path: Path) -> None:
    events = golden(shared, "baseline")[5]["result"]["trace_events"]
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(events))
    run = imported(file, tmp_path, kind="dejavu")
    found = rows(run, "SELECT name, request, token, machine, dur_ns FROM spans")
    expected = []
    for event in events:
        if event["ph"] == "X":
            request, _, token = event["name"][1:].partition(",")
            expected.append(
                (
                    "prefill" if event["name"].startswith("p") else "decode",
                    int(request),
                    int(token) if token else None,
                    event["pid"],
                    pytest.approx(event["dur"] * 1000, abs=1),
                )
            )
    assert sorted(found, key=str) == sorted(expected, key=lambda row: str(tuple(row[:4])))


# -- Vidur --------------------------------------------------------------------------------------


def test_vidurs_batches_are_steps_and_their_tokens_add_up(shared: Path, tmp_path: Path) -> None:
    file = next((shared / "samples" / "foreign_traces" / "vidur").glob("*.json.gz"))
    document = read_json(file)
    events = document if isinstance(document, list) else document["traceEvents"]
    run = imported(file, tmp_path)
    assert run.manifest["source"]["kind"] == "vidur"
    assert run.check() == []
    batches = {event["args"]["batch_id"]: event["ts"] for event in events}
    found = rows(run, "SELECT step, ts_ns FROM spans WHERE track_kind = 'stage'")
    assert dict(found) == {
        step: pytest.approx(float(ts) * 1000, abs=1) for step, ts in batches.items()
    }
    # A request's tokens, straight from the batches: its prompt is all of its chunks until the last
    # of several tokens.
    chunks: dict[int, list[int]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event["ts"]):
        for request, tokens in zip(
            event["args"]["request_ids"], event["args"]["num_tokens"], strict=True
        ):
            chunks[request].append(tokens)
    expected = {}
    for request, parts in chunks.items():
        until = max((at for at, tokens in enumerate(parts) if tokens > 1), default=0) + 1
        expected[request] = (sum(parts[:until]), len(parts) - until + 1)
    told = rows(run, "SELECT request, prompt_tokens, output_tokens FROM requests")
    assert {request: (prompt, output) for request, prompt, output in told} == expected
    assert rows(run, "SELECT count(arrival_ns) FROM requests") == [(0,)]
    assert any("arrivals" in text for text in run.manifest["facts"]["lacks"])


# -- vLLM ---------------------------------------------------------------------------------------


def test_a_detailed_result_gives_each_request_its_own_latencies(tmp_path: Path) -> None:
    run = imported(DATA / "vllm_bench_detailed.json", tmp_path)
    query = """
        SELECT request, arrival_s, ttft_s, tpot_s, e2e_s, prompt_tokens
        FROM request_latency ORDER BY request
    """
    assert rows(run, query) == [
        (0, 0.0, 0.125, pytest.approx(0.025), pytest.approx(0.2), 100),
        (1, 0.5, 0.25, None, 0.25, 200),
        (2, 1.75, pytest.approx(0.1), pytest.approx(0.03), pytest.approx(0.19), 80),
    ]
    assert rows(run, "SELECT outcome FROM requests WHERE request = 3") == [("failed",)]
    assert rows(run, "SELECT makespan_s FROM throughput") == [(2.5,)]
    gaps = "SELECT token, dur_ns FROM spans WHERE name = 'token' AND request = 0 ORDER BY token"
    assert rows(run, gaps) == [(0, 20_000_000), (1, 30_000_000), (2, 25_000_000)]
    assert run.check() == []


def test_a_result_without_start_times_has_true_latencies_and_says_what_is_not(
    tmp_path: Path,
) -> None:
    result = json.loads((DATA / "vllm_bench_detailed.json").read_text())
    del result["start_times"]
    file = tmp_path / "old.json"
    file.write_text(json.dumps(result))
    run = imported(file, tmp_path)
    query = "SELECT ttft_s FROM request_latency ORDER BY request"
    assert rows(run, query) == [(0.125,), (0.25,), (0.1,)]
    assert any(text.startswith("arrivals") for text in run.manifest["facts"]["lacks"])


# -- PyTorch ------------------------------------------------------------------------------------

TORCH = ("alexnet.trace", "cpu_only.rank-34.pt.trace", "mi250_minitoy", "sampled_rank-0")


@pytest.mark.parametrize("name", TORCH)
def test_kernels_and_operators_of_a_profile_are_all_there(
    name: str, shared: Path, tmp_path: Path
) -> None:
    file = shared / "samples" / "foreign_traces" / "torch_profiler" / f"{name}.json.gz"
    events = [
        event
        for event in read_json(file)["traceEvents"]
        if event["ph"] == "X" and event.get("cat") != "Trace"
    ]
    run = imported(file, tmp_path)
    assert run.manifest["source"]["kind"] == "torch"
    assert run.check() == []
    device = [e for e in events if e["cat"] in ("kernel", "gpu_memcpy", "gpu_memset")]
    query = "SELECT count(*), sum(dur_ns) FROM spans WHERE track_kind IN ('stage', 'link')"
    count, busy = rows(run, query)[0]
    assert count == len(device)
    # Clocks of whole microseconds let neighbours overlap by one, which is cut.
    assert (busy or 0) == pytest.approx(sum(int(e["dur"] * 1000) for e in device), rel=1e-3)
    assert rows(run, "SELECT count(*) FROM spans") == [(len(events),)]
    first = min(event["ts"] for event in events)
    begins = {round((event["ts"] - first) * 1000) for event in events}
    assert {ts for (ts,) in rows(run, "SELECT ts_ns FROM spans")} == begins


def test_a_kernels_step_is_that_of_its_launch(shared: Path, tmp_path: Path) -> None:
    file = shared / "samples" / "foreign_traces" / "torch_profiler" / "mi250_minitoy.json.gz"
    run = imported(file, tmp_path)
    steps = rows(run, "SELECT DISTINCT step FROM spans WHERE track_kind = 'stage'")
    assert steps == [(1,)]


def test_nccl_alone_on_a_stream_is_a_link(tmp_path: Path) -> None:
    events = [
        {"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": tid, "ts": ts, "dur": 5}
        for name, tid, ts in [("gemm", 7, 0), ("ncclKernel_AllReduce", 20, 3), ("gemm", 7, 9)]
    ]
    for rank, late_s in ((0, 0), (1, 2)):
        document = {
            "schemaVersion": 1,
            "distributedInfo": {"rank": rank},
            "baseTimeNanoseconds": (1000 + late_s) * 10**9,
            "traceEvents": events,
        }
        (tmp_path / f"rank{rank}.json").write_text(json.dumps(document))
    run = imported([tmp_path / "rank0.json", tmp_path / "rank1.json"], tmp_path)
    found = rows(run, "SELECT kind, machine_name, name FROM tracks ORDER BY track")
    assert found == [
        ("stage", "rank 0", "r0 gpu 0 stream 7"),
        ("stage", "rank 1", "r1 gpu 0 stream 7"),
        ("link", "rank 0", "r0 gpu 0 stream 20"),
        ("link", "rank 1", "r1 gpu 0 stream 20"),
    ]
    starts = "SELECT min(ts_ns) FROM spans GROUP BY machine ORDER BY machine"
    assert rows(run, starts) == [(0,), (2 * 10**9,)]


# -- Chrome with rules --------------------------------------------------------------------------


def test_rules_say_what_an_unknown_engine_means(tmp_path: Path) -> None:
    run = imported(DATA / "engine.json", tmp_path, rules=DATA / "engine.toml")
    spans = rows(
        run,
        "SELECT track_name, name, ts_ns, dur_ns, request, token, step, bytes, depth FROM spans",
    )
    assert spans == [
        ("request", "request", 1_000_000, 1_950_500, 0, None, None, None, 0),
        ("request", "queued", 1_000_000, 500_000, 0, None, None, None, 1),
        ("request (2)", "request", 1_200_000, 1_750_500, 1, None, None, None, 0),
        ("prompt 0", "prefill", 1_500_000, 1_000_000, 0, None, 0, None, 0),
        ("worker 0 out", "kv_transfer", 2_500_000, 250_500, 0, None, None, 4096, 0),
        ("token 0", "decode", 2_750_500, 100_000, 0, 0, 1, None, 0),
        ("token 0", "decode", 2_850_500, 100_000, 0, 1, 2, None, 0),
    ]
    assert rows(run, "SELECT flow, track, ts_ns FROM flows") == [
        (7, 0, 1_500_000),
        (7, 2, 2_500_000),
        (7, 1, 2_750_500),
    ]
    request = "arrival_ns, start_ns, first_token_ns, finish_ns, output_tokens"
    assert rows(run, f"SELECT {request} FROM requests WHERE request = 0") == [
        (1_000_000, 1_500_000, 2_500_000, 2_950_500, 3)
    ]
    assert rows(run, "SELECT name, unit, value FROM counters") == [
        ("KV blocks", "blocks", 0.0),
        ("KV blocks", "blocks", 12.0),
    ]
    hours = 2 * 2_950_500 / 3.6e12
    assert rows(run, "SELECT cost_usd FROM cost") == [(pytest.approx(3.6 * hours),)]
    ids = (run.path / "request_ids.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in ids] == ["req-a", "req-b"]
    assert run.check() == []


def test_spans_that_cross_go_to_a_track_of_their_own(tmp_path: Path) -> None:
    events = [
        {"ph": "X", "name": name, "pid": 1, "tid": 1, "ts": ts, "dur": dur}
        for name, ts, dur in [("a", 0, 10.5), ("b", 5, 10), ("c", 6, 4), ("d", 15.5, 1)]
    ]
    file = tmp_path / "crossing.json"
    file.write_text(json.dumps(events))
    run = imported(file, tmp_path)
    assert rows(run, "SELECT name, track_name, depth FROM spans ORDER BY name") == [
        ("a", "1", 0),
        ("b", "1 (2)", 0),
        ("c", "1", 1),
        ("d", "1", 0),
    ]
    assert run.check() == []


@pytest.mark.parametrize("unit", ["ns", "us", "ms", "s"])
def test_the_unit_of_a_clock_is_the_rules_to_say(unit: str, tmp_path: Path) -> None:
    file, rules = tmp_path / "t.json", tmp_path / "rules.toml"
    file.write_text('[{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 3, "dur": 2}]')
    rules.write_text(f'schema_version = 1\n[time]\nunit = "{unit}"\nzero = "source"\n')
    run = imported(file, tmp_path, rules=rules)
    scale = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[unit]
    assert rows(run, "SELECT ts_ns, dur_ns FROM spans") == [(3 * scale, 2 * scale)]


def test_a_clock_that_counts_since_1970_starts_at_its_first_event(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(
        '[{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 1700000000000000.123, "dur": 2}]'
    )
    run = imported(file, tmp_path)
    assert rows(run, "SELECT ts_ns FROM spans") == [(0,)]
    assert run.manifest["facts"]["zero_ns"] == 1_700_000_000_000_000_123


# -- tables -------------------------------------------------------------------------------------

TABLE = """\
request_id,arrival_s,ttft_ms,e2e_ms,input_tokens,output_tokens
a,0,100,400,10,4
b,0.5,200,,20,
c,1.25,50,50,30,1
"""


def table_rows(run: Run) -> list[tuple[Any, ...]]:
    return rows(
        run,
        "SELECT arrival_ns, first_token_ns, finish_ns, prompt_tokens, output_tokens, outcome "
        "FROM requests ORDER BY request",
    )


EXPECTED = [
    (0, 100_000_000, 400_000_000, 10, 4, "served"),
    (500_000_000, 700_000_000, None, 20, None, "failed"),
    (1_250_000_000, 1_300_000_000, 1_300_000_000, 30, 1, "served"),
]


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "jsonl", "parquet"])
def test_a_table_of_requests_is_read_in_any_form(form: str, tmp_path: Path) -> None:
    frame = pl.read_csv(TABLE.encode())
    file = tmp_path / f"requests.{form}"
    if form == "parquet":
        frame.write_parquet(file)
    elif form == "jsonl":
        frame.write_ndjson(file)
    else:
        text = TABLE.replace(",", "\t") if form == "tsv" else TABLE
        file.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    run = imported(file, tmp_path)
    assert run.manifest["source"]["kind"] == "table"
    assert table_rows(run) == EXPECTED
    assert run.check() == []


def test_a_map_names_columns_their_units_and_the_rows_meant(tmp_path: Path) -> None:
    file, rules = tmp_path / "requests.csv", tmp_path / "rules.toml"
    file.write_text("run,who,came,took\nx,7,100,50\ny,7,100,60\nx,8,300,70\n")
    rules.write_text(
        "schema_version = 1\n[hardware]\nmachines = 2\nprice_usd_per_machine_hour = 9\n"
        '[columns]\nrequest = "who"\narrival_ms = "came"\ne2e_ms = "took"\n[where]\nrun = "x"\n'
        '[time]\nzero = "source"\n'
    )
    run = imported(file, tmp_path, rules=rules)
    found = rows(run, "SELECT request, arrival_ns, finish_ns FROM requests")
    assert found == [(7, 100_000_000, 150_000_000), (8, 300_000_000, 370_000_000)]
    assert rows(run, "SELECT machines, cost_usd FROM cost") == [
        (2, pytest.approx(18 * 0.37 / 3600))
    ]


def test_a_measured_table_gives_the_latencies_it_measured(shared: Path, tmp_path: Path) -> None:
    file = shared / "measurements" / "vllm_sharegpt300_requests.csv"
    frame = pl.read_csv(file)
    which = str(frame["run"][0])
    rules = tmp_path / "rules.toml"
    rules.write_text(
        'schema_version = 1\n[columns]\nrequest = "request"\narrival_s = "queued_s"\n'
        'start_s = "scheduled_s"\nfirst_token_s = "first_token_s"\nfinish_s = "last_token_s"\n'
        'prompt_tokens = "input_tokens"\noutput_tokens = "output_tokens"\n'
        f'[where]\nrun = "{which}"\n'
    )
    run = imported(file, tmp_path, rules=rules)
    told = run.frame("SELECT ttft_s, e2e_s, queueing_s FROM request_latency ORDER BY request")
    mine = frame.filter(pl.col("run") == which).sort("request")
    for column, begin, end in (
        ("ttft_s", "queued_s", "first_token_s"),
        ("e2e_s", "queued_s", "last_token_s"),
        ("queueing_s", "queued_s", "scheduled_s"),
    ):
        assert told[column].to_list() == pytest.approx(
            (mine[end] - mine[begin]).to_list(), abs=2e-9
        )
    waited = rows(run, "SELECT sum(dur_ns) FROM request_time WHERE part = 'queue'")
    queued = (mine["scheduled_s"] - mine["queued_s"]).clip(0).sum()
    assert waited[0][0] / 1e9 == pytest.approx(queued, abs=1e-6)
    assert run.check() == []


# -- relations ----------------------------------------------------------------------------------

BOXES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(1, 12), st.integers(0, 2)),
    min_size=1,
    max_size=12,
)


def apart(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Return boxes of (thread, start, length, depth asked for) that follow each other or nest."""
    free: dict[int, int] = defaultdict(int)
    made = []
    for thread, gap, length, inside in boxes:
        start = free[thread] + gap
        free[thread] = start + 3 * length
        made.append((thread, start, 3 * length, 0))
        if inside:
            made.append((thread, start + 1, length, 1))
        if inside == 2:
            made.append((thread, start + 1, length, 2))
    return made


def complete(boxes: list[tuple[int, int, int, int]]) -> list[Event]:
    return [
        {"ph": "X", "name": f"d{depth}", "pid": 1, "tid": thread, "ts": ts, "dur": dur}
        for thread, ts, dur, depth in boxes
    ]


def halves(boxes: list[tuple[int, int, int, int]]) -> list[Event]:
    """Return begins and ends in the order of time, an inner end before an outer one."""
    events = []
    for thread, ts, dur, depth in boxes:
        name = f"d{depth}"
        place = {"name": name, "pid": 1, "tid": thread}
        events.append((ts, 1, depth, {"ph": "B", "ts": ts, **place}))
        events.append((ts + dur, 0, -depth, {"ph": "E", "ts": ts + dur, **place}))
    return [event for *_, event in sorted(events, key=lambda each: each[:3])]


@settings(max_examples=25)
@given(boxes=BOXES, order=st.randoms(use_true_random=False))
def test_complete_events_in_any_order_and_pairs_say_the_same(
    boxes: list[tuple[int, int, int, int]],
    order: random.Random,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("same")
    made = apart(boxes)
    shuffled = complete(made)
    tops = [event for event in shuffled if event["name"] != "d2"]
    inner = [event for event in shuffled if event["name"] == "d2"]
    order.shuffle(tops)  # of two equal boxes the one that comes first in the file is the outer
    spans = []
    for events in (complete(made), halves(made), tops + inner):
        (folder / "t.json").write_text(json.dumps(events))
        store = Store(importers.read_into([folder / "t.json"], folder, kind="chrome", name="it"))
        names = {row["name"]: row["text"] for row in store.read("names").to_pylist()}
        tracks = {row["track"]: row["name"] for row in store.read("tracks").to_pylist()}
        spans.append(
            [
                (
                    row["ts_ns"],
                    tracks[row["track"]],
                    row["dur_ns"],
                    row["depth"],
                    names[row["name"]],
                )
                for row in store.read("spans").to_pylist()
            ]
        )
    assert spans[0] == spans[1]
    assert sorted(spans[0]) == sorted(spans[2])
