"""`toolkit import`: a store out of a foreign trace."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import fill

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "make a trace of ours out of one from elsewhere"

KINDS = ("auto", "chrome", "dejavu", "vidur", "torch", "vllm", "perfetto", "table")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "file", nargs="+", type=Path, metavar="FILE", help="a trace; of PyTorch, one for each rank"
    )
    parser.add_argument(
        "--from", choices=KINDS, default="auto", dest="kind", help="kind of the file; default: auto"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where traces/NAME goes; default: ."
    )
    parser.add_argument("--name", help="name of the run; default: the file's")
    parser.add_argument(
        "--map", type=Path, metavar="RULES.toml", help="what tracks, spans and columns mean"
    )
    parser.add_argument(
        "--no-renderings", action="store_true", help="leave trace.pftrace and trace.json.gz out"
    )
    parser.add_argument("--json", action="store_true", help="print an object")


def execute(arguments: argparse.Namespace) -> int:
    """Write the store and say what is in it, and what its source lacks."""
    import toolkit
    from toolkit import tables

    run = toolkit.import_trace(
        arguments.file,
        kind=arguments.kind,
        out=arguments.out,
        name=arguments.name,
        rules=arguments.map,
        renderings=not arguments.no_renderings,
    )
    manifest = run.manifest
    rows = {table: run.stores[0].rows(table) for table in manifest["tables"]}
    trace = arguments.out / "traces" / run.name
    if arguments.json:
        said = {"trace": str(trace), "name": run.name, "rows": rows}
        tables.print_json(
            said | {key: manifest[key] for key in ("source", "level", "end_ns", "facts")}
        )
        return 0
    source, facts = manifest["source"], manifest["facts"]
    files = ", ".join(each["name"] for each in source["files"])
    print(f"{files}: {source['about']}")
    counts = ("spans", "tracks", "machines", "requests", "counters", "flows")
    print("  " + ", ".join(_counted(rows[table], table) for table in counts if rows[table]))
    for lead, key in (("lacks", "lacks"), ("note", "notes")):
        for text in facts[key]:
            print(fill(f"{lead}: {text}", 80, initial_indent="  ", subsequent_indent="    "))
    print(f"trace: {trace}")
    return 0


def _counted(rows: int, table: str) -> str:
    return f"{rows:,} {table.removesuffix('s') if rows == 1 else table}"
