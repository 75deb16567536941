"""A `dejavu` run: the published simulators' pipelines, played and put on a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.costs.timing import prompt_stage_s, token_stage_s
from toolkit.errors import InputError
from toolkit.scenario.model import Scenario
from toolkit.simulator import dejavu
from toolkit.simulator.dejavu import Job
from toolkit.simulator.kernel import SpanRows, WaitRows, new_rows
from toolkit.simulator.layout import Layout
from toolkit.simulator.outcome import Outcome, Slice, Totals
from toolkit.simulator.spans import Columns, columns_of
from toolkit.trace.columns import NULL, Chunk, name_key
from toolkit.units import US_PER_S
from toolkit.workload.requests import Requests

__all__ = ["DejavuRun"]

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]

WAITS_AT_ONCE = 1 << 16
SPANS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class _Prompts:
    """The prompt pipeline of a disaggregated run in closed form; times in microseconds.

    A prompt that starts at s is on stage i from s + i (p + c) for p, and its
    cache is complete at s + P (p + c).
    """

    arrival: F8
    start: F8
    prompt_us: float
    cache_us: float
    tracks: tuple[int, ...]

    @property
    def ready(self) -> F8:
        return self.start + len(self.tracks) * (self.prompt_us + self.cache_us)

    def began(self, stage: int) -> F8:
        return self.start + stage * (self.prompt_us + self.cache_us)

    def ended(self, stage: int) -> F8:
        return self.began(stage) + self.prompt_us


class DejavuRun:
    """The published simulators' run of one deployment; parts of data parallelism one by one."""

    def __init__(self, scenario: Scenario, layout: Layout, requests: Requests) -> None:
        """Lay out each pipeline's work; nothing is played yet.

        Raises:
            InputError: fewer requests than stages, where the published programs crash.
        """
        self._layout = layout
        self._requests = requests
        batch = int(requests.size[0])
        prompt_us, token_us = (
            US_PER_S * prompt_stage_s(
                scenario.timing, scenario.prompt_stages, batch, int(requests.prompt_tokens[0])
            ),
            US_PER_S * token_stage_s(scenario.timing, scenario.token_stages, batch),
        )  # fmt: skip
        self._prompts: _Prompts | None = None
        arrival = requests.arrival_us
        pipelines = layout.pipelines
        if scenario.deployment.kind == "disaggregated":
            self._prompts = _Prompts(
                arrival,
                dejavu.play_prompts(arrival, prompt_us),
                prompt_us,
                US_PER_S * scenario.timing.cache_s,
                pipelines[0].stages,
            )
            arrival = self._prompts.ready
            pipelines = pipelines[1:]
        parts = max(scenario.deployment.data_parallel, 1)
        size = len(requests) // parts
        self._first = [part * size for part in range(parts)]
        self._jobs = [
            Job(
                ready_us=arrival[first : first + size],
                tokens=requests.output_tokens[first : first + size].astype(np.int64),
                tracks=np.array(pipeline.stages, np.int32),
                prompt_us=prompt_us,
                token_us=token_us,
                prompts=self._prompts is None,
                exact=dejavu.grid(prompt_us, token_us, arrival[first : first + size]),
                details=scenario.trace.level != "requests",
            )
            for first, pipeline in zip(self._first, pipelines, strict=True)
        ]
        for job in self._jobs:
            _refuse_too_few(scenario, job)
        self._slots = [dejavu.new_slots(job) for job in self._jobs]

    def waits(self) -> Iterator[Chunk]:
        """Play to the end, yielding rows of `waits`."""
        if self._prompts is not None:
            yield from _prompt_waits(self._prompts)
        for first, job, slots in zip(self._first, self._jobs, self._slots, strict=True):
            rows = new_rows(WaitRows, WAITS_AT_ONCE + _margin(job))
            while slots.cursor[0]:
                dejavu.advance(job, slots, rows, None)
                yield _waits_chunk(rows, first)
                rows.count[0] = 0

    def outcome(self) -> Outcome:
        """Return what became of each entry, once all is played."""
        entries = np.arange(len(self._requests))
        times = np.concatenate([slots.times for slots in self._slots])
        decode_start = _ns(np.concatenate([slots.decode_us for slots in self._slots]))
        replicas = np.repeat(np.arange(len(self._jobs)), [len(job.tokens) for job in self._jobs])
        first_stage = np.concatenate(
            [np.full(len(job.tokens), job.tracks[0]) for job in self._jobs]
        )
        decode = Slice(first_stage.astype(np.int64), decode_start)
        first_token, finish = _ns(times[:, 2]), _ns(times[:, 3])
        prompts = self._prompts
        if prompts is None:
            last_stage = np.concatenate(
                [np.full(len(job.tokens), job.tracks[-1]) for job in self._jobs]
            )
            prefill_last = _ns(np.concatenate([slots.prompt_us for slots in self._slots]))
            return Outcome(
                lead=entries,
                replica=replicas,
                start=_ns(times[:, 0]),
                prefill_end=_ns(times[:, 1]),
                kv_ready=np.full(len(entries), NULL),
                first_token=first_token,
                decode_start=decode_start,
                finish=finish,
                prefill=Slice(last_stage.astype(np.int64), prefill_last),
                decode=decode,
            )
        last = len(prompts.tracks) - 1
        return Outcome(
            lead=entries,
            replica=np.ones(len(entries), np.int64),
            start=_ns(prompts.start),
            prefill_end=_ns(prompts.ended(last)),
            kv_ready=_ns(prompts.ready),
            first_token=first_token,
            decode_start=decode_start,
            finish=finish,
            prefill=Slice(np.full(len(entries), prompts.tracks[last]), _ns(prompts.began(last))),
            decode=decode,
        )

    def add_totals(self, totals: Totals) -> None:
        """Add the busy time of all stages."""
        if self._prompts is not None:
            for stage, track in enumerate(self._prompts.tracks):
                took = _ns(self._prompts.ended(stage)) - _ns(self._prompts.began(stage))
                totals.add(track, "prefill", int(took.sum()), len(took))
        for job, slots in zip(self._jobs, self._slots, strict=True):
            for stage, track in enumerate(job.tracks.tolist()):
                for phase, name in enumerate(("prefill", "decode")):
                    count = int(slots.passes[phase])
                    took_us = (job.prompt_us, job.token_us)[phase]
                    busy = count * round(took_us * 1000) if job.exact else slots.busy_ns[stage, phase]
                    totals.add(track, name, int(busy), count)

    def spans(self) -> Iterator[tuple[Columns, int]]:
        """Play once more, yielding spans and the time before which no more will start."""
        if self._prompts is not None:
            yield _prompt_spans(self._prompts), 0
        states = [dejavu.new_slots(job) for job in self._jobs]
        buffers = [new_rows(SpanRows, SPANS_AT_ONCE) for _ in self._jobs]
        for rows in buffers:
            rows.bytes[:] = NULL
        waits = new_rows(WaitRows, WAITS_AT_ONCE + max(_margin(job) for job in self._jobs))
        played_ns = [0] * len(self._jobs)
        active = set(range(len(self._jobs)))
        while active:
            part = min(active, key=lambda part: (played_ns[part], part))
            rows = buffers[part]
            rows.count[0] = waits.count[0] = 0
            played_ns[part] = int(dejavu.advance(self._jobs[part], states[part], waits, rows))
            columns = columns_of(rows)
            if states[part].cursor[0] == 0:
                active.discard(part)
            columns = {**columns, "request": columns["request"] + np.int32(self._first[part])}
            columns = {**columns, "step": columns["step"] * len(self._jobs) + np.int32(part)}
            yield columns, min((played_ns[other] for other in active), default=played_ns[part])


def _refuse_too_few(scenario: Scenario, job: Job) -> None:
    """Refuse fewer entries than stages: there the published programs stop with an IndexError."""
    if len(job.tokens) < len(job.tracks):
        raise InputError.one(
            str(scenario.file or scenario.name),
            "workload.entries",
            f"at least {len(job.tracks)} entries for a pipeline of {len(job.tracks)} stages "
            "(discipline dejavu)",
            str(len(job.tokens)),
            'use more entries or fewer stages, or discipline = "event"',
        )


def _margin(job: Job) -> int:
    stages = len(job.tracks)
    return (stages + 1) * 2 * (stages + 2) + 4


def _ns(us: F8) -> I8:
    return np.rint(us * 1000.0).astype(np.int64)


def _prompt_waits(prompts: _Prompts) -> Iterator[Chunk]:
    """Yield what requests wait for on the prompt side: the prompt before them, and their cache."""
    requests = np.arange(len(prompts.start), dtype=np.int32)
    yield _wait_rows(
        requests, prompts.arrival, prompts.start, "behind_prompt", requests - 1, prompts.tracks[0]
    )
    nobody = np.full(len(requests), NULL, np.int32)
    for stage in range(len(prompts.tracks)):
        until = prompts.began(stage + 1)
        yield _wait_rows(requests, prompts.ended(stage), until, "transfer", nobody, NULL)


def _wait_rows(
    requests: npt.NDArray[np.int32],
    since_us: F8,
    until_us: F8,
    cause: str,
    on: npt.NDArray[np.int32],
    track: int,
) -> Chunk:
    since, until = _ns(since_us), _ns(until_us)
    waited = until > since
    count = int(waited.sum())
    return Chunk(
        "waits",
        {
            "request": requests[waited],
            "from_ns": since[waited],
            "until_ns": until[waited],
            "wait_ns": (until - since)[waited],
            "cause": np.full(count, name_key(cause), np.int32),
            "on_request": on[waited],
            "on_track": np.full(count, track, np.int32),
        },
    )


def _prompt_spans(prompts: _Prompts) -> Columns:
    """Return all spans of the prompt stages, stage by stage."""
    stages, count = len(prompts.tracks), len(prompts.start)
    began = np.concatenate([_ns(prompts.began(stage)) for stage in range(stages)])
    ended = np.concatenate([_ns(prompts.ended(stage)) for stage in range(stages)])
    null = np.full(stages * count, NULL, np.int32)
    requests = np.tile(np.arange(count, dtype=np.int32), stages)
    return {
        "ts_ns": began,
        "dur_ns": ended - began,
        "track": np.repeat(np.array(prompts.tracks, np.int32), count),
        "name": np.full(stages * count, name_key("prefill"), np.int32),
        "request": requests,
        "token": null,
        "step": null,
        "bytes": null.astype(np.int64),
    }


def _waits_chunk(rows: WaitRows, first: int) -> Chunk:
    """Return a buffer's rows in use as rows of `waits`, requests counted from `first`."""
    used = slice(0, int(rows.count[0]))
    on = rows.on_batch[used]
    return Chunk(
        "waits",
        {
            "request": rows.batch[used] + np.int32(first),
            "from_ns": rows.since[used].copy(),
            "until_ns": rows.until[used].copy(),
            "wait_ns": rows.waited[used].copy(),
            "cause": rows.cause[used].copy(),
            "on_request": np.where(on == NULL, NULL, on + first).astype(np.int32),
            "on_track": rows.on_track[used].copy(),
        },
    )


