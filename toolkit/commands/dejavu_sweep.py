"""The published sweep driver's and plotter's own flags: `toolkit dejavu simulate-all`, `plot`.

`simulate-all` tries every layout and batch size for 1 to 16 machines and
writes the winners as the published driver does, a CSV and a JSON beside it;
`plot` draws such a CSV.  Where the published programs crash after the work is
done, or on a family that does not fit, these answer.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import InputError, Problem
from toolkit.tables import print_json

if TYPE_CHECKING:
    from toolkit.planner.chart import Series
    from toolkit.planner.simulate_all import Study

__all__ = ["add_arguments", "read_study"]

ENTRIES = 256
"""Pairs of the trace file that the published driver keeps."""

OUTPUT_TOKENS = (2, 1000)
"""Least and most tokens of an entry; others are clamped."""

FAMILIES = ("Baseline", "Baseline_dp", "DV")


def add_arguments(kinds: Any) -> None:
    """Add `simulate-all` and `plot` to the published programs."""
    sweep = kinds.add_parser("simulate-all", help="every layout and batch size, 1 to 16 machines")
    sweep.set_defaults(parser=sweep, execute=_simulate_all)
    sweep.add_argument(
        "--trace_file", default="", help="JSON list of [prompt tokens, generated tokens]"
    )
    sweep.add_argument("--config_file", default="", help="JSON of times by model and batch size")
    sweep.add_argument(
        "--model", default="", help="OPT-13B, OPT-30B, OPT-66B, OPT-175B, BLOOM-176B"
    )
    sweep.add_argument("--mem_per_machine", type=float, default=0.0, help="GB of a machine")
    sweep.add_argument("--machine_cost", type=float, default=0.0, help="dollars per machine-hour")
    sweep.add_argument(
        "--rps", type=float, default=0.0, help="groups of requests per second (default: all at 0)"
    )
    sweep.add_argument(
        "--output_csv",
        type=Path,
        help="write the winners here, and as .json beside it",
    )
    sweep.add_argument("--json", action="store_true", help="print the winners as JSON")

    plot = kinds.add_parser("plot", help="the winners as a bar chart")
    plot.set_defaults(parser=plot, execute=_plot)
    plot.add_argument("--model", default="", help="name for the title and the files")
    plot.add_argument("--suffix", default="", help="end of the files' names")
    plot.add_argument("--input", type=Path, help="CSV that simulate-all wrote")
    plot.add_argument(
        "--plot_cost", action="store_true", help="draw cost / machine cost: machine-hours"
    )
    plot.add_argument("--machine_cost", type=float, help="dollars per machine-hour")
    plot.add_argument("--json", action="store_true", help="print the largest speed-ups as JSON")


def _simulate_all(arguments: argparse.Namespace) -> int:
    """Try everything, write the winners."""
    from toolkit.planner.simulate_all import as_csv, as_json, best, candidates
    from toolkit.progress import bar
    from toolkit.trace.output import replacing

    study = read_study(arguments)
    if arguments.output_csv is not None:  # said before the work, not after it
        _require_folder(arguments.output_csv)
    with bar(f"simulating {arguments.model}") as advance:
        found = []
        for candidate in candidates(study):
            found.append(candidate)
            advance(1)
    winners = best(found)
    table = as_csv(winners, study.machine_usd_per_hour)
    chosen = as_json(winners, study.machine_usd_per_hour)
    if arguments.output_csv is not None:
        for file, text in (
            (arguments.output_csv, table),
            (arguments.output_csv.with_suffix(".json"), chosen),
        ):
            with replacing(file) as sink:
                sink.write(text.encode())
            print(f"wrote {file}", file=sys.stderr)
    if arguments.json:
        print_json(json.loads(chosen))
    elif arguments.output_csv is None:
        sys.stdout.write(table)
    return 0


def read_study(arguments: argparse.Namespace) -> Study:
    """Return the question that the flags ask; every flag that is wrong is named.

    Raises:
        InputError: a flag is missing, a file is not what it should be, or the
            model is none of the published driver's.
    """
    import numpy as np

    from toolkit.planner.simulate_all import Study

    problems = [
        Problem(f"--{flag}", "missing")
        for flag in ("trace_file", "config_file", "model")
        if not getattr(arguments, flag)
    ]
    for flag in ("mem_per_machine", "machine_cost"):
        if not 0 < getattr(arguments, flag) < float("inf"):
            given = f"{getattr(arguments, flag):g}"
            problems.append(Problem(f"--{flag}", "expected a number above 0", given))
    if problems:
        raise InputError("toolkit dejavu simulate-all", problems)
    weights_gb, kv_gb_per_token = _published_memory(arguments.model)
    sizes, prompt_ms, token_ms = _measured(Path(arguments.config_file), arguments.model)
    return Study(
        tokens=np.clip(_generated(Path(arguments.trace_file)), *OUTPUT_TOKENS),
        batch_sizes=sizes,
        prompt_ms=prompt_ms,
        token_ms=token_ms,
        weights_gb=weights_gb,
        kv_gb_per_token=kv_gb_per_token,
        memory_gb=arguments.mem_per_machine,
        machine_usd_per_hour=arguments.machine_cost,
        groups_per_s=max(arguments.rps, 0.0),
    )


def _published_memory(model: str) -> tuple[int, float]:
    """Return weights and cache of a model as the published driver rounds them."""
    from toolkit import catalog

    known = [
        entry.name for entry in catalog.entries("model") if "dejavu_weights_gb" in entry.figures
    ]
    if model not in known:
        raise InputError.one(
            "toolkit dejavu simulate-all",
            "--model",
            f"expected one of {', '.join(sorted(known))}",
            model,
        )
    figures = catalog.model(model).figures
    return int(figures["dejavu_weights_gb"]), float(figures["dejavu_kv_gb_per_token"])


def _generated(file: Path) -> Any:
    """Return the generated tokens of the first pairs of a trace file, shape (entries,)."""
    import numpy as np

    pairs = _json(file)
    try:
        tokens = [int(pair[1]) for pair in pairs[:ENTRIES]]
    except (TypeError, ValueError, IndexError, KeyError):
        tokens = []
    if not tokens:
        raise InputError.one(
            str(file), "", "expected a list of [prompt tokens, generated tokens], not empty"
        )
    return np.array(tokens, np.int64)


def _measured(
    file: Path, model: str
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Return a model's batch sizes, ascending, with their prompt and token times in ms.

    Measurements are found by their key where the keys are the batch sizes,
    else by position, which is all the published driver looks at.
    """
    info = _json(file)
    entry = info.get(model) if isinstance(info, Mapping) else None
    if not isinstance(entry, Mapping):
        raise InputError.one(str(file), model, "expected the times of this model", "nothing")
    try:
        sizes = [int(size) for size in entry["batch_sizes"]]
        rows = {str(key): (float(row[0]), float(row[1])) for key, row in
                entry["measurements_per_bs"].items()}  # fmt: skip
    except (TypeError, ValueError, IndexError, KeyError, AttributeError):
        raise InputError.one(
            str(file), model, 'expected {"batch_sizes": [...], "measurements_per_bs": {...}}'
        ) from None
    if set(rows) == {str(size) for size in sizes}:
        times = [rows[str(size)] for size in sizes]
    else:
        times = list(rows.values())[: len(sizes)]
    if not sizes or len(times) < len(sizes) or min(sizes) < 1:
        raise InputError.one(
            str(file),
            f"{model}.measurements_per_bs",
            f"expected a [prompt_ms, token_ms] for each of {len(sizes)} batch sizes above 0",
            f"{len(times)}",
        )
    if not all(0 < value < float("inf") for pair in times for value in pair):
        raise InputError.one(
            str(file), f"{model}.measurements_per_bs", "expected times above 0 and finite"
        )
    ordered = sorted(zip(sizes, times, strict=True))
    return (
        tuple(size for size, _ in ordered),
        tuple(prompt for _, (prompt, _) in ordered),
        tuple(token for _, (_, token) in ordered),
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise InputError.one(
            str(file), "", "expected a file that can be read", error.strerror or ""
        ) from error
    except ValueError as error:
        raise InputError.one(str(file), "", "expected JSON", str(error)) from error


def _require_folder(file: Path) -> None:
    if not file.parent.is_dir():
        raise InputError.one(
            str(file), "--output_csv", "expected a folder that is there", str(file.parent)
        )


def _plot(arguments: argparse.Namespace) -> int:
    """Draw a CSV of winners as SVG and PNG; print the largest speed-ups."""
    from toolkit.planner.chart import FAMILY_NAMES, bars, speedups
    from toolkit.report.style import WIDE, look, png, svg
    from toolkit.trace.output import replacing

    program = "toolkit dejavu plot"
    if arguments.input is None:
        raise InputError.one(program, "--input", "missing", way_out="name simulate-all's CSV")
    if arguments.plot_cost and not arguments.machine_cost:
        raise InputError.one(
            program, "--machine_cost", "expected dollars per machine-hour with --plot_cost", "none"
        )
    machines, makespan, cost = _winners(arguments.input)
    unit, series = "makespan, s", makespan
    if arguments.plot_cost:
        unit = "machine-hours"
        series = {
            family: [value / arguments.machine_cost for value in values]
            for family, values in cost.items()
        }
    ratios = speedups(machines, series)
    best = ratios.get(("DV", "Baseline"))
    what = "cost" if arguments.plot_cost else "makespan"
    heading = f"{arguments.model or arguments.input.stem}: {what} by number of machines"
    if best:
        heading += f"; splitting up to {best[0]:.2f} times better than one pipeline, at {best[1]}"
    name = "_".join(part for part in (arguments.model, what, arguments.suffix) if part)
    with look():
        drawn = bars(machines, series, WIDE, heading=heading, unit=unit)
        for file in (Path(f"{name}.svg"), Path(f"{name}.png")):
            with replacing(file) as sink:
                if file.suffix == ".svg":
                    sink.write(svg(drawn, name).encode())
                else:
                    sink.write(png(drawn))
            print(f"wrote {file}", file=sys.stderr)
    if arguments.json:
        print_json(
            [
                {"faster": fast, "slower": slow, "ratio": ratio, "machines": count}
                for (fast, slow), (ratio, count) in ratios.items()
            ]
        )
        return 0
    for (fast, slow), (ratio, count) in ratios.items():
        print(
            f"{FAMILY_NAMES[fast]} over {FAMILY_NAMES[slow]}: "
            f"at most {ratio:.3f} times, at {count} machines"
        )
    return 0


def _winners(file: Path) -> tuple[Sequence[int], Series, Series]:
    """Return the machines, makespans and costs of a CSV of winners."""
    columns = [*FAMILIES, *(f"Cost_{family.lower()}" for family in FAMILIES)]
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        machines = [int(row["Num_machines"]) for row in rows]
        if not machines:
            raise ValueError("no row")
        values = {column: [float(row[column]) for row in rows] for column in columns}
    except OSError as error:
        raise InputError.one(
            str(file), "--input", "expected a file that can be read", error.strerror or ""
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError.one(
            str(file),
            "--input",
            f"expected a CSV with the columns Num_machines, {', '.join(columns)}",
            str(error),
            "`toolkit dejavu simulate-all` writes one",
        ) from error
    return (
        machines,
        {family: values[family] for family in FAMILIES},
        {family: values[f"Cost_{family.lower()}"] for family in FAMILIES},
    )
