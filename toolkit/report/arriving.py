"""What is going to arrive, in words, tables and numbers: from the views alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.report import words

if TYPE_CHECKING:
    import polars as pl

    from toolkit.analytics.memory import InMemory

__all__ = ["Arriving", "find", "sparkline"]

_BLOCKS = " ▁▂▃▄▅▆▇█"

PERCENTILES = (50, 90, 99, 100)

NEARLY = 0.15
"""How far a coefficient of variation may be from Poisson's 1 and still be called alike."""

TOGETHER = 0.2
"""Share of arrivals at the same instant as another from which a clock is called coarse."""

PAUSE = 100
"""Mean gaps from which the longest gap is worth a word."""


@dataclass(frozen=True, slots=True)
class Arriving:
    """The views of a workload: frames with a column ``run``, 0 for all and one for each tenant."""

    counts: list[dict[str, Any]]
    percentiles: pl.DataFrame
    windows: pl.DataFrame
    dispersion: list[dict[str, Any]]
    tenants: tuple[str, ...]

    @property
    def whole(self) -> dict[str, Any]:
        """The counts of everything."""
        return self.counts[0]

    def rates(self, run: int = 0, column: str = "requests_per_s") -> list[float]:
        """Return a rate in each window."""
        mine = self.windows.filter(self.windows["run"] == run)
        return [float(rate) for rate in mine[column].to_list()]

    @property
    def until_s(self) -> float:
        """End of the last window."""
        return float(self.windows["until_s"].max())  # type: ignore[arg-type]

    def quantiles(self, quantity: str, run: int = 0) -> list[float]:
        """Return the percentiles from 0 to 100 of a quantity, empty where there is none."""
        frame = self.percentiles
        mine = frame.filter((frame["run"] == run) & (frame["quantity"] == quantity))
        return [float(amount) for amount in mine.sort("percentile")["amount"].to_list()]

    def answer(self) -> str:
        """Return what arrives, in a sentence."""
        whole, beginning = self.whole, self.whole["arriving_requests"]
        many = f"{whole['requests']:,} request{'s' if whole['requests'] != 1 else ''}"
        if beginning < whole["requests"]:
            rest = whole["requests"] - beginning
            return (
                f"{many}, of which {rest:,} wait for answers to others; "
                f"the other {beginning:,} arrive {self._times()}."
            )
        return f"{many}{',' if whole['rate_per_s'] is None else ''} {self._times()}."

    def _times(self) -> str:
        whole = self.whole
        if whole["rate_per_s"] is None:
            return f"all at {words.seconds(whole['first_s'])}"
        return (
            f"in {words.seconds(whole['last_s'] - whole['first_s'])}, "
            f"{words.amount(whole['rate_per_s'])} per second, {self._burstiness()}"
        )

    def _burstiness(self) -> str:
        cv = self.whole["gap_cv"]
        if cv is None:
            return "all at once"
        kind = "burstier than Poisson" if cv > 1 else "more even than Poisson"
        if abs(cv - 1) <= NEARLY:
            kind = "gaps as uneven as Poisson's"
        return f"{kind} (CV of gaps {cv:.3g})"

    def warnings(self) -> Iterator[str]:
        """Yield what a reader of these numbers should know, a sentence each."""
        whole = self.whole
        together, longest, mean = (
            whole[key] for key in ("together_share", "longest_gap_s", "mean_gap_s")
        )
        if mean and together >= TOGETHER:
            step = (whole["last_s"] - whole["first_s"]) / max(whole["moments"] - 1, 1)
            tick = words.seconds(step)
            yield (
                f"{together:.0%} of the requests arrive at the same instant as the one before: "
                f"the clock ticks every {tick} or so, and gaps below that say nothing."
            )
        if mean and longest >= PAUSE * mean:
            times = f"{longest / mean:,.0f} times the mean"
            yield (
                f"The longest gap, {words.seconds(longest)}, is {times}: "
                "a pause counts in the mean rate and in the CV."
            )

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "answer": self.answer(),
            "warnings": list(self.warnings()),
            "counts": _named(self.counts, self.tenants),
            "percentiles": {
                quantity: {str(at): amounts[at] for at in (0, *PERCENTILES)}
                for quantity in ("prompt_tokens", "output_tokens", "gap_s")
                if (amounts := self.quantiles(quantity))
            },
            "dispersion": _named(self.dispersion, self.tenants),
            "windows": _named(self.windows.to_dicts(), self.tenants),
        }


def find(run: InMemory, tenants: Sequence[str] = ()) -> Arriving:
    """Ask the views about a workload."""
    return Arriving(
        run.frame("FROM workload_counts ORDER BY run").to_dicts(),
        run.frame("FROM workload_percentiles"),
        run.frame("FROM arrival_windows ORDER BY run, from_s"),
        run.frame("FROM arrival_dispersion ORDER BY run, window_s").to_dicts(),
        tuple(tenants),
    )


def _named(rows: list[dict[str, Any]], tenants: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows with the tenant in place of the run's number; null for all."""
    return [
        {"tenant": tenants[row["run"] - 1] if row["run"] else None}
        | {key: value for key, value in row.items() if key != "run"}
        for row in rows
    ]


def sparkline(values: Sequence[float]) -> str:
    """Return values from 0 up as a line of blocks; what is above 0 is never blank.

    >>> sparkline([0, 1, 4, 8])
    ' ▁▄█'
    """
    most = max(values, default=0.0) or 1.0
    steps = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[max(round(value / most * steps), 1 if value > 0 else 0)] for value in values
    )
