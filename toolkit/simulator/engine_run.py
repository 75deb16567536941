"""A run of engines with continuous batching: played once for the outcome, again for the spans."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from toolkit.costs.memory import block_bytes, host_block_s, host_blocks, kv_room
from toolkit.costs.steps import step_costs
from toolkit.scenario.model import Scenario
from toolkit.simulator import engine_state as engine
from toolkit.simulator.engine import advance
from toolkit.simulator.engine_cache import CacheState, new_cache
from toolkit.simulator.kernel import Records, Rows, records, span_rows, wait_rows
from toolkit.simulator.layout import Layout
from toolkit.simulator.outcome import COST_STEPS, Outcome, Totals
from toolkit.simulator.spans import SPANS_AT_ONCE, SpanSorter, waits_chunk
from toolkit.trace.columns import NULL, SWAP_NAMES, Chunk
from toolkit.units import HOUR_S, NS_PER_S
from toolkit.workload.prefixes import contents
from toolkit.workload.requests import Requests, Stream

__all__ = ["EngineRun"]

I8 = npt.NDArray[np.int64]

WAITS_AT_ONCE = 1 << 16
SAMPLES_AT_ONCE = 1 << 16
LONGEST_RUN = 1 << 12
"""Steps written before they are handed on."""

NO_LIMIT = np.iinfo(np.int64).max // 4

STEP_NAMES = ("prefill", "decode", "mixed")

ROUTERS = {
    "round_robin": engine.ROUND_ROBIN,
    "shared_queue": engine.SHARED_QUEUE,
    "least_loaded": engine.LEAST_LOADED,
    "shortest_queue": engine.SHORTEST_QUEUE,
    "power_of_two": engine.POWER_OF_TWO,
    "prefix_affinity": engine.AFFINITY,
}


class EngineRun:
    """One deployment of engines, played under the `event` discipline."""

    def __init__(
        self, scenario: Scenario, layout: Layout, requests: Requests, *, accounts: bool = True
    ) -> None:
        """Lay out the plan; nothing is played yet."""
        self._scenario = scenario
        self._layout = layout
        self._order: I8 = np.argsort(requests.arrival_ns, kind="stable")
        self._plan = plan(scenario, requests, self._order)
        details = accounts and scenario.trace.level != "requests"
        self._plan = self._plan._replace(details=details)
        self._state = self._fresh()
        self._samples: list[Records] = []

    def _fresh(self) -> engine.EngineState:
        replicas, plan = len(self._layout.pipelines), self._plan
        if not plan.limits["caching"][0]:
            return engine.new_state(plan, replicas)
        return engine.new_state(plan, replicas, _cache(plan, replicas))

    @property
    def _room(self) -> int:
        return 8 * int(self._plan.limits["seats"][0]) + 64

    def waits(self) -> Iterator[Chunk]:
        """Play to the end, yielding rows of `waits`."""
        waits, samples = wait_rows(WAITS_AT_ONCE + self._room), self._sample_buffer()
        no_spans, leads = span_rows(0), self.leads
        at = 0
        while at >= 0:
            at = advance(self._plan, self._state, waits, samples, no_spans, 0)
            self._state = engine.grown(self._state)
            if waits.filled[0]:
                yield waits_chunk(waits, leads)
            self._samples.append(samples.used.copy())
            waits.filled[0] = samples.filled[0] = 0

    def _sample_buffer(self) -> Rows:
        return engine.sample_rows((SAMPLES_AT_ONCE if self._plan.details else 0) + self._room)

    def outcome(self) -> Outcome:
        """Return what became of each request, once all is played."""
        became = self._state.requests

        def by_request(name: str) -> I8:
            column = np.empty(len(self._order), np.int64)
            column[self._order] = became[name]
            return column

        refused = by_request("status") == engine.REFUSED
        return Outcome(
            lead=np.arange(len(self._order)),
            replica=by_request("replica"),
            start=by_request("start"),
            prefill_end=by_request("prefill_end"),
            kv_ready=np.full(len(self._order), NULL),
            first_token=by_request("prefill_end"),
            decode_start=by_request("decode_start"),
            finish=by_request("finish"),
            refused=refused if refused.any() else None,
            cached_tokens=by_request("cached") if self._plan.limits["caching"][0] else None,
        )

    def add_totals(self, totals: Totals) -> None:
        """Add the busy time of every replica's stage."""
        for pipeline, busy in zip(self._layout.pipelines, self._state.busy, strict=True):
            for name, (ns, count) in zip(STEP_NAMES, busy.tolist(), strict=True):
                totals.add(pipeline.stages[0], name, ns, count)
        for pipeline, moved in zip(self._layout.pipelines, self._state.moved, strict=True):
            for name, (ns, count, nbytes) in zip(SWAP_NAMES, moved.tolist(), strict=True):
                totals.add(pipeline.stages[0], name, ns, count, nbytes)

    def counters(self, outcome: Outcome) -> Iterator[Chunk]:
        """Yield `counter_defs` and `counters`: running, waiting, KV blocks of each; cost so far."""
        rows = np.concatenate(self._samples)
        names: list[tuple[int, str, str, str]] = [
            counter
            for replica, pipeline in enumerate(self._layout.pipelines)
            for counter in (
                (NULL, f"running, replica {replica}", "requests", "running"),
                (NULL, f"waiting, replica {replica}", "requests", "waiting"),
                (pipeline.machines[0], "KV blocks used", "blocks", "kv_blocks"),
                (pipeline.machines[0], "KV blocks cached", "blocks", "kv_blocks"),
            )
        ] + [(NULL, "waiting", "requests", "waiting"), (NULL, "cost so far", "usd", "cost")]
        ts, key, value = _changes(rows)
        price = self._scenario.hardware.price_usd_per_hour
        if price is not None:
            at = np.linspace(0, max(outcome.makespan_ns, 0), COST_STEPS).astype(np.int64)
            rate = price * self._layout.machines / HOUR_S / NS_PER_S
            ts = np.concatenate((ts, at))
            key = np.concatenate((key, np.full(len(at), len(names) - 1)))
            value = np.concatenate((value, at * rate))
        used, key = np.unique(key, return_inverse=True)
        order = np.lexsort((key, ts))
        kept = [names[each] for each in used.tolist()]
        yield Chunk(
            "counter_defs",
            {
                "counter": np.arange(len(kept), dtype=np.int32),
                "machine": np.array([machine for machine, *_ in kept], np.int32),
                "name": [name for _, name, *_ in kept],
                "unit": [unit for *_, unit, _ in kept],
                "share_key": [share for *_, share in kept],
            },
        )
        yield Chunk(
            "counters",
            {
                "ts_ns": ts[order],
                "counter": key[order].astype(np.int32),
                "value": value[order].astype(np.float64),
            },
        )

    @property
    def leads(self) -> I8:
        """The request that each row's spans and waits carry; the last one stands for none."""
        return np.append(self._order, NULL)

    def spans(self, sorter: SpanSorter) -> Iterator[int]:
        """Play once more into a sorter's buffer, yielding how far the play has come, ns."""
        limits = self._plan.limits.copy()
        limits["longest_run"] = LONGEST_RUN
        self._plan = self._plan._replace(details=False, limits=limits)
        state = self._fresh()
        waits, samples = wait_rows(WAITS_AT_ONCE + self._room), self._sample_buffer()
        at = 0
        while at >= 0:
            waits.filled[0] = samples.filled[0] = 0
            rows = sorter.buffer
            needed = int(rows.filled[0]) + LONGEST_RUN + self._state.moves.shape[1]
            while needed > len(rows.rows):
                sorter.buffer = rows = rows.grown()
            limit = max(min(int(rows.filled[0]) + SPANS_AT_ONCE, len(rows.rows)), needed)
            at = int(advance(self._plan, state, waits, samples, rows, limit))
            state = engine.grown(state)
            yield at if at >= 0 else NO_LIMIT


def plan(scenario: Scenario, requests: Requests, order: I8) -> engine.EnginePlan:
    """Return what engines are to play: requests in order of arrival, times, limits, draws."""
    deployment = scenario.deployment
    stated = deployment.engine
    assert stated is not None
    rows = records(engine.REQUEST_FIELDS, len(order))
    rows["arrival"] = requests.arrival_ns[order]
    rows["prompt"] = requests.prompt_tokens[order]
    rows["output"] = requests.output_tokens[order]
    if stated.queue_order == "shortest_first":
        rows["key"] = rows["prompt"]
    elif stated.queue_order == "priority" and requests.priority is not None:
        rows["key"] = requests.priority[order]
    blocks = kv_room(scenario).blocks
    limits = records(engine.LIMIT_FIELDS, 1)
    for field, value in {
        "seats": min(stated.max_num_seqs, len(order)),
        "budget": stated.max_num_batched_tokens,
        "block": stated.kv_block_tokens,
        "blocks": NO_LIMIT if blocks is None else blocks,
        "max_waiting": NO_LIMIT if stated.max_waiting is None else stated.max_waiting,
        "chunked": stated.chunked_prefill,
        "prefill_first": stated.step_order == "prefill_first",
        "victim_by_key": stated.queue_order == "priority",
        "router": ROUTERS[deployment.router],
        "longest_run": NO_LIMIT,
        "caching": stated.prefix_caching,
        "imbalance": stated.affinity_imbalance,
        "swap": stated.preemption == "swap",
        "host_blocks": host_blocks(scenario),
        "block_bytes": round(block_bytes(scenario)),
    }.items():
        limits[field] = value
    draws = np.zeros((1, 2), np.int64)
    if deployment.router == "power_of_two":
        draws = _draws(scenario, len(order))
    starts, runs = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    if stated.prefix_caching:
        text = contents(scenario, requests)
        limits["answers_shared"] = text.answers_shared
        starts, runs = text.starts[order], np.stack((text.ends, text.shifts), axis=1)
    return engine.EnginePlan(
        rows,
        step_costs(scenario),
        limits,
        draws,
        details=True,
        starts=starts,
        runs=runs,
        host_latency=stated.host_link_latency_s * NS_PER_S,
        host_block=host_block_s(scenario) * NS_PER_S,
    )


def _cache(plan: engine.EnginePlan, replicas: int) -> CacheState:
    """Return empty caches of as many blocks as there are, or as all requests together can take."""
    limits = plan.limits[0]
    tokens = plan.requests["prompt"] + plan.requests["output"]
    each = -(-tokens // int(limits["block"]))
    blocks = min(int(limits["blocks"]), int(each.sum()))
    return new_cache(replicas, blocks, int(limits["seats"]), int(each.max(initial=1)))


def _draws(scenario: Scenario, count: int) -> I8:
    """Return two replicas for each request, different ones where there are several."""
    replicas = scenario.deployment.data_parallel
    rng = Stream.ROUTER.rng(scenario.workload.seed)
    one = rng.integers(0, replicas, count)
    other = (one + rng.integers(1, max(replicas, 2), count)) % replicas
    return np.stack((one, other), axis=1)


def _changes(rows: Records) -> tuple[I8, I8, I8]:
    """Return (time, counter, value) of each change: the last value of a time, where it is new."""
    order = np.lexsort((np.arange(len(rows)), rows["ts"], rows["counter"]))
    ts, key, value = rows["ts"][order], rows["counter"][order], rows["value"][order]
    last = np.append((ts[1:] != ts[:-1]) | (key[1:] != key[:-1]), True)[: len(ts)]
    ts, key, value = ts[last], key[last], value[last]
    new = np.append(True, (key[1:] != key[:-1]) | (value[1:] != value[:-1]))[: len(ts)]
    return ts[new], key[new], value[new]
