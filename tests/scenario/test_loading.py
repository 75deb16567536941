"""A file or mapping becomes a scenario, and a scenario can be written down again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import HealthCheck, assume, given, settings
from scenario_documents import documents

from toolkit.errors import InputError
from toolkit.scenario import dumps, load
from toolkit.scenario.model import FixedTiming, Scenario, TableTiming

SCENARIOS = sorted((Path(__file__).resolve().parents[2] / "scenarios").glob("*.toml"))


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_the_ready_scenarios_load_and_each_asks_a_question(file: Path) -> None:
    scenario = load(file)
    assert scenario.question.endswith("?")
    assert scenario.name == file.stem
    assert len(scenario.variants) >= 2 or scenario.sweep is not None or scenario.assertions


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(documents())
def test_a_document_gives_the_scenario_that_gave_it(document: dict[str, Any]) -> None:
    try:
        scenario = load(document)
    except InputError:
        assume(False)
        raise
    assert load(scenario.document) == scenario
    assert load(tomli.loads(dumps(scenario.document))) == scenario
    assert load(scenario.document).document == scenario.document


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_variants_can_be_written_down_one_by_one_or_together(file: Path) -> None:
    family = load(file)
    assert load(family.document) == family
    for variant in family.variants:
        assert load(tomli.loads(dumps(variant.document))) == variant
        assert load(file, variant=variant.variant) == variant


def test_opt66_serves_the_same_requests_in_every_variant(root: Path) -> None:
    family = load(root / "scenarios/opt66.toml")
    assert [each.variant for each in family.variants] == [
        "baseline",
        "data-parallel",
        "disaggregated",
    ]
    for each in family.variants:
        assert each.workload.entries * (each.workload.equal_work_batch or 0) == 2048
        assert each.hardware.machines == 8
        assert each.deployment.memory_fit == "exact"


def test_variants_share_what_they_do_not_change(root: Path) -> None:
    family = load(root / "scenarios/opt66.toml")
    assert len({each.workload for each in family.variants}) == 1
    assert len({each.timing for each in family.variants}) == 1
    assert len({each.run_name for each in family.variants}) == 3


def test_figures_come_from_the_catalog_in_base_units(root: Path) -> None:
    scenario = load(root / "scenarios/opt66.toml", variant="disaggregated")
    assert scenario.model is not None
    assert scenario.hardware.link is not None
    assert isinstance(scenario.timing, TableTiming)
    assert scenario.model.kv_bytes_per_token == 2_359_296
    assert scenario.hardware.memory_bytes == 320e9
    assert scenario.hardware.link.bytes_per_s == 5e9
    assert scenario.timing.prompt_s[5] == pytest.approx(10.2038)
    assert (scenario.prompt_stages, scenario.token_stages) == (4, 4)


MINIMAL: dict[str, Any] = {
    "schema_version": 1,
    "hardware": {"machines": 2},
    "deployment": {"kind": "pipeline"},
    "workload": {
        "entry": "microbatch",
        "lengths": {"kind": "pairs", "pairs": [[5, 3], [6, 4], [7, 2]]},
    },
    "timing": {"kind": "fixed", "prompt_ms": 2, "token_ms": 1},
}


def loaded(*sets: str) -> Scenario:
    return load(MINIMAL, sets=sets)


def test_what_is_left_out_gets_a_value_that_the_document_states() -> None:
    scenario = loaded()
    assert scenario.workload.entries == 3
    assert scenario.deployment.memory_fit == "off"
    assert scenario.deployment.activations is False
    assert scenario.document["workload"]["arrivals"] == {"kind": "at_zero"}
    assert scenario.document["trace"]["level"] == "full"
    assert scenario.title == scenario.name == "scenario"


def test_overrides_are_toml_values_and_bare_words_are_strings() -> None:
    scenario = loaded(
        "hardware.machines=3", "trace.level=requests", 'title="in quotes"', "question=two words"
    )
    assert scenario.hardware.machines == 3
    assert scenario.trace.level == "requests"
    assert (scenario.title, scenario.question) == ("in quotes", "two words")


def test_a_table_that_changes_its_kind_is_replaced_and_another_merged() -> None:
    table = "timing={kind = 'table', batch_sizes = [1], prompt_ms = [4.0], token_ms = [1.0]}"
    assert isinstance(loaded(table).timing, TableTiming)
    merged = loaded("timing={prompt_ms = 9}").timing
    assert isinstance(merged, FixedTiming)
    assert (merged.prompt_s, merged.token_s) == (0.009, 0.001)


def test_the_eldest_parent_is_overlaid_first(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text(dumps({**MINIMAL, "title": "old", "question": "old?"}))
    below = tmp_path / "below"
    below.mkdir()
    (below / "mid.toml").write_text('extends = "../old.toml"\ntitle = "mid"\n')
    (tmp_path / "new.toml").write_text('extends = "below/mid.toml"\nhardware.machines = 1\n')
    scenario = load(tmp_path / "new.toml")
    assert (scenario.name, scenario.title, scenario.question) == ("new", "mid", "old?")
    assert scenario.hardware.machines == 1


def test_files_are_looked_for_beside_the_file_that_names_them(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (below / "pairs.json").write_text("[[5, 3], [6, 4]]")
    lengths = {"kind": "pairs", "file": "pairs.json"}
    parent = {**MINIMAL, "workload": {"entry": "microbatch", "lengths": lengths}}
    (below / "parent.toml").write_text(dumps(parent))
    (tmp_path / "child.toml").write_text('extends = "below/parent.toml"\n')
    scenario = load(tmp_path / "child.toml")
    assert scenario.workload.lengths.pairs == ((5, 3), (6, 4))

    (below / "pairs.json").unlink()
    assert load(scenario.document) == scenario, "small inputs travel inside the document"


def test_a_large_input_stays_outside_with_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps([[100, n % 50 + 1] for n in range(20_000)]))
    lengths = {"kind": "pairs", "file": str(file)}
    scenario = load({**MINIMAL, "workload": {"entry": "microbatch", "lengths": lengths}})
    saved = scenario.document["workload"]["lengths"]
    assert "pairs" not in saved
    assert (saved["file"], len(saved["sha256"])) == (str(file), 64)
    assert len(scenario.workload.lengths.pairs) == 20_000
    assert load(scenario.document) == scenario


def test_arrival_times_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    file.write_text("[0, 0.5, 2]")
    arrivals = {"kind": "times", "file": str(file)}
    scenario = load({**MINIMAL, "workload": {**MINIMAL["workload"], "arrivals": arrivals}})
    assert scenario.workload.arrivals.times_s == (0.0, 0.5, 2.0)
    assert load(scenario.document) == scenario


def test_a_timing_file_of_the_published_layout_is_matched_by_key_not_position(
    tmp_path: Path,
) -> None:
    rows = {"64": [20.0, 2.0], "32": [10.0, 1.0]}
    file = tmp_path / "model_info.json"
    file.write_text(json.dumps({"OPT": {"batch_sizes": [32, 64], "measurements_per_bs": rows}}))
    timing = {"kind": "table", "file": str(file), "model": "OPT"}
    deployment = {"kind": "pipeline", "microbatch_size": 32}
    scenario = load({**MINIMAL, "timing": timing, "deployment": deployment})
    assert isinstance(scenario.timing, TableTiming)
    assert scenario.timing.name == "OPT"
    assert scenario.timing.prompt_s == (0.010, 0.020)
    assert load(scenario.document) == scenario


def test_the_published_stand_in_table_reads_like_the_catalogs(shared: Path) -> None:
    """Every point of all three variants carried over unchanged."""
    file = str(shared / "facts/dejavu_model_info.json")
    for model, name in [
        ("OPT-66B", "opt-66b-4xa100-80gb"),
        ("OPT-30B", "opt-30b-4xv100-16gb"),
        ("BLOOM-176B", "bloom-176b-4xa100-80gb"),
    ]:
        for variant in ("central", "low_ratio", "high_ratio"):
            timing = {"kind": "table", "variant": variant}
            theirs = load({**MINIMAL, "timing": {**timing, "file": file, "model": model}}).timing
            ours = load({**MINIMAL, "timing": {**timing, "name": name}}).timing
            assert isinstance(theirs, TableTiming)
            assert isinstance(ours, TableTiming)
            assert theirs.batch_sizes == ours.batch_sizes
            assert (theirs.prompt_s, theirs.token_s) == (ours.prompt_s, ours.token_s)


def test_a_stated_figure_overrides_the_catalogs_and_is_told_apart() -> None:
    model = load({**MINIMAL, "model": {"use": "OPT-66B", "layers": 32}}).model
    assert model is not None
    assert model.layers == 32
    assert model.source.endswith("stated in the scenario: layers")


def test_the_published_cache_time_is_a_transfer_time_for_events() -> None:
    split = {"kind": "disaggregated", "prompt_machines": 1, "token_machines": 1}
    timing = {**MINIMAL["timing"], "cache_ms": 7}
    assert load({**MINIMAL, "deployment": split, "timing": timing}).deployment.transfer_time_s == (
        0.007
    )


def test_loading_is_quick_and_imports_no_engine(root: Path) -> None:
    code = (
        "import sys, toolkit.scenario\n"
        "heavy = {'numpy', 'duckdb', 'polars', 'matplotlib', 'numba', 'jsonschema', 'pyarrow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "toolkit.scenario.load('scenarios/opt66.toml')\n"
        "assert not (heavy - {'jsonschema'}) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)

    load(root / "scenarios/opt66.toml")
    start = time.perf_counter()
    load(root / "scenarios/opt66.toml")
    assert time.perf_counter() - start < 0.3
