"""A workload is what its description says, and a pure function of it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.scenario.model import (
    Arrivals,
    Deployment,
    FixedTiming,
    Hardware,
    Lengths,
    Scenario,
    Workload,
)
from toolkit.workload import Requests, build
from toolkit.workload.arrivals import groups_us, poisson_s
from toolkit.workload.lengths import token_counts

CHAT = Lengths("catalog", name="lmsys-chat-english")
DRAWS = 200_000


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def scenario(workload: Workload, **deployment: Any) -> Scenario:
    machines = deployment.pop("machines", 4)
    return Scenario(
        name="work",
        title="",
        question="",
        discipline=deployment.pop("discipline", "event"),
        model=None,
        hardware=Hardware(machines),
        deployment=Deployment("pipeline", activations=False, memory_fit="off", **deployment),
        workload=workload,
        timing=FixedTiming(0.001, 0.001),
    )


def workload(entries: int, **keys: Any) -> Workload:
    return Workload(
        **{
            "entries": entries,
            "entry": "request",
            "arrivals": Arrivals("at_zero"),
            "lengths": CHAT,
            **keys,
        }
    )


# -- lengths -------------------------------------------------------------------------------------


def quantiles(file: Path, column: str) -> npt.NDArray[np.float64]:
    with file.open(encoding="utf-8", newline="") as lines:
        return np.array([float(row[column]) for row in csv.DictReader(lines)])


def distance(sample: npt.NDArray[Any], table: npt.NDArray[np.float64]) -> float:
    """Return the Kolmogorov-Smirnov distance of whole numbers from a table of quantiles.

    A token count n stands for all lengths that round to it, so the two
    distribution functions are compared at the upper ends n + 1/2.
    """
    levels = np.linspace(0.0, 1.0, len(table))
    ends = np.arange(table[0], table[-1] + 1) + 0.5
    found = np.searchsorted(np.sort(sample), ends, side="right") / len(sample)
    return float(np.abs(found - np.interp(ends, table, levels)).max())


def test_chat_lengths_have_the_published_means() -> None:
    """58.4 and 163.8 tokens, from 200,000 draws by the same recipe; three standard errors."""
    drawn = token_counts(CHAT, DRAWS, rng())
    assert drawn.prompt.mean() == pytest.approx(58.4, abs=0.9)
    assert drawn.output.mean() == pytest.approx(163.8, abs=1.1)


@pytest.mark.parametrize("side", ["prompt", "output"])
def test_chat_lengths_have_the_published_distribution(side: str, shared: Path) -> None:
    table = quantiles(shared / "facts" / "lmsys_lengths.csv", f"{side}_tokens_gpt2_en")
    assert distance(getattr(token_counts(CHAT, DRAWS, rng()), side), table) < 0.006


def test_prompts_and_answers_go_together_as_little_as_in_the_data() -> None:
    """Spearman's rank correlation of a Gaussian copula: 6 / pi arcsin(rho / 2)."""
    drawn = token_counts(CHAT, DRAWS, rng())
    prompt, output = (rank.argsort().argsort() for rank in (drawn.prompt, drawn.output))
    expected = 6 / np.pi * np.arcsin(0.0983 / 2)
    assert np.corrcoef(prompt, output)[0, 1] == pytest.approx(expected, abs=0.01)


def test_fixing_the_prompts_leaves_the_answers_as_they_were() -> None:
    free = token_counts(CHAT, 1000, rng())
    fixed = token_counts(replace(CHAT, prompt_tokens=1000), 1000, rng())
    assert set(fixed.prompt.tolist()) == {1000}
    assert np.array_equal(fixed.output, free.output)


def test_a_longer_workload_begins_with_the_shorter() -> None:
    longer, shorter = (token_counts(CHAT, count, rng()) for count in (500, 100))
    assert np.array_equal(longer.prompt[:100], shorter.prompt)
    assert np.array_equal(longer.output[:100], shorter.output)


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=1, max_size=8),
    st.integers(1, 50),
    st.none() | st.integers(50, 2000),
)
def test_pairs_are_taken_in_order_and_clamped(
    pairs: list[tuple[int, int]], least: int, most: int | None
) -> None:
    lengths = Lengths("pairs", pairs=tuple(pairs), min_output_tokens=least, max_output_tokens=most)
    drawn = token_counts(lengths, len(pairs), rng())
    assert drawn.prompt.tolist() == [max(prompt, 1) for prompt, _ in pairs]
    assert drawn.output.tolist() == [
        min(max(output, least), most or output + least) for _, output in pairs
    ]


# -- arrivals ------------------------------------------------------------------------------------


def test_recorded_arrivals_of_groups_are_met_to_the_last_digit(shared: Path) -> None:
    """Golden: recorded from the unedited published simulators."""
    met = 0
    for simulator in ("baseline", "disaggregated"):
        file = shared / "golden" / f"reference_{simulator}.json"
        for case in json.loads(file.read_bytes())["cases"]:
            if "arrivals_us" in case["result"]:
                params, golden = case["params"], case["result"]["arrivals_us"]
                machines = sum(count for key, count in params.items() if "machines" in key)
                assert groups_us(len(golden), params["rps"], machines).tolist() == golden
                met += 1
    assert met == 293


def test_the_published_example_of_groups() -> None:
    second, third = 469268.0899768591, 3479389.5208943803
    assert groups_us(7, 1, 2).tolist() == [0, 0, second, second, third, third, 0]


@given(st.integers(1, 40), st.integers(1, 10), st.floats(-1, 0))
def test_a_rate_of_zero_or_less_has_all_at_the_start(count: int, size: int, rate: float) -> None:
    assert not groups_us(count, rate, size).any()


@given(st.integers(0, 40), st.integers(1, 10))
def test_a_group_arrives_at_once_and_the_rest_at_the_start(count: int, size: int) -> None:
    arrivals = groups_us(count, 2.0, size)
    whole = count // size * size
    groups = arrivals[:whole].reshape(-1, size)
    assert np.all(groups == groups[:, :1])
    assert np.all(np.diff(groups[:, 0]) > 0)
    assert not arrivals[whole:].any()
    assert not groups[:1].any()


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_poisson_arrivals_of_fewer_begin_those_of_more(few: int, more: int, seed: int) -> None:
    shorter, longer = (poisson_s(count, 3.0, rng(seed)) for count in (few, few + more))
    assert np.array_equal(longer[:few], shorter)
    assert np.all(np.diff(longer) >= 0)


def test_poisson_arrivals_have_their_rate() -> None:
    """Gaps of mean 1/rate and as much deviation; four standard errors."""
    gaps = np.diff(poisson_s(100_000, 5.0, rng()), prepend=0.0)
    assert gaps.mean() == pytest.approx(0.2, rel=4 / 100_000**0.5)
    assert gaps.std() == pytest.approx(0.2, rel=0.02)


def test_a_rate_counts_requests_whether_they_come_alone_or_in_microbatches() -> None:
    """A microbatch of 8 stands for 8 requests, so it comes an eighth as often."""
    arrivals = Arrivals("poisson", 4.0)
    alone = build(scenario(workload(4000, arrivals=arrivals)))
    batched = build(
        scenario(workload(4000, arrivals=arrivals, entry="microbatch"), microbatch_size=8)
    )
    assert batched.arrival_us.tolist() == pytest.approx((alone.arrival_us * 8).tolist())


# -- randomness ----------------------------------------------------------------------------------


def test_lengths_and_arrivals_do_not_disturb_each_other() -> None:
    work = workload(50, arrivals=Arrivals("poisson", 1.0))
    faster = build(scenario(replace(work, arrivals=Arrivals("poisson", 2.0))))
    longer = build(scenario(replace(work, lengths=replace(CHAT, prompt_tokens=7))))
    plain = build(scenario(work))
    assert np.array_equal(faster.output_tokens, plain.output_tokens)
    assert np.array_equal(longer.arrival_us, plain.arrival_us)


@given(st.integers(0, 2**32))
def test_a_workload_is_a_function_of_its_seed(seed: int) -> None:
    work = scenario(workload(20, arrivals=Arrivals("poisson", 1.0), seed=seed))
    other = scenario(workload(20, arrivals=Arrivals("poisson", 1.0), seed=seed + 1))
    assert build(work).sha256() == build(work).sha256() != build(other).sha256()


# -- repetition and equal work -------------------------------------------------------------------

PAIRS = Lengths("pairs", pairs=((10, 1), (20, 2), (30, 3)))


def repeated(order: Any, size: int = 2, seed: int = 42) -> list[int]:
    work = workload(
        3,
        entry="microbatch",
        lengths=PAIRS,
        equal_work_batch=8,
        repeat_order=order,
        seed=seed,
    )
    return list(build(scenario(work, microbatch_size=size)).output_tokens)


def test_entries_are_repeated_in_place_or_tiled_or_shuffled() -> None:
    assert repeated("in_place") == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert repeated("tiled") == [1, 2, 3] * 4
    shuffled = repeated("shuffled")
    assert sorted(shuffled) == sorted(repeated("in_place"))
    assert shuffled not in (repeated("in_place"), repeated("tiled"))
    assert repeated("shuffled") == shuffled != repeated("shuffled", seed=43)


def served(requests: Requests) -> Counter[tuple[int, int]]:
    """Return how many requests of each pair of lengths there are."""
    counts: Counter[tuple[int, int]] = Counter()
    for prompt, output, size in zip(
        requests.prompt_tokens.tolist(),
        requests.output_tokens.tolist(),
        requests.size.tolist(),
        strict=True,
    ):
        counts[prompt, output] += size
    return counts


@pytest.mark.parametrize("order", ["in_place", "tiled", "shuffled"])
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_any_microbatch_size_serves_the_same_requests(size: int, order: Any) -> None:
    work = workload(64, entry="microbatch", equal_work_batch=16, repeat_order=order)
    reference = build(scenario(work, microbatch_size=16))

    requests = build(scenario(work, microbatch_size=size))

    assert served(requests) == served(reference)
    assert len(requests) == 64 * 16 // size


# -- parts ---------------------------------------------------------------------------------------


def test_published_parts_are_consecutive_and_each_begins_at_the_start() -> None:
    """The remainder is dropped; every part has the full rate and the same arrivals (quirk 21)."""
    pairs = tuple((1, output) for output in range(2, 13))
    work = workload(
        11,
        entry="microbatch",
        arrivals=Arrivals("groups", 1.0),
        lengths=Lengths("pairs", pairs=pairs),
    )
    requests = build(scenario(work, machines=4, data_parallel=2, discipline="dejavu"))

    assert requests.dropped == 1
    assert requests.part.tolist() == [0] * 5 + [1] * 5
    assert requests.output_tokens.tolist() == list(range(2, 12))
    assert requests.arrival_us.tolist() == groups_us(5, 1.0, 2).tolist() * 2


def test_replicas_of_the_event_discipline_share_one_stream_of_arrivals() -> None:
    work = workload(11, arrivals=Arrivals("poisson", 1.0))
    one, two = (build(scenario(work, data_parallel=replicas)) for replicas in (1, 2))
    assert one.sha256() == two.sha256()
    assert set(two.part.tolist()) == {-1}
