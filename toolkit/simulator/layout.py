"""Which machines and tracks a deployment has: the fixed scenery of a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from toolkit.costs.memory import stage_layers
from toolkit.scenario.model import Hardware, Scenario
from toolkit.trace.columns import ENGINE_NAMES, FAULT_NAMES, NAMES, NULL, SWAP_NAMES, Chunk

__all__ = ["Layout", "Part", "Pipeline", "lay_out"]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages in order: the machines that hold them, and the tracks of stages and links between."""

    role: str
    replica: int
    machines: range
    layers: tuple[int, ...] | None
    stages: tuple[int, ...]
    links: tuple[int, ...] = ()
    replicas: tuple[int, ...] = ()
    """Tracks on which each stage's replicas leave; empty where none are made."""

    host: tuple[tuple[int, int], ...] = ()
    """Tracks of each stage's link to its host, in and out; empty where caches stay."""

    @property
    def servers(self) -> tuple[int, ...]:
        """Tracks in the order a pass takes them: stage, link, stage, ..., stage."""
        if not self.links:
            return self.stages
        between = [track for pair in zip(self.stages, self.links, strict=False) for track in pair]
        return (*between, self.stages[-1])


@dataclass(frozen=True, slots=True)
class Part:
    """What one prompt stage holds of a KV cache for one token stage: layers `first` to `last`.

    Layers count from 1 within the prompt stage's own `of` layers; `share` is
    the part of the whole cache.  `out` and `into` are network interfaces.
    """

    stage: int
    out: int
    into: int
    first: int
    last: int
    of: int
    share: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Machines, pipelines, network interfaces and the parts a KV cache travels in."""

    scenario: Scenario
    pipelines: tuple[Pipeline, ...]
    interfaces: tuple[int, ...] = ()
    """Tracks of the network interfaces that carry KV caches."""
    parts: tuple[Part, ...] = ()
    link_names: tuple[tuple[int, str], ...] = field(default=(), repr=False)
    lanes: int = 1
    """Tracks of each interface, where engines hand requests over; one after the other."""

    @property
    def machines(self) -> int:
        """Number of machines."""
        return sum(len(pipeline.machines) for pipeline in self.pipelines)

    @property
    def first_lane(self) -> int:
        """Track of the first request lane: after all stages and links."""
        return self.machines + len(self.link_names)

    def _hardware(self, pipeline: Pipeline) -> Hardware:
        """Return what the machines of a pipeline are."""
        token = self.scenario.token_pool
        return token.hardware if token and pipeline.role == "token" else self.scenario.hardware

    @property
    def price_usd_per_hour(self) -> float | None:
        """Price of all machines; None where that of any is unknown."""
        total = 0.0
        for pipeline in self.pipelines:
            price = self._hardware(pipeline).price_usd_per_hour
            if price is None:
                return None
            total += len(pipeline.machines) * price
        return total

    def label(self, replica: int) -> str:
        """Return what an engine is called: `replica 3`, or `token 0` where they are pools."""
        pipeline = self.pipelines[replica]
        if pipeline.role == "colocated":
            return f"replica {replica}"
        return _place(self, pipeline, 0)

    def machines_chunk(self) -> Chunk:
        """Return the rows of `machines`."""
        model = self.scenario.model
        rows = [
            (machine, pipeline, stage)
            for pipeline in self.pipelines
            for stage, machine in enumerate(pipeline.machines)
        ]
        layers = [NULL if p.layers is None else p.layers[stage] for _, p, stage in rows]
        total = 0 if model is None else model.layers
        weights = 0.0 if model is None else model.weights_bytes
        none = float("nan")
        hardware = [self._hardware(pipeline) for _, pipeline, _ in rows]
        return Chunk(
            "machines",
            {
                "machine": np.array([machine for machine, _, _ in rows], np.int32),
                "name": [f"m{machine:02d} {_place(self, p, s)}" for machine, p, s in rows],
                "role": [pipeline.role for _, pipeline, _ in rows],
                "replica": np.array([pipeline.replica for _, pipeline, _ in rows], np.int32),
                "stage": np.array([stage for _, _, stage in rows], np.int32),
                "layers": np.array([none if n == NULL else float(n) for n in layers]),
                "weights_bytes": np.array([weights * n / total if total else none for n in layers]),
                "memory_bytes": np.array([_or_nan(each.memory_bytes) for each in hardware]),
                "price_usd_per_hour": np.array(
                    [_or_nan(each.price_usd_per_hour) for each in hardware]
                ),
            },
        )

    def tracks_chunk(self, lanes: int) -> Chunk:
        """Return the rows of `tracks`, with so many request lanes."""
        stages = [
            (track, machine, stage, _place(self, pipeline, stage))
            for pipeline in self.pipelines
            for stage, (track, machine) in enumerate(
                zip(pipeline.stages, pipeline.machines, strict=True)
            )
        ]
        digits = max(2, len(str(max(lanes - 1, 0))))
        links = list(enumerate(self.link_names))
        count = len(stages) + len(links) + lanes
        return Chunk(
            "tracks",
            {
                "track": np.arange(count, dtype=np.int32),
                "kind": ["stage"] * len(stages) + ["link"] * len(links) + ["lane"] * lanes,
                "machine": np.array(
                    [machine for _, machine, _, _ in stages]
                    + [machine for _, (machine, _) in links]
                    + [NULL] * lanes,
                    np.int32,
                ),
                "index": np.array(
                    [stage for _, _, stage, _ in stages]
                    + [number for number, _ in links]
                    + list(range(lanes)),
                    np.int32,
                ),
                "name": [name for _, _, _, name in stages]
                + [name for _, (_, name) in links]
                + [f"lane {lane:0{digits}d}" for lane in range(lanes)],
                "rank": np.arange(count, dtype=np.int32),
            },
        )

    def names_chunk(self) -> Chunk:
        """Return the rows of `names`: all that such a run may use; keys never move."""
        scenario = self.scenario
        engine, left_out = scenario.deployment.engine, set[str]()
        if engine is None:
            left_out.update(ENGINE_NAMES)
        if scenario.failures is None and not scenario.keeps_or_swaps:
            left_out.update(FAULT_NAMES)
        if not (scenario.keeps_or_swaps or (engine and engine.preemption == "swap")):
            left_out.update(SWAP_NAMES)
        names = {key: name for key, name in enumerate(NAMES) if name not in left_out}
        keys = np.array(list(names), np.int32)
        return Chunk("names", {"name": keys, "text": list(names.values())})


def lay_out(scenario: Scenario) -> Layout:
    """Return the machines, tracks and KV parts of a checked scenario."""
    deployment = scenario.deployment
    if deployment.kind == "pipeline":
        stages = scenario.prompt_stages
        plans = [("colocated", replica, stages) for replica in range(deployment.data_parallel)]
    elif deployment.engine is not None:
        prompts, tokens = deployment.prompt_machines, deployment.token_machines
        plans = [("prompt", replica, 1) for replica in range(prompts)]
        plans += [("token", prompts + replica, 1) for replica in range(tokens)]
    else:
        plans = [("prompt", 0, scenario.prompt_stages), ("token", 1, scenario.token_stages)]
    pipelines: list[Pipeline] = []
    first = 0
    for role, replica, stages in plans:
        machines = range(first, first + stages)
        layers = None if scenario.model is None else stage_layers(scenario.model.layers, stages)
        pipelines.append(Pipeline(role, replica, machines, layers, tuple(machines)))
        first += stages
    if scenario.discipline == "dejavu":
        return Layout(scenario, tuple(pipelines))
    return _with_links(scenario, pipelines, first)


def _with_links(scenario: Scenario, pipelines: list[Pipeline], first: int) -> Layout:
    """Add the channels between neighbouring stages and the interfaces KV caches travel over."""
    names: list[tuple[int, str]] = []

    def new_track(machine: int, name: str) -> int:
        names.append((machine, name))
        return first + len(names) - 1

    hardware, deployment = scenario.hardware, scenario.deployment
    if deployment.activations and hardware.link is not None and scenario.model is not None:
        pipelines = [
            Pipeline(
                pipeline.role,
                pipeline.replica,
                pipeline.machines,
                pipeline.layers,
                pipeline.stages,
                tuple(
                    new_track(machine, f"m{machine:02d}→m{machine + 1:02d} activations")
                    for machine in pipeline.machines[:-1]
                ),
            )
            for pipeline in pipelines
        ]
    if deployment.replication == "next_stage":
        pipelines = [
            replace(
                pipeline,
                replicas=tuple(
                    new_track(machine, f"m{machine:02d} KV replicas out")
                    for machine in pipeline.machines
                ),
            )
            for pipeline in pipelines
        ]
    if scenario.swap_slots:
        pipelines = [
            replace(
                pipeline,
                host=tuple(
                    (
                        new_track(machine, f"m{machine:02d} PCIe in"),
                        new_track(machine, f"m{machine:02d} PCIe out"),
                    )
                    for machine in pipeline.machines
                ),
            )
            for pipeline in pipelines
        ]
    if deployment.kind == "pipeline":
        return Layout(scenario, tuple(pipelines), link_names=tuple(names))
    if deployment.engine is not None:
        return _with_interfaces(scenario, pipelines, first)
    prompt, token = pipelines
    if hardware.links == "shared":
        interfaces: tuple[int, ...] = (new_track(NULL, "shared link KV"),)
        out = into = [0] * hardware.machines
    else:
        interfaces = tuple(
            [new_track(machine, f"m{machine:02d} KV out") for machine in prompt.machines]
            + [new_track(machine, f"m{machine:02d} KV in") for machine in token.machines]
        )
        out = into = list(range(len(interfaces)))
    return Layout(
        scenario,
        tuple(pipelines),
        interfaces,
        tuple(_parts(prompt, token, out, into)),
        tuple(names),
    )


def _with_interfaces(scenario: Scenario, pipelines: list[Pipeline], first: int) -> Layout:
    """Add the lanes of the interface of each engine, or of the link they share."""
    hardware = scenario.hardware
    lanes = 1 if hardware.link is None else hardware.link.lanes
    if hardware.links == "shared":
        ends = [(NULL, "shared link KV")]
    else:
        ways = {"prompt": "out", "token": "in"}
        ends = [
            (machine, f"m{machine:02d} KV {ways[pipeline.role]}")
            for pipeline in pipelines
            for machine in pipeline.machines
        ]
    names = [
        (machine, name if lanes == 1 else f"{name} {lane}")
        for machine, name in ends
        for lane in range(lanes)
    ]
    tracks = tuple(range(first, first + len(names)))
    return Layout(scenario, tuple(pipelines), tracks, link_names=tuple(names), lanes=lanes)


def _parts(prompt: Pipeline, token: Pipeline, out: list[int], into: list[int]) -> Iterator[Part]:
    """Yield the overlaps of the two pipelines' layers, in the order of layers.

    Without a model each stage counts as many equal layers as make both
    pipelines divide.
    """
    stages, receivers = len(prompt.stages), len(token.stages)
    held = prompt.layers or (receivers,) * stages
    wanted = token.layers or (stages,) * receivers
    total = sum(held)
    starts = np.concatenate(([0], np.cumsum(held)))
    needs = np.concatenate(([0], np.cumsum(wanted)))
    for stage in range(stages):
        for receiver in range(receivers):
            low = int(max(starts[stage], needs[receiver]))
            high = int(min(starts[stage + 1], needs[receiver + 1]))
            if low < high:
                yield Part(
                    stage=stage,
                    out=out[stage],
                    into=into[stages + receiver],
                    first=low - int(starts[stage]) + 1,
                    last=high - int(starts[stage]),
                    of=held[stage],
                    share=(high - low) / total,
                )


def _place(layout: Layout, pipeline: Pipeline, stage: int) -> str:
    """Return what a machine does, numbered: `stage 3`, `r1 stage 0`, `prompt 0`, `token 2`."""
    if pipeline.role != "colocated":
        alike = [each for each in layout.pipelines if each.role == pipeline.role]
        number = pipeline.replica - alike[0].replica if len(alike) > 1 else stage
        return f"{pipeline.role} {number}"
    replicas = len(layout.pipelines)
    return f"stage {stage}" if replicas == 1 else f"r{pipeline.replica} stage {stage}"


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
