"""A run in another tool's definitions, on a terminal and for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolkit.errors import InputError
from toolkit.report import words

if TYPE_CHECKING:
    from toolkit.analytics import Run

__all__ = ["figures", "show"]

SHOWN = ("mean", "p50", "p90", "p99", "max")
"""Statistics that 80 columns have room for."""


def figures(run: Run, dialect: str) -> list[dict[str, Any]]:
    """Return every figure of a run as the tool `dialect` defines it: rows of its view.

    Raises:
        InputError: the trace, an imported one, knows no requests.
    """
    ((requests,),) = run.sql("SELECT count(*) FROM requests").fetchall()
    if not requests:
        raise InputError.one(str(run.path), "", "expected a trace that knows requests", "none")
    query = f"SELECT metric, statistic, unit, value FROM dialect_{dialect}"
    rows: list[dict[str, Any]] = run.frame(query).to_dicts()
    return rows


def show(runs: Sequence[Run], dialect: str, tool: str, console: Console) -> None:
    """Print the runs in the definitions of `tool`, one after the other."""
    for run in runs:
        rows = figures(run, dialect)
        console.print(Text(f"\n{run.name}, as {tool} defines it", "bold"))
        plain = [row for row in rows if row["statistic"] == "value"]
        console.print(_plain(plain))
        spread = [row for row in rows if row["statistic"] != "value"]
        if spread:
            console.print(_spread(spread))
    everything = f'toolkit sql TRACE "FROM dialect_{dialect}"'
    note = f"every statistic: {everything}\nwhat differs: toolkit terms"
    console.print(Text(note, "dim"))


def _plain(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("", "")
    for row in rows:
        table.add_row(f"{row['metric']}, {row['unit']}", _number(row["value"], row["unit"]))
    return table


def _number(value: float | None, unit: str) -> str:
    """Return a count whole, anything else to three digits."""
    whole = value is not None and unit in {"requests", "samples", "tokens", "yes = 1"}
    return f"{value:,.0f}" if whole else words.amount(value)


def _spread(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("", *SHOWN)
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        found.setdefault((row["metric"], row["unit"]), {})[row["statistic"]] = row["value"]
    for (metric, unit), values in found.items():
        cells = (words.amount(values.get(statistic)) for statistic in SHOWN)
        table.add_row(f"{metric}, {unit}", *cells)
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        show_header=any(columns),
    )
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
