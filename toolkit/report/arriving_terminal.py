"""What is going to arrive, on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from toolkit.report import words
from toolkit.report.arriving import PERCENTILES, Arriving, sparkline

__all__ = ["show"]

_QUANTITIES = {
    "prompt_tokens": ("prompt, tokens", "mean_prompt_tokens"),
    "output_tokens": ("answer, tokens", "mean_output_tokens"),
    "gap_s": ("gap between arrivals", "mean_gap_s"),
}


def show(arriving: Arriving, title: str, notes: Iterable[str], console: Console) -> None:
    """Print the answer, the rate over time, lengths and gaps, and who sends."""
    console.print()
    console.print(Text(title, style="bold"))
    console.print()
    console.print(Text(arriving.answer()))
    if arriving.whole["rate_per_s"] is not None:
        console.print()
        for line in _over_time(arriving):
            console.print(Text(line))
    console.print()
    console.print(Padding(_distributions(arriving), (0, 0, 0, 1)))
    if arriving.dispersion:
        console.print()
        for line in _dispersion(arriving):
            console.print(Text(line))
    if arriving.tenants:
        console.print()
        console.print(Padding(_tenants(arriving), (0, 0, 0, 1)))
    for note in (*arriving.warnings(), *notes):
        console.print()
        console.print(Text(note, style="yellow"))


def _over_time(arriving: Arriving) -> Iterator[str]:
    rates = arriving.rates()
    width_s = arriving.until_s / len(rates)
    most = words.amount(max(rates))
    yield f" requests per second, in windows of {width_s:g} s (the last not full), at most {most}"
    yield f" {sparkline(rates)}"
    end = words.seconds(arriving.until_s)
    yield f" 0{end.rjust(max(len(rates) - 1, len(end) + 1))}"


def _distributions(arriving: Arriving) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("")
    for heading in ("mean", *("max" if at == 100 else f"p{at}" for at in PERCENTILES)):
        table.add_column(heading, justify="right")
    for quantity, (name, mean) in _QUANTITIES.items():
        amounts = arriving.quantiles(quantity)
        if amounts and arriving.whole[mean] is not None:
            shown = words.seconds if quantity == "gap_s" else words.amount
            cells = [shown(float(arriving.whole[mean]))]
            table.add_row(name, *cells, *(shown(amounts[at]) for at in PERCENTILES))
    return table


def _dispersion(arriving: Arriving) -> Iterator[str]:
    yield " variance of counts over their mean (Poisson: 1 at every width)"
    yield "   " + "   ".join(
        f"{row['window_s']} s: {row['dispersion']:.3g}"
        for row in arriving.dispersion
        if row["run"] == 0
    )


def _tenants(arriving: Arriving) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("tenant", overflow="fold")
    for heading in ("requests", "share", "per s", "CV", "prompt", "answer"):
        table.add_column(heading, justify="right")
    table.add_column("over time")
    whole = arriving.whole["requests"]
    for row in arriving.counts[1:]:
        table.add_row(
            arriving.tenants[row["run"] - 1],
            f"{row['requests']:,}",
            f"{row['requests'] / whole:.0%}",
            words.amount(row["rate_per_s"]),
            words.amount(row["gap_cv"]),
            words.amount(row["mean_prompt_tokens"]),
            words.amount(row["mean_output_tokens"]),
            sparkline(_coarser(arriving.rates(row["run"]), 15)),
        )
    return table


def _coarser(values: list[float], most: int) -> list[float]:
    """Return the means of neighbours, so many that no more than `most` are left."""
    together = -(-len(values) // most)
    parts = [values[at : at + together] for at in range(0, len(values), together)]
    return [sum(part) / len(part) for part in parts]
