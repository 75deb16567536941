"""Continuous batching the obvious way: one step after the other, one token after the other.

No runs, no jumps, no compiled code, no heaps: lists that are sorted when
asked.  With the engine of `toolkit.simulator` it shares what a step costs
(`step_ns`, `run_ns`) and nothing else, and has to agree with it to the
nanosecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from block_cache import BlockCache, Text, texts
from step_clients import Clients
from step_pools import Pools

from toolkit.costs.memory import host_block_s, host_blocks, kv_room
from toolkit.costs.steps import StepCosts, step_costs
from toolkit.scenario.model import Engine, Scenario
from toolkit.scenario.pools import pools
from toolkit.simulator.engine_state import run_ns, step_ns
from toolkit.units import NS_PER_S
from toolkit.workload.requests import Requests, Stream

__all__ = ["Answer", "Pools", "Replica", "Span", "play"]


@dataclass(eq=False)
class Answer:
    """One request, and what becomes of it."""

    number: int
    arrival: int
    prompt: int
    output: int
    key: int
    replica: int | None = None
    tokens: list[int] = field(default_factory=list)
    """When each token of the answer was out."""
    computed: int = 0
    blocks: int = 0
    start: int | None = None
    decode_start: int | None = None
    finish: int | None = None
    outcome: str = "served"
    key_of_try: int = 0
    leaving: str = ""
    """What becomes of it at the end of the step under way."""
    given_up: int | None = None
    evicted: bool = False
    prefilling: bool = False
    """Whether part of its prompt, or of what it has to compute anew, is still to be computed."""
    preemptions: int = 0
    cached_at: int = 0
    """Blocks set aside where it is to decode, until its KV cache has arrived there."""
    origin: int | None = None
    prefill_end: int | None = None
    reserved: int = 0
    landing: tuple[int, int, int | None] | None = None
    """Start and end of its transfer, and who had held the lane."""
    target: Replica | None = None
    cause: str = "queue"
    since: int = 0
    waits: list[tuple[int, int, str]] = field(default_factory=list)
    text: Text = ()
    held: list[int] = field(default_factory=list)
    """With a prefix cache, which blocks it has."""
    cached: int | None = None
    """With a prefix cache, tokens it found there as it was first admitted."""
    away: int = 0
    """Tokens whose KV cache is in host memory."""

    @property
    def refused(self) -> bool:
        """Whether it was turned away."""
        return self.outcome == "refused"

    @property
    def place(self) -> tuple[int, int]:
        """Its place in a queue."""
        return self.key, self.number

    @property
    def to_compute(self) -> int:
        """Prompt and answer so far: what has to be computed before the next token."""
        return self.prompt + len(self.tokens)

    def waited(self, since: int, until: int, cause: str) -> None:
        """Note a wait, as one with the last where they touch and have one cause."""
        if until <= since:
            return
        if self.waits and self.waits[-1][1:] == (since, cause):
            since = self.waits.pop()[0]
        self.waits.append((since, until, cause))

    def handed_waits(self, now: int, cause: str) -> None:
        """Change the cause for which it waits since its prompt's end, if that was before."""
        assert self.prefill_end is not None
        since = max(self.since, self.prefill_end)
        self.waited(since, now, self.cause)
        self.since, self.cause = max(now, since), cause

    def now_waits(self, now: int, cause: str) -> None:
        """Change the cause for which it waits; a preempted one keeps its own."""
        gave_way = "swapped" if self.away else "preempted"
        self.waited(self.since, now, gave_way if self.evicted else self.cause)
        self.since, self.cause = now, cause


@dataclass(frozen=True)
class Span:
    """One step of a replica."""

    start: int
    end: int
    replica: int
    name: str
    requests: tuple[int, ...]


@dataclass
class Host:
    """Host memory of a replica: free blocks, and how long blocks take to or from it."""

    free: int
    latency_ns: float
    block_ns: float

    def ns(self, blocks: int) -> int:
        """Return how long so many blocks take."""
        return max(int(self.latency_ns + self.block_ns * blocks + 0.5), 1)


class Replica:
    """One engine: its queue, its batch, and the step under way."""

    def __init__(self, number: int, costs: StepCosts, rules: Engine, blocks: int | None) -> None:
        """Begin idle and empty; without `blocks` there is always one free."""
        self.number, self.costs, self.rules = number, costs, rules
        self.blocks = blocks
        self.queue: list[Answer] = []
        self.batch: list[Answer] = []
        self.end: int | None = None
        self.began = 0
        self.chunks: dict[int, int] = {}
        self.decodes: list[Answer] = []
        self.run: tuple[list[Answer], int, int, int] | None = None  # batch, anchor, context, steps
        self.spans: list[Span] = []
        self.used_at: dict[int, int] = {}
        self.cached_at: dict[int, int] = {}
        self.cache = BlockCache(rules.kv_block_tokens, blocks) if rules.prefix_caching else None
        self.host: Host | None = None
        self.moves: list[tuple[str, int]] = []
        self.sent: list[Answer] = []  # their prompts were computed here; their caches have not left
        self.incoming: list[Answer] = []
        self.coming: list[Answer] = []  # taken over, not arrived
        self.landed: list[Answer] = []
        self.pools: Pools | None = None

    @property
    def used(self) -> int:
        """Blocks in use."""
        if self.cache:
            return self.cache.used
        held = [*self.batch, *self.sent, *self.landed]
        return sum(answer.blocks for answer in held) + sum(each.cached_at for each in self.coming)

    def free(self, blocks: int) -> bool:
        """Return whether so many blocks are free."""
        return self.blocks is None or self.used + blocks <= self.blocks

    def blocks_of(self, tokens: int) -> int:
        """Return the blocks of so many tokens."""
        return -(-tokens // self.rules.kv_block_tokens)

    def enqueue(self, answer: Answer, now: int) -> None:
        """Let a request wait here."""
        head = self.queue[0] if self.queue else None
        answer.since, answer.cause = now, "queue"
        self.queue = sorted([*self.queue, answer], key=lambda each: each.place)
        if self.queue[0] is answer:
            if head is not None:
                head.now_waits(now, "queue")
            seats = len(self.batch) < self.rules.max_num_seqs
            answer.cause = "behind_batch" if seats else "queue"

    def finish_step(self, now: int) -> list[Answer]:
        """The step under way ends: its tokens are out; return who is done with."""
        names = [answer.number for answer in self.batch]
        worked = tuple(
            number
            for number in names
            if number in self.chunks or number in {each.number for each in self.decodes}
        )
        name = ("mixed" if self.decodes else "prefill") if self.chunks else "decode"
        recomputed: int | None = None
        for answer in list(self.batch):
            if answer.number in self.chunks:
                answer.computed += self.chunks[answer.number]
                if answer.computed == answer.to_compute:
                    answer.prefilling = False
                    answer.tokens.append(now)
                elif answer.tokens:
                    answer.waited(self.began, now, "preempted")
                    recomputed = answer.number
            elif answer in self.decodes:
                answer.computed += 1
                answer.tokens.append(now)
            else:
                answer.waited(self.began, now, "behind_prompt")
        worked = tuple(number for number in worked if number != recomputed)
        self.spans.append(Span(self.began, now, self.number, name, worked))
        done = [each for each in self.batch if each.leaving or len(each.tokens) == each.output]
        for answer in done:
            self.let_go(answer, now)
        for answer in list(self.batch):
            if self.pools and answer.tokens and self in self.pools.prompts:
                answer.prefill_end = now
                self.batch.remove(answer)
                self.sent.append(answer)
                if not self.pools.streamed:
                    self.pools.hand_over(answer, now)
        if self.chunks:
            self.run = None
        self.end = None
        self.count(now)
        return done

    def count(self, now: int) -> None:
        """Note how many blocks are used, and free but cached."""
        self.used_at[now] = self.used
        if self.cache:
            self.cached_at[now] = self.cache.cached

    def drop(self, answer: Answer) -> None:
        """Take a request's blocks from it."""
        answer.blocks = 0
        if self.cache:
            self.cache.release(answer.held)
            answer.held = []

    def know(self, answer: Answer, tokens: int) -> None:
        """Let the blocks be known that a request's first tokens fill."""
        if self.cache:
            self.cache.learn(answer.held, answer.text, tokens)

    def let_go(self, answer: Answer, now: int) -> None:
        """A request leaves the batch for good."""
        answer.finish = now
        self.drop(answer)
        answer.outcome = answer.leaving or "served"
        self.batch.remove(answer)
        self.run = None
        self.count(now)

    def give_up(self, answer: Answer, outcome: str, now: int) -> None:
        """A client is gone: its request leaves the queue, or the batch once it is in no step."""
        answer.leaving, answer.given_up = outcome, now
        if answer in self.queue:
            head = self.queue[0]
            walk_out(answer, self.queue, now)
            if answer is head and self.queue:
                seats = len(self.batch) < self.rules.max_num_seqs
                self.queue[0].now_waits(now, "behind_batch" if seats else "queue")
        elif self.end is None:
            self.let_go(answer, now)

    def form(self, now: int, shared: list[Answer]) -> bool:
        """Form the next batch and start its step; return whether anything changed."""
        self.chunks = {}
        self.moves = []
        preempted = False
        before = (list(self.batch), list(self.incoming))
        if self.rules.step_order == "prefill_first":
            self.admit_landed(now)
            self.take_prompts(now, shared, self.rules.max_num_batched_tokens, admit=True)
            if not self.chunks:
                preempted = self.grow(now)
            self.decodes = [] if self.chunks else list(self.batch)
            self.know_decodes()
        else:
            preempted = self.grow(now)
            if not preempted:
                self.admit_landed(now)
            self.decodes = [each for each in self.batch if not each.prefilling]
            self.know_decodes()
            budget = self.rules.max_num_batched_tokens - len(self.decodes)
            self.take_prompts(now, shared, budget, admit=not preempted)
            if preempted and self.queue:
                self.stand(now, "kv_room")
        self.take_over(now, held=preempted)
        self.count(now)
        if not self.decodes and not self.chunks:
            return before != (self.batch, self.incoming)
        if preempted:
            self.run = None
        formed, now = now, self.moved(now)
        for answer in self.batch:
            answer.waited(formed, now, "swapped")
            if answer.start == formed:
                answer.start = now
        for answer in self.batch:
            works = answer in self.decodes or answer.number in self.chunks
            if works and answer.tokens and answer.decode_start is None:
                answer.decode_start = now
        self.began = now
        self.end = self.end_of_step(now)
        if self.pools and self.pools.streamed and self in self.pools.prompts:
            for answer in self.batch:
                ends = answer.computed + self.chunks.get(answer.number, 0) == answer.prompt
                if ends and answer.output > 1:
                    answer.prefill_end = self.end
                    self.pools.hand_over(answer, now)
        return True

    def admit_landed(self, now: int) -> None:
        """Let those decode whose KV cache has arrived, while there are seats."""
        while self.landed:
            answer = self.landed[0]
            if len(self.batch) == self.rules.max_num_seqs:
                if answer.cause != "queue":
                    answer.now_waits(now, "queue")
                return
            answer.now_waits(now, "")
            answer.replica = self.number
            self.batch.append(self.landed.pop(0))

    def take_over(self, now: int, *, held: bool) -> None:
        """Set blocks aside for those who come, in their order, and send for their KV caches."""
        if self.queue and not self.free(self.blocks_of(self.queue[0].to_compute)):
            held = True
        while self.incoming:
            answer = self.incoming[0]
            wanted = self.blocks_of(answer.prompt + 1)
            if held or not self.free(wanted):
                if answer.cause != "kv_room":
                    answer.handed_waits(now, "kv_room")
                return
            self.coming.append(self.incoming.pop(0))
            answer.cached_at = wanted
            answer.reserved = now
            assert self.pools is not None
            self.pools.send(answer, now)

    def land(self, answer: Answer, now: int) -> None:
        """A KV cache has arrived."""
        assert answer.landing is not None
        start, _, holder = answer.landing
        answer.handed_waits(answer.reserved, "link_busy")
        if start > answer.since:
            answer.now_waits(start, "transfer")
        else:
            answer.cause = "transfer"
        del holder
        answer.now_waits(now, "queue")
        self.coming.remove(answer)
        answer.blocks, answer.cached_at = answer.cached_at, 0
        if len(self.batch) + len(self.landed) < self.rules.max_num_seqs:
            answer.cause = "behind_batch"
        self.landed = sorted([*self.landed, answer], key=lambda each: each.place)
        self.count(now)

    def moved(self, now: int) -> int:
        """Move what is to be swapped, one after the other; return when all of it has moved."""
        for name, took in self.moves:
            self.spans.append(Span(now, now + took, self.number, name, ()))
            now += took
        return now

    def know_decodes(self) -> None:
        """Let the blocks be known that this step's decodes fill."""
        for answer in self.decodes:
            self.know(answer, answer.computed + 1)

    def end_of_step(self, now: int) -> int:
        """Return when the step just formed ends."""
        context = sum(answer.computed + 1 for answer in self.decodes)
        if not self.chunks:
            if self.run is None or self.run[0] != self.decodes:
                self.run = (list(self.decodes), now, context, 0)
            batch, anchor, first, steps = self.run
            self.run = (batch, anchor, first, steps + 1)
            return anchor + int(run_ns(self.costs, len(batch), first, steps + 1))
        self.run = None
        cut = [
            (each, self.chunks[each.number]) for each in self.batch if each.number in self.chunks
        ]
        ends = [each for each, size in cut if each.computed + size == each.to_compute]
        return now + int(
            step_ns(
                self.costs,
                len(self.decodes),
                context,
                len(cut),
                sum(size for _, size in cut),
                sum(each.computed + token + 1 for each, size in cut for token in range(size)),
                sum(each.computed + size for each, size in cut),
                len(self.decodes) + len(ends),
            )
        )

    def grow(self, now: int) -> bool:
        """Give each decode the block of its next token; return whether any gave way for it."""
        preempted = False
        for answer in list(self.batch):
            if answer not in self.batch or answer.prefilling:
                continue
            needed = self.blocks_of(answer.computed + 1) - answer.blocks
            while answer in self.batch and not self.free(needed):
                victim = self.batch[-1]
                if self.rules.queue_order == "priority":
                    victim = max(self.batch, key=lambda each: each.place)
                self.evict(victim, now)
                preempted = True
            if answer in self.batch:
                answer.blocks += needed
                if self.cache:
                    answer.held += self.cache.take([], needed)
        return preempted

    def evict(self, victim: Answer, now: int) -> None:
        """Drop a request's KV cache and let it wait again."""
        self.batch.remove(victim)
        self.drop(victim)
        blocks = self.blocks_of(victim.computed)
        if self.host and 0 < blocks <= self.host.free:
            self.host.free -= blocks
            victim.away = victim.computed
            self.moves.append(("swap_out", self.host.ns(blocks)))
        victim.computed = 0
        victim.preemptions += 1
        victim.evicted = True
        self.enqueue(victim, now)

    def take_prompts(self, now: int, shared: list[Answer], budget: int, *, admit: bool) -> None:
        """Give prompts the tokens of the step: those under way, then those that wait."""
        for answer in self.batch:
            if answer.prefilling:
                size = min(answer.to_compute - answer.computed, budget)
                self.chunks[answer.number] = size
                self.know(answer, answer.computed + size)
                budget -= size
        while admit and (self.queue or shared):
            queue = self.queue or shared
            answer = queue[0]
            obstacle = self.obstacle(answer, budget)
            if obstacle:
                if queue is self.queue:
                    self.stand(now, obstacle)
                return
            queue.pop(0)
            answer.now_waits(now, "")
            answer.evicted, answer.prefilling = False, True
            if queue is self.queue and queue:
                queue[0].now_waits(now, "queue")
            answer.replica = self.number
            answer.start = now if answer.start is None else answer.start
            answer.blocks = self.blocks_of(answer.to_compute)
            if self.cache:
                found = self.found(answer)
                answer.held = self.cache.take(found, answer.blocks)
                answer.computed = len(found) * self.rules.kv_block_tokens
                answer.cached = answer.computed if answer.cached is None else answer.cached
            if answer.away and self.host:
                blocks = self.blocks_of(answer.away)
                self.host.free += blocks
                answer.computed, answer.away = answer.away, 0
                self.moves.append(("swap_in", self.host.ns(blocks)))
            size = min(answer.to_compute - answer.computed, budget)
            self.know(answer, answer.computed + size)
            self.chunks[answer.number] = size
            budget -= size
            self.batch.append(answer)

    def obstacle(self, answer: Answer, budget: int) -> str:
        """Return why a request cannot be admitted, empty if it can."""
        if len(self.batch) == self.rules.max_num_seqs:
            return "queue"
        found = self.found(answer)
        left = answer.to_compute - (answer.away or len(found) * self.rules.kv_block_tokens)
        if not budget or (not self.rules.chunked_prefill and left > budget):
            return "behind_prompt"
        blocks = self.blocks_of(answer.to_compute)
        room = self.cache.fits(found, blocks) if self.cache else self.free(blocks)
        return "" if room else "kv_room"

    def found(self, answer: Answer) -> list[int]:
        """Return the blocks of the cache that a request can use; those swapped out need none."""
        if not self.cache or answer.away:
            return []
        return self.cache.find(answer.text, answer.to_compute)

    def stand(self, now: int, cause: str) -> None:
        """Say why the first of the queue stands."""
        if self.queue[0].cause != cause:
            self.queue[0].now_waits(now, cause)


def walk_out(answer: Answer, queue: list[Answer], now: int) -> None:
    """A request that waits leaves its queue for good."""
    answer.now_waits(now, "")
    answer.finish, answer.outcome = now, answer.leaving
    queue.remove(answer)


def play(scenario: Scenario, requests: Requests) -> tuple[list[Answer], list[Replica]]:
    """Play a scenario with continuous batching.

    Returns requests in the workload's order, those sent again behind them as they were.
    """
    rules = scenario.deployment.engine
    assert rules is not None
    replicas: list[Replica] = []
    for pool in pools(scenario):
        engine, costs, blocks = pool.deployment.engine, step_costs(pool), kv_room(pool).blocks
        assert engine is not None
        for _ in range(pool.deployment.data_parallel):
            replica = Replica(len(replicas), costs, engine, blocks)
            replicas.append(replica)
            if engine.preemption == "swap":
                latency_ns = engine.host_link_latency_s * NS_PER_S
                block_ns = host_block_s(pool) * NS_PER_S
                replica.host = Host(host_blocks(pool), latency_ns, block_ns)
    split = Pools(scenario, replicas) if scenario.token_pool is not None else None
    for replica in replicas:
        replica.pools = split
    for replica in split.tokens if split else ():
        replica.cache = None
    written = texts(scenario, requests) if rules.prefix_caching else None
    front = replicas if split is None else split.prompts
    clients = Clients(scenario, requests)
    answers: list[Answer] = []
    route = _Router(scenario, len(requests))
    shared: list[Answer] = []
    while True:
        under_way = [each for token in replicas for each in token.coming if each.landing]
        times = [replica.end for replica in replicas if replica.end is not None]
        times += [each.landing[1] for each in under_way if each.landing]
        if not times and not clients.to_send:
            break
        now = min([*times, *clients.times()])
        for replica in replicas:
            if replica.end == now:
                for answer in replica.finish_step(now):
                    if not answer.leaving:
                        clients.ended(answer.key_of_try, "served", now)
        under_way = [each for token in replicas for each in token.coming if each.landing]
        for answer in sorted(under_way, key=lambda each: each.number):
            if answer.landing is not None and answer.landing[1] == now:
                assert answer.target is not None
                assert answer.origin is not None
                replicas[answer.origin].sent.remove(answer)
                replicas[answer.origin].drop(answer)
                answer.target.land(answer, now)
                replicas[answer.origin].count(now)
        for number, outcome in clients.overdue(now, answers):
            answer = answers[number]
            if answer in shared:
                answer.leaving, answer.given_up = outcome, now
                walk_out(answer, shared, now)
            else:
                next(each for each in replicas if answer in [*each.queue, *each.batch]).give_up(
                    answer, outcome, now
                )
            clients.ended(answer.key_of_try, outcome, now)
        while clients.to_send and clients.to_send[0][0] == now:
            key, entry = clients.send(len(answers))
            answer = _answer(requests, rules, len(answers), entry, now)
            answer.key_of_try = key
            if written is not None:
                answer.text = written[entry]
            answers.append(answer)
            at = route(answer, front)
            waiting = shared if at is None else replicas[at].queue
            if rules.max_waiting is not None and len(waiting) >= rules.max_waiting:
                answer.outcome = "refused"
                clients.ended(key, "refused", now)
            elif at is None:
                answer.since = now
                shared.append(answer)
                shared.sort(key=lambda each: each.place)
            else:
                replicas[at].enqueue(answer, now)
        while any(
            replica.form(now, shared if replica in front else [])
            for replica in replicas
            if replica.end is None
        ):
            pass
    return sorted(answers, key=lambda each: each.key_of_try), replicas


def _answer(requests: Requests, rules: Engine, number: int, entry: int, now: int) -> Answer:
    prompt = int(requests.prompt_tokens[entry])
    key = prompt if rules.queue_order == "shortest_first" else 0
    if rules.queue_order == "priority" and requests.priority is not None:
        key = int(requests.priority[entry])
    output = int(requests.output_tokens[entry])
    return Answer(number, now, prompt, output, key)


class _Router:
    """Who gets an arrival: a replica's number, None for a queue they share."""

    def __init__(self, scenario: Scenario, count: int) -> None:
        self.kind = scenario.deployment.router
        self.turn = 0
        replicas = pools(scenario)[0].deployment.data_parallel
        rng = Stream.ROUTER.rng(scenario.workload.seed)
        one = rng.integers(0, replicas, count)
        other = (one + rng.integers(1, max(replicas, 2), count)) % replicas
        self.draws = np.stack((one, other), axis=1).tolist()

    def __call__(self, answer: Answer, replicas: list[Replica]) -> int | None:
        if self.kind == "shared_queue":
            return None
        if self.kind == "round_robin":
            self.turn += 1
            return (self.turn - 1) % len(replicas)
        among = list(range(len(replicas)))
        if self.kind == "prefix_affinity":
            return self.most_akin(answer, replicas)
        if self.kind == "power_of_two":
            among = sorted(self.draws[answer.number % len(self.draws)])

        def load(number: int) -> int:
            replica = replicas[number]
            running = 0 if self.kind == "shortest_queue" else len(replica.batch)
            return len(replica.queue) + running

        return min(among, key=lambda number: (load(number), number))

    def most_akin(self, answer: Answer, replicas: list[Replica]) -> int:
        """Return the replica with the longest prefix, if loads are alike; else the least loaded."""
        loads = [len(replica.queue) + len(replica.batch) for replica in replicas]
        found = [0] * len(replicas)
        if max(loads) - min(loads) <= replicas[0].rules.affinity_imbalance:
            found = [
                len(replica.cache.find(answer.text, answer.prompt)) if replica.cache else 0
                for replica in replicas
            ]
        return min(range(len(replicas)), key=lambda at: (-found[at], loads[at], at))
