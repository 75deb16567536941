"""The winners of a sweep in the layout of the published driver: its CSV and its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from toolkit.planner.results import Results, Row
from toolkit.planner.simulate_all import FAMILIES, Candidate, as_csv, as_json, best
from toolkit.scenario.model import Scenario

__all__ = ["write"]

MACHINES = "hardware.machines"


def write(scenario: Scenario, results: Results, folder: Path) -> list[str]:
    """Write ``published.csv`` and ``published.json`` into `folder`; return their names.

    Nothing is written unless the sweep says of three families what the
    published driver calls them, and sweeps the machines.  Whatever the sweep
    itself minimises, the published files hold the least makespans.
    """
    sweep = scenario.sweep
    assert sweep is not None
    if set(sweep.published.values()) != set(FAMILIES) or MACHINES not in results.settings:
        return []
    # The published driver takes the first of equals in its own order of search.
    found = sorted(_candidates(results, sweep.published), key=_order)
    winners = best(found)
    price = scenario.hardware.price_usd_per_hour or 0.0
    (folder / "published.csv").write_text(as_csv(winners, price), encoding="utf-8")
    (folder / "published.json").write_text(as_json(winners, price), encoding="utf-8")
    return ["published.csv", "published.json"]


def _order(candidate: Candidate) -> tuple[int, int, tuple[int, int], int]:
    family = FAMILIES.index(candidate.family)
    return candidate.machines, family, candidate.parts, candidate.batch


def _candidates(results: Results, published: Mapping[str, str]) -> Iterator[Candidate]:
    """Yield every point of the three families as the published driver would list it."""
    for row in results.rows:
        family = published.get(row["family"])
        if family is not None:
            machines, batch, parts = _layout(results, row, family)
            yield Candidate(machines, family, batch, parts, row["makespan_s"])


def _layout(results: Results, row: Row, family: str) -> tuple[int, int, tuple[int, int]]:
    """Return machines, batch size and parts of a point."""

    def setting(key: str) -> int:
        return int(row[results.settings[key]])

    machines, batch = setting(MACHINES), setting("deployment.microbatch_size")
    if family == "DV":
        parts = (setting("deployment.prompt_machines"), setting("deployment.token_machines"))
    else:
        replicas = 1 if family == "Baseline" else setting("deployment.data_parallel")
        parts = (replicas, machines // replicas)
    return machines, batch, parts
