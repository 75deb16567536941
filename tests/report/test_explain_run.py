"""Every cause that a ledger can name has its words, and the words have their figures."""

from __future__ import annotations

import re

import pytest

from toolkit.report import explaining, style, words
from toolkit.trace.columns import IDLE_CAUSES

LOST = (*IDLE_CAUSES, "swapping", "bubble", "waiting")


def row(cause: str, role: str = "colocated", **more: object) -> dict[str, object]:
    return {
        "run": "r",
        "place": 1,
        "role": role,
        "stages": 4,
        "cause": cause,
        "use": "bubble",
        "share": 0.25,
        "role_share": 0.5,
        "useful_share": 0.5,
        "cost_usd": 2.0,
        "bill_usd": 8.0,
        "makespan_s": 100.0,
        "without_s": 50.0,
        "prefill_s": 0.5,
        "decode_s": 0.005,
        "mean_in_flight": 3.0,
        "cache_s": None,
        "busiest_link_share": None,
        **more,
    }


@pytest.mark.parametrize("role", ["colocated", "prompt", "token"])
@pytest.mark.parametrize("cause", LOST)
def test_every_cause_is_told_in_three_sentences(cause: str, role: str) -> None:
    told = explaining.explained("r", "r", [row(cause, role)])
    for sentence in told.sentences:
        assert re.fullmatch(r"[A-Z][^{}]*\.", sentence)
        assert ". " not in sentence
    assert "$2.00 of the $8.00" in told.dominates
    assert "would need 50.0" in told.change.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("cause", LOST)
def test_every_cause_has_a_name_and_a_colour_in_figures(cause: str) -> None:
    assert words.LEDGER[cause]
    assert style.LEDGER_COLOURS[cause]


def test_without_a_price_there_are_no_dollars() -> None:
    told = explaining.explained("r", "r", [row("fill", cost_usd=None, bill_usd=None)])
    assert "$" not in " ".join(told.sentences)


def test_a_run_that_loses_nothing_is_told_so() -> None:
    told = explaining.explained("r", "r", [])
    assert told.dominates == "Every stage works all the time."
    assert told.as_dict()["causes"] == []
