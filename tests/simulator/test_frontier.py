"""Played at the first stage alone, the published pipelines end at the same floats."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from published import PROMPT, Span, baseline, disaggregated

from toolkit.simulator import dejavu, frontier
from toolkit.simulator.makespan import disaggregated_us, pipeline_us
from toolkit.workload.arrivals import groups_us

COARSE = st.builds(lambda digits, unit: digits * 2.0**unit, st.integers(1, 31), st.integers(-9, 4))
"""Few binary digits: sums often lie halfway between two floats, or meet exactly."""

FINE = st.floats(1e-3, 1e4)

TIMES_US = COARSE | FINE

MANY_TOKENS = st.lists(st.integers(1, 5) | st.integers(1, 90), min_size=1, max_size=14)


def far(us: float) -> float:
    """Return a time so late that additions of microseconds lose most of their digits."""
    return us + 2.0**48


@given(TIMES_US | TIMES_US.map(far), TIMES_US, st.integers(0, 3000))
@example(2.0**53 - 7, 0.5, 100)  # each addition is a tie, until none counts at all
@example(2.0**52 + 1, 1.5, 100)  # a tie that starts from an odd multiple
@example(2.0**53 - 1, 3.0, 100)  # a tie right behind a power of two
@example(0.0, 0.1, 1000)
def test_equal_steps_in_closed_form_are_the_additions(us: float, step: float, times: int) -> None:
    one_by_one = us
    for _ in range(times):
        one_by_one += step

    assert frontier.repeated(us, step, times) == one_by_one


def times_of(spans: list[Span], requests: int, stages: int) -> npt.NDArray[np.float64]:
    """Return what `frontier.play` does, out of spans; those of no prompt are 0."""
    times = np.zeros((requests, 6))
    for start, end, stage, request, token in spans:
        first, last = stage == 0, stage == stages - 1
        if first and token in (PROMPT, 0):
            times[request, dejavu.DECODE_START if token == 0 else dejavu.START] = start
        if last and token == PROMPT:
            times[request, [dejavu.PREFILL_LAST, dejavu.PREFILL_END]] = start, end
        if last and token == 0:
            times[request, dejavu.FIRST_TOKEN] = end
        if last:
            times[request, dejavu.FINISH] = end
    return times


@st.composite
def ready(draw: st.DrawFn, requests: int) -> list[float]:
    """Draw when each may enter: all at once, one after the other, or in no order."""
    gaps = st.lists(st.just(0.0) | TIMES_US, min_size=requests, max_size=requests)
    late = draw(st.sampled_from([0.0, 2.0**44]))
    if draw(st.booleans()):
        return [late + us for us in draw(gaps)]
    return [late + us for us in np.cumsum(draw(gaps)).tolist()]


@given(st.data(), MANY_TOKENS, TIMES_US, TIMES_US)
@settings(max_examples=400)
def test_every_time_is_that_of_the_published_work_list(
    data: st.DataObject, tokens: list[int], prompt_us: float, token_us: float
) -> None:
    """Whatever the times: prompts shorter than tokens, ties, sums at the end of their digits."""
    stages = data.draw(st.integers(1, min(9, len(tokens))))
    enter = data.draw(ready(len(tokens)))
    spans: list[Span] = []
    ends = baseline(tokens, enter, stages, prompt_us, token_us, spans)

    times = frontier.play(
        np.array(enter), np.array(tokens), stages, prompt_us, token_us, prompts=True
    )

    assert times[:, dejavu.FINISH].tolist() == ends
    assert times.tolist() == times_of(spans, len(tokens), stages).tolist()


@given(st.data(), MANY_TOKENS, TIMES_US, TIMES_US, st.integers(1, 4))
@settings(max_examples=200)
def test_a_token_pipeline_of_its_own_is_the_published_one(
    data: st.DataObject,
    tokens: list[int],
    prompt_us: float,
    token_us: float,
    prompt_stages: int,
) -> None:
    stages = data.draw(st.integers(1, min(9, len(tokens))))
    rate = data.draw(st.sampled_from([0.0, 0.5, 100.0]))
    arrivals = groups_us(len(tokens), rate, prompt_stages + stages).tolist()
    ends = disaggregated(
        tokens, arrivals, prompt_stages, stages, prompt_us, token_us, prompt_us / 3
    )

    took = disaggregated_us(
        np.array(tokens), prompt_stages, stages, prompt_us, token_us, prompt_us / 3, rate
    )

    assert took == max(ends)


@given(st.integers(2, 300), st.integers(1, 8), st.integers(1, 8), FINE, FINE)
@settings(max_examples=60)
def test_requests_repeated_in_place_end_as_published(
    tokens: int, copies: int, stages: int, prompt_us: float, token_us: float
) -> None:
    """As the published sweep has them: whole rings of requests that end together."""
    listed = np.repeat([tokens, 1 + tokens // 3, 7], math.ceil(stages * copies / 3) + 1)

    took = pipeline_us(listed, stages, prompt_us, token_us)

    ends = baseline(listed.tolist(), [0.0] * len(listed), stages, prompt_us, token_us)
    assert took == max(ends)
