"""Many scenarios simulated at once, each to the few figures that compare them.

Each run goes to a store of its own at level `requests`, in a temporary folder;
the figures are queries over all of them, by the views that ship; the folder is
gone afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from toolkit import analytics
from toolkit.costs.bounds import bounds
from toolkit.progress import bar
from toolkit.runs import within_bounds
from toolkit.scenario.model import Scenario
from toolkit.simulator import simulate
from toolkit.tables import rows
from toolkit.trace import store
from toolkit.workload import build, shared_tokens

__all__ = ["Figures", "rehearse"]

FIGURES = """
    WITH
        bound AS (
            SELECT run, max(lower_s) AS lower_s, arg_max(bound, lower_s) AS name
            FROM lower_bounds
            GROUP BY run
        ),
        late AS (
            SELECT run, quantile_cont(value_s, 0.99) AS ttft_p99_s
            FROM latency_samples
            WHERE metric = 'ttft'
            GROUP BY run
        )
    SELECT
        throughput.makespan_s,
        bound.lower_s,
        bound.name,
        throughput.requests,
        throughput.requests_per_s,
        late.ttft_p99_s,
        cost.cost_usd
    FROM throughput
    JOIN cost USING (run)
    JOIN bound USING (run)
    LEFT JOIN late USING (run)
    ORDER BY throughput.run
"""
"""As the view run_summary defines them, without the views of stages that it reads besides."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run comes to; no schedule ends before ``least_makespan_s``, because of ``bound``."""

    makespan_s: float
    least_makespan_s: float
    bound: str
    requests: int
    requests_per_s: float
    ttft_p99_s: float
    cost_usd: float | None


def rehearse(
    scenarios: Sequence[Scenario], *, workers: int = 1, quiet: bool = True
) -> list[Figures]:
    """Simulate scenarios without variants; return their figures, in order.

    The answer does not depend on the number of worker processes.

    Raises:
        FaultError: a run ended before its bounds allow.
    """
    if not scenarios:
        return []
    with TemporaryDirectory(prefix="toolkit-plan-") as folder:
        paths = [Path(folder) / f"{number:06d}" for number in range(len(scenarios))]
        with bar(
            f"simulating {len(scenarios)} options", total=len(scenarios), quiet=quiet
        ) as advance:
            for _ in _written(scenarios, paths, workers):
                advance(1)
        with (
            bar("comparing them", total=None, quiet=quiet),
            analytics.open(paths, threads=max(workers, 1)) as runs,
        ):
            return [Figures(*row) for row in rows(runs.sql(FIGURES))]


def _written(
    scenarios: Sequence[Scenario], paths: Sequence[Path], workers: int
) -> Iterable[object]:
    """Write every run, yielding as each is done."""
    if workers <= 1:
        yield from map(_write, scenarios, paths)
        return
    context = get_context("spawn")  # forking beside threads of database engines is not safe
    with ProcessPoolExecutor(min(workers, len(scenarios)), context) as pool:
        yield from pool.map(_write, scenarios, paths)


def _write(scenario: Scenario, path: Path) -> None:
    """Simulate one scenario into a store that says no more than the figures ask."""
    requests = build(scenario)
    lower = bounds(scenario, requests, shared_tokens(scenario, requests))
    manifest = {
        "name": path.name,
        "discipline": scenario.discipline,
        "level": scenario.trace.level,
        "bounds": [asdict(bound) for bound in lower],
        "scenario": {"deployment": {"kind": scenario.deployment.kind}},
    }
    store.write(path, within_bounds(lower, simulate(scenario, requests, accounts=False)), manifest)
