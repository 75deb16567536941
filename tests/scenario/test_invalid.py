"""What a user reads who wrote something wrong.

Each ``tests/invalid/NAME.toml`` stands beside ``NAME.errors.txt``, the whole
message: a new case is two new files.  ``parents/`` holds what they build on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario_documents import documents

from toolkit.errors import InputError
from toolkit.scenario import explain, key_paths, load

INVALID = Path(__file__).resolve().parent.parent / "invalid"
CASES = sorted(path.stem for path in INVALID.glob("*.toml"))


@pytest.fixture
def among_the_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(INVALID)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("among_the_invalid")
def test_a_wrong_scenario_gets_its_message(name: str) -> None:
    with pytest.raises(InputError) as raised:
        load(f"{name}.toml")

    expected = (INVALID / f"{name}.errors.txt").read_text(encoding="utf-8")
    assert f"{raised.value}\n" == expected
    assert raised.value.exit_code == 2


def test_there_are_enough_cases_and_no_message_without_one() -> None:
    assert len(CASES) >= 30
    assert {path.name.removesuffix(".errors.txt") for path in INVALID.glob("*.errors.txt")} == set(
        CASES
    )


@pytest.mark.usefixtures("among_the_invalid")
def test_the_scenarios_that_cases_spoil_are_good() -> None:
    """So that each case is wrong for its own reason only."""
    load("parents/base.toml")
    load("parents/fixed.toml")


def message(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as raised:
        act()
    return str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    said = message(lambda: load(tmp_path / "no.toml"))
    assert said.splitlines()[1:] == ["  expected a file", "  got nothing of that name"]


def test_a_folder_is_no_scenario(tmp_path: Path) -> None:
    assert message(lambda: load(tmp_path)).endswith("expected a file\n  got a folder")


def test_a_file_that_is_not_utf8_is_told_byte_and_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes(b'schema_version = 1\ntitle = "d\xe9j\xe0 vu"\n')
    said = message(lambda: load(file))
    assert "expected text in UTF-8\n  got byte 0xe9 in line 2" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user whom permissions stop: not root")
def test_an_unreadable_file_gives_the_systems_reason(tmp_path: Path) -> None:
    file = tmp_path / "locked.toml"
    file.write_text("schema_version = 1\n")
    file.chmod(0)
    assert "Permission denied" in message(lambda: load(file))


def test_a_file_name_no_system_takes_is_no_traceback() -> None:
    assert "expected a file that can be read" in message(lambda: load("no\0name.toml"))


def test_a_parent_that_is_its_own_parent_is_a_circle(tmp_path: Path) -> None:
    file = tmp_path / "self.toml"
    file.write_text('extends = "self.toml"\n')
    assert "got self.toml -> self.toml" in message(lambda: load(file))


def test_deep_brackets_are_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "deep.toml"
    file.write_text("a = " + "[" * 100_000)
    message(lambda: load(file))


@pytest.mark.parametrize("number", ["1" * 5000, "0x" + "f" * 5000, "1e400", "-" + "9" * 4000])
def test_numbers_beyond_all_measure_are_no_traceback(tmp_path: Path, number: str) -> None:
    file = tmp_path / "huge.toml"
    file.write_text(f"schema_version = {number}\n[hardware]\nmachines = {number}\n")
    assert len(message(lambda: load(file))) < 1000


def test_a_key_that_needs_quotes_is_shown_in_quotes() -> None:
    assert '"two words"' in message(lambda: load({"schema_version": 1, "two words": 3}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hardware.machines", "expected key.path=value"),
        ("=4", "expected key.path=value"),
        ("hardware..machines=4", "expected key.path=value"),
        ("workload.lengths=[1, 2", "expected a value as in TOML"),
        ("hardware.machines=four", 'got "four", a string'),
        ("hardware.machine=4xA100", "did you mean 4xA100-80GB?"),
        ("hardware.machnes=4", "unknown key; did you mean machines?"),
        ("hardware=4", "expected a table"),
        ("hardware.machines.more=4", "got a table"),
        ("deployment.kind=pipe\nline", "expected"),
    ],
)
def test_a_wrong_override_is_answered_as_such(root: Path, text: str, words: str) -> None:
    said = message(lambda: load(root / "scenarios/opt66.toml", sets=[text]))
    assert words in said
    assert "--set" in said


def test_a_variant_that_is_not_there_gets_its_neighbour(root: Path) -> None:
    file = root / "scenarios/opt66.toml"
    assert "did you mean baseline?" in message(lambda: load(file, variant="base-line"))
    assert "it has no variants" in message(lambda: load(INVALID / "parents/base.toml", variant="a"))


def test_a_key_to_explain_that_is_none_gets_its_neighbour(root: Path) -> None:
    file = root / "scenarios/opt66.toml"
    said = message(lambda: explain(file, "hardware.machnes"))
    assert "did you mean hardware.machines?" in said


def test_a_mapping_is_answered_like_a_file() -> None:
    said = message(lambda: load({"schema_version": 1, "hardware": {"machines": (1, 2)}}))
    assert "hardware.machines\n      expected an integer of at least 1" in said


def test_a_length_table_that_has_changed_since_is_refused(root: Path) -> None:
    document = dict(load(root / "scenarios/opt66.toml", variant="baseline").document)
    lengths = {**document["workload"]["lengths"], "table_sha256": "0" * 64}
    document["workload"] = {**document["workload"], "lengths": lengths}
    assert "workload.lengths.table_sha256" in message(lambda: load(document))


def test_an_input_file_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.json"
    pairs.write_text(str([[9, 9]] * 20_000))
    document = load(of_pairs(pairs)).document
    pairs.write_text(str([[9, 8]] * 20_000))
    assert "expected the file the scenario was resolved with" in message(lambda: load(document))


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[[1, 2]", "[[1, 2.5]]", "[[1, -2]]", "[[1]]", "[3]", "null", "[[true, 1]]"],
)
def test_a_file_of_pairs_that_holds_none_is_no_traceback(tmp_path: Path, content: str) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(content)
    assert "workload.lengths.file" in message(lambda: load(of_pairs(file)))


@pytest.mark.parametrize("content", ["[1, NaN]", "[-1]", '["a"]', "{}", "[1e99]", "[Infinity]"])
def test_a_file_of_times_that_holds_none_is_no_traceback(tmp_path: Path, content: str) -> None:
    file = tmp_path / "times.json"
    file.write_text(content)
    document = of_pairs(file)
    document["workload"] = {
        "lengths": {"kind": "fixed", "prompt_tokens": 1, "output_tokens": 1},
        "arrivals": {"kind": "times", "file": str(file)},
    }
    assert "workload.arrivals.file" in message(lambda: load(document))


def of_pairs(file: Path) -> dict[str, object]:
    return {
        "schema_version": 1,
        "hardware": {"machines": 1},
        "deployment": {"kind": "pipeline"},
        "workload": {"lengths": {"kind": "pairs", "file": str(file)}},
        "timing": {"kind": "fixed", "prompt_ms": 1, "token_ms": 1},
    }


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**20)
    | st.floats()
    | st.text(max_size=5)
    | st.dates()
    | st.sampled_from(["pairs", "times", "catalog", "table", "disaggregated", "request", "event"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "name", "file", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(documents(), st.lists(st.tuples(st.sampled_from(list(key_paths())), anything), max_size=3))
def test_whatever_is_written_the_answer_is_a_scenario_or_what_is_wrong(
    document: dict[str, Any], changes: list[tuple[str, object]]
) -> None:
    for path, value in changes:
        place = document
        *tables, key = path.split(".")
        for table in tables:
            inner = place.get(table)
            place[table] = place = dict(inner) if isinstance(inner, dict) else {}
        place[key] = value
    try:
        scenario = load(document)
    except InputError:
        return
    assert load(scenario.document) == scenario
