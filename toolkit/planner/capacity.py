"""How much load deployments hold: a search over rates, each of them played.

A rate holds where the view `load_outcome` says so: at least the stated share
of requests met their limits, and the run is not overloaded.  Of each candidate
deployment a rate that holds and one that fails are looked for, outward from
the scenario's own rate in doublings, and their distance is halved by ratio
until it is within the tolerance.  A simulation need not be monotone in the
load, so nothing is inferred: both ends of the bracket were played, every rate
that was is kept, and a candidate whose rates do not part into those that hold
below and those that fail above says so.

The same seed at every rate gives the same pattern of gaps and lengths, so that
rates differ in nothing but the load (common random numbers).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from toolkit.analytics.memory import InMemory
from toolkit.catalog import nearest
from toolkit.errors import InputError
from toolkit.planner import points
from toolkit.planner.bisection import narrowed
from toolkit.planner.executors import completed, cores, open_executor
from toolkit.planner.loads import (
    Candidate,
    at_rate,
    candidates,
    own_rate_per_s,
    require_searchable,
    sized,
    step_of,
)
from toolkit.planner.metrics import SPREAD, metric_names, metrics
from toolkit.progress import bar
from toolkit.scenario.model import Capacity, Scenario

__all__ = ["Found", "Searched", "capacity", "front", "play"]

DOUBLINGS = 10
"""Doublings, or halvings, of a rate before the search gives up: a factor of 1024 each way."""

Row = Mapping[str, Any]

SHOWN = ("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms", "e2e_p50_ms", "e2e_p99_ms")
"""Latencies that every played rate has, beside the one that is set against cost."""


@dataclass(frozen=True)
class Found:
    """What the search found of one candidate.

    ``rows`` are the rates played, ascending: the columns of `load_outcome`,
    latencies in ms, and what deployment it was.  ``holds_per_s`` is the highest
    rate of the bracket that holds, ``fails_per_s`` the one above it that does
    not; None where no rate held, or none failed.
    """

    candidate: Candidate
    rows: Sequence[Row]
    holds_per_s: float | None
    fails_per_s: float | None

    @property
    def at_capacity(self) -> Row | None:
        """The row of the highest rate that holds."""
        return next((row for row in self.rows if row["rate_per_s"] == self.holds_per_s), None)

    @property
    def monotone(self) -> bool:
        """Whether every rate played that holds is below every one that does not."""
        holds = [row["rate_per_s"] for row in self.rows if row["holds"]]
        fails = [row["rate_per_s"] for row in self.rows if not row["holds"]]
        return not holds or not fails or max(holds) < min(fails)


@dataclass(frozen=True)
class Searched:
    """A finished search: candidates searched, and at `rate_per_s` (None: not asked) all played."""

    scenario: Scenario
    stated: Capacity
    found: Sequence[Found]
    rate_per_s: float | None
    at_rate: Sequence[Row]

    @property
    def rows(self) -> list[Row]:
        """Every rate of every candidate that was played, by candidate and rate, each once."""
        played = {
            (row["candidate"], row["rate_per_s"]): row
            for row in (*(row for each in self.found for row in each.rows), *self.at_rate)
        }
        labels = [each.candidate.label for each in self.found]
        labels += [row["candidate"] for row in self.at_rate]
        places = {label: at for at, label in enumerate(dict.fromkeys(labels))}
        return sorted(
            played.values(), key=lambda row: (places[row["candidate"]], row["rate_per_s"])
        )

    @property
    def holding(self) -> list[Row]:
        """The deployments that hold `rate_per_s`, the smallest first."""
        rows = [row for row in self.at_rate if row["holds"]]
        return sorted(rows, key=lambda row: (row["devices"] or row["machines"], _cost(row)))

    @property
    def smallest(self) -> Row | None:
        """The deployment with the fewest devices that holds `rate_per_s`; the cheaper of equals."""
        return next(iter(self.holding), None)

    @property
    def cheapest(self) -> Row | None:
        """The deployment that holds `rate_per_s` for the least money; the smaller of equals."""
        priced = [row for row in self.holding if row["usd_per_hour"] is not None]
        return min(priced, key=lambda row: row["usd_per_hour"], default=None)

    @property
    def front(self) -> list[Row]:
        """The rows that no other beats in both cost and latency, cheapest first.

        At `rate_per_s` where one is asked for, else of all rates that hold.
        """
        rows = self.holding if self.rate_per_s is not None else self.rows
        return front([row for row in rows if row["holds"]], self.stated.latency)


def front(rows: Sequence[Row], latency: str) -> list[Row]:
    """Return the rows that none beats, in dollars per 1000 requests and in a latency; by dollars.

    A row is beaten by one that is no worse in both and better in one; of equal
    rows the first stays.  Rows without a price or that latency are left out.
    """
    known = [row for row in rows if row["usd_per_1000_requests"] is not None]
    known = [row for row in known if row[latency] is not None]
    kept: list[Row] = []
    for row in sorted(known, key=lambda row: (row["usd_per_1000_requests"], row[latency])):
        if not kept or row[latency] < kept[-1][latency]:
            kept.append(row)
    return kept


def capacity(
    scenario: Scenario,
    *,
    rate_per_s: float | None = None,
    executor: str = "processes",
    workers: int | None = None,
    quiet: bool = True,
) -> Searched:
    """Search how much load each variant, with each number of replicas, holds.

    `rate_per_s` (else the scenario's ``capacity.rate_per_s``) asks besides
    which deployments hold that load; where no numbers of replicas are stated,
    the smallest number that does is looked for as well.  The answer does not
    depend on who computes it.

    Raises:
        InputError: the scenario has no limits, no rate that can be changed, or
            a deployment that cannot be.
    """
    require_searchable(scenario)
    stated = scenario.capacity or Capacity()
    _require_latency(scenario, stated.latency)
    rate_per_s = stated.rate_per_s if rate_per_s is None else rate_per_s
    listed = candidates(scenario, stated.replicas)
    workers = min(cores() if workers is None else workers, len(listed))
    with (
        open_executor(executor, workers=workers) as (opened, count),
        bar(f"searching {scenario.name}", total=len(listed), quiet=quiet) as advance,
    ):
        found = _each(opened, count, _Search(stated), listed, advance)
    asked: list[Row] = []
    if rate_per_s is not None:
        with (
            open_executor(executor, workers=workers) as (opened, count),
            bar(f"at {rate_per_s:g}/s", total=len(found), quiet=quiet) as advance,
        ):
            at = _At(stated, rate_per_s)
            asked = [row for rows in _each(opened, count, at, found, advance) for row in rows]
    return Searched(scenario, stated, found, rate_per_s, asked)


def _each(
    executor: Executor,
    workers: int,
    work: Callable[[Any], Any],
    items: Sequence[Any],
    advance: Callable[[float], object],
) -> list[Any]:
    """Return what comes of each item, in their order."""
    places = list(range(len(items)))
    done: dict[int, Any] = {}
    numbered = _Numbered(work, tuple(items))
    for place, result in completed(executor, workers, numbered, places):
        done[place] = result
        advance(1)
    return [done[place] for place in places]


@dataclass(frozen=True, slots=True)
class _Numbered:
    """Work on the item of a number, so that results can be put in order."""

    work: Callable[[Any], Any]
    items: Sequence[Any]

    def __call__(self, place: int) -> Any:
        return self.work(self.items[place])


def _require_latency(scenario: Scenario, latency: str) -> None:
    percentiles = (scenario.variants or (scenario,))[0].report.percentiles
    names = [name for name in metric_names(percentiles) if name.endswith("_ms")]
    if latency not in names:
        close = nearest(latency, names)
        way_out = f"did you mean {close}?" if close else "for example ttft_p99_ms or e2e_p50_ms"
        file = str(scenario.file or scenario.name)
        raise InputError.one(file, "capacity.latency", "expected a latency", latency, way_out)


# -- one candidate -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Search:
    """The search over rates of one candidate; a value, so that it can be sent to a process."""

    stated: Capacity

    def __call__(self, candidate: Candidate) -> Found:
        rows: dict[float, Row] = {}

        def holds(rate_per_s: float) -> bool:
            rows[rate_per_s] = play(candidate, rate_per_s, self.stated)
            return bool(rows[rate_per_s]["holds"])

        low, high = _ends(candidate, self.stated, holds)
        if low is not None and high is not None:
            low, high = narrowed(low, high, 1 + self.stated.tolerance, holds)
        return Found(candidate, [rows[rate] for rate in sorted(rows)], low, high)


def _ends(
    candidate: Candidate, stated: Capacity, holds: Callable[[float], bool]
) -> tuple[float | None, float | None]:
    """Return a rate that holds and a higher one that does not; None for one that was not found."""
    if stated.rate_range_per_s is not None:
        lowest, highest = stated.rate_range_per_s
        low = lowest if holds(lowest) else None
        if low is None:
            return None, lowest
        return (highest, None) if holds(highest) else (low, highest)
    rate = own_rate_per_s(candidate.scenario.workload)
    if holds(rate):
        for _ in range(DOUBLINGS):
            if not holds(2 * rate):
                return rate, 2 * rate
            rate *= 2
        return rate, None
    for _ in range(DOUBLINGS):
        if holds(rate / 2):
            return rate / 2, rate
        rate /= 2
    return None, rate


@dataclass(frozen=True, slots=True)
class _At:
    """One candidate at the rate that is asked for, and the number of replicas that it takes."""

    stated: Capacity
    rate_per_s: float

    def __call__(self, found: Found) -> list[Row]:
        candidate = found.candidate
        if self.stated.replicas or candidate.scenario.deployment.kind != "pipeline":
            return [play(candidate, self.rate_per_s, self.stated)]
        return list(self._numbers_of_replicas(found))

    def _numbers_of_replicas(self, found: Found) -> Iterator[Row]:
        """Yield the smallest number of replicas that holds, and one fewer, which does not.

        A replica holds about its share of what the candidate holds; from there
        the number is counted up or down, each one played.
        """
        own, base = found.candidate.replicas, found.candidate.scenario
        if not found.holds_per_s:
            yield play(found.candidate, self.rate_per_s, self.stated)
            return
        step = step_of(base)
        count = math.ceil(self.rate_per_s * own / found.holds_per_s / step) * step
        most = 2 * count + 2 * step
        rows: dict[int, Row] = {}

        def holds(replicas: int) -> bool:
            rows[replicas] = play(sized(base, replicas), self.rate_per_s, self.stated)
            return bool(rows[replicas]["holds"])

        if holds(count):
            while count > step and holds(count - step):
                count -= step
        else:
            while count < most and not holds(count + step):
                count += step
        yield from (rows[replicas] for replicas in sorted(rows))


def play(candidate: Candidate, rate_per_s: float, stated: Capacity) -> Row:
    """Play a candidate at a rate and return what the views say of it."""
    scenario = at_rate(candidate.scenario, rate_per_s, stated.least_span_s)
    lower, chunks = points.play(scenario)
    manifest = points.manifest(scenario, lower)
    manifest = {
        **manifest,
        "load": {"rate_per_s": rate_per_s},
        "scenario": {**manifest["scenario"], "capacity": {"attainment": stated.attainment}},
    }
    columns = [*SHOWN, stated.latency]
    kept = [chunk for chunk in chunks if chunk.table in points.TABLES]
    with InMemory([(manifest, kept)], tables=points.TABLES, kept=("request_latency",)) as opened:
        (outcome,) = opened.frame("FROM load_outcome").to_dicts()
        latencies = metrics(opened, (SPREAD,))[0]
    outcome.pop("run")
    return {
        "candidate": candidate.label,
        "variant": candidate.scenario.variant,
        "replicas": candidate.replicas,
        "machines": candidate.machines,
        "devices": candidate.devices,
        **outcome,
        **{column: latencies.get(column) for column in columns},
    }


def _cost(row: Row) -> float:
    return math.inf if row["usd_per_hour"] is None else float(row["usd_per_hour"])
