"""What the `event` discipline plays, and its state between two events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit.simulator.kernel import (
    BEHIND_BATCH,
    BEHIND_PROMPT,
    I8,
    LINK_BUSY,
    QUEUE,
    SWAPPED,
    Records,
    heap_push,
    inner,
    records,
)
from toolkit.trace.columns import NULL

__all__ = [
    "BATCH_FIELDS",
    "FAILURE_FIELDS",
    "PART_FIELDS",
    "PIPE_FIELDS",
    "WORK_FIELDS",
    "FaultState",
    "Faults",
    "Plan",
    "State",
    "SwapState",
    "Swaps",
    "empty_state",
    "no_faults",
    "no_swaps",
    "schedule",
]

F8 = npt.NDArray[np.float64]

FINISHED, FAILED, RESTORED, LANDED, STAGE_FREE, ARRIVED, TRANSFER, PASS = np.arange(8)
WHOLE = np.int64(0)
"""Part of an event that is about a whole batch; and the queue where there is one."""

KIND_SHIFT = 44
BATCH_SHIFT = 12
BATCH_MASK = (1 << (KIND_SHIFT - BATCH_SHIFT)) - 1
PART_MASK = (1 << BATCH_SHIFT) - 1

CAUSES = 1 + max(QUEUE, BEHIND_PROMPT, BEHIND_BATCH, LINK_BUSY, SWAPPED)

PILE = 64
"""Prompts that pile up before a slower one's stage and are still told apart."""

FATES_AT_ONCE = 1 << 12

BATCH_FIELDS = ("ready", "passes", "prompt_room", "room", "first_mark", "end_mark")
"""Of each batch: when it is ready to enter; decode passes after its prompt;
bytes of KV cache it takes on the prompt side and where it decodes; its marks."""

PART_FIELDS = ("stage", "out", "into", "first", "last", "layers")
"""Of each part of a KV cache: the prompt stage that makes it, the interfaces it
leaves and enters by, and the layers it holds of the stage's."""

WORK_FIELDS = ("ns", "tail_ns", "bytes")
"""Of each batch and part: time on the link, time of its last layer there, volume."""

PIPE_FIELDS = ("limit", "capacity")
"""Of each pipeline: batches at once, and bytes of KV cache."""


FAILURE_FIELDS = ("at", "detected", "back", "stage")
"""Of each failure: when, when it is noticed, when the machine is back, the machine's stage."""


class Faults(NamedTuple):
    """What fails, and what is kept for that case.

    `failures` are those of each pipeline in turn, ascending, pipeline p's from
    `start[p]` on; the last one of a pipeline may be at NEVER.  Where
    `replicated`, each stage sends what a pass adds to its KV cache to the next
    stage's host, over `link` (bytes per second, latency in seconds); `shares`
    (stages,) is a stage's part of a whole cache, `token_kv` (batches,) the
    bytes that a decode pass adds to it, `tracks` (pipelines, stages) where
    replicas leave.

    `fates` say how many passes of a batch each failure and those after it left,
    batch b's from `fate_start[b]` on: known once all has been played.  What
    outlasts `horizon` is cut there.
    """

    failing: bool
    replicated: bool
    failures: Records
    start: I8
    link: F8
    shares: F8
    token_kv: I8
    tracks: I8
    fates: I8
    fate_start: I8
    horizon: int


class FaultState(NamedTuple):
    """Who is down, and what failures have cost so far.

    `pipes`: the next failure (its number, time and stage; `awaits` where it is
    not known yet), and of a pipeline that is down (`phase` 1) or recovering
    (2) since when, the stage that went first, whether another one went
    `together` with it, when it is `back` and when it may `resume`.

    `lost` (pipelines, servers, 2): ns and count of work thrown away.  `down`
    (pipelines, stages, 2, 2): ns and count of being failed and starting.
    `senders` (pipelines, stages): each replica's sender.  `fates` are rows of
    (batch, passes kept), `filled[0]` in use; `held` a list of batches.
    """

    pipes: Records
    lost: I8
    down: I8
    senders: Records
    fates: I8
    filled: I8
    held: I8
    wanting: I8


class Swaps(NamedTuple):
    """Where KV caches are: on the devices of a stage `slots` of them, the others on its host.

    `link` is that between a stage's devices and its host (bytes per second,
    latency in seconds), `shares` (stages,) and `token_kv` (batches,) as in
    :class:`Faults`, `tracks` (pipelines, stages, 2) the link's two directions.
    """

    swapping: bool
    slots: int
    link: F8
    shares: F8
    token_kv: I8
    tracks: I8


class SwapState(NamedTuple):
    """Whose caches are on devices, and each direction of the links to hosts.

    `slots` (pipelines, stages, slots): who, since when it may make room, and
    its last pass.  `channels` (pipelines, stages, 2): free when; ns, count and bytes.
    """

    slots: Records
    channels: Records


NEVER = np.iinfo(np.int64).max // 4


def no_faults(batches: int, pipelines: int) -> Faults:
    """Return the plan of a deployment in which nothing fails."""
    return Faults(
        failing=False,
        replicated=False,
        failures=records(FAILURE_FIELDS, 1),
        start=np.zeros(pipelines + 1, np.int64),
        link=np.zeros(2),
        shares=np.ones(1),
        token_kv=np.zeros(1, np.int64),
        tracks=np.zeros((pipelines, 1), np.int64),
        fates=np.zeros(1, np.int64),
        fate_start=np.zeros(batches + 1, np.int64),
        horizon=NEVER,
    )


def no_swaps(pipelines: int) -> Swaps:
    """Return the plan of a deployment whose caches stay where they are."""
    return Swaps(
        swapping=False,
        slots=1,
        link=np.zeros(2),
        shares=np.ones(1),
        token_kv=np.zeros(1, np.int64),
        tracks=np.zeros((pipelines, 1, 2), np.int64),
    )


class Plan(NamedTuple):
    """What is to be played; never changed by playing it.

    `service` (batches, 4) is ns on a stage and on the link behind it: prompt,
    prompt link, token, token link; `moved` (batches, 2) bytes over such a link
    by a prompt and by a token pass.  `queues` (batches,) are batches in order
    of entry, `queue_start` (queues + 1,) where each queue begins.

    `tracks` (pipelines, servers) are stages, with links in turn where
    `linked`, NULL beyond the last.  With `split`, pipeline 0 takes prompts
    and pipeline 1 tokens; else each takes both.

    `marks` are the passes of a batch whose ends are to be told apart,
    ascending.  With `details` every wait is written by itself.  `faults` is
    what fails, `swaps` where caches are.
    """

    batches: Records
    service: I8
    moved: I8
    queues: I8
    queue_start: I8
    pipes: Records
    tracks: I8
    linked: bool
    split: bool
    parts: Records
    part_work: I8
    nic_tracks: I8
    marks: I8
    details: bool
    faults: Faults
    swaps: Swaps


class State(NamedTuple):
    """State between two calls of :func:`advance`, and in the end the outcome.

    `run` is one record: the time, passes so far, the ends of the line of
    batches `waiting` to decode, and the batches that are not done.  `batches`
    has what became of each so far (`prompted` and `token`: passes done,
    `replicated`: those a failure of its pipeline would leave; `attempt`: how
    often it was begun anew; `landing_...`: the part of its KV cache that
    arrives last), `mark_ns` when each mark was passed, `sums` (batches, causes)
    waits not yet written.

    `heap` and `heap_size` are the events to come.  `queues` says who is next
    and why it stands; `pipes` what is in each pipeline; `nics` each network
    interface.  The last passes of each pipeline are remembered in a ring of
    places: `passes` (pipelines, places, 2) whose and which, `times`
    (pipelines, places, servers, 2) from when to when; `prompts` (pipelines,
    servers, 2) are the times of the last prompt pass.

    `busy` (pipelines, servers, 2, 3): ns, count and bytes by phase.
    """

    run: Records
    batches: Records
    mark_ns: I8
    sums: I8
    stage_began: I8
    heap: I8
    heap_size: I8
    queues: Records
    pipes: Records
    nics: Records
    waiting: I8
    passes: I8
    times: I8
    prompts: I8
    busy: I8
    faults: FaultState
    swaps: SwapState


def empty_state(plan: Plan) -> State:
    """Return the state before anything is about to happen."""
    batches, parts = len(plan.batches), len(plan.parts)
    pipelines, servers = plan.tracks.shape
    queues = records(("head", "since", "cause", "scheduled"), len(plan.queue_start) - 1)
    queues["head"] = plan.queue_start[:-1]
    outcome = records(
        (
            *("pipe", "token", "mark", "summed", "parts_left"),
            *("landing", "landing_start", "landing_held", "landing_by", "landing_track"),
            *("prompted", "attempt", "replicated", "kept"),
            *("start", "prefill_last", "prefill_end", "kv_ready", "decode_start", "finish"),
        ),
        batches,
        NULL,
    )
    for field in ("token", "prompted", "attempt", "replicated"):
        outcome[field] = 0
    outcome["mark"] = plan.batches["first_mark"]
    outcome["parts_left"] = parts
    pipes = records(("in_flight", "used", "stage_busy", "place", "prompt_who"), pipelines)
    pipes["prompt_who"] = NULL
    nics = records(
        ("free", "who", "busy", "count", "bytes", "in_busy", "in_count"),
        max(len(plan.nic_tracks), 1),
    )
    nics["who"] = NULL
    places = int(plan.pipes["limit"].max()) + servers + 2 + (PILE if plan.split else 0)
    passes = np.full((pipelines, places, 2), NULL, np.int64)
    passes[:, :, 1] = BEHIND_PROMPT
    prompt_stages = int(plan.parts["stage"].max()) + 1 if parts else 1
    events = len(queues) + batches * (2 + parts) + pipelines * (servers + 4) + 8
    run = records(("now", "steps", "waiting_first", "waiting_end", "left"), 1)
    run["left"] = batches
    return State(
        run=run,
        batches=outcome,
        mark_ns=np.full(len(plan.marks), NULL, np.int64),
        sums=np.zeros((1 if plan.details else batches, CAUSES), np.int64),
        stage_began=np.zeros((batches if parts else 1, prompt_stages), np.int64),
        heap=np.zeros((events, 2), np.int64),
        heap_size=np.zeros(1, np.int64),
        queues=queues,
        pipes=pipes,
        nics=nics,
        waiting=np.zeros(batches, np.int64),
        passes=passes,
        times=np.zeros((pipelines, places, servers, 2), np.int64),
        prompts=np.full((pipelines, servers, 2), NULL, np.int64),
        busy=np.zeros((pipelines, servers, 2, 3), np.int64),
        faults=_no_failure_yet(plan),
        swaps=_nothing_swapped(plan),
    )


def _nothing_swapped(plan: Plan) -> SwapState:
    pipelines, stages, sides = plan.swaps.tracks.shape
    slots = records(("who", "free", "used"), pipelines * stages * plan.swaps.slots)
    slots["who"] = NULL
    slots["used"] = -1
    channels = records(("free", "busy", "count", "bytes"), pipelines * stages * sides)
    return SwapState(
        slots=slots.reshape(pipelines, stages, plan.swaps.slots),
        channels=channels.reshape(pipelines, stages, sides),
    )


def _no_failure_yet(plan: Plan) -> FaultState:
    pipelines, servers = plan.tracks.shape
    stages = plan.faults.tracks.shape[1]
    most = int(plan.pipes["limit"].max()) if plan.faults.failing else 0
    pipes = records(
        (
            *("next", "awaits", "fails_at", "fails_stage"),
            *("phase", "failed_at", "stage", "together", "back", "resume"),
        ),
        pipelines,
    )
    pipes["awaits"] = 1
    pipes["fails_at"] = NEVER
    pipes["fails_stage"] = NULL
    senders = records(
        ("free", "busy", "count", "bytes", "restoring", "restored", "restored_bytes"),
        pipelines * stages,
    ).reshape(pipelines, stages)
    return FaultState(
        pipes=pipes,
        lost=np.zeros((pipelines, servers, 2), np.int64),
        down=np.zeros((pipelines, stages, 2, 2), np.int64),
        senders=senders,
        fates=np.zeros((FATES_AT_ONCE + most, 2), np.int64),
        filled=np.zeros(1, np.int64),
        held=np.zeros(max(most, 1), np.int64),
        wanting=np.zeros(1, np.int64),
    )


@inner
def schedule(state: State, time: int, kind: int, batch: int, part: int) -> None:
    """Put an event on the heap: of a batch and part, or of a pipeline and its phase."""
    heap_push(
        state.heap, state.heap_size, time, (kind << KIND_SHIFT) | (batch << BATCH_SHIFT) | part
    )
