"""Conditions between keys: what they mean, and what is said of those that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.scenario.expressions import ConditionError, parse

VALUES = {"a": 2, "b": 3, "c": 12, "deployment.d": 4, "word": "per_nic"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a + b = 5", True),
        ("a+b==5", True),
        ("a + b * c = 38", True),
        ("(a + b) * c = 60", True),
        ("c - a - b = 7", True),
        ("c / 8 = 1.5", True),
        ("c // 5 = 2", True),
        ("c % 5 != 2", False),
        ("-a < 0", True),
        ("a <= b <= c", True),
        ("a < b < 3", False),
        ("b divides c", True),
        ("5 divides c", False),
        ("a * b divides c", True),
        ("deployment.d >= 4.0", True),
        ("1e1 < c", True),
        ("word = 'per_nic'", True),
        ('word != "shared"', True),
        ("a - a divides c", False),
    ],
)
def test_a_condition_holds_or_not(text: str, holds: bool) -> None:
    assert parse(text).holds(VALUES) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a + b", "expected one of"),
        ("a = ", "expected a key or a number at its end"),
        ("a = = b", "expected a key or a number at = (character 5)"),
        ("(a = b", "expected a closing bracket at = (character 4)"),
        ("a = b)", "expected one of"),
        ("a & b", "what is & (character 3)?"),
        ("__import__('os') = 1", "expected one of"),
        ("a.b() = 1", "expected one of"),
        ("(" * 50 + "a" + ")" * 50 + " = 1", "expected fewer brackets"),
        ("", "expected a key or a number at its end"),
        ("- - a = 1", "expected a key or a number"),
    ],
)
def test_what_is_no_condition_is_told_where(text: str, said: str) -> None:
    with pytest.raises(ConditionError) as raised:
        parse(text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a / (b - 3) = 1", "divides by zero"), ("word + 1 = a", "cannot be calculated with word")],
)
def test_what_cannot_be_calculated_is_no_traceback(text: str, said: str) -> None:
    with pytest.raises(ConditionError, match=said):
        parse(text).holds(VALUES)


@given(st.text(alphabet="ab1 .+-*/%()<>=!'\"divides", max_size=60))
def test_whatever_is_written_is_a_condition_or_refused(text: str) -> None:
    try:
        condition = parse(text)
        condition.holds(dict.fromkeys(condition.names, 3))
    except ConditionError:
        pass


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9))
def test_arithmetic_is_pythons(a: int, b: int, c: int) -> None:
    values = {"a": a, "b": b, "c": c}
    for text in ("a + b * c - a", "a - b - c", "a // c + b % c", "-a * (b + c) / c"):
        assert parse(f"{text} = {eval(text)!r}".replace("= -", "= 0 - ")).holds(values)
