"""Each tool's figures, computed again by the tool's own formulas in plain Python."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import Row, SmallRun, small_run, told

from toolkit import analytics, cli
from toolkit.analytics.terms import DIALECTS, terms, tools
from toolkit.trace.columns import NAMES

PERCENTILES = (50, 90, 95, 99)
Figures = dict[tuple[str, str], float]

runs = st.builds(
    small_run,
    seed=st.integers(0, 10_000),
    discipline=st.sampled_from(["event", "dejavu"]),
    split=st.booleans(),
    level=st.sampled_from(["full", "requests"]),
    slo=st.sampled_from([None, {"ttft_ms": 3e-4, "tpot_ms": 4e-5}, {"e2e_ms": 6e-4}]),
)
examples = settings(max_examples=2, deadline=None)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


class Client:
    """What a benchmark client would have seen: one record per request, times in ns."""

    def __init__(self, run: SmallRun) -> None:
        first = "first_token_ns" if run.manifest["discipline"] == "dejavu" else "prefill_end_ns"
        self.rows = [row for row in run.rows["requests"] for _ in range(row["size"])]
        self.sent = [row["arrival_ns"] for row in self.rows]
        self.first = [row[first] for row in self.rows]
        self.last = [row["finish_ns"] for row in self.rows]
        self.tokens = [row["output_tokens"] for row in self.rows]
        self.prompts = [row["prompt_tokens"] for row in self.rows]
        self.entries = run.rows["requests"]
        self.limits: Mapping[str, float] = run.manifest["scenario"].get("slo") or {}
        self.gaps = self._gaps(run) if run.manifest["level"] == "full" else None

    def _gaps(self, run: SmallRun) -> list[list[int]]:
        machines = [m for m in run.rows["machines"] if m["role"] in ("token", "colocated")]
        last = max(machines, key=lambda machine: machine["stage"])["machine"]
        out: dict[int, list[int]] = {}
        for span in sorted(run.rows["spans"], key=lambda span: span["ts_ns"]):
            if span["track"] == last and NAMES[span["name"]] == "decode":
                out.setdefault(span["request"], []).append(span["ts_ns"] + span["dur_ns"])
        gaps = []
        for row, first, tokens in zip(self.rows, self.first, self.tokens, strict=True):
            later = [at for at in out.get(row["lead"], []) if at > first][: tokens - 1]
            gaps.append([b - a for a, b in pairwise([first, *later])])
        return gaps

    @property
    def makespan(self) -> int:
        return int(max(self.last))


def numpy_spread(metric: str, values: Sequence[float], scale: float = 1e6) -> Figures:
    if not len(values):
        return {}
    found = {
        (metric, "mean"): float(np.mean(values)) / scale,
        (metric, "std"): float(np.std(values)) / scale,
        (metric, "min"): min(values) / scale,
        (metric, "max"): max(values) / scale,
    }
    for percentile in PERCENTILES:
        found[metric, f"p{percentile}"] = float(np.percentile(values, percentile)) / scale
    return found


def vllm(client: Client) -> Figures:
    """benchmarks/serve.py, calculate_metrics."""
    ttfts = [first - sent for sent, first in zip(client.sent, client.first, strict=True)]
    e2els = [last - sent for sent, last in zip(client.sent, client.last, strict=True)]
    tpots, all_tpots = [], []
    for ttft, e2el, tokens in zip(ttfts, e2els, client.tokens, strict=True):
        tpot = 0.0
        if tokens > 1:
            tpot = (e2el - ttft) / (tokens - 1)
            tpots.append(tpot)
        all_tpots.append(tpot)
    duration_s = client.makespan / 1e9
    found = {
        ("completed", "value"): len(ttfts),
        ("duration", "value"): duration_s,
        ("total_input", "value"): sum(client.prompts),
        ("total_output", "value"): sum(client.tokens),
        ("request_throughput", "value"): len(ttfts) / duration_s,
        ("output_throughput", "value"): sum(client.tokens) / duration_s,
        ("total_token_throughput", "value"): (sum(client.prompts) + sum(client.tokens))
        / duration_s,
    }
    if client.limits:
        columns = {"ttft_ms": ttfts, "tpot_ms": all_tpots, "e2e_ms": e2els}
        good = sum(
            all(
                columns[key][at] / 1e6 <= limit * (1 + 1e-12)
                for key, limit in client.limits.items()
            )
            for at in range(len(ttfts))
        )
        found["request_goodput", "value"] = good / duration_s
    found |= numpy_spread("ttft", ttfts) | numpy_spread("tpot", tpots) | numpy_spread("e2el", e2els)
    if client.gaps is not None:
        found |= numpy_spread("itl", [gap for gaps in client.gaps for gap in gaps])
    return found


def aiperf(client: Client) -> Figures:
    """metrics-reference.md; good_request_count_metric.py: a missing metric is not good."""
    records: list[dict[str, float]] = []
    for at, tokens in enumerate(client.tokens):
        record: dict[str, float] = {
            "time_to_first_token": client.first[at] - client.sent[at],
            "request_latency": client.last[at] - client.sent[at],
        }
        if tokens >= 2:
            after = record["request_latency"] - record["time_to_first_token"]
            record["inter_token_latency"] = after / (tokens - 1)
            record["output_token_throughput_per_user"] = 1e9 / record["inter_token_latency"]
            if client.gaps is not None:
                record["time_to_second_token"] = client.gaps[at][0]
        records.append(record)
    duration_s = (client.makespan - min(client.sent)) / 1e9
    found = {
        ("request_count", "value"): len(records),
        ("benchmark_duration", "value"): duration_s,
        ("request_throughput", "value"): len(records) / duration_s,
        ("output_token_throughput", "value"): sum(client.tokens) / duration_s,
    }
    if client.limits:
        tags = {
            "ttft_ms": "time_to_first_token",
            "tpot_ms": "inter_token_latency",
            "e2e_ms": "request_latency",
        }
        good = sum(
            all(
                tags[key] in record and record[tags[key]] / 1e6 <= limit * (1 + 1e-12)
                for key, limit in client.limits.items()
            )
            for record in records
        )
        found["goodput", "value"] = good / duration_s
    for metric in (
        "time_to_first_token",
        "time_to_second_token",
        "inter_token_latency",
        "request_latency",
        "output_token_throughput_per_user",
    ):
        values = [record[metric] for record in records if metric in record]
        scale = 1.0 if metric == "output_token_throughput_per_user" else 1e6
        found |= numpy_spread(metric, values, scale)
    return found


def weighted_spread(metric: str, samples: Sequence[tuple[Fraction, int]], scale: float) -> Figures:
    """statistics.py: a weighted distribution; the p-th percentile by searchsorted, left."""
    samples = sorted((value, weight) for value, weight in samples if weight > 0)
    total = sum(weight for _, weight in samples)
    if not total:
        return {}
    mean = sum(value * weight for value, weight in samples) / total
    variance = sum(weight * (value - mean) ** 2 for value, weight in samples) / total
    found = {
        (metric, "mean"): float(mean) / scale,
        (metric, "std"): math.sqrt(variance) / scale,
        (metric, "min"): float(samples[0][0]) / scale,
        (metric, "max"): float(samples[-1][0]) / scale,
    }
    for percentile in PERCENTILES:
        reached = 0
        for value, weight in samples:
            reached += weight
            if Fraction(reached, total) >= Fraction(percentile, 100):
                found[metric, f"p{percentile}"] = float(value) / scale
                break
    return found


def guidellm(client: Client) -> Figures:
    """request_stats.py, statistics.py, service_level_objectives.md."""
    ttft, itl, tpot, latency = [], [], [], []
    judged = good = 0
    for at, tokens in enumerate(client.tokens):
        sent, first, last = client.sent[at], client.first[at], client.last[at]
        ttft.append((Fraction(first - sent), 1))
        latency.append((Fraction(last - sent), 1))
        tpot.append((Fraction(last - sent, tokens), tokens))
        if tokens > 1:
            itl.append((Fraction(last - first, tokens - 1), tokens - 1))
        measured = {
            "ttft_ms": first - sent,
            "e2e_ms": last - sent,
            "tpot_ms": (last - first) / (tokens - 1) if tokens > 1 else None,
        }
        values = [(measured[key], limit) for key, limit in client.limits.items()]
        if all(value is not None for value, _ in values):
            judged += 1
            good += all((value or 0) / 1e6 <= limit * (1 + 1e-12) for value, limit in values)
    duration_s = (client.makespan - min(client.sent)) / 1e9
    tokens_of_all = sum(client.tokens)
    found = {
        ("successful_requests", "value"): len(ttft),
        ("requests_per_second", "value"): len(ttft) / duration_s,
        ("output_tokens_per_second", "value"): tokens_of_all / duration_s,
        ("tokens_per_second", "value"): (tokens_of_all + sum(client.prompts)) / duration_s,
    }
    if client.limits and judged:
        found["goodput", "value"] = good / duration_s
        found["slo_attainment", "value"] = good / judged
    return (
        found
        | weighted_spread("time_to_first_token", ttft, 1e6)
        | weighted_spread("inter_token_latency", itl, 1e6)
        | weighted_spread("time_per_output_token", tpot, 1e6)
        | weighted_spread("request_latency", latency, 1e9)
    )


def mlperf(client: Client) -> Figures:
    """loadgen/results.cc: sorted whole nanoseconds, the percentile at [n * p]."""
    columns: dict[str, list[int]] = {
        "first_token_latency": [f - s for s, f in zip(client.sent, client.first, strict=True)],
        "sample_latency": [last - s for s, last in zip(client.sent, client.last, strict=True)],
        "time_per_output_token": [
            (last - first) // (tokens - 1)
            for first, last, tokens in zip(client.first, client.last, client.tokens, strict=True)
            if tokens > 1
        ],
    }
    samples = len(client.rows)
    done_s = client.makespan / 1e9
    found: Figures = {
        ("samples", "value"): samples,
        ("completed_samples_per_second", "value"): (samples - 1) / done_s,
        ("completed_tokens_per_second", "value"): sum(client.tokens) / done_s,
    }
    if max(client.sent):
        scheduled = (samples - 1) / (max(client.sent) / 1e9)
        found["scheduled_samples_per_second", "value"] = scheduled
    for metric, values in columns.items():
        values.sort()
        if not values:
            continue
        found[metric, "mean"] = sum(values) // len(values) / 1e6
        found[metric, "std"] = float(np.std(values)) / 1e6
        found[metric, "min"], found[metric, "max"] = values[0] / 1e6, values[-1] / 1e6
        for percentile in PERCENTILES:
            found[metric, f"p{percentile}"] = values[len(values) * percentile // 100] / 1e6
    limited = {"first_token_latency": "ttft_ms", "time_per_output_token": "tpot_ms"}
    judged = [
        found[metric, "p99"] <= client.limits.get(key, math.inf)
        for metric, key in limited.items()
        if (metric, "p99") in found
    ]
    if {"ttft_ms", "tpot_ms"} & client.limits.keys():
        found["performance_constraints_met", "value"] = float(all(judged))
    return found


def dejavu(client: Client) -> Figures:
    """The published simulators: entries, whatever their size."""
    makespan_s = client.makespan / 1e9
    per_token = [
        (row["finish_ns"] - row["arrival_ns"]) / row["output_tokens"] for row in client.entries
    ]
    return {
        ("makespan", "value"): makespan_s,
        ("throughput", "value"): len(client.entries) / makespan_s,
    } | numpy_spread("latency_per_token", per_token, 1e9)


TOOLS = {"vllm": vllm, "aiperf": aiperf, "guidellm": guidellm, "mlperf": mlperf, "dejavu": dejavu}


@pytest.mark.parametrize("dialect", DIALECTS)
@examples
@given(drawn=st.lists(runs, min_size=6, max_size=6))
def test_a_run_in_a_tools_definitions_is_what_its_formulas_give(
    place: Path, dialect: str, drawn: list[SmallRun]
) -> None:
    """Several runs at once: a view is planned once for all of them."""
    folders = [run.write(place / f"run-{number}") for number, run in enumerate(drawn)]
    with analytics.open(folders) as opened:
        rows = opened.frame(f"FROM dialect_{dialect}").to_dicts()
    for name, run in zip(opened.names, drawn, strict=True):
        mine = [row for row in rows if row["run"] == name]
        found = {(row["metric"], row["statistic"]): row["value"] for row in mine}
        expected = TOOLS[dialect](Client(run))
        assert found == {
            key: pytest.approx(value, rel=1e-9, abs=1e-15) for key, value in expected.items()
        }


ENTRY: Row = {"prefill_end_ns": 10, "first_token_ns": 10}


def test_the_tools_part_ways_on_one_token_answers(tmp_path: Path) -> None:
    """Good for vLLM, bad for AIPerf, undetermined for GuideLLM."""
    run = told(
        requests=[
            ENTRY | {"finish_ns": 10, "output_tokens": 1},
            ENTRY | {"request": 1, "finish_ns": 1000, "output_tokens": 2},
        ]
    )
    run.manifest["scenario"]["slo"] = {"tpot_ms": 1e-6}
    opened = analytics.open(run.write(tmp_path / "run"))

    def value(dialect: str, metric: str) -> float:
        query = f"SELECT value FROM dialect_{dialect} WHERE metric = '{metric}'"
        return float(opened.sql(query).fetchall()[0][0])

    assert value("vllm", "request_goodput") == pytest.approx(1 / 1e-6)
    assert value("aiperf", "goodput") == 0
    assert value("guidellm", "goodput") == 0
    assert value("guidellm", "slo_attainment") == 0
    assert opened.sql("SELECT good_requests FROM goodput").fetchall() == [(1,)]


def test_the_99th_of_100_samples_is_another_one_for_each_tool(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"request": at, "prefill_end_ns": at + 1, "first_token_ns": at + 1, "finish_ns": at + 1}
        for at in range(100)
    ]
    opened = analytics.open(told(requests=rows).write(tmp_path / "run"))
    found = dict(
        opened.sql("""
            SELECT dialect, value FROM dialect_spread
            WHERE statistic = 'p99'
                AND metric IN ('ttft', 'time_to_first_token', 'first_token_latency')
        """).fetchall()
    )
    assert found == {
        "vllm": pytest.approx(99.01),
        "aiperf": pytest.approx(99.01),
        "guidellm": 99,
        "mlperf": 100,
    }


def test_every_tool_has_a_view_a_name_and_a_meaning_for_every_term() -> None:
    views = {view.name for view in analytics.library()}
    assert {f"dialect_{dialect}" for dialect in DIALECTS} <= views
    assert [tool.key for tool in tools()] == ["toolkit", *DIALECTS]
    assert all(tool.source for tool in tools())
    for term in terms():
        assert set(term.meanings) == {tool.key for tool in tools()}
        assert all(term.meanings.values())
        assert term.differs.endswith(".")


Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(3, slo={"ttft_ms": 1}).write(tmp_path_factory.mktemp("runs") / "small")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_report_prints_a_dialect_and_writes_nothing(
    trace: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # nanoseconds in ms take room that real runs do not
    before = sorted(trace.parent.parent.rglob("*"))
    assert cli.main(["report", "--dialect", dialect, str(trace)]) == 0
    out = capsys.readouterr().out
    for metric in {metric for metric, _ in TOOLS[dialect](Client(small_run(3)))}:
        assert metric in out
    assert sorted(trace.parent.parent.rglob("*")) == before
    assert cli.main(["report", "--dialect", dialect, str(trace), "--json"]) == 0
    (told_of,) = json.loads(capsys.readouterr().out)
    assert told_of["dialect"] == dialect
    assert {"metric", "statistic", "unit", "value"} == set(told_of["figures"][0])


def test_a_dialect_nobody_speaks_is_an_input_error(trace: Path, capsys: Captured) -> None:
    assert cli.main(["report", "--dialect", "vlm", str(trace)]) == 2
    assert "expected vllm, aiperf" in capsys.readouterr().err


def test_terms_are_printed_at_80_columns_and_one_by_one(capsys: Captured) -> None:
    assert cli.main(["terms"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for term in terms():
        assert f"{term.name}: " in out
    assert cli.main(["terms", "tpot"]) == 0
    assert "goodput:" not in capsys.readouterr().out
    assert cli.main(["terms", "tpots"]) == 2
    assert "did you mean TPOT?" in capsys.readouterr().err
    assert cli.main(["terms", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(terms())
