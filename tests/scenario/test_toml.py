"""Lines of keys, as an independent reader of the text would count them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.scenario.toml import KeyPath, key_lines, parse_value

TRICKY = '''\
# a = "comment"
title = "with # no comment and ] } = inside"   # but this is one
"quoted key" = 'literal \\'
a.b.c = 1
text = """
looks = "like a key"
[and.a.header]
""" # done
list = [ # comment with ]
  1, "two, too",
  { x = 1, y.z = [[2], [3]] },
]

[table]  # header
x = 1979-05-27 07:32:00

[ spaced . "dotted key" ]
k = {a = 1,b = {c = 2}}
[[many]]
n = 1
[[many.inner]]
m = 2
[[many]]
n = 3
[many.sub]
p = \'\'\'x
= 1\'\'\'
'''


def test_every_key_of_a_tricky_file_is_on_its_line() -> None:
    lines = key_lines(TRICKY)

    def line_of(text: str) -> int:
        before = TRICKY[: TRICKY.index(text)]
        return before.count("\n") + 1

    expected: dict[KeyPath, str] = {
        ("title",): "title =",
        ("quoted key",): '"quoted key"',
        ("a", "b", "c"): "a.b.c",
        ("a",): "a.b.c",
        ("text",): "text =",
        ("list",): "list =",
        ("list", 1): '"two, too"',
        ("list", 2, "y", "z", 1): "{ x = 1",
        ("table",): "[table]",
        ("table", "x"): "x = 1979",
        ("spaced", "dotted key", "k", "b", "c"): "k = {",
        ("many", 0, "n"): "n = 1",
        ("many", 0, "inner", 0, "m"): "m = 2",
        ("many", 1, "n"): "n = 3",
        ("many", 1, "sub", "p"): "p = '''",
    }
    assert {path: lines[path] for path in expected} == {
        path: line_of(text) for path, text in expected.items()
    }


def paths(value: Any, prefix: KeyPath = ()) -> set[KeyPath]:
    """Return the path of everything in parsed TOML."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return {prefix, *(path for key, each in inside for path in paths(each, (*prefix, key)))}


@pytest.mark.parametrize("text", [TRICKY, TRICKY.replace("\n", "\r\n")])
def test_every_value_the_parser_finds_has_a_line(text: str) -> None:
    assert paths(tomli.loads(text)) - {()} <= set(key_lines(text))


def test_every_ready_scenario_is_walked_to_its_end(root: Path) -> None:
    for file in (root / "scenarios").glob("*.toml"):
        text = file.read_text(encoding="utf-8")
        assert paths(tomli.loads(text)) - {()} <= set(key_lines(text)), file.name


keys = st.text(min_size=1, max_size=6)
values = st.recursive(
    st.integers(-9, 9) | st.text(max_size=9) | st.floats(allow_nan=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(keys, values, max_size=5))
def test_whatever_can_be_written_can_be_walked(document: dict[str, Any]) -> None:
    text = tomli_w.dumps(document)
    assert paths(tomli.loads(text)) - {()} <= set(key_lines(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("0x10", 16),
        ("1e3", 1000.0),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("4xA100-80GB", "4xA100-80GB"),
        ("'8'", "8"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_an_override_is_read_as_toml_or_taken_as_it_is(text: str, value: object) -> None:
    assert parse_value(text) == value
