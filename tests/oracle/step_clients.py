"""Clients the obvious way: lists that are sorted when asked, one request after the other.

What is sent when, when it is given up, and what comes after it: the rules of
`toolkit.simulator.engine_feedback`, told without heaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from toolkit.scenario.model import Clients as Rules
from toolkit.scenario.model import Scenario
from toolkit.workload.requests import ANYBODY, Requests

__all__ = ["Clients"]

NS_PER_S = 10**9


class Known(Protocol):
    """What is asked of a request here."""

    tokens: list[int]
    finish: int | None
    leaving: str
    outcome: str


@dataclass
class Try:
    """One time that a row of the workload is sent."""

    entry: int
    attempt: int
    began: int


class Clients:
    """Who sends what when."""

    def __init__(self, scenario: Scenario, requests: Requests) -> None:
        """Know what is sent whatever happens."""
        self.rules = scenario.workload.clients or Rules()
        self.requests = requests
        self.tries = [Try(entry, 0, 0) for entry in range(len(requests))]
        self.to_send = sorted(
            (int(requests.arrival_ns[entry]), entry)
            for entry in range(len(requests))
            if self.waits_for(entry) == -1
        )
        self.pool = [each for each in range(len(requests)) if self.waits_for(each) == ANYBODY]
        self.deadlines: list[tuple[int, int, str]] = []

    def waits_for(self, entry: int) -> int:
        """Return the row whose end a row waits for, -1 for none."""
        return -1 if self.requests.after is None else int(self.requests.after[entry])

    def patience(self, entry: int) -> int | None:
        """Return how long a row's client waits, ns; None for ever."""
        patience = self.requests.patience_ns
        return None if patience is None or patience[entry] < 0 else int(patience[entry])

    def times(self) -> list[int]:
        """Return when something happens here next, as far as is known."""
        return [*(self.to_send[0][:1] if self.to_send else ()), *(at for at, *_ in self.deadlines)]

    def send(self, number: int) -> tuple[int, int]:
        """Send what is due, to be request `number`; return the key of the try, and its row."""
        now, key = self.to_send.pop(0)
        one = self.tries[key]
        if one.attempt == 0:
            one.began = now
        patience = self.patience(one.entry)
        for limit_s, what in ((self.rules.first_token_s, "first"), (self.rules.whole_s, "whole")):
            if limit_s is not None:
                self.deadlines.append((now + round(limit_s * NS_PER_S), number, what))
        if patience is not None:
            self.deadlines.append((one.began + patience, number, "zz patience"))
        return key, one.entry

    def overdue(self, now: int, answers: Sequence[Known]) -> list[tuple[int, str]]:
        """Return who is given up now, and as what; of one request the timeout comes first."""
        found: dict[int, str] = {}
        for at, number, what in sorted(self.deadlines):
            answer = answers[number]
            gone = answer.finish is not None or answer.leaving or answer.outcome != "served"
            if at == now and not gone and not (what == "first" and answer.tokens):
                found.setdefault(number, "cancelled" if "patience" in what else "timed_out")
        self.deadlines = [each for each in self.deadlines if each[0] > now]
        return list(found.items())

    def ended(self, key: int, outcome: str, now: int) -> None:
        """Try again, or go on to what waited for this."""
        one = self.tries[key]
        if outcome in {"timed_out", "refused"} and one.attempt < self.rules.max_retries:
            assert self.requests.backoff_ns is not None
            waits = self.requests.backoff_ns[one.entry % len(self.requests.backoff_ns)]
            at, patience = now + int(waits[one.attempt]), self.patience(one.entry)
            if patience is None or at < one.began + patience:
                self.to_send.append((at, len(self.tries)))
                self.to_send.sort()
                self.tries.append(Try(one.entry, one.attempt + 1, one.began))
                return
        entries = range(len(self.requests))
        after = [entry for entry in entries if self.waits_for(entry) == one.entry]
        if not after and self.pool:
            after = [self.pool.pop(0)]
        for entry in after:
            assert self.requests.think_ns is not None
            at = now + int(self.requests.think_ns[entry])
            self.to_send.append((max(at, int(self.requests.arrival_ns[entry])), entry))
            self.to_send.sort()
