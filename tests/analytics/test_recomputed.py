"""Every number of a report, computed again in Polars and plain Python from the trace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ledger_oracle import Oracle, Piece
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
KEPT = ["idle_causes", "time_ledger"]
BUSY_W, IDLE_W, CO2 = 1600.0, 248.0, 400.0


@dataclass(frozen=True)
class World:
    """The rows of a run, and the same run opened."""

    rows: dict[str, list[Row]]
    run: analytics.Run
    dejavu: bool
    level: str

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

    @cached_property
    def partition(self) -> dict[int, list[Piece]]:
        return Oracle(self.rows).partition()

    @cached_property
    def ledger(self) -> dict[tuple[int, str], int]:
        """Nanoseconds of each track by cause."""
        sums: dict[tuple[int, str], int] = {}
        if self.level == "full":
            for track, pieces in self.partition.items():
                for since, until, cause in pieces:
                    sums[track, cause] = sums.get((track, cause), 0) + until - since
            return sums
        for track, parts in self.stage_parts.items():
            colocated = self.role(self.rows["tracks"][track]) == "colocated"
            sums |= {(track, name): parts[name] for name in ("prefill", "decode", "bubble")}
            sums[track, "no_work"] = parts["finished"] + (parts["waiting"] if colocated else 0)
            sums[track, "waiting"] = 0 if colocated else parts["waiting"]
        for link in self.tracks("link"):
            busy = self.total(link["track"])
            sums[link["track"], "transfer"] = busy
            sums[link["track"], "no_work"] = self.makespan_ns - busy
        return {key: dur for key, dur in sums.items() if dur}

    @property
    def of_stages(self) -> dict[tuple[int, str], int]:
        return {key: dur for key, dur in self.ledger.items() if key[0] in self.stage_parts}

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
    run.manifest["scenario"]["hardware"] = {
        "busy_w_per_machine": BUSY_W,
        "idle_w_per_machine": IDLE_W,
        "co2_g_per_kwh": CO2,
    }
    folder = run.write(tmp_path_factory.mktemp("runs") / "small")
    dejavu = request.param["discipline"] == "dejavu"
    return World(run.rows, analytics.open(folder, kept=KEPT), dejavu, request.param["level"])


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


def test_time_ledger(world: World) -> None:
    """At level `full` as a slow oracle tells it, below it from requests and totals."""
    found = world.frame("FROM time_ledger")
    assert {(row["track"], row["cause"]): row["dur_ns"] for row in found} == world.ledger
    for row in found:
        track = next(each for each in world.rows["tracks"] if each["track"] == row["track"])
        assert (row["kind"], row["track_name"]) == (track["kind"], track["name"])
        assert (row["machine"], row["role"]) == (track["machine"], world.role(track))
        assert row["use"] == USES[row["cause"]]


USES = {
    **dict.fromkeys(("prefill", "decode"), "useful"),
    **dict.fromkeys(
        ("fill", "drain", "imbalance", "early_stop", "starved", "head_of_line", "bubble"), "bubble"
    ),
    **dict.fromkeys(("transfer", "blocked_transfer"), "transfer"),
    **dict.fromkeys(("no_work", "waiting"), "idle"),
    "blocked_kv": "memory",
}


def test_role_and_machine_ledger(world: World) -> None:
    tracks = {track["track"]: track for track in world.rows["tracks"]}
    expected: dict[tuple[str, str, str], int] = {}
    for (track, cause), dur in world.ledger.items():
        key = (tracks[track]["kind"], world.role(tracks[track]), cause)
        expected[key] = expected.get(key, 0) + dur
    found = by(world.frame("FROM role_ledger"), "kind", "role", "cause")
    assert set(found) == set(expected)
    for key, row in found.items():
        alike = [t for t in world.tracks(key[0]) if world.role(t) == key[1]]
        assert row["tracks"] == len(alike)
        assert row["dur_s"] == near(expected[key] / 1e9)
        assert row["share"] == near(expected[key] / world.makespan_ns / len(alike))
    machines = by(world.frame("FROM machine_ledger"), "machine", "cause")
    stages = {(tracks[t]["machine"], c): dur for (t, c), dur in world.of_stages.items()}
    assert {key: row["machine_ns"] for key, row in machines.items()} == stages
    for key, row in machines.items():
        assert row["share"] == near(stages[key] / world.makespan_ns)


def test_time_ledger_windows(world: World) -> None:
    """Each window painted moment by moment."""
    found = world.frame("FROM time_ledger_windows")
    if world.level != "full":
        assert found == []
        return
    (width,) = world.run.sql("SELECT width_ns FROM window_width").fetchall()[0]
    tracks = {track["track"]: track for track in world.rows["tracks"]}
    expected: dict[tuple[str, str, int, str], int] = {}
    for track, pieces in world.partition.items():
        for since, until, cause in pieces:
            for at in range(since, until):
                key = (tracks[track]["kind"], world.role(tracks[track]), at // width, cause)
                expected[key] = expected.get(key, 0) + 1
    assert len(found) == len(expected)
    for row in found:
        window = round(row["from_s"] * 1e9) // width
        dur = expected[row["kind"], row["role"], window, row["cause"]]
        until = min((window + 1) * width, world.makespan_ns)
        alike = [t for t in world.tracks(row["kind"]) if world.role(t) == row["role"]]
        assert row["dur_s"] == near(dur / 1e9)
        assert row["until_s"] == near(until / 1e9)
        assert row["share"] == near(dur / (until - window * width) / len(alike))


def test_the_cost_ledger_adds_up_to_the_bill(world: World) -> None:
    tracks = {track["track"]: track for track in world.rows["tracks"]}
    found = by(world.frame("FROM cost_ledger"), "machine", "cause")
    expected = {(tracks[t]["machine"], cause): dur for (t, cause), dur in world.of_stages.items()}
    assert set(found) == set(expected)
    whole = len(world.rows["machines"]) * world.makespan_ns
    for key, row in found.items():
        watts = BUSY_W if key[1] in ("prefill", "decode") else IDLE_W
        assert row["machine_ns"] == expected[key]
        assert row["cost_usd"] == near(expected[key] / 3.6e12 * PRICE)
        assert row["energy_kwh"] == near(expected[key] / 3.6e12 * watts / 1e3)
        assert row["co2_g"] == near(expected[key] / 3.6e12 * watts / 1e3 * CO2)
        assert row["share"] == near(expected[key] / whole)
    (bill,) = world.frame("SELECT cost_usd FROM cost")
    assert sum(row["cost_usd"] for row in found.values()) == near(bill["cost_usd"])
    uses: dict[tuple[str, str], int] = {}
    for (track, cause), dur in world.of_stages.items():
        place = (world.role(tracks[track]), cause)
        uses[place] = uses.get(place, 0) + dur
    added = by(world.frame("FROM cost_uses"), "role", "cause")
    assert set(added) == set(uses)
    for place, row in added.items():
        watts = BUSY_W if place[1] in ("prefill", "decode") else IDLE_W
        assert row["machine_s"] == near(uses[place] / 1e9)
        assert row["cost_usd"] == near(uses[place] / 3.6e12 * PRICE)
        assert row["energy_kwh"] == near(uses[place] / 3.6e15 * watts)
        assert row["co2_g"] == near(uses[place] / 3.6e15 * watts * CO2)
        assert row["share"] == near(uses[place] / whole)


def test_unit_costs_split_the_bill_by_the_work_of_each_role(world: World) -> None:
    (found,) = world.frame("FROM unit_costs")
    tracks = {track["track"]: track for track in world.rows["tracks"]}
    spent: dict[str, dict[str, int]] = {}
    for (track, cause), dur in world.of_stages.items():
        of_role = spent.setdefault(world.role(tracks[track]), {})
        of_role[cause] = of_role.get(cause, 0) + dur
    whole = {cause: sum(each.get(cause, 0) for each in spent.values()) for cause in ALL_WORK}
    usd = PRICE / 3.6e12
    bill = sum(sum(causes.values()) for causes in spent.values()) * usd
    inputs = 0.0
    for causes in spent.values():
        of = causes if any(causes.get(name) for name in ALL_WORK) else whole
        share = of.get("prefill", 0) / (of.get("prefill", 0) + of.get("decode", 0))
        inputs += sum(causes.values()) * usd * share
    useful = sum(causes.get(name, 0) for causes in spent.values() for name in ALL_WORK)
    all_ns = sum(sum(causes.values()) for causes in spent.values())
    kwh = (useful * BUSY_W + (all_ns - useful) * IDLE_W) / 3.6e15
    out = world.weighted("output_tokens")
    expected = {
        "cost_usd": bill,
        "wasted_usd": bill - useful * usd,
        "wasted_share": 1 - useful / all_ns,
        "usd_per_request": bill / world.served,
        "usd_per_1000_requests": bill / world.served * 1000,
        "input_usd": inputs,
        "output_usd": bill - inputs,
        "usd_per_million_input_tokens": inputs / world.weighted("prompt_tokens") * 1e6,
        "usd_per_million_output_tokens": (bill - inputs) / out * 1e6,
        "energy_kwh": kwh,
        "joules_per_output_token": kwh * 3.6e6 / out,
        "co2_g": kwh * CO2,
        "co2_g_per_request": kwh * CO2 / world.served,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-18), name
    assert found["usd_per_good_request"] is None
    assert (found["busy_w"], found["idle_w"], found["co2_g_per_kwh"]) == (BUSY_W, IDLE_W, CO2)
    assert found["power_source"] == "stated in the scenario"


ALL_WORK = ("prefill", "decode")


def test_dominant_causes(world: World) -> None:
    found = world.frame("FROM dominant_causes")
    tracks = {track["track"]: track for track in world.rows["tracks"]}
    lost: dict[tuple[str, str], int] = {}
    for (track, cause), dur in world.of_stages.items():
        if cause not in ALL_WORK:
            key = (world.role(tracks[track]), cause)
            lost[key] = lost.get(key, 0) + dur
    assert [row["place"] for row in found] == list(range(1, len(lost) + 1))
    assert [row["share"] for row in found] == sorted((r["share"] for r in found), reverse=True)
    whole = len(world.tracks("stage")) * world.makespan_ns
    for row in found:
        dur = lost[row["role"], row["cause"]]
        alike = sum(1 for t in world.tracks("stage") if world.role(t) == row["role"])
        assert row["stages"] == alike
        assert row["share"] == near(dur / whole)
        assert row["role_share"] == near(dur / alike / world.makespan_ns)
        assert row["useful_share"] == near(1 - sum(lost.values()) / whole)
        assert row["cost_usd"] == near(dur / 3.6e12 * PRICE)
        assert row["bill_usd"] == near(whole / 3.6e12 * PRICE)
        assert row["makespan_s"] == near(world.makespan_s)
        assert row["without_s"] == near(world.makespan_s * (1 - dur / alike / world.makespan_ns))
        for name in ALL_WORK:
            totals = [
                each
                for each in world.rows["totals"]
                if NAMES[each["name"]] == name and tracks[each["track"]]["kind"] == "stage"
            ]
            mean = sum(t["busy_ns"] for t in totals) / sum(t["count"] for t in totals)
            assert row[f"{name}_s"] == near(mean / 1e9)
        lives: dict[int, list[int]] = {}
        for entry in world.requests:
            since = entry["decode_start_ns" if row["role"] == "token" else "start_ns"]
            until = entry["prefill_end_ns" if row["role"] == "prompt" else "finish_ns"]
            if since is not None:
                life = lives.setdefault(entry["lead"], [since, until])
                lives[entry["lead"]] = [min(life[0], since), max(life[1], until)]
        stayed = sum(until - since for since, until in lives.values())
        assert row["mean_in_flight"] == near(stayed / world.makespan_ns)


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
        "cost",
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
