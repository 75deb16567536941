"""Where a value comes from, and what it overrode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.scenario import explain, load, load_schema
from toolkit.scenario.schema import key_paths


@pytest.fixture
def opt66(root: Path) -> Path:
    return root / "scenarios/opt66.toml"


def test_every_layer_that_set_a_value_is_listed_weakest_first(opt66: Path) -> None:
    key = "hardware.price_usd_per_machine_hour"
    explanation = explain(opt66, key, sets=[f"{key}=3.5"], variant="baseline")
    assert explanation.value == 3.5
    assert [(step.kind, step.value) for step in explanation.steps] == [
        ("catalog", 18.52),
        ("file", 18.52),
        ("set", 3.5),
    ]
    catalog, file, _ = explanation.steps
    assert "planner parameter" in catalog.note
    assert "exceeds the list price" in catalog.note
    line = opt66.read_text().splitlines()[file.line - 1]
    assert line.startswith("price_usd_per_machine_hour")


def test_a_variant_is_a_layer_with_a_line(opt66: Path) -> None:
    explanation = explain(opt66, "deployment.microbatch_size", variant="baseline")
    assert explanation.value == 16
    step = explanation.steps[-1]
    assert step.kind == "variant baseline"
    assert "microbatch_size = 16" in opt66.read_text().splitlines()[step.line - 1]


def test_a_table_put_aside_by_another_kind_is_not_in_force(opt66: Path) -> None:
    explanation = explain(opt66, "deployment.prompt_machines", variant="baseline")
    assert explanation.value is None
    assert [step.in_force for step in explanation.steps] == [False]
    assert "  from" not in str(explanation)


def test_a_parent_and_a_default_are_named(root: Path) -> None:
    dejavu = root / "scenarios/opt66-dejavu.toml"
    title = explain(dejavu, "title")
    assert [step.kind for step in title.steps] == ["default", "parent", "file"]
    links = explain(dejavu, "hardware.links")
    assert [(step.kind, step.value) for step in links.steps] == [("default", "per_nic")]


def test_without_a_variant_it_says_what_variants_change(opt66: Path) -> None:
    explanation = explain(opt66, "deployment.microbatch_size")
    assert explanation.value == 32
    assert explanation.variants == {"baseline": 16, "data-parallel": 32}
    assert json.loads(json.dumps(explanation.as_dict()))["key"] == "deployment.microbatch_size"


@pytest.mark.parametrize("key", list(key_paths()))
def test_every_key_of_the_schema_can_be_explained_and_agrees_with_the_document(
    opt66: Path, key: str
) -> None:
    document = load(opt66, variant="disaggregated").document
    value = explain(opt66, key, variant="disaggregated").value
    found: object = document
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if key != "extends":
        assert value == found


def test_every_key_of_the_schema_is_described() -> None:
    def undescribed(schema: dict[str, object], path: str) -> list[str]:
        found = [] if schema.get("description") else [path]
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        for key, each in properties.items():
            found += undescribed(each, f"{path}.{key}")
        items = schema.get("items")
        return found + (undescribed(items, f"{path}[]") if isinstance(items, dict) else [])

    assert undescribed(dict(load_schema()), "scenario") == []


def test_every_table_of_the_schema_forbids_unknown_keys() -> None:
    def open_tables(schema: dict[str, object], path: str) -> list[str]:
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        found = [path] if properties and schema.get("additionalProperties") is not False else []
        for key, each in properties.items():
            found += open_tables(each, f"{path}.{key}")
        return found

    assert open_tables(dict(load_schema()), "scenario") == []
