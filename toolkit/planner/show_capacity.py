"""What a search for capacity found, on a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from toolkit.planner.capacity import Searched
from toolkit.planner.capacity_words import (
    answer,
    bracket,
    cautions,
    latency_words,
    met,
    shown_latency,
    size,
)
from toolkit.report import words

__all__ = ["plot", "show", "summary"]

Row = Mapping[str, Any]


def summary(searched: Searched) -> dict[str, Any]:
    """Return everything as one object."""
    return {
        "name": searched.scenario.name,
        "attainment": searched.stated.attainment,
        "tolerance": searched.stated.tolerance,
        "latency": searched.stated.latency,
        "capacity": [
            {
                "candidate": each.candidate.label,
                "variant": each.candidate.scenario.variant,
                "replicas": each.candidate.replicas,
                "machines": each.candidate.machines,
                "holds_per_s": each.holds_per_s,
                "fails_per_s": each.fails_per_s,
                "monotone": each.monotone,
            }
            for each in searched.found
        ],
        "rate_per_s": searched.rate_per_s,
        "smallest": searched.smallest,
        "cheapest": searched.cheapest,
        "front": searched.front,
        "played": searched.rows,
    }


def show(searched: Searched, console: Console, *, every: bool = False) -> None:
    """Print the answer, what each candidate holds, what holds the asked load, and the front."""
    scenario = searched.scenario
    console.print()
    console.print(Text(scenario.title, style="bold"))
    if scenario.question:
        console.print(Text(scenario.question, style="italic"))
    console.print()
    for sentence in answer(searched):
        console.print(Text(sentence))
    console.print()
    console.print(_capacities(searched))
    if searched.rate_per_s is not None:
        console.print(_at_the_rate(searched))
    if picture := plot(searched):
        console.print(Text(_plot_title(searched), "bold"))
        for line in picture:
            console.print(Text(line, no_wrap=True))
        console.print()
    if every:
        console.print(_played(searched))
    for note in cautions(searched):
        console.print(Text(note, style="dim"))


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold")
    for other in others:
        table.add_column(other, justify="right")
    return table


def _capacities(searched: Searched) -> Table:
    latency = latency_words(searched.stated.latency)
    table = _table("capacity", "holds, /s", "fails, /s", "size", "per 1000", "met", latency)
    for each in searched.found:
        row = each.at_capacity
        table.add_row(
            each.candidate.label,
            bracket(each),
            words.amount(each.fails_per_s),
            size({"machines": each.candidate.machines, "devices": each.candidate.devices}),
            "" if row is None else words.dollars(row["usd_per_1000_requests"]),
            "" if row is None else met(row),
            "" if row is None else shown_latency(row, searched.stated.latency),
        )
    return table


def _at_the_rate(searched: Searched) -> Table:
    latency = latency_words(searched.stated.latency)
    heading = f"at {words.amount(searched.rate_per_s)} requests/s"
    table = _table(heading, "holds", "met", "load", "per hour", "per 1000", latency)
    table.columns[0].min_width = len("  smallest, cheapest")
    marks = {id(searched.smallest): "smallest", id(searched.cheapest): "cheapest"}
    for row in searched.at_rate:
        mark = marks.get(id(row), "")
        if row is searched.smallest and row is searched.cheapest:
            mark = "smallest, cheapest"
        table.add_row(
            Text(str(row["candidate"]), "bold green" if mark else "").append(
                f"\n  {mark}" if mark else "", "green"
            ),
            "yes" if row["holds"] else "no",
            met(row),
            row["verdict"] or "–",
            words.dollars(row["usd_per_hour"]),
            words.dollars(row["usd_per_1000_requests"]),
            shown_latency(row, searched.stated.latency),
        )
    return table


def _played(searched: Searched) -> Padding:
    latency = latency_words(searched.stated.latency)
    table = _table("every rate played", "per s", "holds", "met", "load", "requests", latency)
    last = ""
    for row in searched.rows:
        table.add_row(
            "" if row["candidate"] == last else str(row["candidate"]),
            words.amount(row["rate_per_s"]),
            "yes" if row["holds"] else "no",
            met(row),
            row["verdict"] or "–",
            f"{row['requests']:,}",
            shown_latency(row, searched.stated.latency),
        )
        last = str(row["candidate"])
    return Padding(table, (0, 0, 1, 0))


# -- the front as a picture ----------------------------------------------------------------------

WIDE, HIGH = 60, 12
"""Cells of the picture."""

FEWEST = 2
"""Points that make a picture."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _plot_title(searched: Searched) -> str:
    rate = searched.rate_per_s
    where = "of every rate that holds" if rate is None else f"at {words.amount(rate)} requests/s"
    return f"{latency_words(searched.stated.latency)} against cost, {where}"


def plot(searched: Searched) -> list[str]:
    """Return cost (across, by ratio) against latency (up) in letters, a letter per candidate.

    Capitals are the front: nothing is cheaper and as fast.  Nothing is drawn of a single point.
    """
    latency = searched.stated.latency
    rows = searched.at_rate if searched.rate_per_s is not None else searched.rows
    shown = [
        row
        for row in rows
        if row["holds"] and row["usd_per_1000_requests"] and row[latency] is not None
    ]
    if len(shown) < FEWEST:
        return []
    labels = list(dict.fromkeys(str(row["candidate"]) for row in shown))
    letter = {label: _LETTERS[at % len(_LETTERS)] for at, label in enumerate(labels)}
    costs = [math.log(row["usd_per_1000_requests"]) for row in shown]
    top = max(row[latency] for row in shown) or 1.0
    cells = [[" "] * WIDE for _ in range(HIGH)]
    on_front = {id(row) for row in searched.front}
    for row, cost in sorted(zip(shown, costs, strict=True), key=lambda it: id(it[0]) in on_front):
        across = _cell(cost, min(costs), max(costs), WIDE)
        up = _cell(row[latency], 0.0, top, HIGH)
        mark = letter[str(row["candidate"])]
        cells[HIGH - 1 - up][across] = mark.upper() if id(row) in on_front else mark
    return [*_framed(cells, top / 1e3, shown), *_key(letter)]


def _cell(value: float, low: float, high: float, cells: int) -> int:
    return round((value - low) / (high - low) * (cells - 1)) if high > low else 0


def _framed(cells: Sequence[Sequence[str]], top_s: float, rows: Sequence[Row]) -> list[str]:
    names = {0: words.seconds(top_s), HIGH - 1: "0"}
    lines = [f"{names.get(at, ''):>9} │{''.join(line).rstrip()}" for at, line in enumerate(cells)]
    dollars = [row["usd_per_1000_requests"] for row in rows]
    low, high = words.dollars(min(dollars)), words.dollars(max(dollars))
    end = f"{high} per 1000 requests" if high != low else "per 1000 requests"
    return [
        *lines,
        f"{'':>9} └{'─' * WIDE}",
        f"{'':>11}{low}{end.rjust(WIDE - len(low))}",
    ]


def _key(letter: Mapping[str, str]) -> list[str]:
    said = [f"{mark} {label}" for label, mark in letter.items()]
    lines = [""]
    for each in said:
        if len(lines[-1]) + len(each) > 66:
            lines.append("")
        lines[-1] += f"{each}   "
    return [
        *(f"{'':>11}{line.rstrip()}" for line in lines),
        f"{'':>11}capitals: none is cheaper and faster",
    ]
