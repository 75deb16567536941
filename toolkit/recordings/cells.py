"""Columns of texts to columns of numbers, and which cells are none.

Conversion is a few vectorised passes over a column; a cell that is no number
becomes null there, and only then is looked at by itself.
"""
# ruff: noqa: PLC0415 - a data frame library that a scenario without recordings does not need

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import Problem

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MOST_TOKENS", "blocks", "moments_ns", "names", "whole"]

I8 = npt.NDArray[np.int64]

MOST_TOKENS = 10_000_000
"""Most tokens of a prompt or an answer."""

LATEST_NS = 4 * 10**18
"""Latest moment, ns: half of what 64 bits hold; a wall clock of today stands below it."""

DECIMALS = 9
"""Digits after the point that are read exactly; a number with more goes through float64."""

_DECIMAL = r"^\s*(\d{1,19})(?:\.(\d{0,9}))?\s*$"

Say = Callable[[int, str, str], Problem]
"""Row in the batch, what was expected, what was found: to a problem with its place."""


def whole(
    texts: Sequence[str], column: str, most: int, say: Say, least: int = 0
) -> tuple[I8, list[Problem]]:
    """Return a column of whole numbers from `least` to `most`, and the cells that are none.

    8.0 counts as 8, as data frames write integers beside empty cells.
    """
    import polars as pl

    given = pl.Series(texts, dtype=pl.String)
    numbers = given.str.strip_chars().cast(pl.Float64, strict=False)
    good = (numbers >= least) & (numbers <= most) & (numbers == numbers.floor())
    expected = f"expected {column}, a whole number from {least} to {most:,}"
    problems = list(_bad_cells(given, good, expected, say))
    return _filled(numbers, good).astype(np.int64), problems


def moments_ns(texts: Sequence[str], column: str, unit: str, unit_ns: int, say: Say) -> Any:
    """Return a column of moments as whole nanoseconds, and the cells that are none.

    Decimal numbers are taken digit by digit up to nine behind the point, so
    that a microsecond stays one however late it is; longer ones and those with
    an exponent are float64, rounded.  A clock (``2023-11-16 18:15:46.6805900``,
    with or without ``+00:00``) counts from 1970.
    """
    import polars as pl

    given = pl.Series(texts, dtype=pl.String)
    if unit == "clock":
        stripped = given.str.strip_chars().str.replace(r"( UTC|Z|\+00:00)$", "")
        times = stripped.str.replace("T", " ").str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False
        )
        ns = times.cast(pl.Int64)
        expected = f"expected {column}, a date and time like 2023-11-16 18:15:46.6805900"
        good = ns.is_not_null() & (ns >= 0) & (ns < LATEST_NS)
        return _filled(ns, good), list(_bad_cells(given, good, expected, say))
    parts = given.str.extract_groups(_DECIMAL).struct
    units = parts.field("1").cast(pl.Int64, strict=False)
    fraction = parts.field("2").fill_null("").str.pad_end(DECIMALS, "0").cast(pl.Int64)
    fits = units <= LATEST_NS // unit_ns
    exact = units * unit_ns + (fraction * unit_ns + 10**DECIMALS // 2) // 10**DECIMALS
    floats = given.str.strip_chars().cast(pl.Float64, strict=False) * unit_ns
    near = floats.is_finite() & (floats >= 0) & (floats < LATEST_NS)
    rounded = pl.Series(np.rint(_filled(floats, near)).astype(np.int64))
    is_exact = (units.is_not_null() & fits).fill_null(False)
    ns = exact.zip_with(is_exact, rounded)
    good = is_exact | near.fill_null(False)
    expected = f"expected {column}, a time from 0 in {unit}"
    return _filled(ns, good), list(_bad_cells(given, good, expected, say))


def names(texts: Sequence[str], column: str, say: Say) -> tuple[list[str], list[Problem]]:
    """Return a column of names, and the cells that are empty."""
    given = [text.strip() for text in texts]
    return given, [
        say(row, f"expected {column}, a name", "nothing")
        for row, text in enumerate(given)
        if not text or text == "null"
    ]


def blocks(lists: Sequence[Any], column: str, say: Say) -> tuple[list[list[int]], list[Problem]]:
    """Return a column of lists of block ids below 2^63, and the cells that are none.

    In CSV a list is numbers with spaces or commas between, with or without brackets.
    """
    found: list[list[int]] = []
    problems = []
    for row, each in enumerate(lists):
        ids = each
        if isinstance(each, str):
            ids = [
                int(part) if part.isdigit() else part
                for part in each.strip("[] ").replace(",", " ").split()
            ]
        if isinstance(ids, list) and all(type(each) is int and 0 <= each < 2**63 for each in ids):
            found.append(ids)
        else:
            got = repr(each)
            got = got if len(got) <= 60 else f"{got[:57]}..."
            problems.append(say(row, f"expected {column}, a list of whole numbers from 0", got))
            found.append([])
    return found, problems


def _filled(values: pl.Series, good: pl.Series) -> npt.NDArray[Any]:
    """Return the values as an array, with 0 where they are no good."""
    mask = good.fill_null(False)
    kept: npt.NDArray[Any] = values.zip_with(
        mask, values.clear(len(values)).fill_null(0)
    ).to_numpy()
    return kept


def _bad_cells(given: pl.Series, good: pl.Series, expected: str, say: Say) -> Iterator[Problem]:
    for row in (~good.fill_null(False)).arg_true().to_list():
        text = str(given[row])
        shown = f'"{text if len(text) <= 60 else text[:57] + "..."}"' if text else "an empty cell"
        yield say(row, expected, shown)
