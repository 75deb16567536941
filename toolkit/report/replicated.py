"""What the replications of runs come to: means with their intervals, and what variants change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.report import words
from toolkit.report.document import Block, Paragraph, Table
from toolkit.report.findings import Findings

__all__ = ["METRICS", "about", "blocks", "differences", "means", "objects"]

METRICS = {
    "requests_per_s": ("throughput", "requests/s"),
    "goodput_per_s": ("goodput", "requests/s"),
    "slo_attainment": ("SLO attainment", "%"),
    "output_tokens_per_s": ("output tokens", "tokens/s"),
    "ttft_p50_ms": ("TTFT, median", "s"),
    "ttft_p99_ms": ("TTFT, p99", "s"),
    "tpot_p50_ms": ("TPOT, median", "s"),
    "tpot_p99_ms": ("TPOT, p99", "s"),
    "e2e_p50_ms": ("E2E, median", "s"),
    "e2e_p99_ms": ("E2E, p99", "s"),
    "makespan_s": ("makespan", "s"),
    "usd_per_1000_requests": ("cost per 1000 requests", "USD"),
    "usd_per_million_output_tokens": ("cost per million output tokens", "USD"),
}
"""Metrics shown, with the name and the unit in which they are."""

Row = Mapping[str, Any]


def about(findings: Findings) -> str:
    """Return how many replications there are and how sure the intervals; '' for none."""
    rows = findings["replication_summary"].to_dicts()
    if not rows:
        return ""
    counts = sorted({row["replications"] for row in rows})
    confidence = words.share(rows[0]["confidence"])
    return (
        f"{words.listed([str(count) for count in counts])} replications, each with a seed of its "
        f"own: means with {confidence} intervals by Student's t. All other figures are of the "
        "first."
    )


def means(findings: Findings) -> list[list[str]]:
    """Return a row of texts for each metric: its name with the unit, then each run's interval."""
    known = {
        (str(row["run"]), row["metric"]): row for row in findings["replication_summary"].to_dicts()
    }
    rows = []
    for metric, (name, unit) in METRICS.items():
        cells = [known.get((run, metric)) for run in findings.labels]
        if any(cells):
            texts, shown_in = _intervals(metric, unit, cells, "mean")
            rows.append([f"{name}, {shown_in}", *texts])
    return rows


def differences(findings: Findings) -> list[list[str]]:
    """Return a row of texts for each metric: how far each run is from the first, in pairs.

    A star behind it says that the interval leaves 0 out.
    """
    frame = findings["replication_differences"]
    known = {(str(row["run"]), row["metric"]): row for row in frame.to_dicts()}
    rows = []
    for metric, (name, unit) in METRICS.items():
        cells = [known.get((run, metric)) for run in list(findings.labels)[1:]]
        if any(cells):
            texts, shown_in = _intervals(metric, unit, cells, "difference")
            stars = [" *" if cell and cell["clear"] else "" for cell in cells]
            starred = [text + star for text, star in zip(texts, stars, strict=True)]
            rows.append([f"{name}, {shown_in}", *starred])
    return rows


def blocks(findings: Findings) -> Iterator[Block]:
    """Yield the section of a page; nothing where there are no replications."""
    if not (said := about(findings)):
        return
    yield Paragraph(said)
    yield Table(["mean", *findings.labels.values()], means(findings))
    if rows := differences(findings):
        first, *others = findings.labels.values()
        yield Table([f"less {first}", *others], rows)
        yield Paragraph(
            "Differences of replications with the same seed, which serve the same requests in "
            "every variant, so that chance cancels out. *: the interval leaves 0 out.",
            "note",
        )


def objects(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return rows of `replication_summary` of one run as an object by metric."""
    return {
        row["metric"]: {
            key: row[key] for key in ("replications", "confidence", "mean", "half_width")
        }
        for row in rows
    }


def _intervals(
    metric: str, unit: str, cells: Sequence[Row | None], what: str
) -> tuple[list[str], str]:
    """Return value and half-width of each cell as text, in a unit that all of them share."""
    factor = {"%": 100.0, "s": 1e-3 if metric.endswith("_ms") else 1.0}.get(unit, 1.0)
    values = [None if cell is None else factor * cell[what] for cell in cells]
    halves = [None if cell is None else factor * cell["half_width"] for cell in cells]
    texts, unit = words.in_unit([*values, *halves], unit)
    both = zip(texts[: len(cells)], texts[len(cells) :], strict=True)
    return [
        "" if cell is None else f"{value} ± {half}"
        for cell, (value, half) in zip(cells, both, strict=True)
    ], unit
