"""When each request of a published pipeline starts and ends, mostly from the first stage alone.

`dejavu.advance` plays every pass at every stage, for it has to say who waited
for whom.  Where only the requests' times are asked for, most of that can be
left out, to the same digits: rounding keeps order, a <= b makes a + t <= b + t
of float64 sums too, so what follows holds of the published results themselves.

A pass is *straight* if no stage but the first holds it up: then it begins at
stage i after i additions of its service time.

* A pass behind a straight one that is no slower than itself is straight.
  Behind one that is no faster it is, too, where it comes to the last stage
  after it by more than rounding can make up, for it gains on it stage by
  stage.  What is neither is played stage by stage (:func:`_bent`).
* Passes leave the last stage at least their own service time apart.  So
  after a round in which no request ended and no pass was quicker than a
  decode, each slot is ready at least a token time after the one before it.
  If then nothing holds up the first slot's pass, nothing holds up any, in this
  round and those after it until a request ends.  :func:`_leap` plays them at once.
* Between two powers of two, adding the same number again and again adds the
  same multiple of the last digit's unit.  Such sums have a closed form
  (:func:`repeated`).
"""

from __future__ import annotations

import numpy as np

from toolkit.simulator.dejavu import (
    DECODE_START,
    F8,
    FINISH,
    FIRST_TOKEN,
    PREFILL_END,
    PREFILL_LAST,
    START,
)
from toolkit.simulator.kernel import I8, Records, compiled, inner

__all__ = ["play", "repeated"]

PROMPT, FIRST_DECODE, DECODE = range(3)
"""What a slot's next pass is."""

SLOT = np.dtype(
    [("request", np.int64), ("left", np.int64), ("what", np.int64), ("ready_us", np.float64)]
)
"""A request in flight: decode passes left, its next pass, and when that is ready."""

FRONT = np.dtype(
    [
        ("straight", np.int64),
        ("began_us", np.float64),
        ("service_us", np.float64),
        ("free_us", np.float64),
        ("ended_us", np.float64),
    ]
)
"""The last pass: when it began, when the first stage was free again, when it left the last one."""

SLACK = 2.0**-50
"""More, as a share of the times, than rounding brings two passes together at a stage: 2^-52."""

MANTISSA = 2**52 - 1
"""The bits of a float64 below its exponent."""


def play(
    ready_us: F8, tokens: I8, stages: int, prompt_us: float, token_us: float, *, prompts: bool
) -> F8:
    """Return the times of each request, shape (requests, 6), microseconds: columns of `dejavu`.

    ``ready_us`` and ``tokens`` (requests,) are when each may enter and its
    decode passes; with ``prompts`` a prompt pass comes before, and the first
    requests enter a prompt time apart.  Of a pipeline without, the columns of
    its end stay 0.
    """
    first = min(stages, len(tokens))
    slots = np.zeros(first, SLOT)
    slots["request"] = np.arange(first)
    slots["left"] = tokens[:first]
    slots["what"] = PROMPT if prompts else FIRST_DECODE
    slots["ready_us"] = ready_us[:first]
    if prompts:
        slots["ready_us"] = np.maximum(slots["ready_us"], np.arange(first) * prompt_us)
    front = np.zeros(1, FRONT)
    front["straight"] = 1
    times = np.zeros((len(tokens), 6))
    _play(ready_us, tokens, prompt_us, token_us, slots, front, np.zeros(stages), times)
    if not prompts:
        times[:, START] = times[:, DECODE_START]
    return times


@compiled
def _play(
    ready_us: F8,
    tokens: I8,
    prompt_us: float,
    token_us: float,
    slots: Records,
    front: Records,
    ended_us: F8,
    times: F8,
) -> None:
    """Play all passes; `ended_us` (stages,) is when the last left each stage, if not straight."""
    anew = slots[0].what
    in_use = upcoming = len(slots)
    spaced = False
    while in_use > 0:
        if not (spaced and _leap(token_us, slots[:in_use], front[0], ended_us, times)):
            spaced = _round(prompt_us, token_us, slots[:in_use], front[0], ended_us, times)
        kept = 0
        for at in range(in_use):
            slot = slots[at]
            if slot.left <= 0:
                spaced = False
                times[slot.request, FINISH] = slot.ready_us
                if upcoming == len(tokens):
                    continue
                slot.request = upcoming
                slot.left = tokens[upcoming]
                slot.what = anew
                slot.ready_us = ready_us[upcoming]
                upcoming += 1
            if kept != at:
                slots[kept] = slot
            kept += 1
        in_use = kept


@inner
def _round(
    prompt_us: float, token_us: float, slots: Records, front: Records, ended_us: F8, times: F8
) -> bool:
    """Play one pass of each slot; return whether they left the last stage a token time apart."""
    spaced = True
    for at in range(len(slots)):
        slot = slots[at]
        what = slot.what
        service_us = prompt_us if what == PROMPT else token_us
        spaced = spaced and service_us >= token_us
        start = max(slot.ready_us, front.free_us)
        late = repeated(start, service_us, len(ended_us) - 1)
        straight = _is_straight(front, len(ended_us), service_us, late)
        if not straight:
            late, straight = _bent(front, ended_us, start, service_us)
        end = late + service_us
        front.straight = straight
        front.began_us = start
        front.service_us = service_us
        front.free_us = start + service_us
        front.ended_us = end
        slot.ready_us = end
        if what == PROMPT:
            times[slot.request, START] = start
            times[slot.request, PREFILL_LAST] = late
            times[slot.request, PREFILL_END] = end
            slot.what = FIRST_DECODE
        else:
            slot.left -= 1
            if what == FIRST_DECODE:
                times[slot.request, DECODE_START] = start
                times[slot.request, FIRST_TOKEN] = end
                slot.what = DECODE
    return spaced


@inner
def _is_straight(front: Records, stages: int, service_us: float, late_us: float) -> bool:
    """Return whether a pass behind the last one is sure to be straight.

    `late_us` is when it would begin at the last stage.
    """
    if front.straight and service_us >= front.service_us:
        return True
    return service_us <= front.service_us and late_us * (1.0 - stages * SLACK) >= front.ended_us


@inner
def _bent(front: Records, ended_us: F8, start: float, service_us: float) -> tuple[float, bool]:
    """Play a pass stage by stage; return its start at the last, and whether it was straight."""
    if front.straight:
        end = front.began_us
        for stage in range(len(ended_us)):
            end += front.service_us
            ended_us[stage] = end
    end = late = start
    straight = True
    for stage in range(len(ended_us)):
        late = end
        if ended_us[stage] > late:
            late = ended_us[stage]
            straight = False
        end = late + service_us
        ended_us[stage] = end
    return late, straight


@inner
def _leap(token_us: float, slots: Records, front: Records, ended_us: F8, times: F8) -> bool:
    """Play rounds until a request ends, unless something holds the first pass up."""
    stages = len(ended_us)
    ready = slots[0].ready_us
    late = repeated(ready, token_us, stages - 1)
    if ready < front.free_us or not _is_straight(front, stages, token_us, late):
        return False
    rounds = slots[0].left
    for at in range(1, len(slots)):
        rounds = min(rounds, slots[at].left)
    began = ready
    for at in range(len(slots)):
        slot = slots[at]
        if slot.what == FIRST_DECODE:
            times[slot.request, DECODE_START] = slot.ready_us
            times[slot.request, FIRST_TOKEN] = repeated(slot.ready_us, token_us, stages)
            slot.what = DECODE
        began = repeated(slot.ready_us, token_us, (rounds - 1) * stages)
        slot.ready_us = repeated(began, token_us, stages)
        slot.left -= rounds
    front.straight = True
    front.began_us = began
    front.service_us = token_us
    front.free_us = began + token_us
    front.ended_us = slots[len(slots) - 1].ready_us
    return True


@compiled
def repeated(us: float, step_us: float, times: int) -> float:
    """Return `us` after `times` float64 additions of `step_us`, neither negative.

    Between two powers of two all sums are multiples of one unit, so every
    addition rounds `step_us` to the same multiple of it.  Only where
    `step_us` lies halfway between two does it matter where the addition
    starts; after one it starts from an even multiple, and so do all others.
    """
    while times > 0:
        before = us
        us += step_us
        times -= 1
        if times < 4:
            for _ in range(times):
                us += step_us
            return us
        bits = np.float64(us).view(np.int64)
        above = np.int64((bits | MANTISSA) + 1).view(np.float64)
        if 2.0 * before < above:
            continue
        step = (us + step_us) - us
        end = us + times * step
        if end < above:
            return end
        if step > 0.0:
            fit = int((above - us) / step) - 2
            if fit > 0:
                us += fit * step
                times -= fit
    return us
