"""Ends of the published pipelines and nothing else: what a sweep of thousands of them asks for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit.simulator import dejavu, frontier
from toolkit.workload.arrivals import groups_us

__all__ = ["disaggregated_us", "pipeline_us"]

I8 = npt.NDArray[np.int64]


def pipeline_us(
    tokens: I8, stages: int, prompt_us: float, token_us: float, groups_per_s: float = 0.0
) -> float:
    """Return the makespan of a colocated pipeline in microseconds.

    ``tokens`` (requests,) are decode passes after each prompt pass; the times
    are those of one stage.  Exactly the published float64 result.
    """
    arrival = groups_us(len(tokens), groups_per_s, stages)
    times = frontier.play(arrival, tokens, stages, prompt_us, token_us, prompts=True)
    return float(times[:, dejavu.FINISH].max())


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
    times = frontier.play(ready, tokens, token_stages, 0.0, token_us, prompts=False)
    return float(times[:, dejavu.FINISH].max())
