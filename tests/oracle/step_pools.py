"""Prompt replicas, token replicas and the lanes between them, told without heaps.

The rules of `toolkit.simulator.engine_handover`.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

import numpy as np

from toolkit.scenario.model import Scenario
from toolkit.units import ns
from toolkit.workload.requests import Stream

if TYPE_CHECKING:
    from step_engine import Answer, Replica

__all__ = ["Pools"]


class Pools:
    """Prompt replicas, token replicas, and the lanes between them."""

    def __init__(self, scenario: Scenario, replicas: list[Replica]) -> None:
        """Tell the replicas apart; every lane is free."""
        deployment, self.link = scenario.deployment, scenario.hardware.link
        self.prompts = replicas[: deployment.prompt_machines]
        self.tokens = replicas[deployment.prompt_machines :]
        self.streamed = deployment.transfer == "layerwise"
        self.stated_s = deployment.transfer_time_s
        self.model = scenario.model
        lanes = 1 if self.link is None else self.link.lanes
        self.shared = scenario.hardware.links == "shared"
        ends = 1 if self.shared else len(replicas)
        self.lanes: list[list[tuple[int, int | None]]] = [[(0, None)] * lanes for _ in range(ends)]
        token = scenario.token_pool
        assert token is not None
        self.kind, self.turn = token.router, 0
        rng = Stream.TOKEN_ROUTER.rng(scenario.workload.seed)
        count = len(self.tokens)
        entries = scenario.workload.entries
        one = rng.integers(0, count, entries)
        other = (one + rng.integers(1, max(count, 2), entries)) % count
        self.draws = np.stack((one, other), axis=1).tolist()

    def hand_over(self, answer: Answer, now: int) -> None:
        """Choose who is to decode a request."""
        among = list(range(len(self.tokens)))
        if self.kind == "power_of_two":
            among = sorted(self.draws[answer.number % len(self.draws)])

        def load(number: int) -> tuple[int, int]:
            token = self.tokens[number]
            waiting = len(token.queue) + len(token.incoming) + len(token.coming) + len(token.landed)
            running = 0 if self.kind == "shortest_queue" else len(token.batch)
            return waiting + running, number

        if self.kind == "round_robin":
            target = self.tokens[self.turn % len(self.tokens)]
            self.turn += 1
        else:
            target = self.tokens[min(among, key=load)]
        answer.origin, answer.target, answer.since = answer.replica, target, now
        target.incoming = sorted([*target.incoming, answer], key=lambda each: each.place)
        first = target.incoming[0]
        answer.cause = "behind_batch" if first is answer else first.cause

    def send(self, answer: Answer, now: int) -> None:
        """Put a KV cache on the lanes that are free first."""
        assert answer.origin is not None
        assert answer.target is not None
        assert answer.prefill_end is not None
        took, last, layers = self.times(answer)
        start, end = now, 0
        sender = self.prompts[answer.origin]
        if not answer.tokens:  # its layers leave as they are computed
            assert sender.end is not None
            if answer.computed == 0:
                start = max(now, sender.began + (sender.end - sender.began) // layers)
            end = sender.end + last
        out = 0 if self.shared else answer.origin
        into = 0 if self.shared else answer.target.number
        chosen = [(at, self.lanes[at].index(min(self.lanes[at], key=_free))) for at in {out, into}]
        chosen.sort(key=lambda each: -self.lanes[each[0]][each[1]][0])
        latest, holder = self.lanes[chosen[0][0]][chosen[0][1]]
        start = max(start, latest)
        end = max(end, start + took)
        for at, lane in chosen:
            self.lanes[at][lane] = (end, answer.number)
        answer.landing = (start, end, holder)

    def times(self, answer: Answer) -> tuple[int, int, int]:
        """Return ns of a whole transfer, ns of its last layer, and layers."""
        layers = 1 if self.model is None else self.model.layers
        if self.stated_s is not None:
            whole = ns(self.stated_s)
            return whole, floor(whole / layers + 0.5), layers
        assert self.link is not None
        assert self.model is not None
        size = round(answer.prompt * self.model.kv_bytes_per_token)
        of_layer = self.model.kv_bytes_per_token / layers / self.link.bytes_per_s * 1e9
        last = self.link.latency_s * 1e9 + of_layer * (answer.prompt - answer.computed)
        return ns(self.link.latency_s + size / self.link.bytes_per_s), floor(last + 0.5), layers


def _free(lane: tuple[int, int | None]) -> int:
    return lane[0]
