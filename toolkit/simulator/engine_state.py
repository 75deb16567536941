"""What engines are told to play, and the state they are in: records, as the compiler likes."""

from __future__ import annotations

from math import floor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit.costs.steps import StepCosts
from toolkit.simulator.engine_cache import CacheState, cache_reference, no_cache, with_more_tables
from toolkit.simulator.kernel import I8, Records, Rows, compiled, inner, records
from toolkit.simulator.reference import ReferenceType, by_reference
from toolkit.trace.columns import NULL, name_key

__all__ = ["EnginePlan", "EngineState", "grown", "new_state", "run_ns", "sample_rows", "step_ns"]

F8 = npt.NDArray[np.float64]

PREEMPTED = np.int64(name_key("preempted"))
SWAPPED = np.int64(name_key("swapped"))
MIXED = np.int64(name_key("mixed"))
SWAP_OUT = np.int64(name_key("swap_out"))
SWAP_IN = np.int64(name_key("swap_in"))

ROUND_ROBIN, SHARED_QUEUE, LEAST_LOADED, SHORTEST_QUEUE, POWER_OF_TWO, AFFINITY = np.arange(6)
WAITING, RUNNING, SERVED, REFUSED, CANCELLED, TIMED_OUT, HANDED = np.arange(7)
NEVER = np.int64(np.iinfo(np.int64).max)

REQUEST_FIELDS = ("arrival", "prompt", "output", "key")
"""Of each request: when it arrives, its tokens, and its place in a queue (lower is earlier)."""

LIMIT_FIELDS = (
    *("seats", "budget", "block", "blocks", "max_waiting"),
    *("chunked", "prefill_first", "victim_by_key", "router", "longest_run"),
    *("caching", "imbalance", "answers_shared"),
    *("swap", "host_blocks", "block_bytes"),
)
"""Of every replica: ``max_num_seqs``, ``max_num_batched_tokens``, tokens of a KV block,
blocks, requests that may wait; whether prompts are cut and come first, whether the victim is
the one of the largest key, the router, and the most steps played at once; whether blocks keep
their KV cache for others, the requests by which replicas may differ before ``AFFINITY`` looks
at load alone, and whether a prompt may begin with the answer of another request; whether requests
that give way are swapped out, blocks for them in host memory, and bytes of a block."""

CLIENT_FIELDS = ("arrival", "prompt", "output", "key", "after", "next", "think", "patience")
"""Of each row of a workload whose arrivals hang on the run: as of a request, and no earlier than
what ``arrival``; the row that it waits for (ANYBODY: whichever) and the row that waits for it, NULL
for none; how long after the end of the one it is sent; how long its client waits for an answer,
NEVER for ever."""

PATIENCE_FIELDS = ("first_token", "whole", "retries")
"""Of all clients: their timeouts, ns, NEVER for none, and how often each tries again."""

UNKNOWN = (
    *("replica", "start", "prefill_end", "decode_start", "finish", "given_up"),
    *("origin", "landed", "cached"),
)
"""What of a request is NULL until it happens."""

COUNTS = 4
"""Counters of each replica: running, waiting, blocks used, blocks free but cached."""

PROMPTS, TOKENS = np.arange(2)
"""Pools of a split deployment; all replicas of another are of the first, which takes both."""


class EnginePlan(NamedTuple):
    """What is to be played.

    ``requests`` (requests,) in order of arrival; ``costs`` and ``limits`` of each
    pool; ``draws`` (requests, 2 for each pool) the replicas that the router drew.
    With ``details`` every wait and every change of a counter is written by itself.

    Replicas below ``split`` take prompts and hand them over to the others; it is
    0 where each takes both.  ``lanes`` (interfaces, lanes) are tracks of the links
    between; replica r sends and receives over interface r, or all over the only one;
    ``transfers`` (rows of the workload, 2) ns and bytes of each prompt's KV cache on
    them, ``tail`` (2,) ns before its last layer and ns of a token in that layer.

    Where arrivals hang on the run, ``clients`` (rows of the workload,) says what
    is sent when; ``requests`` then is filled as it arrives, and has room for
    more.  ``pool`` are the rows that whichever client is free next takes, in this
    order.  ``patience`` is one record; ``backoffs`` (rows or 1, retries) how long
    each waits before it tries again, ns.  Else there are no ``clients``.

    ``runs`` (runs, 2) are ends and shifts of `toolkit.workload.prefixes.Contents`,
    those of a row of the workload from row ``starts``; empty where nothing is
    cached.  ``host_copy`` (pools, 2): ns to move a request's blocks to or from
    host memory, and ns for each.
    """

    requests: Records
    costs: tuple[StepCosts, ...]
    limits: Records
    draws: I8
    split: int
    streamed: bool
    layers: int
    lanes: I8
    transfers: I8
    tail: F8
    details: bool
    clients: Records
    patience: Records
    backoffs: I8
    pool: I8
    starts: I8
    runs: I8
    host_copy: F8


class EngineState(NamedTuple):
    """State between two calls of :func:`advance`, and in the end the outcome.

    ``run`` is one record.  ``requests`` has what became of each so far: tokens
    ``generated``, tokens ``computed`` whose KV is there, ``blocks`` held, the
    ``chunk`` of its prompt in this step, ``since`` when it waits, what of its
    waits is ``summed``; with a cache its ``table`` there, blocks ``known`` by
    their text, and tokens first found ``cached``; tokens whose
    KV is ``away`` in host memory.  ``replicas`` has each engine's step; ``running``
    (replicas, seats) the batch in order of admission; ``queues`` (queues,
    places, 2) heaps of those who wait, ``queue_size`` their sizes: one for each
    replica, and the last one shared.  ``ends`` is the heap of ends of steps,
    those out of date included.  ``tally`` is scratch; ``levels`` are counters as
    last written.  ``busy`` (replicas, 3, 2): ns and count of prefill, decode and
    mixed steps.  ``moves`` (replicas, moves, 5): what is swapped before the
    step under way: ns after it was formed, ns, request, name, bytes; ``moved``
    (replicas, 2, 3) ns, count and bytes swapped out and in.

    Where the deployment is split, ``queues`` has two more heaps for each replica
    and one of transfers under way (`toolkit.simulator.engine_handover`); ``lanes``
    (interfaces, lanes, 2) since when each is free and who had it last; ``carried``
    (interfaces, lanes, 2, 3) ns, count and bytes sent and received.
    Where arrivals hang on the run, ``sends`` is the heap of what is to be sent,
    by its key in ``tries``: the row of the workload, which try of it this is, and
    when the first was sent.  ``deadlines`` is the heap of when requests are
    given up, those out of date included.
    """

    run: Records
    requests: Records
    replicas: Records
    running: I8
    queues: I8
    queue_size: I8
    ends: I8
    ends_size: I8
    tally: I8
    levels: I8
    busy: I8
    lanes: I8
    carried: I8
    tries: Records
    sends: I8
    sends_size: I8
    deadlines: I8
    deadlines_size: I8
    cache: CacheState
    moves: I8
    moved: I8


class PlanReference(ReferenceType):
    pass


class StateReference(ReferenceType):
    pass


plan_reference = by_reference(EnginePlan._fields, PlanReference)
state_reference = by_reference(EngineState._fields, StateReference, cache=cache_reference)


def sample_rows(capacity: int) -> Rows:
    """Return an empty buffer of counter values."""
    return Rows(np.zeros(1, np.int64), records(("ts", "counter", "value"), capacity))


def new_state(plan: EnginePlan, replicas: int, cache: CacheState | None = None) -> EngineState:
    """Return the state before the first arrival: every replica idle, its cache empty."""
    limits = plan.limits[0]
    requests = records(
        (
            *("status", "replica", "generated", "computed", "blocks", "chunk", "evicted"),
            *("since", "summed", "start", "prefill_end", "decode_start", "finish", "preemptions"),
            *("queue", "tried", "leaving", "given_up"),
            *("table", "known", "cached", "away"),
            *("origin", "to", "room", "cause", "reserved", "sent", "landed"),
            *("lane_out", "lane_in", "held_by"),
        ),
        len(plan.requests),
    )
    for field in UNKNOWN:
        requests[field] = NULL
    engines = records(
        (
            *("count", "free", "due", "ready", "partial", "head_cause"),
            *("open", "anchor", "done", "until", "run_size", "run_context"),
            *("began", "name", "steps", "decodes", "size", "context"),
            *("chunks", "prompt_tokens", "pairs", "prompt_context", "sampled"),
            *("leaving", "coming", "handed"),
            *("formed", "moves", "stall", "host_free"),
        ),
        replicas,
    )
    engines["free"] = limits["blocks"]
    engines["host_free"] = limits["host_blocks"]
    if plan.split:
        for field, limit in (("free", "blocks"), ("host_free", "host_blocks")):
            engines[field][plan.split :] = plan.limits[TOKENS][limit]
    seats = int(plan.limits["seats"].max())
    queues = 3 * replicas + 2 if plan.split else replicas + 1
    lanes = np.zeros((*plan.lanes.shape, 2), np.int64)
    lanes[:, :, 1] = NULL
    engines["due"] = NEVER
    engines["partial"] = NULL
    run = records(("now", "arrived", "turn", "ready", "tries", "taken", "token_turn"), 1)
    run["tries"] = len(plan.clients)
    sends, tries = _first_sends(plan)
    return EngineState(
        run=run,
        requests=requests,
        replicas=engines,
        running=np.full((replicas, seats), NULL, np.int64),
        queues=np.zeros((queues, 2 * seats + 64, 2), np.int64),
        queue_size=np.zeros((queues, 1), np.int64),
        ends=np.zeros((4 * replicas + 64, 2), np.int64),
        ends_size=np.zeros(1, np.int64),
        tally=np.zeros(int(limits["block"]), np.int64),
        levels=np.full(COUNTS * (replicas + 1), NULL, np.int64),
        busy=np.zeros((replicas, 3, 2), np.int64),
        lanes=lanes,
        carried=np.zeros((*plan.lanes.shape, 2, 3), np.int64),
        tries=tries,
        sends=sends,
        sends_size=np.array([np.count_nonzero(plan.clients["after"] == NULL)]),
        deadlines=np.zeros((64, 2), np.int64),
        deadlines_size=np.zeros(1, np.int64),
        cache=no_cache(replicas) if cache is None else cache,
        moves=np.zeros((replicas, 2 * seats * int(plan.limits["swap"].max()), 5), np.int64),
        moved=np.zeros((replicas, 2, 3), np.int64),
    )


def _first_sends(plan: EnginePlan) -> tuple[I8, Records]:
    """Return the heap of what is sent whatever happens, and a first try of every row."""
    clients = plan.clients
    tries = records(("client", "attempt", "began"), len(plan.requests) if len(clients) else 0)
    tries["client"][: len(clients)] = np.arange(len(clients))
    known = np.flatnonzero(clients["after"] == NULL)
    known = known[np.argsort(clients["arrival"][known], kind="stable")]
    sends = np.zeros((max(len(tries), 1), 2), np.int64)
    sends[: len(known), 0] = clients["arrival"][known]
    sends[: len(known), 1] = known
    return sends, tries


def grown(state: EngineState) -> EngineState:
    """Return the state with twice the room in whichever of its heaps is nearly full."""
    if ends_full(state):
        ends = np.zeros((2 * len(state.ends), 2), np.int64)
        ends[: len(state.ends)] = state.ends
        state = state._replace(ends=ends)
    if queues_full(state):
        shape = state.queues.shape
        queues = np.zeros((shape[0], 2 * shape[1], 2), np.int64)
        queues[:, : shape[1]] = state.queues
        state = state._replace(queues=queues)
    if tables_full(state):
        state = state._replace(cache=with_more_tables(state.cache))
    return state


@compiled
def tables_full(state: EngineState) -> bool:
    """Return whether the next event may find no table for a request's cached blocks."""
    most = 0
    for replica in range(len(state.replicas)):
        most = max(most, state.cache.pools[replica].tables)
    seats = state.running.shape[1]
    return bool(state.cache.tables.shape[2] > 0 and most + seats > state.cache.spare.shape[1])


@compiled
def ends_full(state: EngineState) -> bool:
    return state.ends_size[0] + len(state.replicas) + 2 > len(state.ends)


@compiled
def queues_full(state: EngineState) -> bool:
    most, seats = 0, state.running.shape[1]
    for queue in range(len(state.queue_size)):
        most = max(most, state.queue_size[queue, 0])
    replicas = len(state.replicas)
    if len(state.queue_size) > replicas + 1:  # who is to come may be sent at once
        under_way = state.queue_size[3 * replicas + 1, 0]
        for queue in range(replicas + 1, 2 * replicas + 1):
            most = max(most, under_way + state.queue_size[queue, 0])
    return bool(most + seats + 2 > state.queues.shape[1])


# -- times of steps ----------------------------------------------------------------------------


@inner
def _steady(costs: StepCosts, tokens: int, decodes: int, chunks: int, sampled: int) -> float:
    """Return what of a step's time, ns, does not depend on how long contexts are."""
    experts = costs.experts * (1.0 - costs.expert_miss**tokens)
    dense = max(costs.token_arithmetic * tokens, costs.weights + experts)
    head = max(costs.head_arithmetic * sampled, costs.head_weights) if sampled > 0 else 0.0
    steady = costs.overhead + dense + head + costs.chunk * chunks
    steady += costs.collective + costs.token_collective * tokens
    return steady + costs.decode if decodes > 0 else steady


@compiled
def step_ns(
    costs: StepCosts,
    decodes: int,
    context: int,
    chunks: int,
    prompt_tokens: int,
    pairs: int,
    prompt_context: int,
    sampled: int,
) -> int:
    """Return the ns of one step, at least 1; arguments as `toolkit.costs.steps.Work`."""
    steady = _steady(costs, decodes + prompt_tokens, decodes, chunks, sampled)
    attention = costs.context * context
    attention += max(costs.pair * pairs, costs.prompt_context * prompt_context)
    return max(floor(steady + attention + 0.5), 1)


@compiled
def run_ns(costs: StepCosts, decodes: int, context: int, steps: int) -> int:
    """Return the ns from the start of a run to its boundary `steps`, rounded once.

    `context` is the sum of contexts in the run's first step; each of the
    `decodes` requests adds a token to it with every step:

        F(k) = k a + c (k C + n k (k - 1) / 2),

    a the steady part of a step (at least 1 ns), c ns for a token of context.
    """
    k, size = float(steps), float(decodes)
    steady = max(_steady(costs, decodes, decodes, 0, decodes), 1.0)
    attention = costs.context * (k * float(context) + size * (k * (k - 1.0) / 2.0))
    return floor(k * steady + attention + 0.5)
