"""A `dejavu` run: the published simulators' pipelines, played and put on a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.costs.timing import prompt_stage_s, token_stage_s
from toolkit.errors import InputError
from toolkit.scenario.model import Scenario
from toolkit.simulator import dejavu, frontier
from toolkit.simulator.dejavu import Job, State
from toolkit.simulator.kernel import SPAN_FIELDS, Records, records, span_rows, wait_rows
from toolkit.simulator.layout import Layout
from toolkit.simulator.outcome import Outcome, Slice, Totals, counters
from toolkit.simulator.spans import SPANS_AT_ONCE, SpanSorter, waits_chunk
from toolkit.trace.columns import NULL, Chunk, name_key
from toolkit.units import US_PER_S
from toolkit.workload.requests import Requests

__all__ = ["DejavuRun"]

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]

WAITS_AT_ONCE = 1 << 16


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

    def __init__(
        self, scenario: Scenario, layout: Layout, requests: Requests, *, accounts: bool = True
    ) -> None:
        """Lay out each pipeline's work; nothing is played yet.

        Raises:
            InputError: fewer requests than stages, where the published programs crash.
        """
        self._scenario = scenario
        self._layout = layout
        self._requests = requests
        self._accounts = accounts
        batch = int(requests.size[0])
        timing, tokens = scenario.timing, int(requests.prompt_tokens[0])
        prompt_us = _us(prompt_stage_s(timing, scenario.prompt_stages, batch, tokens))
        token_us = _us(token_stage_s(timing, scenario.token_stages, batch))
        self._prompts: _Prompts | None = None
        arrival = requests.arrival_us
        pipelines = layout.pipelines
        if scenario.deployment.kind == "disaggregated":
            self._prompts = _Prompts(
                arrival,
                dejavu.play_prompts(arrival, prompt_us),
                prompt_us,
                _us(timing.cache_s),
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
                tracks=np.array(pipeline.stages, np.int64),
                first=first,
                prompt_us=prompt_us,
                token_us=token_us,
                prompts=self._prompts is None,
                accounts=accounts,
                exact=dejavu.grid(prompt_us, token_us, arrival[first : first + size]),
                details=scenario.trace.level != "requests",
            )
            for first, pipeline in zip(self._first, pipelines, strict=True)
        ]
        for job in self._jobs:
            _refuse_too_few(scenario, job)
        self._states = [dejavu.new_state(job) for job in self._jobs]

    def waits(self) -> Iterator[Chunk]:
        """Play to the end, yielding rows of `waits`; without accounts there are none."""
        if not self._accounts:
            self._states = [
                _skim(job, state) for job, state in zip(self._jobs, self._states, strict=True)
            ]
            return
        if self._prompts is not None:
            yield from _prompt_waits(self._prompts)
        no_spans, entries = span_rows(0), np.arange(len(self._requests))
        for first, job, state in zip(self._first, self._jobs, self._states, strict=True):
            room = dejavu.margin(job)
            rows = wait_rows(WAITS_AT_ONCE + room)
            while state.run["in_use"][0]:
                dejavu.advance(job, state, rows, no_spans, room, 0)
                yield waits_chunk(rows, entries[first:])
                rows.filled[0] = 0

    def outcome(self) -> Outcome:
        """Return what became of each entry, once all is played."""
        entries = np.arange(len(self._requests))
        times = _ns(np.concatenate([state.times for state in self._states]))
        decode_start = times[:, dejavu.DECODE_START]
        replicas = np.repeat(np.arange(len(self._jobs)), [len(job.tokens) for job in self._jobs])
        first_stage = np.concatenate(
            [np.full(len(job.tokens), job.tracks[0]) for job in self._jobs]
        )
        decode = Slice(first_stage.astype(np.int64), decode_start)
        first_token, finish = times[:, dejavu.FIRST_TOKEN], times[:, dejavu.FINISH]
        prompts = self._prompts
        if prompts is None:
            last_stage = np.concatenate(
                [np.full(len(job.tokens), job.tracks[-1]) for job in self._jobs]
            )
            return Outcome(
                lead=entries,
                replica=replicas,
                start=times[:, dejavu.START],
                prefill_end=times[:, dejavu.PREFILL_END],
                kv_ready=np.full(len(entries), NULL),
                first_token=first_token,
                decode_start=decode_start,
                finish=finish,
                prefill=Slice(last_stage.astype(np.int64), times[:, dejavu.PREFILL_LAST]),
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
        for job, state in zip(self._jobs, self._states, strict=True):
            counts = [int(state.run[field][0]) for field in ("prompts", "decodes")]
            for stage, track in enumerate(job.tracks.tolist()):
                busy_ns = state.busy_ns[stage].tolist()
                if job.exact or not job.accounts:
                    took_us = (job.prompt_us, job.token_us)
                    busy_ns = [n * round(us * 1000) for n, us in zip(counts, took_us, strict=True)]
                totals.add(track, "prefill", busy_ns[0], counts[0])
                totals.add(track, "decode", busy_ns[1], counts[1])

    def counters(self, outcome: Outcome) -> Iterator[Chunk]:
        """Yield `counter_defs` and `counters`."""
        return counters(self._scenario, self._layout, self._requests, outcome)

    @property
    def leads(self) -> I8:
        """The request that each batch's spans carry: every entry leads itself."""
        return np.arange(len(self._requests))

    def spans(self, sorter: SpanSorter) -> Iterator[int]:
        """Play once more into a sorter's buffer, yielding how far the play has come, ns.

        Data-parallel parts take turns, always the one that is furthest behind.
        """
        if self._prompts is not None:
            sorter.add(_prompt_spans(self._prompts))
        jobs = [job._replace(accounts=False) for job in self._jobs]  # waits are known by now
        states = [dejavu.new_state(job) for job in jobs]
        rooms = [dejavu.margin(job) for job in jobs]
        waits = wait_rows(WAITS_AT_ONCE + max(rooms))
        share = SPANS_AT_ONCE // len(self._jobs)
        played_ns = [0] * len(self._jobs)
        active = set(range(len(self._jobs)))
        while active:
            part = min(active, key=lambda part: (played_ns[part], part))
            job, state, rows = jobs[part], states[part], sorter.buffer
            waits.filled[0] = 0
            limit = min(int(rows.filled[0]) + share, len(rows.rows))
            played_ns[part] = int(dejavu.advance(job, state, waits, rows, rooms[part], limit))
            if not state.run["in_use"][0]:
                active.discard(part)
            yield min((played_ns[other] for other in active), default=played_ns[part])


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


def _skim(job: Job, state: State) -> State:
    """Return the state after all passes, as far as times and numbers of passes go."""
    state.run["in_use"] = 0
    state.run["prompts"] = len(job.tokens) if job.prompts else 0
    state.run["decodes"] = job.tokens.sum()
    stages = len(job.tracks)
    times = frontier.play(
        job.ready_us, job.tokens, stages, job.prompt_us, job.token_us, prompts=job.prompts
    )
    return state._replace(times=times)


def _us(seconds: float) -> float:
    """Return microseconds, to 15 digits: what the decimal milliseconds of a scenario stand for."""
    return float(f"{seconds * US_PER_S:.15g}")


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


def _prompt_spans(prompts: _Prompts) -> Records:
    """Return all spans of the prompt stages, stage by stage."""
    stages, count = len(prompts.tracks), len(prompts.start)
    spans = records(SPAN_FIELDS, stages * count, NULL)
    spans["ts"] = np.concatenate([_ns(prompts.began(stage)) for stage in range(stages)])
    ended = np.concatenate([_ns(prompts.ended(stage)) for stage in range(stages)])
    spans["dur"] = ended - spans["ts"]
    spans["track"] = np.repeat(prompts.tracks, count)
    spans["name"] = name_key("prefill")
    spans["batch"] = np.tile(np.arange(count), stages)
    return spans
