"""What no schema can say: do the numbers of a scenario go together?

Each check is a function from a scenario to findings that show the numbers on
both sides.  Later checks trust what earlier ones made sure of: counts first,
then workload and times, then memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from toolkit.scenario import demand
from toolkit.scenario import engine_physics as engine
from toolkit.scenario import fault_physics as faults
from toolkit.scenario.demand import LONGEST_S, served_entries
from toolkit.scenario.memory import StageFit, fit, longest_tokens
from toolkit.scenario.model import FixedTiming, RooflineTiming, Scenario, TableTiming
from toolkit.scenario.validate import Finding

__all__ = ["MEMORY", "check", "served_entries"]

MEMORY = ("deployment",)
"""Where it is said that a model does not fit; nothing else stands there."""

Check = Callable[[Scenario], Iterator[Finding]]


def check(scenario: Scenario) -> list[Finding]:
    """Return what is wrong with the numbers of a scenario: all of the first group that fails."""
    for group in (_COUNTS, _WORK, _ROOM):
        found = [finding for each in group for finding in each(scenario)]
        if found:
            return found
    return []


# -- machines and stages -----------------------------------------------------------------------


def _machines_add_up(scenario: Scenario) -> Iterator[Finding]:
    machines, deployment = scenario.hardware.machines, scenario.deployment
    if deployment.kind == "disaggregated":
        prompt, token = deployment.prompt_machines, deployment.token_machines
        if prompt + token != machines:
            yield Finding(
                ("hardware", "machines"),
                "expected as many as prompt_machines + token_machines",
                f"{machines}, but {prompt} + {token} = {prompt + token}",
            )
    elif machines % deployment.data_parallel:
        yield Finding(
            ("deployment", "data_parallel"),
            f"expected a divisor of the {machines} machines",
            f"{deployment.data_parallel}",
            f"possible: {_listed(n for n in range(1, machines + 1) if machines % n == 0)}",
        )


def _a_stage_has_a_layer(scenario: Scenario) -> Iterator[Finding]:
    if scenario.model is None:
        return
    stages = max(scenario.prompt_stages, scenario.token_stages)
    if stages > scenario.model.layers:
        yield Finding(
            ("hardware", "machines"),
            f"expected at most as many stages as {scenario.model.name} has layers, "
            f"{scenario.model.layers}",
            f"{stages} stages",
        )


def _idle_takes_no_more_than_work(scenario: Scenario) -> Iterator[Finding]:
    hardware = scenario.document.get("hardware", {})
    idle, busy = hardware.get("idle_w_per_machine"), hardware.get("busy_w_per_machine")
    if idle is not None and busy is not None and idle > busy:
        yield Finding(
            ("hardware", "idle_w_per_machine"),
            f"expected at most busy_w_per_machine, {busy:g} W",
            f"{idle:g} W",
        )


def _heads_go_together(scenario: Scenario) -> Iterator[Finding]:
    model = scenario.model
    if model and (model.kv_heads > model.heads or model.heads % model.kv_heads):
        expected = f"expected a divisor of the {model.heads} heads"
        yield Finding(("model", "kv_heads"), expected, f"{model.kv_heads}")


def _equal_work_divides(scenario: Scenario) -> Iterator[Finding]:
    batch, size = scenario.workload.equal_work_batch, scenario.deployment.microbatch_size
    if batch is not None and batch % size:
        yield Finding(
            ("workload", "equal_work_batch"),
            f"expected a multiple of deployment.microbatch_size, {size}",
            f"{batch}",
        )


# -- workload and times ------------------------------------------------------------------------


def _microbatches_arrive_full(scenario: Scenario) -> Iterator[Finding]:
    if scenario.workload.entry == "microbatch" and scenario.deployment.max_wait_s is not None:
        yield Finding(
            ("deployment", "max_wait_ms"),
            'does not go with workload.entry = "microbatch", whose microbatches arrive full',
            way_out="remove it",
        )


def _window_and_percentiles_ascend(scenario: Scenario) -> Iterator[Finding]:
    window, percentiles = scenario.report.window_s, scenario.report.percentiles
    if window is not None and window[0] >= window[1]:
        got = f"{window[0]:g} to {window[1]:g}"
        yield Finding(("report", "window_s"), "expected a start before the end", got)
    if list(percentiles) != sorted(set(percentiles)):
        got = ", ".join(f"{each:g}" for each in percentiles)
        yield Finding(("report", "percentiles"), "expected ascending percentiles", got)


def _one_warm_up(scenario: Scenario) -> Iterator[Finding]:
    if scenario.report.warm_up_s is not None and scenario.report.warm_up_share is not None:
        yield Finding(("report", "warm_up_share"), "does not go with warm_up_s", "", "remove one")


def _rates_ascend(scenario: Scenario) -> Iterator[Finding]:
    between = scenario.capacity and scenario.capacity.rate_range_per_s
    if between and between[0] >= between[1]:
        got = f"[{between[0]:g}, {between[1]:g}]"
        where = ("capacity", "rate_range_per_s")
        yield Finding(where, "expected a lowest rate below the highest", got)


def _table_is_sound(scenario: Scenario) -> Iterator[Finding]:
    table = scenario.timing
    if not isinstance(table, TableTiming):
        return
    sizes = table.batch_sizes
    if list(sizes) != sorted(set(sizes)):
        expected = "expected ascending batch sizes"
        yield Finding(("timing", "batch_sizes"), expected, _listed(sizes))
    for key, times in (("prompt_ms", table.prompt_s), ("token_ms", table.token_s)):
        if len(times) != len(sizes):
            expected = f"expected a time for each of the {len(sizes)} batch sizes"
            yield Finding(("timing", key), expected, f"{len(times)} times")
        elif min(times) <= 0:
            got = f"0 for a batch of {sizes[times.index(min(times))]}"
            yield Finding(("timing", key), "expected times above 0", got)
    yield from _degrees_are_sound(scenario, table)
    size = scenario.deployment.microbatch_size
    if not min(sizes) <= size <= max(sizes):
        yield Finding(
            ("deployment", "microbatch_size"),
            f"expected a batch size that the timing table covers, {min(sizes)} to {max(sizes)}",
            f"{size}",
            "nothing is extrapolated",
        )
    if table.scaling != "none" and table.prompt_tokens is None:
        expected = "expected prompt_tokens beside it, the length at which the times hold"
        yield Finding(("timing", "scaling"), expected, f'"{table.scaling}"')


def _degrees_are_sound(scenario: Scenario, table: TableTiming) -> Iterator[Finding]:
    """Yield tensor-parallel degrees that a machine cannot be cut into, and times that lack."""
    devices = scenario.hardware.devices_per_machine
    seen: set[int] = set()
    for index, degree in enumerate(table.degrees):
        place = ("timing", "tensor_parallel", index)
        for key, times in (("prompt_ms", degree.prompt_s), ("token_ms", degree.token_s)):
            if len(times) != len(table.batch_sizes) or min(times) <= 0:
                count = len(table.batch_sizes)
                expected = f"expected a time above 0 for each of the {count} batch sizes"
                yield Finding((*place, key), expected, f"{len(times)} times")
        if devices is None:
            expected = "asks for hardware.devices_per_machine, which is not stated"
            yield Finding((*place, "devices"), expected, f"{degree.devices}")
        elif devices % degree.devices or degree.devices in {devices, *seen}:
            expected = f"expected a divisor of the machine's {devices} devices, each once, below it"
            yield Finding((*place, "devices"), expected, f"{degree.devices}")
        seen.add(degree.devices)


def _time_passes(scenario: Scenario) -> Iterator[Finding]:
    timing = scenario.timing
    if not isinstance(timing, FixedTiming):
        return
    if scenario.discipline == "event":
        for key, seconds in (("prompt_ms", timing.prompt_s), ("token_ms", timing.token_s)):
            if seconds == 0:
                yield Finding(("timing", key), "expected a time above 0", "0")
    elif timing.prompt_s == timing.token_s == 0 and not _anything_late(scenario):
        got = "no time at all: prompt, token and arrivals are all 0"
        yield Finding(("timing", "prompt_ms"), "expected a run that takes time", got)


def _anything_late(scenario: Scenario) -> bool:
    """Return whether an arrival or a cache transfer keeps a run of zero service times going."""
    if scenario.deployment.kind == "disaggregated" and scenario.timing.cache_s > 0:
        return True
    arrivals = scenario.workload.arrivals
    if arrivals.recording is not None and arrivals.recording.arrival_ns is not None:
        return bool(arrivals.recording.arrival_ns[: scenario.workload.entries].any())
    if arrivals.kind != "groups":
        return arrivals.kind not in {"at_zero", "times"} or any(arrivals.times_s)
    size = arrivals.group_size or scenario.hardware.machines // scenario.deployment.data_parallel
    return arrivals.rate_per_s > 0 and _entries_of_a_part(scenario) // size > 1


def _enough_entries(scenario: Scenario) -> Iterator[Finding]:
    """The published programs start with one entry for each stage (quirks 1 and 20)."""
    if scenario.discipline != "dejavu":
        return
    entries, stages = _entries_of_a_part(scenario), scenario.token_stages
    if entries < stages:
        parts = scenario.deployment.data_parallel
        each = f"; {served_entries(scenario)} in {parts} parts" if parts > 1 else ""
        yield Finding(
            ("workload", "entries"),
            f"expected at least an entry for each of the {stages} token stages "
            'because discipline = "dejavu"',
            f"{entries}{each}",
            'use fewer machines, more entries, or discipline = "event"',
        )


def _discipline_goes(scenario: Scenario) -> Iterator[Finding]:
    if scenario.discipline != "dejavu":
        return
    cause = 'because discipline = "dejavu"'
    if scenario.workload.entry != "microbatch":
        expected = f'expected "microbatch" {cause}'
        yield Finding(("workload", "entry"), expected, f'"{scenario.workload.entry}"')
    if scenario.workload.tenants:
        expected = f"does not go with tenants {cause}, whose programs know none"
        yield Finding(("simulation", "discipline"), expected, way_out='use discipline = "event"')
    if scenario.deployment.activations:
        yield Finding(
            ("deployment", "activations"),
            f"expected false {cause}, whose hops between stages cost nothing",
            "true",
        )
    in_flight = scenario.deployment.microbatches_in_flight
    if in_flight not in {None, scenario.token_stages}:
        yield Finding(
            ("deployment", "microbatches_in_flight"),
            f"expected as many as stages, {scenario.token_stages}, {cause}",
            f"{in_flight}",
        )


def _transfers_are_possible(scenario: Scenario) -> Iterator[Finding]:
    """A transfer takes a stated time, or bytes over a link."""
    if scenario.discipline != "event":
        return
    deployment, hardware, model = scenario.deployment, scenario.hardware, scenario.model
    if deployment.kind == "disaggregated" and deployment.transfer_time_s is None:
        if hardware.link is None:
            yield Finding(
                ("hardware", "link"),
                "missing; required because KV caches go to the token machines",
                way_out="name a link, or state deployment.transfer_time_ms",
            )
        if model is None:
            yield Finding(
                ("model",),
                "missing; required because KV caches go to the token machines by size",
                way_out="name a model, or state deployment.transfer_time_ms",
            )
    if deployment.activations:
        for path, thing in ((("hardware", "link"), hardware.link), (("model",), model)):
            if thing is None:
                expected = "missing; required because deployment.activations = true"
                yield Finding(path, expected)


def _clock_holds_the_run(scenario: Scenario) -> Iterator[Finding]:
    """Even with nothing overlapping, the run has to end within what the trace's clock holds."""
    _, output = longest_tokens(scenario.workload.lengths, scenario.workload.entries)
    timing, prompt_stages, token_stages = (
        scenario.timing,
        scenario.prompt_stages,
        scenario.token_stages,
    )
    if isinstance(timing, RooflineTiming):
        return  # a step of a model that fits its memory takes no more than minutes
    if isinstance(timing, FixedTiming):
        prompt_s, token_s = timing.prompt_s * prompt_stages, timing.token_s * token_stages
    else:
        prompt_s, token_s = max(timing.prompt_s), max(timing.token_s)
    entry_s = prompt_s * scenario.deployment.stream_slowdown + output * token_s
    entry_s += prompt_stages * (scenario.deployment.transfer_time_s or timing.cache_s)
    entries = served_entries(scenario)
    if entries * entry_s > LONGEST_S:
        yield Finding(
            ("timing",),
            f"expected a run that ends within {LONGEST_S:g} s even if nothing overlaps",
            f"{entries:,} entries of up to {entry_s:.3g} s",
        )


def _entries_of_a_part(scenario: Scenario) -> int:
    return served_entries(scenario) // scenario.deployment.data_parallel


# -- memory ------------------------------------------------------------------------------------


def _memory_check_is_possible(scenario: Scenario) -> Iterator[Finding]:
    how, model = scenario.deployment.memory_fit, scenario.model
    where = ("deployment", "memory_fit")
    if how == "off":
        return
    if model is None or scenario.hardware.memory_bytes is None:
        lack = "a model" if model is None else "the machines' memory"
        yield Finding(where, f"expected {lack} to check", f'"{how}"', 'state it, or "off"')
    elif how == "dejavu" and None in {model.dejavu_weights_gb, model.dejavu_kv_gb_per_token}:
        yield Finding(
            where,
            "expected model.dejavu_weights_gb and model.dejavu_kv_gb_per_token to go with it",
            f'"{how}", and {model.name} has none',
        )


def _model_fits(scenario: Scenario) -> Iterator[Finding]:
    if list(_memory_check_is_possible(scenario)):
        return
    worst: dict[str, StageFit] = {}
    for stage in fit(scenario):
        if not stage.fits and stage.role not in worst:
            worst[stage.role] = stage
    name = scenario.model.name if scenario.model else ""
    for stage in worst.values():
        yield Finding(
            MEMORY,
            f"expected {name} to fit the machines",
            stage.words,
            "use more stages, smaller or fewer microbatches, or bytes_per_parameter and "
            "bytes_per_kv_value of a smaller format",
        )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


_COUNTS: tuple[Check, ...] = (
    _machines_add_up,
    _a_stage_has_a_layer,
    _heads_go_together,
    _idle_takes_no_more_than_work,
    _equal_work_divides,
    _window_and_percentiles_ascend,
    _one_warm_up,
    _rates_ascend,
    demand.of_counts,
    *engine.COUNTS,
    *faults.COUNTS,
)
_WORK: tuple[Check, ...] = (
    _discipline_goes,
    demand.of_arrivals,
    _microbatches_arrive_full,
    _table_is_sound,
    _time_passes,
    _enough_entries,
    _transfers_are_possible,
    _memory_check_is_possible,
    *engine.WORK,
    *faults.WORK,
)
_ROOM: tuple[Check, ...] = (_clock_holds_the_run, _model_fits, *engine.ROOM)
