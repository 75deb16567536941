"""Requests packed into microbatches, and what each costs: the plan that the event loop plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from toolkit.costs.links import transfer_s
from toolkit.costs.memory import stage_layers
from toolkit.costs.timing import prompt_stage_s, token_stage_s
from toolkit.scenario.model import FixedTiming, Link, Model, Scenario
from toolkit.simulator.event_state import (
    BATCH_FIELDS,
    PART_FIELDS,
    PIPE_FIELDS,
    WORK_FIELDS,
    Faults,
    Plan,
    Swaps,
    no_faults,
    no_swaps,
)
from toolkit.simulator.failures import upcoming
from toolkit.simulator.kernel import Records, records
from toolkit.simulator.layout import Layout
from toolkit.trace.columns import NULL
from toolkit.units import NS_PER_S, ns
from toolkit.workload.requests import Requests

__all__ = ["FAILURES_AT_FIRST", "Batches", "pack", "plan"]

I8 = npt.NDArray[np.int64]

NO_LIMIT = np.iinfo(np.int64).max // 4


@dataclass(frozen=True, slots=True)
class Batches:
    """Microbatches in order of readiness; arrays of shape (batches,) unless said otherwise.

    ``members`` (entries,) lists entries batch by batch, ``member_start``
    (batches + 1,) says where each batch's begin; ``lead`` is the first member.
    ``size`` counts requests; ``prompt_tokens`` and ``output_tokens`` are those
    of the longest member: the rest is padding.  ``queue`` is the replica a
    batch is bound to, 0 where all replicas share one queue.
    """

    members: I8
    member_start: I8
    lead: I8
    ready_ns: I8
    size: I8
    prompt_tokens: I8
    output_tokens: I8
    queue: I8

    def __len__(self) -> int:
        return len(self.lead)

    def of_members(self) -> I8:
        """Return the batch of each member, shape (entries,), in the order of ``members``."""
        return np.repeat(np.arange(len(self)), np.diff(self.member_start))


def pack(scenario: Scenario, requests: Requests) -> Batches:
    """Pack entries into microbatches as they arrive.

    Entries that are microbatches already are batches of one.  Requests are
    dealt to the replicas in turn (or to one shared queue); consecutive
    arrivals form a batch that is ready when full, or `max_wait` after its
    first arrival, whichever is sooner; of batches ready at once the one that
    began to fill first comes first.  Without a longest wait only the last
    batch may be smaller; it is ready when its last request has arrived.
    """
    deployment = scenario.deployment
    replicas = deployment.data_parallel if deployment.kind == "pipeline" else 1
    queues = replicas if deployment.router == "round_robin" else 1
    order = np.argsort(requests.arrival_ns, kind="stable")
    max_wait_ns = None if deployment.max_wait_s is None else ns(deployment.max_wait_s)
    full = 1 if scenario.workload.entry == "microbatch" else deployment.microbatch_size
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    groups: list[tuple[int, int, I8]] = []
    for queue in range(queues):
        entries = order[queue::queues]
        arrivals = requests.arrival_ns[entries]
        for low, high, ready in _fill(arrivals, full, max_wait_ns):
            groups.append((ready, queue, entries[low:high]))
    groups.sort(key=lambda group: (group[0], place[group[2][0]]))
    members = np.concatenate([entries for _, _, entries in groups])
    start = np.concatenate(([0], np.cumsum([len(entries) for _, _, entries in groups])))
    return Batches(
        members=members.astype(np.int64),
        member_start=start.astype(np.int64),
        lead=members[start[:-1]].astype(np.int64),
        ready_ns=np.array([ready for ready, _, _ in groups], np.int64),
        size=np.add.reduceat(requests.size[members].astype(np.int64), start[:-1]),
        prompt_tokens=np.maximum.reduceat(requests.prompt_tokens[members], start[:-1]).astype(
            np.int64
        ),
        output_tokens=np.maximum.reduceat(requests.output_tokens[members], start[:-1]).astype(
            np.int64
        ),
        queue=np.array([queue for _, queue, _ in groups], np.int64),
    )


def _fill(arrivals: I8, full: int, max_wait_ns: int | None) -> list[tuple[int, int, int]]:
    """Return (first, behind the last, ready) of each batch of arrivals in order of time."""
    batches = []
    low = 0
    while low < len(arrivals):
        high = min(low + full, len(arrivals))
        ready = int(arrivals[high - 1])
        if max_wait_ns is not None:
            deadline = int(arrivals[low]) + max_wait_ns
            high = min(high, int(np.searchsorted(arrivals, deadline, side="right")))
            ready = int(arrivals[high - 1]) if high - low == full else deadline
        batches.append((low, high, ready))
        low = high
    return batches


def plan(scenario: Scenario, layout: Layout, batches: Batches, requests: Requests) -> Plan:
    """Return everything the event loop needs to know, in nanoseconds and bytes."""
    split = scenario.deployment.kind == "disaggregated"
    queues = 1 if split or scenario.deployment.router == "shared_queue" else len(layout.pipelines)
    order = np.argsort(batches.queue, kind="stable")
    starts = np.searchsorted(batches.queue[order], np.arange(queues + 1))
    width = max(len(pipeline.servers) for pipeline in layout.pipelines)
    tracks = np.full((len(layout.pipelines), width), NULL, np.int64)
    for row, pipeline in enumerate(layout.pipelines):
        tracks[row, : len(pipeline.servers)] = pipeline.servers
    mark_start, marks = _marks(batches, requests)
    room = _room(scenario, batches)
    return Plan(
        batches=_records(
            BATCH_FIELDS,
            batches.ready_ns,
            batches.output_tokens - 1,
            room[:, 0],
            room[:, 1],
            mark_start[:-1],
            mark_start[1:],
        ),
        service=_service(scenario, batches),
        moved=_activation_bytes(scenario, batches),
        queues=order.astype(np.int64),
        queue_start=starts.astype(np.int64),
        pipes=_records(PIPE_FIELDS, _limits(scenario, layout), _capacity(scenario, layout)),
        tracks=tracks,
        linked=any(pipeline.links for pipeline in layout.pipelines),
        split=split,
        parts=_part_records(scenario, layout),
        part_work=_transfers(scenario, layout, batches),
        nic_tracks=np.array(layout.interfaces, np.int64),
        marks=marks,
        details=scenario.trace.level != "requests",
        faults=_faults(scenario, layout, batches),
        swaps=_swaps(scenario, layout, batches),
    )


FAILURES_AT_FIRST = 16
"""Random failures of each machine that are drawn before any is asked for."""


def _faults(scenario: Scenario, layout: Layout, batches: Batches) -> Faults:
    """Return what fails and what is kept for that case."""
    faults = no_faults(len(batches), len(layout.pipelines))
    link, model = scenario.hardware.link, scenario.model
    failures, start = upcoming(scenario.failures, layout, FAILURES_AT_FIRST)
    stages = max(len(pipeline.stages) for pipeline in layout.pipelines)
    faults = faults._replace(
        failing=scenario.failures is not None,
        failures=failures,
        start=start,
        tracks=np.zeros((len(layout.pipelines), stages), np.int64),
    )
    if scenario.deployment.replication == "none" or link is None or model is None:
        return faults
    return faults._replace(
        replicated=True,
        link=np.array([link.bytes_per_s, link.latency_s]),
        shares=np.array(stage_layers(model.layers, stages)) / model.layers,
        token_kv=_kv_bytes(model, batches.size).astype(np.int64),
        tracks=np.array([pipeline.replicas for pipeline in layout.pipelines], np.int64),
    )


def _swaps(scenario: Scenario, layout: Layout, batches: Batches) -> Swaps:
    """Return where caches are; a stage's devices have a link to the host each."""
    link, model, slots = scenario.hardware.host_link, scenario.model, scenario.swap_slots
    if not slots or link is None or model is None:
        return no_swaps(len(layout.pipelines))
    stages = scenario.token_stages
    devices = scenario.hardware.devices_per_machine or 1
    return Swaps(
        swapping=True,
        slots=slots,
        link=np.array([devices * link.bytes_per_s, link.latency_s]),
        shares=np.array(stage_layers(model.layers, stages)) / model.layers,
        token_kv=_kv_bytes(model, batches.size).astype(np.int64),
        tracks=np.array([pipeline.host for pipeline in layout.pipelines], np.int64),
    )


def _records(fields: Sequence[str], *columns: I8) -> Records:
    """Return columns of equal length as records."""
    rows = records(fields, len(columns[0]))
    for field, column in zip(fields, columns, strict=True):
        rows[field] = column
    return rows


def _part_records(scenario: Scenario, layout: Layout) -> Records:
    """Return the parts of a KV cache; sent whole, a part leaves with its last layer done."""
    rows = records(PART_FIELDS, len(layout.parts))
    streamed = scenario.deployment.transfer == "layerwise"
    for row, part in zip(rows, layout.parts, strict=True):
        first, last = (part.first, part.last) if streamed else (part.of, part.of)
        for field, value in zip(
            PART_FIELDS, (part.stage, part.out, part.into, first, last, part.of), strict=True
        ):
            row[field] = value
    return rows


def _marks(batches: Batches, requests: Requests) -> tuple[I8, I8]:
    """Return which passes' ends tell members apart: their first tokens and their last."""
    passes = requests.output_tokens[batches.members].astype(np.int64) - 1
    pairs = np.unique(np.stack([batches.of_members(), passes]), axis=1)
    start = np.searchsorted(pairs[0], np.arange(len(batches) + 1))
    return start.astype(np.int64), np.ascontiguousarray(pairs[1])


def _service(scenario: Scenario, batches: Batches) -> I8:
    """Return ns of (prompt, prompt link, token, token link) of each batch on one stage."""
    timing, deployment = scenario.timing, scenario.deployment
    streamed = deployment.kind == "disaggregated" and deployment.transfer == "layerwise"
    slowdown = deployment.stream_slowdown if streamed else 1.0
    moved = _activation_bytes(scenario, batches)

    @cache
    def prompt(size: int, tokens: int) -> int:
        return ns(slowdown * prompt_stage_s(timing, scenario.prompt_stages, size, tokens))

    @cache
    def token(size: int) -> int:
        return ns(token_stage_s(timing, scenario.token_stages, size))

    service = np.zeros((len(batches), 4), np.int64)
    pairs = zip(batches.size.tolist(), batches.prompt_tokens.tolist(), strict=True)
    service[:, 0] = [prompt(size, tokens) for size, tokens in pairs]
    service[:, 2] = [token(size) for size in batches.size.tolist()]
    link = scenario.hardware.link
    if link is not None:
        service[:, 1] = _over(link, moved[:, 0])
        service[:, 3] = _over(link, moved[:, 1])
    return service


def _activation_bytes(scenario: Scenario, batches: Batches) -> I8:
    """Return bytes between stages of (a prompt pass, a token pass): tokens x hidden x 2 bytes."""
    model = scenario.model
    if model is None:
        return np.zeros((len(batches), 2), np.int64)
    token = batches.size * model.hidden * 2
    return np.stack([token * batches.prompt_tokens, token], axis=1)


def _over(link: Link, nbytes: npt.NDArray[np.generic]) -> I8:
    """Return ns that so many bytes hold a link."""
    each, which = np.unique(nbytes, return_inverse=True)
    held = np.array([ns(transfer_s(link, float(value))) for value in each], np.int64)
    over: I8 = held[which.reshape(nbytes.shape)]
    return over


def _transfers(scenario: Scenario, layout: Layout, batches: Batches) -> I8:
    """Return each part's (ns on the link, ns of its last layer, bytes): (batches, parts, 3)."""
    shape = (len(batches), len(layout.parts))
    nothing = np.zeros(shape, np.int64)
    if not layout.parts:
        return np.stack([nothing] * len(WORK_FIELDS), axis=2)
    shares = np.array([part.share for part in layout.parts])
    layers = np.array([part.last - part.first + 1 for part in layout.parts])
    whole = _kv_bytes(scenario.model, batches.size * batches.prompt_tokens)
    nbytes = np.rint(np.outer(whole, shares)).astype(np.int64)
    stated = _stated_transfer_s(scenario)
    link = scenario.hardware.link
    streamed = scenario.deployment.transfer == "layerwise"
    if stated is not None:
        of_stage = shares * scenario.prompt_stages
        took = np.broadcast_to(np.rint(stated * of_stage * NS_PER_S).astype(np.int64), shape)
        tail = np.broadcast_to(
            np.rint(stated * of_stage / layers * NS_PER_S).astype(np.int64), shape
        )
    elif link is not None:
        took = _over(link, nbytes)
        tail = _over(link, np.rint(nbytes / layers).astype(np.int64))
    else:
        took = tail = nothing
    return np.stack([took, tail if streamed else took, nbytes], axis=2)


def _stated_transfer_s(scenario: Scenario) -> float | None:
    """Return the stated time of one prompt stage's share of a KV transfer, if any."""
    if scenario.deployment.transfer_time_s is not None:
        return scenario.deployment.transfer_time_s
    if isinstance(scenario.timing, FixedTiming) or scenario.timing.cache_s > 0:
        return scenario.timing.cache_s
    return None


def _kv_bytes(model: Model | None, tokens: I8) -> npt.NDArray[np.float64]:
    per_token = 0.0 if model is None else model.kv_bytes_per_token
    return np.multiply(tokens, per_token, dtype=np.float64)


def _room(scenario: Scenario, batches: Batches) -> I8:
    """Return KV bytes a batch takes on (prompt machines, machines where it decodes).

    Where it decodes, room for prompt and answer is taken at admission, padded
    to the longest member.
    """
    prompt = _kv_bytes(scenario.model, batches.size * batches.prompt_tokens)
    both = _kv_bytes(scenario.model, batches.size * (batches.prompt_tokens + batches.output_tokens))
    return np.stack([prompt, both], axis=1).astype(np.int64)


def _limits(scenario: Scenario, layout: Layout) -> I8:
    """Return how many batches each pipeline takes at once: as many as stages, unless stated."""
    stated = scenario.deployment.microbatches_in_flight
    return np.array(
        [
            len(pipeline.stages) if stated is None or pipeline.role == "prompt" else stated
            for pipeline in layout.pipelines
        ],
        np.int64,
    )


def _capacity(scenario: Scenario, layout: Layout) -> I8:
    """Return KV bytes each pipeline has room for, counted as whole caches of all layers.

    The stage with the least memory left beside its weights decides.
    """
    model, memory = scenario.model, scenario.hardware.memory_bytes
    if (
        model is None
        or memory is None
        or scenario.deployment.memory_fit != "exact"
        or scenario.swap_slots
    ):
        return np.full(len(layout.pipelines), NO_LIMIT, np.int64)

    def room(stages: int) -> float:
        layers = stage_layers(model.layers, stages)
        return min(
            (memory - model.weights_bytes * n / model.layers) * model.layers / n for n in layers
        )

    buffers = {"token": scenario.deployment.kv_buffer_bytes}
    return np.array(
        [int(room(len(p.stages)) + buffers.get(p.role, 0.0)) for p in layout.pipelines], np.int64
    )
