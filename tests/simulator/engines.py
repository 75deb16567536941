"""Small random deployments of engines with continuous batching, for properties.

Batches, budgets and KV memory are small beside the requests, so that every
limit binds; times are few and round, so that ties are common.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from toolkit.recordings.recording import Ragged
from toolkit.scenario.kv_room import blocks_of
from toolkit.scenario.model import (
    Arrivals,
    Deployment,
    Engine,
    FixedTiming,
    Hardware,
    Lengths,
    Link,
    Model,
    Prefix,
    RooflineTiming,
    Scenario,
    Sessions,
    Timing,
    TokenPool,
    Trace,
    Workload,
)
from toolkit.workload import Requests, build

__all__ = [
    "colocated",
    "deployed",
    "either",
    "engines",
    "model",
    "scenarios",
    "single",
    "split",
    "workloads",
]

MOST_ENTRIES = 14
MOST_PROMPT, MOST_OUTPUT = 24, 12
ROUTERS = (
    *("round_robin", "shared_queue", "least_loaded", "shortest_queue", "power_of_two"),
    "prefix_affinity",
)


def model() -> Model:
    """A model whose weights, KV cache and arithmetic all show in a step of a few microseconds."""
    return Model(
        *("tiny", 2, 8, 2, 1, 4, 16),
        parameters=3_000,
        active_parameters=2_000,
        experts=4,
        experts_active=2,
    )


ROOFLINE = RooflineTiming(
    flops_per_s=1e9,
    bytes_per_s=2e9,
    arithmetic_efficiency=0.5,
    memory_efficiency=0.75,
    link_bytes_per_s=1e9,
    link_latency_s=1e-7,
    step_overhead_s=1e-6,
)


def timings() -> st.SearchStrategy[Timing]:
    """Constants of which some coincide with gaps between arrivals, and a roofline."""
    fixed = st.builds(
        FixedTiming, prompt_s=st.sampled_from([1e-6, 3e-6]), token_s=st.sampled_from([1e-6, 7e-7])
    )
    return st.one_of(fixed, st.just(ROOFLINE))


@st.composite
def engines(draw: st.DrawFn) -> Engine:
    """Rules of an engine whose memory holds the longest request, and little more."""
    seats = draw(st.integers(1, 6))
    chunked = draw(st.booleans())
    least = seats if chunked else max(seats, MOST_PROMPT + MOST_OUTPUT)
    block = draw(st.sampled_from([1, 2, 5, 16]))
    longest = blocks_of(MOST_PROMPT + MOST_OUTPUT - 1, block)
    return Engine(
        max_num_seqs=seats,
        max_num_batched_tokens=least + draw(st.integers(0, 20)),
        chunked_prefill=chunked,
        step_order=draw(st.sampled_from(["decode_first", "prefill_first"])),
        queue_order=draw(st.sampled_from(["fcfs", "priority", "shortest_first"])),
        max_waiting=draw(st.one_of(st.none(), st.integers(1, 3))),
        kv_block_tokens=block,
        kv_blocks=draw(st.one_of(st.none(), st.integers(longest, 2 * longest))),
        prefix_caching=draw(st.sampled_from([False, True, True])),
        affinity_imbalance=draw(st.integers(0, 2)),
        preemption=draw(st.sampled_from(["recompute", "swap"])),
        host_memory_bytes=draw(st.sampled_from([500.0, 5000.0])),
        host_link_bytes_per_s=1e9,
        host_link_latency_s=draw(st.sampled_from([0.0, 1e-6])),
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """A few requests: all at once, or after gaps of which many are as long as a step."""
    count = draw(st.integers(1, MOST_ENTRIES))
    lengths = st.tuples(st.integers(1, MOST_PROMPT), st.integers(1, MOST_OUTPUT))
    pairs = draw(st.lists(lengths, min_size=count, max_size=count))
    gaps = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    times = tuple(float(time) * 1e-6 for time in np.cumsum(gaps))
    return Workload(
        entries=count,
        entry="request",
        arrivals=Arrivals("times", times_s=times),
        lengths=Lengths("pairs", pairs=tuple(pairs)),
        seed=draw(st.integers(0, 3)),
    )


@st.composite
def alike(draw: st.DrawFn, scenario: Scenario, requests: Requests) -> tuple[Scenario, Requests]:
    """Give requests text in common: declared prefixes, conversations, recorded blocks, or none."""
    workload, count = scenario.workload, len(requests)
    kind = draw(st.sampled_from(["prefixes", "sessions", "blocks"]))
    if kind == "blocks":
        block = draw(st.sampled_from([2, 3, 8]))
        ids = st.lists(st.integers(0, 1), min_size=1, max_size=MOST_PROMPT // block)
        lists = draw(st.lists(ids, min_size=count, max_size=count))
        return scenario, replace(requests, hash_ids=Ragged.of(lists), block_tokens=block)
    prefixes = (Prefix("short", 6), Prefix("long", 17))
    which = draw(st.lists(st.sampled_from([0, 1, 1, -1]), min_size=count, max_size=count))
    changed = replace(requests, prefix=np.array(which, np.int32))
    workload = replace(workload, prefixes=prefixes)
    if kind == "sessions":
        session = np.array(draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count)))
        prompt = requests.prompt_tokens.copy()
        for each in range(4):
            rows = np.flatnonzero(session == each)
            for before, after in pairwise(rows.tolist()):
                longer = prompt[before] + requests.output_tokens[before] + prompt[after] // 8
                prompt[after] = min(longer, MOST_PROMPT)
        turn = np.array([int((session[:at] == session[at]).sum()) for at in range(count)], np.int32)
        changed = replace(
            changed, session=session.astype(np.int32), turn=turn, prompt_tokens=prompt
        )
        workload = replace(workload, sessions=Sessions(turns=2, fixed=True))
    return replace(scenario, workload=workload), changed


@st.composite
def deployed(draw: st.DrawFn) -> tuple[Scenario, Requests]:
    """A scenario of engines, and its requests with priorities of their own."""
    replicas = draw(st.integers(1, 3))
    scenario = Scenario(
        name="engines",
        title="engines",
        question="",
        discipline="event",
        model=model(),
        hardware=Hardware(
            machines=replicas,
            devices_per_machine=draw(st.sampled_from([1, 4])),
            price_usd_per_hour=1.0,
        ),
        deployment=Deployment(
            kind="pipeline",
            batching="continuous",
            data_parallel=replicas,
            router=draw(st.sampled_from(ROUTERS)),
            activations=False,
            memory_fit="off",
            engine=draw(engines()),
        ),
        workload=draw(workloads()),
        timing=draw(timings()),
        trace=Trace(level="full", renderings=()),
    )
    requests = build(scenario)
    priority = draw(st.lists(st.integers(0, 2), min_size=len(requests), max_size=len(requests)))
    return draw(alike(scenario, replace(requests, priority=np.array(priority, np.int32))))


@st.composite
def split(draw: st.DrawFn) -> tuple[Scenario, Requests]:
    """A scenario of prompt and token engines, which differ in rules, and its requests."""
    scenario, requests = draw(deployed())
    prompts, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rules, deployment = scenario.deployment.engine, scenario.deployment
    assert rules is not None
    others = draw(engines())
    rules = replace(rules, preemption="recompute")
    others = replace(
        others,
        preemption="recompute",
        kv_block_tokens=rules.kv_block_tokens,
        queue_order=rules.queue_order,
        max_waiting=None,
    )
    least = blocks_of(MOST_PROMPT + MOST_OUTPUT - 1, rules.kv_block_tokens)
    if others.kv_blocks is not None:
        others = replace(others, kv_blocks=draw(st.integers(least, 2 * least)))
    stated = draw(st.sampled_from([None, 0.0, 2e-6, 1e-5]))
    rate = draw(st.sampled_from([1e6, 2e7, 1e9]))
    hardware = replace(
        scenario.hardware,
        machines=prompts + tokens,
        link=Link("tiny", rate, draw(st.sampled_from([0.0, 1e-6])), lanes=draw(st.integers(1, 2))),
        links=draw(st.sampled_from(["per_nic", "shared"])),
    )
    token = replace(hardware, machines=tokens, price_usd_per_hour=2.0)
    routers = ("round_robin", "least_loaded", "shortest_queue", "power_of_two")
    return replace(
        scenario,
        hardware=hardware,
        deployment=replace(
            deployment,
            engine=rules,
            kind="disaggregated",
            data_parallel=1,
            prompt_machines=prompts,
            token_machines=tokens,
            transfer=draw(st.sampled_from(["whole", "layerwise"])),
            transfer_time_s=stated,
        ),
        token_pool=TokenPool(token, draw(timings()), others, draw(st.sampled_from(routers))),
    ), requests


def either() -> st.SearchStrategy[tuple[Scenario, Requests]]:
    """Engines that take prompts and tokens, or pools of them that hand requests over."""
    return st.one_of(deployed(), split())


def colocated() -> st.SearchStrategy[Scenario]:
    """Scenarios of engines that take prompts and tokens."""
    return deployed().map(lambda drawn: _without_sessions(drawn[0]))


def scenarios() -> st.SearchStrategy[Scenario]:
    """Scenarios of engines alone: requests are the workload's, all of one priority."""
    return either().map(lambda drawn: _without_sessions(drawn[0]))


def _without_sessions(scenario: Scenario) -> Scenario:
    return replace(scenario, workload=replace(scenario.workload, sessions=None))


def single(
    pairs: tuple[tuple[int, int], ...], times_s: tuple[float, ...] = (), **rules: Any
) -> Scenario:
    """Return one engine of such rules that serves pairs of lengths; every step takes 1 or 2 us."""
    arrivals = Arrivals("times", times_s=times_s) if times_s else Arrivals("at_zero")
    return Scenario(
        name="engine",
        title="engine",
        question="",
        discipline="event",
        model=None,
        hardware=Hardware(machines=1),
        deployment=Deployment(
            kind="pipeline",
            batching="continuous",
            activations=False,
            memory_fit="off",
            engine=Engine(**rules),
        ),
        workload=Workload(
            entries=len(pairs),
            entry="request",
            arrivals=arrivals,
            lengths=Lengths("pairs", pairs=pairs),
        ),
        timing=FixedTiming(prompt_s=1e-6, token_s=1e-6),
        trace=Trace(level="full", renderings=()),
    )
