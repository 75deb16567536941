"""A comparison on a terminal: the keys that differ, who wins and why, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolkit.report import compared, words
from toolkit.report.compared import MINUS

if TYPE_CHECKING:
    from toolkit.analytics.comparison import Comparison, Side

__all__ = ["terminal"]

_BAR = 14
_KEYS = 12
"""Keys that are listed; the rest are counted."""


def terminal(comparison: Comparison, console: Console, *, everything: bool = False) -> None:
    """Print the comparison; with `everything` every metric and every key."""
    base, *others = comparison.sides
    console.print()
    labels = words.listed([side.label for side in others])
    console.print(Text(f"{base.label} → {labels}", style="bold"))
    for side in comparison.sides:
        if len(side.runs) > 1:
            console.print(Text(f"{side.label}: {len(side.runs)} seeds, means", "italic"))
    _keys(comparison, console, None if everything else _KEYS)
    for side in others:
        console.print()
        console.print(Text(compared.verdict(comparison, side)))
        if everything or not compared.unchanged(comparison, side):
            for line in compared.why(comparison, side):
                console.print(Text(line))
            if side.number == 1 and (told := compared.note(comparison)):
                console.print(Text(told, "dim"))
            _waterfall(comparison, side, console)
    if everything or not all(compared.unchanged(comparison, side) for side in others):
        _metrics(comparison, console, everything=everything)
    for side in others:
        _requests(comparison, side, console)
    console.print()


def _keys(comparison: Comparison, console: Console, most: int | None) -> None:
    """Print the keys of the scenario that differ."""
    if said := compared.without_scenario(comparison):
        console.print(Text(said, style="italic"))
        return
    if not comparison.changed:
        console.print(Text("The scenarios are the same.", style="italic"))
        return
    table = _table("what the scenarios say", *(side.label for side in comparison.sides))
    for key, values in compared.keys(comparison.changed, most):
        table.add_row(key, *values)
    left = len(comparison.changed) - table.row_count
    console.print(table)
    if left > 0:
        console.print(Text(f"and {left} more keys (--all)", "dim"))


def _waterfall(comparison: Comparison, side: Side, console: Console) -> None:
    """Print where the time of an average stage and the money went, and how that differs."""
    rows = comparison.rows("spending_changes", side)
    if not compared.taken_apart(rows):
        return
    money = {row["cause"]: row["difference_usd"] for row in rows}
    priced = all(value is not None for value in money.values())
    base = comparison.sides[0]
    table = _table("where a stage's time went", base.label, side.label, "change")
    if priced:
        table.add_column("USD", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for column in table.columns[1:4]:
        column.justify, column.no_wrap = "right", True
    most = max((abs(row["difference_s"]) for row in rows), default=0.0)
    totals = [0.0, 0.0, 0.0]
    for row in rows:
        values = row["base_s"], row["value_s"], row["difference_s"]
        totals = [total + value for total, value in zip(totals, values, strict=True)]
        dollars = [_dollars(money.get(row["cause"]) or 0.0)] if priced else []
        table.add_row(
            compared.cause(row["cause"]), *_seconds(values), *dollars, _bar(values[2], most)
        )
    table.add_section()
    dollars = [_dollars(sum(value or 0.0 for value in money.values()))] if priced else []
    table.add_row("makespan", *_seconds(totals), *dollars, "")
    console.print(table)


def _seconds(values: Sequence[float]) -> list[str]:
    before, after, change = values
    return [
        words.seconds(before),
        words.seconds(after),
        compared.signed(words.seconds(abs(change)), change),
    ]


def _dollars(change: float) -> str:
    return compared.signed(words.dollars(abs(change)), change)


def _bar(change: float, most: float) -> Text:
    """Return a change as a bar: less is solid and green, more is hatched and red."""
    cells = round(_BAR * abs(change) / most) if most else 0
    return Text(("█" if change < 0 else "░") * cells, "green" if change < 0 else "red")


def _metrics(comparison: Comparison, console: Console, *, everything: bool) -> None:
    base, *others = comparison.sides
    table = _table("metric", base.label)
    if len(others) == 1:
        for header in (others[0].label, "change", "ratio"):
            table.add_column(header)
        if comparison.intervals:
            table.add_column("95 % of the change")
    else:
        for side in others:
            table.add_column(side.label)
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {(row["side"], row["metric"]): row for row in comparison["metric_changes"].to_dicts()}
    names = [name for side, name in rows if side == 0]
    for name in names if everything else compared.HEADLINE:
        of_base = rows.get((0, name))
        if of_base is None or all(
            rows[it.number, name]["value"] is None for it in comparison.sides
        ):
            continue
        cells: list[str | Text] = [compared.figure(name, of_base["value"])]
        for side in others:
            cells += _cells(rows[side.number, name], alone=len(others) == 1)
        if comparison.intervals and len(others) == 1:
            cells.append(_interval(comparison, others[0], name))
        table.add_row(compared.metric_name(name), *cells)
    console.print(table)


def _cells(row: dict[str, Any], *, alone: bool) -> list[Text]:
    """Return a side's cells of one metric; better is green, worse red."""
    name, change = row["metric"], row["difference"]
    better = change and (change < 0) == (row["better"] == "less")
    style = "" if not change or row["better"] is None else "green" if better else "red"
    value, ratio = compared.figure(name, row["value"]), words.ratio(row["ratio"])
    if alone:
        return [Text(value), Text(compared.change_of(name, row), style), Text(ratio, style)]
    return [Text(f"{value} {ratio}", style)]


def _interval(comparison: Comparison, side: Side, name: str) -> str:
    found = comparison.intervals.get((side.number, name))
    if found is None:
        return ""
    low, high = (compared.change_of(name, {"difference": each}) for each in found)
    return f"{low} … {high}"


def _requests(comparison: Comparison, side: Side, console: Console) -> None:
    """Print the distribution of the differences of the same requests."""
    rows = comparison.rows("matched_changes", side)
    if not rows:
        return
    late = next(row for row in rows if row["metric"] == "e2e")
    console.print(Text(f"{side.label}: {compared.same_requests(late)}"))
    if not late["matched"] or not (late["faster"] or late["slower"]):
        return
    table = _table(f"change of a request in {side.label}", "p5", "p25", "median", "p75", "p95")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        values = [row[f"{name}_s"] for name in ("p5", "p25", "median", "p75", "p95")]
        name = {"ttft": "to its first token", "e2e": "end to end"}[row["metric"]]
        table.add_row(name, *(compared.signed(words.seconds(abs(it)), it) for it in values))
    console.print(table)
    console.print(Text(f"{MINUS} is faster", "dim"))


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
