"""Ends of the published pipelines and nothing else: what a sweep of thousands of them asks for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit.simulator import dejavu
from toolkit.simulator.dejavu import Job
from toolkit.simulator.kernel import span_rows, wait_rows
from toolkit.workload.arrivals import groups_us

__all__ = ["disaggregated_us", "pipeline_us"]

F8 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int64]

WAITS_AT_ONCE = 1 << 12


def pipeline_us(
    tokens: I8, stages: int, prompt_us: float, token_us: float, groups_per_s: float = 0.0
) -> float:
    """Return the makespan of a colocated pipeline in microseconds.

    ``tokens`` (requests,) are decode passes after each prompt pass; the times
    are those of one stage.  Exactly the published float64 result.
    """
    arrival = groups_us(len(tokens), groups_per_s, stages)
    return _play(arrival, tokens, stages, prompt_us, token_us, prompts=True)


def disaggregated_us(
    tokens: I8,
    prompt_stages: int,
    token_stages: int,
    prompt_us: float,
    token_us: float,
    cache_us: float = 0.0,
    groups_per_s: float = 0.0,
) -> float:
    """Return the makespan of a prompt pipeline followed by a token pipeline in microseconds."""
    arrival = groups_us(len(tokens), groups_per_s, prompt_stages + token_stages)
    start = dejavu.play_prompts(arrival, prompt_us)
    ready = start + prompt_stages * (prompt_us + cache_us)
    return _play(ready, tokens, token_stages, 0.0, token_us, prompts=False)


def _play(
    ready: F8, tokens: I8, stages: int, prompt_us: float, token_us: float, *, prompts: bool
) -> float:
    job = Job(
        ready_us=ready,
        tokens=tokens,
        tracks=np.arange(stages),
        first=0,
        prompt_us=prompt_us,
        token_us=token_us,
        prompts=prompts,
        exact=dejavu.grid(prompt_us, token_us, ready),
        accounts=False,
        details=False,
    )
    state, room = dejavu.new_state(job), dejavu.margin(job)
    waits, no_spans = wait_rows(WAITS_AT_ONCE + room), span_rows(0)
    while state.run["in_use"][0]:
        waits.filled[0] = 0
        dejavu.advance(job, state, waits, no_spans, room, 0)
    return float(state.times[:, dejavu.FINISH].max())
