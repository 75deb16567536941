"""A deployment at another load, or with more replicas: what a search for capacity plays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from toolkit.errors import InputError, Problem
from toolkit.scenario import physics
from toolkit.scenario.model import Scenario, Workload

__all__ = [
    "Candidate",
    "at_rate",
    "candidates",
    "own_rate_per_s",
    "require_searchable",
    "sized",
    "step_of",
    "with_replicas",
]

RATED = frozenset({"poisson", "gamma", "weibull", "constant", "catalog", "trace", "tenants"})
"""Kinds of arrivals whose rate can be set without changing how they come."""

DRAWN = frozenset({"catalog", "fixed"})
"""Kinds of lengths of which there are as many as are asked for."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment to try: a variant of the scenario with a number of replicas."""

    label: str
    scenario: Scenario

    @property
    def replicas(self) -> int:
        """Replicas that serve requests."""
        return self.scenario.deployment.data_parallel

    @property
    def machines(self) -> int:
        """Machines that are paid for."""
        return self.scenario.hardware.machines // _parts(self.scenario)

    @property
    def devices(self) -> int | None:
        """Devices (GPUs) of all machines, where it is known how many a machine has."""
        each = self.scenario.hardware.devices_per_machine
        return None if each is None else each * self.scenario.hardware.machines


def candidates(scenario: Scenario, replicas: Sequence[int] = ()) -> list[Candidate]:
    """Return the deployments to try: every variant, each with each number of replicas.

    Raises:
        InputError: variants cannot have so many replicas; all that cannot.
    """
    problems: list[Problem] = []
    found: list[Candidate] = []
    for part in scenario.variants or (scenario,):
        if not replicas:
            found.append(Candidate(part.variant or part.name, part))
        for count in replicas:
            try:
                found.append(sized(part, count))
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(_where(scenario), list(dict.fromkeys(problems)))
    return found


def sized(scenario: Scenario, count: int) -> Candidate:
    """Return a variant with so many replicas; raises as `with_replicas` does."""
    label = f"{count} replica{'s' * (count != 1)}"
    if scenario.variant:
        label = f"{scenario.variant} × {count}"
    return Candidate(label, with_replicas(scenario, count))


def with_replicas(scenario: Scenario, count: int) -> Scenario:
    """Return the scenario with `count` replicas, each of as many machines as one has now.

    Raises:
        InputError: its replicas are not alike (prompt and token machines), or
            so many do not fill whole machines.
    """
    deployment, hardware = scenario.deployment, scenario.hardware
    if deployment.kind != "pipeline":
        raise InputError.one(
            _where(scenario),
            "capacity.replicas",
            'expected deployment.kind = "pipeline", whose replicas are alike',
            f'"{deployment.kind}"',
            "leave replicas out, and give each number of machines as a [[variant]]",
        )
    machines = hardware.machines // deployment.data_parallel * count
    parts = _parts(scenario)
    if machines % parts:
        raise InputError.one(
            _where(scenario),
            "capacity.replicas",
            f"expected numbers of replicas that fill whole machines: {parts} fit on one",
            str(count),
        )
    more = replace(
        scenario,
        deployment=replace(deployment, data_parallel=count),
        hardware=replace(hardware, machines=machines),
    )
    if wrong := physics.check(more):
        raise InputError(
            _where(scenario),
            [
                Problem(".".join(map(str, each.path)), each.expected, each.got, each.way_out)
                for each in wrong
            ],
        )
    return more


def step_of(scenario: Scenario) -> int:
    """Return by how much a number of replicas may grow so that they fill whole machines."""
    groups = scenario.hardware.machines // scenario.deployment.data_parallel
    parts = _parts(scenario)
    return parts // math.gcd(parts, groups)


def _parts(scenario: Scenario) -> int:
    """Return how many tensor-parallel groups a machine has, each a machine past the scenario."""
    devices = scenario.document["hardware"].get("devices_per_machine")
    group = scenario.hardware.devices_per_machine
    return devices // group if devices and group else 1


def own_rate_per_s(workload: Workload) -> float:
    """Return the requests per second that a workload states, 0 where it states none."""
    arrivals = workload.arrivals
    if arrivals.rate_per_s or arrivals.recording is None:
        return arrivals.rate_per_s
    times = arrivals.recording.arrival_ns
    if times is None:
        return 0.0
    taken = times[: workload.entries]
    span_s = float(taken[-1] - taken[0]) / 1e9 * arrivals.time_scale
    return (len(taken) - 1) / span_s if span_s else 0.0


def require_searchable(scenario: Scenario) -> None:
    """Raise `InputError` with everything that keeps a scenario from being searched."""
    problems: list[Problem] = []
    if scenario.sweep is not None:
        way_out = "state what differs as [[variant]], or as capacity.replicas"
        problems.append(Problem("sweep", "does not go with a search for capacity", "", way_out))
    for part in scenario.variants or (scenario,):
        name = "" if part.variant is None else f' (variant "{part.variant}")'
        if not part.has_limits:
            way_out = "for example [slo] with ttft_ms = 500 and tpot_ms = 50"
            problems.append(
                Problem(f"slo{name}", "missing; a rate holds if it is met", "", way_out)
            )
        kind = part.workload.arrivals.kind
        if kind not in RATED or own_rate_per_s(part.workload) <= 0:
            expected = "expected arrivals with a rate that can be raised and lowered"
            way_out = 'for example arrivals = { kind = "poisson", rate_per_s = 4 }'
            problems.append(
                Problem(f"workload.arrivals.kind{name}", expected, f'"{kind}"', way_out)
            )
    if problems:
        raise InputError(_where(scenario), list(dict.fromkeys(problems)))


def at_rate(scenario: Scenario, rate_per_s: float, least_span_s: float = 0.0) -> Scenario:
    """Return the scenario at another mean rate of requests; what is drawn is drawn from its seed.

    Gaps between arrivals keep their pattern and are stretched; tenants with
    arrivals of their own keep their shares.  Where lengths are drawn there are
    enough entries for arrivals to last `least_span_s`.
    """
    workload = scenario.workload
    factor = rate_per_s / own_rate_per_s(workload)
    tenants = tuple(
        tenant
        if tenant.arrivals is None
        else replace(
            tenant,
            arrivals=replace(tenant.arrivals, rate_per_s=tenant.arrivals.rate_per_s * factor),
        )
        for tenant in workload.tenants
    )
    return replace(
        scenario,
        workload=replace(
            workload,
            arrivals=replace(workload.arrivals, rate_per_s=rate_per_s),
            tenants=tenants,
            entries=_entries(scenario, rate_per_s, least_span_s),
        ),
    )


def _entries(scenario: Scenario, rate_per_s: float, least_span_s: float) -> int:
    workload = scenario.workload
    size = scenario.deployment.microbatch_size if workload.entry == "microbatch" else 1
    wanted = math.ceil(rate_per_s * least_span_s / size)
    if wanted <= workload.entries:
        return workload.entries
    parts = workload.lengths.parts or (workload.lengths,)
    recorded = [
        len(recording)
        for recording in (*(part.recording for part in parts), workload.arrivals.recording)
        if recording is not None
    ]
    if all(part.kind in DRAWN or part.recording is not None for part in parts):
        return min([wanted, *recorded])
    return workload.entries


def _where(scenario: Scenario) -> str:
    return str(scenario.file or scenario.name)
