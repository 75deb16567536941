"""Whether runs keep up with what arrives, and on how many requests their figures rest: sentences.

The page and the terminal say the same; every number is a row of `saturation`,
`percentile_support` or `warm_up_cut`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.report import words
from toolkit.report.document import Block, Lines, Paragraph
from toolkit.report.findings import Findings

__all__ = ["blocks", "keeping_up", "support", "verdict", "warm_up"]

_UNKNOWN = {
    "few_requests": "cannot be told, fewer than 40 requests arrive in the second half of the load",
    "short_span": "cannot be told, more requests are being served at the end than before, but a "
    "quarter of the load is shorter than one takes: it may still be filling up",
}
"""Why there is no verdict, where there might be one with another workload."""


def verdict(row: Mapping[str, Any]) -> str:
    """Return what a row of `saturation` says in a sentence; '' where no load comes over time."""
    if row["verdict"] is None:
        return _UNKNOWN.get(row["unknown_because"] or "", "")
    offered = f"{words.amount(row['offered_per_s'])} requests/s arrive"
    if row["verdict"] == "overloaded":
        behind = words.share(row["left_behind_share"])
        done = f"{words.amount(row['output_per_s'])}/s are done"
        return f"overloaded: {offered}, {done}; {behind} of the arrivals are left behind"
    waited, served = words.seconds(row["mean_wait_s"]), words.seconds(row["mean_service_s"])
    if row["verdict"] == "backlogged":
        return f"backlogged: {offered} and are done, but wait {waited} to be served for {served}"
    return f"stable: {offered}; they wait {waited} and are served for {served}"


def keeping_up(findings: Findings) -> list[tuple[str, str]]:
    """Return each run's label with its verdict; those without a load over time are left out."""
    said = [
        (findings.labels[str(row["run"])], verdict(row))
        for row in findings["saturation"].to_dicts()
    ]
    return [(label, sentence) for label, sentence in said if sentence]


def support(findings: Findings) -> list[str]:
    """Return a warning for each set of percentiles that rest on too few requests."""
    short: dict[str, list[dict[str, Any]]] = {}
    for row in findings["percentile_support"].to_dicts():
        if row["metric"] == "e2e" and not row["enough"]:
            short.setdefault(str(row["run"]), []).append(row)
    said: dict[str, list[str]] = {}
    for run, rows in short.items():
        names = words.listed([f"p{row['percentile']:g}" for row in rows])
        most = max(rows, key=lambda row: row["needed"])
        sentence = (
            f"{names} of {rows[0]['samples']:,} requests: fewer than 10 lie beyond, so another "
            f"seed may move them; p{most['percentile']:g} takes {most['needed']:,} requests"
        )
        said.setdefault(sentence, []).append(findings.labels[run])
    every = len(findings.labels)
    return [
        sentence if len(labels) == every else f"{words.listed(labels)}: {sentence}"
        for sentence, labels in said.items()
    ]


def warm_up(findings: Findings) -> list[str]:
    """Return what the warm-up cut leaves out, a sentence for each run that cuts."""
    return [
        f"{findings.labels[str(row['run'])]}: latencies, attainment and goodput leave out the "
        f"{row['left_out']:,} of {row['requests']:,} requests that arrived in the first "
        f"{words.seconds(row['until_s'])}"
        for row in findings["warm_up_cut"].to_dicts()
    ]


def blocks(findings: Findings) -> Iterator[Block]:
    """Yield the section of a page; nothing where no load comes over time."""
    if lines := keeping_up(findings):
        yield Lines(lines)
        yield Paragraph(
            "Of the second half of the time in which requests arrive. Overloaded: more than 5 % of "
            "a quarter's arrivals, and more than chance explains, are left behind for good or "
            "refused. Backlogged: it keeps up, but requests wait longer than they are served. "
            "Stable: neither.",
            "note",
        )
