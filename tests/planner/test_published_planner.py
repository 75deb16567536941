"""`toolkit dejavu planner` answers what the published planner answers.

Golden: recorded from the unedited program (msr-fiddle/dejavu, commit 07e76be).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import cli
from toolkit.errors import InputError
from toolkit.planner.published_planner import Question, answer

Case = Mapping[str, Any]


@pytest.fixture(scope="module")
def cases(shared: Path) -> list[Case]:
    text = (shared / "golden" / "reference_planner.json").read_text(encoding="utf-8")
    return list(json.loads(text)["cases"])


def words(parameters: Mapping[str, Any]) -> list[str]:
    return ["dejavu", "planner", *(f"--{key}={value}" for key, value in parameters.items())]


def test_every_golden_case_agrees(cases: list[Case], capsys: pytest.CaptureFixture[str]) -> None:
    """Where the published program stopped, there is an error that names a flag, and exit code 2."""
    assert len(cases) == 186
    for case in cases:
        code = cli.main([*words(case["params"]), "--json"])
        out, err = capsys.readouterr()
        if "error" in case["result"]:
            assert code == 2, case["id"]
            assert out == ""
            assert err.startswith("toolkit dejavu planner: 1 problem\n  --"), case["id"]
        else:
            assert code == 0, case["id"]
            assert json.loads(out) == {
                "prompt_machines": case["result"]["num_prompt_machines"],
                "token_machines": case["result"]["num_token_machines"],
            }, case["id"]


def test_it_prints_the_published_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dejavu", "planner", "--num_machines", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == "Num machines for prompt: 1\nNum machines for token: 1\n"
    assert err == ""


def test_an_answer_whose_caches_cannot_fit_comes_with_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The published program counts room far enough below zero as no machine needed."""
    question = {
        "num_machines": 4, "num_layers": 2, "attention_size": 5000, "layer_size": 1000,
        "memory_per_gpu": 1, "prompt_len": 100, "batch_size": 64, "num_extra_tokens": 2000,
        "fp_size": 2, "token_time": 20, "prompt_time": 40000,
    }  # fmt: skip
    assert cli.main(words(question)) == 0
    out, err = capsys.readouterr()
    assert out == "Num machines for prompt: 2\nNum machines for token: 2\n"
    assert "they need 5.376 GB of a machine's 1 GB" in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "0 for prompts and 1 for tokens"),
        (
            ["--memory_per_gpu=1", "--prompt_len=4000", "--batch_size=64", "--attention_size=5000"],
            "expected room for a layer",
        ),
        (["--token_time", "20.5"], "invalid int value: '20.5'"),
        (["--num_machines", "0"], "expected a whole number from 1"),
        (["--prompt_stream_overhead", "nan"], "expected a factor above 0"),
        (["--prompt_time", "0", "--token_time", "0"], "that take time"),
        (["--layer_size", "1" + 400 * "0"], "expected a whole number from 1"),
        (["--num_machine_per_node", "2"], "did you mean --num_machines_per_node?"),
    ],
)
def test_input_that_makes_no_sense_is_answered_in_words(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["dejavu", "planner", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


SIZES = st.integers(1, 10**6)


@given(
    st.builds(
        Question,
        num_machines=st.integers(1, 64),
        memory_per_gpu=st.integers(1, 400),
        num_machines_per_node=st.integers(1, 8),
        prompt_len=SIZES,
        num_extra_tokens=st.integers(0, 10**5),
        fp_size=st.integers(1, 4),
        batch_size=st.integers(1, 64),
        token_time=st.integers(0, 100),
        prompt_stream_overhead=st.floats(0.5, 3),
        prompt_time=st.integers(0, 10**5),
        num_layers=st.integers(1, 200),
        attention_size=st.integers(1, 20000),
        layer_size=SIZES,
    )
)
def test_an_answer_uses_every_machine_or_there_is_an_error(question: Question) -> None:
    try:
        split = answer(question)
    except InputError:
        return
    assert split.prompt_machines + split.token_machines == question.num_machines
    assert split.prompt_machines >= 1
