"""A plan keeps formula, published planner and simulation apart, and each is what it says."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import toolkit
from toolkit import cli, report
from toolkit.planner import plan as planning
from toolkit.planner.options import options
from toolkit.planner.plan import Plan, plan
from toolkit.planner.show_plan import show
from toolkit.workload import build

ROUND = {
    "schema_version": 1,
    "name": "round",
    "title": "The paper's example",
    "simulation": {"discipline": "dejavu"},
    "hardware": {"machines": 4, "price_usd_per_machine_hour": 3.6},
    "deployment": {"kind": "pipeline"},
    "workload": {
        "entries": 40,
        "entry": "microbatch",
        "lengths": {"kind": "fixed", "prompt_tokens": 9, "output_tokens": 20},
    },
    "timing": {"kind": "fixed", "prompt_ms": 2500.0, "token_ms": 250.0},
}
"""D = 4, Y = 10 s, t = 1 s, N = 20 under the published rules: 2.5 s and 0.25 s on a stage."""

TABLE = {
    "schema_version": 1,
    "name": "table",
    "title": "A made-up table",
    "model": {"use": "OPT-66B"},
    "hardware": {"machine": "4xA100-80GB", "machines": 4, "link": "ethernet-100g"},
    "deployment": {"kind": "pipeline", "microbatch_size": 16},
    "workload": {
        "entries": 6,
        "entry": "microbatch",
        "equal_work_batch": 32,
        "lengths": {"kind": "catalog", "name": "lmsys-chat-english", "prompt_tokens": 1000},
    },
    "timing": {"kind": "table", "name": "opt-66b-4xa100-80gb"},
}


@pytest.fixture(scope="module")
def example() -> Plan:
    return plan(toolkit.load(ROUND))


@pytest.fixture(scope="module")
def table() -> Plan:
    return plan(toolkit.load(TABLE))


def found(answer: Plan, layout: str, size: int) -> planning.Simulated:
    (option,) = (
        each for each in answer.simulated if each.layout == layout and each.microbatch_size == size
    )
    return option


def test_the_formulas_are_given_the_scenarios_own_figures(example: Plan) -> None:
    said = example.formula
    assert (said.machines, said.prompt_s, said.token_s, said.tokens) == (4, 10.0, 1.0, 20.0)
    assert said.split is not None
    assert said.split.token_machines == pytest.approx(8 / 3)
    assert (said.colocated_s, said.disaggregated_s) == (36.75, 30.0)
    assert (said.ratio, said.pays_above, said.pays) == (10.0, 1.0, True)
    assert said.whole is not None
    assert (said.whole.prompt_machines, said.whole.token_machines) == (1, 3)
    assert said.whole_s == 40.0
    assert said.memory is None
    assert example.published is None


def test_a_long_simulation_keeps_the_pace_of_the_formula(example: Plan) -> None:
    """Forty microbatches alike, one prompt and three token machines: ten rounds of 40 s."""
    figures = found(example, "1 prompt + 3 token", 1).figures
    assert figures is not None
    assert 400 < figures.makespan_s < 400 + 40


def test_every_option_of_the_machines_is_tried(example: Plan) -> None:
    layouts = [each.layout for each in example.simulated]
    assert layouts == [
        "one pipeline of 4",
        "2 replicas of 2",
        "4 replicas of 1",
        "1 prompt + 3 token",
        "2 prompt + 2 token",
        "3 prompt + 1 token",
    ]
    assert example.best == min(
        example.ran, key=lambda each: each.figures.makespan_s if each.figures else math.inf
    )


def test_options_do_the_same_work_on_the_same_machines() -> None:
    """However deep a stage, a prompt's time through all stages is the scenario's."""
    for document in (ROUND, TABLE):
        scenario = toolkit.load(document)
        whole = build(scenario)
        tokens = (whole.size * whole.output_tokens).sum()
        for option in options(scenario):
            requests = build(option.scenario)
            assert requests.size.sum() == whole.size.sum()
            assert (requests.size * requests.output_tokens).sum() == tokens
            timing = option.scenario.timing
            if timing.kind == "fixed":
                assert timing.prompt_s * option.scenario.prompt_stages == pytest.approx(10)
                assert timing.token_s * option.scenario.token_stages == pytest.approx(1)


def test_figures_are_those_of_an_ordinary_run(table: Plan, tmp_path: Path) -> None:
    split = {
        "kind": "disaggregated",
        "prompt_machines": 2,
        "token_machines": 2,
        "microbatch_size": 8,
    }
    run = toolkit.run(
        toolkit.load({**TABLE, "deployment": split, "trace": {"level": "requests"}}),
        out=tmp_path,
        report=False,
    )
    assert not isinstance(run, dict)
    said, figures = report.summary(run), found(table, "2 prompt + 2 token", 8).figures
    assert figures is not None
    assert figures.makespan_s == said["makespan_s"]
    assert figures.least_makespan_s == said["least_makespan_s"] <= said["makespan_s"]
    assert figures.cost_usd == said["cost_usd"]
    assert figures.requests == said["requests"] == 192
    assert figures.ttft_p99_s == pytest.approx(said["ttft_s"]["p99"])


def test_the_published_planner_is_asked_with_flags_anyone_can_repeat(
    table: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = table.published
    assert answer is not None
    assert cli.main(["dejavu", "planner", *answer.flags.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "prompt_machines": answer.prompt_machines,
        "token_machines": answer.token_machines,
    }


def test_worker_processes_change_nothing(table: Plan) -> None:
    assert plan(toolkit.load(TABLE), workers=2) == table


def test_what_does_not_fit_has_a_reason_and_never_wins() -> None:
    """BLOOM-176B's 352 GB of weights are more than one machine of 320 GB."""
    document = {
        **TABLE,
        "model": {"use": "BLOOM-176B"},
        "timing": {"kind": "table", "name": "bloom-176b-4xa100-80gb"},
    }
    answer = plan(toolkit.load(document))
    alone = [each for each in answer.simulated if each.layout == "4 replicas of 1"]
    assert alone
    for each in alone:
        assert each.figures is None
        assert "to fit the machines" in each.reason
    assert answer.best is not None
    assert answer.best.figures is not None
    assert shown(answer).count("impossible") >= 1


def shown(answer: Plan) -> str:
    text = io.StringIO()
    show(answer, Console(file=text, width=80, color_system=None))
    return text.getvalue()


def test_the_table_says_which_numbers_are_formula_and_which_simulation(table: Plan) -> None:
    text = shown(table)
    assert max(map(len, text.splitlines())) <= 80
    assert "formula (microbatches of 16)" in text
    assert "simulation" in text
    assert "is done first" in text
    for layout in {each.layout for each in table.simulated}:
        assert layout in text


def test_one_machine_cannot_be_split() -> None:
    answer = plan(toolkit.load({**ROUND, "hardware": {"machines": 1}}))
    assert [each.layout for each in answer.simulated] == ["one pipeline of 1"]
    assert answer.formula.whole is None
    assert not answer.formula.pays
    assert "pays above never" in " ".join(shown(answer).split())


def test_answers_of_one_token_leave_nothing_to_decode() -> None:
    lengths = {"kind": "fixed", "prompt_tokens": 9, "output_tokens": 1}
    document: Mapping[str, Any] = {
        **ROUND,
        "simulation": {"discipline": "event"},
        "workload": {**ROUND["workload"], "lengths": lengths},  # type: ignore[dict-item]
    }
    answer = plan(toolkit.load(document))
    assert answer.formula.tokens == 0
    assert answer.best is not None
    assert shown(answer)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.sampled_from(["event", "dejavu"]),
    st.floats(0.001, 1e5),
    st.floats(0.001, 1e5),
    st.integers(1, 500),
)
def test_formulas_and_options_are_there_for_any_times(
    machines: int, discipline: str, prompt_ms: float, token_ms: float, tokens: int
) -> None:
    scenario = toolkit.load(
        {
            **ROUND,
            "simulation": {"discipline": discipline},
            "hardware": {"machines": machines},
            "workload": {
                "entries": 40,
                "entry": "microbatch",
                "lengths": {"kind": "fixed", "prompt_tokens": 9, "output_tokens": tokens},
            },
            "timing": {"kind": "fixed", "prompt_ms": prompt_ms, "token_ms": token_ms},
        }
    )
    said = planning.formula(scenario)
    assert said.whole is None or said.whole_s is not None
    assert said.whole_s is None or said.whole_s >= said.disaggregated_s * (1 - 1e-12)
    splits = [option.split for option in options(scenario) if option.split]
    assert splits == [(prompt, machines - prompt) for prompt in range(1, machines)]


def test_the_command_prints_every_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "round.toml"
    file.write_text(toolkit.scenario.dumps(ROUND), encoding="utf-8")
    assert cli.main(["plan", str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["simulated"]) == 6
    assert answer["best"] in answer["simulated"]
    assert answer["formula"]["colocated_s"] == 36.75
    assert cli.main(["plan", str(file)]) == 0
    assert "By the formula splitting pays" in capsys.readouterr().out
    assert cli.main(["plan", str(file), "--workers", "0"]) == 2
    assert cli.main(["plan", str(tmp_path / "none.toml")]) == 2
    assert list(tmp_path.iterdir()) == [file]


# -- tensor parallelism --------------------------------------------------------------------------

DEGREES: dict[str, Any] = {
    **TABLE,
    "hardware": {
        "machines": 2,
        "devices_per_machine": 4,
        "memory_gb_per_machine": 320,
        "price_usd_per_machine_hour": 8.0,
        "link": {"gbit_per_s": 100},
    },
    "timing": {
        "kind": "table",
        "name": "stated",
        "batch_sizes": [1, 32],
        "prompt_ms": [100.0, 3200.0],
        "token_ms": [10.0, 40.0],
        "tensor_parallel": [
            {"devices": 2, "prompt_ms": [150.0, 4500.0], "token_ms": [14.0, 60.0]},
            {"devices": 1, "prompt_ms": [290.0, 8800.0], "token_ms": [25.0, 100.0]},
        ],
    },
}
"""Two machines of four devices, and times over four, two and one of them."""


def test_each_degree_the_table_knows_is_searched_as_machines_of_that_size() -> None:
    scenario = toolkit.load(DEGREES)
    found = options(scenario)
    assert {option.tensor_parallel for option in found} == {4, 2, 1}
    for option in found:
        groups = 4 // (option.tensor_parallel or 0)
        cut = option.scenario.hardware
        assert cut.machines == 2 * groups
        assert cut.memory_bytes == 320e9 / groups
        assert cut.price_usd_per_hour == 8.0 / groups
        assert cut.link is not None
        assert cut.link.bytes_per_s == 100e9 / 8 / groups
        deployment = option.scenario.deployment
        used = deployment.prompt_machines + deployment.token_machines
        assert used in {0, cut.machines}
    assert "4 replicas of 1, TP 2" in {option.layout for option in found}


def test_an_option_of_a_lower_degree_is_the_scenario_with_its_machines_cut_by_hand() -> None:
    by_hand = {
        **DEGREES,
        "hardware": {
            "machines": 4,
            "memory_gb_per_machine": 160,
            "price_usd_per_machine_hour": 4.0,
            "link": {"gbit_per_s": 50},
        },
        "timing": {
            "kind": "table",
            "name": "stated",
            "batch_sizes": [1, 32],
            "prompt_ms": [150.0, 4500.0],
            "token_ms": [14.0, 60.0],
        },
    }
    cut = plan(toolkit.load(DEGREES))
    alone = plan(toolkit.load(by_hand))
    figures = {
        (each.layout, each.microbatch_size): each.figures
        for each in cut.simulated
        if each.tensor_parallel == 2
    }
    assert figures == {
        (f"{each.layout}, TP 2", each.microbatch_size): each.figures for each in alone.simulated
    }
    assert any(each is not None for each in figures.values())
    assert "Tensor-parallel degrees that the timing table knows: 4, 2, 1." in cut.notes
