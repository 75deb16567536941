"""Seconds of a prompt pass and of a token pass on one stage.

Two sources: `fixed`, constants of one microbatch on one stage; and `table`,
times of the whole model by batch size, divided by the stages.  Between batch
sizes a table is interpolated linearly.  A batch smaller than the smallest
measured takes as long as that one; nothing is extrapolated upwards.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from toolkit.scenario.model import FixedTiming, RooflineTiming, TableTiming, Timing

__all__ = ["interpolated", "outside_table", "prompt_stage_s", "token_stage_s"]


def prompt_stage_s(timing: Timing, stages: int, batch: int, prompt_tokens: int) -> float:
    """Return the seconds one of `stages` needs for the prompts of `batch` requests.

    ``prompt_tokens`` is the length the prompts are padded to.  A table's time
    holds at its own prompt length; it is scaled to another only where the
    scenario states how.

    Raises:
        ValueError: the batch is larger than any in the table, or the times are a roofline's.
    """
    timing = _of_microbatches(timing)
    if timing.kind == "fixed":
        return timing.prompt_s
    whole_s = interpolated(timing.batch_sizes, timing.prompt_s, batch)
    if timing.scaling == "linear_in_tokens" and timing.prompt_tokens:
        whole_s *= prompt_tokens / timing.prompt_tokens
    return whole_s / stages


def token_stage_s(timing: Timing, stages: int, batch: int) -> float:
    """Return the seconds one of `stages` needs for one token of each of `batch` requests.

    Raises:
        ValueError: the batch is larger than any in the table, or the times are a roofline's.
    """
    timing = _of_microbatches(timing)
    if timing.kind == "fixed":
        return timing.token_s
    return interpolated(timing.batch_sizes, timing.token_s, batch) / stages


def _of_microbatches(timing: Timing) -> FixedTiming | TableTiming:
    if isinstance(timing, RooflineTiming):
        raise ValueError("a roofline times the steps of an engine, not passes of microbatches")
    return timing


def outside_table(timing: Timing, batch: int, prompt_tokens: int, context_tokens: int) -> str:
    """Return why a step is outside the measured points of a table, empty if it is inside.

    ``prompt_tokens`` is 0 for a step that decodes, ``context_tokens`` 0 for
    one that prefills.  Context up to twice the table's counts as inside: the
    share of a token pass that grows with it is small.
    """
    if not isinstance(timing, TableTiming):
        return ""
    if batch < timing.batch_sizes[0]:
        return f"batch of {batch} below the smallest measured, {timing.batch_sizes[0]}"
    if batch > timing.batch_sizes[-1]:
        return f"batch of {batch} above the largest measured, {timing.batch_sizes[-1]}"
    measured = timing.prompt_tokens
    if prompt_tokens and measured and prompt_tokens != measured and timing.scaling == "none":
        return f"prompt of {prompt_tokens} tokens, measured at {measured}"
    if context_tokens and timing.context_tokens and context_tokens > 2 * timing.context_tokens:
        return f"context of {context_tokens} tokens, measured at {timing.context_tokens}"
    return ""


def interpolated(batch_sizes: Sequence[int], times_s: Sequence[float], batch: int) -> float:
    """Return the time of a batch, linear between the sizes measured, held below the smallest.

    Raises:
        ValueError: the batch is above the largest size.

    >>> interpolated((1, 2, 4), (1.0, 2.0, 3.0), 3)
    2.5
    """
    if batch > batch_sizes[-1]:
        raise ValueError(f"batch of {batch} above the largest measured, {batch_sizes[-1]}")
    above = bisect_left(batch_sizes, batch)
    if batch_sizes[above] == batch or above == 0:
        return times_s[above]
    low, high = batch_sizes[above - 1], batch_sizes[above]
    share = (batch - low) / (high - low)
    return times_s[above - 1] + share * (times_s[above] - times_s[above - 1])
