"""What a machine costs and draws: from the catalog by kind, with its source, or stated."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit import catalog
from toolkit.scenario import load
from toolkit.scenario.model import Scenario


def loaded(**hardware: Any) -> Scenario:
    return load(
        {
            "schema_version": 1,
            "hardware": {"machines": 2, **hardware},
            "deployment": {"kind": "pipeline"},
            "workload": {
                "entries": 4,
                "lengths": {"kind": "fixed", "prompt_tokens": 9, "output_tokens": 4},
            },
            "timing": {"kind": "fixed", "prompt_ms": 10.0, "token_ms": 1.0},
        }
    )


@pytest.mark.parametrize(("price", "expected"), [("on_demand", 12.24), ("spot", 3.672)])
def test_a_kind_of_price_is_the_catalog_s_first_of_that_kind(price: str, expected: float) -> None:
    scenario = loaded(machine="p3.8xlarge", price=price)
    assert scenario.hardware.price_usd_per_hour == expected
    assert "SkyPilot-format catalog row" in scenario.document["hardware"]["price_source"]


def test_without_a_kind_the_first_price_of_all_is_taken() -> None:
    assert loaded(machine="p4d.24xlarge").hardware.price_usd_per_hour == 32.77
    assert loaded(machine="p4d.24xlarge", price="reserved").hardware.price_usd_per_hour == 14.75


def test_a_stated_price_needs_no_catalog_and_says_nothing_of_one() -> None:
    scenario = loaded(machine="p4d.24xlarge", price="spot", price_usd_per_machine_hour=9.5)
    assert scenario.hardware.price_usd_per_hour == 9.5
    assert "price_source" not in scenario.document["hardware"]


def test_watts_are_those_of_the_devices_with_their_sources() -> None:
    hardware = loaded(machine="4xA100-80GB").document["hardware"]
    device = catalog.device("A100-80GB")
    assert hardware["busy_w_per_machine"] == 4 * device.figures["power_w"]
    assert hardware["idle_w_per_machine"] == 4 * device.figures["idle_w"]
    assert "an upper bound" in hardware["power_source"]
    assert device.source("idle_w").source in hardware["power_source"]


def test_what_no_source_states_is_left_out_and_what_is_stated_stands() -> None:
    hardware = loaded(machine="4xV100-16GB").document["hardware"]
    assert hardware["busy_w_per_machine"] == 1200
    assert "idle_w_per_machine" not in hardware
    stated = loaded(
        machine="4xA100-80GB", busy_w_per_machine=2000, idle_w_per_machine=500
    ).document["hardware"]
    assert (stated["busy_w_per_machine"], stated["idle_w_per_machine"]) == (2000, 500)
    assert "power_source" not in stated


def test_a_resolved_scenario_loads_again_to_the_same() -> None:
    scenario = loaded(machine="p3.8xlarge", price="spot", co2_g_per_kwh=400)
    assert load(dict(scenario.document)).document == scenario.document
