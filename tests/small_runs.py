"""Small runs to query: microbatches through a pipeline, served first come first served.

Written for the tests alone, item by item, so that a view is never tested
against the code that feeds it.  The runs obey every invariant of a trace.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.trace import store
from toolkit.trace.columns import NAMES, NULL, TABLES, Chunk, name_key

Row = dict[str, Any]


@dataclass
class SmallRun:
    """Rows of each table, and the manifest."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})
    manifest: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the run as a store."""
        return store.write(
            folder, [_chunk(name, rows) for name, rows in self.rows.items()], self.manifest
        )


def _chunk(table: str, rows: Sequence[Row]) -> Chunk:
    columns: dict[str, Any] = {}
    for column in TABLES[table].columns:
        values = [row[column.name] for row in rows]
        if column.type == "string":
            columns[column.name] = values
        else:
            empty = np.nan if column.type == "float64" else NULL
            filled = [empty if value is None else value for value in values]
            columns[column.name] = np.array(filled, column.type)
    return Chunk(table, columns)


def small_run(
    seed: int = 0,
    *,
    discipline: str = "event",
    split: bool = False,
    batches: int = 5,
    members: int = 3,
    level: str = "full",
    price: float | None = 36.0,
    variant: str | None = None,
    slo: dict[str, float] | None = None,
) -> SmallRun:
    """Return a random run of `batches` microbatches of up to `members` entries."""
    world = _World(random.Random(seed), discipline, split, price)
    world.play(batches, members)
    run = SmallRun(world.rows, _manifest(seed, discipline, split, level, variant, world))
    if slo is not None:
        run.manifest["scenario"]["slo"] = slo
    return _thinned(run, level)


def _manifest(
    seed: int, discipline: str, split: bool, level: str, variant: str | None, world: _World
) -> dict[str, Any]:
    return {
        "name": "small",
        "title": "A small run",
        "question": "Does it add up?",
        "variant": variant,
        "discipline": discipline,
        "level": level,
        "seed": seed,
        "scenario": {
            "deployment": {"kind": "disaggregated" if split else "pipeline"},
            "report": {"percentiles": [50.0, 90.0, 99.0]},
        },
        "scenario_sha256": "0" * 64,
        "workload_sha256": "1" * 64,
        "versions": {"toolkit": "0"},
        "facts": {
            "memory": ["stage 0: 1 GB of 80 GB"],
            "link_model": "per_nic",
            "outside_table": [],
            "notes": ["price: from memory"],
        },
    }


class _World:
    """Stages and links that serve whoever is ready first."""

    def __init__(
        self, rng: random.Random, discipline: str, split: bool, price: float | None
    ) -> None:
        self.rng = rng
        self.dejavu = discipline == "dejavu"
        self.split = split
        self.rows: dict[str, list[Row]] = {name: [] for name in TABLES}
        self.free: dict[int, int] = defaultdict(int)
        self.holder: dict[int, int] = {}
        self.prompt_stages = rng.randint(1, 3)
        self.token_stages = rng.randint(1, 3) if split else self.prompt_stages
        machines = self.prompt_stages + (self.token_stages if split else 0)
        self.machines = machines
        for machine in range(machines):
            prompt = machine < self.prompt_stages
            role = ("prompt" if prompt else "token") if split else "colocated"
            stage = machine if prompt else machine - self.prompt_stages
            self.rows["machines"].append(
                dict(
                    machine=machine,
                    name=f"m{machine:02d} {role}-{stage}",
                    role=role,
                    replica=0,
                    stage=stage,
                    layers=4.0,
                    weights_bytes=1e9,
                    memory_bytes=8e10,
                    price_usd_per_hour=price,
                )
            )
            self._track(machine, "stage", machine, stage, f"m{machine:02d} stage {stage}")
        for machine in range(machines):
            self._track(machines + 2 * machine, "link", machine, 2 * machine, f"m{machine:02d} out")
            self._track(
                machines + 2 * machine + 1, "link", machine, 2 * machine + 1, f"m{machine:02d} in"
            )
        self.lanes = 3 * machines
        self.rows["names"] = [dict(name=key, text=text) for key, text in enumerate(NAMES)]
        for counter, (name, unit) in enumerate([("KV cache", "B"), ("in flight", "requests")]):
            self.rows["counter_defs"].append(
                dict(counter=counter, machine=None, name=name, unit=unit, share_key=name)
            )

    def _track(self, track: int, kind: str, machine: int | None, index: int, name: str) -> None:
        self.rows["tracks"].append(
            dict(track=track, kind=kind, machine=machine, index=index, name=name, rank=track)
        )

    def play(self, batches: int, members: int) -> None:
        rng, request, arrival = self.rng, 0, 0
        heap: list[tuple[int, int, Any]] = []
        order = count()
        steps = count()
        for _ in range(batches):
            group = []
            for _ in range(rng.randint(1, members)):
                arrival += rng.choice([0, rng.randint(0, 400)])
                row: Row = dict.fromkeys(TABLES["requests"].column_names)
                row |= dict(
                    request=request,
                    arrival_ns=arrival,
                    size=rng.randint(1, 4),
                    prompt_tokens=rng.randint(1, 50),
                    output_tokens=rng.randint(1, 6),
                    replica=0,
                    outcome="served",
                )
                group.append(row)
                request += 1
            for row in group:
                row["lead"] = group[0]["request"]
                self._wait(row["request"], row["arrival_ns"], arrival, "packing")
            life = self._life(group, arrival, steps)
            heappush(heap, (next(life), next(order), life))
            self.rows["requests"] += group
        while heap:
            now, _, life = heappop(heap)
            with suppress(StopIteration):
                heappush(heap, (life.send(now), next(order), life))
        self._lanes()
        self._count()
        self.rows["spans"].sort(key=lambda span: (span["ts_ns"], span["track"]))
        self._flows()
        self._totals()

    def _life(self, group: list[Row], ready: int, steps: Any) -> Any:
        """Tell a microbatch's life; yields the times at which it goes on."""
        lead = group[0]["request"]
        longest = max(row["output_tokens"] for row in group)
        passes = longest if self.dejavu else longest - 1
        prompt = list(range(self.prompt_stages))
        token = [self.machines - self.token_stages + stage for stage in range(self.token_stages)]
        now = ready
        step = next(steps)
        for at, machine in enumerate(prompt):
            start, now = yield from self._use(
                now,
                machine,
                "prefill",
                lead,
                None,
                step,
                40 + self.rng.randint(0, 60),
                "behind_batch",
            )
            if at == 0:
                for row in group:
                    row["start_ns"] = start
            if at + 1 < len(prompt):
                now = yield from self._send(now, machine, lead, step)
        for row in group:
            row["prefill_end_ns"] = now
        if not self.dejavu:
            self._out(group, 1, now)
            for row in group:
                row["first_token_ns"] = now
        if self.split and passes:
            now = yield from self._move_cache(now, lead, step)
            for row in group:
                if row["finish_ns"] is None:
                    row["kv_ready_ns"] = now
        for each in range(passes):
            step = next(steps)
            for at, machine in enumerate(token):
                start, now = yield from self._use(
                    now,
                    machine,
                    "decode",
                    lead,
                    each,
                    step,
                    5 + self.rng.randint(0, 9),
                    "behind_prompt",
                )
                if at == 0 and each == 0:
                    for row in group:
                        if row["finish_ns"] is None:
                            row["decode_start_ns"] = start
                if at + 1 < len(token):
                    now = yield from self._send(now, machine, lead, step)
            if self.dejavu and each == 0:
                for row in group:
                    row["first_token_ns"] = now
            self._out(group, each + (1 if self.dejavu else 2), now)

    def _out(self, group: list[Row], tokens: int, now: int) -> None:
        for row in group:
            if row["output_tokens"] == tokens:
                row["finish_ns"] = now

    def _use(
        self,
        ready: int,
        track: int,
        name: str,
        lead: int,
        token: int | None,
        step: int,
        dur: int,
        cause: str,
    ) -> Any:
        """Wait for a track, then hold it; return when it was held."""
        now = yield ready
        while self.free[track] > now:
            now = yield self.free[track]
        self._wait(lead, ready, now, cause, track, self.holder.get(track))
        self.free[track] = now + dur
        self.holder[track] = lead
        self._span(
            now,
            dur,
            track,
            name,
            lead,
            token,
            step,
            dur * 10 if name in ("activation", "kv_transfer") else None,
        )
        return now, now + dur

    def _send(self, now: int, machine: int, lead: int, step: int) -> Any:
        """Hand activations to the next stage."""
        _, end = yield from self._use(
            now,
            self.machines + 2 * machine,
            "activation",
            lead,
            None,
            step,
            self.rng.randint(1, 5),
            "link_busy",
        )
        return end

    def _move_cache(self, now: int, lead: int, step: int) -> Any:
        """Move the KV cache from the last prompt machine to the first token machine."""
        out = self.machines + 2 * (self.prompt_stages - 1)
        start, end = yield from self._use(
            now, out, "kv_transfer", lead, None, step, 20 + self.rng.randint(0, 30), "link_busy"
        )
        into = self.machines + 2 * self.prompt_stages + 1
        self._span(start, end - start, into, "kv_receive", lead, None, step, None)
        self._wait(lead, start, end, "transfer", out)
        return end

    def _span(
        self,
        ts: int,
        dur: int,
        track: int,
        name: str,
        request: int,
        token: int | None = None,
        step: int | None = None,
        size: int | None = None,
    ) -> None:
        self.rows["spans"].append(
            dict(
                ts_ns=ts,
                dur_ns=dur,
                track=track,
                name=name_key(name),
                request=request,
                token=token,
                step=step,
                bytes=size,
                depth=0,
            )
        )

    def _wait(
        self,
        request: int,
        since: int,
        until: int,
        cause: str,
        track: int | None = None,
        on: int | None = None,
    ) -> None:
        if until > since:
            self.rows["waits"].append(
                dict(
                    request=request,
                    from_ns=since,
                    until_ns=until,
                    wait_ns=until - since,
                    cause=name_key(cause),
                    on_request=on,
                    on_track=track,
                )
            )

    def _lanes(self) -> None:
        """Give each request a lane that is free for as long as it lives."""
        ends: list[int] = []
        for row in self.rows["requests"]:
            lane = next((i for i, end in enumerate(ends) if end <= row["arrival_ns"]), len(ends))
            if lane == len(ends):
                ends.append(0)
                self._track(self.lanes + lane, "lane", None, lane, f"lane {lane:02d}")
            ends[lane] = row["finish_ns"]
            row["lane"] = self.lanes + lane
            marks = [
                ("queued", row["arrival_ns"]),
                ("prefill", row["start_ns"]),
                ("transfer", row["prefill_end_ns"]),
                ("decode", row["kv_ready_ns"] or row["prefill_end_ns"]),
                ("", row["finish_ns"]),
            ]
            for (name, since), (_, until) in pairwise(marks):
                if until > since:
                    self._span(since, until - since, row["lane"], name, row["request"])

    def _count(self) -> None:
        changes: dict[int, int] = defaultdict(int)
        for row in self.rows["requests"]:
            changes[row["start_ns"]] += row["size"]
            changes[row["finish_ns"]] -= row["size"]
        value = 0
        for ts in sorted(changes):
            value += changes[ts]
            for counter, scale in enumerate((1000.0, 1.0)):
                self.rows["counters"].append(dict(ts_ns=ts, counter=counter, value=value * scale))

    def _flows(self) -> None:
        keys = {name_key(name) for name in ("prefill", "transfer", "decode")}
        lanes: dict[int, list[Row]] = defaultdict(list)
        for span in self.rows["spans"]:
            if span["track"] >= self.lanes and span["name"] in keys:
                lanes[span["request"]].append(span)
        for request, spans in sorted(lanes.items()):
            for order, span in enumerate(spans):
                self.rows["flows"].append(
                    dict(
                        flow=request,
                        order=order,
                        track=span["track"],
                        ts_ns=span["ts_ns"],
                        ordinal=0,
                    )
                )

    def _totals(self) -> None:
        sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
        for span in self.rows["spans"]:
            total = sums[span["track"], span["name"]]
            total[0] += span["dur_ns"]
            total[1] += 1
            total[2] += span["bytes"] or 0
        for (track, name), (busy, times, size) in sorted(sums.items()):
            moves = NAMES[name] in ("activation", "kv_transfer")
            self.rows["totals"].append(
                dict(
                    track=track, name=name, busy_ns=busy, count=times, bytes=size if moves else None
                )
            )


def _thinned(run: SmallRun, level: str) -> SmallRun:
    """Leave out what a lower trace level does not keep, and sum up its waits."""
    if level == "full":
        return run
    for table in ("spans", "flows", "counters"):
        run.rows[table] = []
    started = {row["lead"]: row["start_ns"] for row in run.rows["requests"]}
    kept: list[Row] = []
    sums: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for wait in run.rows["waits"]:
        if NAMES[wait["cause"]] == "packing" or wait["until_ns"] <= started[wait["request"]]:
            kept.append(wait)
        else:
            sums[wait["request"], wait["cause"]].append(wait)
    kept += [
        waits[0]
        | {
            "from_ns": min(wait["from_ns"] for wait in waits),
            "until_ns": max(wait["until_ns"] for wait in waits),
            "wait_ns": sum(wait["wait_ns"] for wait in waits),
            "on_request": None,
            "on_track": None,
        }
        for waits in sums.values()
    ]
    run.rows["waits"] = kept
    return run


def told(*, discipline: str = "event", level: str = "full", **tables: list[Row]) -> SmallRun:
    """Return a run of the rows told, with what goes without saying filled in.

    There is one colocated machine with one stage (track 0) and one lane (1)
    unless `machines` and `tracks` say otherwise.
    """
    run = SmallRun()
    run.manifest = {
        "name": "told",
        "discipline": discipline,
        "level": level,
        "facts": {"link_model": "per_nic"},
        "scenario": {"report": {"percentiles": [50.0, 90.0]}},
    }
    usual: dict[str, list[Row]] = {
        "machines": [{"machine": 0, "name": "m00", "role": "colocated"}],
        "tracks": [
            {"track": 0, "kind": "stage", "machine": 0, "name": "stage 0"},
            {"track": 1, "kind": "lane", "name": "lane 00"},
        ],
        "names": [{"name": key, "text": text} for key, text in enumerate(NAMES)],
    }
    for table, rows in (usual | tables).items():
        empty = {
            column.name: None if column.nullable else "" if column.type == "string" else 0
            for column in TABLES[table].columns
        }
        run.rows[table] = [empty | _USUAL.get(table, {}) | _keyed(row) for row in rows]
    return run


_USUAL: dict[str, Row] = {
    "requests": {
        "arrival_ns": 0,
        "size": 1,
        "prompt_tokens": 1,
        "output_tokens": 1,
        "outcome": "served",
    },
}


def _keyed(row: Row) -> Row:
    """Return a row with the names of spans and causes as keys."""
    return {
        column: name_key(value) if column in ("name", "cause") and value in NAMES else value
        for column, value in row.items()
    }


def tamper(folder: Path, table: str, change: Callable[[list[Row]], None]) -> None:
    """Change rows of a store behind its back, keeping the manifest's counts in step."""
    path = folder / f"{table}.parquet"
    before = pq.read_table(path)
    rows = before.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=before.schema), path)
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    manifest["tables"][table] |= {"rows": len(rows), "bytes": path.stat().st_size}
    file.write_text(json.dumps(manifest), encoding="utf-8")
