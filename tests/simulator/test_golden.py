"""Every recorded run of the published simulators comes out again.

Golden: recorded from the unedited programs (msr-fiddle/dejavu, commit 07e76be)
under CPython 3.11, numbers printed with round-trip precision.  A trace keeps
whole nanoseconds, so a time may be off by one, or by 1e-9 of itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played import Played, gathered, play
from published import baseline

import toolkit
from toolkit.errors import InputError
from toolkit.scenario.model import (
    Arrivals,
    Deployment,
    FixedTiming,
    Hardware,
    Lengths,
    Scenario,
    Trace,
    Workload,
)
from toolkit.simulator import simulate
from toolkit.trace.columns import NULL
from toolkit.workload import build

Case = Mapping[str, Any]

SIMULATORS = ("baseline", "disaggregated")
LONGEST_LIST, LEAST_TOKENS, MOST_TOKENS = 512, 2, 1000
REL, NS_IN_S, NS_IN_US = 1e-9, 1.001e-9, 1.001e-3


@pytest.fixture(scope="module")
def inputs(shared: Path) -> Mapping[str, list[list[int]]]:
    text = (shared / "golden" / "reference_inputs.json").read_text(encoding="utf-8")
    return dict(json.loads(text)["inputs"])


@pytest.fixture(scope="module")
def cases(shared: Path) -> Mapping[str, list[Case]]:
    return {
        simulator: json.loads((shared / "golden" / f"reference_{simulator}.json").read_bytes())[
            "cases"
        ]
        for simulator in SIMULATORS
    }


def machines_of(case: Case) -> tuple[int, int]:
    """Return prompt and token machines; no prompt machines where both share."""
    params = case["params"]
    if "num_machines" in params:
        return 0, params["num_machines"]
    return params["num_prompt_machines"], params["num_token_machines"]


def scenario_of(case: Case, pairs: list[list[int]], level: Any) -> Scenario:
    """Return what a golden case's parameters mean."""
    params = case["params"]
    prompts, tokens = machines_of(case)
    first = tuple((prompt, output) for prompt, output in pairs[:LONGEST_LIST])
    return Scenario(
        name=case["id"],
        title="",
        question="",
        discipline="dejavu",
        model=None,
        hardware=Hardware(prompts + tokens),
        deployment=Deployment(
            "disaggregated" if prompts else "pipeline",
            prompt_machines=prompts,
            token_machines=tokens if prompts else 0,
            activations=False,
            memory_fit="off",
        ),
        workload=Workload(
            entries=len(first),
            entry="microbatch",
            arrivals=Arrivals("groups", max(params["rps"], 0)),
            lengths=Lengths(
                "pairs",
                pairs=first,
                min_output_tokens=LEAST_TOKENS,
                max_output_tokens=MOST_TOKENS,
            ),
        ),
        timing=FixedTiming(
            params["prompt_time_ms"] / 1e3,
            params["token_time_ms"] / 1e3,
            params.get("cache_time_ms", 0) / 1e3,
        ),
        trace=Trace(level, ()),
    )


def mapping_of(case: Case, pairs: list[list[int]]) -> dict[str, Any]:
    """Return the same as a user would write it; no scenario takes tokens below 0."""
    params = case["params"]
    deployment: dict[str, Any] = {"kind": "pipeline"}
    timing = {
        "kind": "fixed",
        "prompt_ms": params["prompt_time_ms"],
        "token_ms": params["token_time_ms"],
    }
    prompts, tokens = machines_of(case)
    if "num_machines" not in params:
        deployment = {"kind": "disaggregated", "prompt_machines": prompts, "token_machines": tokens}
        timing["cache_ms"] = params["cache_time_ms"]
    return {
        "schema_version": 1,
        "name": case["id"],
        "simulation": {"discipline": "dejavu"},
        "hardware": {"machines": prompts + tokens},
        "deployment": deployment,
        "workload": {
            "entry": "microbatch",
            "max_entries": LONGEST_LIST,
            "arrivals": {"kind": "groups", "groups_per_s": max(params["rps"], 0)},
            "lengths": {
                "kind": "pairs",
                "pairs": [[prompt, max(output, 0)] for prompt, output in pairs],
                "min_output_tokens": LEAST_TOKENS,
                "max_output_tokens": MOST_TOKENS,
            },
        },
        "timing": timing,
        "trace": {"level": "full" if params["do_traces"] else "requests"},
    }


def close(found: Any, golden: Any, absolute: float) -> bool:
    """Return whether numbers agree to 1e-9 of themselves or to `absolute`."""
    return bool(np.all(np.isclose(found, golden, rtol=REL, atol=absolute)))


def disagreements(run: Played, golden: Case) -> Iterator[str]:
    """Yield which of a recorded run's numbers ours does not have."""
    requests = run["requests"]
    ends_s, arrivals_s = requests["finish_ns"] / 1e9, requests["arrival_ns"] / 1e9
    makespan_s = ends_s.max()
    latency = (ends_s - arrivals_s) / requests["output_tokens"]
    spread = {"median": np.median(latency), "max": latency.max(), "min": latency.min()}
    if not close(makespan_s, golden["makespan_s"], NS_IN_S):
        yield "makespan"
    per_s = len(ends_s) / makespan_s
    if not close(per_s, golden["throughput_ubatches_per_s"], per_s * NS_IN_S / makespan_s):
        yield "throughput"
    for key, value in golden["latency_per_token_s"].items():
        if not close(spread[key], value, NS_IN_S):
            yield f"{key} latency per token"
    if len(ends_s) != golden["n_requests"]:
        yield "requests"
    for key, found in (("arrivals_us", arrivals_s), ("ends_us", ends_s)):
        if key in golden and not close(found * 1e6, golden[key], NS_IN_US):
            yield key


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_every_recorded_run_agrees(
    simulator: str, cases: Mapping[str, list[Case]], inputs: Mapping[str, list[list[int]]]
) -> None:
    answered = [case for case in cases[simulator] if "error" not in case["result"]]

    wrong = {
        case["id"]: list(
            disagreements(
                play(scenario_of(case, inputs[case["input"]], "requests")), case["result"]
            )
        )
        for case in answered
    }

    assert len(answered) == {"baseline": 395, "disaggregated": 801}[simulator]
    assert {case: what for case, what in wrong.items() if what} == {}


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_recorded_arrivals_are_met_to_the_last_digit(
    simulator: str, cases: Mapping[str, list[Case]], inputs: Mapping[str, list[list[int]]]
) -> None:
    recorded = [case for case in cases[simulator] if "arrivals_us" in case["result"]]
    assert recorded
    for case in recorded:
        requests = build(scenario_of(case, inputs[case["input"]], "requests"))
        assert requests.arrival_us.tolist() == case["result"]["arrivals_us"], case["id"]


# -- traces --------------------------------------------------------------------------------------


def passes(run: Played) -> list[tuple[str, int, float, float]]:
    """Return the stage spans as (name, pid, ts, dur) of the published traces, us."""
    on_stage = run.of("stage")
    columns = ("request", "token", "track", "ts_ns", "dur_ns")
    rows = zip(*(run["spans"][column][on_stage].tolist() for column in columns), strict=True)
    return sorted(
        (f"p{request}" if token == NULL else f"t{request},{token}", track, ts / 1e3, dur / 1e3)
        for request, token, track, ts, dur in rows
    )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_every_recorded_trace_has_the_same_events(
    simulator: str, cases: Mapping[str, list[Case]], inputs: Mapping[str, list[list[int]]]
) -> None:
    """As a set: the published file is in the order of a list of work."""
    traced = [case for case in cases[simulator] if "trace_events" in case["result"]]
    assert len(traced) == 48
    for case in traced:
        ours = passes(play(scenario_of(case, inputs[case["input"]], "full")))
        theirs = sorted(
            (event["name"], event["pid"], event["ts"], event["dur"])
            for event in case["result"]["trace_events"]
            if event["ph"] == "X"
        )
        assert [row[:2] for row in ours] == [row[:2] for row in theirs], case["id"]
        for column in (2, 3):
            found, golden = ([row[column] for row in rows] for rows in (ours, theirs))
            assert close(found, golden, NS_IN_US), case["id"]


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_every_recorded_digest_of_a_trace_agrees(
    simulator: str, cases: Mapping[str, list[Case]], inputs: Mapping[str, list[list[int]]]
) -> None:
    digested = [case for case in cases[simulator] if "trace_digest" in case["result"]]
    assert digested
    for case in digested:
        golden = case["result"]["trace_digest"]
        run = play(scenario_of(case, inputs[case["input"]], "full"))
        assert run.of("stage").sum() == golden["n_complete_events"], case["id"]
        for pid, each in golden["per_pid"].items():
            here = run["spans"]["track"] == int(pid)
            ts, dur = run["spans"]["ts_ns"][here] / 1e3, run["spans"]["dur_ns"][here] / 1e3
            assert len(ts) == each["events"], case["id"]
            assert close(ts.min(), each["first_ts_us"], NS_IN_US), case["id"]
            assert close((ts + dur).max(), each["last_end_us"], NS_IN_US), case["id"]
            assert close(dur.sum(), each["busy_us"], len(ts) * NS_IN_US), case["id"]


# -- where the published programs crash -----------------------------------------------------------


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_input_that_makes_no_sense_is_a_clear_error(
    simulator: str, cases: Mapping[str, list[Case]], inputs: Mapping[str, list[list[int]]]
) -> None:
    """Fewer requests than machines, none, no time, no machine (quirks 1, 2, 8 and 9)."""
    crashed = [
        case
        for case in cases[simulator]
        if "error" in case["result"] and not case["params"]["do_traces"]
    ]
    assert len(crashed) == {"baseline": 36, "disaggregated": 17}[simulator]
    blamed = {"machines", "entries", "pairs", "prompt_machines", "token_machines", "prompt_ms"}
    for case in crashed:
        with pytest.raises(InputError) as caught:
            toolkit.load(mapping_of(case, inputs[case["input"]]))
        (problem, *_) = caught.value.problems
        assert problem.where.rpartition(".")[2] in blamed, case["id"]


def test_the_simulation_itself_refuses_fewer_requests_than_machines() -> None:
    """For scenarios that were built, not loaded."""
    case = {
        "id": "few",
        "params": {"rps": 0, "num_machines": 4, "prompt_time_ms": 1.0, "token_time_ms": 1.0},
    }
    with pytest.raises(InputError, match="at least 4 entries"):
        list(simulate(scenario_of(case, [[1, 2]] * 3, "requests")))


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_where_the_palette_ran_out_of_colours_there_is_the_answer(
    simulator: str, cases: Mapping[str, list[Case]], inputs: Mapping[str, list[list[int]]]
) -> None:
    """Quirk 6: a trace of more than 13 stages."""
    crashed = [
        case
        for case in cases[simulator]
        if "error" in case["result"] and case["params"]["do_traces"]
    ]
    assert len(crashed) == {"baseline": 4, "disaggregated": 3}[simulator]
    for case in crashed:
        pairs = inputs[case["input"]]
        loaded = toolkit.load(mapping_of(case, pairs))
        run = play(loaded)
        bare = play(scenario_of(case, pairs, "requests"))
        assert run.rows("requests", "finish_ns") == bare.rows("requests", "finish_ns")
        prompts, tokens = machines_of(case)
        output = np.clip([output for _, output in pairs[:LONGEST_LIST]], 2, 1000)
        expected = prompts * len(output) + tokens * (output + (not prompts)).sum()
        assert len(passes(run)) == expected, case["id"]


def test_tracing_needs_no_command_line() -> None:
    """Quirk 7: `simulate([2], 0, 1, 1, 1, True)` from an import."""
    case = {
        "id": "imported",
        "params": {
            "rps": 0,
            "num_machines": 1,
            "prompt_time_ms": 1.0,
            "token_time_ms": 1.0,
            "do_traces": True,
        },
    }
    run = gathered(toolkit.simulate(toolkit.load(mapping_of(case, [[1, 2]]))))

    assert passes(run) == [
        ("p0", 0, 0.0, 1000.0),
        ("t0,0", 0, 1000.0, 1000.0),
        ("t0,1", 0, 2000.0, 1000.0),
    ]
    assert run["requests"]["finish_ns"].tolist() == [
        1000 * end for end in baseline([2], [0.0], 1, 1e3, 1e3)
    ]


def test_the_quirks_that_stay_are_the_published_ones() -> None:
    """Quirks 3 to 5: late-comers that arrived at 0, and stages held for requests yet to come."""
    trailing = {
        "id": "quirk-3",
        "params": {"rps": 1, "num_machines": 2, "prompt_time_ms": 10, "token_time_ms": 1},
    }
    requests = play(scenario_of(trailing, [[1, 3]] * 5, "full"))
    latency = requests.e2e / 3e9
    assert latency[-1] == pytest.approx(0.1768, abs=5e-5)
    assert latency[:-1] == pytest.approx(0.012, abs=5e-4)

    held = {
        "id": "quirk-4",
        "params": {"rps": 1, "num_machines": 2, "prompt_time_ms": 1, "token_time_ms": 1},
    }
    run = play(scenario_of(held, [[1, 3], [1, 6], [1, 3], [1, 3]], "full"))
    starts = {name: ts for name, pid, ts, _ in passes(run) if pid == 0}
    assert starts["t1,2"] == 7e3
    assert starts["t1,3"] == pytest.approx(470.3e3, abs=50)
    assert run.named("waits", "head_of_line").any()

    split = {
        "id": "quirk-5",
        "params": {
            "rps": 0,
            "num_prompt_machines": 2,
            "num_token_machines": 2,
            "prompt_time_ms": 10,
            "token_time_ms": 1,
            "cache_time_ms": 5,
        },
    }
    run = play(scenario_of(split, [[1, 2], [1, 6], [1, 3], [1, 2]], "full"))
    starts = {name: ts for name, pid, ts, _ in passes(run) if pid == 2}
    assert starts["t1,0"] == 40e3
    assert starts["t0,1"] == 41e3
