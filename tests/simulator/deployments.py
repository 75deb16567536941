"""Small random deployments of both disciplines and every strategy, for properties.

Times are small multiples of one unit, so that ties are common; the unit is a
round number of nanoseconds or an odd one.  Shrinking leads to one machine, one
request and no frills.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from toolkit.scenario.model import (
    Arrivals,
    Deployment,
    Failure,
    Failures,
    FixedTiming,
    Hardware,
    Lengths,
    Link,
    Model,
    Scenario,
    TableTiming,
    Timing,
    Trace,
    Workload,
)
from toolkit.units import NS_PER_S

__all__ = ["dejavu", "disaggregated", "event", "pipelines", "scenarios"]

MOST_ENTRIES = 12
MOST_TOKENS = 8
BATCH_SIZES = (1, 2, 4)

UNITS_NS = st.sampled_from([1_000_000, 1_000, 12_345])


def counts(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def models() -> st.SearchStrategy[Model]:
    """Models of few layers whose KV cache takes 4 bytes per layer and token."""
    return st.builds(
        Model,
        name=st.just("tiny"),
        layers=counts(6, 9),
        hidden=counts(1, 3),
        heads=st.just(1),
        kv_heads=st.just(1),
        head_dim=st.just(1),
        vocab=st.just(1),
        parameters=counts(100, 1000),
    )


@st.composite
def links(draw: st.DrawFn, unit_ns: int) -> Link:
    """Links that move 1, 10 or 100 bytes in a unit of time."""
    per_unit = draw(st.sampled_from([100, 10, 1]))
    latency_ns = draw(st.sampled_from([0, 0, unit_ns]))
    return Link("wire", per_unit * NS_PER_S / unit_ns, latency_ns / NS_PER_S)


@st.composite
def timings(draw: st.DrawFn, unit_ns: int) -> Timing:
    """Fixed times, or a table that makes larger batches and longer prompts slower."""

    def times(least: int, most: int) -> float:
        return draw(counts(least, most)) * unit_ns / NS_PER_S

    if draw(st.booleans()):
        return FixedTiming(times(1, 6), times(1, 4))
    return TableTiming(
        "made up",
        BATCH_SIZES,
        tuple(times(6, 40) for _ in BATCH_SIZES),
        tuple(times(4, 16) for _ in BATCH_SIZES),
        prompt_tokens=4,
        scaling=draw(st.sampled_from(["none", "linear_in_tokens"])),
    )


@st.composite
def arrivals(draw: st.DrawFn, entries: int, unit_ns: int) -> Arrivals:
    """Every arrival process; stated times with gaps of a few units, often 0."""
    kind = draw(st.sampled_from(["at_zero", "times", "poisson", "groups"]))
    rate = draw(st.sampled_from([1.0, 0.1, 0.02])) * NS_PER_S / unit_ns
    if kind == "times":
        gaps = draw(st.lists(counts(0, 8), min_size=entries, max_size=entries))
        times, at = [], 0
        for gap in gaps:
            at += gap * unit_ns
            times.append(at / NS_PER_S)
        return Arrivals("times", times_s=tuple(times))
    if kind == "groups":
        return Arrivals("groups", rate, group_size=draw(st.none() | counts(1, 3)))
    return Arrivals(kind, rate if kind == "poisson" else 0.0)  # type: ignore[arg-type]


def lengths(entries: int, most_output: int) -> st.SearchStrategy[Lengths]:
    pair = st.tuples(counts(1, MOST_TOKENS), counts(1, most_output))
    pairs = st.lists(pair, min_size=entries, max_size=entries).map(tuple)
    return st.builds(Lengths, st.just("pairs"), pairs=pairs)


def scenario(
    discipline: Any,
    model: Model | None,
    hardware: Hardware,
    deployment: Deployment,
    workload: Workload,
    timing: Timing,
) -> Scenario:
    """Return a scenario at the full trace level."""
    return Scenario(
        name="drawn",
        title="",
        question="",
        discipline=discipline,
        model=model,
        hardware=hardware,
        deployment=deployment,
        workload=workload,
        timing=timing,
        trace=Trace("full", ()),
    )


@st.composite
def workloads(
    draw: st.DrawFn, unit_ns: int, *, entry: Any, least: int = 1, most_output: int = MOST_TOKENS
) -> Workload:
    entries = draw(counts(least, MOST_ENTRIES))
    return Workload(
        entries=entries,
        entry=entry,
        arrivals=draw(arrivals(entries, unit_ns)),
        lengths=draw(lengths(entries, most_output)),
        seed=draw(counts(0, 3)),
    )


@st.composite
def event(draw: st.DrawFn, kind: Any = None) -> Scenario:
    """Deployments under `event`: pipelines, replicas, prompt and token machines."""
    unit_ns = draw(UNITS_NS)
    kind = kind or draw(st.sampled_from(["pipeline", "disaggregated"]))
    entry = draw(st.sampled_from(["microbatch", "request"]))
    batch = draw(st.sampled_from(BATCH_SIZES))
    max_wait = st.none() | st.sampled_from([0, 1, 5]).map(lambda n: n * unit_ns / NS_PER_S)
    model = draw(models())
    activations = draw(st.booleans())
    common: dict[str, Any] = dict(
        kind=kind,
        microbatch_size=batch,
        microbatches_in_flight=draw(st.none() | counts(1, 4)),
        max_wait_s=draw(max_wait) if entry == "request" else None,
        activations=activations,
        memory_fit="off",
    )
    if kind == "pipeline":
        replicas, stages = draw(counts(1, 3)), draw(counts(1, 3))
        machines = replicas * stages
        router: Any = draw(st.sampled_from(["round_robin", "shared_queue"]))
        deployment = Deployment(**common, data_parallel=replicas, router=router)
    else:
        prompt, token = draw(counts(1, 3)), draw(counts(1, 3))
        machines = prompt + token
        stated = st.none() | counts(0, 9).map(lambda n: n * unit_ns / NS_PER_S)
        deployment = Deployment(
            **common,
            prompt_machines=prompt,
            token_machines=token,
            transfer=draw(st.sampled_from(["whole", "layerwise"])),
            transfer_time_s=draw(stated),
            stream_slowdown=draw(st.sampled_from([1.0, 1.25, 2.0])),
        )
    hardware = Hardware(
        machines=machines,
        price_usd_per_hour=1.0,
        link=draw(links(unit_ns)),
        links=draw(st.sampled_from(["per_nic", "shared"])),
    )
    made = scenario(
        "event",
        model,
        hardware,
        deployment,
        draw(workloads(unit_ns, entry=entry)),
        draw(timings(unit_ns)),
    )
    tight = draw(st.none() | st.sampled_from([3.0, 1.5, 1.0]))
    return made if tight is None else with_tight_memory(made, tight)


def with_tight_memory(made: Scenario, microbatches: float) -> Scenario:
    """Give each machine memory for so many of the largest microbatches, part of it as a buffer."""
    model, deployment = made.model, made.deployment
    assert model is not None
    pairs = made.workload.lengths.pairs
    tokens = max(prompt for prompt, _ in pairs) + max(output for _, output in pairs)
    cache = deployment.microbatch_size * tokens * model.kv_bytes_per_token
    most = max(-(-model.layers // stages) for stages in (made.prompt_stages, made.token_stages))
    share = most / model.layers
    memory = (model.weights_bytes + microbatches * cache) * share + 8
    return replace(
        made,
        hardware=replace(made.hardware, memory_bytes=memory),
        deployment=replace(deployment, memory_fit="exact", kv_buffer_bytes=cache / 2),
    )


@st.composite
def dejavu(draw: st.DrawFn) -> Scenario:
    """Deployments under `dejavu`, on the grid of exact float sums and off it.

    Some answer at length, so that there are long stretches of nothing but tokens.
    """
    unit_us = draw(st.sampled_from([1000.0, 7.5, 12.3]))
    kind = draw(st.sampled_from(["pipeline", "disaggregated"]))
    parts = 1 if kind == "disaggregated" else draw(counts(1, 3))
    stages, prompts = draw(counts(1, 3)), draw(counts(1, 3))
    machines = parts * stages if kind == "pipeline" else prompts + stages

    def times(least: int, most: int) -> float:
        return draw(counts(least, most)) * unit_us / 1e6

    prompt_s = times(0, 6)
    token_s = times(0 if prompt_s else 1, 4)

    return scenario(
        "dejavu",
        None,
        Hardware(machines=machines),
        Deployment(
            kind=kind,  # type: ignore[arg-type]
            data_parallel=parts,
            prompt_machines=prompts if kind == "disaggregated" else 0,
            token_machines=stages if kind == "disaggregated" else 0,
            activations=False,
            memory_fit="off",
        ),
        draw(
            workloads(
                round(unit_us * 1000),
                entry="microbatch",
                least=parts * stages,
                most_output=draw(st.sampled_from([MOST_TOKENS, 60])),
            )
        ),
        FixedTiming(prompt_s, token_s, times(0, 3) if kind == "disaggregated" else 0.0),
    )


def of_time_s(timing: Timing) -> float:
    """Return about as long as a prompt takes on a stage, s."""
    if isinstance(timing, FixedTiming):
        return timing.prompt_s
    assert isinstance(timing, TableTiming)
    return timing.prompt_s[0]


@st.composite
def failing(draw: st.DrawFn) -> Scenario:
    """Pipelines whose machines fail at stated times, in every phase of their work, or at random."""
    made = draw(event("pipeline"))
    unit_s = of_time_s(made.timing) / 6
    machines = made.hardware.machines

    def units(least: int, most: int) -> float:
        return draw(counts(least, most)) * unit_s

    listed = tuple(
        Failure(draw(counts(0, machines - 1)), units(0, 120), units(0, 6), units(1, 30))
        for _ in range(draw(counts(1, 4)))
    )
    failures = Failures(scheduled=tuple(sorted(listed, key=lambda each: each.at_s)))
    if draw(st.booleans()):
        up_s = 400 * MOST_TOKENS * unit_s
        failures = replace(
            failures, mtbf_s=up_s, detection_s=units(0, 6), restart_s=units(1, 30), seed=3
        )
    deep = machines > made.deployment.data_parallel
    kept: Any = draw(st.sampled_from(["none", "next_stage"])) if deep else "none"
    return replace(made, failures=failures, deployment=replace(made.deployment, replication=kept))


def pipelines() -> st.SearchStrategy[Scenario]:
    return event("pipeline")


def disaggregated() -> st.SearchStrategy[Scenario]:
    return event("disaggregated")


def scenarios() -> st.SearchStrategy[Scenario]:
    """Deployments of either discipline."""
    return event() | dejavu()


def one_machine(
    *,
    prompt_ms: float,
    token_ms: float,
    lengths: list[tuple[int, int]],
    discipline: str = "event",
    times_s: tuple[float, ...] = (),
) -> Scenario:
    """Return a single colocated machine that serves entries of given lengths."""
    return scenario(
        discipline,
        None,
        Hardware(machines=1),
        Deployment("pipeline", activations=False, memory_fit="off"),
        Workload(
            entries=len(lengths),
            entry="microbatch",
            arrivals=Arrivals("times", times_s=times_s) if times_s else Arrivals("at_zero"),
            lengths=Lengths("pairs", pairs=tuple(lengths)),
        ),
        FixedTiming(prompt_ms / 1e3, token_ms / 1e3),
    )
