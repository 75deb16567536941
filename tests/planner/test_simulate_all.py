"""The published sweep: every configuration of every recorded run, its winners and its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from toolkit import catalog
from toolkit.planner.simulate_all import (
    Candidate,
    Study,
    as_csv,
    as_json,
    best,
    candidates,
)

RECORDED = (
    "bloom_4a100",
    "bloom_4a100_allbatches",
    "opt30_4v100",
    "opt30_4v100_allbatches",
    "opt30_small_allbatches",
    "opt66_4a100",
    "opt66_4a100_allbatches",
    "opt66_small_allbatches_rps",
)


def study(golden: Path, recorded: dict[str, object]) -> Study:
    """Return the question that a recorded run of the published driver answered."""
    params = recorded["params"]
    assert isinstance(params, dict)
    trace = json.loads((golden / str(recorded["trace_file"])).read_text())
    info = json.loads((golden / str(recorded["model_info_file"])).read_text())[params["model"]]
    measured = list(info["measurements_per_bs"].values())
    figures = catalog.model(params["model"]).figures
    generated = np.array([pair[1] for pair in trace[:256]], np.int64)
    return Study(
        tokens=np.clip(generated, 2, 1000),
        batch_sizes=tuple(info["batch_sizes"]),
        prompt_ms=tuple(row[0] for row in measured),
        token_ms=tuple(row[1] for row in measured),
        weights_gb=figures["dejavu_weights_gb"],
        kv_gb_per_token=figures["dejavu_kv_gb_per_token"],
        memory_gb=params["mem_per_machine"],
        machine_usd_per_hour=params["machine_cost"],
        groups_per_s=params["rps"],
    )


def parts(row: dict[str, int]) -> tuple[int, int]:
    if "dp" in row:
        return row["dp"], row["pp"]
    return (row["pm"], row["tm"]) if "pm" in row else (1, row["machines"])


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_configuration_takes_as_long_here(shared: Path, name: str) -> None:
    """The files were recorded from the unedited driver; 1e-9 allows for its printed digits."""
    golden = shared / "golden"
    recorded = json.loads((golden / f"reference_sweep_{name}.json").read_text())
    found = list(candidates(study(golden, recorded)))

    ours = {
        (each.machines, each.family, each.batch, each.parts): each.makespan_s
        for each in found
        if each.makespan_s is not None
    }
    theirs = {
        (row["machines"], row["family"], row["bs"], parts(row)): row["makespan_s"]
        for row in recorded["candidates"]
    }
    assert ours == pytest.approx(theirs, rel=1e-9)

    price = recorded["params"]["machine_cost"]
    winners = best(found)
    assert as_csv(winners, price) == (golden / f"reference_sweep_{name}.csv").read_text()
    for (machines, row), (count, entry) in zip(
        json.loads(as_json(winners, price)), recorded["best"], strict=True
    ):
        assert machines == count
        for family, chosen in entry.items():
            assert row[family] == pytest.approx(chosen, rel=1e-9)


def test_the_first_of_equal_makespans_wins() -> None:
    tied = [
        Candidate(4, "DV", 8, (1, 3), 7.0),
        Candidate(4, "DV", 8, (2, 2), 7.0),
        Candidate(4, "DV", 16, (3, 1), None),
    ]
    assert best(tied)[4]["DV"] == tied[0]


def test_what_does_not_fit_is_zero_in_the_published_files_only() -> None:
    nothing = best([Candidate(2, "Baseline", 1, (1, 2), None)])
    assert nothing[2]["Baseline"] is None
    assert as_csv(nothing, 8.0).splitlines()[1] == "0,2,0.0,0.0,0.0,0.0,0.0,0.0"
