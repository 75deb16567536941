"""What `--fail-if` understands, and when it fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.analytics.limits import missed, parse, require_known
from toolkit.errors import InputError

ROWS = [
    {"side": 0, "metric": "e2e_p99_ms", "value": 200.0, "base_value": 200.0},
    {"side": 1, "metric": "e2e_p99_ms", "value": 212.0, "base_value": 200.0},
    {"side": 2, "metric": "e2e_p99_ms", "value": 190.0, "base_value": 200.0},
    {"side": 1, "metric": "tpot_p50_ms", "value": None, "base_value": 3.0},
]


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("e2e_p99_ms > +5%", [1]),
        ("e2e_p99_ms > +6%", []),
        ("e2e_p99_ms >= +6%", [1]),
        ("e2e_p99_ms<-4.9 %", [2]),
        ("e2e_p99_ms > +11", [1]),
        ("e2e_p99_ms > 200", [1]),
        ("e2e_p99_ms <= 190", [2]),
        ("e2e_p99_s > 0.2", [1]),
        ("e2e_p99_s > +0.0115", [1]),
        ("e2e_p99_s > +5%", [1]),
        ("tpot_median_ms > 0", []),
    ],
)
def test_limits_are_on_the_change_where_signed_and_on_the_metric_where_not(
    text: str, sides: list[int]
) -> None:
    limits = parse([text])
    require_known(limits, [str(row["metric"]) for row in ROWS])
    assert [found.side for found in missed(limits, ROWS)] == sides


@given(st.floats(1e-3, 1e6), st.floats(0.1, 200))
def test_a_rise_past_so_many_percent_breaks_the_limit_and_a_smaller_one_does_not(
    base: float, percent: float
) -> None:
    (limit,) = parse([f"cost_usd > +{percent!r}%"])
    assert limit.broken_by(base * (1 + percent / 100 * 1.001), base)
    assert not limit.broken_by(base * (1 + percent / 100 * 0.999), base)


def test_from_nothing_any_rise_is_more_than_every_percentage() -> None:
    (limit,) = parse(["bubble_share > +500%"])
    assert limit.broken_by(0.01, 0.0)
    assert not limit.broken_by(0.0, 0.0)


@pytest.mark.parametrize(
    "text", ["", "e2e", "e2e_p99_ms > 5%", "e2e > fast", "> 5", "a = 3", "a > b"]
)
def test_what_is_no_limit_is_answered_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"for example \"e2e_p99_ms > \+5%\""):
        parse([text])


def test_every_limit_on_an_unknown_metric_is_answered_with_the_nearest() -> None:
    limits = parse(["e2e_p9_ms > 1", "nonsense < 3"])
    with pytest.raises(InputError) as caught:
        require_known(limits, ["e2e_p99_ms"])
    assert len(caught.value.problems) == 2
    assert "did you mean e2e_p99_ms?" in str(caught.value)
