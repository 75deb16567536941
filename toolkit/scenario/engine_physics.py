"""Do the numbers of a scenario with continuous batching go together?

As in `toolkit.scenario.physics`, which asks these checks beside its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from toolkit.scenario.kv_room import blocks_of, kv_room
from toolkit.scenario.memory import longest_request
from toolkit.scenario.model import RooflineTiming, Scenario, TableTiming, Timing
from toolkit.scenario.pools import pools
from toolkit.scenario.toml import KeyPath
from toolkit.scenario.validate import Finding

__all__ = ["COUNTS", "ROOM", "WORK"]

CAUSE = 'because batching = "continuous"'
ENGINE_ROUTERS = ("least_loaded", "shortest_queue", "power_of_two", "prefix_affinity")


def _engine_goes(scenario: Scenario) -> Iterator[Finding]:
    """A choice made with continuous batching, or only possible with it."""
    deployment = scenario.deployment
    engine = deployment.engine
    if engine is None:
        if deployment.router in ENGINE_ROUTERS:
            expected = 'expected "round_robin" or "shared_queue" because batching = "microbatch"'
            yield Finding(("deployment", "router"), expected, f'"{deployment.router}"')
        if isinstance(scenario.timing, RooflineTiming):
            yield Finding(
                ("timing", "kind"),
                'expected "fixed" or "table" because batching = "microbatch"',
                '"roofline"',
                'or state deployment.batching = "continuous"',
            )
        return
    for path, right, is_now in (
        (("workload", "entry"), "request", scenario.workload.entry),
        (("simulation", "discipline"), "event", scenario.discipline),
    ):
        if is_now != right:
            yield Finding(path, f'expected "{right}" {CAUSE}', f'"{is_now}"')
    if isinstance(scenario.timing, TableTiming):
        yield Finding(
            ("timing", "kind"),
            f'expected "roofline" or "fixed" {CAUSE}',
            '"table"',
            "a table has times of microbatches, not of the steps of an engine",
        )
    if deployment.memory_fit == "dejavu":
        expected = f'expected "exact" or "off" {CAUSE}'
        yield Finding(("deployment", "memory_fit"), expected, '"dejavu"')
    if deployment.router == "prefix_affinity" and not engine.prefix_caching:
        yield Finding(
            ("deployment", "prefix_caching"),
            'expected true because router = "prefix_affinity", which asks what is cached',
            "false",
            'or use router = "least_loaded"',
        )


def _swapping_is_whole(scenario: Scenario) -> Iterator[Finding]:
    engine = scenario.deployment.engine
    if engine is None or engine.preemption != "swap":
        return
    cause = 'because preemption = "swap"'
    if scenario.model is None:
        yield Finding(("model",), f"missing; required {cause}: KV caches have to have a size")
    if not engine.host_memory_bytes:
        expected = f"expected the host memory for KV caches {cause}"
        yield Finding(("deployment", "host_memory_gb"), expected, way_out="state it, GB a replica")
    if engine.host_link_bytes_per_s == math.inf:
        expected = f"missing; required {cause}"
        way_out = "name hardware.device or hardware.machine, or state it"
        yield Finding(("deployment", "host_link_gb_per_s"), expected, way_out=way_out)


def _tables(scenario: Scenario) -> Iterator[tuple[KeyPath, Scenario]]:
    """Yield each pool with the place of its rules; only one where both have the same."""
    both = pools(scenario)
    yield ("deployment",), both[0]
    if len(both) > 1 and _own_kind(both[0]) != _own_kind(both[1]):
        yield ("deployment", "token"), both[1]


def _own_kind(pool: Scenario) -> tuple[object, ...]:
    return replace(pool.hardware, machines=1), pool.timing, pool.deployment.engine


def _devices_divide(scenario: Scenario) -> Iterator[Finding]:
    for table, pool in _tables(scenario):
        engine, devices = pool.deployment.engine, pool.hardware.devices_per_machine
        if engine is None or engine.tensor_parallel is None:
            continue
        where, group = (*table, "tensor_parallel"), engine.tensor_parallel
        if devices is None and group > 1:
            expected = "asks for hardware.devices_per_machine, which is not stated"
            yield Finding(where, expected, f"{group}")
        elif devices is not None and devices != group:
            expected = f"expected a divisor of the machine's {devices} devices"
            yield Finding(where, expected, f"{group}")


def _pools_are_of_engines(scenario: Scenario) -> Iterator[Finding]:
    """What is said of token machines has a meaning where engines hand requests over."""
    split, hardware = scenario.token_pool is not None, scenario.document.get("hardware", {})
    timing = scenario.document.get("timing", {})
    cause = 'because deployment is not "disaggregated" with batching = "continuous"'
    engine = scenario.deployment.engine
    if split and engine is not None and engine.preemption == "swap":
        expected = 'expected "recompute" because kind = "disaggregated"'
        yield Finding(("deployment", "preemption"), expected, '"swap"', "not simulated there yet")
    if split and scenario.workload.clients is not None:
        expected = 'does not go with kind = "disaggregated" yet'
        yield Finding(("workload", "clients"), expected, way_out="remove one of the two")
    if "token" in hardware and not split:
        yield Finding(("hardware", "token"), f"has no meaning {cause}", way_out="remove it")
    if "token" in timing and "token" not in hardware:
        expected = "expected hardware.token beside it, whose rates these are"
        yield Finding(("timing", "token"), expected)
    if (hardware.get("link") or {}).get("lanes", 1) > 1 and not split:
        expected = f"expected 1 {cause}"
        yield Finding(("hardware", "link", "lanes"), expected, f"{hardware['link']['lanes']}")


def _a_replica_is_one_stage(scenario: Scenario) -> Iterator[Finding]:
    hardware, deployment = scenario.hardware, scenario.deployment
    if deployment.engine is None or hardware.machines % deployment.data_parallel:
        return
    if deployment.kind != "pipeline":
        return
    stages = hardware.machines // deployment.data_parallel
    if stages > 1:
        devices = hardware.devices_per_machine
        group = "machine" if devices is None else f"group of {devices} devices"
        yield Finding(
            ("deployment", "data_parallel"),
            f"expected a replica for each {group}, {hardware.machines}, {CAUSE}",
            f"{deployment.data_parallel}: pipelines of {stages} stages",
            "engines of several stages are not simulated yet; use a larger tensor_parallel",
        )


def _a_step_takes_its_decodes(scenario: Scenario) -> Iterator[Finding]:
    for table, pool in _tables(scenario):
        engine = pool.deployment.engine
        if engine is None:
            return
        where, budget = (*table, "max_num_batched_tokens"), engine.max_num_batched_tokens
        if budget < engine.max_num_seqs:
            expected = f"expected at least max_num_seqs, {engine.max_num_seqs}: a token for each"
            yield Finding(where, expected, f"{budget}")
        lengths, entries = scenario.workload.lengths, scenario.workload.entries
        if lengths.kind == "pairs" and len(lengths.pairs) < entries:
            return
        prompt, output = longest_request(scenario.workload)
        if not engine.chunked_prefill and budget < prompt + output:
            yield Finding(
                where,
                f"expected at least the longest request, {prompt} + {output} tokens, because "
                "chunked_prefill = false",
                f"{budget}",
                "a preempted request computes prompt and answer anew, in one step",
            )


def _roofline_is_whole(scenario: Scenario) -> Iterator[Finding]:
    model = scenario.model
    timing: Timing = scenario.timing
    if not isinstance(timing, RooflineTiming):
        return
    way_out = "name hardware.device or hardware.machine, or state it"
    if model is None:
        yield Finding(("model",), 'missing; required because timing.kind = "roofline"')
    elif model.experts and not 0 < model.experts_active <= model.experts:
        expected = f"expected 1 to the {model.experts} experts"
        yield Finding(("model", "experts_active"), expected, f"{model.experts_active}")
    elif model.active_parameters > model.parameters:
        expected = f"expected at most model.parameters, {model.parameters}"
        yield Finding(("model", "active_parameters"), expected, f"{model.active_parameters}")
    own = "token" in scenario.document.get("hardware", {})
    for table, pool in zip((("timing",), ("timing", "token")), pools(scenario), strict=False):
        timing = pool.timing
        if not isinstance(timing, RooflineTiming) or (table != ("timing",) and not own):
            continue
        needed = [("tflops", timing.flops_per_s), ("memory_gb_per_s", timing.bytes_per_s)]
        if (pool.hardware.devices_per_machine or 1) > 1:
            needed.append(("device_link_gb_per_s", timing.link_bytes_per_s))
        for key, rate in needed:
            if not rate:
                expected = 'missing; required because timing.kind = "roofline"'
                yield Finding((*table, key), expected, "", way_out)


def _the_longest_request_fits(scenario: Scenario) -> Iterator[Finding]:
    for table, pool in _tables(scenario):
        engine = pool.deployment.engine
        if engine is None:
            return
        room = kv_room(pool)
        prompt, output = longest_request(scenario.workload)
        needed = blocks_of(prompt + output - 1, engine.kv_block_tokens)
        if room.blocks is not None and room.blocks < needed:
            yield Finding(
                table,
                f"expected room for the longest request, {prompt} + {output} tokens: "
                f"{needed:,} KV blocks of {engine.kv_block_tokens}",
                room.words,
                "use a larger tensor_parallel, bytes_per_parameter and bytes_per_kv_value of a "
                "smaller format, or shorter requests",
            )


COUNTS = (
    _engine_goes,
    _pools_are_of_engines,
    _devices_divide,
    _a_replica_is_one_stage,
    _a_step_takes_its_decodes,
)
WORK = (_roofline_is_whole, _swapping_is_whole)
ROOM = (_the_longest_request_fits,)
