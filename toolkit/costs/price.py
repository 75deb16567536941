"""Dollars of machine time."""

from __future__ import annotations

from toolkit.units import HOUR_S

__all__ = ["cost_usd"]


def cost_usd(seconds: float, machines: int, price_usd_per_hour: float) -> float:
    """Return the price of `machines` for `seconds`, all of them from the first to the last.

    Idle machines are paid for, and seconds are charged as such.

    Source: the published sweep, makespan / 3600 x machines x price (msr-fiddle/dejavu
    at 07e76be, scripts/simulators/simulate_all.py).

    >>> cost_usd(1800, machines=8, price_usd_per_hour=18.52)
    74.08
    """
    return seconds / HOUR_S * machines * price_usd_per_hour
