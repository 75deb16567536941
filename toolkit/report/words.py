"""Numbers in the words of a reader: three digits, a unit that fits, the same along a row."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "CAUSES",
    "LEDGER",
    "PARTS",
    "amount",
    "bytes_of",
    "in_unit",
    "listed",
    "ratio",
    "seconds",
    "share",
]

_SPACE = "\N{NO-BREAK SPACE}"
"""Between a number and its unit."""

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))

PARTS = {
    "prefill": "prefill",
    "decode": "decode",
    "mixed": "prefill and decode at once",
    "other": "other work",
    "lost": "lost to failures",
    "bubble": "bubble",
    "waiting": "waiting for requests",
    "finished": "nothing left to do",
    "idle": "idle, unexplained",
}
"""Parts of a stage's time, in the order in which they are shown."""

LEDGER = {
    "prefill": "prefill",
    "decode": "decode",
    "mixed": "mixed steps",
    "other": "other work",
    "swapping": "swapping",
    "imbalance": "imbalance",
    "early_stop": "early stop",
    "fill": "fill",
    "drain": "drain",
    "starved": "waiting for prompts",
    "head_of_line": "behind one not ready",
    "bubble": "bubble",
    "blocked_transfer": "waiting for a link",
    "blocked_kv": "no KV room",
    "lost": "work lost to failures",
    "failed": "failed",
    "starting": "starting",
    "waiting": "empty pipeline",
    "no_work": "no work",
    "unexplained": "idle, unexplained",
}
"""Causes of the time ledger, in the order in which they are shown."""

CAUSES = {
    "work": "own work",
    "transfer": "KV cache on its way",
    "link_busy": "link busy",
    "behind_prompt": "behind another prompt",
    "behind_batch": "behind another decode",
    "head_of_line": "behind a batch not ready",
    "kv_room": "no room for its KV cache",
    "packing": "microbatch filling up",
    "padding": "padding",
    "preempted": "preempted",
    "swapped": "KV cache swapped out",
    "failed": "machine failed",
    "recovering": "recovery from a failure",
    "queue": "queue",
    "unsplit": "not split further",
}
"""Parts of a request's time, in the order in which they are shown."""


TRANSFERS = {
    "kv_transfer": "KV cache",
    "activation": "activations",
    "replica": "KV replicas",
    "restore": "KV cache brought back",
    "swap_in": "KV caches swapped in",
    "swap_out": "KV caches swapped out",
}
"""What moves over links."""


def amount(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` significant digits or all before the point; a dash for none.

    >>> amount(2484.13), amount(0.0123456), amount(12.0), amount(None)
    ('2,484', '0.0123', '12.0', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{places}f}" if abs(value) >= 1e-6 else f"{value:.{digits - 1}e}"


def in_unit(values: Sequence[float | None], unit: str) -> tuple[list[str], str]:
    """Return the numbers of a row as text, and the unit they share.

    >>> in_unit([0.25, 0.5], "s")
    (['250', '500'], 'ms')
    """
    if unit == "USD":
        return [dollars(value).removeprefix("$") for value in values], unit
    if unit != "s":
        return [amount(value) for value in values], unit
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    scale, name = next((each for each in _SECONDS if largest >= each[0]), _SECONDS[0])
    return [amount(None if value is None else value / scale) for value in values], name


def seconds(value: float | None) -> str:
    r"""Return a duration in the unit that suits it.

    >>> seconds(0.0469), seconds(1328.4)
    ('46.9\xa0ms', '1,328\xa0s')
    """
    (text,), unit = in_unit([value], "s")
    return "–" if value is None else f"{text}{_SPACE}{unit}"


def dollars(value: float | None) -> str:
    """Return an amount of money: to the cent, or three digits where cents say nothing.

    >>> dollars(18.9), dollars(0.00432), dollars(None)
    ('$18.90', '$0.00432', '–')
    """
    if value is None:
        return "–"
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${amount(value)}"


def bytes_of(value: float | None) -> str:
    r"""Return a size in decimal units.

    >>> bytes_of(75_500_000_000)
    '75.5\xa0GB'
    """
    if value is None:
        return "–"
    scale, unit = next((each for each in _BYTES if abs(value) >= each[0]), _BYTES[-1])
    return f"{amount(value / scale)}{_SPACE}{unit}"


def share(value: float | None) -> str:
    r"""Return a share as percent, to a tenth below ten.

    >>> share(0.4237), share(0.037), share(None)
    ('42\xa0%', '3.7\xa0%', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    percent = 100 * value
    digits = 0 if abs(percent) >= 9.95 or percent == 0 else 1
    return f"{percent:.{digits}f}{_SPACE}%"


def ratio(value: float | None) -> str:
    """Return how many times another figure one is.

    >>> ratio(0.5347), ratio(1.0)
    ('×0.53', '×1.00')
    """
    return "" if value is None or not math.isfinite(value) else f"×{value:.2f}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
