"""What engines are told to play, and the state they are in: records, as the compiler likes."""

from __future__ import annotations

from math import floor
from typing import NamedTuple

import numpy as np

from toolkit.costs.steps import StepCosts
from toolkit.simulator.engine_cache import CacheState, no_cache
from toolkit.simulator.kernel import I8, Records, Rows, compiled, inner, records
from toolkit.trace.columns import NULL, name_key

__all__ = ["EnginePlan", "EngineState", "grown", "new_state", "run_ns", "sample_rows", "step_ns"]

PREEMPTED = np.int64(name_key("preempted"))
SWAPPED = np.int64(name_key("swapped"))
MIXED = np.int64(name_key("mixed"))
SWAP_OUT = np.int64(name_key("swap_out"))
SWAP_IN = np.int64(name_key("swap_in"))

ROUND_ROBIN, SHARED_QUEUE, LEAST_LOADED, SHORTEST_QUEUE, POWER_OF_TWO, AFFINITY = np.arange(6)
WAITING, RUNNING, SERVED, REFUSED = np.arange(4)
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

COUNTS = 4
"""Counters of each replica: running, waiting, blocks used, blocks free but cached."""


class EnginePlan(NamedTuple):
    """What is to be played.

    ``requests`` (requests,) in order of arrival; ``limits`` one record; ``draws``
    (requests, 2) the replicas that the router drew.  With ``details`` every wait
    and every change of a counter is written by itself.  ``runs`` (runs, 2) are
    ends and shifts of `toolkit.workload.prefixes.Contents`, those of a request
    from row ``starts``; empty where nothing is cached.  To move a request's
    blocks to or from host memory takes ``host_latency`` ns and ``host_block``
    ns for each.
    """

    requests: Records
    costs: StepCosts
    limits: Records
    draws: I8
    details: bool
    starts: I8
    runs: I8
    host_latency: float
    host_block: float


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
    cache: CacheState
    moves: I8
    moved: I8


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
            *("table", "known", "cached", "away"),
        ),
        len(plan.requests),
    )
    for field in ("replica", "start", "prefill_end", "decode_start", "finish", "cached"):
        requests[field] = NULL
    engines = records(
        (
            *("count", "free", "due", "ready", "partial", "head_cause"),
            *("open", "anchor", "done", "until", "run_size", "run_context"),
            *("began", "name", "steps", "decodes", "size", "context"),
            *("chunks", "prompt_tokens", "pairs", "prompt_context", "sampled"),
            *("formed", "moves", "stall", "host_free"),
        ),
        replicas,
    )
    engines["free"] = limits["blocks"]
    engines["host_free"] = limits["host_blocks"]
    engines["due"] = NEVER
    engines["partial"] = NULL
    return EngineState(
        run=records(("now", "arrived", "turn", "ready"), 1),
        requests=requests,
        replicas=engines,
        running=np.full((replicas, int(limits["seats"])), NULL, np.int64),
        queues=np.zeros((replicas + 1, 2 * int(limits["seats"]) + 64, 2), np.int64),
        queue_size=np.zeros((replicas + 1, 1), np.int64),
        ends=np.zeros((4 * replicas + 64, 2), np.int64),
        ends_size=np.zeros(1, np.int64),
        tally=np.zeros(int(limits["block"]), np.int64),
        levels=np.full(COUNTS * (replicas + 1), NULL, np.int64),
        busy=np.zeros((replicas, 3, 2), np.int64),
        cache=no_cache(replicas) if cache is None else cache,
        moves=np.zeros((replicas, 2 * int(limits["seats"] * limits["swap"]), 5), np.int64),
        moved=np.zeros((replicas, 2, 3), np.int64),
    )


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
    return state


@compiled
def ends_full(state: EngineState) -> bool:
    return state.ends_size[0] + len(state.replicas) + 2 > len(state.ends)


@compiled
def queues_full(state: EngineState) -> bool:
    most, seats = 0, state.running.shape[1]
    for queue in range(len(state.queue_size)):
        most = max(most, state.queue_size[queue, 0])
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
