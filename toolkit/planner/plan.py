"""One deployment question, answered three ways: formula, published planner, simulation.

The paper's formulas say how the machines would be split if every microbatch
were the average one and nothing queued; the published planner turns them into
whole machines by its own rule; the simulation plays every layout with the
scenario's requests, links and memory.  A :class:`Plan` keeps the three apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.costs.memory import longest_tokens
from toolkit.costs.timing import prompt_stage_s, token_stage_s
from toolkit.errors import InputError
from toolkit.planner import formulas, published_planner
from toolkit.planner.options import Option, options
from toolkit.planner.rehearsal import Figures, rehearse
from toolkit.scenario.model import FixedTiming, Model, Scenario, TableTiming
from toolkit.simulator.batches import pack
from toolkit.units import GB, MS_PER_S
from toolkit.workload import build

__all__ = ["Formula", "Memory", "Plan", "Published", "Simulated", "formula", "plan", "published"]


@dataclass(frozen=True, slots=True)
class Memory:
    """What the memory formulas were given, bytes, and what they say; one layer of L each."""

    layers: int
    memory_bytes: float
    weights_bytes: float
    prompt_kv_bytes: float
    """C0: of the longest prompts."""
    kv_bytes: float
    """C0 + K0: of the longest prompts and answers."""
    least_prompt_machines: int | None
    """None: no number of machines is enough."""
    least_token_machines: int | None


@dataclass(frozen=True, slots=True)
class Formula:
    """What the formulas were given, and what they say; seconds per D microbatches.

    ``split`` is real, ``whole`` the best in whole machines that memory allows;
    either is None where there is none.
    """

    machines: int
    microbatch_size: int
    prompt_s: float
    """Y: of the mean prompt through the whole model."""
    token_s: float
    """t."""
    tokens: float
    """N: mean decode passes of a microbatch."""
    slowdown: float
    """m."""
    memory: Memory | None
    """None: no model or no memory stated."""
    split: formulas.Split | None
    whole: formulas.Split | None
    colocated_s: float
    """I_c."""
    disaggregated_s: float
    """max(I_p, I_t) at the real optimum, where both are m Y + N t."""
    whole_prompt_s: float | None
    """I_p of `whole`."""
    whole_token_s: float | None
    """I_t of `whole`."""
    ratio: float | None
    """Y / t; None: token passes take no time."""
    pays_above: float
    """Disaggregation pays where `ratio` is above this."""

    @property
    def pays(self) -> bool:
        """Whether disaggregation beats one pipeline, by the formula of the real optimum."""
        return self.disaggregated_s < self.colocated_s

    @property
    def whole_s(self) -> float | None:
        """The slower of both sides of `whole`."""
        if self.whole_prompt_s is None or self.whole_token_s is None:
            return None
        return max(self.whole_prompt_s, self.whole_token_s)


@dataclass(frozen=True, slots=True)
class Published:
    """The published planner's answer to the same question, or why it has none."""

    flags: str
    """What it was asked: `toolkit dejavu planner` with these gives the same."""
    prompt_machines: int | None
    token_machines: int | None
    words: str
    """Why there is no answer, or what speaks against it."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """One option: its figures, or why it is impossible."""

    layout: str
    split: tuple[int, int] | None
    tensor_parallel: int | None
    replicas: int
    microbatch_size: int
    figures: Figures | None
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The answers side by side."""

    name: str
    variant: str | None
    title: str
    discipline: str
    machines: int
    formula: Formula
    published: Published | None
    """None: it asks for a model and for memory, and the scenario states none."""
    simulated: tuple[Simulated, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Simulated | None:
        """The option that is done first; of equals the one with the sooner first tokens."""
        return min(self.ran, key=_soonest, default=None)

    @property
    def promptest(self) -> Simulated | None:
        """The option whose late first tokens (p99) are soonest."""
        return min(self.ran, key=lambda each: tuple(reversed(_soonest(each))), default=None)

    @property
    def ran(self) -> tuple[Simulated, ...]:
        """The options that were simulated."""
        return tuple(each for each in self.simulated if each.figures is not None)

    def best_of(
        self, *, split: tuple[int, int] | None = None, apart: bool | None = None
    ) -> Simulated | None:
        """Return the best option of one split, or of all splits (`apart`) or all pipelines."""
        among = [
            each
            for each in self.ran
            if (split is None or each.split == split)
            and (apart is None or (each.split is not None) == apart)
        ]
        return min(among, key=_soonest, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as plain values: seconds, bytes, dollars, machines."""
        plain = asdict(self)
        plain["formula"] |= {"pays": self.formula.pays, "whole_s": self.formula.whole_s}
        for key in ("best", "promptest"):
            winner: Simulated | None = getattr(self, key)
            plain[key] = None if winner is None else asdict(winner)
        return plain


def plan(scenario: Scenario, *, workers: int = 1, quiet: bool = True) -> Plan:
    """Return the plan of a checked scenario: its model, machines, requests and rules.

    Its own deployment gives the microbatch size the formulas are about, and what
    is no matter of layout (streaming, batching, memory rule).  A scenario with
    variants is planned as its first.

    Raises:
        InputError: not one option is possible, each reason named once; or the
            deployment has engines with continuous batching.
    """
    notes, title = list(_notes(scenario)), scenario.title
    if scenario.variants:
        scenario = scenario.variants[0]
    _refuse_engines(scenario)
    found = options(scenario)
    possible = [option for option in found if not option.reason]
    if not possible:
        reasons = dict.fromkeys(option.reason for option in found)
        where = str(scenario.file or scenario.name)
        raise InputError.one(where, "deployment", "not one layout is possible", "; ".join(reasons))
    figures = rehearse([option.scenario for option in possible], workers=workers, quiet=quiet)
    by_option = dict(zip(map(id, possible), figures, strict=True))
    said = formula(scenario)
    return Plan(
        name=scenario.name,
        variant=scenario.variant,
        title=title,
        discipline=scenario.discipline,
        machines=scenario.hardware.machines,
        formula=said,
        published=published(scenario, said),
        simulated=tuple(_simulated(option, by_option.get(id(option))) for option in found),
        notes=tuple(notes),
    )


def _refuse_engines(scenario: Scenario) -> None:
    """Formulas and layouts are about pipelines of microbatches."""
    if scenario.deployment.engine is not None:
        raise InputError.one(
            str(scenario.file or scenario.name),
            "deployment.batching",
            'expected "microbatch": a plan splits machines between prompts and tokens',
            '"continuous"',
            "use [sweep] over the engine's keys, and `toolkit run`",
        )


def _simulated(option: Option, figures: Figures | None) -> Simulated:
    return Simulated(
        layout=option.layout,
        split=option.split,
        tensor_parallel=option.tensor_parallel,
        replicas=option.scenario.deployment.data_parallel,
        microbatch_size=option.microbatch_size,
        figures=figures,
        reason=option.reason,
    )


def _soonest(option: Simulated) -> tuple[float, float]:
    assert option.figures is not None
    return option.figures.makespan_s, option.figures.ttft_p99_s


def _notes(scenario: Scenario) -> Sequence[str]:
    """Return what a reader has to know about how the scenario was read."""
    notes = []
    if scenario.variants:
        first = scenario.variants[0].variant
        others = ", ".join(str(each.variant) for each in scenario.variants[1:])
        notes.append(f"Planned as variant {first}; --variant takes another: {others}.")
    if isinstance(scenario.timing, FixedTiming):
        notes.append(
            "Fixed times hold for a stage as deep as the scenario's; a stage with twice the "
            "layers is taken to need twice as long, and no other microbatch size is known."
        )
    elif isinstance(scenario.timing, TableTiming):
        devices = scenario.hardware.devices_per_machine
        known = [] if devices is None else [devices]
        known += sorted((each.devices for each in scenario.timing.degrees), reverse=True)
        if known:
            degrees = ", ".join(str(each) for each in known)
            notes.append(f"Tensor-parallel degrees that the timing table knows: {degrees}.")
    if scenario.deployment.memory_fit == "off":
        notes.append("Memory is not checked: the simulated options may not fit.")
    return notes


# -- formula -------------------------------------------------------------------------------------


def formula(scenario: Scenario) -> Formula:
    """Return what the paper's formulas say of a scenario without variants."""
    machines, size = scenario.hardware.machines, scenario.deployment.microbatch_size
    prompt_s, token_s, tokens = _whole_model(scenario)
    times = (prompt_s, token_s, tokens, scenario.deployment.stream_slowdown)
    memory = _memory(scenario)
    split = whole = None
    if prompt_s + tokens * token_s > 0:
        split = formulas.optimum(machines, *times)
        whole = _whole(machines, times, memory)
    slowdown = times[3]
    return Formula(
        machines=machines,
        microbatch_size=size,
        prompt_s=prompt_s,
        token_s=token_s,
        tokens=tokens,
        slowdown=slowdown,
        memory=memory,
        split=split,
        whole=whole,
        colocated_s=formulas.colocated_s(machines, prompt_s, token_s, tokens),
        disaggregated_s=slowdown * prompt_s + tokens * token_s,
        whole_prompt_s=None
        if whole is None
        else formulas.prompt_s_per_round(machines, whole.prompt_machines, prompt_s, slowdown),
        whole_token_s=None
        if whole is None
        else formulas.token_s_per_round(machines, whole.token_machines, token_s, tokens),
        ratio=prompt_s / token_s if token_s else None,
        pays_above=formulas.pays_above(machines, slowdown),
    )


def _whole_model(scenario: Scenario) -> tuple[float, float, float]:
    """Return (Y, t, N): passes through the whole model, and the mean number of token passes.

    A microbatch decodes until its longest answer is done; requests are packed
    in order of arrival, as in the simulation.
    """
    requests = build(scenario)
    batches = pack(scenario, requests)
    passes = batches.output_tokens - (scenario.discipline == "event")
    size, prompt = scenario.deployment.microbatch_size, round(batches.prompt_tokens.mean())
    stages, token_stages = scenario.prompt_stages, scenario.token_stages
    return (
        stages * prompt_stage_s(scenario.timing, stages, size, prompt),
        token_stages * token_stage_s(scenario.timing, token_stages, size),
        float(passes.mean()),
    )


def _memory(scenario: Scenario) -> Memory | None:
    model, memory_bytes = scenario.model, scenario.hardware.memory_bytes
    if model is None or memory_bytes is None:
        return None
    prompt, output = longest_tokens(scenario.workload.lengths, scenario.workload.entries)
    size, width = scenario.deployment.microbatch_size, _width(model)
    weights = model.weights_bytes / model.layers
    prompt_kv = formulas.kv_layer_bytes(prompt, size, width, model.bytes_per_kv_value)
    kv = formulas.kv_layer_bytes(prompt + output, size, width, model.bytes_per_kv_value)
    return Memory(
        layers=model.layers,
        memory_bytes=memory_bytes,
        weights_bytes=weights,
        prompt_kv_bytes=prompt_kv,
        kv_bytes=kv,
        least_prompt_machines=formulas.least_prompt_machines(
            model.layers, memory_bytes, weights, prompt_kv
        ),
        least_token_machines=formulas.least_token_machines(model.layers, memory_bytes, weights, kv),
    )


def _width(model: Model) -> int:
    """Return the values of a key in one layer: the hidden size unless heads share."""
    return model.kv_heads * model.head_dim


def _whole(
    machines: int, times: tuple[float, float, float, float], memory: Memory | None
) -> formulas.Split | None:
    least: Mapping[str, int] = {}
    if memory is not None:
        if memory.least_prompt_machines is None or memory.least_token_machines is None:
            return None
        least = {
            "least_prompt": memory.least_prompt_machines,
            "least_token": memory.least_token_machines,
        }
    return formulas.rounded(machines, *times, **least)


# -- the published planner -----------------------------------------------------------------------


def published(scenario: Scenario, said: Formula) -> Published | None:
    """Return what the published planner answers, in its whole gigabytes, milliseconds, tokens."""
    model, hardware = scenario.model, scenario.hardware
    if model is None or hardware.memory_bytes is None:
        return None
    devices = hardware.devices_per_machine or 1
    prompt, _ = longest_tokens(scenario.workload.lengths, scenario.workload.entries)
    question = published_planner.Question(
        num_machines=said.machines,
        memory_per_gpu=int(hardware.memory_bytes / devices / GB),
        num_machines_per_node=devices,
        prompt_len=prompt,
        num_extra_tokens=round(said.tokens),
        fp_size=max(round(model.bytes_per_parameter), 1),
        batch_size=said.microbatch_size,
        token_time=round(said.token_s * MS_PER_S),
        prompt_stream_overhead=said.slowdown,
        prompt_time=round(said.prompt_s * MS_PER_S),
        num_layers=model.layers,
        attention_size=_width(model),
        layer_size=round(model.parameters / model.layers),
    )
    try:
        answer = published_planner.answer(question)
    except InputError as error:
        problem = error.problems[0]
        words = "; ".join(filter(None, (problem.expected, f"got {problem.got}", problem.way_out)))
        return Published(question.flags(), None, None, words)
    return Published(question.flags(), answer.prompt_machines, answer.token_machines, answer.note)
