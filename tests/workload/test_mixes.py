"""Tenants, conversations, closed loops and recordings as tables of requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import InputError
from toolkit.scenario import dumps, load
from toolkit.scenario.model import Arrivals, Scenario, Sessions
from toolkit.workload import build

CODE = {"kind": "catalog", "name": "azure-2023-code"}
FIXED = {"kind": "fixed", "prompt_tokens": 10, "output_tokens": 5}


def document(workload: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "mix",
        "hardware": {"machines": 2},
        "deployment": {"kind": "pipeline", **more},
        "timing": {"kind": "fixed", "prompt_ms": 40, "token_ms": 5},
        "workload": dict(workload),
    }


def scenario(workload: Mapping[str, Any], **more: Any) -> Scenario:
    return load(document(workload, **more))


def refused(workload: Mapping[str, Any]) -> str:
    with pytest.raises(InputError) as raised:
        scenario(workload)
    return str(raised.value).partition("\n")[2]


def shared_out(**shares: float) -> dict[str, Any]:
    tenants = [{"name": name, "share": share, "lengths": FIXED} for name, share in shares.items()]
    return {
        "entries": 20_000,
        "arrivals": {"kind": "poisson", "rate_per_s": 2.0},
        "tenant": tenants,
    }


# -- tenants -------------------------------------------------------------------------------------


def test_shares_are_kept_on_average() -> None:
    """Four standard deviations of a binomial count."""
    requests = build(scenario(shared_out(a=1, b=3, c=6)))
    assert requests.tenants == ("a", "b", "c")
    assert requests.tenant is not None
    for code, share in enumerate((0.1, 0.3, 0.6)):
        deviation = (20_000 * share * (1 - share)) ** 0.5
        assert (requests.tenant == code).sum() == pytest.approx(20_000 * share, abs=4 * deviation)


def test_sharing_leaves_the_arrivals_as_they_were() -> None:
    alone = {**shared_out(a=1), "lengths": FIXED}
    del alone["tenant"]
    shared, plain = build(scenario(shared_out(a=1, b=1))), build(scenario(alone))
    assert np.array_equal(shared.arrival_ns, plain.arrival_ns)


def own(**rates: float) -> dict[str, Any]:
    tenants = [
        {
            "name": name,
            "priority": index,
            "lengths": CODE,
            "arrivals": {"kind": "gamma", "cv": 2.0, "rate_per_s": rate},
        }
        for index, (name, rate) in enumerate(rates.items())
    ]
    return {"entries": 10_000, "tenant": tenants}


def test_each_tenant_has_its_own_rate() -> None:
    """Ten standard deviations: counts of gamma gaps of CV 2 vary twice as much as Poisson's."""
    requests = build(scenario(own(a=1.0, b=3.0)))
    assert np.all(np.diff(requests.arrival_ns) >= 0)
    assert requests.tenant is not None
    assert (requests.tenant == 0).sum() == pytest.approx(2500, abs=10 * 2 * 2500**0.5)
    assert requests.priority is not None
    assert np.array_equal(requests.priority, requests.tenant)


def test_another_tenant_disturbs_nobody() -> None:
    """Arrivals and lengths of a tenant hang on the seed and its name alone."""
    alone, beside = build(scenario(own(a=1.0))), build(scenario(own(z=2.0, a=1.0)))
    assert beside.tenant is not None
    mine = np.flatnonzero(beside.tenant == 1)
    assert np.array_equal(beside.arrival_ns[mine], alone.arrival_ns[: len(mine)])
    assert np.array_equal(beside.prompt_tokens[mine], alone.prompt_tokens[: len(mine)])


def test_a_tenant_without_lengths_has_those_of_the_workload() -> None:
    mixed = shared_out(a=1, b=1)
    mixed |= {"lengths": CODE, "tenant": [{"name": "a"}, {"name": "b", "lengths": FIXED}]}
    requests = build(scenario(mixed))
    assert requests.tenant is not None
    assert set(requests.prompt_tokens[requests.tenant == 1].tolist()) == {10}
    assert requests.prompt_tokens[requests.tenant == 0].mean() == pytest.approx(2048, rel=0.1)


def test_tenants_survive_being_written_down() -> None:
    for workload in (own(a=1.0, b=3.0), shared_out(a=1, b=2)):
        whole = scenario(workload)
        again = load(dict(whole.document))
        assert again == whole
        assert build(again).sha256() == build(whole).sha256()
        assert dumps(whole.document)


# -- answers that are waited for -----------------------------------------------------------------


def waiting(
    entries: int, arrivals: Arrivals, sessions: Sessions | None, seed: int = 42
) -> Scenario:
    plain = scenario({"entries": entries, "seed": seed, "lengths": CODE})
    return replace(plain, workload=replace(plain.workload, arrivals=arrivals, sessions=sessions))


@given(
    entries=st.integers(1, 200),
    turns=st.integers(1, 9) | st.floats(1, 9),
    seed=st.integers(0, 99),
)
def test_a_turn_waits_for_the_one_before_and_says_all_before_again(
    entries: int, turns: float, seed: int
) -> None:
    sessions = Sessions(turns, isinstance(turns, int), 2.0, "exponential")
    poisson = Arrivals("poisson", 1.0)
    requests = build(waiting(entries, poisson, sessions, seed))
    alone = build(waiting(entries, poisson, None, seed))
    assert requests.session is not None
    assert requests.turn is not None
    assert requests.after is not None
    assert requests.think_ns is not None
    for row in range(entries):
        turn, before = requests.turn[row], requests.after[row]
        if turn == 0:
            assert before == -1
            assert requests.prompt_tokens[row] == alone.prompt_tokens[row]
            assert requests.think_ns[row] == 0
        else:
            assert before == row - 1
            assert requests.session[row] == requests.session[before]
            assert turn == requests.turn[before] + 1
            assert requests.prompt_tokens[row] == (
                requests.prompt_tokens[before]
                + requests.output_tokens[before]
                + alone.prompt_tokens[row]
            )


def test_sessions_have_their_mean_number_of_turns() -> None:
    """Geometric of mean 4: deviation sqrt(12); four standard errors over 5,000 sessions."""
    requests = build(waiting(20_000, Arrivals("poisson", 1.0), Sessions(4.0, False)))
    assert requests.session is not None
    mean = 20_000 / (requests.session[-1] + 1)
    assert mean == pytest.approx(4.0, abs=4 * (12 / 5000) ** 0.5)


@given(entries=st.integers(1, 60), clients=st.integers(1, 20))
def test_in_a_closed_loop_as_many_requests_are_under_way_as_there_are_clients(
    entries: int, clients: int
) -> None:
    requests = build(waiting(entries, Arrivals("closed_loop", concurrency=clients), None))
    assert requests.after is not None
    assert (requests.after == -1).sum() == min(entries, clients)
    followed = requests.after[requests.after >= 0]
    assert len(set(followed.tolist())) == len(followed)


def test_what_waits_for_answers_is_refused_where_it_cannot_be_played() -> None:
    rule = (
        'expected arrivals that are known beforehand because batching = "microbatch", '
        "which does not play"
    )
    loop = {"entries": 9, "lengths": FIXED, "arrivals": {"kind": "closed_loop", "concurrency": 2}}
    assert refused(loop) == (
        f"  workload.arrivals.kind\n      {rule} clients that wait for answers\n"
        '      got "closed_loop"\n      state a rate, or recorded times'
    )
    talks = {"entries": 9, "lengths": FIXED, "sessions": {"turns": 3}}
    assert refused(talks) == (
        f"  workload.sessions\n      {rule} turns that wait for answers\n      remove it"
    )


def test_the_published_programs_know_no_tenants() -> None:
    wrong = document({**shared_out(a=1), "entry": "microbatch"})
    wrong["simulation"] = {"discipline": "dejavu"}
    with pytest.raises(InputError, match="does not go with tenants because discipline"):
        load(wrong)


# -- recordings ----------------------------------------------------------------------------------


def recorded(folder: Path, rows: str, **more: Any) -> dict[str, Any]:
    file = folder / "trace.csv"
    file.write_text(f"arrived_at,num_prefill_tokens,num_decode_tokens\n{rows}", encoding="utf-8")
    return {"requests": {"kind": "vidur", "file": str(file), **more}}


ROWS = "0.5,10,1\n1.25,20,0\n3.5,30,3\n4.0,40,4\n"


def test_lengths_and_times_come_together(tmp_path: Path) -> None:
    requests = build(scenario(recorded(tmp_path, ROWS)))
    assert requests.arrival_ns.tolist() == [0, 750_000_000, 3_000_000_000, 3_500_000_000]
    assert requests.prompt_tokens.tolist() == [10, 20, 30, 40]
    assert requests.output_tokens.tolist() == [1, 1, 3, 4]


def test_a_window_of_a_recording_counts_from_its_start(tmp_path: Path) -> None:
    given_ = recorded(tmp_path, ROWS, window_s=[0.5, 3.25], drop_unanswered=True)
    requests = build(scenario(given_))
    assert requests.arrival_ns.tolist() == [2_500_000_000]
    assert requests.prompt_tokens.tolist() == [30]


def test_other_arrivals_can_be_drawn_for_recorded_lengths(tmp_path: Path) -> None:
    given_ = recorded(tmp_path, ROWS)
    drawn = build(scenario({**given_, "arrivals": {"kind": "poisson", "rate_per_s": 1.0}}))
    plain = build(
        scenario(
            {"entries": 4, "lengths": FIXED, "arrivals": {"kind": "poisson", "rate_per_s": 1.0}}
        )
    )
    assert drawn.prompt_tokens.tolist() == [10, 20, 30, 40]
    assert np.array_equal(drawn.arrival_ns, plain.arrival_ns)


def test_other_lengths_can_be_drawn_for_recorded_arrivals(tmp_path: Path) -> None:
    requests = build(scenario({**recorded(tmp_path, ROWS), "lengths": FIXED}))
    assert requests.arrival_ns.tolist() == [0, 750_000_000, 3_000_000_000, 3_500_000_000]
    assert requests.prompt_tokens.tolist() == [10] * 4


def test_entries_cut_a_recording_and_never_lengthen_it(tmp_path: Path) -> None:
    given_ = recorded(tmp_path, ROWS)
    assert len(build(scenario({**given_, "max_entries": 3}))) == 3
    assert len(build(scenario({**given_, "entries": 2}))) == 2
    assert refused({**given_, "entries": 5}) == (
        "  workload.entries\n"
        "      expected at most as many entries as requests are recorded, 4\n      got 5"
    )


def test_a_small_recording_becomes_part_of_the_resolved_scenario(tmp_path: Path) -> None:
    whole = scenario(recorded(tmp_path, ROWS, window_s=[0, 3.25]))
    (tmp_path / "trace.csv").unlink()
    again = load(dict(whole.document))
    assert again == whole
    assert build(again).sha256() == build(whole).sha256()


def test_a_large_recording_stays_outside_with_its_digest(tmp_path: Path) -> None:
    rows = "".join(f"{i},{100 + i},{1 + i % 9}\n" for i in range(10_000))
    whole = scenario(recorded(tmp_path, rows))
    kept = whole.document["workload"]["requests"]
    assert "recorded" not in kept
    assert len(kept["sha256"]) == 64
    assert load(dict(whole.document)) == whole
    (tmp_path / "trace.csv").write_text("arrived_at\n", encoding="utf-8")
    with pytest.raises(InputError, match="expected the file the scenario was resolved with"):
        load(dict(whole.document))


def test_a_microbatch_of_alike_requests_can_follow_a_recording(tmp_path: Path) -> None:
    """Each row stands for the microbatch; repeated for equal work, it arrives as often at once."""
    given_ = {**recorded(tmp_path, ROWS), "entry": "microbatch", "equal_work_batch": 4}
    requests = build(scenario(given_, microbatch_size=2))
    assert requests.arrival_ns[:4].tolist() == [0, 0, 750_000_000, 750_000_000]
    assert requests.prompt_tokens.tolist() == [10, 10, 20, 20, 30, 30, 40, 40]
    assert set(requests.size.tolist()) == {2}


def test_mooncake_blocks_follow_their_requests(shared: Path) -> None:
    file = shared / "workloads/mooncake/conversation_trace.first8000.jsonl"
    given_ = {"requests": {"kind": "mooncake", "file": str(file), "window_s": [600, 900]}}
    requests = build(scenario(given_))
    assert requests.hash_ids is not None
    assert len(requests.hash_ids.starts) == len(requests) + 1
    blocks = np.diff(requests.hash_ids.starts)
    assert np.array_equal(blocks, -(-requests.prompt_tokens // 512))


def test_servegen_requests_hang_on_the_seed(shared: Path) -> None:
    folder = shared / "workloads/servegen/data/reason/deepseek-r1"
    given_ = {"requests": {"kind": "servegen", "file": str(folder), "window_s": [0, 120]}}
    one, same, other = (build(scenario({**given_, "seed": seed})).sha256() for seed in (1, 1, 2))
    assert one == same != other
