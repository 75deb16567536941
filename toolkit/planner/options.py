"""Every way to put a scenario's machines to work: replicas of pipelines, splits, smaller groups.

An option is the scenario with another deployment: same model, machines,
requests and discipline, the same rules for links, memory and streaming.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolkit.scenario import physics
from toolkit.scenario.model import Deployment, Scenario, TableTiming, Timing, Trace

__all__ = ["Option", "options"]


@dataclass(frozen=True, slots=True)
class Option:
    """One deployment of all the machines, and why it is impossible if it is."""

    scenario: Scenario
    reason: str = ""
    tensor_parallel: int | None = None
    """Devices a stage is split over; None where the timing source knows one degree only."""

    @property
    def split(self) -> tuple[int, int] | None:
        """(prompt machines, token machines); None where both share the machines."""
        deployment = self.scenario.deployment
        if deployment.kind == "pipeline":
            return None
        return deployment.prompt_machines, deployment.token_machines

    @property
    def microbatch_size(self) -> int:
        """Requests of a microbatch."""
        return self.scenario.deployment.microbatch_size

    @property
    def layout(self) -> str:
        """The stages in words: `3 prompt + 5 token`, `4 replicas of 2, TP 4`."""
        degree = "" if self.tensor_parallel is None else f", TP {self.tensor_parallel}"
        if self.split is not None:
            return f"{self.split[0]} prompt + {self.split[1]} token{degree}"
        replicas, stages = self.scenario.deployment.data_parallel, self.scenario.token_stages
        if replicas > 1:
            return f"{replicas} replicas of {stages}{degree}"
        return f"one pipeline of {stages}{degree}"


def options(scenario: Scenario) -> tuple[Option, ...]:
    """Return every option of a checked scenario without variants.

    The machines as they are first, then cut into groups of fewer devices where
    the timing source has times for that tensor-parallel degree.  Of each,
    pipelines by number of replicas, then splits by prompt machines; each
    with every microbatch size that serves the same requests and that the timing
    source knows: the table's sizes, or the scenario's own where times are fixed.
    """
    return tuple(
        replace(_option(scenario, cut, layout, size), tensor_parallel=degree)
        for degree, cut in _by_degree(scenario)
        for layout in _layouts(cut.hardware.machines)
        for size in _sizes(scenario)
    )


def _layouts(machines: int) -> Iterator[dict[str, object]]:
    for replicas in _divisors(machines):
        yield {"kind": "pipeline", "data_parallel": replicas}
    for prompt in range(1, machines):
        yield {
            "kind": "disaggregated",
            "data_parallel": 1,
            "prompt_machines": prompt,
            "token_machines": machines - prompt,
        }


def _by_degree(scenario: Scenario) -> Iterator[tuple[int | None, Scenario]]:
    """Yield the scenario, and again with its machines cut at each lower tensor-parallel degree.

    A group of devices then stands where a machine stood, with its share of
    memory, price and network interface.
    """
    timing, hardware = scenario.timing, scenario.hardware
    devices = hardware.devices_per_machine
    if not isinstance(timing, TableTiming) or not timing.degrees or devices is None:
        yield None, scenario
        return
    yield devices, scenario
    for degree in sorted(timing.degrees, key=lambda each: -each.devices):
        groups = devices // degree.devices
        link = hardware.link
        if link is not None:
            link = replace(link, bytes_per_s=link.bytes_per_s / groups)
        memory, price = hardware.memory_bytes, hardware.price_usd_per_hour
        cut = replace(
            hardware,
            machines=hardware.machines * groups,
            devices_per_machine=degree.devices,
            memory_bytes=None if memory is None else memory / groups,
            price_usd_per_hour=None if price is None else price / groups,
            link=link,
        )
        table = replace(
            timing,
            prompt_s=degree.prompt_s,
            token_s=degree.token_s,
            source=degree.source,
            degrees=(),
        )
        yield degree.devices, replace(scenario, hardware=cut, timing=table)


def _divisors(number: int) -> Iterator[int]:
    return (each for each in range(1, number + 1) if number % each == 0)


def _sizes(scenario: Scenario) -> list[int]:
    own, timing = scenario.deployment.microbatch_size, scenario.timing
    if not isinstance(timing, TableTiming):
        return [own]
    whole = 0 if scenario.workload.entry == "request" else _requests_of_an_entry(scenario)
    return sorted({own, *(size for size in timing.batch_sizes if whole % size == 0)})


def _requests_of_an_entry(scenario: Scenario) -> int:
    """Return how many requests each length of the workload stands for, whatever the option."""
    return scenario.workload.equal_work_batch or scenario.deployment.microbatch_size


def _option(scenario: Scenario, cut: Scenario, layout: dict[str, object], size: int) -> Option:
    """Return the scenario, on the machines as they are cut, with another layout and size."""
    deployment: Deployment = replace(
        scenario.deployment,
        **{"prompt_machines": 0, "token_machines": 0, "microbatch_size": size, **layout},  # type: ignore[arg-type]
    )
    if scenario.discipline == "dejavu":
        deployment = replace(deployment, microbatches_in_flight=None)
    workload = scenario.workload
    if workload.entry == "microbatch":
        workload = replace(workload, equal_work_batch=_requests_of_an_entry(scenario))
    bare = replace(
        cut, deployment=deployment, workload=workload, trace=Trace("requests", ()), document={}
    )
    option = _of_the_same_model(scenario, bare)
    found = physics.check(option)
    return Option(option, found[0].expected + _got(found[0].got) if found else "")


def _got(got: str) -> str:
    return f", got {got}" if got else ""


def _of_the_same_model(scenario: Scenario, option: Scenario) -> Scenario:
    """Return the option with times of a stage as deep as its own.

    Fixed times, and times of a KV transfer, are those of one of the scenario's
    stages; a stage that holds twice as many layers takes twice as long.
    """
    timing: Timing = option.timing
    prompt = scenario.prompt_stages / option.prompt_stages
    if timing.kind == "fixed":
        token = scenario.token_stages / option.token_stages
        timing = replace(timing, prompt_s=timing.prompt_s * prompt, token_s=timing.token_s * token)
    timing = replace(timing, cache_s=timing.cache_s * prompt)
    stated = option.deployment.transfer_time_s
    if stated is None or option.deployment.kind == "pipeline":
        return replace(option, timing=timing)
    deployment = replace(option.deployment, transfer_time_s=stated * prompt)
    return replace(option, timing=timing, deployment=deployment)
