"""What became of the requests, where not all of them were served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from toolkit.report import words
from toolkit.report.document import Block, Paragraph, Table

if TYPE_CHECKING:
    from toolkit.report.findings import Findings

__all__ = ["ENDINGS", "blocks", "cells", "wasted"]

ENDINGS = {
    "served": "served",
    "refused": "refused",
    "timed_out": "timed out",
    "cancelled": "cancelled",
    "failed": "failed",
}
"""Outcomes of requests, as they are shown."""


def cells(findings: Findings) -> dict[str, dict[str, str]]:
    """Return how many requests had each outcome, of each run; nothing where all were served."""
    rows = findings["request_outcomes"].to_dicts()
    if all(row["outcome"] == "served" for row in rows):
        return {}
    return {
        outcome: {str(row["run"]): _count(row) for row in rows if row["outcome"] == outcome}
        for outcome in ENDINGS
        if any(row["outcome"] == outcome for row in rows)
    }


def _count(row: dict[str, Any]) -> str:
    return f"{row['requests']:,} ({words.share(row['share'])})"


def wasted(findings: Findings) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what was thrown away with requests that were given up: its name, and of each run."""
    rows = findings["request_outcomes"].to_dicts()
    for key, name in (
        ("retries", "sent again"),
        ("wasted_prompt_tokens", "prompt tokens read in vain"),
        ("wasted_output_tokens", "answer tokens in vain"),
    ):
        sums = dict.fromkeys(findings.labels, 0)
        for row in rows:
            sums[str(row["run"])] += row[key]
        if any(sums.values()):
            yield name, {run: f"{amount:,}" for run, amount in sums.items()}


def blocks(findings: Findings) -> Iterator[Block]:
    """Yield a table of outcomes and of what was thrown away, by run."""
    labels = findings.labels
    rows = [
        [name, *(of_run.get(run, "0") for run in labels)]
        for name, of_run in (
            *((ENDINGS[outcome], of_run) for outcome, of_run in cells(findings).items()),
            *wasted(findings),
        )
    ]
    yield Table(["requests", *labels.values()], rows)
    yield Paragraph(
        "Each try of a request counts. Of a request that was cancelled or timed out all tokens are "
        "in vain, those its client had read too; of its prompt, if it was read to its end.",
        "note",
    )
