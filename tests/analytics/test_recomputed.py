"""Every number of a report, computed again in Polars and plain Python from the trace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from small_runs import Row, SmallRun, small_run

from toolkit import analytics
from toolkit.trace.columns import NAMES

CASES = [
    pytest.param(
        {"seed": seed, "discipline": discipline, "split": split, "level": level},
        id=f"{discipline}-{'split' if split else 'together'}-{level}",
    )
    for seed, discipline, split, level in (
        (0, "event", False, "full"),
        (1, "event", True, "full"),
        (2, "event", True, "requests"),
        (3, "dejavu", False, "requests"),
        (4, "dejavu", True, "full"),
    )
]

PERCENTILES = (50.0, 90.0, 99.0)
PRICE = 36.0


@dataclass(frozen=True)
class World:
    """The rows of a run, and the same run opened."""

    rows: dict[str, list[Row]]
    run: analytics.Run
    dejavu: bool

    def frame(self, query: str) -> list[Row]:
        return self.run.frame(query).to_dicts()

    @property
    def requests(self) -> list[Row]:
        return self.rows["requests"]

    @cached_property
    def makespan_ns(self) -> int:
        return int(max(row["finish_ns"] for row in self.requests))

    @cached_property
    def makespan_s(self) -> float:
        return self.makespan_ns / 1e9

    def weighted(self, column: str) -> int:
        return int(sum(row["size"] * row[column] for row in self.requests))

    @cached_property
    def served(self) -> int:
        return int(sum(row["size"] for row in self.requests))

    @cached_property
    def latencies(self) -> dict[str, pl.Series]:
        """Seconds of each metric, one value per request."""
        frame = pl.DataFrame(self.requests, infer_schema_length=None)
        first = "first_token_ns" if self.dejavu else "prefill_end_ns"
        landed = pl.coalesce("kv_ready_ns", "prefill_end_ns")
        metrics = {
            "ttft": (pl.col(first) - pl.col("arrival_ns")) / 1e9,
            "tpot": pl.when(pl.col("output_tokens") > 1).then(
                (pl.col("finish_ns") - pl.col(first)) / 1e9 / (pl.col("output_tokens") - 1)
            ),
            "e2e": (pl.col("finish_ns") - pl.col("arrival_ns")) / 1e9,
            "queueing": (pl.col("start_ns") - pl.col("arrival_ns")) / 1e9,
            "prefill": (pl.col("prefill_end_ns") - pl.col("start_ns")) / 1e9,
            "transfer": (pl.col("kv_ready_ns") - pl.col("prefill_end_ns")) / 1e9,
            "decode_wait": (pl.col("decode_start_ns") - landed) / 1e9,
            "decode": (pl.col("finish_ns") - pl.col("decode_start_ns")) / 1e9,
            "latency_per_token": (pl.col("finish_ns") - pl.col("arrival_ns"))
            / 1e9
            / pl.col("output_tokens"),
        }
        found = {}
        for name, value in metrics.items():
            values = frame.select(value.cast(pl.Float64).alias("v"), "size").drop_nulls()
            if name != "latency_per_token":
                values = values.select(pl.col("v").repeat_by("size").explode())
            if values.height:
                found[name] = values["v"]
        return found

    def total(self, track: int, *names: str) -> int:
        return int(
            sum(
                row["busy_ns"]
                for row in self.rows["totals"]
                if row["track"] == track and (not names or NAMES[row["name"]] in names)
            )
        )

    def tracks(self, kind: str) -> list[Row]:
        return [row for row in self.rows["tracks"] if row["kind"] == kind]

    def role(self, track: Row) -> str:
        return str(self.rows["machines"][track["machine"]]["role"])

    @cached_property
    def stage_parts(self) -> dict[int, dict[str, int]]:
        """Nanoseconds of each part of each stage, the presence of work counted time by time."""
        return {track["track"]: self._parts(track) for track in self.tracks("stage")}

    def _parts(self, track: Row) -> dict[str, int]:
        role = self.role(track)
        lives = [
            (
                row["decode_start_ns"] if role == "token" else row["start_ns"],
                row["prefill_end_ns"] if role == "prompt" else row["finish_ns"],
            )
            for row in self.requests
        ]
        present = {
            at
            for since, until in lives
            if since is not None and until > since
            for at in range(since, until)
        }
        last = max(present, default=-1) + 1
        prefill = self.total(track["track"], "prefill")
        decode = self.total(track["track"], "decode")
        return {
            "prefill": prefill,
            "decode": decode,
            "mixed": 0,
            "other": 0,
            "bubble": len(present) - prefill - decode,
            "waiting": last - len(present),
            "finished": self.makespan_ns - last,
        }


@pytest.fixture(scope="module", params=CASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    run = small_run(**request.param)
    folder = run.write(tmp_path_factory.mktemp("runs") / "small")
    return World(run.rows, analytics.open(folder), request.param["discipline"] == "dejavu")


def near(value: Any) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-18)


def by(rows: Iterable[Row], *keys: str) -> dict[Any, Row]:
    return {
        row[keys[0]] if len(keys) == 1 else tuple(row[key] for key in keys): row for row in rows
    }


def test_throughput(world: World) -> None:
    (found,) = world.frame("FROM throughput")
    time_s, out = world.makespan_s, world.weighted("output_tokens")
    in_system = sum(row["size"] * (row["finish_ns"] - row["arrival_ns"]) for row in world.requests)
    assert found | {"run": ""} == {
        "run": "",
        "makespan_s": near(time_s),
        "entries": len(world.requests),
        "requests": world.served,
        "prompt_tokens": world.weighted("prompt_tokens"),
        "output_tokens": out,
        "entries_per_s": near(len(world.requests) / time_s),
        "requests_per_s": near(world.served / time_s),
        "output_tokens_per_s": near(out / time_s),
        "total_tokens_per_s": near((out + world.weighted("prompt_tokens")) / time_s),
        "mean_requests_in_system": near(in_system / world.makespan_ns),
    }


def test_latency_summary(world: World) -> None:
    found = by(world.frame("FROM latency_summary"), "metric")
    assert set(found) == set(world.latencies)
    for metric, values in world.latencies.items():
        row = found[metric]
        assert row["samples"] == len(values)
        assert row["min_s"] == near(values.min())
        assert row["median_s"] == near(values.median())
        assert row["mean_s"] == near(values.mean())
        assert row["max_s"] == near(values.max())


def test_latency_percentiles(world: World) -> None:
    found = by(world.frame("FROM latency_percentiles"), "metric", "percentile")
    assert len(found) == len(world.latencies) * len(PERCENTILES)
    for metric, values in world.latencies.items():
        for percentile in PERCENTILES:
            expected = values.quantile(percentile / 100, "linear")
            assert found[metric, percentile]["value_s"] == near(expected)


def test_latency_curve(world: World) -> None:
    found = by(world.frame("FROM latency_curve"), "metric", "share")
    assert len(found) == len(world.latencies) * 201
    for (metric, share), row in found.items():
        expected = world.latencies[metric].quantile(share, "linear")
        assert row["value_s"] == pytest.approx(expected, rel=1e-9)


def test_e2e_parts(world: World) -> None:
    """Waits cut nanosecond by nanosecond; work is what is left."""
    totals: dict[str, int] = {}
    for row in world.requests:
        left = row["finish_ns"] - row["arrival_ns"]
        unsplit = False
        for wait in world.rows["waits"]:
            cause = NAMES[wait["cause"]]
            mine = row["request"] if cause == "packing" else row["lead"]
            if wait["request"] != mine:
                continue
            since = max(wait["from_ns"], row["arrival_ns"])
            until = min(wait["until_ns"], row["finish_ns"])
            dur = max(until - since, 0)
            if wait["wait_ns"] < wait["until_ns"] - wait["from_ns"]:
                cut = (since, until) != (wait["from_ns"], wait["until_ns"])
                unsplit |= cut
                dur = 0 if cut else wait["wait_ns"]
            totals[cause] = totals.get(cause, 0) + dur * row["size"]
            left -= dur
        part = "unsplit" if unsplit else "work"
        totals[part] = totals.get(part, 0) + left * row["size"]
    found = by(world.frame("FROM e2e_parts"), "part")
    whole = sum(totals.values())
    assert set(found) == {part for part, dur in totals.items() if dur or part == "work"}
    for part, row in found.items():
        assert row["mean_s"] == near(totals[part] / world.served / 1e9)
        assert row["share"] == near(totals[part] / whole)


def test_utilisation(world: World) -> None:
    found = by(world.frame("FROM utilisation"), "track")
    assert set(found) == set(world.stage_parts)
    for track, parts in world.stage_parts.items():
        row = found[track]
        for part in ("prefill", "decode", "bubble", "waiting", "finished"):
            assert row[f"{part}_s"] == near(parts[part] / 1e9)
        work = parts["prefill"] + parts["decode"]
        assert row["utilisation"] == near(work / world.makespan_ns)
        assert row["bubble_share"] == near(parts["bubble"] / world.makespan_ns)
        assert row["makespan_s"] == near(world.makespan_s)


def test_machine_and_pool_utilisation(world: World) -> None:
    machines = by(world.frame("FROM machine_utilisation"), "machine_name")
    for track in world.tracks("stage"):
        parts = world.stage_parts[track["track"]]
        row = machines[world.rows["machines"][track["machine"]]["name"]]
        assert row["stages"] == 1
        assert row["utilisation"] == near((parts["prefill"] + parts["decode"]) / world.makespan_ns)
        assert row["bubble_share"] == near(parts["bubble"] / world.makespan_ns)
    pools = by(world.frame("FROM pool_utilisation"), "role")
    for role in {world.role(track) for track in world.tracks("stage")}:
        stages = [t["track"] for t in world.tracks("stage") if world.role(t) == role]
        whole = len(stages) * world.makespan_ns
        assert pools[role]["stages"] == len(stages)
        for part in ("prefill", "decode", "bubble", "waiting", "finished"):
            added = sum(world.stage_parts[stage][part] for stage in stages)
            assert pools[role][f"{part}_share"] == near(added / whole)


def test_link_utilisation_and_transfer_summary(world: World) -> None:
    links = {track["track"]: track["name"] for track in world.tracks("link")}
    totals = [row for row in world.rows["totals"] if row["track"] in links]
    found = by(world.frame("FROM link_utilisation"), "link", "name")
    assert len(found) == len(totals)
    for total in totals:
        row = found[links[total["track"]], NAMES[total["name"]]]
        assert (row["transfers"], row["bytes"]) == (total["count"], total["bytes"])
        assert row["busy_s"] == near(total["busy_ns"] / 1e9)
        assert row["busy_share"] == near(total["busy_ns"] / world.makespan_ns)
    summary = by(world.frame("FROM transfer_summary"), "name")
    for name in ("activation", "kv_transfer"):
        these = [total for total in totals if NAMES[total["name"]] == name]
        assert (name in summary) == bool(these)
        if these:
            busy = sum(total["busy_ns"] for total in these)
            sent = sum(total["bytes"] for total in these)
            times = sum(total["count"] for total in these)
            row = summary[name]
            assert (row["transfers"], row["bytes"]) == (times, sent)
            assert row["mean_gbit_per_s"] == near(sent * 8 / busy)
            assert row["mean_transfer_s"] == near(busy / times / 1e9)
            assert row["busy_s"] == near(busy / 1e9)
            share = max(total["busy_ns"] for total in these) / world.makespan_ns
            assert row["busiest_link_share"] == near(share)


def test_cost(world: World) -> None:
    (found,) = world.frame("FROM cost")
    machines = len(world.rows["machines"])
    hours = machines * world.makespan_s / 3600
    bill = hours * PRICE
    assert found["machines"] == machines
    assert found["machine_hours"] == near(hours)
    assert found["cost_usd"] == near(bill)
    assert found["usd_per_1000_requests"] == near(bill / world.served * 1000)
    assert found["machine_hours_per_1000_requests"] == near(hours / world.served * 1000)
    for side in ("prompt", "output"):
        name = "input" if side == "prompt" else side
        expected = bill / world.weighted(f"{side}_tokens") * 1e6
        assert found[f"usd_per_million_{name}_tokens"] == near(expected)


def test_cost_parts_add_up_to_the_bill(world: World) -> None:
    found = by(world.frame("FROM cost_parts"), "role", "part")
    expected: dict[tuple[str, str], int] = {}
    for track in world.tracks("stage"):
        for part, dur in world.stage_parts[track["track"]].items():
            key = (world.role(track), part)
            expected[key] = expected.get(key, 0) + dur
    assert set(found) == {key for key, dur in expected.items() if dur}
    whole = len(world.rows["machines"]) * world.makespan_ns
    for key, row in found.items():
        assert row["machine_s"] == near(expected[key] / 1e9)
        assert row["cost_usd"] == near(expected[key] / 3.6e12 * PRICE)
        assert row["share"] == near(expected[key] / whole)
    (bill,) = world.frame("SELECT cost_usd FROM cost")
    assert sum(row["cost_usd"] for row in found.values()) == near(bill["cost_usd"])


def test_throughput_windows(world: World) -> None:
    found = world.frame("FROM throughput_windows")
    assert len(found) <= 100
    assert found[0]["from_s"] == 0
    assert found[-1]["until_s"] == near(world.makespan_s)
    first = "first_token_ns" if world.dejavu else "prefill_end_ns"
    for row in found:
        since, until = round(row["from_s"] * 1e9), round(row["until_s"] * 1e9)
        tokens, finished = 0.0, 0
        for entry in world.requests:
            begin, end = entry[first], entry["finish_ns"]
            overlap = max(min(end, until) - max(begin, since), 0)
            spread = (entry["output_tokens"] - 1) * overlap / max(end - begin, 1)
            tokens += entry["size"] * (spread + (since < begin <= until))
            finished += entry["size"] * (since < end <= until)
        width = (until - since) / 1e9
        assert row["requests_per_s"] == near(finished / width)
        assert row["output_tokens_per_s"] == pytest.approx(tokens / width, rel=1e-9)


def test_run_summary_and_headline(world: World) -> None:
    (found,) = world.frame("FROM run_summary")
    expected: dict[str, Any] = {
        "makespan_s": world.makespan_s,
        "requests": world.served,
        "requests_per_s": world.served / world.makespan_s,
        "output_tokens_per_s": world.weighted("output_tokens") / world.makespan_s,
        "throughput_per_s": len(world.requests) / world.makespan_s,
        "cost_usd": len(world.rows["machines"]) * world.makespan_s / 3600 * PRICE,
        "machine_hours": len(world.rows["machines"]) * world.makespan_s / 3600,
    }
    for metric in ("ttft", "tpot", "e2e", "latency_per_token"):
        if metric in world.latencies:
            expected[f"{metric}_median_s"] = world.latencies[metric].median()
    for metric in ("ttft", "e2e"):
        expected[f"{metric}_p99_s"] = world.latencies[metric].quantile(0.99, "linear")
    expected["e2e_mean_s"] = world.latencies["e2e"].mean()
    whole = len(world.stage_parts) * world.makespan_ns
    for name, kept in (
        ("utilisation", ("prefill", "decode")),
        ("bubble_share", ("bubble",)),
        ("empty_share", ("waiting", "finished")),
    ):
        added = sum(parts[part] for parts in world.stage_parts.values() for part in kept)
        expected[name] = added / whole
    expected["usd_per_1000_requests"] = expected["cost_usd"] / world.served * 1000
    expected["usd_per_million_output_tokens"] = (
        expected["cost_usd"] / world.weighted("output_tokens") * 1e6
    )
    for name, value in expected.items():
        assert found[name] == near(value), name
    headline = by(world.frame("FROM headline"), "metric")
    assert headline["makespan"]["value"] == near(world.makespan_s)
    assert headline["stages working"]["value"] == near(100 * expected["utilisation"])
    assert headline["cost"]["value"] == near(expected["cost_usd"])
    assert {row["ratio_to_first"] for row in headline.values()} <= {1.0, None}


def test_the_timeline_is_the_work_inside_its_window(world: World) -> None:
    (window,) = world.frame("FROM timeline_window")
    since, until = window["from_ns"], window["until_ns"]
    assert 0 <= since <= until <= world.makespan_ns
    kept = {track["track"] for track in world.tracks("stage")}
    expected: dict[tuple[int, str], list[int]] = {}
    for span in world.rows["spans"]:
        name = NAMES[span["name"]]
        inside = min(span["ts_ns"] + span["dur_ns"], until) - max(span["ts_ns"], since)
        if inside > 0 and (span["track"] in kept or name == "kv_transfer"):
            busy = expected.setdefault((span["track"], name), [0, 0])
            busy[0] += inside
            busy[1] += 1
    found: dict[tuple[int, str], list[float]] = {}
    for row in world.frame("FROM timeline"):
        assert since / 1e9 <= row["from_s"] <= row["until_s"] <= until / 1e9
        assert row["busy_s"] <= row["until_s"] - row["from_s"] + 1e-15
        shown = found.setdefault((row["track"], row["name"]), [0, 0])
        shown[0] += row["busy_s"] * 1e9
        shown[1] += row["spans"]
    assert found == {key: near(value) for key, value in expected.items()}


def test_every_level_gives_the_same_figures(tmp_path: Path) -> None:
    """Only where a wait cannot be cut, and where spans are drawn, does the level show."""
    views = (
        "run_summary",
        "latency_percentiles",
        "utilisation",
        "cost_parts",
        "transfer_summary",
        "throughput_windows",
        "link_utilisation",
    )
    runs: list[SmallRun] = [small_run(5, split=True, level=level) for level in ("full", "requests")]
    full, thin = (
        analytics.open(run.write(tmp_path / str(at) / "same")) for at, run in enumerate(runs)
    )
    for view in views:
        assert full.frame(f"FROM {view}").equals(thin.frame(f"FROM {view}")), view
