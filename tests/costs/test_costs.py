"""Cost functions against arithmetic done another way."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.costs.links import activation_bytes, kv_bytes, transfer_s
from toolkit.costs.memory import fit, longest_tokens, stage_layers
from toolkit.costs.price import cost_usd
from toolkit.costs.timing import interpolated, outside_table, prompt_stage_s, token_stage_s
from toolkit.scenario import load
from toolkit.scenario.model import FixedTiming, Lengths, Link, Scenario, TableTiming

TABLE = TableTiming("t", (1, 2, 8), (1.0, 1.5, 4.5), (0.1, 0.2, 0.5), 1000, 1150)

tables = st.dictionaries(st.integers(1, 100), st.floats(0.001, 1e3), min_size=1, max_size=6).map(
    lambda points: tuple(zip(*sorted(points.items()), strict=True))
)


@given(tables)
def test_interpolation_hits_every_point(table: tuple[tuple[int, ...], tuple[float, ...]]) -> None:
    sizes, times = table
    assert [interpolated(sizes, times, size) for size in sizes] == list(times)


@given(tables, st.integers(1, 100))
def test_between_points_it_is_the_straight_line_that_numpy_draws(
    table: tuple[tuple[int, ...], tuple[float, ...]], batch: int
) -> None:
    sizes, times = table
    if batch > sizes[-1]:
        with pytest.raises(ValueError, match="above the largest"):
            interpolated(sizes, times, batch)
    else:
        assert interpolated(sizes, times, batch) == pytest.approx(np.interp(batch, sizes, times))


@given(tables)
def test_more_requests_never_take_less_where_the_points_say_so(
    table: tuple[tuple[int, ...], tuple[float, ...]],
) -> None:
    sizes, times = table[0], tuple(sorted(table[1]))
    line = [interpolated(sizes, times, batch) for batch in range(1, sizes[-1] + 1)]
    assert all(b >= a or math.isclose(a, b) for a, b in pairwise(line))


def test_stages_share_a_tables_time_and_not_a_fixed_one() -> None:
    assert prompt_stage_s(TABLE, 4, 2, 1000) * 4 == prompt_stage_s(TABLE, 1, 2, 1000) == 1.5
    assert token_stage_s(TABLE, 4, 5) * 4 == pytest.approx(0.35)
    fixed = FixedTiming(prompt_s=0.04, token_s=0.01)
    assert prompt_stage_s(fixed, 4, 2, 7) == prompt_stage_s(fixed, 1, 9, 1000) == 0.04
    assert token_stage_s(fixed, 4, 2) == 0.01


def test_prompts_are_scaled_only_where_the_scenario_says_how() -> None:
    assert prompt_stage_s(TABLE, 1, 1, 500) == 1.0
    scaled = replace(TABLE, scaling="linear_in_tokens")
    assert prompt_stage_s(scaled, 1, 1, 500) == 0.5


def test_a_step_outside_the_points_says_why() -> None:
    assert outside_table(TABLE, 4, 1000, 0) == ""
    assert outside_table(TABLE, 4, 0, 1150) == ""
    assert outside_table(FixedTiming(1, 1), 99, 7, 7) == ""
    assert outside_table(TABLE, 9, 1000, 0).startswith("batch of 9 above")
    assert outside_table(replace(TABLE, batch_sizes=(2, 4, 8)), 1, 0, 0).startswith("batch of 1")
    assert outside_table(TABLE, 4, 900, 0) == "prompt of 900 tokens, measured at 1000"
    assert outside_table(replace(TABLE, scaling="linear_in_tokens"), 4, 900, 0) == ""
    assert outside_table(TABLE, 4, 0, 5000).startswith("context of 5000")


@given(st.integers(1, 500), st.integers(1, 100))
def test_layers_are_split_evenly_and_none_is_lost(layers: int, stages: int) -> None:
    held = stage_layers(layers, stages)
    assert sum(held) == layers
    assert len(held) == stages
    assert max(held) - min(held) <= 1
    assert list(held) == sorted(held, reverse=True)


def test_a_transfer_is_latency_and_bytes() -> None:
    link = Link("l", bytes_per_s=5e9, latency_s=0.001)
    assert transfer_s(link, 0) == 0.001
    assert transfer_s(link, 5e9) == 1.001


def test_the_cache_of_32_prompts_of_opt_66b_is_75_gb(root: Path) -> None:
    """The figure of the decisions on links: 15 s over one link of 40 Gbit/s."""
    scenario = load(root / "scenarios/opt66.toml", variant="disaggregated")
    assert scenario.model is not None
    assert scenario.hardware.link is not None
    nbytes = kv_bytes(scenario.model, scenario.model.layers, 32, 1000)
    assert nbytes == pytest.approx(75.5e9, rel=1e-3)
    assert transfer_s(scenario.hardware.link, nbytes) == pytest.approx(15.1, rel=1e-3)
    assert activation_bytes(scenario.model, 32, 1) == 32 * 9216 * 2


def test_all_machines_are_paid_for_all_the_time() -> None:
    assert cost_usd(3600, 8, 18.52) == pytest.approx(148.16)


def scenario_of(**changes: Any) -> Scenario:
    deployment = changes.pop("deployment")
    return load(
        {
            "schema_version": 1,
            "model": {"use": "OPT-66B", **changes.pop("model", {})},
            "hardware": {
                "machines": changes.pop("machines"),
                "link": "ethernet-40g",
                "memory_gb_per_machine": 1_000_000,
            },
            "deployment": deployment,
            "workload": {
                "entries": 50,
                "entry": "microbatch",
                "lengths": {"kind": "fixed", **changes.pop("lengths")},
            },
            "timing": {"kind": "fixed", "prompt_ms": 1, "token_ms": 1},
        }
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 16),
    st.integers(1, 4),
    st.integers(1, 64),
    st.integers(1, 900),
    st.integers(1, 9),
)
def test_the_exact_fit_is_weights_and_caches_by_layer(
    stages: int, replicas: int, batch: int, tokens: int, in_flight: int
) -> None:
    scenario = scenario_of(
        machines=stages * replicas,
        deployment={
            "kind": "pipeline",
            "data_parallel": replicas,
            "microbatch_size": batch,
            "microbatches_in_flight": in_flight,
        },
        lengths={"prompt_tokens": tokens, "output_tokens": 2 * tokens},
    )
    found = fit(scenario)
    assert len(found) == stages
    assert sum(stage.weights_bytes for stage in found) == pytest.approx(2 * 65_719_701_504)
    per_layer = 2 * 72 * 128 * 2  # keys and values, heads, width, bytes
    for stage in found:
        assert stage.layers is not None
        kv = Fraction(per_layer * stage.layers * batch * 3 * tokens)
        assert stage.kv_bytes_per_microbatch == pytest.approx(float(kv))
        assert stage.fits == (stage.needed_bytes <= stage.memory_bytes)
        assert stage.in_flight == in_flight


def test_prompt_machines_hold_prompts_only() -> None:
    split = {"kind": "disaggregated", "prompt_machines": 2, "token_machines": 2}
    found = fit(
        scenario_of(
            machines=4,
            deployment={**split, "microbatch_size": 4},
            lengths={"prompt_tokens": 300, "output_tokens": 100},
        )
    )
    assert [stage.role for stage in found] == ["prompt", "prompt", "token", "token"]
    assert found[2].kv_bytes_per_microbatch / found[0].kv_bytes_per_microbatch == 400 / 300


@pytest.mark.parametrize(
    ("model", "stages", "batch", "memory_gb", "fits"),
    [
        ("BLOOM-176B", 1, 1, 320, False),  # 352 + 8 GB
        ("BLOOM-176B", 2, 16, 320, True),  # 176 + 128 = 304 GB
        ("OPT-66B", 8, 64, 320, True),  # 17 + 302.08 = 319.08 GB
        ("OPT-66B", 1, 32, 320, True),  # 132 + 151.04 GB
        ("OPT-66B", 1, 64, 320, False),  # 132 + 302.08 GB
        ("OPT-30B", 2, 8, 64, True),  # 30 + 22 GB
        ("OPT-30B", 1, 1, 64, True),  # 60 + 2.75 GB
        ("OPT-30B", 1, 2, 64, False),  # 60 + 5.5 GB
        ("OPT-13B", 1, 8, 39.6, False),  # 26 + 13.6 = 39.6 GB: equal is too much
    ],
)
def test_the_published_fit_is_strict_and_rounds_weights_up(
    model: str, stages: int, batch: int, memory_gb: float, fits: bool
) -> None:
    scenario = scenario_of(
        machines=stages,
        model={"use": model},
        deployment={"kind": "pipeline", "microbatch_size": batch, "memory_fit": "dejavu"},
        lengths={"prompt_tokens": 1, "output_tokens": 1},
    )
    hardware = replace(scenario.hardware, memory_bytes=memory_gb * 1e9)
    found = fit(replace(scenario, hardware=hardware))
    assert {stage.fits for stage in found} == {fits}
    assert f"ceil({found[0].words.split('ceil(')[1].split(')')[0]})" in found[0].words


def test_the_longest_request_is_after_clamping() -> None:
    pairs = Lengths("pairs", pairs=((10, 0), (50, 900), (5, 2000)), min_output_tokens=2)
    assert longest_tokens(pairs, 1) == (10, 2)
    assert longest_tokens(pairs, 3) == (50, 2000)
    assert longest_tokens(replace(pairs, max_output_tokens=1000), 3) == (50, 1000)
    assert longest_tokens(Lengths("catalog", name="lmsys-chat-english"), 9) == (766, 791)
