"""Every figure of the catalog has a source, a shape, and agrees with its neighbours."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import tomli
from jsonschema import Draft202012Validator

from toolkit import catalog
from toolkit.catalog.entries import DATA, KINDS
from toolkit.errors import InputError

ENTRIES = [
    pytest.param(kind, name, table, id=f"{kind} {name}")
    for kind, file in KINDS.items()
    for name, table in tomli.loads((DATA / file).read_text(encoding="utf-8")).items()
]


@pytest.mark.parametrize(("kind", "name", "table"), ENTRIES)
def test_an_entry_keeps_to_the_schema_of_its_kind(
    root: Path, kind: str, name: str, table: dict[str, Any]
) -> None:
    file = root / "schemas" / f"catalog-{kind.replace(' ', '-')}.schema.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(table)] == []
    assert set(table.get("sources", {})) <= set(table), "a source of no figure"


@pytest.mark.parametrize("name", [param.values[1] for param in ENTRIES])
def test_every_figure_is_shown_with_source_and_confidence(name: str) -> None:
    rows = catalog.describe(str(name))
    assert rows
    for row in rows:
        assert row.source
        assert row.confidence


def test_names_are_unique_over_all_kinds() -> None:
    names = [entry.name for entry in catalog.entries()]
    assert len(names) == len(set(names))


def test_figures_from_memory_say_so() -> None:
    rows = {row.key: row for row in catalog.describe("V100-16GB")}
    assert "from memory" in rows["memory_gb_per_s"].confidence
    price = {row.key: row for row in catalog.describe("g6e.xlarge")}["prices[0].usd_per_hour"]
    assert price.confidence == "from memory"
    assert price.unit == "USD/h"
    assert catalog.link("ethernet-40g").source("latency_us").confidence == "from memory"


def test_parameters_are_what_the_shape_of_the_model_gives() -> None:
    """Attention and feed-forward weights alone, to a few percent of the stated total."""
    for entry in catalog.entries("model"):
        f = entry.figures
        head_width = f["head_dim"] * (2 * f["heads"] + 2 * f["kv_heads"])
        old = entry.name.startswith(("OPT", "BLOOM"))
        experts = f.get("experts", 1)
        width = f.get("expert_feed_forward", f["feed_forward"])
        block = f["hidden"] * (head_width + (2 if old else 3) * experts * width)
        embeddings = f["vocab"] * f["hidden"] * (1 if old else 2)
        # Behind a latent the projections have other shapes, and the first layers are dense.
        rough = 0.13 if f["attention"] == "MLA" else 0.03
        assert f["layers"] * block + embeddings == pytest.approx(f["parameters"], rel=rough), (
            entry.name
        )


def test_a_machine_holds_its_devices() -> None:
    for machine in catalog.entries("machine"):
        device = catalog.device(machine.figures["device"]).figures
        assert machine.figures["memory_gb"] == machine.figures["devices"] * device["memory_gb"]


def test_the_published_sweeps_roundings_are_near_the_exact_figures() -> None:
    for name in ("OPT-13B", "OPT-30B", "OPT-66B", "OPT-175B", "BLOOM-176B"):
        f = catalog.model(name).figures
        kv_gb = 2 * f["layers"] * f["kv_heads"] * f["head_dim"] * 2 / 1e9
        assert f["dejavu_weights_gb"] == pytest.approx(f["parameters"] * 2 / 1e9, rel=0.02)
        assert f["dejavu_kv_gb_per_token"] == pytest.approx(kv_gb, rel=0.04)


@pytest.mark.parametrize("entry", catalog.entries("length table"), ids=lambda entry: entry.name)
def test_quantiles_ascend_from_0_to_1(entry: catalog.Entry) -> None:
    table = catalog.length_table(entry.name)
    assert len(table.quantiles) == 101
    assert (table.quantiles[0], table.quantiles[-1]) == (0.0, 1.0)
    for column in (table.quantiles, table.prompt_tokens, table.output_tokens):
        assert list(column) == sorted(column)
    assert min(table.prompt_tokens) >= 1
    assert min(table.output_tokens) >= 1


@pytest.mark.parametrize("entry", catalog.entries("timing table"), ids=lambda entry: entry.name)
@pytest.mark.parametrize("variant", catalog.VARIANTS)
def test_a_timing_table_says_of_each_point_where_it_is_from(
    entry: catalog.Entry, variant: str
) -> None:
    table = catalog.timing_table(entry.name, variant)
    points = len(table.batch_sizes)
    assert list(table.batch_sizes) == sorted(set(table.batch_sizes))
    assert {len(table.prompt_ms), len(table.token_ms)} == {points}
    assert {len(table.prompt_provenance), len(table.token_provenance)} == {points}
    assert all(
        words.startswith("derived (") for words in table.prompt_provenance + table.token_provenance
    )
    assert catalog.model(table.model)
    assert catalog.machine(table.machine)


def test_low_and_high_ratio_enclose_the_central_ratio() -> None:
    for entry in catalog.entries("timing table"):
        low, mid, high = (
            catalog.timing_table(entry.name, variant)
            for variant in ("low_ratio", "central", "high_ratio")
        )
        for index, _ in enumerate(mid.batch_sizes):
            ratios = [t.prompt_ms[index] / t.token_ms[index] for t in (mid, high)]
            assert ratios[0] < ratios[1]
        last = [t.prompt_ms[-1] / t.token_ms[-1] for t in (low, mid, high)]
        assert last == sorted(last)


@pytest.mark.parametrize(
    ("look_up", "wrong", "meant"),
    [
        (catalog.model, "llama-3.1 8b", "Llama-3.1-8B"),
        (catalog.model, "OPT66B", "OPT-66B"),
        (catalog.machine, "4xa100", "4xA100-80GB"),
        (catalog.link, "ethernet-40", "ethernet-40g"),
        (catalog.device, "H100", "H100-80GB"),
        (catalog.length_table, "lmsys", "lmsys-chat-english"),
        (catalog.timing_table, "opt-66b", "opt-66b-4xa100-80gb"),
        (catalog.find, "DGX H100", "DGX-H100"),
    ],
)
def test_a_mistyped_name_gets_its_neighbour(look_up: Any, wrong: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"did you mean {meant}"):
        look_up(wrong)


def test_model_figures_are_those_of_the_collected_facts(shared: Path) -> None:
    with (shared / "facts/models.csv").open(encoding="utf-8") as file:
        facts = {row["model"].split("/")[1]: row for row in csv.DictReader(file)}
    for entry in catalog.entries("model"):
        row = facts.get(entry.name) or facts[f"{entry.name}-Instruct"]
        assert entry.figures["parameters"] == int(row["params_total"])
        f = entry.figures
        both = 1 if f["attention"] == "MLA" else 2
        kv_values = both * int(row["layers"]) * int(row["kv_heads"]) * int(row["head_dim"])
        assert both * f["layers"] * f["kv_heads"] * f["head_dim"] == kv_values
        assert 2 * kv_values == int(row["kv_bytes_per_token_2byte"])
