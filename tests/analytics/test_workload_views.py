"""The views of what arrives say what plain Python says of the same requests."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.analytics.memory import InMemory
from toolkit.report.arriving import find
from toolkit.trace.columns import NULL, TABLES, Chunk, Values

Row = dict[str, Any]


def opened(*runs: list[Row]) -> InMemory:
    """Return runs of requests of which only what arrives is known."""

    def chunk(rows: list[Row]) -> Chunk:
        columns: dict[str, Values] = {}
        for column in TABLES["requests"].columns:
            given_ = [row.get(column.name, NULL) for row in rows]
            columns[column.name] = (
                ["expected"] * len(rows)
                if column.type == "string"
                else np.array(given_, column.type)
            )
        return Chunk("requests", columns)

    return InMemory([({}, [chunk(rows)]) for rows in runs], tables=("requests",))


arrivals = st.lists(
    st.fixed_dictionaries(
        {
            "arrival_ns": st.integers(0, 40 * 10**9),
            "prompt_tokens": st.integers(1, 5000),
            "output_tokens": st.integers(1, 500),
            "size": st.integers(1, 4),
        }
    ),
    min_size=1,
    max_size=60,
).map(
    lambda rows: [
        {**row, "request": at}
        for at, row in enumerate(sorted(rows, key=lambda row: int(row["arrival_ns"])))
    ]
)


@settings(max_examples=10)  # a database for each
@given(arrivals)
def test_counts_rates_and_gaps_are_those_of_the_rows(rows: list[Row]) -> None:
    with opened(rows) as run:
        (found,) = run.frame("FROM workload_counts").to_dicts()
    times = [row["arrival_ns"] for row in rows]
    gaps = [b - a for a, b in pairwise(times)]
    requests = sum(row["size"] for row in rows)
    span = times[-1] - times[0]
    assert (found["entries"], found["requests"]) == (len(rows), requests)
    assert found["moments"] == len(set(times))
    for side in ("prompt", "output"):
        total = sum(row["size"] * row[f"{side}_tokens"] for row in rows)
        assert found[f"{side}_tokens"] == total
        assert found[f"mean_{side}_tokens"] == pytest.approx(total / requests)
    if not span:
        assert found["rate_per_s"] is None
        assert found["gap_cv"] is None
        return
    assert found["rate_per_s"] == pytest.approx((requests - rows[0]["size"]) * 1e9 / span)
    assert found["mean_gap_s"] == pytest.approx(statistics.fmean(gaps) / 1e9)
    assert found["gap_cv"] == pytest.approx(statistics.pstdev(gaps) / statistics.fmean(gaps))
    assert found["longest_gap_s"] == pytest.approx(max(gaps) / 1e9)
    assert found["together_share"] == pytest.approx(gaps.count(0) / len(gaps))


@settings(max_examples=10)  # a database for each
@given(arrivals)
def test_percentiles_are_numpys(rows: list[Row]) -> None:
    with opened(rows) as run:
        found = run.frame("FROM workload_percentiles")
    frame = pl.DataFrame(rows)
    values = {
        "prompt_tokens": frame["prompt_tokens"].to_numpy(),
        "output_tokens": frame["output_tokens"].to_numpy(),
        "gap_s": np.diff(frame["arrival_ns"].to_numpy()) / 1e9,
    }
    for quantity, expected in values.items():
        amounts = found.filter(pl.col("quantity") == quantity).sort("percentile")["amount"]
        if len(expected):
            levels = np.percentile(expected, np.arange(101))
            assert amounts.to_list() == pytest.approx(levels.tolist(), abs=1e-12)
        else:
            assert amounts.is_empty()


@settings(max_examples=10)  # a database for each
@given(arrivals, arrivals)
def test_windows_hold_every_request_once_and_are_the_same_for_all(
    one: list[Row], other: list[Row]
) -> None:
    with opened(one, other) as run:
        found = run.frame("FROM arrival_windows").to_dicts()
    last = max(row["arrival_ns"] for row in (*one, *other))
    width = min(
        m * 10**e for m in (1, 2, 5) for e in range(19) if m * 10**e >= max(last + 1, 60) / 60
    )
    for number, rows in enumerate((one, other)):
        windows = [row for row in found if row["run"] == number]
        assert len(windows) == last // width + 1 <= 60
        for at, window in enumerate(windows):
            inside = [row for row in rows if row["arrival_ns"] // width == at]
            assert window["from_s"] == pytest.approx(at * width / 1e9)
            assert window["until_s"] == pytest.approx((at + 1) * width / 1e9)
            assert window["requests"] == sum(row["size"] for row in inside)
            for rate, tokens in (
                ("requests_per_s", [1] * len(inside)),
                ("prompt_tokens_per_s", [row["prompt_tokens"] for row in inside]),
                ("output_tokens_per_s", [row["output_tokens"] for row in inside]),
            ):
                total = sum(row["size"] * each for row, each in zip(inside, tokens, strict=True))
                assert window[rate] == pytest.approx(total * 1e9 / width)


@settings(max_examples=10)  # a database for each
@given(arrivals)
def test_dispersion_is_variance_over_mean_of_counts_in_whole_windows(rows: list[Row]) -> None:
    with opened(rows) as run:
        found = run.frame("FROM arrival_dispersion").to_dicts()
    expected = []
    for seconds in (1, 10, 60, 600):
        width = seconds * 10**9
        whole = rows[-1]["arrival_ns"] // width
        counts = [sum(row["arrival_ns"] // width == at for row in rows) for at in range(whole)]
        if whole >= 10 and any(counts):
            expected.append(
                (seconds, whole, statistics.pvariance(counts) / statistics.fmean(counts))
            )
    assert [(row["window_s"], row["windows"]) for row in found] == [each[:2] for each in expected]
    assert [row["dispersion"] for row in found] == pytest.approx([each[2] for each in expected])


def spaced(gaps: list[int]) -> list[Row]:
    times = np.concatenate(([0], np.cumsum(gaps))).tolist()
    row = {"prompt_tokens": 5, "output_tokens": 5, "size": 1}
    return [{**row, "request": at, "arrival_ns": time} for at, time in enumerate(times)]


def test_a_coarse_clock_and_a_long_pause_are_pointed_out() -> None:
    ticks = find(opened(spaced([0, 0, 0, 3 * 10**9] * 50)))
    (said,) = ticks.warnings()
    assert said.startswith("75% of the requests arrive at the same instant as the one before")
    assert "3.00\N{NO-BREAK SPACE}s" in said
    pause = find(opened(spaced([10**9] * 1000 + [217 * 10**9])))
    (said,) = pause.warnings()
    assert said.startswith("The longest gap, 217\N{NO-BREAK SPACE}s, is 178 times the mean")
    assert not list(find(opened(spaced([10**9] * 100))).warnings())


def test_an_answer_says_how_even_arrivals_are() -> None:
    def answer(gaps: list[int]) -> str:
        return find(opened(spaced(gaps))).answer().replace("\N{NO-BREAK SPACE}", " ")

    assert answer([10**9] * 100) == (
        "101 requests in 100 s, 1.00 per second, more even than Poisson (CV of gaps 0)."
    )
    assert "burstier than Poisson" in answer([0] * 90 + [10**9] * 10)
    assert answer([0, 0]) == "3 requests, all at 0 s."
    exponential = [round(-1e9 * math.log(1 - (at + 0.5) / 400)) for at in range(400)]
    assert "gaps as uneven as Poisson's" in answer(exponential)
