"""What a search for capacity found, in sentences: the page and the terminal say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.planner.capacity import Found, Searched
from toolkit.report import words

__all__ = ["answer", "bracket", "cautions", "latency_words", "met", "shown_latency", "size"]

Row = Mapping[str, Any]

_LATENCIES = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "e2e": "E2E",
    "queueing": "queueing",
    "prefill": "prefill",
    "transfer": "KV transfer",
    "decode_wait": "wait for the first decode",
    "decode": "decode",
    "latency_per_token": "latency per token",
}


def latency_words(metric: str) -> str:
    """Return how a latency is called.

    >>> latency_words("ttft_p99_ms"), latency_words("e2e_mean_ms")
    ('TTFT, p99', 'E2E, mean')
    """
    name, _, statistic = metric.removesuffix("_ms").rpartition("_")
    if statistic.isdecimal():  # p99_9
        name, _, whole = name.rpartition("_")
        statistic = f"{whole}.{statistic}"
    statistic = "median" if statistic == "p50" else statistic
    return f"{_LATENCIES.get(name, name)}, {statistic}"


def shown_latency(row: Row, metric: str) -> str:
    """Return a latency of a row in the unit that suits it."""
    value = row[metric]
    return words.seconds(None if value is None else value / 1e3)


def met(row: Row) -> str:
    """Return which share met its limits, to a tenth of a percent: targets differ by no more."""
    return "–" if row["attainment"] is None else f"{100 * row['attainment']:.1f}\N{NO-BREAK SPACE}%"


def bracket(found: Found) -> str:
    """Return the rates between which a candidate stops holding its load, requests per second."""
    if found.holds_per_s is None:
        return f"below {words.amount(found.fails_per_s)}"
    if found.fails_per_s is None:
        return f"at least {words.amount(found.holds_per_s)}"
    return words.amount(found.holds_per_s)


def size(row: Row) -> str:
    """Return how large a deployment is."""
    count = row["machines"]
    said = f"{count:,} machine{'s' * (count != 1)}"
    devices = row["devices"]
    return said if devices in (None, count) else f"{said}, {devices:,} devices"


def answer(searched: Searched) -> Iterator[str]:
    """Yield the answer: who takes most, and who takes the asked load with least."""
    target = words.share(searched.stated.attainment)
    able = [each for each in searched.found if each.holds_per_s is not None]
    if not able:
        yield f"No rate that was tried holds: {target} of the requests have to meet their limits."
    elif len(able) == 1:
        (one,) = able
        yield (
            f"{one.candidate.label} holds {_up_to(one)} requests/s with {target} of them within "
            "their limits."
        )
    else:
        best = max(able, key=lambda each: each.holds_per_s or 0.0)
        least = min(able, key=lambda each: each.holds_per_s or 0.0)
        yield (
            f"With {target} of the requests within their limits, {best.candidate.label} holds "
            f"most, {_up_to(best)} requests/s; {least.candidate.label} holds {_up_to(least)}."
        )
    if searched.rate_per_s is not None:
        yield from _at_the_rate(searched)


def _up_to(found: Found) -> str:
    return f"{'' if found.fails_per_s else 'at least '}{words.amount(found.holds_per_s)}"


def _at_the_rate(searched: Searched) -> Iterator[str]:
    rate = f"{words.amount(searched.rate_per_s)} requests/s"
    small, cheap = searched.smallest, searched.cheapest
    if small is None:
        yield f"None of the deployments tried holds {rate}."
    elif cheap is None:
        yield f"The smallest deployment that holds {rate} is {small['candidate']} ({size(small)})."
    elif cheap is small:
        yield (
            f"{small['candidate']} is the smallest and the cheapest deployment that holds {rate}: "
            f"{size(small)}, {_price(small)}."
        )
    else:
        yield (
            f"The smallest deployment that holds {rate} is {small['candidate']} ({size(small)}, "
            f"{_price(small)}), the cheapest {cheap['candidate']} ({size(cheap)}, {_price(cheap)})."
        )


def _price(row: Row) -> str:
    return (
        "no price known"
        if row["usd_per_hour"] is None
        else f"{words.dollars(row['usd_per_hour'])} an hour"
    )


def cautions(searched: Searched) -> Iterator[str]:
    """Yield how the brackets are known, and where they are less sure than they look."""
    yield (
        "Both ends of every bracket were played, and every rate played is in the table: a "
        "simulation need not get worse with the load, so nothing is inferred. A rate fails a "
        f"factor of at most {1 + searched.stated.tolerance:g} above the one that holds."
    )
    for each in searched.found:
        label = each.candidate.label
        if not each.monotone:
            yield f"{label}: a rate holds above one that fails; look at every rate played."
        if each.holds_per_s is None:
            yield f"{label}: not even the lowest rate tried holds; its limits may be out of reach."
        elif each.fails_per_s is None:
            yield f"{label}: the highest rate tried still holds; try higher ones."
        row = each.at_capacity
        if row is not None and row["verdict"] is None:
            yield (
                f"{label}: at its capacity the run is too short to tell whether it keeps up; raise "
                "capacity.least_span_s or workload.entries."
            )
        if row is not None and searched.stated.attainment < 1:
            beyond = row["requests"] * (1 - searched.stated.attainment)
            if beyond < 10:
                yield (
                    f"{label}: {words.share(searched.stated.attainment)} of {row['requests']:,} "
                    f"requests hang on {beyond:.0f} of them; "
                    f"{10 / (1 - searched.stated.attainment):,.0f} would do."
                )
