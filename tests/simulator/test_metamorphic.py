"""How runs must change, or must not, when what is played is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import deployments
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from played import Played, gathered, name_of, play

from toolkit.costs.links import transfer_s
from toolkit.scenario.model import (
    Arrivals,
    Deployment,
    FixedTiming,
    Hardware,
    Lengths,
    Link,
    Model,
    Scenario,
    TableTiming,
    Timing,
    Workload,
)
from toolkit.simulator import simulate
from toolkit.units import NS_PER_S
from toolkit.workload import build

some = settings(max_examples=60, deadline=None)

REQUEST_TIMES = (
    "arrival_ns",
    "start_ns",
    "prefill_end_ns",
    "kv_ready_ns",
    "first_token_ns",
    "decode_start_ns",
    "finish_ns",
)


# -- scaling -------------------------------------------------------------------------------------


def slower(scenario: Scenario, times: int) -> Scenario:
    """Return the scenario with every time `times` as long; arrivals have to be stated."""

    def scaled(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, tuple):
            return tuple(scaled(each) for each in value)
        return round(value * NS_PER_S) * times / NS_PER_S

    timing: Timing = scenario.timing
    if isinstance(timing, FixedTiming):
        timing = FixedTiming(
            scaled(timing.prompt_s), scaled(timing.token_s), scaled(timing.cache_s)
        )
    link, deployment = scenario.hardware.link, scenario.deployment
    if link is not None:
        link = Link(link.name, link.bytes_per_s / times, scaled(link.latency_s))
    arrivals = scenario.workload.arrivals
    return replace(
        scenario,
        timing=timing,
        hardware=replace(scenario.hardware, link=link),
        deployment=replace(
            deployment,
            max_wait_s=scaled(deployment.max_wait_s),
            transfer_time_s=scaled(deployment.transfer_time_s),
        ),
        workload=replace(
            scenario.workload, arrivals=replace(arrivals, times_s=scaled(arrivals.times_s))
        ),
    )


LAYERS = 2520
"""A number of nanoseconds that any number of layers up to ten divides."""


def divisible(seconds: Any) -> Any:
    """Return a multiple of a time that every number of layers divides into whole nanoseconds."""
    return None if seconds is None else round(seconds * NS_PER_S) * LAYERS / NS_PER_S


def finer(timing: Timing) -> Timing:
    """Return times whose parts by layers are whole nanoseconds, also at 1.25 times the time."""
    assume(isinstance(timing, FixedTiming))
    assert isinstance(timing, FixedTiming)
    return replace(timing, prompt_s=divisible(4 * timing.prompt_s))


@given(deployments.scenarios(), st.sampled_from([2, 3, 1000]))
@some
def test_scaling_every_time_scales_the_timeline(scenario: Scenario, times: int) -> None:
    """Exactly, where no duration has to be rounded: whole nanoseconds that layers divide."""
    deployment, timing = scenario.deployment, scenario.timing
    assume(scenario.workload.arrivals.kind in ("at_zero", "times"))
    exact = replace(
        scenario,
        timing=finer(timing),
        deployment=replace(deployment, transfer_time_s=divisible(deployment.transfer_time_s)),
        hardware=replace(scenario.hardware, link=Link("wire", NS_PER_S / LAYERS)),
    )

    one, more = play(exact), play(slower(exact, times))

    spans = ("ts_ns", "dur_ns", "track", "name", "request", "token", "step", "bytes")
    assert more.rows("spans", *spans) == [
        (ts * times, dur * times, *rest) for ts, dur, *rest in one.rows("spans", *spans)
    ]
    for time in ("from_ns", "until_ns", "wait_ns"):
        assert np.array_equal(more["waits"][time], one["waits"][time] * times)


# -- what nobody uses ----------------------------------------------------------------------------


@given(deployments.event())
@some
def test_a_link_nobody_uses_changes_nothing(scenario: Scenario) -> None:
    """No activations, and transfers that take a stated time."""
    deployment = replace(scenario.deployment, activations=False)
    if deployment.kind == "disaggregated":
        deployment = replace(deployment, transfer_time_s=deployment.transfer_time_s or 0.002)
    link = scenario.hardware.link
    assert link is not None
    slow = Link("string", link.bytes_per_s / 1000, 1.0)

    one, other = (
        play(
            replace(scenario, deployment=deployment, hardware=replace(scenario.hardware, link=each))
        )
        for each in (link, slow)
    )

    assert_same(one, other)


def assert_same(one: Played, other: Played) -> None:
    """Assert that all tables are equal."""
    for table, columns in one.tables.items():
        for column, values in columns.items():
            same = np.array_equal(values, other[table][column], equal_nan=values.dtype.kind == "f")
            assert same, (table, column)


@given(deployments.event())
@some
def test_a_prompt_slowed_by_nothing_is_not_slowed(scenario: Scenario) -> None:
    """A stream slowdown of 1, or any where nothing is streamed."""
    plain = replace(scenario, deployment=replace(scenario.deployment, stream_slowdown=1.0))
    deployment = replace(plain.deployment, stream_slowdown=1.5)
    streamed = deployment.kind == "disaggregated" and deployment.transfer == "layerwise"
    deployment = replace(deployment, transfer="whole") if streamed else deployment

    stretched = play(replace(plain, deployment=deployment))
    unstretched = play(replace(plain, deployment=replace(deployment, stream_slowdown=1.0)))

    assert_same(stretched, unstretched)


@given(deployments.event(), st.randoms(use_true_random=False))
@some
def test_requests_that_are_alike_can_change_places(scenario: Scenario, random: Any) -> None:
    """Where a request stands in the list is of no account, only when it arrives."""
    scenario = replace(scenario, deployment=replace(scenario.deployment, memory_fit="off"))
    requests = build(scenario)
    alike = replace(
        requests,
        prompt_tokens=np.full_like(requests.prompt_tokens, 5),
        output_tokens=np.full_like(requests.output_tokens, 4),
    )
    order = list(range(len(requests)))
    random.shuffle(order)
    moved = replace(alike, arrival_ns=alike.arrival_ns[order], arrival_us=alike.arrival_us[order])

    one, other = gathered(simulate(scenario, alike)), gathered(simulate(scenario, moved))

    columns = (*REQUEST_TIMES, "replica")
    assert sorted(one.rows("requests", *columns)) == sorted(other.rows("requests", *columns))


# -- laws ----------------------------------------------------------------------------------------


@given(deployments.scenarios())
@some
def test_time_in_system_is_the_area_under_the_count(scenario: Scenario) -> None:
    """Little's law holds exactly when a run starts and ends empty."""
    run = play(scenario)
    changes = [
        change
        for arrival, finish in run.rows("requests", "arrival_ns", "finish_ns")
        for change in ((arrival, 1), (finish, -1))
    ]
    area = present = last_ns = 0
    for at_ns, change in sorted(changes):
        area += present * (at_ns - last_ns)
        present, last_ns = present + change, at_ns

    assert area == run.e2e.sum()


@given(deployments.event())
@some
def test_every_token_is_made_once(scenario: Scenario) -> None:
    """Each microbatch passes every stage once for its prompt and once for each further token."""
    run = play(scenario)
    longest = np.zeros(run.count("requests"), np.int64)
    np.maximum.at(longest, run["requests"]["lead"], run["requests"]["output_tokens"])
    leads = np.unique(run["requests"]["lead"])
    passes = run.named("spans", "decode") & run.of("stage")
    prompts = run.named("spans", "prefill") & run.of("stage")
    assert passes.sum() == scenario.token_stages * (longest[leads] - 1).sum()
    assert prompts.sum() == scenario.prompt_stages * len(leads)


# -- one request, by hand ------------------------------------------------------------------------

PROMPT_NS, TOKEN_NS = 7_000_000, 2_000_000
MODEL = Model("tiny", layers=12, hidden=100, heads=1, kv_heads=1, head_dim=1, vocab=1, parameters=1)
WIRE = Link("wire", bytes_per_s=1e6)
TOKENS = (10, 6)


def lone(**deployment: Any) -> Scenario:
    """Return a deployment that serves one request of 10 prompt tokens and 6 answered."""
    split = deployment.get("kind") == "disaggregated"
    machines = (
        deployment["prompt_machines"] + deployment["token_machines"]
        if split
        else deployment.pop("machines")
    )
    return deployments.scenario(
        "event",
        MODEL,
        Hardware(machines, link=WIRE),
        Deployment(**{"memory_fit": "off", "activations": False, **deployment}),
        Workload(1, "microbatch", Arrivals("at_zero"), Lengths("pairs", pairs=(TOKENS,))),
        TableTiming(  # times of the whole model, so that caches go by bytes
            "t",
            (1,),
            (PROMPT_NS * (deployment.get("prompt_machines") or machines) / NS_PER_S,),
            (TOKEN_NS * (deployment.get("token_machines") or machines) / NS_PER_S,),
        ),
    )


def finish(scenario: Scenario) -> int:
    return int(play(scenario)["requests"]["finish_ns"][0])


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_a_lone_request_passes_each_stage_once_a_token(stages: int) -> None:
    passes = stages * (PROMPT_NS + 5 * TOKEN_NS)
    assert finish(lone(kind="pipeline", machines=stages)) == passes


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_activations_take_a_hop_between_stages(stages: int) -> None:
    """Tokens x hidden x 2 bytes, a byte a microsecond: 2000 for the prompt, 200 for a token."""
    hops = (stages - 1) * (2_000_000 + 5 * 200_000)
    passes = stages * (PROMPT_NS + 5 * TOKEN_NS)
    assert finish(lone(kind="pipeline", machines=stages, activations=True)) == passes + hops


def test_replicas_do_not_quicken_a_lone_request() -> None:
    alone = lone(kind="pipeline", machines=2)
    assert finish(replicated(alone, 3)) == finish(alone)


def replicated(scenario: Scenario, times: int) -> Scenario:
    machines = scenario.hardware.machines * times
    return replace(
        scenario,
        hardware=replace(scenario.hardware, machines=machines),
        deployment=replace(scenario.deployment, data_parallel=times),
    )


@pytest.mark.parametrize("machines", [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_a_cache_sent_whole_follows_its_prompt_stage(machines: tuple[int, int]) -> None:
    """The last stage's share is the last to leave, and takes its bytes over the link."""
    prompt, token = machines
    cache = MODEL.kv_bytes_per_token * TOKENS[0]
    last_share = cache / prompt
    scenario = lone(
        kind="disaggregated", prompt_machines=prompt, token_machines=token, transfer="whole"
    )
    expected = prompt * PROMPT_NS + transfer_s(WIRE, last_share) * NS_PER_S + token * 5 * TOKEN_NS
    assert finish(scenario) == round(expected)


def test_a_cache_streamed_in_time_adds_only_its_last_layer() -> None:
    """A layer's cache takes 40 us, its prompt 583: only the last is still to go at the end."""
    layer = MODEL.kv_bytes_per_token * TOKENS[0] / MODEL.layers
    scenario = lone(kind="disaggregated", prompt_machines=1, token_machines=1, transfer="layerwise")
    expected = PROMPT_NS + transfer_s(WIRE, layer) * NS_PER_S + 5 * TOKEN_NS
    assert finish(scenario) == round(expected)


@given(
    layers=st.integers(1, 12),
    prompt_ns=st.integers(100, 10_000_000),
    bytes_per_s=st.sampled_from([1e5, 3e5, 1e6, 1e7]),
    tokens=st.integers(1, 100),
)
@some
def test_streaming_in_closed_form_is_layer_after_layer(
    layers: int, prompt_ns: int, bytes_per_s: float, tokens: int
) -> None:
    """A layer leaves when it is done and the one before has left; 2 ns for what is rounded."""
    link = Link("wire", bytes_per_s)
    scenario = lone(kind="disaggregated", prompt_machines=1, token_machines=1)
    scenario = replace(
        scenario,
        model=replace(MODEL, layers=layers),
        hardware=replace(scenario.hardware, link=link),
        timing=TableTiming("t", (1,), (prompt_ns / NS_PER_S,), (0.001,)),
        workload=replace(scenario.workload, lengths=Lengths("pairs", pairs=((tokens, 2),))),
    )
    each_ns = transfer_s(link, 4 * tokens) * NS_PER_S  # one layer's cache: 4 bytes a token
    sent = 0.0
    for layer in range(1, layers + 1):
        sent = max(sent, prompt_ns * layer / layers) + each_ns

    landed = int(play(scenario)["requests"]["kv_ready_ns"][0])

    assert abs(landed - sent) <= 2


def test_a_lone_request_pays_the_published_cache_time_at_every_prompt_stage() -> None:
    scenario = deployments.scenario(
        "dejavu",
        None,
        Hardware(4),
        Deployment(
            "disaggregated",
            prompt_machines=3,
            token_machines=1,
            activations=False,
            memory_fit="off",
        ),
        Workload(1, "microbatch", Arrivals("at_zero"), Lengths("pairs", pairs=((1, 4),))),
        FixedTiming(0.010, 0.001, 0.005),
    )
    assert finish(scenario) == (3 * (10 + 5) + 4) * 1_000_000


@given(st.lists(st.tuples(st.just(4), st.integers(2, 8)), min_size=1, max_size=6))
@some
def test_on_one_machine_the_disciplines_differ_by_the_first_token(
    lengths: list[tuple[int, int]],
) -> None:
    """One at a time: `dejavu` makes a token pass for each token, `event` one less."""
    event, dejavu = (
        play(
            deployments.one_machine(prompt_ms=5, token_ms=2, lengths=lengths, discipline=discipline)
        )
        for discipline in ("event", "dejavu")
    )
    served = np.arange(1, len(lengths) + 1)
    one_more = 2_000_000 * served
    assert np.array_equal(
        dejavu["requests"]["finish_ns"] - event["requests"]["finish_ns"], one_more
    )
    assert np.array_equal(
        dejavu["requests"]["first_token_ns"] - event["requests"]["first_token_ns"], one_more
    )


def test_prompts_that_pile_up_wait_behind_prompts() -> None:
    """More than are told apart: the earliest that is stands for those before it."""
    scenario = deployments.scenario(
        "event",
        MODEL,
        Hardware(3, link=WIRE),
        Deployment(
            "disaggregated",
            prompt_machines=2,
            token_machines=1,
            activations=False,
            memory_fit="off",
            transfer_time_s=0.0001,
        ),
        Workload(
            120,
            "microbatch",
            Arrivals("at_zero"),
            Lengths("pairs", pairs=((1000, 2), *((1, 2),) * 119)),
        ),
        TableTiming("t", (1,), (0.1,), (0.0001,), prompt_tokens=10, scaling="linear_in_tokens"),
    )
    run = play(scenario)
    spans, waits = run["spans"], run["waits"]
    prompts = (spans["track"] == 1) & run.named("spans", "prefill")
    assert np.all(np.diff(spans["ts_ns"][prompts]) > 0)
    causes = {name_of(cause) for cause in waits["cause"][waits["on_track"] == 1].tolist()}
    assert causes == {"behind_prompt"}
    work = run.of("stage")
    spent = np.bincount(waits["request"], waits["wait_ns"], 120)
    spent += np.bincount(spans["request"][work], spans["dur_ns"][work], 120)
    assert np.array_equal(spent, run.e2e)
