"""Arguments to an exit code: a thin layer over the Python interface.

Results go to stdout, progress and complaints to stderr.  Exit codes: 0 done,
1 a stated target was missed, 2 the input was wrong, 3 a fault of ours, 130
interrupted.

Only light modules are imported here.  Each command imports what it needs, so
that `toolkit --help` is not kept waiting by a compiler and two database
engines.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NoReturn

from toolkit import __version__, seed
from toolkit.errors import FaultError, InputError, Problem, ToolkitError

if TYPE_CHECKING:
    from toolkit.analytics import Run
    from toolkit.catalog import Entry
    from toolkit.scenario import Scenario
    from toolkit.trace.selection import Selection

__all__ = ["COMMANDS", "main"]

INTERRUPTED = 130
QUERY_INTERRUPTED = "Query interrupted"
"""What DuckDB makes of Ctrl-C in the middle of a query: a RuntimeError of these words."""


class Parser(argparse.ArgumentParser):
    """An argument parser that answers in the words of every other wrong input."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print together with the usage."""
        raise InputError.one(self.prog, "", message, way_out=f"see `{self.prog} --help`")

    def options(self) -> list[str]:
        """Return every long option the parser knows."""
        return sorted(set(re.findall(r"--\w[\w-]*", self.format_help())))


@dataclass(frozen=True, slots=True)
class Command:
    """A verb: what it is for, what it takes, what it does."""

    about: str
    arguments: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except ToolkitError as error:
        return _complain(str(error), error.exit_code)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _interrupted()
    except OSError as error:
        where = str(error.filename or "toolkit")
        return _complain(str(InputError.one(where, "", error.strerror or str(error))), 2)
    except Exception as error:  # whatever else: ours, and nobody wants the traceback unasked
        interrupted = str(error) == QUERY_INTERRUPTED
        code = _interrupted() if interrupted else _complain(_fault(error), FaultError.exit_code)
    return code


def _interrupted() -> int:
    return _complain("interrupted; nothing half-written is left", INTERRUPTED)


def _dispatch(argv: Sequence[str]) -> int:
    """Parse the arguments, answer mistyped ones, execute the command."""
    parser = _parser()
    _refuse_unknown_command(next((word for word in argv if not word.startswith("-")), None))
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        _refuse_unknown_arguments(arguments.parser if "parser" in arguments else parser, unknown)
    if arguments.command is None:
        parser.print_help()
        return 0
    execute: Callable[[argparse.Namespace], int] = arguments.execute
    return execute(arguments)


def _parser() -> Parser:
    parser = Parser(
        prog="toolkit",
        description="Rehearse an LLM-serving deployment before paying for it.",
        epilog="Exit codes: 0 done, 1 a target was missed, 2 wrong input, 3 a fault of ours.",
    )
    parser.add_argument("--version", action="version", version=f"toolkit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = command.about
        sub = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        sub.set_defaults(execute=command.execute, parser=sub)
        command.arguments(sub)
    return parser


def _refuse_unknown_command(word: str | None) -> None:
    if word is not None and word not in COMMANDS:
        raise InputError.one(
            "toolkit", word, "unknown command", way_out=_nearest(word, COMMANDS, "toolkit --help")
        )


def _refuse_unknown_arguments(parser: Parser, unknown: Sequence[str]) -> NoReturn:
    problems = [
        Problem(
            word,
            "unknown option" if word.startswith("-") else "one argument too many",
            way_out=_nearest(word.split("=")[0], parser.options(), f"{parser.prog} --help"),
        )
        for word in unknown
    ]
    raise InputError(parser.prog, problems)


def _nearest(word: str, known: Mapping[str, Any] | Sequence[str], help_command: str) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"see `{help_command}`"


def _complain(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


def _fault(error: Exception) -> str:
    """Say what to report about an error nobody foresaw; with TOOLKIT_DEBUG, all of it."""
    if os.environ.get("TOOLKIT_DEBUG"):
        return "".join(traceback.format_exception(error)).rstrip()
    return (
        f"toolkit {__version__}: a fault of ours: {type(error).__name__}: {error}\n"
        "  please report it with the command, its input and the output of the same command\n"
        "  with TOOLKIT_DEBUG=1 set"
    )


# -- check, explain ------------------------------------------------------------------------------


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="+", metavar="SCENARIO|TRACE", help="a .toml file or a folder of a run"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def _check(arguments: argparse.Namespace) -> int:
    from toolkit import tables

    verdicts = [_verdict(Path(path), arguments.set) for path in arguments.path]
    if arguments.json:
        tables.print_json(verdicts)
    else:
        for verdict in verdicts:
            good = verdict["exit_code"] == 0
            print(verdict["words"], file=sys.stdout if good else sys.stderr)
    return max(int(verdict["exit_code"]) for verdict in verdicts)


def _verdict(path: Path, sets: Sequence[str]) -> dict[str, Any]:
    """Return what is to be said of a scenario or trace, and the exit code that goes with it."""
    try:
        words = _check_trace(path) if _is_trace(path) else _check_scenario(path, sets)
    except ToolkitError as error:
        return {"path": str(path), "exit_code": error.exit_code, "words": str(error)}
    return {"path": str(path), "exit_code": 0, "words": words}


def _is_trace(path: Path) -> bool:
    return path.is_dir() or path.name == "manifest.json"


def _check_scenario(path: Path, sets: Sequence[str]) -> str:
    import toolkit

    scenario = toolkit.load(path, sets=sets)
    if scenario.sweep is not None:
        from toolkit.planner.sweep import check

        return f"{path}: good; {check(scenario)}"
    variants = ", ".join(str(variant.variant) for variant in scenario.variants)
    return f"{path}: good" + (f"; variants {variants}" if variants else "")


def _check_trace(path: Path) -> str:
    import toolkit

    broken = toolkit.open(path).check()
    if broken:
        lines = [f"{path}: {len(broken)} broken invariant{'s'[: len(broken) > 1]}"]
        lines += [f"  {each.name}: {len(each.rows)} rows\n      {each.doc}" for each in broken]
        raise FaultError("\n".join(lines))
    return f"{path}: every invariant holds"


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", metavar="SCENARIO", help="a .toml file")
    parser.add_argument("key", metavar="KEY", help="a key path such as hardware.machines")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--variant", metavar="NAME", help="of this variant")
    parser.add_argument("--json", action="store_true", help="print an object")


def _explain(arguments: argparse.Namespace) -> int:
    from toolkit import scenario, tables

    explanation = scenario.explain(
        arguments.scenario, arguments.key, sets=arguments.set, variant=arguments.variant
    )
    if arguments.json:
        tables.print_json(explanation.as_dict())
    else:
        print(explanation)
    return 0


# -- run, report ---------------------------------------------------------------------------------


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scenario",
        nargs="+",
        metavar="SCENARIO",
        help="a .toml file, or the manifest.json of a run to repeat",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--variant", metavar="NAME", help="only this variant")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="put traces/ and reports/ here"
    )
    parser.add_argument(
        "--level", metavar="LEVEL", help="how much of the trace to keep: full, steps, requests"
    )
    parser.add_argument("--no-report", action="store_true", help="write traces only")
    parser.add_argument("--json", action="store_true", help="print a list of objects, one per run")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    sweep = parser.add_argument_group("where the scenario has a [sweep]")
    sweep.add_argument(
        "--executor",
        default="processes",
        metavar="KIND",
        help="serial, processes (default) or dask; the results are the same bytes",
    )
    sweep.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each core)"
    )
    sweep.add_argument("--address", metavar="URL", help="of the Dask scheduler, tcp://HOST:PORT")
    sweep.add_argument(
        "--trace-points",
        default="",
        metavar="N,M",
        help="keep the traces of these points besides the winners'",
    )


def _run(arguments: argparse.Namespace) -> int:
    import toolkit

    sets = [*arguments.set, *([f'trace.level="{arguments.level}"'] if arguments.level else [])]
    scenarios = [
        toolkit.load(_document(Path(source)), sets=sets, variant=arguments.variant)
        for source in arguments.scenario
    ]
    runs: list[Run] = []
    swept: list[dict[str, Any]] = []
    for scenario in scenarios:
        if scenario.sweep is not None:
            swept.append(_run_sweep(scenario, arguments))
            continue
        done = toolkit.run(scenario, out=arguments.out, report=False, quiet=arguments.quiet)
        these = list(done.values()) if isinstance(done, Mapping) else [done]
        folder = None if arguments.no_report else _write_report(these, arguments)
        if not arguments.json:
            _show(these, folder)
        runs += these
    if arguments.json:
        _show_json(runs, swept)
    return 0


def _run_sweep(scenario: Scenario, arguments: argparse.Namespace) -> dict[str, Any]:
    """Play every point of a sweep; print what won, or return it as an object for `--json`."""
    import toolkit
    from toolkit.planner import show_sweep

    points = [part.strip() for part in arguments.trace_points.split(",") if part.strip()]
    if wrong := [part for part in points if not part.isdecimal()]:
        expected = "expected numbers of points, such as 3,17"
        raise InputError.one("--trace-points", "", expected, wrong[0])
    done = toolkit.sweep(
        scenario,
        arguments.out,
        report=not arguments.no_report,
        quiet=arguments.quiet,
        executor=arguments.executor,
        workers=arguments.workers,
        address=arguments.address,
        trace_points=[int(part) for part in points],
    )
    if not arguments.json:
        sys.stdout.writelines(show_sweep.terminal(done, page=not arguments.no_report))
    return show_sweep.summary(done)


def _document(source: Path) -> Path | Mapping[str, Any]:
    """Return a scenario's file, or the scenario inside the manifest of a run."""
    if not _is_trace(source):
        return source
    from toolkit.trace.store import Store

    document: Mapping[str, Any] = Store(source).manifest["scenario"]
    return document


def _write_report(runs: Sequence[Run], arguments: argparse.Namespace) -> Path:
    from toolkit.progress import bar
    from toolkit.runs import write_report

    with bar("writing the report", quiet=arguments.quiet):
        return write_report(runs)


def _show(runs: Sequence[Run], folder: Path | None) -> None:
    from rich.console import Console

    from toolkit import report

    report.terminal(runs, Console())
    if folder is not None:
        print(f"report: {folder / 'report.html'}")


def _show_json(runs: Sequence[Run], more: Sequence[Mapping[str, Any]] = ()) -> None:
    from toolkit import report, tables

    tables.print_json([*(report.summary(run) for run in runs), *more])


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "trace", nargs="+", type=Path, metavar="TRACE", help="folders of runs, side by side"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="default: reports/NAME beside traces/"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, one per run")


def _report(arguments: argparse.Namespace) -> int:
    import toolkit
    from toolkit.runs import write_report

    runs = [toolkit.open(path) for path in arguments.trace]
    folder = write_report(runs, arguments.output)
    if arguments.json:
        _show_json(runs)
    else:
        _show(runs, folder)
    return 0


# -- sql, export, view ---------------------------------------------------------------------------


def _sql_arguments(parser: argparse.ArgumentParser) -> None:
    from toolkit.tables import FORMATS

    parser.add_argument(
        "words",
        nargs="*",
        metavar="TRACE... QUERY",
        help="folders of runs, side by side, then one SQL query (- reads it from stdin)",
    )
    parser.add_argument("--list", action="store_true", help="list the views and what each says")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="--format json"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write here, not on stdout"
    )


def _sql(arguments: argparse.Namespace) -> int:
    if arguments.list:
        return _list_views(arguments.format)
    from toolkit import analytics, tables

    *traces, query = arguments.words or [""]
    if not traces:
        raise InputError.one(
            "toolkit sql",
            "",
            "expected a trace and a query, or --list",
            way_out='for example `toolkit sql traces/RUN "SELECT * FROM run_summary"`',
        )
    query = sys.stdin.read() if query == "-" else query
    tables.write(analytics.open(traces).sql(query), arguments.format, arguments.output)
    return 0


def _list_views(form: str) -> int:
    from toolkit import analytics, tables

    if form == "json":
        tables.print_json([asdict(view) for view in analytics.library()])
        return 0
    for layer in analytics.LAYERS:
        print(layer)
        for view in analytics.library():
            if view.layer == layer:
                print(f"  {view.name}")
                print(fill(view.text, 80, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return 0


def _selection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--window", metavar="START:END", help="only this stretch, such as 10s:20s")
    parser.add_argument("--machines", metavar="N,N-N", help="only these machines, by number")
    parser.add_argument("--requests", metavar="N,N-N", help="only these requests, by number")
    parser.add_argument(
        "--max-spans",
        type=int,
        default=2_000_000,
        metavar="N",
        help="refuse more (default: 2 million)",
    )


def _selection(arguments: argparse.Namespace) -> Selection:
    from toolkit.trace.selection import Selection

    return Selection.parse(arguments.window, arguments.machines, arguments.requests)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", type=Path, metavar="TRACE", help="folder of a run")
    parser.add_argument("--to", choices=EXPORTS, required=True, help="which rendering")
    _selection_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: RUN.pftrace, RUN.json.gz"
    )


EXPORTS = {"perfetto": ".pftrace", "chrome": ".json.gz"}
"""Each rendering, and how its files are called."""


def _export(arguments: argparse.Namespace) -> int:
    from toolkit.trace import chrome, perfetto
    from toolkit.trace.store import Store

    store = Store(arguments.trace)
    file = arguments.output or Path(f"{store.folder.resolve().name}{EXPORTS[arguments.to]}")
    render = {"perfetto": perfetto.render, "chrome": chrome.render}[arguments.to]
    picture = render(store, file, _selection(arguments), max_spans=arguments.max_spans)
    print(f"{file}: {picture.spans} spans")
    return 0


def _view_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "trace", type=Path, metavar="TRACE", help="folder of a run, or a trace file"
    )
    _selection_arguments(parser)
    parser.add_argument("--coarse", action="store_true", help="merge what is shorter than a pixel")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="default: any free one")


def _view(arguments: argparse.Namespace) -> int:
    from toolkit.trace.view import view

    view(
        arguments.trace,
        _selection(arguments),
        port=arguments.port,
        browser=not arguments.no_browser,
        max_spans=arguments.max_spans,
        coarse=arguments.coarse,
    )
    return 0


# -- plan ----------------------------------------------------------------------------------------


def _plan_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", metavar="SCENARIO", help="a .toml file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--variant", metavar="NAME", help="of this variant (default: the first)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that simulate (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print an object with every option")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _plan(arguments: argparse.Namespace) -> int:
    import toolkit
    from toolkit import tables
    from toolkit.planner.plan import plan

    if arguments.workers < 1:
        expected = "expected at least one process"
        raise InputError.one("toolkit plan", "--workers", expected, f"{arguments.workers}")
    scenario = toolkit.load(arguments.scenario, sets=arguments.set, variant=arguments.variant)
    answer = plan(scenario, workers=arguments.workers, quiet=arguments.quiet)
    if arguments.json:
        tables.print_json(answer.as_dict())
    else:
        from rich.console import Console

        from toolkit.planner.show_plan import show

        show(answer, Console())
    return 0


# -- catalog -------------------------------------------------------------------------------------


def _compile_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _compile(arguments: argparse.Namespace) -> int:
    from toolkit.progress import bar
    from toolkit.runs import compile_loops

    with bar("compiling", quiet=arguments.quiet):
        compile_loops()
    return 0


def _catalog_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="every figure of this entry, with its source"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def _catalog(arguments: argparse.Namespace) -> int:
    from toolkit import catalog, tables

    if arguments.name is None:
        columns = ("kind", "name", "confidence")
        rows = [(entry.kind, entry.name, entry.default.confidence) for entry in catalog.entries()]
        if arguments.json:
            tables.print_json([dict(zip(columns, row, strict=True)) for row in rows])
        else:
            sys.stdout.writelines(tables.aligned(columns, rows))
    elif arguments.json:
        tables.print_json([asdict(row) for row in catalog.describe(arguments.name)])
    else:
        _print_entry(catalog.find(arguments.name))
    return 0


def _print_entry(entry: Entry) -> None:
    """Print an entry's figures, and below them the sources they refer to by number."""
    from toolkit import tables

    rows = list(entry.rows())
    sources = list(dict.fromkeys((row.confidence, row.source) for row in rows))
    print(f"{entry.name} ({entry.kind})")
    sys.stdout.writelines(
        tables.aligned(
            ("figure", "value", "unit", "source"),
            [
                (
                    row.key,
                    str(row.value),
                    row.unit,
                    f"[{1 + sources.index((row.confidence, row.source))}]",
                )
                for row in rows
            ],
        )
    )
    for number, (confidence, source) in enumerate(sources, start=1):
        print(f"[{number}] {confidence}: {source}")


COMMANDS: Mapping[str, Command] = {
    "check": Command("validate scenarios, or the invariants of traces", _check_arguments, _check),
    "explain": Command("say where a value of a scenario comes from", _explain_arguments, _explain),
    "run": Command("simulate scenarios, write their traces, report", _run_arguments, _run),
    "sql": Command("query a trace", _sql_arguments, _sql),
    "report": Command("make the report again from traces alone", _report_arguments, _report),
    "export": Command("write a trace, or a part of it, for a viewer", _export_arguments, _export),
    "view": Command("open a trace in the Perfetto UI, offline", _view_arguments, _view),
    "plan": Command(
        "split the machines by formula, and simulate every layout", _plan_arguments, _plan
    ),
    "compile": Command(
        "compile the loops of simulation and rendering now, not at first use",
        _compile_arguments,
        _compile,
    ),
    "catalog": Command(
        "list models, machines, devices, links, with their sources", _catalog_arguments, _catalog
    ),
    "dejavu": Command("the published simulators' own flags", seed.add_arguments, seed.execute),
}
"""Every verb, in the order `--help` lists them."""


if __name__ == "__main__":
    sys.exit(main())
