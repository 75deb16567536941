"""What failures did, counted once more in plain Python from spans, waits and requests."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import deployments
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ledger_properties import Rows, opened, play, rows_of

from toolkit.scenario.model import Scenario
from toolkit.trace.columns import NAMES

NS_PER_HOUR = 3600 * 10**9
MANY = 15


def counted(rows: Rows) -> dict[str, Any]:
    """Return a run's row of the view `reliability`, from its spans at level `full`."""
    machines = {row["machine"]: row for row in rows["machines"]}
    stages = {
        row["track"]: machines[row["machine"]] for row in rows["tracks"] if row["kind"] == "stage"
    }
    last: dict[tuple[str, int], int] = {}
    for row in machines.values():
        key = row["role"], row["replica"]
        last[key] = max(last.get(key, 0), row["stage"])
    served = [row for row in rows["requests"] if row["outcome"] == "served"]
    makespan = max(row["finish_ns"] for row in served)
    took: dict[str, int] = defaultdict(int)
    paid: dict[str, float] = defaultdict(float)
    moved: dict[str, int] = defaultdict(int)
    failures = lost_passes = 0
    busy = 0
    for span in rows["spans"]:
        name = NAMES[span["name"]]
        moved[name] += span["bytes"] or 0
        if span["track"] not in stages:
            continue
        machine = stages[span["track"]]
        took[name] += span["dur_ns"]
        paid[name] += span["dur_ns"] * machine["price_usd_per_hour"] / NS_PER_HOUR
        failures += name == "failed"
        ends = machine["stage"] == last[machine["role"], machine["replica"]]
        lost_passes += name == "lost" and ends
        busy += span["dur_ns"] if name not in {"failed", "starting"} else 0
    finish: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in rows["requests"]:
        finish[row["lead"]].append((row["finish_ns"], row["size"]))
    hit, recovering, held_up = 0, [], {}
    for wait in rows["waits"]:
        if NAMES[wait["cause"]] == "failed" and wait["on_track"] is not None:
            hit += sum(size for end, size in finish[wait["request"]] if end > wait["from_ns"])
            after = [
                each["wait_ns"]
                for each in rows["waits"]
                if each["request"] == wait["request"]
                and NAMES[each["cause"]] == "recovering"
                and each["from_ns"] == wait["until_ns"]
            ]
            recovering += [each for each in after if each > 0]
        elif NAMES[wait["cause"]] == "failed":
            held_up[wait["request"]] = sum(size for _, size in finish[wait["request"]])
    down = took["failed"] + took["starting"]
    fleet = len(machines) * makespan
    return {
        "machines": len(machines),
        "failures": failures,
        "down_s": down / 1e9,
        "availability": 1 - down / fleet,
        "mttr_s": down / failures / 1e9 if failures else None,
        "mtbf_s": (fleet - down) / failures / 1e9 if failures else None,
        "restarted_requests": hit,
        "held_up_requests": sum(held_up.values()),
        "recovering_s": sum(recovering) / len(recovering) / 1e9 if recovering else None,
        "lost_s": took["lost"] / 1e9,
        "lost_share": took["lost"] / busy,
        "lost_passes": lost_passes,
        "down_usd": paid["failed"] + paid["starting"] if down or took["lost"] else None,
        "lost_usd": paid["lost"] if took["lost"] else None,
        "replica_bytes": moved["replica"],
        "restored_bytes": moved["restore"],
    }


@given(st.lists(deployments.failing(), min_size=MANY, max_size=MANY))
@settings(max_examples=2, deadline=None)
def test_reliability_is_what_spans_and_waits_add_up_to(scenarios: list[Scenario]) -> None:
    played = [play(scenario, "full") for scenario in scenarios]
    with opened(played) as runs:
        found = runs.frame("FROM reliability ORDER BY run").to_dicts()
    for row, (_, chunks) in zip(found, played, strict=True):
        expected = counted(rows_of(chunks))
        assert {key: row[key] for key in expected} == {
            key: pytest.approx(value) if isinstance(value, float) else value
            for key, value in expected.items()
        }
