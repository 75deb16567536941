"""Runs of engines keep every invariant, and the views' own work of a request is the real one."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import engines
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import Row, tamper
from step_engine import Answer, Replica
from step_engine import play as told

import toolkit
from toolkit import analytics
from toolkit.analytics.memory import InMemory
from toolkit.scenario.model import Scenario
from toolkit.trace import store
from toolkit.workload import Requests, build

Deployed = tuple[Scenario, Requests]

SCENARIO: dict[str, Any] = {
    "schema_version": 1,
    "model": {"use": "Llama-3.1-8B"},
    "hardware": {"machine": "coreweave-1xH100-80GB", "machines": 2, "link": "ethernet-10g"},
    "timing": {"kind": "roofline"},
    "workload": {
        "entries": 60,
        "arrivals": {"kind": "poisson", "rate_per_s": 40.0},
        "lengths": {
            "kind": "catalog",
            "name": "azure-2023-conversation",
            "max_prompt_tokens": 1500,
            "max_output_tokens": 60,
        },
        "prefix": [
            {"name": "common", "tokens": 100, "share": 0.6},
            {"name": "long", "tokens": 700, "share": 0.3},
        ],
    },
}

ENGINES: dict[str, dict[str, Any]] = {
    "plain": {},
    "short-of-memory": {"kv_blocks": 110, "max_num_seqs": 16},
    "prefill-first": {"step_order": "prefill_first", "kv_blocks": 150, "max_num_seqs": 8},
    "refusing": {"max_waiting": 2, "max_num_seqs": 4, "router": "power_of_two"},
    "cached": {
        **{"prefix_caching": True, "router": "prefix_affinity", "affinity_imbalance": 4},
        **{"kv_blocks": 110, "max_num_seqs": 16},
    },
    "swapping": {
        **{"preemption": "swap", "host_memory_gb": 0.2, "host_link_latency_us": 10.0},
        **{"kv_blocks": 110, "max_num_seqs": 16, "prefix_caching": True},
    },
    "shared": {"router": "shared_queue", "max_num_seqs": 4, "queue_order": "shortest_first"},
    "pools": {"kv_blocks": 300, "token": {"kv_blocks": 120, "max_num_seqs": 8}},
}


def deployed(engine: str, level: str = "full") -> Scenario:
    kind: dict[str, Any] = {"kind": "pipeline", "data_parallel": 2}
    if engine == "pools":
        kind = {"kind": "disaggregated", "prompt_machines": 1, "token_machines": 1}
    deployment = {**kind, "batching": "continuous"}
    rules = {"deployment": deployment | ENGINES[engine], "trace": {"level": level}}
    return toolkit.load(SCENARIO | rules)


@cache
def oracle(engine: str) -> tuple[list[Answer], list[Replica]]:
    """Return what the obvious engine says of a deployment, told once."""
    simulated = deployed(engine)
    return told(simulated, build(simulated))


def written(engine: str, level: str, folder: Path) -> Path:
    simulated = deployed(engine, level)
    manifest = {
        "name": engine,
        "discipline": "event",
        "level": level,
        "scenario": simulated.document,
        "facts": {"link_model": "none"},
    }
    return store.write(folder / engine, toolkit.simulate(simulated), manifest)


def test_a_run_of_engines_breaks_no_invariant(tmp_path: Path) -> None:
    """Every engine at every level, side by side: a row that breaks one says whose it is."""
    folders = [
        written(engine, level, tmp_path / level)
        for level in ("full", "steps", "requests")
        for engine in ENGINES
    ]
    with analytics.open(folders) as runs:
        assert len(runs.names) == 3 * len(ENGINES)
        assert runs.check() == []
        assert runs.frame("FROM request_time WHERE part = 'unsplit'").height == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_requests_work_is_the_steps_it_was_in(engine: str, tmp_path: Path) -> None:
    _, replicas = oracle(engine)
    work: dict[int, int] = defaultdict(int)
    for replica in replicas:
        for span in replica.spans:
            for number in span.requests:
                work[number] += span.end - span.start
    run = analytics.open(written(engine, "full", tmp_path))
    found = run.frame("SELECT request, work_ns FROM engine_request_work")
    assert dict(found.iter_rows()) == dict(work)
    split = run.frame("SELECT request, dur_ns FROM request_time WHERE part = 'work'")
    assert dict(split.iter_rows()) == dict(work)


@pytest.mark.parametrize("level", ["full", "steps"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_requests_gaps_are_those_between_its_tokens(
    engine: str, level: str, tmp_path: Path
) -> None:
    """Also where it was preempted and computed anew, in one step or in chunks."""
    answers, _ = oracle(engine)
    expected = {
        (number, token): (since, until)
        for number, answer in enumerate(answers)
        for token, (since, until) in enumerate(pairwise(answer.tokens), 1)
    }
    run = analytics.open(written(engine, level, tmp_path))
    found = run.frame("SELECT request, token, from_ns, until_ns FROM itl")
    assert {row[:2]: row[2:] for row in found.iter_rows()} == expected


@given(st.lists(engines.either(), min_size=12, max_size=12))
@settings(max_examples=6, deadline=None)
def test_gaps_between_tokens_are_the_oracles_on_random_engines(drawn: list[Deployed]) -> None:
    expected = {
        (run, number, token): (since, until)
        for run, (scenario, requests) in enumerate(drawn)
        for number, answer in enumerate(told(scenario, requests)[0])
        for token, (since, until) in enumerate(pairwise(answer.tokens), 1)
    }
    manifest = {
        "discipline": "event",
        "level": "full",
        "scenario": {"deployment": {"batching": "continuous"}},
    }
    with InMemory([(manifest, toolkit.simulate(*each)) for each in drawn]) as runs:
        found = runs.frame("SELECT run, request, token, from_ns, until_ns FROM itl")
        assert runs.frame("FROM itl_adds_up").height == 0
    assert {row[:3]: row[3:] for row in found.iter_rows()} == expected


def test_a_tenants_priority_is_who_goes_first(tmp_path: Path) -> None:
    """All at once, two classes of one length: every urgent one starts before any other."""
    lengths = {"kind": "fixed", "prompt_tokens": 300, "output_tokens": 20}
    tenants = [
        {"name": "patient", "share": 1, "priority": 7},
        {"name": "urgent", "share": 1, "priority": 1},
    ]
    parts = {
        "hardware": {"machine": "coreweave-1xH100-80GB", "machines": 1},
        "deployment": {
            "kind": "pipeline",
            "batching": "continuous",
            "queue_order": "priority",
            "max_num_seqs": 2,
        },
        "workload": {"entries": 30, "lengths": lengths, "tenant": tenants},
    }
    scenario = toolkit.load(SCENARIO | parts)
    requests = build(scenario)
    run = toolkit.run(scenario, tmp_path, report=False)
    assert isinstance(run, analytics.Run)
    assert run.check() == []
    started = run.frame("SELECT start_ns FROM requests ORDER BY request")["start_ns"].to_numpy()
    assert requests.priority is not None
    assert started[requests.priority == 1].max() <= started[requests.priority == 7].min()


def test_a_recorded_workload_plays_on_engines(tmp_path: Path) -> None:
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    rows += [f"2023-11-16 18:15:{46 + at}.5000000,{300 + at},{20 + at}" for at in range(10)]
    (tmp_path / "recorded.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    parts = {
        "deployment": {"kind": "pipeline", "batching": "continuous", "data_parallel": 2},
        "workload": {"requests": {"kind": "azure", "file": str(tmp_path / "recorded.csv")}},
    }
    run = toolkit.run(toolkit.load(SCENARIO | parts), tmp_path, report=False)
    assert isinstance(run, analytics.Run)
    assert run.check() == []
    found = run.frame("SELECT arrival_ns, prompt_tokens, output_tokens FROM requests ORDER BY ALL")
    assert found.rows() == [(at * 10**9, 300 + at, 20 + at) for at in range(10)]


def test_the_scenarios_show_what_they_are_there_for(tmp_path: Path) -> None:
    """Memory that binds preempts, a limit refuses, prompts that come first keep decodes waiting."""
    causes = {
        engine: set(
            analytics.open(written(engine, "full", tmp_path))
            .frame("SELECT DISTINCT cause FROM waits")["cause"]
            .to_list()
        )
        for engine in ENGINES
    }
    assert "preempted" in causes["short-of-memory"]
    assert "kv_room" in causes["short-of-memory"]
    assert "swapped" in causes["swapping"]
    assert "behind_prompt" in causes["prefill-first"]
    refused = analytics.open(tmp_path / "refusing").frame("FROM requests WHERE outcome = 'refused'")
    assert 0 < refused.height < 60
    assert refused["finish_ns"].null_count() == refused.height


def test_a_wait_that_is_no_whole_step_is_found(tmp_path: Path) -> None:
    folder = written("prefill-first", "full", tmp_path)

    def wait_a_little_less(rows: list[Row]) -> None:
        wait = next(row for row in rows if row["on_track"] is not None)
        wait["until_ns"] -= 1
        wait["wait_ns"] -= 1

    tamper(folder, "waits", wait_a_little_less)
    run = analytics.open(folder)
    assert run.frame("FROM engine_waits_are_steps").height == 1
    assert [each.name for each in run.check()] == ["engine_waits_are_steps", "itl_adds_up"]


def test_one_seed_gives_one_store_byte_for_byte(tmp_path: Path) -> None:
    one, two = (written("short-of-memory", "full", tmp_path / name) for name in ("one", "two"))
    files = sorted(file.name for file in one.iterdir())
    assert files == sorted(file.name for file in two.iterdir())
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)


@pytest.mark.parametrize("level", ["full", "requests"])
def test_prefix_hits_are_those_of_the_obvious_cache(level: str, tmp_path: Path) -> None:
    requests = build(deployed("cached", level))
    answers, replicas = oracle("cached")
    run = analytics.open(written("cached", level, tmp_path))
    found = run.frame("FROM prefix_cache").to_dicts()[0]
    cached = sum(answer.cached or 0 for answer in answers)
    assert found["cached_tokens"] == cached > 0
    assert found["requests_hit"] == sum(bool(answer.cached) for answer in answers)
    assert found["computed_tokens"] == requests.prompt_tokens.sum() - cached
    assert found["hit_rate"] == pytest.approx(cached / requests.prompt_tokens.sum())
    windows = run.frame("FROM prefix_cache_windows")
    assert windows["cached_tokens"].sum() == cached
    assert windows["prompt_tokens"].sum() == requests.prompt_tokens.sum()
    if level == "full":
        most = max(max(replica.cached_at.values()) for replica in replicas)
        assert max(windows["cached_blocks"].to_list()) >= most
    else:
        assert windows["cached_blocks"].null_count() == windows.height
    plain = analytics.open(written("plain", level, tmp_path))
    assert plain.frame("FROM prefix_cache").height == 0
    assert plain.frame("FROM prefix_cache_windows").height == 0


@pytest.mark.parametrize("name", ["llama8b-h100", "mixtral-h100", "sessions", "shared-prefix"])
def test_shipped_scenarios_run_and_keep_their_invariants(
    name: str, root: Path, tmp_path: Path
) -> None:
    file = root / "scenarios" / f"{name}.toml"
    scenario = toolkit.load(file, sets=["workload.entries=80"])
    runs = toolkit.run(scenario, tmp_path, report=False)
    assert isinstance(runs, dict)
    variants = 4 if name == "shared-prefix" else 3
    assert len(runs) == variants
    with analytics.open([run.path for run in runs.values()]) as together:
        assert together.check() == []
        assert together.frame("FROM run_summary")["requests"].to_list() == [80] * variants
