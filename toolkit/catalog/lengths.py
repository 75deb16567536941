"""Length tables: how long prompts and answers are, as quantiles of what was observed."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache

from toolkit.catalog.entries import DATA, tables
from toolkit.catalog.names import unknown

__all__ = ["LengthTable", "length_table"]


@dataclass(frozen=True, slots=True)
class LengthTable:
    """Quantiles of prompt and output lengths, all of shape (101,), and how the two go together.

    Linear interpolation of ``prompt_tokens`` or ``output_tokens`` over
    ``quantiles`` is the inverse distribution function; a Gaussian copula of
    correlation ``copula_rho`` joins the sides.
    """

    name: str
    quantiles: tuple[float, ...]
    prompt_tokens: tuple[float, ...]
    output_tokens: tuple[float, ...]
    copula_rho: float
    sha256: str
    source: str
    confidence: str


@cache
def length_table(name: str) -> LengthTable:
    """Return the length table called `name`.

    Raises:
        InputError: there is no such table; it names what comes closest.
    """
    known = tables("length table")
    if name not in known:
        raise unknown("length table", name, known)
    entry = known[name]
    text = (DATA / "lengths" / f"{name}.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    rho = float(entry.figures["copula_rho"])
    return LengthTable(
        name=name,
        quantiles=tuple(float(row["quantile"]) for row in rows),
        prompt_tokens=tuple(float(row["prompt_tokens"]) for row in rows),
        output_tokens=tuple(float(row["output_tokens"]) for row in rows),
        copula_rho=rho,
        sha256=hashlib.sha256(f"copula_rho={rho!r}\n{text}".encode()).hexdigest(),
        source=entry.default.source,
        confidence=entry.default.confidence,
    )
