"""The same sweep under other assumptions: the plain one, each study asked for, and what moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.catalog import nearest
from toolkit.errors import InputError, Problem
from toolkit.planner.executors import open_executor
from toolkit.planner.results import Results
from toolkit.planner.study_report import write_report
from toolkit.planner.sweep import Swept, sweep
from toolkit.planner.turning import Turn, probe, turning_points
from toolkit.progress import bar
from toolkit.scenario import load
from toolkit.scenario.model import Scenario
from toolkit.scenario.sweep import Study
from toolkit.scenario.toml import value_at

__all__ = ["ALL", "Studied", "studies"]

ALL = "all"
"""The name that stands for every study of a scenario."""


@dataclass(frozen=True, slots=True)
class Studied:
    """A sweep and what became of it under each study; ``folder`` holds the report.

    ``swept`` are the sweeps of studies that are one, ``turns`` the changes of
    leaders found by those that search.
    """

    plain: Swept
    swept: Mapping[str, Swept]
    turns: Mapping[str, Sequence[Turn]]
    asked: tuple[Study, ...]
    folder: Path

    def results(self) -> dict[str, Results]:
        """Return the results of every sweep, the plain one (named so) first."""
        return {"plain": self.plain.results} | {
            name: each.results for name, each in self.swept.items()
        }


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a scenario is loaded from, again and again."""

    source: str | Path | Mapping[str, Any]
    sets: tuple[str, ...] = ()
    variant: str | None = field(default=None)

    def load(self, more: Sequence[str] = (), study: str | None = None) -> Scenario:
        return load(self.source, sets=[*self.sets, *more], variant=self.variant, study=study)


def studies(
    source: str | Path | Mapping[str, Any],
    names: Sequence[str],
    out: Path | str = ".",
    *,
    sets: Sequence[str] = (),
    variant: str | None = None,
    report: bool = True,
    quiet: bool = True,
    executor: str = "processes",
    workers: int | None = None,
    address: str | None = None,
) -> Studied:
    """Play a scenario's sweep plainly and under the studies named, and set them side by side.

    Each study that is a sweep gets its own ``out/reports/<scenario>-<study>``;
    what moved between them is in ``out/reports/<scenario>-studies``.  "all"
    names every study.  The other arguments are those of `toolkit.sweep`.

    Raises:
        InputError: as for `toolkit.sweep`, or there is no such study.
    """
    origin = _Source(source, tuple(sets), variant)
    plain = origin.load()
    asked = _asked(plain, names)
    scenarios = {each.name: origin.load(study=each.name) for each in asked if not each.vary}
    own = {each.name: _own_value(plain, each) for each in asked if each.vary}
    how: dict[str, Any] = dict(executor=executor, workers=workers, address=address)
    first = sweep(plain, out, report=report, quiet=quiet, **how)
    swept = {
        name: sweep(scenario, out, report=report, quiet=quiet, **how)
        for name, scenario in scenarios.items()
    }
    turns: dict[str, Sequence[Turn]] = {}
    for study in asked:
        if study.vary:
            turns[study.name] = _search(origin, first.results, study, own[study.name], how, quiet)
    folder = first.folder.with_name(f"{first.folder.name}-studies")
    studied = Studied(first, swept, turns, asked, folder)
    write_report(plain, studied.results(), turns, asked, folder)
    return studied


def _asked(scenario: Scenario, names: Sequence[str]) -> tuple[Study, ...]:
    file = str(scenario.file or scenario.name)
    known = scenario.sweep.studies if scenario.sweep is not None else ()
    if not known:
        raise InputError.one(file, "", "expected a scenario with [[sweep.study]]", ", ".join(names))
    by_name = {each.name: each for each in known}
    problems = []
    for name in names:
        if name != ALL and name not in by_name:
            close = nearest(name, by_name)
            way_out = f"did you mean {close}?" if close else f"it has {', '.join(by_name)}, all"
            problems.append(Problem("", "expected a study of the sweep", name, way_out))
    if problems:
        raise InputError(file, problems)
    return tuple(each for each in known if ALL in names or each.name in names)


def _own_value(scenario: Scenario, study: Study) -> float:
    """Return the scenario's value of the key that a study varies.

    Raises:
        InputError: it has none, or none inside the range to be searched.
    """
    assert scenario.sweep is not None
    document = scenario.sweep.points[0].scenario.document
    value = value_at(document, tuple(study.vary.split(".")))
    low, high = study.between
    if not isinstance(value, int | float) or not low < value < high:
        file = str(scenario.file or scenario.name)
        expected = f"expected {study.vary} between {low:g} and {high:g} in the scenario itself"
        got = "nothing" if value is None else f"{value}"
        raise InputError.one(file, f'sweep.study "{study.name}"', expected, got)
    return float(value)


def _search(
    origin: _Source, results: Results, study: Study, own: float, how: Mapping[str, Any], quiet: bool
) -> Sequence[Turn]:
    chosen = {key: how[key] for key in ("workers", "address")}
    with open_executor(how["executor"], **chosen) as (executor, workers):
        ask = probe(origin.load, results, study, executor, workers)
        groups = len({str(winner.group) for winner in results.winners() if winner.group}) or 1
        with bar(f"searching {study.name}", total=2 * groups, quiet=quiet) as advance:
            return tuple(turning_points(results, study, own, ask, advance))
