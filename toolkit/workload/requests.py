"""The workload of one scenario as a table of entries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.recordings.recording import Ragged
from toolkit.scenario.model import Scenario, Tenant
from toolkit.units import NS_PER_US, US_PER_S
from toolkit.workload.arrivals import groups_us, recorded_ns, renewal_s, think_ns
from toolkit.workload.lengths import TokenCounts, token_counts

__all__ = ["Requests", "Stream", "build"]

I4 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

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
    FAILURES = 7

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
    ``think_ns`` after the request of that row has ended, and its
    ``arrival_ns`` says nothing.  ``hash_ids`` are the blocks of
    ``block_tokens`` tokens of each prompt, equal where all text up to there is.
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

    def __len__(self) -> int:
        return len(self.arrival_ns)

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
    """Return the entries that a scenario's deployment serves.

    With `equal_work_batch` B every entry is repeated B / microbatch_size
    times, so that deployments with other microbatch sizes serve the same
    requests.  In the `dejavu` discipline data-parallel parts are consecutive
    and equal, each with arrivals of its own from 0; what is left over is
    dropped, as published.
    """
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
    if workload.arrivals.kind == "closed_loop":
        return _closed_loop(scenario, len(order))
    recording = workload.lengths.recording
    if recording is None:
        return {}
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
    return beside


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
    """Return whom each request waits for: client i sends requests i, i + clients, and so on."""
    workload = scenario.workload
    arrivals, clients = workload.arrivals, workload.arrivals.concurrency
    rows = np.arange(count)
    rng = Stream.THINKING.rng(workload.seed)
    thinks = think_ns(arrivals.think_s, arrivals.think, count, rng)
    return {
        "session": (rows % clients).astype(np.int32),
        "turn": (rows // clients).astype(np.int32),
        "after": np.where(rows < clients, -1, rows - clients),
        "think_ns": np.where(rows < clients, 0, thinks),
    }


def _of_sessions(scenario: Scenario, size: int) -> Requests:
    """Return conversations, turn after turn; the first turn arrives, the others wait.

    Rows are in order of session and turn.  With `history` a prompt is all
    prompts and answers before it and its own new tokens, cut to
    ``max_prompt_tokens``.
    """
    workload = scenario.workload
    sessions, entries = workload.sessions, workload.entries
    assert sessions is not None
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
    starts = _arrival_us(scenario, int(session[-1]) + 1, size)
    rows = np.arange(entries)
    thinks = think_ns(sessions.think_s, sessions.think, entries, Stream.THINKING.rng(workload.seed))
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
        after=np.where(turn == 0, -1, rows - 1),
        think_ns=np.where(turn == 0, 0, thinks),
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
