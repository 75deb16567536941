"""Inter-arrival tables: gaps between requests, as quantiles of what was observed."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from toolkit.catalog.entries import DATA, tables
from toolkit.catalog.names import unknown

__all__ = ["InterarrivalTable", "interarrival_table"]


@dataclass(frozen=True, slots=True)
class InterarrivalTable:
    """Quantiles of the gaps between requests, shape (rows,); seconds.

    Linear interpolation of ``gap_s`` over ``quantiles`` is the inverse
    distribution function.  ``mean_s`` and ``cv`` are of the sample itself.
    """

    name: str
    quantiles: tuple[float, ...]
    gap_s: tuple[float, ...]
    mean_s: float
    cv: float
    sha256: str
    source: str
    confidence: str

    @property
    def drawn_mean_s(self) -> float:
        """Mean of what is drawn: of the straight lines between the quantiles."""
        points = zip(self.quantiles, self.gap_s, strict=True)
        return sum((b - a) * (x + y) / 2 for (a, x), (b, y) in pairwise(points))


@cache
def interarrival_table(name: str) -> InterarrivalTable:
    """Return the inter-arrival table called `name`.

    Raises:
        InputError: there is no such table; it names what comes closest.
    """
    known = tables("inter-arrival table")
    if name not in known:
        raise unknown("inter-arrival table", name, known)
    entry = known[name]
    text = (DATA / "interarrivals" / f"{name}.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return InterarrivalTable(
        name=name,
        quantiles=tuple(float(row["quantile"]) for row in rows),
        gap_s=tuple(float(row["gap_s"]) for row in rows),
        mean_s=float(entry.figures["mean_s"]),
        cv=float(entry.figures["cv"]),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        source=entry.default.source,
        confidence=entry.default.confidence,
    )
