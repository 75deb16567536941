"""The same sweep under other assumptions, and how far off a figure must be for another to win."""

from __future__ import annotations

import csv
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweep_documents import SMALL

import toolkit
from toolkit import cli
from toolkit.errors import InputError
from toolkit.planner import simulate_all
from toolkit.planner.results import Results
from toolkit.planner.simulate_all import Candidate
from toolkit.planner.studies import Studied, studies
from toolkit.planner.study_report import speedups
from toolkit.planner.turning import CLOSE, leads

TABLE: dict[str, Any] = {
    "kind": "table",
    "name": "stated",
    "batch_sizes": [1, 2, 4],
    "prompt_ms": [100, 190, 370],
    "token_ms": [10, 11, 13],
}

FAMILIES: list[dict[str, Any]] = [
    {"name": "baseline", "published_as": "Baseline"},
    {
        "name": "data-parallel",
        "published_as": "Baseline_dp",
        "deployment.data_parallel": [2, 3, 4],
        "constraints": ["data_parallel divides machines"],
    },
    {
        "name": "split",
        "published_as": "DV",
        "deployment": {"kind": "disaggregated", "memory_fit": "dejavu"},
        "deployment.prompt_machines": [1, 2, 3],
        "deployment.token_machines": [1, 2, 3],
        "constraints": ["prompt_machines + token_machines = machines"],
    },
]

STUDIES: list[dict[str, Any]] = [
    {"name": "slow", "about": "Slower tokens.", "timing": {"token_scale": 3.0}},
    {
        "name": "few",
        "about": "Two batch sizes in the other order of the list.",
        "workload": {"repeat_order": "tiled"},
        "deployment.microbatch_size": [2, 4],
    },
    {
        "name": "error",
        "about": "How wrong may prompts be?",
        "vary": "timing.prompt_scale",
        "between": [0.01, 100.0],
    },
]


def document(**sweep: Any) -> dict[str, Any]:
    """Return a sweep of the published kind, played in a moment."""
    made = deepcopy(SMALL)
    made |= {"name": "tiny", "simulation": {"discipline": "dejavu"}, "timing": deepcopy(TABLE)}
    made["model"] = {"use": "OPT-13B"}
    made["hardware"] |= {"memory_gb_per_machine": 30.0}
    made["deployment"] = {"kind": "pipeline", "memory_fit": "dejavu"}
    made["workload"]["lengths"] = {
        "kind": "pairs",
        "pairs": [[100, tokens] for tokens in (3, 9, 4, 17, 2, 6, 11, 5, 8, 30, 7, 13)],
    }
    made["sweep"] = {
        "hardware.machines": [1, 2, 4],
        "deployment.microbatch_size": [1, 2, 4],
        "family": deepcopy(FAMILIES),
        "study": deepcopy(STUDIES),
        "best": {"minimise": "makespan_s", "by": ["machines"]},
        **sweep,
    }
    return made


def played(names: list[str], out: Path, **more: Any) -> Studied:
    return studies(document(), names, out, executor="serial", **more)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    return played(["all"], tmp_path_factory.mktemp("studied"))


def values(results: Results) -> list[tuple[str, str, float | None]]:
    return [(each.family, str(each.group), each.value) for each in results.winners()]


def test_a_study_is_the_sweep_with_its_overlay_written_out(
    studied: Studied, tmp_path: Path
) -> None:
    written = document()
    written["timing"]["token_scale"] = 3.0
    alone = toolkit.sweep(toolkit.load(written), tmp_path, executor="serial", report=False)
    assert values(studied.swept["slow"].results) == values(alone.results)
    assert values(studied.plain.results) != values(alone.results)


def test_lists_of_a_study_replace_those_of_every_family(studied: Studied) -> None:
    rows = studied.swept["few"].results.rows
    assert {row["microbatch_size"] for row in rows} == {2, 4}
    assert {row["family"] for row in rows} == {family["name"] for family in FAMILIES}


def test_a_study_leaves_the_plain_sweep_alone(studied: Studied) -> None:
    folder = studied.plain.folder
    assert sorted(each.name for each in folder.parent.iterdir() if each.is_dir()) == [
        "tiny",
        "tiny-few",
        "tiny-slow",
        "tiny-studies",
    ]
    text = (studied.folder / "report.md").read_text(encoding="utf-8")
    for study in STUDIES:
        assert str(study["about"]) in text


def leader(prompt_scale: float, machines: int) -> str:
    """Return who leads by playing everything again, for one number of machines."""
    made = document()
    made["timing"]["prompt_scale"] = prompt_scale
    loaded = toolkit.load(made, sets=[f"hardware.machines={machines}"])
    best: tuple[float, str] | None = None
    assert loaded.sweep is not None
    for point in loaded.sweep.points:
        if point.status == "fits":
            (finish,) = (
                np.max(chunk.columns["finish_ns"])
                for chunk in toolkit.simulate(point.scenario)
                if chunk.table == "requests"
            )
            if best is None or finish < best[0]:
                best = (finish, point.family)
    assert best is not None
    return best[1]


def test_beyond_a_turning_point_another_leads_and_just_before_it_nobody_else(
    studied: Studied,
) -> None:
    turns = studied.turns["error"]
    assert [turn.lead.group["machines"] for turn in turns] == [1, 2, 4]
    changed = 0
    for turn in turns:
        machines = turn.lead.group["machines"]
        assert leader(1.0, machines) == turn.lead.winner.family
        for found in (turn.lower, turn.upper):
            if found is not None:
                value, family = found
                changed += 1
                assert leader(value, machines) == family != turn.lead.winner.family
                before = value * CLOSE if value < 1 else value / CLOSE
                assert leader(before, machines) == turn.lead.winner.family
    assert changed >= 2


def test_how_far_a_leader_is_ahead_is_the_ratio_to_the_next(studied: Studied) -> None:
    for lead in leads(studied.plain.results):
        others = sorted(
            each.value
            for each in studied.plain.results.winners()
            if each.group == lead.group and each.value is not None
        )
        assert lead.winner.value == others[0]
        assert lead.ahead == (others[1] / others[0] if len(others) > 1 else None)


def test_speedups_are_the_largest_ratios_between_families(studied: Studied) -> None:
    rows = [row for row in studied.plain.results.rows if row["status"] == "done"]
    best: dict[tuple[str, int], float] = {}
    for row in rows:
        key = (row["family"], row["machines"])
        best[key] = min(best.get(key, row["makespan_s"]), row["makespan_s"])
    ratio, machines = max(
        (best["baseline", count] / best["split", count], count) for count in (2, 4)
    )
    assert speedups(studied.plain.results)["split", "baseline"] == (ratio, str(machines))


def test_the_published_files_are_those_of_the_published_sweep(studied: Studied) -> None:
    made = document()
    tokens = np.array([pair[1] for pair in made["workload"]["lengths"]["pairs"]], np.int64)
    study = simulate_all.Study(
        tokens=tokens,
        batch_sizes=(1, 2, 4),
        prompt_ms=(100.0, 190.0, 370.0),
        token_ms=(10.0, 11.0, 13.0),
        weights_gb=26,
        kv_gb_per_token=0.00085,
        memory_gb=30.0,
        machine_usd_per_hour=2.0,
    )
    candidates: list[Candidate] = list(simulate_all.candidates(study, (1, 2, 4)))
    winners = simulate_all.best(candidates)
    tables = studied.plain.folder / "tables"
    theirs = json.loads(simulate_all.as_json(winners, 2.0))
    ours = json.loads((tables / "published.json").read_text(encoding="utf-8"))
    for (machines, expected), (count, found) in zip(theirs, ours, strict=True):
        assert machines == count
        for family, entry in expected.items():
            for key, value in entry.items():
                assert found[family][key] == pytest.approx(value, rel=1e-9), (count, family, key)
    with (tables / "published.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["DV"]) for row in rows] == [each["DV"]["total_time"] for _, each in ours]


def test_published_files_are_left_out_where_the_families_are_others(tmp_path: Path) -> None:
    done = toolkit.sweep(toolkit.load(SMALL), tmp_path, executor="serial", report=False)
    assert [each.name for each in (done.folder / "tables").iterdir()] == ["winners.csv"]


def test_a_set_may_leave_a_family_nothing_to_do() -> None:
    loaded = toolkit.load(document(), sets=["hardware.machines=1"])
    assert loaded.sweep is not None
    assert {point.family for point in loaded.sweep.points} == {"baseline"}


@pytest.mark.parametrize(
    ("names", "more", "expected"),
    [
        (["slwo"], {}, "did you mean slow?"),
        (["nothing-like-it"], {}, "it has slow, few, error, all"),
        (["error"], {"sets": ["timing.prompt_scale=200"]}, "between 0.01 and 100"),
    ],
)
def test_a_study_that_cannot_be_is_refused_before_anything_is_played(
    names: list[str], more: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=expected.replace("?", r"\?")):
        played(names, tmp_path, **more)
    assert not list(tmp_path.iterdir())


def test_a_scenario_without_studies_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a scenario with \[\[sweep.study\]\]"):
        studies(SMALL, ["slow"], tmp_path)
    with pytest.raises(InputError, match=r"expected a scenario with \[\[sweep.study\]\]"):
        toolkit.load({key: SMALL[key] for key in SMALL if key != "sweep"}, study="slow")


def test_the_command_line_tells_what_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tomli_w  # noqa: PLC0415

    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(document()), encoding="utf-8")
    common = ["run", str(file), "--out", str(tmp_path), "--executor", "serial", "--no-report"]
    common += ["--set", "hardware.machines=2"]
    assert cli.main([*common, "--study", "slow,error"]) == 0
    said = capsys.readouterr().out
    assert "plain: " in said
    assert "slow: " in said
    assert "change of timing.prompt_scale from which another family leads" in said
    assert cli.main([*common, "--study", "error", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert len(told["turns"]["error"]) == 1
    assert Path(told["report"]).is_file()
