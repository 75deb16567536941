"""The roofline against arithmetic done another way, and the bounds that physics puts on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import load
from toolkit.costs.roofline import (
    all_reduce_s,
    dense_s,
    distinct_experts,
    expert_parameters,
    kv_read_bytes,
)
from toolkit.costs.steps import Work, step_costs, step_s
from toolkit.scenario.model import Model, RooflineTiming, Scenario
from toolkit.simulator.engine_state import run_ns, step_ns

MODELS = ("Llama-3.1-8B", "Llama-2-70B", "Mixtral-8x7B", "DeepSeek-V2-Lite", "OPT-13B")


def scenario(model: str, devices: int = 1, **stated: object) -> Scenario:
    return load(
        {
            "schema_version": 1,
            "model": {"use": model, **stated},
            "hardware": {"machine": "p5.48xlarge", "machines": 1},
            "deployment": {
                "kind": "pipeline",
                "batching": "continuous",
                "tensor_parallel": devices,
                "data_parallel": 8 // devices,
                "memory_fit": "off",
            },
            "workload": {
                "entries": 1,
                "lengths": {"kind": "fixed", "prompt_tokens": 100, "output_tokens": 10},
            },
            "timing": {"kind": "roofline"},
        }
    )


works = st.builds(
    Work,
    decodes=st.integers(1, 300),
    context=st.integers(1, 10**6),
    chunks=st.integers(0, 4),
    prompt_tokens=st.integers(0, 8192),
    pairs=st.integers(0, 10**8),
    prompt_context=st.integers(0, 10**5),
    sampled=st.integers(1, 300),
)


@given(st.sampled_from(MODELS), st.sampled_from([1, 2, 8]), works)
def test_the_coefficients_give_the_sum_of_the_parts(model: str, devices: int, work: Work) -> None:
    simulated = scenario(model, devices)
    assert simulated.model is not None
    assert isinstance(simulated.timing, RooflineTiming)
    plain = step_s(simulated.model, simulated.timing, devices, 1, work)
    assert step_ns(step_costs(simulated), *work) == pytest.approx(plain * 1e9, rel=1e-9, abs=1)


@given(st.sampled_from(MODELS), st.integers(1, 64), st.integers(1, 5000), st.integers(1, 200))
def test_a_run_is_its_steps_added_up(model: str, decodes: int, each: int, steps: int) -> None:
    """Every step rounded by itself is off by at most half a nanosecond; the run is rounded once."""
    costs = step_costs(scenario(model))
    context = decodes * each
    added = sum(
        step_ns(costs, decodes, context + step * decodes, 0, 0, 0, 0, decodes)
        for step in range(steps)
    )
    assert abs(run_ns(costs, decodes, context, steps) - added) <= steps / 2 + 1


@given(st.sampled_from(MODELS), works, st.integers(1, 4096))
def test_no_step_is_faster_than_the_roofs(model: str, work: Work, more: int) -> None:
    """No operation and no byte goes by at more than the peak; more work is no quicker."""
    simulated = scenario(model)
    shape, timing = simulated.model, simulated.timing
    assert shape is not None
    assert isinstance(timing, RooflineTiming)
    seconds = step_s(shape, timing, 1, 1, work)
    tokens = work.decodes + work.prompt_tokens
    tables = (1 if shape.tied_embeddings else 2) * shape.vocab * shape.hidden
    assert seconds >= 2 * (shape.active_parameters - tables) * tokens / timing.flops_per_s
    assert seconds >= shape.kv_bytes_per_token * work.context / timing.bytes_per_s
    for key in Work._fields:
        larger = work._replace(**{key: getattr(work, key) + more})
        assert step_s(shape, timing, 1, 1, larger) >= seconds


def test_one_token_on_one_h100_reads_the_weights_once() -> None:
    """Llama-3.1-8B: 15.0 GB without the embedding at 78 % of 3.35 TB/s, and 1.14 ms of overhead."""
    costs = step_costs(scenario("Llama-3.1-8B"))
    read_ms = 2 * (8_030_261_248 - 128_256 * 4096) / (3350e9 * 0.78) * 1e3
    assert read_ms == pytest.approx(5.744, abs=1e-3)
    assert run_ns(costs, 1, 1, 1) / 1e6 == pytest.approx(read_ms + 0.5 + 32 * 0.02, abs=1e-3)


def test_halving_the_bytes_of_weights_halves_their_reading() -> None:
    full, half = (step_costs(scenario("Llama-3.1-8B", bytes_per_parameter=size)) for size in (2, 1))
    assert half.weights == pytest.approx(full.weights / 2)
    assert half.token_arithmetic == pytest.approx(full.token_arithmetic * 989 / 1979)
    cache = step_costs(scenario("Llama-3.1-8B", bytes_per_kv_value=1))
    assert cache.context == pytest.approx(full.context / 2)


def test_four_bit_weights_are_read_faster_and_computed_at_16_bits() -> None:
    full, small = (
        step_costs(scenario("Llama-3.1-8B", bytes_per_parameter=size)) for size in (2, 0.5)
    )
    assert small.weights == pytest.approx(full.weights / 4)
    assert small.token_arithmetic == full.token_arithmetic


def test_experts_are_told_from_what_every_token_passes_through() -> None:
    """Mixtral-8x7B: 3 x 4096 x 14336 parameters an expert, 8 of them in 32 layers."""
    model = scenario("Mixtral-8x7B").model
    assert model is not None
    assert expert_parameters(model) == pytest.approx(32 * 8 * 3 * 4096 * 14336, rel=1e-9)


@given(st.integers(1, 64), st.integers(0, 64), st.integers(1, 10**4))
def test_touched_experts_lie_between_one_tokens_and_all(active: int, more: int, n: int) -> None:
    experts = active + more
    touched = distinct_experts(experts, active, n)
    assert min(active, experts) * (1 - 1e-12) <= touched <= experts
    assert touched <= active * n * (1 + 1e-12)


def test_the_latent_is_held_by_every_device_and_heads_are_shared_out() -> None:
    latent, heads = (scenario(name).model for name in ("DeepSeek-V2-Lite", "Llama-3.1-8B"))
    assert latent is not None
    assert heads is not None
    assert latent.kv_bytes_per_token == 31_104
    assert kv_read_bytes(latent, 8) == kv_read_bytes(latent, 1)
    assert kv_read_bytes(heads, 8) * 8 == kv_read_bytes(heads, 16) * 8 == 131_072


@given(st.sampled_from([2, 3, 4, 8]), st.floats(1, 1e9))
def test_an_all_reduce_stays_below_the_links_bandwidth(devices: int, nbytes: float) -> None:
    """Each device sends and receives 2 (t - 1) / t of the bytes, at no more than the bandwidth."""
    timing = RooflineTiming(1, 1, link_bytes_per_s=4.5e11, link_latency_s=2e-6)
    seconds = all_reduce_s(timing, devices, nbytes)
    moved = 2 * (devices - 1) / devices * nbytes
    assert moved / seconds < timing.link_bytes_per_s


def test_splitting_a_model_splits_its_roof_and_adds_collectives() -> None:
    one, four = (step_costs(scenario("Llama-2-70B", devices)) for devices in (1, 4))
    assert four.weights == pytest.approx(one.weights / 4)
    assert (one.collective, one.token_collective) == (0, 0)
    assert four.collective == pytest.approx(2 * 80 * 4 * 2000)


def test_stages_share_the_layers() -> None:
    model = scenario("Llama-2-70B").model
    timing = scenario("Llama-2-70B").timing
    assert isinstance(model, Model)
    assert isinstance(timing, RooflineTiming)
    bare = replace(timing, step_overhead_s=0.0)
    work = Work(decodes=8, context=8000, sampled=8)
    assert step_s(model, bare, 1, 4, work) * 4 == pytest.approx(step_s(model, bare, 1, 1, work))
    assert dense_s(model, timing, 1, 4, 8) * 4 == pytest.approx(dense_s(model, timing, 1, 1, 8))
