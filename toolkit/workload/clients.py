"""How long clients wait: for an answer, and before they try again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit.scenario.model import Clients

__all__ = ["backoff_ns", "patience_ns"]

I8 = npt.NDArray[np.int64]

NS_PER_S = 1_000_000_000


def patience_ns(clients: Clients, count: int, rng: np.random.Generator) -> I8 | None:
    """Return how long each of `count` clients waits for an answer, ns; -1 for ever.

    None where all of them do.  Two uniforms a request say whether its patience
    ends, and when; so another share leaves those it keeps as they were.
    """
    if not clients.cancel_share:
        return None
    ends, rank = rng.random((count, 2)).T
    if clients.cancel_quantiles:
        shares, after_s = np.array(clients.cancel_quantiles).T
        patience_s = np.interp(rank, shares, after_s)
    elif clients.cancel == "exponential":
        patience_s = -clients.cancel_s * np.log1p(-rank)
    else:
        patience_s = np.full(count, clients.cancel_s)
    whole = np.maximum(np.rint(patience_s * NS_PER_S), 1).astype(np.int64)
    return np.where(ends < clients.cancel_share, whole, -1)


def backoff_ns(clients: Clients, count: int, rng: np.random.Generator) -> I8 | None:
    """Return the waits before each retry, ns, shape (count or 1, max_retries); None without any.

    The k-th is ``backoff_s x backoff_factor^k``, less up to the share
    ``backoff_jitter`` of it (exponential backoff with jitter: AWS Architecture
    Blog, "Exponential Backoff And Jitter", 2015; 1 is its full jitter).

    >>> waits = backoff_ns(Clients(max_retries=3, backoff_s=1e-9), 9, np.random.default_rng(0))
    >>> waits.tolist()
    [[1, 2, 4]]
    """
    if not clients.max_retries:
        return None
    steps = clients.backoff_s * clients.backoff_factor ** np.arange(clients.max_retries)
    left = np.ones((1, 1))
    if clients.backoff_jitter:
        left = 1.0 - clients.backoff_jitter * rng.random((count, clients.max_retries))
    return np.rint(steps * left * NS_PER_S).astype(np.int64)
