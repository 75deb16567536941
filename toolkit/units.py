"""Prefixes and base units: seconds, bytes and dollars inside, integer nanoseconds on a trace.

Files carry the unit in the key (``_gb``, ``_ms``, ``_gbit_per_s``); these
constants turn them into base units once, when a file is read.
"""

from __future__ import annotations

__all__ = [
    "BITS_PER_BYTE",
    "GB",
    "HOUR_S",
    "MS_PER_S",
    "NS_PER_MS",
    "NS_PER_S",
    "NS_PER_US",
    "TERA",
    "US_PER_MS",
    "US_PER_S",
    "ns",
]

GB = 1_000_000_000
"""Bytes in a gigabyte (decimal, as vendors and the DéjàVu scripts count)."""

TERA = 1_000_000_000_000
BITS_PER_BYTE = 8
NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
US_PER_MS = 1_000
US_PER_S = 1_000_000
MS_PER_S = 1_000
HOUR_S = 3_600


def ns(seconds: float) -> int:
    """Return a duration in whole nanoseconds, rounded once, half to even."""
    return round(seconds * NS_PER_S)
