"""`toolkit workload`: what will arrive, before anything is simulated."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.preview import Preview
    from toolkit.report.arriving import Arriving
    from toolkit.scenario.model import Scenario

__all__ = ["ABOUT", "add_arguments", "execute"]

ABOUT = "show what will arrive: counts, lengths, rate over time, burstiness, tenants"

FIGURES = (".svg", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("scenario", metavar="SCENARIO", help="a .toml file, or a run's manifest")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    parser.add_argument("--variant", metavar="NAME", help="of this variant (default: the first)")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="draw it: FILE.svg or FILE.png"
    )
    parser.add_argument("--json", action="store_true", help="print an object")


def execute(arguments: argparse.Namespace) -> int:
    """Build the requests, ask the views, show."""
    import toolkit
    from toolkit import tables
    from toolkit.preview import preview
    from toolkit.report.arriving import find

    out: Path | None = arguments.out
    if out is not None and out.suffix not in FIGURES:
        raise InputError.one("toolkit workload", "-o", "expected FILE.svg or FILE.png", str(out))
    scenario = toolkit.load(arguments.scenario, sets=arguments.set, variant=arguments.variant)
    title = _title(scenario)
    scenario = scenario.variants[0] if scenario.variants else scenario
    seen = preview(scenario)
    with seen.run:
        arriving = find(seen.run, seen.tenants)
    if out is not None:
        _draw(arriving, out)
    if arguments.json:
        tables.print_json({"name": scenario.run_name, **arriving.as_dict()})
        return 0
    from rich.console import Console

    from toolkit.report.arriving_terminal import show

    notes = [
        *_notes(seen),
        *_of_clients(scenario),
        *([f"figure: {out}"] if out is not None else []),
    ]
    show(arriving, title, notes, Console())
    return 0


def _title(scenario: Scenario) -> str:
    """Return what is shown: the scenario, or its first variant where others are asked otherwise."""
    if not scenario.variants:
        return scenario.title
    first, *others = scenario.variants
    if all(each.workload == first.workload for each in others):
        return scenario.title
    return f"{scenario.title}: {first.title} (--variant shows another)"


def _notes(seen: Preview) -> Iterator[str]:
    """Yield what the views cannot know, a sentence each."""
    if seen.out_of_order:
        yield f"{seen.out_of_order:,} rows of the file were out of order; they are sorted by time."
    if seen.sessions:
        yield f"The requests belong to {seen.sessions:,} sessions."
    if seen.blocks:
        again = 1 - seen.distinct_blocks / seen.blocks
        yield (
            f"{seen.blocks:,} prefix blocks of {seen.block_tokens} tokens; "
            f"{again:.0%} of them have been there before."
        )


def _of_clients(scenario: Scenario) -> Iterator[str]:
    """Yield what clients are going to do in answer to the run, a sentence each."""
    workload = scenario.workload
    arrivals, sessions, clients = workload.arrivals, workload.sessions, workload.clients
    if sessions is not None:
        yield f"A turn is sent {_after(sessions.think_s, sessions.think)} the answer to the last."
    if arrivals.kind == "closed_loop":
        what = "session" if sessions is not None else "request"
        yield (
            f"{arrivals.concurrency:,} clients, each with one {what} at a time: it begins the next "
            f"{_after(arrivals.think_s, arrivals.think)} the end of the last."
        )
    if clients is None:
        return
    if clients.cancel_share:
        yield f"{clients.cancel_share:.0%} of the requests are cancelled if they take too long."
    for limit_s, what in ((clients.first_token_s, "a first token"), (clients.whole_s, "an end")):
        if limit_s is not None:
            yield f"A request without {what} after {limit_s:,.6g} s has timed out."
    if clients.max_retries:
        times = "once" if clients.max_retries == 1 else f"up to {clients.max_retries} times"
        yield f"What timed out or was refused is sent again {times}, in rows of its own."


def _after(think_s: float, think: str) -> str:
    if not think_s:
        return "right after"
    return f"{think_s:,.6g} s {'on average ' if think == 'exponential' else ''}after"


def _draw(arriving: Arriving, out: Path) -> None:
    from toolkit.report import style
    from toolkit.report.arriving_figures import arrivals
    from toolkit.trace.output import replacing

    with style.look():
        drawn = arrivals(arriving, style.WIDE)
        picture = style.png(drawn) if out.suffix == ".png" else style.svg(drawn, "w").encode()
    with replacing(out) as file:
        file.write(picture)
