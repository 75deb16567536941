"""The points of a sweep are what lists, constraints and families say, each as if loaded alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_documents import SMALL, small

from toolkit.errors import InputError
from toolkit.scenario import explain, load
from toolkit.scenario.points import Point, Sweep

Settings = Mapping[str, Any]

CONDITIONS: Mapping[str, Callable[[Settings], bool]] = {
    "data_parallel divides machines": lambda it: (
        it["hardware.machines"] % it["deployment.data_parallel"] == 0
    ),
    "machines >= 3": lambda it: it["hardware.machines"] >= 3,
    "microbatch_size * data_parallel <= machines + 1": lambda it: (
        it["deployment.microbatch_size"] * it["deployment.data_parallel"]
        <= it["hardware.machines"] + 1
    ),
    "microbatch_size divides equal_work_batch": lambda it: (
        4 % it["deployment.microbatch_size"] == 0
    ),
    "workload.seed != microbatch_size": lambda it: (
        it["workload.seed"] != it["deployment.microbatch_size"]
    ),
}

LISTS = {
    "hardware.machines": [1, 2, 3, 4, 6, 8],
    "deployment.data_parallel": [1, 2, 3, 4],
    "deployment.microbatch_size": [1, 2, 3, 4],
    "workload.seed": [1, 2, 3],
}


def sweep_of(document: Mapping[str, Any]) -> Sweep:
    sweep = load(document).sweep
    assert sweep is not None
    return sweep


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            key: st.lists(st.sampled_from(values), min_size=1, unique=True)
            for key, values in LISTS.items()
        }
    ),
    st.sets(st.sampled_from(sorted(CONDITIONS))),
    st.permutations(sorted(LISTS)),
)
def test_points_are_the_product_filtered(
    lists: dict[str, list[int]], conditions: set[str], order: list[str]
) -> None:
    """In the order of the product, the first list outermost."""
    lists = {key: lists[key] for key in order}
    product = [
        dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())
    ]
    expected = [it for it in product if all(CONDITIONS[each](it) for each in conditions)]
    document = deepcopy(SMALL)
    document["sweep"] = {**lists, "constraints": sorted(conditions)}

    if not expected:
        with pytest.raises(InputError, match="expected a combination that meets all constraints"):
            load(document)
        return
    points = sweep_of(document).points
    assert [dict(point.settings) for point in points] == expected
    assert [point.number for point in points] == list(range(len(points)))


def alone(point: Point, base: Mapping[str, Any], overlay: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the document in which a user would have written this one point."""
    document = deepcopy({key: value for key, value in base.items() if key != "sweep"})
    for section, table in overlay.items():
        document[section] = deepcopy(table)
    for key, value in point.settings.items():
        section, _, name = key.rpartition(".")
        if value is not None:
            document.setdefault(section, {})[name] = value
    return document


def test_a_point_is_the_scenario_it_would_be_alone() -> None:
    document = small()
    overlays = {each["name"]: each.get("deployment") for each in document["sweep"]["family"]}
    for point in sweep_of(document).points:
        overlay = {"deployment": overlays[point.family]} if overlays[point.family] else {}
        written = alone(point, document, overlay)
        if point.status == "fits":
            assert load(written) == point.scenario
            assert load(point.scenario.document) == point.scenario
        else:
            with pytest.raises(InputError) as raised:
                load(written)
            assert raised.value.problems[0].expected in point.reason


def test_points_that_do_not_fit_say_so_in_numbers() -> None:
    document = {
        **deepcopy(SMALL),
        "model": {"use": "OPT-66B"},
        "hardware": {"machine": "4xA100-80GB", "machines": 1},
        "timing": {"kind": "table", "name": "opt-66b-4xa100-80gb"},
        "sweep": {
            "hardware.machines": [1, 4],
            "deployment.microbatch_size": [1, 64],
            "workload.equal_work_batch": [64],
            "workload.lengths.prompt_tokens": [1500],
        },
    }
    points = sweep_of(document).points
    assert [point.status for point in points] == ["fits", "does_not_fit", "fits", "fits"]
    assert "expected OPT-66B to fit the machines, got colocated stage 0 of 1" in points[1].reason


def test_equal_points_have_equal_digests_and_only_those() -> None:
    document = small(family=[{"name": "one"}, {"name": "other"}])
    points = sweep_of(document).points
    half = len(points) // 2
    digests = [point.digest for point in points]
    assert digests[:half] == digests[half:]
    assert len(set(digests)) == half


@pytest.mark.parametrize("key", ["timing.token_ms", "workload.entries", "hardware.machines"])
def test_a_digest_depends_on_what_is_not_swept_too(key: str) -> None:
    section, _, name = key.partition(".")
    other = small()
    other[section][name] = 6
    changed = [point.digest for point in sweep_of(other).points]
    same = [point.digest for point in sweep_of(small()).points]
    assert (changed == same) is (key == "hardware.machines")


def test_points_given_together_are_combined_with_the_lists() -> None:
    document = small(points=[{"deployment.data_parallel": 1}, {"deployment": {"data_parallel": 2}}])
    document["sweep"]["family"] = [{"name": "only"}]
    document["sweep"]["hardware.machines"] = [2, 4]
    document["sweep"]["deployment.microbatch_size"] = [4]
    pairs = [
        (point.settings["hardware.machines"], point.settings["deployment.data_parallel"])
        for point in sweep_of(document).points
    ]
    assert pairs == [(2, 1), (2, 2), (4, 1), (4, 2)]


def test_a_variant_is_a_family_where_none_is_named() -> None:
    document = small(constraints=[])
    del document["sweep"]["family"]
    document["variant"] = [
        {"name": "round", "deployment": {"router": "round_robin"}},
        {"name": "shared", "deployment": {"router": "shared_queue"}},
    ]
    sweep = sweep_of(document)
    assert sweep.families == ("round", "shared")
    assert {point.scenario.deployment.router for point in sweep.points} == {
        "round_robin",
        "shared_queue",
    }
    assert load(document, variant="shared").sweep.families == ("shared",)  # type: ignore[union-attr]


def test_a_key_that_chooses_a_table_of_the_catalog_is_looked_up_for_each_value() -> None:
    document = small()
    document["hardware"]["link"] = "ethernet-40g"
    document["sweep"] = {
        "hardware.link.gbit_per_s": [10, 40],
        "workload.lengths.output_tokens": [5, 6],
    }
    speeds = [point.scenario.hardware.link for point in sweep_of(document).points]
    assert [link.bytes_per_s for link in speeds if link] == [1.25e9, 1.25e9, 5e9, 5e9]


def test_set_narrows_a_swept_key_to_one_value() -> None:
    sweep = load(small(), sets=["hardware.machines=4"]).sweep
    assert sweep is not None
    assert {point.settings["hardware.machines"] for point in sweep.points} == {4}


def test_a_sweep_loads_again_from_its_document() -> None:
    scenario = load(small())
    assert load(scenario.document) == scenario


def test_a_swept_key_is_explained() -> None:
    assert "swept: [2, 3, 4]" in str(explain(small(), "hardware.machines"))


def test_a_figure_with_many_combinations_opens_at_once(tmp_path: Path) -> None:
    """14,000 combinations, 679 of them points: well under two milliseconds a point."""
    document = small()
    document["hardware"]["machines"] = 1
    document["workload"]["equal_work_batch"] = 64
    document["workload"]["entries"] = 256
    document["sweep"] |= {
        "hardware.machines": [1, 2, 4, 6, 8, 10, 12, 14, 16],
        "deployment.microbatch_size": [1, 2, 4, 8, 16, 32, 64],
    }
    document["sweep"]["family"][0]["deployment.data_parallel"] = list(range(1, 17))
    document["sweep"]["family"][0]["constraints"] = ["data_parallel divides machines"]
    for key in ("deployment.prompt_machines", "deployment.token_machines"):
        document["sweep"]["family"][1][key] = list(range(1, 16))
    load(SMALL)
    began = perf_counter()
    points = sweep_of(document).points
    seconds = perf_counter() - began
    assert len(points) == 679
    assert seconds < 2e-3 * len(points)
