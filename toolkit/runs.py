"""From a checked scenario to a run on disk: simulate, store, draw, open, report."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import assertions
from toolkit.costs.bounds import Bound, bounds, check
from toolkit.costs.memory import fit, kv_room
from toolkit.costs.timing import outside_table
from toolkit.errors import InputError
from toolkit.progress import bar
from toolkit.scenario.model import RooflineTiming, Scenario
from toolkit.scenario.replicating import replicates

if TYPE_CHECKING:
    from toolkit.analytics import Run
    from toolkit.trace.columns import Chunk
    from toolkit.workload import Requests

__all__ = ["compile_loops", "run", "within_bounds", "write_report"]

VERSIONED = ("duckdb", "numba", "numpy", "polars", "pyarrow")
"""Packages on whose versions the bytes of a run depend."""


def run(
    scenario: Scenario,
    out: Path | str = ".",
    *,
    report: bool = True,
    quiet: bool = True,
    executor: str = "processes",
    workers: int | None = None,
) -> Run | dict[str, Run]:
    """Simulate a scenario, write its trace and report, and return the opened run.

    A scenario with variants gives a dict of runs by the name of the variant,
    in the file's order, and one report with all of them side by side.  Of a
    scenario with replications the first is returned; the others are traces
    beside it, played by `executor` ("serial" or "processes", `workers` of
    them), and reports say what all of them come to.  Traces
    go to ``out/traces/<run>``, the report to ``out/reports/<scenario>``; what
    stands there under the same name is replaced once the new one is complete.
    Unless `quiet`, whatever takes more than a second shows a bar on stderr.
    What came of ``[[assert]]`` is in the report; a miss raises nothing here
    (`toolkit.assertions.outcomes` tells it).

    Raises:
        InputError: the scenario cannot be simulated, an assertion not
            answered, or `out` not written.
        FaultError: the simulation broke an invariant of its own.
    """
    if scenario.sweep is not None:
        file = str(scenario.file or scenario.name)
        way_out = "call toolkit.sweep for all its points"
        raise InputError.one(file, "sweep", "expected a scenario without one", "", way_out)
    assertions.require_answerable(scenario)
    out = Path(out)
    parts = scenario.variants or (scenario,)
    _run_replications(parts, out, scenario, (executor, workers), quiet=quiet)
    opened = {
        part.variant or part.name: _run_one(part, out, scenario.title, quiet=quiet)
        for part in parts
    }
    if report:
        with bar(f"report of {scenario.name}", quiet=quiet):
            write_report(list(opened.values()), out / "reports" / _folder_of_report(scenario))
    return opened if scenario.variants else next(iter(opened.values()))


def write_report(runs: Sequence[Run], folder: Path | None = None) -> Path:
    """Write the report of opened runs; return its folder.

    Where none is named it stands beside the traces: ``reports/<scenario>``
    next to ``traces/``, or ``<run>-and-<run>`` for runs of several scenarios.
    """
    from toolkit import report

    if folder is None:
        names = list(dict.fromkeys(str(run.manifest["name"]) for run in runs))
        name = runs[0].name if len(runs) == 1 else "-and-".join(names)
        folder = runs[0].path.parent.parent / "reports" / name
    report.write(runs, folder, outcomes=assertions.outcomes(runs))
    return folder


def _folder_of_report(scenario: Scenario) -> str:
    return scenario.name if scenario.variants else scenario.run_name


def _run_replications(
    parts: Sequence[Scenario],
    out: Path,
    scenario: Scenario,
    executor: tuple[str, int | None],
    *,
    quiet: bool,
) -> None:
    """Play every replication of every part after the first, several at a time."""
    from toolkit.planner.executors import completed, open_executor

    jobs = [
        _Replication(each, out / "traces" / _folder_of(part, number), scenario.title, part, number)
        for part in parts
        for number, each in enumerate(replicates(part), 1)
        if number > 1
    ]
    if not jobs:
        return
    kind, workers = executor
    kind = kind if kind == "processes" else "serial"  # a cluster's workers have disks of their own
    title = f"replications of {scenario.name}"
    with (
        open_executor(kind, workers=workers) as (opened, count),
        bar(title, total=len(jobs), quiet=quiet) as advance,
    ):
        for _ in completed(opened, count, _replicate, jobs):
            advance(1)


@dataclass(frozen=True, slots=True)
class _Replication:
    """One replication to play, and where; `of` is the scenario whose first has the own seed."""

    scenario: Scenario
    folder: Path
    study: str
    of: Scenario
    number: int


def _replicate(job: _Replication) -> None:
    from toolkit.simulator import simulate
    from toolkit.trace import store
    from toolkit.workload import build

    requests = build(job.scenario)
    lower = bounds(job.scenario, requests)
    about = {"study": job.study, **_replication(job.of, job.number)}
    manifest = {**_manifest(job.scenario, requests, lower), **about}
    store.write(job.folder, within_bounds(lower, simulate(job.scenario, requests)), manifest)


def _folder_of(scenario: Scenario, number: int) -> str:
    return scenario.run_name if number == 1 else f"{scenario.run_name}-r{number}"


def _replication(scenario: Scenario, number: int) -> dict[str, Any]:
    """Return what the manifest of a replication says of the others, {} where there are none."""
    stated = scenario.replications
    if stated is None:
        return {}
    said: dict[str, Any] = {
        "of": _digest(scenario),
        "number": number,
        "count": stated.count,
        "confidence": stated.confidence,
    }
    if number == 1:
        said["beside"] = [_folder_of(scenario, other) for other in range(2, stated.count + 1)]
    return {"replication": said}


def _run_one(scenario: Scenario, out: Path, study: str, *, quiet: bool) -> Run:
    from toolkit import analytics
    from toolkit.simulator import simulate
    from toolkit.trace import store
    from toolkit.trace.render import render_default
    from toolkit.workload import build, shared_tokens

    requests = build(scenario)
    folder = out / "traces" / scenario.run_name
    lower = bounds(scenario, requests, shared_tokens(scenario, requests))
    about = {"study": study, **_replication(scenario, 1)}
    manifest = {**_manifest(scenario, requests, lower), **about}

    def draw(written: store.Store) -> None:
        words = render_default(written) if scenario.trace.renderings else ""
        if words:
            manifest["facts"]["notes"].append(words)

    with bar(f"simulating {scenario.run_name}", total=None, quiet=quiet) as advance:
        chunks = _counted(simulate(scenario, requests), advance)
        store.write(folder, within_bounds(lower, chunks), manifest, finish=draw)
    return analytics.open(folder)


def _counted(chunks: Iterator[Chunk], advance: Any) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        advance(len(chunk))


def within_bounds(lower: Sequence[Bound], chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Pass chunks on; a run that ends before its bounds allow is a fault, and leaves no trace."""
    for chunk in chunks:
        if chunk.table == "requests":
            check(lower, int(np.max(chunk.columns["finish_ns"], initial=0)))
        yield chunk


def _manifest(scenario: Scenario, requests: Requests, lower: Sequence[Bound]) -> dict[str, Any]:
    """Return what a trace says about itself: all that made it, nothing of when or where."""
    return {
        "name": scenario.name,
        "title": scenario.title,
        "question": scenario.question,
        "variant": scenario.variant,
        "discipline": scenario.discipline,
        "level": scenario.trace.level,
        "seed": scenario.workload.seed,
        "scenario": scenario.document,
        "scenario_sha256": _digest(scenario),
        "workload_sha256": requests.sha256(),
        "versions": _versions(),
        "bounds": [asdict(bound) for bound in lower],
        "facts": _facts(scenario, requests),
    }


def _digest(scenario: Scenario) -> str:
    document = json.dumps(scenario.document, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(document.encode()).hexdigest()


def _versions() -> Mapping[str, str]:
    from importlib.metadata import version

    from toolkit import __version__

    return {"toolkit": __version__, **{package: version(package) for package in VERSIONED}}


def _facts(scenario: Scenario, requests: Requests) -> dict[str, Any]:
    """Return what a reader of the report must know about the ground its numbers stand on."""
    return {
        "link_model": _link_model(scenario),
        "memory": _memory(scenario),
        "outside_table": _outside(scenario, requests),
        "notes": list(_notes(scenario, requests)),
    }


def _link_model(scenario: Scenario) -> str:
    if scenario.discipline == "dejavu" or scenario.deployment.kind == "pipeline":
        return "none"
    return scenario.hardware.links


def _memory(scenario: Scenario) -> list[str]:
    """Return the arithmetic of memory, each line once."""
    if scenario.deployment.engine is not None:
        return [kv_room(scenario).words]
    return list(dict.fromkeys(stage.words for stage in fit(scenario)))


def _outside(scenario: Scenario, requests: Requests) -> list[str]:
    """Return why steps lie outside the points their times were measured at, each reason once."""
    size = scenario.deployment.microbatch_size
    longest = int((requests.prompt_tokens + requests.output_tokens).max())
    reasons = {
        outside_table(scenario.timing, size, int(tokens), 0)
        for tokens in (requests.prompt_tokens.min(), requests.prompt_tokens.max())
    } | {outside_table(scenario.timing, size, 0, longest)}
    return sorted(reasons - {""})


def _notes(scenario: Scenario, requests: Requests) -> Iterator[str]:
    if requests.dropped:
        yield (
            f"{requests.dropped} entries are left out: the published programs cut the list into "
            f"{scenario.deployment.data_parallel} equal parts and drop the rest."
        )
    if scenario.deployment.engine is not None:
        yield (
            "Continuous batching: a step's span holds all its requests, and the time the host "
            "spends on it."
        )
        if isinstance(scenario.timing, RooflineTiming):
            yield f"Step times by the roofline, not measured; figures: {scenario.timing.source}."
    elif scenario.discipline == "event" and scenario.workload.entry == "request":
        yield (
            "Requests of a microbatch are padded to its longest prompt, and it decodes until its "
            "longest answer is done."
        )


SMALL: Mapping[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "hardware": {"machines": 2},
    "workload": {"entry": "microbatch", "lengths": {"kind": "pairs", "pairs": [[8, 4]] * 4}},
    "timing": {"kind": "fixed", "prompt_ms": 2.0, "token_ms": 1.0, "cache_ms": 1.0},
}
"""A scenario that takes no time to play; what it lacks are a deployment and a discipline."""


_PIPELINES: Mapping[str, Any] = {"kind": "pipeline"}
_SPLIT: Mapping[str, Any] = {"kind": "disaggregated", "prompt_machines": 1, "token_machines": 1}
_ENGINES: Mapping[str, Any] = {"kind": "pipeline", "batching": "continuous", "data_parallel": 2}

_LOOPS: tuple[tuple[Mapping[str, Any], ...], ...] = (
    (
        {
            "deployment": _ENGINES,
            "workload": {**SMALL["workload"], "entry": "request"},
        },
    ),
    tuple(
        {"simulation": {"discipline": discipline}, "deployment": deployment}
        for discipline in ("event", "dejavu")
        for deployment in (_PIPELINES, _SPLIT)
    ),
)
"""What together needs every loop: engines, whose loop takes as long as all others, and the rest."""


def compile_loops() -> None:
    """Compile every loop of simulation and rendering, so that the first run need not wait.

    Numba keeps the compiled code beside the package (or in NUMBA_CACHE_DIR);
    where it is there already this takes two seconds.  Engines are compiled in a
    process of their own beside the others.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(_LOOPS), os.cpu_count() or 1), context) as pool:
        deque(pool.map(_play_small, range(len(_LOOPS))), maxlen=0)


def _play_small(which: int) -> None:
    """Play some of the smallest scenarios, which compiles the loops that they need."""
    from tempfile import TemporaryDirectory

    from toolkit.scenario import load
    from toolkit.simulator import simulate

    with TemporaryDirectory(prefix="toolkit-") as folder:
        for parts in _LOOPS[which]:
            run(load({**SMALL, **parts}), folder, report=False)
            deque(simulate(load({**SMALL, **parts}), accounts=False), maxlen=0)
