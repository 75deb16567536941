"""The published DéjàVu simulators' own flags, on this simulator.

`toolkit dejavu baseline` and `toolkit dejavu disaggregated` take what the two
published programs take, build the scenario those flags stand for, and go the
way of every scenario: load, simulate, query.  Times are milliseconds of one
microbatch on one stage; `--rps` counts groups of as many microbatches as there
are machines.  `toolkit dejavu planner` takes the published planner's flags,
`simulate-all` and `plot` (in `toolkit.commands.dejavu_sweep`) those of the sweep.

Where the published programs crash on input that makes no sense (no request,
fewer requests than machines, no time at all) there is an error; where they
crash by accident (more than 13 stages with `--do_traces`) there is the answer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from toolkit.commands import dejavu_sweep
from toolkit.errors import InputError, Problem
from toolkit.tables import print_json, rows
from toolkit.units import NS_PER_US

if TYPE_CHECKING:
    from toolkit.analytics import Run

__all__ = ["ABOUT", "add_arguments", "document", "execute", "trace_events", "write_trace"]

ABOUT = "the published simulators' own flags"

ENTRIES = 512
"""Pairs of the trace file that are used."""

OUTPUT_TOKENS = (2, 1000)
"""Least and most tokens of an entry; others are clamped."""

TRACE_FILES = {"baseline": "baseline_trace.json", "disaggregated": "dv_trace.json"}
"""Where `--do_traces` writes, in the current directory."""

PALETTE = (
    "thread_state_uninterruptible",
    "thread_state_iowait",
    "thread_state_running",
    "thread_state_runnable",
    "thread_state_unknown",
    "background_memory_dump",
    "light_memory_dump",
    "detailed_memory_dump",
    "vsync_highlight_color",
    "generic_work",
    "good",
    "bad",
    "terrible",
)
"""Chrome's names of the stages' colours, by position in the pipeline; used again after the last."""

FLAGS = {
    "hardware.machines": "--num_machines",
    "deployment.prompt_machines": "--num_prompt_machines",
    "deployment.token_machines": "--num_token_machines",
    "timing.prompt_ms": "--prompt_time",
    "timing.token_ms": "--token_time",
    "timing.cache_ms": "--cache_time",
    "workload.arrivals.groups_per_s": "--rps",
    "workload.lengths.file": "--trace_file",
    "workload.lengths.pairs": "--trace_file",
    "workload.entries": "--trace_file",
}
"""Which flag set a key of the scenario, so that errors speak of what was typed."""

PLANNER_FLAGS: Mapping[str, tuple[type, float, str]] = {
    "num_machines": (int, 1, "machines to be split"),
    "memory_per_gpu": (int, 1, "memory of a GPU, GB"),
    "num_machines_per_node": (int, 1, "GPUs of a machine"),
    "prompt_len": (int, 1, "prompt tokens"),
    "num_extra_tokens": (int, 1, "tokens generated after the prompt"),
    "fp_size": (int, 4, "bytes of a weight and of a cached value"),
    "batch_size": (int, 1, "requests of a microbatch"),
    "token_time": (int, 1, "token pass of a microbatch through all machines, whole ms"),
    "prompt_stream_overhead": (float, 1.0, "factor by which streaming stretches a prompt"),
    "prompt_time": (int, 1, "prompt pass of a microbatch through all machines, whole ms"),
    "num_layers": (int, 1, "layers of the model"),
    "attention_size": (int, 1, "values of a key in one layer"),
    "layer_size": (int, 1, "parameters of one layer"),
}
"""The published planner's flags: type, default, what each says."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two simulators and their flags."""
    kinds = parser.add_subparsers(dest="simulator", metavar="SIMULATOR", required=True)

    baseline = kinds.add_parser("baseline", help="prompts and tokens on the same machines")
    baseline.add_argument("--num_machines", type=int, default=1, help="stages of the pipeline")
    _add_common(baseline)

    disaggregated = kinds.add_parser("disaggregated", help="prompt machines, token machines")
    disaggregated.add_argument(
        "--num_prompt_machines", type=int, default=1, help="stages prompts pass"
    )
    disaggregated.add_argument(
        "--num_token_machines", type=int, default=1, help="stages tokens pass"
    )
    disaggregated.add_argument(
        "--cache_time",
        type=float,
        default=1.0,
        help="KV cache transfer of a stage, ms (default: 1)",
    )
    _add_common(disaggregated)

    planner = kinds.add_parser("planner", help="how many machines for prompts, how many for tokens")
    planner.set_defaults(parser=planner, execute=_plan)
    for flag, (type_, default, about) in PLANNER_FLAGS.items():
        planner.add_argument(
            f"--{flag}", type=type_, default=default, help=f"{about} (default: {default})"
        )
    planner.add_argument("--json", action="store_true", help="print an object")
    dejavu_sweep.add_arguments(kinds)


def _plan(arguments: argparse.Namespace) -> int:
    """Print the published planner's answer; what speaks against it goes to stderr."""
    from toolkit.planner.published_planner import Question, answer

    split = answer(Question(**{flag: getattr(arguments, flag) for flag in PLANNER_FLAGS}))
    if split.note:
        print(f"toolkit dejavu planner: {split.note}", file=sys.stderr)
    if arguments.json:
        print_json({key: getattr(split, key) for key in ("prompt_machines", "token_machines")})
    else:
        print(f"Num machines for prompt: {split.prompt_machines}")
        print(f"Num machines for token: {split.token_machines}")
    return 0


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(parser=parser)
    parser.add_argument(
        "--prompt_time", type=float, default=1.0, help="prompt pass of a stage, ms (default: 1)"
    )
    parser.add_argument(
        "--token_time", type=float, default=1.0, help="token pass of a stage, ms (default: 1)"
    )
    parser.add_argument(
        "--rps", type=float, default=0.0, help="groups of requests per second (default: all at 0)"
    )
    parser.add_argument(
        "--trace_file", default="", help="JSON list of [prompt tokens, generated tokens]"
    )
    parser.add_argument(
        "--do_traces",
        action="store_true",
        help="write the trace: here as the simulators do, and below traces/",
    )
    parser.add_argument(
        "--save-scenario",
        type=Path,
        metavar="FILE",
        help="write the scenario these flags stand for",
    )
    parser.add_argument("--json", action="store_true", help="print an object")


def execute(arguments: argparse.Namespace) -> int:
    """Simulate what the flags say, print the summary, write what was asked for."""
    import toolkit
    from toolkit import report

    program = f"toolkit dejavu {arguments.simulator}"
    if not arguments.trace_file:
        raise InputError.one(
            program, "--trace_file", "missing", way_out="name a JSON list of pairs"
        )
    described = document(arguments)
    try:
        scenario = toolkit.load(described)
    except InputError as error:
        raise InputError(program, _in_flags(error.problems, arguments)) from None
    if arguments.save_scenario:
        save(described, arguments.save_scenario)

    with _output_folder(arguments.do_traces) as folder:
        run = cast("Run", toolkit.run(scenario, out=folder, report=False))
        summary = report.summary(run)
        if arguments.do_traces:
            write_trace(run, Path(TRACE_FILES[arguments.simulator]))

    if arguments.json:
        print_json(summary)
    else:
        _print(summary)
    return 0


def document(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the scenario that the flags stand for, as it would be written in TOML."""
    split = arguments.simulator == "disaggregated"
    machines = (
        arguments.num_prompt_machines + arguments.num_token_machines
        if split
        else arguments.num_machines
    )
    deployment = {"kind": "pipeline"}
    timing = {"kind": "fixed", "prompt_ms": arguments.prompt_time, "token_ms": arguments.token_time}
    if split:
        deployment = {
            "kind": "disaggregated",
            "prompt_machines": arguments.num_prompt_machines,
            "token_machines": arguments.num_token_machines,
        }
        timing["cache_ms"] = arguments.cache_time
    return {
        "schema_version": 1,
        "name": f"dejavu-{arguments.simulator}",
        "title": f"The published {arguments.simulator} simulator",
        "simulation": {"discipline": "dejavu"},
        "hardware": {"machines": machines},
        "deployment": deployment,
        "workload": {
            "entry": "microbatch",
            "max_entries": ENTRIES,
            "arrivals": {"kind": "groups", "groups_per_s": max(arguments.rps, 0.0)},
            "lengths": {
                "kind": "pairs",
                **_pairs(Path(arguments.trace_file)),
                "min_output_tokens": OUTPUT_TOKENS[0],
                "max_output_tokens": OUTPUT_TOKENS[1],
            },
        },
        "timing": timing,
        "trace": {"level": "full" if arguments.do_traces else "requests"},
    }


def _pairs(file: Path) -> dict[str, Any]:
    """Return what names the trace file in a scenario, or its pairs where it cannot be named.

    No scenario takes a number of tokens below zero, but the published programs
    clamp it like any small one; such a list stands in the scenario itself.
    """
    try:
        pairs = [(int(prompt), int(output)) for prompt, output in json.loads(file.read_bytes())]
    except (OSError, TypeError, ValueError):  # loading the scenario tells in full
        pairs = []
    if all(output >= 0 for _, output in pairs):
        return {"file": str(file)}
    return {"pairs": [[prompt, max(output, 0)] for prompt, output in pairs[:ENTRIES]]}


def save(described: Mapping[str, Any], file: Path) -> None:
    """Write the scenario as TOML; its trace file is named as seen from the scenario's folder."""
    from toolkit import scenario
    from toolkit.trace.output import replacing

    lengths = dict(described["workload"]["lengths"])
    if "file" in lengths:
        lengths["file"] = os.path.relpath(lengths["file"], file.parent)
    workload = {**described["workload"], "lengths": lengths}
    with replacing(file) as sink:
        sink.write(scenario.dumps({**described, "workload": workload}).encode())


@contextmanager
def _output_folder(kept: bool) -> Iterator[Path]:
    """Yield where the run is written: here if its trace was asked for, else nowhere for long."""
    if kept:
        yield Path()
    else:
        with TemporaryDirectory(prefix="toolkit-") as folder:
            yield Path(folder)


def _in_flags(problems: Iterable[Problem], arguments: argparse.Namespace) -> list[Problem]:
    """Return problems of the scenario as problems of the flags that set the keys.

    The sum of two flags is not blamed beside its parts.
    """
    summed = "hardware.machines" if "num_machines" not in arguments else None
    return [
        replace(problem, where=FLAGS.get(problem.where, problem.where), file="", line=0)
        for problem in problems
        if problem.where != summed
    ]


# -- the published trace layout ------------------------------------------------------------------

PROCESSES = """
    SELECT machine AS pid, role, stage FROM machines ORDER BY machine
"""

EVENTS = """
    SELECT spans.machine AS pid, tracks.stage, spans.ts_ns, spans.dur_ns, spans.request, spans.token
    FROM spans
    JOIN tracks USING (track)
    WHERE spans.track_kind = 'stage'
    ORDER BY spans.ts_ns, pid
"""

PIPELINES = {"colocated": "", "prompt": "Prompt Pipeline, ", "token": "Token Pipeline, "}


def trace_events(run: Run) -> Iterator[str]:
    """Yield the events of a trace in the published layout, each as JSON text; times in us."""
    for pid, role, stage in rows(run.sql(PROCESSES)):
        name = json.dumps(f"{PIPELINES[role]}Stage {stage}")
        yield f'{{"name": "process_name", "ph": "M", "pid": {pid}, "args": {{"name": {name}}}}}'
    for pid, stage, ts_ns, dur_ns, request, token in rows(run.sql(EVENTS)):
        name = f"p{request}" if token is None else f"t{request},{token}"
        yield (
            f'{{"pid": {pid}, "ts": {_us(ts_ns)}, "dur": {_us(dur_ns)}, "ph": "X",'
            f' "name": "{name}", "cname": "{PALETTE[stage % len(PALETTE)]}"}}'
        )


def write_trace(run: Run, file: Path) -> None:
    """Write the bare array of events that the published programs leave, whole or not at all."""
    from toolkit.trace.output import replacing

    with replacing(file) as sink:
        before = "["
        for event in trace_events(run):
            sink.write(f"{before}{event}".encode())
            before = ",\n"
        sink.write(b"]\n")


def _us(time_ns: int) -> str:
    """Return nanoseconds as microseconds with three decimals, never through a float."""
    return f"{time_ns // NS_PER_US}.{time_ns % NS_PER_US:03d}"


def _print(summary: Mapping[str, Any]) -> None:
    """Print what the published programs print, with units."""
    median, most, least = (summary["latency_per_token_s"][key] for key in ("median", "max", "min"))
    print(f"makespan           {summary['makespan_s']:.9g} s")
    print(f"throughput         {summary['throughput_per_s']:.9g} microbatches/s")
    print(f"latency per token  {median:.9g} s median, {most:.9g} s max, {least:.9g} s min")
