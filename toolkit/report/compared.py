"""A comparison in words: what changed, who wins and by how much, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.report import words

if TYPE_CHECKING:
    from toolkit.analytics.comparison import Changed, Comparison, Side
    from toolkit.analytics.limits import Missed

__all__ = [
    "HEADLINE",
    "cause",
    "change_of",
    "figure",
    "hung_name",
    "keys",
    "metric_name",
    "missed",
    "note",
    "same_requests",
    "seeds",
    "signed",
    "taken_apart",
    "unchanged",
    "verdict",
    "why",
    "without_scenario",
]

Row = Mapping[str, Any]

HEADLINE = (
    "makespan_s",
    "requests_per_s",
    "output_tokens_per_s",
    "ttft_p50_ms",
    "ttft_p99_ms",
    "tpot_p50_ms",
    "e2e_p50_ms",
    "e2e_p99_ms",
    "utilisation",
    "bubble_share",
    "cost_usd",
    "usd_per_1000_requests",
    "usd_per_million_output_tokens",
)
"""Metrics that are shown first."""

MINUS = "\N{MINUS SIGN}"

_DOING = {
    "imbalance": "waiting for microbatches held up at other stages (imbalance)",
    "early_stop": "with places that ended microbatches left (early stop)",
    "fill": "in pipelines that fill up",
    "drain": "in pipelines that run empty",
    "starved": "waiting for prompts from the prompt machines",
    "blocked_transfer": "waiting for what is on a link",
    "blocked_kv": "waiting for room for KV caches",
    "head_of_line": "held for a microbatch that is not ready",
    "bubble": "in bubbles",
    "no_work": "with nothing to do",
    "waiting": "with an empty pipeline",
    "finished": "with nothing left to do",
    "swapping": "swapping KV caches",
    "lost": "at work that failures undid",
    "failed": "failed",
    "starting": "starting up",
    "unexplained": "idle for no stated reason",
    "idle": "idle for no stated reason",
}
"""What a stage did that was no work, in a sentence."""

_HUNG = {
    "prefill": "prompts that pass stage after stage",
    "decode": "decode passes",
    "activation": "hand-overs between stages",
    "kv_transfer": "KV caches on a link",
    "arrival": "requests that had not arrived",
}

_SHARES = ("utilisation", "bubble_share", "empty_share")


def metric_name(metric: str) -> str:
    """Return a metric as a table shows it: its name without the unit.

    >>> metric_name("e2e_p99_ms"), metric_name("requests_per_s")
    ('e2e p99', 'requests/s')
    """
    if metric.endswith("_per_s"):
        return metric.removesuffix("_per_s").replace("_", " ") + "/s"
    for tail in ("_ms", "_s"):
        metric = metric.removesuffix(tail)
    if metric == "cost_usd":
        return "cost"
    return metric.replace("usd_per", "USD per").replace("_", " ")


def figure(metric: str, value: float | None) -> str:
    """Return the value of a metric with its unit."""
    if value is None:
        return "–"
    if metric in _SHARES:
        return words.share(value)
    if "usd" in metric:
        return words.dollars(value) if value >= 0 else f"{MINUS}{words.dollars(-value)}"
    if metric.endswith("_ms"):
        return words.seconds(value / 1e3)
    if metric.endswith("_s") and not metric.endswith("_per_s"):
        return words.seconds(value)
    return words.amount(value)


def signed(text: str, value: float) -> str:
    """Return the words of an amount's size with the sign of `value` before them."""
    return f"{MINUS if value < 0 else '+' if value > 0 else '±'}{text}"


def change_of(metric: str, row: Row) -> str:
    """Return the difference of a metric, signed; of shares in percentage points."""
    value = row["difference"]
    if value is None:
        return "–"
    if metric in _SHARES:
        return signed(f"{words.amount(abs(100 * value))} pp", value)
    return signed(figure(metric, abs(value)), value)


def cause(name: str) -> str:
    """Return what a stage did, in words."""
    known = words.PARTS | words.LEDGER
    return known.get(name, name.replace("_", " "))


def keys(changed: Sequence[Changed], most: int | None = None) -> list[tuple[str, list[str]]]:
    """Return the keys that differ with their values as text, at most so many."""
    return [(each.key, [_value(value) for value in each.values]) for each in changed[:most]]


def _value(value: Any) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def verdict(comparison: Comparison, side: Side) -> str:
    """Say what a side does to the figures that decide: makespan, latency, bill."""
    base = comparison.sides[0]
    makespan, late, bill = (
        comparison.metric(side, name) for name in ("makespan_s", "e2e_p99_ms", "cost_usd")
    )
    if unchanged(comparison, side):
        return f"{side.label} does exactly what {base.label} does: every metric is the same."
    said = [
        f"{side.label} serves its {comparison.metric(side, 'requests')['value']:,.0f} requests in "
        f"{figure('makespan_s', makespan['value'])}, {_against(makespan, base)}"
    ]
    if late["value"] is not None:
        said.append(f"{words.share(0.99)} of them take at most {_than('e2e_p99_ms', late)}")
    if bill["value"] is not None and bill["base_value"] is not None:
        said.append(f"it costs {_than('cost_usd', bill)}")
    return f"{'; '.join(said)}.{_unequal(comparison, side)}"


def unchanged(comparison: Comparison, side: Side) -> bool:
    """Return whether every metric of a side is the first side's."""
    rows = comparison.rows("metric_changes", side)
    return all(row["value"] == row["base_value"] for row in rows)


def _against(row: Row, base: Side) -> str:
    was = figure(row["metric"], row["base_value"])
    if not row["difference"]:
        return f"as {base.label} does"
    ratio = row["ratio"]
    times = f"{1 / ratio:.2f} times as fast as" if ratio else "beside"
    return f"{times} {base.label} ({was})"


def _than(metric: str, row: Row) -> str:
    value, was = figure(metric, row["value"]), figure(metric, row["base_value"])
    if row["base_value"] is None:
        return value
    return f"{value} as before" if not row["difference"] else f"{value} instead of {was}"


def _unequal(comparison: Comparison, side: Side) -> str:
    """Warn where two sides do not serve the same work."""
    names = ("requests", "prompt_tokens", "output_tokens")
    rows = [comparison.metric(side, name) for name in names]
    unequal = [
        f"{row['value']:,.0f} {row['metric'].replace('_', ' ')} instead of {row['base_value']:,.0f}"
        for row in rows
        if row["difference"]
    ]
    return f" They do not serve the same work: {words.listed(unequal)}." if unequal else ""


def why(comparison: Comparison, side: Side) -> list[str]:
    """Say where the difference of the makespans is, and what the ends hung on.

    What the first side's hung on is said once, with the second side.
    """
    rows = comparison.rows("spending_changes", side)
    whole = sum(row["difference_s"] for row in rows)
    if not whole or not taken_apart(rows):
        return []
    base = comparison.sides[0]
    enough = [row for row in rows if abs(row["difference_s"]) >= 0.03 * abs(whole)]
    along = [row for row in enough if row["difference_s"] * whole > 0][:3]
    against = [row for row in enough if row["difference_s"] * whole < 0][:3]
    most = sorted(rows, key=lambda row: -row["base_s"])
    less, more = ("less", "more") if whole < 0 else ("more", "less")
    said = (
        f"Of its {words.seconds(base_s(rows))} a stage of {base.label} spends "
        f"{words.listed([_share_of(row) for row in most if row['base_s'] > 0][:3])}. "
        f"{side.label} spends {words.seconds(abs(whole))} {less} in all: "
        f"{words.listed([_moved(row, less) for row in along])}"
    )
    if against:
        said += f", but {words.listed([_moved(row, more) for row in against])}"
    lines = [f"{said}."]
    if all(comparison.hung_on[each.number] for each in (base, side)):
        told = (base, side) if side.number == 1 else (side,)
        lines += [_hung(comparison, each) for each in told]
    return lines


def taken_apart(rows: Sequence[Row]) -> bool:
    """Return whether both sides say what their stages did; an imported one may know no stages."""
    return any(row["base_s"] > 0 for row in rows) and any(row["value_s"] > 0 for row in rows)


def without_scenario(comparison: Comparison) -> str:
    """Say which sides are imported, and so have no scenario to be compared; '' for none."""
    imported = [side.label for side in comparison.sides if "source" in side.manifest]
    if not imported:
        return ""
    verbs = "is imported and has" if len(imported) == 1 else "are imported and have"
    return f"{words.listed(imported)} {verbs} no scenario."


def seeds(side: Side) -> str:
    """Return the seeds of a side's runs."""
    return words.listed(["–" if seed is None else str(seed) for seed in side.seeds])


def base_s(rows: Sequence[Row]) -> float:
    """Return the makespan of the base run, from its parts."""
    return float(sum(row["base_s"] for row in rows))


def _share_of(row: Row) -> str:
    return f"{words.seconds(row['base_s'])} {_doing(row['cause'])}"


def _moved(row: Row, direction: str) -> str:
    return f"{words.seconds(abs(row['difference_s']))} {direction} {_doing(row['cause'])}"


def _doing(name: str) -> str:
    return _DOING.get(name, f"in {cause(name)}")


def note(comparison: Comparison) -> str:
    """Explain the loss that most of the difference is about, to who has never heard of it."""
    for side in comparison.sides[1:]:
        for row in comparison.rows("spending_changes", side)[:2]:  # the largest come first
            if row["cause"] in _NOTES and row["difference_s"]:
                return _NOTES[row["cause"]]
    return ""


_NOTES = {
    "imbalance": "A stage works on one microbatch at a time, and a prompt takes it much longer "
    "than a token: whoever is behind a prompt reaches the next stage late, and that stage stands "
    "still meanwhile. This is imbalance, the commonest of pipeline bubbles.",
    "bubble": "A bubble is a stage that stands still while there is work in its pipeline.",
}


def hung_name(what: str) -> str:
    """Return a kind of work on a critical path in words."""
    return _HUNG.get(what, words.CAUSES.get(what, what))


def _hung(comparison: Comparison, side: Side) -> str:
    """Say what the last token of a run had to wait for, one thing after the other."""
    sums = comparison.hung_on[side.number]
    total = sum(sums.values()) or 1.0
    told = [
        f"{words.seconds(taken)} of {hung_name(what)}"
        for what, taken in sums.items()
        if taken >= 0.03 * total
    ][:3]
    return f"One after the other, the last token of {side.label} hung on {words.listed(told)}."


def same_requests(row: Row) -> str:
    """Say how the same requests fared; `row` is one of the view `matched_changes`."""
    if not row["matched"]:
        return (
            "No request is known to be the same in both (equal number, arrival and lengths, where "
            "both traces say them), so none can be compared with itself."
        )
    of = f"{row['matched']:,}"
    if row["matched"] < max(row["requests"], row["base_requests"]):
        of += f" of {max(row['requests'], row['base_requests']):,}"
    if not row["faster"] and not row["slower"]:
        return f"The same {of} requests take exactly as long in both."
    faster, slower = (words.share(row[name] / row["matched"]) for name in ("faster", "slower"))
    middle = words.seconds(abs(row["median_s"]))
    way = "faster" if row["median_s"] <= 0 else "slower"
    return (
        f"The same {of} requests, each against itself: {faster} are faster, {slower} slower; the "
        f"median is {middle} {way}."
    )


def missed(found: Missed, comparison: Comparison) -> str:
    """Say which limit a side breaks, and how."""
    side, base = comparison.sides[found.side], comparison.sides[0]
    metric = found.limit.metric
    said = f"{found.limit.text}: {side.label} has {figure(metric, found.value)}"
    if found.limit.kind == "value":
        return said
    change = found.value - found.base
    more = signed(figure(metric, abs(change)), change)
    if metric in _SHARES:
        more = signed(f"{words.amount(abs(100 * change))} pp", change)
    if found.base:
        percent = signed(f"{words.amount(abs(100 * change / found.base))} %", change)
        more = f"{more}, {percent}"
    return f"{said}, {base.label} {figure(metric, found.base)} ({more})"
