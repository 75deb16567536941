"""A scenario with ``[sweep]`` from its points to its results, report and the winners' traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import analytics, runs
from toolkit.errors import InputError
from toolkit.planner import points
from toolkit.planner.executors import SerialExecutor, completed, open_executor
from toolkit.planner.ledger import Ledger, key_of
from toolkit.planner.points import Answer, Task
from toolkit.planner.results import Results, collect, goal_of
from toolkit.planner.sweep_report import write_report
from toolkit.progress import bar
from toolkit.scenario.model import Scenario
from toolkit.trace.store import locked

if TYPE_CHECKING:
    from toolkit.analytics import Run
    from toolkit.scenario.points import Point, Sweep

__all__ = ["Swept", "check", "sweep"]


@dataclass(frozen=True, slots=True)
class Swept:
    """A finished sweep: its results, the folder that holds them, and the traces made of points."""

    results: Results
    folder: Path
    traces: Mapping[str, Run]


def check(scenario: Scenario) -> str:
    """Return what is to be said of a sweep before it is run.

    Raises:
        InputError: what is to win is no metric.
    """
    stated = _stated(scenario)
    goal_of(scenario)
    unfit = sum(point.status != "fits" for point in stated.points)
    names = f" in families {', '.join(stated.families)}" if stated.families[0] else ""
    return f"{len(stated.points)} points{names}; {unfit} do not fit"


def sweep(
    scenario: Scenario,
    out: Path | str = ".",
    *,
    report: bool = True,
    quiet: bool = True,
    executor: str = "processes",
    workers: int | None = None,
    address: str | None = None,
    trace_points: Sequence[int] = (),
) -> Swept:
    """Play every point of a sweep, and write ``out/reports/<scenario>``.

    It holds ``results.parquet`` (one row per point), the winners and, with
    `report`, the page with its figures.  The winner of each family over all,
    and the points of `trace_points`, are then run as scenarios of their own,
    with the trace that the scenario asks for.  If this is stopped, the next
    call goes on where it was; the results are the same bytes, whoever
    computed them.

    `executor` is "serial", "processes" (`workers` of them, else one per core)
    or "dask", a cluster at `address`.

    Raises:
        InputError: the scenario has no sweep, the goal or `trace_points` name
            what is not there, `out` cannot be written, or another process is
            at the same sweep.
    """
    stated = _stated(scenario)
    goal_of(scenario)
    out = Path(out)
    by_number = {point.number: point for point in stated.points}
    for number in trace_points:
        _require_point(by_number, number)
    folder = out.absolute() / "reports" / scenario.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        way_out = "choose another folder with --out"
        expected = "expected a folder that can be written"
        got = error.strerror or str(error)
        raise InputError.one(str(folder), "", expected, got, way_out) from error
    with locked(folder, wait_s=0):
        ledger = Ledger(folder.with_name(f".{folder.name}.sweep"))
        with open_executor(executor, workers=workers, address=address) as (opened, count):
            answers = _answers(stated.points, ledger, opened, count, scenario.name, quiet=quiet)
            results = collect(scenario, answers)
            chosen = _to_trace(results, by_number, trace_points)
            # Traces are written here: a cluster's workers may have another disk.
            beside = opened if executor == "processes" else SerialExecutor()
            under_way = {name: beside.submit(_trace, point, out) for name, point in chosen.items()}
            with bar(f"report and traces of {scenario.name}", quiet=quiet):
                write_report(scenario, results, folder, page=report)
                written = {name: future.result() for name, future in under_way.items()}
        ledger.close()
    return Swept(results, folder, {name: analytics.open(path) for name, path in written.items()})


def _answers(
    listed: Sequence[Point],
    ledger: Ledger,
    executor: Executor,
    workers: int,
    name: str,
    *,
    quiet: bool,
) -> dict[int, Answer]:
    """Return the answer of every point that fits, by its number; equal points are played once."""
    keys = {point.number: key_of(point.digest) for point in listed if point.status == "fits"}
    tasks: dict[str, Task] = {}
    for point in listed:
        if point.number in keys:
            tasks.setdefault(keys[point.number], Task(keys[point.number], point.scenario))
    known = ledger.known(tasks)
    left = [task for key, task in tasks.items() if key not in known]
    work = {task.key: task.stage_events for task in tasks.values()}
    with bar(f"sweeping {name}", total=sum(work.values()), quiet=quiet) as advance:
        advance(sum(work[key] for key in known))
        for batch, found in completed(executor, workers, points.answer, _in_batches(left, workers)):
            ledger.add(found)
            known |= {answer.key: answer for answer in found}
            advance(sum(work[task.key] for task in batch))
    return {number: known[key] for number, key in keys.items()}


def _in_batches(left: Sequence[Task], workers: int) -> list[Sequence[Task]]:
    """Return batches, the largest first: the last to end is then a small one."""
    found = list(points.batches(left, at_least=4 * workers if workers > 1 else 1))
    return sorted(found, key=lambda batch: -sum(task.stage_events for task in batch))


def _to_trace(
    results: Results, by_number: Mapping[int, Point], trace_points: Sequence[int]
) -> dict[str, Scenario]:
    """Return what to run in full, by the variant it becomes: winners, and points asked for."""
    chosen: dict[str, int] = {}
    for winner in results.winners():
        if not winner.group and winner.row is not None:
            chosen[winner.family or "best"] = winner.row["point"]
    chosen |= {f"point-{number}": number for number in trace_points}
    points = {name: by_number[number].scenario for name, number in chosen.items()}
    return {
        name: replace(point, variant=name, document={**point.document, "variant": name})
        for name, point in points.items()
    }


def _trace(point: Scenario, out: Path) -> Path:
    """Run one point with the trace its scenario asks for; return the run's folder."""
    run = runs.run(point, out, report=False)
    assert not isinstance(run, dict)
    return run.path


def _stated(scenario: Scenario) -> Sweep:
    if scenario.sweep is None:
        file = str(scenario.file or scenario.name)
        raise InputError.one(file, "sweep", "expected a scenario with [sweep]")
    return scenario.sweep


def _require_point(by_number: Mapping[int, Any], number: int) -> None:
    point = by_number.get(number)
    if point is None:
        expected = f"expected the number of a point, 0 to {len(by_number) - 1}"
        raise InputError.one("--trace-points", "", expected, str(number))
    if point.status != "fits":
        got = f"{number}: {point.reason}"
        raise InputError.one("--trace-points", "", "expected a point that can be played", got)
