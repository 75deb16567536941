"""What clients wait for and how long, as columns of a workload."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_mixes import CODE, FIXED, scenario, waiting

from toolkit.scenario.model import Arrivals, Clients, Scenario, Sessions
from toolkit.workload import Requests, build
from toolkit.workload.requests import ANYBODY

COUNT = 20_000


def impatient(clients: Clients, entries: int = COUNT, seed: int = 42) -> Requests:
    plain = waiting(entries, Arrivals("poisson", 1.0), None, seed)
    return build(replace(plain, workload=replace(plain.workload, clients=clients)))


def test_a_share_of_clients_has_an_exponential_patience() -> None:
    """Four standard errors each; and a longer workload begins with the shorter one."""
    clients = Clients(cancel_share=0.3, cancel_s=2.0, cancel="exponential")
    patience = impatient(clients).patience_ns
    assert patience is not None
    ends = patience[patience >= 0] / 1e9
    assert len(ends) / COUNT == pytest.approx(0.3, abs=4 * (0.21 / COUNT) ** 0.5)
    assert ends.mean() == pytest.approx(2.0, abs=4 * 2.0 / len(ends) ** 0.5)
    assert (ends > 2.0 * np.log(2)).mean() == pytest.approx(0.5, abs=4 * 0.5 / len(ends) ** 0.5)
    shorter = impatient(clients, 50).patience_ns
    assert shorter is not None
    assert patience[:50].tolist() == shorter.tolist()


def test_patience_follows_its_quantiles() -> None:
    clients = Clients(cancel_share=1.0, cancel_quantiles=((0.0, 0.0), (0.5, 4.0), (1.0, 30.0)))
    patience = impatient(clients).patience_ns
    assert patience is not None
    assert patience.min() >= 1
    found = np.quantile(patience / 1e9, [0.25, 0.5, 0.75])
    assert found.tolist() == pytest.approx([2.0, 4.0, 17.0], rel=0.05)


def test_jitter_shortens_a_wait_by_at_most_its_share() -> None:
    clients = Clients(max_retries=3, backoff_s=0.5, backoff_factor=3.0, backoff_jitter=0.4)
    waits = impatient(clients).backoff_ns
    assert waits is not None
    assert waits.shape == (COUNT, 3)
    whole = np.array([0.5, 1.5, 4.5]) * 1e9
    assert (waits <= whole).all()
    assert (waits >= 0.6 * whole - 1).all()
    assert (waits / whole).mean() == pytest.approx(0.8, abs=0.01)


def test_clients_leave_lengths_and_arrivals_as_they_were() -> None:
    watched, plain = impatient(Clients(whole_s=1.0), 50), impatient(Clients(), 50)
    assert watched.arrival_ns.tolist() == plain.arrival_ns.tolist()
    assert watched.prompt_tokens.tolist() == plain.prompt_tokens.tolist()


def test_a_client_of_a_closed_loop_has_one_conversation_at_a_time() -> None:
    loop = Arrivals("closed_loop", concurrency=3, think_s=5.0)
    requests = build(waiting(40, loop, Sessions(4, True, 1.0)))
    assert requests.after is not None
    assert requests.think_ns is not None
    for row in range(40):
        turn, session = row % 4, row // 4
        expected = row - 1 if turn else (-1 if session < 3 else ANYBODY)
        assert requests.after[row] == expected
        waits_s = 1.0 if turn else (0.0 if session < 3 else 5.0)
        assert requests.think_ns[row] == waits_s * 1e9


def test_tenants_share_a_closed_loop() -> None:
    tenants = [{"name": "a", "share": 1, "lengths": FIXED}, {"name": "b", "lengths": CODE}]
    loop = {"kind": "closed_loop", "concurrency": 4}
    requests = build(
        scenario(
            {"entries": 40, "arrivals": loop, "tenant": tenants},
            batching="continuous",
            data_parallel=2,
        )
    )
    assert requests.after is not None
    assert requests.after.tolist() == [-1] * 4 + [ANYBODY] * 36


# -- recorded conversations ----------------------------------------------------------------------


def recorded(folder: Path, **more: object) -> Scenario:
    file = folder / "talks.csv"
    file.write_text(
        "at,prompt_tokens,output_tokens,talk\n0,10,1,a\n1,20,2,b\n2,30,3,\n3,40,4,a\n9,50,5,b\n",
        encoding="utf-8",
    )
    columns = {
        **{key: key for key in ("prompt_tokens", "output_tokens")},
        "arrival": "at",
        "session": "talk",
    }
    requests = {"kind": "csv", "file": str(file), "time_unit": "s", "columns": columns}
    return scenario({"requests": requests, **more}, batching="continuous", data_parallel=2)


def test_a_recorded_turn_waits_for_the_answer_and_for_its_time(tmp_path: Path) -> None:
    requests = build(recorded(tmp_path, sessions={"think_s": 2}))
    assert requests.after is not None
    assert requests.think_ns is not None
    assert requests.turn is not None
    assert requests.after.tolist() == [-1, -1, -1, 0, 1]
    assert requests.think_ns.tolist() == [0, 0, 0, 2_000_000_000, 2_000_000_000]
    assert requests.arrival_ns.tolist() == [at * 10**9 for at in (0, 1, 2, 3, 9)]
    assert requests.turn.tolist() == [0, 0, 0, 1, 1]
    assert requests.prompt_tokens.tolist() == [10, 20, 30, 40, 50]


def test_recorded_conversations_can_begin_at_other_times(tmp_path: Path) -> None:
    arrivals = {"kind": "times", "times_s": [5, 6, 7, 8, 9]}
    requests = build(recorded(tmp_path, sessions={}, arrivals=arrivals))
    assert requests.after is not None
    first = requests.arrival_ns[requests.after < 0]
    assert first.tolist() == [at * 10**9 for at in (5, 6, 7)]


def test_without_sessions_recorded_turns_arrive_as_recorded(tmp_path: Path) -> None:
    requests = build(recorded(tmp_path))
    assert requests.after is None
    assert requests.session is not None
    assert requests.session.tolist() == [0, 1, -1, 0, 1]
