"""What a report says of failures: who was down, what was lost, what replicas did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from toolkit.report import words
from toolkit.report.document import Block, Paragraph, Table

if TYPE_CHECKING:
    import polars as pl

    from toolkit.report.findings import Findings

__all__ = ["blocks", "happened", "lines", "told"]

Row = Mapping[str, Any]


def happened(reliability: pl.DataFrame) -> bool:
    """Return whether there is anything to tell: a failure, or replicas kept for the case."""
    return bool((reliability["failures"] > 0).any() or (reliability["replica_bytes"] > 0).any())


def told(findings: Findings) -> bool:
    """Return whether a report tells of failures."""
    return "reliability" in findings.frames


def lines(findings: Findings) -> list[tuple[str, str]]:
    """Return a sentence for each run in which something failed."""
    if not told(findings):
        return []
    return [
        (label, _sentence(row))
        for label, row in zip(
            findings.labels.values(), findings["reliability"].to_dicts(), strict=True
        )
        if row["failures"]
    ]


def _sentence(row: Row) -> str:
    count = row["failures"]
    said = [
        f"{_counted(count, 'failure')}, {words.seconds(row['mttr_s'])} until the machine is back"
        + (" on average" if count > 1 else "")
        + f" ({words.share(row['availability'])} of machine time up)"
    ]
    if hit := row["restarted_requests"]:
        said.append(f"{_counted(hit, 'request')} in flight")
    if row["lost_s"]:
        said.append(f"{words.seconds(row['lost_s'])} of stage work undone and done again")
    if row["recovering_s"]:
        brought = words.bytes_of(row["restored_bytes"])
        said.append(f"{words.seconds(row['recovering_s'])} to bring back {brought} of KV cache")
    if held := row["held_up_requests"]:
        said.append(f"{_counted(held, 'request')} held up at the door")
    return "; ".join(said) + "."


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def blocks(findings: Findings) -> Iterator[Block]:
    """Yield the section on failures: the figures of each run, and what they mean."""
    rows = findings["reliability"].to_dicts()
    figures: list[tuple[str, list[str]]] = [
        ("failures", [f"{row['failures']:,}" for row in rows]),
        ("availability", [words.share(row["availability"]) for row in rows]),
        ("mean time to recover", [_seconds(row["mttr_s"]) for row in rows]),
        ("requests in flight at a failure", [f"{row['restarted_requests']:,}" for row in rows]),
        ("requests held up", [f"{row['held_up_requests']:,}" for row in rows]),
        ("bringing caches back", [_seconds(row["recovering_s"]) for row in rows]),
        ("stage work thrown away", [_seconds(row["lost_s"]) for row in rows]),
        ("as a share of all work", [words.share(row["lost_share"] or 0) for row in rows]),
        ("price of that work", [_dollars(row["lost_usd"]) for row in rows]),
        ("price of down time", [_dollars(row["down_usd"]) for row in rows]),
        ("sent as replicas", [words.bytes_of(row["replica_bytes"]) for row in rows]),
        ("brought back", [words.bytes_of(row["restored_bytes"]) for row in rows]),
    ]
    yield Table(
        ["", *findings.labels.values()], [[name, *values] for name, values in figures], frozenset()
    )
    yield Paragraph(
        "A failure stops its pipeline until the machine is back and its caches are: what was under "
        "way is thrown away, as far as no replica of it had arrived. Machines that wait for the "
        "one that is down are in the cost ledger under the cause failed.",
        "note",
    )


def _seconds(value: float | None) -> str:
    return "–" if value is None else words.seconds(value)


def _dollars(value: float | None) -> str:
    return "–" if value is None else words.dollars(value)
