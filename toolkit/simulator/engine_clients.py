"""Between a workload whose arrivals hang on the run and the engines that play it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from toolkit.scenario.model import Scenario
from toolkit.simulator.engine_state import (
    CLIENT_FIELDS,
    NEVER,
    PATIENCE_FIELDS,
    EngineState,
)
from toolkit.simulator.kernel import Records, records
from toolkit.trace.columns import NULL
from toolkit.units import NS_PER_S, NS_PER_US
from toolkit.workload.requests import ANYBODY, Requests

__all__ = [
    "as_sent",
    "clients_of",
    "hang_on_the_run",
    "keys",
    "patience_of",
    "pool_of",
    "spare_rows",
]

I8 = npt.NDArray[np.int64]

SPARE = 2
"""Rows beyond those that are known to be needed, so that the last is never the limit."""


def hang_on_the_run(scenario: Scenario, requests: Requests) -> bool:
    """Return whether what is sent when, or until when it is waited for, hangs on the run."""
    return requests.after is not None or scenario.workload.clients is not None


def spare_rows(requests: Requests) -> int:
    """Return room for the tries of a workload to begin with; it grows where it has to."""
    again = len(requests) // 8 if requests.backoff_ns is not None else 0
    return len(requests) + again + SPARE


def clients_of(requests: Requests, known: Records) -> Records:
    """Return the rows of a workload as clients send them; `known` has tokens and keys of each."""
    rows = records(CLIENT_FIELDS, len(requests))
    for field in ("arrival", "prompt", "output", "key"):
        rows[field] = known[field]
    rows["after"] = rows["next"] = NULL
    rows["patience"] = NEVER
    if requests.after is not None and requests.think_ns is not None:
        rows["after"] = requests.after
        rows["think"] = requests.think_ns
        waiting = np.flatnonzero(requests.after >= 0)
        rows["next"][requests.after[waiting]] = waiting
    if requests.patience_ns is not None:
        rows["patience"] = np.where(requests.patience_ns < 0, NEVER, requests.patience_ns)
    return rows


def pool_of(requests: Requests) -> I8:
    """Return the rows that whichever client is free next sends, in order."""
    after = requests.after
    return np.zeros(0, np.int64) if after is None else np.flatnonzero(after == ANYBODY)


def patience_of(scenario: Scenario) -> Records:
    """Return the record of timeouts and retries."""
    clients = scenario.workload.clients
    rules = records(PATIENCE_FIELDS, 1, int(NEVER))
    rules["retries"] = 0
    if clients is not None:
        rules["retries"] = clients.max_retries
        for field, limit_s in (("first_token", clients.first_token_s), ("whole", clients.whole_s)):
            if limit_s is not None:
                rules[field] = max(round(limit_s * NS_PER_S), 1)
    return rules


def keys(state: EngineState) -> I8:
    """Return the key of each request that has arrived: its row, then the retries as they came."""
    tried: I8 = state.requests["tried"][: int(state.run["arrived"][0])]
    return tried


def as_sent(requests: Requests, state: EngineState, arrival_ns: I8) -> Requests:
    """Return the requests as they were sent, a row for each try; `arrival_ns` of each key."""
    tries = state.tries[: len(arrival_ns)]
    sent = replace(
        requests.take(tries["client"]),
        arrival_ns=arrival_ns,
        arrival_us=arrival_ns / NS_PER_US,
    )
    if requests.backoff_ns is None:
        return sent
    return replace(
        sent,
        attempt=tries["attempt"].astype(np.int32),
        attempt_of=np.where(tries["attempt"] > 0, tries["client"], NULL),
    )
