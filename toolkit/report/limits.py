"""Which share of requests met their limits, of all and of each tenant, on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from toolkit.report import words
from toolkit.report.document import Block, Paragraph, Table
from toolkit.report.findings import Findings

__all__ = ["LIMITS", "TENANT_FIGURES", "blocks", "tenants"]

LIMITS = {
    "ttft": "first token",
    "tpot": "per token after it",
    "e2e": "end to end",
    "all": "all of them",
}
"""Shown names of the limits of an [slo]."""

TENANT_FIGURES = {
    "ttft_median_s": "TTFT, median",
    "ttft_p99_s": "TTFT, p99",
    "tpot_p99_s": "TPOT, p99",
    "e2e_p99_s": "E2E, p99",
}
"""Latencies of a tenant that are shown."""


def blocks(findings: Findings) -> Iterator[Block]:
    """Say which share of requests met each limit, and how many good ones there were a second."""
    rows = [
        [
            LIMITS[row["slo"]],
            findings.labels[str(row["run"])],
            _limit(row),
            f"{row['met']:,} of {row['requests']:,}",
            words.share(row["attainment"]),
        ]
        for row in findings["slo_attainment"].to_dicts()
    ]
    rows.sort(key=lambda row: list(LIMITS.values()).index(row[0]))
    _say_once(rows)
    yield Table(["", "run", "limit", "met", "attainment"], rows, words=2)
    yield Table(
        ["", "goodput, requests/s", "throughput, requests/s", "good output tokens/s"],
        [
            [
                findings.labels[str(row["run"])],
                words.amount(row["goodput_per_s"]),
                words.amount(row["requests_per_s"]),
                words.amount(row["good_output_tokens_per_s"]),
            ]
            for row in findings["goodput"].to_dicts()
        ],
    )
    yield Paragraph(
        "Over all requests that arrived: those refused, given up or failed are misses. Goodput "
        "counts the requests that met every limit, by the makespan; an answer of one token meets a "
        "limit on the time per token after it.",
        "note",
    )


def tenants(findings: Findings) -> Iterator[Block]:
    """Say what each tenant asked for and got, and which of its limits were met."""
    rows = [
        [
            str(row["tenant"]),
            findings.labels[str(row["run"])],
            f"{row['arrived_requests']:,}",
            *(words.seconds(row[column]) for column in TENANT_FIGURES),
            words.share(row["attainment"]),
            words.amount(row["goodput_per_s"]),
        ]
        for row in findings["tenant_summary"].to_dicts()
    ]
    rows.sort(key=lambda row: row[0])
    _say_once(rows)
    headers = ["tenant", "run", "requests", *TENANT_FIGURES.values(), "attainment", "goodput/s"]
    yield Table(headers, rows, words=2)
    limits = [
        [
            str(row["tenant"]),
            findings.labels[str(row["run"])],
            LIMITS[row["slo"]],
            _limit(row),
            f"{row['met']:,} of {row['requests']:,}",
            words.share(row["attainment"]),
        ]
        for row in findings["tenant_slo"].to_dicts()
        if row["slo"] != "all"
    ]
    if limits:
        limits.sort(key=lambda row: row[0])
        _say_once(limits)
        yield Table(["tenant", "run", "limit", "at most", "met", "attainment"], limits, words=3)
        yield Paragraph(
            "A tenant's own limits stand in the place of [slo]; attainment and goodput of a tenant "
            "are over its own requests.",
            "note",
        )


def _limit(row: dict[str, Any]) -> str:
    limit = row["limit_ms"]
    return "" if limit is None else f"≤ {words.seconds(limit / 1e3)}"


def _say_once(rows: Sequence[list[str]]) -> None:
    """Leave out the first cell of rows that have it from the row above."""
    for above, below in list(pairwise(rows))[::-1]:
        if below[0] == above[0]:
            below[0] = ""
