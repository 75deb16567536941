"""Limits on what may change between two runs: ``e2e_p99_ms > +5%``, ``cost_usd > 12``.

A limit says when a comparison fails.  A number with a sign is about the change
from the first side, in percent or in the metric's own unit; a number without
one is about the metric itself.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import InputError, Problem

__all__ = ["Limit", "Missed", "missed", "parse", "require_known"]

_LIMIT = re.compile(
    r"\s*(?P<metric>[A-Za-z_]\w*)\s*(?P<sign><=|>=|<|>)"
    r"\s*(?P<change>[+-]?)\s*(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*(?P<percent>%?)\s*"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OTHER_UNIT = {"ms": ("s", 1e-3), "s": ("ms", 1e3)}


@dataclass(frozen=True, slots=True)
class Limit:
    """A parsed limit.  ``kind`` is ``value``, ``difference`` or ``percent``."""

    text: str
    metric: str
    sign: str
    kind: str
    number: float

    def broken_by(self, value: float, base: float) -> bool:
        """Return whether a metric of `value`, `base` on the first side, breaks the limit.

        From a base of 0 any rise is more, and any fall less, than every percentage.
        """
        found = value
        if self.kind != "value":
            found = value - base
        if self.kind == "percent":
            found = 100 * found / abs(base) if base else found * float("inf") if found else 0.0
        return _SIGNS[self.sign](found, self.number)


@dataclass(frozen=True, slots=True)
class Missed:
    """A limit that a side of the comparison breaks."""

    limit: Limit
    side: int
    base: float
    value: float


def parse(texts: Iterable[str]) -> list[Limit]:
    """Return the limits that `texts` state; raises `InputError` with every one that is none."""
    limits, problems = [], []
    for text in texts:
        found = _LIMIT.fullmatch(text)
        if found is None or (found["percent"] and not found["change"]):
            problems.append(
                Problem(
                    repr(text),
                    "expected METRIC, one of < <= > >=, and a number: with a sign (+5%, -0.2) a "
                    "change from the first run, without one the metric itself",
                    way_out='for example "e2e_p99_ms > +5%" or "cost_usd > 12"',
                )
            )
            continue
        number = float(f"{found['change']}{found['number']}")
        kind = "percent" if found["percent"] else "difference" if found["change"] else "value"
        limits.append(Limit(text.strip(), found["metric"], found["sign"], kind, number))
    if problems:
        raise InputError("--fail-if", problems)
    return limits


def require_known(limits: Sequence[Limit], metrics: Sequence[str]) -> None:
    """Raise `InputError` for limits on metrics that are not there, with the nearest that is."""
    problems = []
    for limit in limits:
        if _named(limit.metric, metrics) is None:
            near = difflib.get_close_matches(limit.metric, metrics, 1)
            hint = f"did you mean {near[0]}?" if near else "view `metrics` lists them"
            problems.append(Problem(repr(limit.text), "expected a metric", limit.metric, hint))
    if problems:
        raise InputError("--fail-if", problems)


def missed(limits: Sequence[Limit], rows: Sequence[Mapping[str, Any]]) -> list[Missed]:
    """Return the limits that sides break; `rows` are those of the view `metric_changes`.

    A metric that either side lacks breaks nothing.
    """
    found = []
    for limit in limits:
        name, factor = _named(limit.metric, [row["metric"] for row in rows]) or ("", 1.0)
        for row in rows:
            known = row["value"] is not None and row["base_value"] is not None
            if row["metric"] == name and row["side"] > 0 and known:
                value, base = row["value"] * factor, row["base_value"] * factor
                if limit.broken_by(value, base):
                    found.append(Missed(limit, row["side"], base, value))
    return found


def _named(name: str, metrics: Iterable[str]) -> tuple[str, float] | None:
    """Return the metric that a name stands for, and its factor: s and ms go for one another."""
    known = set(metrics)
    name = name.replace("_median_", "_p50_")
    if name in known:
        return name, 1.0
    stem, _, unit = name.rpartition("_")
    other, factor = _OTHER_UNIT.get(unit, ("", 1.0))
    return (f"{stem}_{other}", 1 / factor) if f"{stem}_{other}" in known else None
