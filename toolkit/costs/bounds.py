"""Below which no run of a scenario can end, whatever its schedule: three kinds of lower bound.

*Work conservation*: the stages of a role, all busy from the first arrival on,
need the time of their work.  *Longest entry*: an entry alone on the machines
still has to pass every stage for its prompt and for each of its tokens.
*Link*: KV caches have to get through the interfaces that carry them.

They hold in both disciplines, use nothing but times, sizes and counts, and so
hold a simulation to account: one that ends sooner is wrong.  A bound on the
makespan is one on the throughput: entries / bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from toolkit.costs.engine_bounds import engine_bounds
from toolkit.costs.links import kv_bytes
from toolkit.costs.timing import prompt_stage_s, token_stage_s
from toolkit.errors import FaultError
from toolkit.scenario.model import FixedTiming, Scenario
from toolkit.units import GB, NS_PER_S, ns

__all__ = ["Bound", "Entries", "bounds", "check"]

F8 = npt.NDArray[np.float64]

DRIFT = 1e-8
"""Relative error of a makespan that is a float64 sum of up to some ten million passes."""


class Entries(Protocol):
    """What is asked of requests here: columns of shape (entries,), as `toolkit.workload` has."""

    @property
    def arrival_ns(self) -> npt.NDArray[np.int64]:
        """When each arrives."""

    @property
    def prompt_tokens(self) -> npt.NDArray[np.int32]:
        """Tokens of each prompt."""

    @property
    def output_tokens(self) -> npt.NDArray[np.int32]:
        """Tokens of each answer."""

    @property
    def size(self) -> npt.NDArray[np.int32]:
        """Requests an entry stands for."""

    @property
    def part(self) -> npt.NDArray[np.int32]:
        """The replica each is bound to, -1 for none."""

    @property
    def after(self) -> npt.NDArray[np.int64] | None:
        """The row whose end each waits for, below 0 for none; None: all arrive by themselves."""

    @property
    def think_ns(self) -> npt.NDArray[np.int64] | None:
        """How long after that end each is sent."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A time, seconds from 0, before which the run cannot end; `words` say how it comes about."""

    name: str
    lower_s: float
    words: str


def bounds(
    scenario: Scenario, requests: Entries, cached: npt.NDArray[np.int64] | None = None
) -> tuple[Bound, ...]:
    """Return the lower bounds on the makespan of a scenario that serves `requests`.

    `cached` (entries,) are the tokens of each prompt that a prefix cache may hold already.
    """
    if scenario.deployment.engine is not None:
        return tuple(Bound(*bound) for bound in engine_bounds(scenario, requests, cached))
    costs = _Costs.of(scenario, requests)
    return (
        *_work(scenario, requests, costs),
        _longest(scenario, requests, costs),
        *_link(scenario, requests),
    )


def check(found: Iterable[Bound], makespan_ns: int) -> None:
    """Make sure that a run did not end before it can have.

    Raises:
        FaultError: it did; both numbers are in it.
    """
    for bound in found:
        if makespan_ns + 1 < bound.lower_s * NS_PER_S * (1 - DRIFT):
            raise FaultError(
                f"the simulation ended after {makespan_ns / NS_PER_S:.9g} s, before its bound "
                f"{bound.name}, {bound.lower_s:.9g} s\n  {bound.words}\n"
                "  please report the scenario"
            )


@dataclass(frozen=True, slots=True)
class _Costs:
    """What each entry asks of one stage, seconds, columns of shape (entries,).

    ``..._alone_s`` is the time of a pass that the entry is in, ``..._share_s``
    its part of that time.  Where microbatches form as requests arrive, both are
    the least over all sizes a microbatch may have.
    """

    prompt_alone_s: F8
    prompt_share_s: F8
    token_alone_s: F8
    token_share_s: F8
    passes: F8
    """Decode passes after the prompt."""

    @classmethod
    def of(cls, scenario: Scenario, requests: Entries) -> _Costs:
        timing, deployment = scenario.timing, scenario.deployment
        published = scenario.discipline == "dejavu"
        prompt_tokens = requests.prompt_tokens
        if published:  # one prompt time for all, the first entry's
            prompt_tokens = np.full_like(prompt_tokens, prompt_tokens[0])
        # The event discipline's clock counts whole nanoseconds.
        on_clock: Callable[[float], float] = (
            float if published else lambda seconds: ns(seconds) / NS_PER_S
        )
        slowdown = deployment.stream_slowdown if _streamed(scenario) else 1.0

        def prompt_s(size: int, tokens: int) -> float:
            return slowdown * prompt_stage_s(timing, scenario.prompt_stages, size, tokens)

        def token_s(size: int, _: int) -> float:
            return token_stage_s(timing, scenario.token_stages, size)

        def least(
            pass_s: Callable[[int, int], float], tokens: npt.NDArray[np.int32]
        ) -> tuple[F8, F8]:
            """Return (alone, share) of each entry."""

            def of(size: int, tokens: int) -> tuple[float, float]:
                if scenario.workload.entry == "microbatch":
                    alone = on_clock(pass_s(size, tokens))
                    return alone, alone
                times = {
                    among: on_clock(pass_s(among, tokens))
                    for among in range(1, deployment.microbatch_size + 1)
                }
                return min(times.values()), min(time / among for among, time in times.items())

            alike, which = _alike(requests.size, tokens)
            alone, share = np.array([of(size, count) for size, count in alike], np.float64).T
            return alone[which], share[which]

        passes = requests.output_tokens.astype(np.float64)
        return cls(
            *least(prompt_s, prompt_tokens),
            *least(token_s, np.zeros_like(prompt_tokens)),
            passes if published else passes - 1,
        )


def _alike(
    sizes: npt.NDArray[np.int32], tokens: npt.NDArray[np.int32]
) -> tuple[list[tuple[int, int]], npt.NDArray[np.intp]]:
    """Return the different (size, tokens) of entries, and which of them each entry has."""
    pairs = sizes.astype(np.int64) << 32 | tokens
    if pairs.min() == pairs.max():  # told from the rest without sorting
        return [(int(sizes[0]), int(tokens[0]))], np.zeros(len(pairs), np.intp)
    alike, which = np.unique(pairs, return_inverse=True)
    return [(pair >> 32, pair & 0xFFFFFFFF) for pair in alike.tolist()], which


def _streamed(scenario: Scenario) -> bool:
    deployment = scenario.deployment
    return (
        scenario.discipline == "event"
        and deployment.kind == "disaggregated"
        and deployment.transfer == "layerwise"
    )


# -- work conservation ---------------------------------------------------------------------------


def _work(scenario: Scenario, requests: Entries, costs: _Costs) -> Iterator[Bound]:
    """Yield a bound for each role: every entry occupies every stage of a pipeline of that role."""
    prompt_s, token_s = costs.prompt_share_s, costs.passes * costs.token_share_s
    count = len(requests.arrival_ns)
    prompts, passes = f"{count:,} prompts", f"{int(costs.passes.sum()):,} token passes"
    since_s = float(requests.arrival_ns.min()) / NS_PER_S
    after = f", from the first arrival at {since_s:,.6g} s on" if since_s else ""
    if scenario.deployment.kind == "disaggregated":
        roles = (
            ("prompt", scenario.prompt_stages, prompt_s, prompts),
            ("token", scenario.token_stages, token_s, passes),
        )
        for role, stages, work_s, what in roles:
            total_s = float(work_s.sum())
            whom = _each_of(stages, f"{role} stage")
            words = f"{what} keep {whom} busy for {total_s:,.6g} s{after}"
            yield Bound(f"work_{role}", since_s + total_s, words)
        return
    work_s, replicas = prompt_s + token_s, scenario.deployment.data_parallel
    each_s = float(work_s.sum()) / replicas
    if replicas > 1 and requests.part[0] >= 0:
        each_s = float(np.bincount(requests.part, work_s).max())
        shared = f"; the busiest of {replicas} parts has its own share of them"
    else:
        shared = f", shared by {replicas} replicas" if replicas > 1 else ""
    yield Bound(
        "work_colocated",
        since_s + each_s,
        f"{prompts} and {passes} keep {_each_of(scenario.token_stages, 'stage')} busy for "
        f"{each_s:,.6g} s{shared}{after}",
    )


# -- the longest entry ---------------------------------------------------------------------------


def _longest(scenario: Scenario, requests: Entries, costs: _Costs) -> Bound:
    """Return the bound of the entry that would end last if each had the machines to itself."""
    prompt_s = costs.prompt_alone_s * scenario.prompt_stages
    if scenario.discipline == "dejavu" and scenario.deployment.kind == "disaggregated":
        prompt_s = prompt_s + scenario.timing.cache_s * scenario.prompt_stages
    token_s = costs.token_alone_s * scenario.token_stages
    arrival_s = requests.arrival_ns / NS_PER_S
    ends_s = arrival_s + prompt_s + costs.passes * token_s
    at = int(np.argmax(ends_s))
    arrived = f"arrives at {arrival_s[at]:,.6g} s and " if arrival_s[at] else ""
    return Bound(
        "longest_entry",
        float(ends_s[at]),
        f"entry {at} {arrived}takes {prompt_s[at]:,.6g} s for its prompt and {token_s[at]:,.6g} s "
        f"for each of {int(costs.passes[at]):,} token passes, nobody in its way",
    )


# -- links ---------------------------------------------------------------------------------------


def _link(scenario: Scenario, requests: Entries) -> Iterator[Bound]:
    """Yield the bound of the KV caches through the interfaces that carry them, if any do.

    A cache passes the prompt machines' interfaces outwards and the token
    machines' inwards; the busiest of the side with fewer has at least the
    average.  One shared link carries all.
    """
    if scenario.discipline == "dejavu" or scenario.deployment.kind != "disaggregated":
        return
    sent = requests.output_tokens > 1
    if not sent.any():
        return
    prompt, token = scenario.prompt_stages, scenario.token_stages
    interfaces = 1 if scenario.hardware.links == "shared" else min(prompt, token)
    stated_s, what = _stated_transfer_s(scenario), ""
    if stated_s is not None:
        full = 1 if scenario.workload.entry == "microbatch" else scenario.deployment.microbatch_size
        caches = math.ceil(int(sent.sum()) / full)
        held_s, parts = caches * prompt * stated_s, caches * (prompt + token - 1)
        slack_s = parts * 0.5 / NS_PER_S
        what = f"{caches:,} KV caches of {prompt} x {stated_s:,.6g} s"
    elif scenario.hardware.link is not None and scenario.model is not None:
        model, link = scenario.model, scenario.hardware.link
        tokens = int((requests.size * requests.prompt_tokens.astype(np.int64))[sent].sum())
        nbytes = kv_bytes(model, model.layers, 1, tokens)
        held_s, parts = nbytes / link.bytes_per_s, int(sent.sum()) * (prompt + token - 1)
        slack_s = parts * (0.5 / NS_PER_S + 0.5 / link.bytes_per_s)
        what = f"{nbytes / GB:,.6g} GB of KV caches at {link.bytes_per_s / GB:,.6g} GB/s"
    else:
        return
    since_s = float(requests.arrival_ns.min()) / NS_PER_S
    # Each part of a cache is rounded to whole bytes and nanoseconds, perhaps down.
    lower_s = since_s + max(held_s - slack_s, 0.0) / interfaces
    side = "prompt" if prompt <= token else "token"
    across = f"the network interfaces of {_count(interfaces, f'{side} machine')}"
    if scenario.hardware.links == "shared":
        across = "one shared link"
    if held_s > 0:
        yield Bound("link", lower_s, f"{what} over {across} take {lower_s - since_s:,.6g} s")


def _stated_transfer_s(scenario: Scenario) -> float | None:
    """Return the stated time of one prompt stage's KV transfer; None: it goes by bytes."""
    stated, timing = scenario.deployment.transfer_time_s, scenario.timing
    if stated is not None:
        return stated
    return timing.cache_s if isinstance(timing, FixedTiming) or timing.cache_s > 0 else None


def _each_of(count: int, what: str) -> str:
    return f"each of {count} {what}s" if count > 1 else f"the {what}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}s" if count > 1 else f"{count} {what}"
