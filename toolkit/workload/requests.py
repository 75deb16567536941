"""The workload of one scenario as a table of entries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.recordings.recording import Ragged
from toolkit.scenario.model import Scenario, Tenant
from toolkit.units import NS_PER_US, US_PER_S
from toolkit.workload.arrivals import groups_us, recorded_ns, renewal_s, think_ns
from toolkit.workload.clients import backoff_ns, patience_ns
from toolkit.workload.lengths import TokenCounts, token_counts
from toolkit.workload.prefixes import converses, draw_prefixes

__all__ = ["ANYBODY", "Requests", "Stream", "build"]

I4 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ANYBODY = -2
"""What a row of a closed loop waits for: the end of whichever request has nothing after it."""

RENEWALS = frozenset({"poisson", "gamma", "weibull", "constant", "catalog"})
"""Kinds of arrivals with independent gaps."""


class Stream(IntEnum):
    """Purposes of randomness: each has a generator of its own, so none disturbs another."""

    ARRIVALS = 0
    LENGTHS = 1
    ORDER = 2
    ROUTER = 3
    TENANTS = 4
    TURNS = 5
    THINKING = 6
    PATIENCE = 7
    BACKOFF = 8
    PREFIXES = 9
    FAILURES = 10
    TOKEN_ROUTER = 12

    def rng(self, seed: int, whose: str = "") -> np.random.Generator:
        """Return this purpose's generator for a scenario's seed, or a tenant's own one.

        A tenant's is told apart by its name, so that others come and go
        without disturbing it.
        """
        key: tuple[int, ...] = (int(self),)
        if whose:
            key += tuple(np.frombuffer(hashlib.sha256(whose.encode()).digest(), "<u4").tolist())
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


@dataclass(frozen=True, slots=True)
class Requests:
    """One row per entry; all columns have shape (entries,).

    An entry is one request, or with ``entry = "microbatch"`` ``size`` requests
    that are alike.  ``part`` is the data-parallel replica an entry is bound to
    before the run (`dejavu`), else -1.

    The columns after ``dropped`` are None where the workload has no such
    thing.  ``tenant`` indexes ``tenants``; of two requests the one with the
    smaller ``priority`` goes first.  ``session`` numbers conversations and
    ``turn`` their requests, from 0; a request with ``after`` >= 0 is sent
    ``think_ns`` after the request of that row has ended, and no earlier than
    its ``arrival_ns``; those with ``after`` = ANYBODY are taken in their order by
    the clients of a closed loop, each as one has nothing else to send.
    ``hash_ids`` are the blocks of ``block_tokens`` tokens of each prompt, equal
    where all text up to there is.
    ``patience_ns`` is how long its client waits for the end of an answer, -1 for
    ever; ``backoff_ns`` (entries or 1, retries) the waits before it is sent again.

    As they were sent, requests have tries in rows of their own: ``attempt``
    counts them from 0, and ``attempt_of`` is the row of the first, -1 for itself.
    ``prefix`` indexes the declared prefixes with which prompts begin, -1 for none.
    """

    arrival_ns: I8
    arrival_us: Floats
    prompt_tokens: I4
    output_tokens: I4
    size: I4
    part: I4
    dropped: int = 0
    """Entries the published programs leave out when parts do not divide evenly."""
    tenant: I4 | None = None
    tenants: tuple[str, ...] = ()
    priority: I4 | None = None
    session: I4 | None = None
    turn: I4 | None = None
    after: I8 | None = None
    think_ns: I8 | None = None
    hash_ids: Ragged | None = None
    block_tokens: int | None = None
    patience_ns: I8 | None = None
    backoff_ns: I8 | None = None
    attempt: I4 | None = None
    attempt_of: I8 | None = None
    prefix: I4 | None = None

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def take(self, rows: I8) -> Requests:
        """Return some entries, in the order of `rows`; whom they wait for stays a row of these."""
        taken: dict[str, Any] = {}
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, Ragged):
                taken[column.name] = value.take(rows)
            elif isinstance(value, np.ndarray) and column.name != "backoff_ns":
                taken[column.name] = value[rows]
        return replace(self, **taken)

    def sha256(self) -> str:
        """Return the digest of all columns: two runs with one digest served the same requests."""
        digest = hashlib.sha256()
        for column in fields(self):
            value = getattr(self, column.name)
            arrays = (value.starts, value.ids) if isinstance(value, Ragged) else (value,)
            for array in arrays:
                if isinstance(array, np.ndarray):
                    digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def build(scenario: Scenario) -> Requests:
    """Return the entries that a scenario's deployment serves, and how long their clients wait."""
    requests, clients = _with_prefixes(scenario), scenario.workload.clients
    if clients is None:
        return requests
    seed, count = scenario.workload.seed, len(requests)
    return replace(
        requests,
        patience_ns=patience_ns(clients, count, Stream.PATIENCE.rng(seed)),
        backoff_ns=backoff_ns(clients, count, Stream.BACKOFF.rng(seed)),
    )


def _with_prefixes(scenario: Scenario) -> Requests:
    """Return the entries themselves.

    With `equal_work_batch` B every entry is repeated B / microbatch_size
    times, so that deployments with other microbatch sizes serve the same
    requests.  In the `dejavu` discipline data-parallel parts are consecutive
    and equal, each with arrivals of its own from 0; what is left over is
    dropped, as published.
    """
    requests, workload = _entries(scenario), scenario.workload
    rng = Stream.PREFIXES.rng(workload.seed)
    session = requests.session if converses(workload) else None
    whose = (requests.tenant, requests.tenants, session)
    prefix = draw_prefixes(workload.prefixes, len(requests), *whose, rng)
    return replace(requests, prefix=prefix)


def _entries(scenario: Scenario) -> Requests:
    """Return the entries, all but the prefixes they begin with."""
    workload, deployment = scenario.workload, scenario.deployment
    size = deployment.microbatch_size if workload.entry == "microbatch" else 1
    if workload.tenants:
        return _of_tenants(scenario, size)
    if workload.sessions is not None:
        return _of_sessions(scenario, size)
    tokens = token_counts(workload.lengths, workload.entries, Stream.LENGTHS.rng(workload.seed))
    order = _repetition(scenario)
    tokens = TokenCounts(tokens.prompt[order], tokens.output[order])

    parts = deployment.data_parallel if scenario.discipline == "dejavu" else 1
    per_part = len(order) // parts
    kept = per_part * parts
    if scenario.discipline == "dejavu" and workload.arrivals.kind == "groups":
        arrival_us = np.tile(_arrival_us(scenario, per_part, size), parts)
        arrival_ns = _to_ns(arrival_us)
    elif workload.arrivals.recording is not None:
        recorded = recorded_ns(
            workload.arrivals, workload.arrivals.recording, workload.entries, size
        )
        arrival_ns = np.repeat(recorded, len(order) // workload.entries)[:kept]
        arrival_us = arrival_ns / NS_PER_US
    else:
        arrival_us = _arrival_us(scenario, len(order), size)[:kept]
        arrival_ns = _to_ns(arrival_us)
    part = np.repeat(np.arange(parts), per_part) if parts > 1 else np.full(kept, -1)
    return Requests(
        arrival_ns=arrival_ns,
        arrival_us=arrival_us,
        prompt_tokens=tokens.prompt[:kept],
        output_tokens=tokens.output[:kept],
        size=np.full(kept, size, np.int32),
        part=part.astype(np.int32),
        dropped=len(order) - kept,
        **_beside(scenario, order[:kept]),
    )


def _to_ns(arrival_us: Floats) -> I8:
    return np.rint(arrival_us * NS_PER_US).astype(np.int64)


def _repetition(scenario: Scenario) -> I8:
    """Return which of the workload's lengths each entry takes, in the stated order."""
    workload = scenario.workload
    lengths = np.arange(workload.entries)
    if workload.equal_work_batch is None or workload.entry == "request":
        return lengths
    times = workload.equal_work_batch // scenario.deployment.microbatch_size
    if workload.repeat_order == "in_place":
        return np.repeat(lengths, times)
    tiled = np.tile(lengths, times)
    if workload.repeat_order == "tiled":
        return tiled
    return Stream.ORDER.rng(workload.seed).permutation(tiled)


def _arrival_us(scenario: Scenario, count: int, size: int) -> Floats:
    """Return arrival times in microseconds, shape (count,), not decreasing except in `groups`."""
    arrivals = scenario.workload.arrivals
    if arrivals.kind in {"at_zero", "closed_loop"}:
        return np.zeros(count)
    if arrivals.kind == "times":
        given = np.asarray(arrivals.times_s, dtype=np.float64)
        return np.repeat(given, -(-count // len(given)))[:count] * US_PER_S
    if arrivals.kind in RENEWALS:
        rng = Stream.ARRIVALS.rng(scenario.workload.seed)
        return renewal_s(arrivals, count, arrivals.rate_per_s / size, rng) * US_PER_S
    assert arrivals.kind == "groups", arrivals.kind
    return groups_us(
        count, arrivals.rate_per_s, arrivals.group_size or _machines_of_a_part(scenario)
    )


def _machines_of_a_part(scenario: Scenario) -> int:
    return scenario.hardware.machines // scenario.deployment.data_parallel


def _beside(scenario: Scenario, order: I8) -> dict[str, Any]:
    """Return what a recording, or a closed loop, says of each entry beside length and time."""
    workload = scenario.workload
    waiting = {}
    if workload.arrivals.kind == "closed_loop":
        waiting = _closed_loop(scenario, len(order))
    recording = workload.lengths.recording
    if recording is None:
        return waiting
    taken = recording.take(order)
    beside: dict[str, Any] = {
        "tenant": taken.tenant,
        "tenants": taken.tenants,
        "priority": taken.priority,
        "session": taken.session,
        "hash_ids": taken.hash_ids,
        "block_tokens": taken.block_tokens,
    }
    if taken.session is not None:
        beside["turn"] = _turns(taken.session)
    if waiting:  # clients send what comes next, whoever's turn it was
        beside |= {"session": None, "turn": None}
    return beside | waiting


def _turns(session: I4) -> I4:
    """Return how many requests of its session come before each, 0 where it has none."""
    order = np.argsort(session, kind="stable")
    ordered = session[order]
    first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    starts = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    turns = np.empty(len(order), np.int32)
    turns[order] = np.arange(len(order)) - starts
    return np.where(session < 0, 0, turns).astype(np.int32)


# -- answers that are waited for -----------------------------------------------------------------


def _closed_loop(scenario: Scenario, count: int) -> dict[str, Any]:
    """Return what each request waits for: the first of each client for nothing."""
    workload = scenario.workload
    arrivals, clients = workload.arrivals, workload.arrivals.concurrency
    rows = np.arange(count)
    rng = Stream.THINKING.rng(workload.seed)
    thinks = think_ns(arrivals.think_s, arrivals.think, count, rng)
    return {
        "after": np.where(rows < clients, -1, ANYBODY),
        "think_ns": np.where(rows < clients, 0, thinks),
    }


def _of_sessions(scenario: Scenario, size: int) -> Requests:
    """Return conversations, turn after turn; the first turn arrives, the others wait.

    Rows are in order of session and turn.  With `history` a prompt is all
    prompts and answers before it and its own new tokens, cut to
    ``max_prompt_tokens``.  In a closed loop a client begins its next session
    once the one before has ended.
    """
    workload = scenario.workload
    sessions, entries = workload.sessions, workload.entries
    assert sessions is not None
    if sessions.turns is None:
        return _recorded_sessions(scenario, size)
    rng = Stream.TURNS.rng(workload.seed)
    if sessions.fixed:
        turns = np.full(entries, int(sessions.turns))
    else:
        turns = rng.geometric(1.0 / sessions.turns, entries)
    session = np.repeat(np.arange(entries), turns)[:entries]
    turn = _turns(session.astype(np.int32))
    tokens = token_counts(workload.lengths, entries, Stream.LENGTHS.rng(workload.seed))
    prompt = tokens.prompt
    if sessions.history:
        said = np.concatenate(([0], np.cumsum(tokens.prompt.astype(np.int64) + tokens.output)))
        opening = np.flatnonzero(turn == 0)
        before = said[:-1] - said[opening][session]
        longest = workload.lengths.max_prompt_tokens or np.iinfo(np.int32).max
        prompt = np.minimum(before + tokens.prompt, longest).astype(np.int32)
    starts = _starts_us(scenario, int(session[-1]) + 1, size)
    rows = np.arange(entries)
    thinks = think_ns(sessions.think_s, sessions.think, entries, Stream.THINKING.rng(workload.seed))
    after = np.where(turn == 0, -1, rows - 1)
    thinks[turn == 0] = 0
    if workload.arrivals.kind == "closed_loop":
        first = np.flatnonzero(turn == 0)
        between = _closed_loop(scenario, len(first))
        after[first], thinks[first] = between["after"], between["think_ns"]
    arrival_us = starts[session]
    return Requests(
        arrival_ns=_to_ns(arrival_us),
        arrival_us=arrival_us,
        prompt_tokens=prompt,
        output_tokens=tokens.output,
        size=np.full(entries, size, np.int32),
        part=np.full(entries, -1, np.int32),
        session=session.astype(np.int32),
        turn=turn,
        after=after,
        think_ns=thinks,
    )


def _starts_us(scenario: Scenario, count: int, size: int) -> Floats:
    """Return when sessions begin, us, as `_arrival_us` or as recorded, shape (count,)."""
    arrivals = scenario.workload.arrivals
    if arrivals.recording is None:
        return _arrival_us(scenario, count, size)
    starts_us: Floats = recorded_ns(arrivals, arrivals.recording, count, size) / NS_PER_US
    return starts_us


def _recorded_sessions(scenario: Scenario, size: int) -> Requests:
    """Return the recorded requests, each turn after the answer to the one before it.

    With recorded arrivals none is sent before its time either, for the recorded
    user did not; with others these are when sessions begin.  A request of no
    session is a session of its own.
    """
    workload = scenario.workload
    recording, sessions = workload.lengths.recording, workload.sessions
    assert recording is not None
    assert recording.session is not None
    assert sessions is not None
    rows = np.arange(workload.entries)
    session = recording.session[: len(rows)].astype(np.int64)
    whose = np.where(session < 0, -1 - rows, session)
    _, opening, number = np.unique(whose, return_index=True, return_inverse=True)
    order = np.lexsort((rows, number))
    after = np.full(len(rows), -1)
    same = number[order][1:] == number[order][:-1]
    after[order[1:][same]] = order[:-1][same]
    rng = Stream.THINKING.rng(workload.seed)
    thinks = think_ns(sessions.think_s, sessions.think, len(rows), rng)
    if workload.arrivals.recording is not None:
        arrival_us = _starts_us(scenario, len(rows), size)
    else:
        rank = np.empty(len(opening), np.int64)
        rank[np.argsort(opening)] = np.arange(len(opening))
        arrival_us = _starts_us(scenario, len(opening), size)[rank[number]]
    tokens = token_counts(workload.lengths, len(rows), Stream.LENGTHS.rng(workload.seed))
    return Requests(
        arrival_ns=_to_ns(arrival_us),
        arrival_us=arrival_us,
        prompt_tokens=tokens.prompt,
        output_tokens=tokens.output,
        size=np.full(len(rows), size, np.int32),
        part=np.full(len(rows), -1, np.int32),
        after=after,
        think_ns=np.where(after < 0, 0, thinks),
        **_beside(scenario, rows),
    )


# -- tenants -------------------------------------------------------------------------------------


def _of_tenants(scenario: Scenario, size: int) -> Requests:
    """Return the entries of all tenants, in order of arrival; of equal times, as they are listed.

    With arrivals of their own every tenant draws, and the first ``entries`` of
    all of them together are taken; with shares each arrival of the workload
    falls to a tenant at random.
    """
    workload = scenario.workload
    tenants, entries, seed = workload.tenants, workload.entries, workload.seed
    if workload.arrivals.kind == "tenants":
        arrival_us, tenant = _own_arrivals(tenants, entries, size, seed)
    else:
        shares = np.cumsum([each.share for each in tenants])
        uniform = Stream.TENANTS.rng(seed).random(entries)
        tenant = np.searchsorted(shares / shares[-1], uniform, side="right").astype(np.int32)
        arrival_us = _arrival_us(scenario, entries, size)
    prompt, output = np.empty(entries, np.int32), np.empty(entries, np.int32)
    for code, each in enumerate(tenants):
        rows = np.flatnonzero(tenant == code)
        tokens = token_counts(each.lengths, len(rows), Stream.LENGTHS.rng(seed, each.name))
        prompt[rows], output[rows] = tokens.prompt, tokens.output
    priority = np.array([each.priority for each in tenants], np.int32)
    return Requests(
        arrival_ns=_to_ns(arrival_us),
        arrival_us=arrival_us,
        prompt_tokens=prompt,
        output_tokens=output,
        size=np.full(entries, size, np.int32),
        part=np.full(entries, -1, np.int32),
        tenant=tenant,
        tenants=tuple(each.name for each in tenants),
        priority=priority[tenant],
        **_closed_loop(scenario, entries) if workload.arrivals.kind == "closed_loop" else {},
    )


def _own_arrivals(
    tenants: tuple[Tenant, ...], entries: int, size: int, seed: int
) -> tuple[Floats, I4]:
    """Return the first `entries` arrivals of all tenants together, us, and whose each is."""
    times: list[Floats] = []
    for each in tenants:
        assert each.arrivals is not None
        rng = Stream.ARRIVALS.rng(seed, each.name)
        rate_per_s = each.arrivals.rate_per_s / size
        times.append(renewal_s(each.arrivals, entries, rate_per_s, rng) * US_PER_S)
    whose = np.repeat(np.arange(len(tenants)), entries)
    together = np.concatenate(times)
    order = np.argsort(together, kind="stable")[:entries]
    return together[order], whose[order].astype(np.int32)
