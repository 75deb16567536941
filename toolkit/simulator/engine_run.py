"""A run of engines with continuous batching: played once for the outcome, again for the spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from toolkit.costs.links import transfer_s
from toolkit.costs.memory import block_bytes, host_block_s, host_blocks, kv_room
from toolkit.costs.steps import step_costs
from toolkit.scenario.model import Scenario
from toolkit.scenario.pools import pools
from toolkit.simulator import engine_state as engine
from toolkit.simulator.engine import advance
from toolkit.simulator.engine_cache import CacheState, new_cache
from toolkit.simulator.engine_clients import (
    as_sent,
    clients_of,
    hang_on_the_run,
    keys,
    patience_of,
    pool_of,
    spare_rows,
)
from toolkit.simulator.engine_feedback import grown
from toolkit.simulator.kernel import Records, Rows, records, span_rows, wait_rows
from toolkit.simulator.layout import Layout
from toolkit.simulator.outcome import COST_STEPS, Outcome, Slice, Totals
from toolkit.simulator.spans import SPANS_AT_ONCE, SpanSorter, waits_chunk
from toolkit.trace.columns import NULL, SWAP_NAMES, Chunk
from toolkit.units import HOUR_S, NS_PER_S, ns
from toolkit.workload.prefixes import contents
from toolkit.workload.requests import Requests, Stream

__all__ = ["EngineRun"]

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

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
        self._requests = requests
        self._waits_for_answers = hang_on_the_run(scenario, requests)
        self._order: I8 = np.argsort(requests.arrival_ns, kind="stable")
        self._plan = plan(scenario, layout, requests, self._order)
        if self._waits_for_answers:
            self._plan = answering(scenario, layout, requests)
            self._order = np.empty(0, np.int64)
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
        return 8 * int(self._plan.limits["seats"].max()) + 64

    def waits(self) -> Iterator[Chunk]:
        """Play to the end, yielding rows of `waits`."""
        waits, samples = wait_rows(WAITS_AT_ONCE + self._room), self._sample_buffer()
        no_spans, leads = span_rows(0), self.leads
        at = 0
        while at >= 0:
            at = advance(self._plan, self._state, waits, samples, no_spans, 0)
            self._plan, self._state = grown(self._plan, engine.grown(self._state))
            if self._waits_for_answers:
                self._order = keys(self._state)
                leads = self.leads
            if waits.filled[0]:
                yield waits_chunk(waits, leads)
            self._samples.append(samples.used.copy())
            waits.filled[0] = samples.filled[0] = 0

    def _sample_buffer(self) -> Rows:
        return engine.sample_rows((SAMPLES_AT_ONCE if self._plan.details else 0) + self._room)

    def outcome(self) -> Outcome:
        """Return what became of each request, once all is played."""
        became = self._state.requests[: len(self._order)]

        def by_request(name: str) -> I8:
            column = np.empty(len(self._order), np.int64)
            column[self._order] = became[name]
            return column

        refused = by_request("status") == engine.REFUSED
        if self._waits_for_answers:
            return self._answered(by_request, refused)
        return Outcome(
            lead=np.arange(len(self._order)),
            replica=by_request("replica"),
            start=by_request("start"),
            prefill_end=by_request("prefill_end"),
            kv_ready=by_request("landed"),
            first_token=by_request("prefill_end"),
            decode_start=by_request("decode_start"),
            finish=by_request("finish"),
            refused=refused if refused.any() else None,
            prompt_replica=self._prompt_replicas() if self._plan.split else None,
            transfer=self._transfer_slice() if self._plan.split else None,
            cached_tokens=by_request("cached") if self._plan.limits["caching"][0] else None,
        )

    def _prompt_replicas(self) -> I8:
        became = self._state.requests[: len(self._order)]
        column = np.empty(len(became), np.int64)
        moved = became["origin"] != NULL
        column[self._order] = np.where(moved, became["origin"], became["replica"])
        return column

    def _transfer_slice(self) -> Slice:
        """Return the transfer of each request's KV cache, on the sender's lane."""
        became = self._state.requests[: len(self._order)]
        moved = (became["landed"] != NULL) & (became["landed"] > became["sent"])
        sender = became["origin"] if len(self._plan.lanes) > 1 else np.zeros_like(became["origin"])
        track, sent = np.full(len(became), NULL), np.full(len(became), NULL)
        lanes = self._plan.lanes[np.where(moved, sender, 0), became["lane_out"]]
        track[self._order] = np.where(moved, lanes, NULL)
        sent[self._order] = np.where(moved, became["sent"], NULL)
        return Slice(track, sent)

    def _answered(self, by_request: Callable[[str], I8], refused: Bools) -> Outcome:
        """Return what became of each request as it was sent, and of those given up."""
        arrival_ns = np.empty(len(self._order), np.int64)
        arrival_ns[self._order] = self._plan.requests["arrival"][: len(self._order)]
        status, given_up = by_request("status"), by_request("given_up")
        first_token = by_request("prefill_end")
        left = given_up != NULL
        return Outcome(
            lead=np.arange(len(self._order)),
            replica=by_request("replica"),
            start=by_request("start"),
            prefill_end=by_request("prefill_end"),
            kv_ready=by_request("landed"),
            first_token=np.where(left & (first_token > given_up), NULL, first_token),
            decode_start=by_request("decode_start"),
            finish=by_request("finish"),
            refused=refused if refused.any() else None,
            cancelled=status == engine.CANCELLED,
            timed_out=status == engine.TIMED_OUT,
            given_up=given_up,
            generated=np.where(left, by_request("generated"), NULL),
            sent=as_sent(self._requests, self._state, arrival_ns),
            prompt_replica=self._prompt_replicas() if self._plan.split else None,
            transfer=self._transfer_slice() if self._plan.split else None,
            cached_tokens=by_request("cached") if self._plan.limits["caching"][0] else None,
        )

    def add_totals(self, totals: Totals) -> None:
        """Add the busy time of every replica's stage."""
        for pipeline, busy in zip(self._layout.pipelines, self._state.busy, strict=True):
            for name, (busy_ns, count) in zip(STEP_NAMES, busy.tolist(), strict=True):
                totals.add(pipeline.stages[0], name, busy_ns, count)
        for tracks, carried in zip(self._plan.lanes.tolist(), self._state.carried, strict=True):
            for track, (sent, received) in zip(tracks, carried.tolist(), strict=True):
                totals.add(track, "kv_transfer", *sent)
                totals.add(track, "kv_receive", *received[:2])
        for pipeline, moved in zip(self._layout.pipelines, self._state.moved, strict=True):
            for name, (moved_ns, count, nbytes) in zip(SWAP_NAMES, moved.tolist(), strict=True):
                totals.add(pipeline.stages[0], name, moved_ns, count, nbytes)

    def counters(self, outcome: Outcome) -> Iterator[Chunk]:
        """Yield `counter_defs` and `counters`: running, waiting, KV blocks of each; cost so far."""
        rows = np.concatenate(self._samples)
        names: list[tuple[int, str, str, str]] = [
            counter
            for replica, pipeline in enumerate(self._layout.pipelines)
            for counter in (
                (NULL, f"running, {self._layout.label(replica)}", "requests", "running"),
                (NULL, f"waiting, {self._layout.label(replica)}", "requests", "waiting"),
                (pipeline.machines[0], "KV blocks used", "blocks", "kv_blocks"),
                (pipeline.machines[0], "KV blocks cached", "blocks", "kv_blocks"),
            )
        ] + [(NULL, "waiting", "requests", "waiting"), (NULL, "cost so far", "usd", "cost")]
        ts, key, value = _changes(rows)
        price = self._layout.price_usd_per_hour
        if price is not None:
            at = np.linspace(0, max(outcome.makespan_ns, 0), COST_STEPS).astype(np.int64)
            rate = price / HOUR_S / NS_PER_S
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
            self._plan, state = grown(self._plan, engine.grown(state))
            yield at if at >= 0 else NO_LIMIT


def plan(scenario: Scenario, layout: Layout, requests: Requests, order: I8) -> engine.EnginePlan:
    """Return what engines are to play: requests in order of arrival, times, limits, draws."""
    stated = scenario.deployment.engine
    assert stated is not None
    rows = records(engine.REQUEST_FIELDS, len(order))
    rows["arrival"] = requests.arrival_ns[order]
    rows["prompt"] = requests.prompt_tokens[order]
    rows["output"] = requests.output_tokens[order]
    if stated.queue_order == "shortest_first":
        rows["key"] = rows["prompt"]
    elif stated.queue_order == "priority" and requests.priority is not None:
        rows["key"] = requests.priority[order]
    each = pools(scenario)
    both = (each[0], each[-1])
    split = each[0].deployment.data_parallel if len(each) > 1 else 0
    limits = np.concatenate([_limits(pool, len(order)) for pool in both])
    starts, runs = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    if stated.prefix_caching:
        text = contents(scenario, requests)
        limits["answers_shared"][engine.PROMPTS] = text.answers_shared
        starts, runs = text.starts[order], np.stack((text.ends, text.shifts), axis=1)
    if split:  # what token replicas hold came from elsewhere, and is nobody's beginning
        for field in ("caching", "answers_shared"):
            limits[field][engine.TOKENS] = 0
    transfers, tail = _transfers(scenario, rows["prompt"]) if split else _no_transfers()
    return engine.EnginePlan(
        rows,
        costs=(step_costs(both[0]), step_costs(both[1])),
        limits=limits,
        draws=np.concatenate([_draws(pool, len(order), at) for at, pool in enumerate(both)], 1),
        split=split,
        streamed=scenario.deployment.transfer == "layerwise",
        layers=1 if scenario.model is None else scenario.model.layers,
        lanes=np.array(layout.interfaces or (NULL,), np.int64).reshape(-1, layout.lanes),
        transfers=transfers,
        tail=tail,
        details=True,
        clients=records(engine.CLIENT_FIELDS, 0),
        patience=patience_of(scenario),
        backoffs=np.zeros((1, 1), np.int64),
        pool=np.zeros(0, np.int64),
        starts=starts,
        runs=runs,
        host_copy=np.array([_host_copy(pool) for pool in both]),
    )


def _host_copy(pool: Scenario) -> tuple[float, float]:
    """Return ns to move KV blocks to or from host memory: of each request, and of each block."""
    stated = pool.deployment.engine
    assert stated is not None
    return stated.host_link_latency_s * NS_PER_S, host_block_s(pool) * NS_PER_S


def _limits(pool: Scenario, count: int) -> Records:
    """Return the rules of a pool's replicas."""
    stated, blocks = pool.deployment.engine, kv_room(pool).blocks
    assert stated is not None
    clients = pool.workload.clients
    tries = 1 if clients is None else 1 + clients.max_retries
    limits = records(engine.LIMIT_FIELDS, 1)
    for field, value in {
        "seats": min(stated.max_num_seqs, count * tries),
        "budget": stated.max_num_batched_tokens,
        "block": stated.kv_block_tokens,
        "blocks": NO_LIMIT if blocks is None else blocks,
        "max_waiting": NO_LIMIT if stated.max_waiting is None else stated.max_waiting,
        "chunked": stated.chunked_prefill,
        "prefill_first": stated.step_order == "prefill_first",
        "victim_by_key": stated.queue_order == "priority",
        "router": ROUTERS[pool.deployment.router],
        "longest_run": NO_LIMIT,
        "caching": stated.prefix_caching,
        "imbalance": stated.affinity_imbalance,
        "swap": stated.preemption == "swap",
        "host_blocks": host_blocks(pool),
        "block_bytes": round(block_bytes(pool)),
    }.items():
        limits[field] = value
    return limits


def _cache(plan: engine.EnginePlan, replicas: int) -> CacheState:
    """Return empty caches of as many blocks as there are, or as all requests together can take."""
    limits = plan.limits[0]
    rows, tries = plan.requests, 1
    if len(plan.clients):
        rows, tries = plan.clients, 1 + int(plan.patience["retries"][0])
    each = -(-(rows["prompt"] + rows["output"]) // int(limits["block"]))
    blocks = min(int(limits["blocks"]), tries * int(each.sum()))
    return new_cache(replicas, blocks, int(limits["seats"]), int(each.max(initial=1)))


def answering(scenario: Scenario, layout: Layout, requests: Requests) -> engine.EnginePlan:
    """Return what engines are to play where arrivals hang on the run: clients, and room."""
    known = plan(scenario, layout, requests, np.arange(len(requests)))
    backoffs = known.backoffs if requests.backoff_ns is None else requests.backoff_ns
    return known._replace(
        requests=records(engine.REQUEST_FIELDS, spare_rows(requests)),
        clients=clients_of(requests, known.requests),
        backoffs=backoffs,
        pool=pool_of(requests),
    )


def _draws(pool: Scenario, count: int, which: int) -> I8:
    """Return two replicas for each request, different ones where there are several."""
    if pool.deployment.router != "power_of_two":
        return np.zeros((count, 2), np.int64)
    replicas = pool.deployment.data_parallel
    stream = (Stream.ROUTER, Stream.TOKEN_ROUTER)[which]
    rng = stream.rng(pool.workload.seed)
    one = rng.integers(0, replicas, count)
    other = (one + rng.integers(1, max(replicas, 2), count)) % replicas
    return np.stack((one, other), axis=1)


def _no_transfers() -> tuple[I8, F8]:
    return np.zeros((1, 2), np.int64), np.zeros(2)


def _transfers(scenario: Scenario, prompt: I8) -> tuple[I8, F8]:
    """Return (ns on a lane, bytes) of each prompt's KV cache, and what its last layer takes.

    That is ns, and ns for each token of the step that ends the prompt.
    """
    model, link = scenario.model, scenario.hardware.link
    per_token = 0.0 if model is None else model.kv_bytes_per_token
    layers = 1 if model is None else model.layers
    nbytes = np.rint(prompt * per_token).astype(np.int64)
    stated = scenario.deployment.transfer_time_s
    if stated is not None:
        took = np.full(len(prompt), ns(stated))
        return np.stack((took, nbytes), axis=1), np.array([ns(stated) / layers, 0.0])
    assert link is not None
    each, which = np.unique(nbytes, return_inverse=True)
    took = np.array([ns(transfer_s(link, float(value))) for value in each], np.int64)[which]
    tail = np.array([link.latency_s, per_token / layers / link.bytes_per_s]) * NS_PER_S
    return np.stack((took, nbytes), axis=1), tail


def _changes(rows: Records) -> tuple[I8, I8, I8]:
    """Return (time, counter, value) of each change: the last value of a time, where it is new."""
    order = np.lexsort((np.arange(len(rows)), rows["ts"], rows["counter"]))
    ts, key, value = rows["ts"][order], rows["counter"][order], rows["value"][order]
    last = np.append((ts[1:] != ts[:-1]) | (key[1:] != key[:-1]), True)[: len(ts)]
    ts, key, value = ts[last], key[last], value[last]
    new = np.append(True, (key[1:] != key[:-1]) | (value[1:] != value[:-1]))[: len(ts)]
    return ts[new], key[new], value[new]
