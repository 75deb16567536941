"""A workload before anything is simulated: its requests as tables that the views can read.

Nothing is served here: of the table `requests` only arrival, lengths and size
are filled, and the views that look at arrivals and lengths answer.  Run 0 is
the whole workload, and each tenant with requests is a run of its own after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.analytics.memory import InMemory
from toolkit.scenario.model import Scenario
from toolkit.trace.columns import NULL, TABLES, Chunk, Values
from toolkit.workload import Requests, build

__all__ = ["Preview", "preview"]


@dataclass(frozen=True, slots=True)
class Preview:
    """The tables of a workload, and what they do not say.

    ``tenants`` names the runs after run 0.  ``out_of_order`` rows of the
    recording stood behind later ones; ``sessions`` and ``block_tokens`` say
    whether it has conversations and prefix blocks.  When a request is sent that
    waits for another nobody knows beforehand: its arrival is empty.
    """

    run: InMemory
    tenants: tuple[str, ...]
    out_of_order: int = 0
    sessions: int = 0
    blocks: int = 0
    block_tokens: int | None = None
    distinct_blocks: int = 0


def preview(scenario: Scenario) -> Preview:
    """Return the tables of what a scenario's deployment is going to be asked."""
    requests = build(scenario)
    everyone = np.arange(len(requests))
    parts, names = [everyone], []
    for code, name in enumerate(requests.tenants):
        assert requests.tenant is not None
        rows = np.flatnonzero(requests.tenant == code)
        if len(rows):
            parts.append(rows)
            names.append(name)
    runs = [({"name": scenario.run_name}, [_chunk(requests, rows)]) for rows in parts]
    recording, session, ids = scenario.workload.recording, requests.session, requests.hash_ids
    return Preview(
        InMemory(runs, tables=("requests",)),
        tuple(names),
        recording.out_of_order if recording is not None else 0,
        len(np.unique(session[session >= 0])) if session is not None else 0,
        len(ids.ids) if ids is not None else 0,
        requests.block_tokens,
        len(np.unique(ids.ids)) if ids is not None else 0,
    )


def _known_arrivals(requests: Requests) -> npt.NDArray[np.int64]:
    """Return when each entry arrives, NULL where it waits for another."""
    if requests.after is None:
        return requests.arrival_ns
    return np.where(requests.after == NULL, requests.arrival_ns, NULL)


def _chunk(requests: Requests, rows: Any) -> Chunk:
    """Return some entries as rows of the table `requests`, all that has not happened left empty."""
    known: dict[str, Values] = {
        "request": np.arange(len(rows), dtype=np.int32),
        "arrival_ns": _known_arrivals(requests)[rows],
        "prompt_tokens": requests.prompt_tokens[rows],
        "output_tokens": requests.output_tokens[rows],
        "size": requests.size[rows],
        "outcome": ["expected"] * len(rows),
    }
    columns = {
        column.name: known[column.name]
        if column.name in known
        else np.full(len(rows), NULL, column.type)
        for column in TABLES["requests"].columns
        if not column.optional
    }
    return Chunk("requests", columns)
