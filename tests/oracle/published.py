"""The published simulators, written down as they are: a list of work, played from its head.

Plain Python, one item at a time.  The compiled loop has to agree with this to
the last digit, and the benchmark measures how much faster it is.

Source: msr-fiddle/dejavu at 07e76be, scripts/simulators (simulate, simulate_dv).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

__all__ = ["PROMPT", "Span", "baseline", "disaggregated"]

Span = tuple[float, float, int, int, int]
"""(start us, end us, stage, request, token pass from 0 or PROMPT)."""

PROMPT = -1


def baseline(
    tokens: Sequence[int],
    arrivals_us: Sequence[float],
    stages: int,
    prompt_us: float,
    token_us: float,
    spans: list[Span] | None = None,
) -> list[float]:
    """Return when each request ends, us: prompts and tokens share one pipeline.

    The first requests, one for each stage, are ready a prompt apart; every
    pass is appended to `spans`, in the order of play.
    """
    ready_us = list(arrivals_us)
    for request in range(stages):
        ready_us[request] = max(request * prompt_us, ready_us[request])
    return _play(ready_us, tokens, 0, stages, PROMPT, prompt_us, token_us, spans)


def disaggregated(
    tokens: Sequence[int],
    arrivals_us: Sequence[float],
    prompt_stages: int,
    token_stages: int,
    prompt_us: float,
    token_us: float,
    cache_us: float,
    spans: list[Span] | None = None,
) -> list[float]:
    """Return when each request ends, us: prompts in closed form, tokens on stages of their own.

    Prompts follow one another on the first stage and never wait again; after
    each stage the cache takes `cache_us`, which holds nobody else up.
    """
    free = 0.0
    ready_us = []
    for request, arrival in enumerate(arrivals_us):
        start = max(arrival, free)
        free = start + prompt_us
        ready_us.append(start + prompt_stages * (prompt_us + cache_us))
        if spans is not None:
            for stage in range(prompt_stages):
                began = start + stage * (prompt_us + cache_us)
                spans.append((began, began + prompt_us, stage, request, PROMPT))
    return _play(ready_us, tokens, prompt_stages, token_stages, 0, prompt_us, token_us, spans)


def _play(
    ready_us: Sequence[float],
    tokens: Sequence[int],
    first_stage: int,
    stages: int,
    first_token: int,
    prompt_us: float,
    token_us: float,
    spans: list[Span] | None,
) -> list[float]:
    """Play the list of work to its end.

    The head of the list takes its stage as soon as both are ready, whoever
    else was ready before; what follows from it goes to the tail.  A request
    that ends makes place for the next.
    """
    clock = [0.0] * stages
    ends = [0.0] * len(tokens)
    work = deque((0, request, first_token, ready_us[request]) for request in range(stages))
    upcoming = stages
    while work:
        stage, request, token, ready = work.popleft()
        start = max(ready, clock[stage])
        end = clock[stage] = start + (prompt_us if token == PROMPT else token_us)
        if spans is not None:
            spans.append((start, end, first_stage + stage, request, token))
        if stage < stages - 1:
            work.append((stage + 1, request, token, end))
        elif token < tokens[request] - 1:
            work.append((0, request, token + 1, end))
        else:
            ends[request] = end
            if upcoming < len(tokens):
                work.append((0, upcoming, first_token, max(clock[0], ready_us[upcoming])))
                upcoming += 1
    return ends
