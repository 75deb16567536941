"""A comparison as a page: the answer first, then keys, time, money, requests and every metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.report import compare_figures, compared, style, words
from toolkit.report.document import Block, Document, Figure, Lines, Paragraph, Section, Table
from toolkit.report.writing import write_document

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

    from toolkit.analytics.comparison import Comparison, Side
    from toolkit.report.style import Width

__all__ = ["content", "write"]

_SAVED = ("metric_changes", "matched_changes", "matched_curve", "spending_changes", "hung_on")
"""Views whose rows are saved beside the page."""


def write(
    comparison: Comparison, folder: Path, *, finish: Callable[[Path], object] | None = None
) -> list[Path]:
    """Write the page with its figures and tables into `folder`; return its files.

    `finish` may add files to the folder before it appears, whole or not at all.

    Raises:
        InputError: the folder holds something else than a report, or cannot
            be written.
    """
    frames = {name: comparison[name] for name in _SAVED}
    return write_document(content(comparison), frames, folder, finish=finish)


def content(comparison: Comparison) -> Document:
    """Return the page; draws the figures."""
    base, *others = comparison.sides
    labels = words.listed([side.label for side in others])
    with style.look():
        sections = [
            Section("Answer", list(_answer(comparison, others))),
            Section("What the scenarios say", list(_keys(comparison))),
            Section("Where the time went", list(_time(comparison, others))),
            Section("Where the money went", list(_money(comparison, others))),
            Section("The same requests", list(_requests(comparison, others))),
            Section("Every metric", list(_metrics(comparison, others))),
            Section("What was compared", list(_provenance(comparison)), folded=True),
        ]
    return Document(f"{base.label} → {labels}", _question(comparison), sections)


def _question(comparison: Comparison) -> str:
    """Say in a line what differs, for a reader who sees only the top."""
    if said := compared.without_scenario(comparison):
        return said
    told = [f"{key} {' → '.join(values)}" for key, values in compared.keys(comparison.changed, 3)]
    if not told:
        return "The scenarios are the same."
    more = len(comparison.changed) - len(told)
    return f"What differs: {'; '.join(told)}{f'; and {more} more keys' if more > 0 else ''}."


def _answer(comparison: Comparison, others: list[Side]) -> Iterator[Block]:
    for side in others:
        yield Paragraph(compared.verdict(comparison, side), "lead")
        for line in compared.why(comparison, side):
            yield Paragraph(line)
    if told := compared.note(comparison):
        yield Paragraph(told, "note")
    if all(comparison.hung_on):
        sums = {side.label: comparison.hung_on[side.number] for side in comparison.sides}
        yield _figure(
            comparison,
            "hung_on",
            lambda width: compare_figures.hung_on(sums, width),
            "The chain of work, back from the last token through whatever had to be over before "
            "each piece could begin, added up by kind.",
        )


def _keys(comparison: Comparison) -> Iterator[Block]:
    if said := compared.without_scenario(comparison):
        yield Paragraph(said)
        return
    if not comparison.changed:
        yield Paragraph("They are the same, names and seeds aside.")
        return
    yield Table(
        ["key", *(side.label for side in comparison.sides)],
        [[f"`{key}`", *values] for key, values in compared.keys(comparison.changed)],
        words=len(comparison.sides) + 1,
    )


def _time(comparison: Comparison, others: list[Side]) -> Iterator[Block]:
    changes = {side.label: comparison.rows("spending_changes", side) for side in others}
    if not all(map(compared.taken_apart, changes.values())):
        yield Paragraph(_NO_STAGES, "note")
        return
    said = [
        f"{label} {compared.signed(words.seconds(abs(_whole(rows, 's'))), _whole(rows, 's'))}"
        for label, rows in changes.items()
    ]
    yield _figure(
        comparison,
        "time",
        lambda width: compare_figures.waterfall(
            changes,
            comparison.sides[0].label,
            "s",
            "time of an average stage, s",
            words.seconds,
            f"From {comparison.sides[0].label}'s makespan, cause by cause: {words.listed(said)}",
            width,
        ),
        "Every stage's time from 0 to the last token, by what the stage did, averaged over the "
        "stages: the bars add up to the difference of the makespans exactly.",
        "tables/spending_changes.csv",
    )


def _unpriced(comparison: Comparison, changes: dict[str, list[dict[str, Any]]]) -> str:
    """Say which runs state no price, '' where all state one."""
    bills = {
        comparison.sides[0].label: [row["base_usd"] for rows in changes.values() for row in rows],
        **{label: [row["value_usd"] for row in rows] for label, rows in changes.items()},
    }
    without = [label for label, usd in bills.items() if None in usd]
    if len(without) == len(bills):
        return "No price is stated, so there is no bill."
    if not without:
        return ""
    verb = "states" if len(without) == 1 else "state"
    return f"{words.listed(without)} {verb} no price, so no bills can be compared."


def _money(comparison: Comparison, others: list[Side]) -> Iterator[Block]:
    changes = {side.label: comparison.rows("spending_changes", side) for side in others}
    if not all(map(compared.taken_apart, changes.values())):
        yield Paragraph(_NO_STAGES, "note")
        return
    if unpriced := _unpriced(comparison, changes):
        yield Paragraph(unpriced, "note")
        return
    said = [
        f"{label} {compared.signed(words.dollars(abs(_whole(rows, 'usd'))), _whole(rows, 'usd'))}"
        for label, rows in changes.items()
    ]
    yield _figure(
        comparison,
        "money",
        lambda width: compare_figures.waterfall(
            changes,
            comparison.sides[0].label,
            "usd",
            "US dollars of the bill",
            words.dollars,
            f"From {comparison.sides[0].label}'s bill, cause by cause: {words.listed(said)}",
            width,
        ),
        "All machines are paid for from 0 to the last token, whatever they do.",
        "tables/spending_changes.csv",
    )


_NO_STAGES = "Not every trace knows stages, so the difference cannot be taken apart."


def _whole(rows: list[dict[str, Any]], column: str) -> float:
    return float(sum(row[f"difference_{column}"] for row in rows))


def _requests(comparison: Comparison, others: list[Side]) -> Iterator[Block]:
    late = {
        side.label: row
        for side in others
        for row in comparison.rows("matched_changes", side)
        if row["metric"] == "e2e"
    }
    yield Lines([(label, compared.same_requests(row)) for label, row in late.items()])
    if not any(row["matched"] for row in late.values()):
        return
    labels = {side.run: side.label for side in others}
    yield _figure(
        comparison,
        "matched_curve",
        lambda width: compare_figures.requests(
            comparison["matched_curve"], labels, comparison.sides[0].label, width
        ),
        "Read up from a change: so many of the requests changed by no more. Requests are the same "
        "where number, arrival and lengths are.",
    )


def _metrics(comparison: Comparison, others: list[Side]) -> Iterator[Block]:
    rows = {(row["side"], row["metric"]): row for row in comparison["metric_changes"].to_dicts()}
    names = [name for side, name in rows if side == 0]
    ordered = [*compared.HEADLINE, *(name for name in names if name not in compared.HEADLINE)]
    headers, cells = ["", comparison.sides[0].label], []
    for side in others:
        headers += [side.label, "change"]
    for name in ordered:
        if (0, name) not in rows or all(
            rows[side.number, name]["value"] is None for side in comparison.sides
        ):
            continue
        line = [f"`{name}`", compared.figure(name, rows[0, name]["value"])]
        for side in others:
            row = rows[side.number, name]
            interval = _interval(comparison, side, name)
            ratio = words.ratio(row["ratio"])
            line += [
                f"{compared.figure(name, row['value'])}\n{ratio}",
                f"{compared.change_of(name, row)}\n{interval}",
            ]
        cells.append(line)
    yield Table(headers, cells)
    if comparison.intervals:
        yield Paragraph(
            "Means over seeds; below a change, 95 % of the bootstrap of its mean (seeds drawn "
            "again, in pairs where both sides have the same ones).",
            "note",
        )


def _interval(comparison: Comparison, side: Side, name: str) -> str:
    found = comparison.intervals.get((side.number, name))
    if found is None:
        return ""
    low, high = (compared.change_of(name, {"difference": each}) for each in found)
    return f"{low} … {high}"


def _provenance(comparison: Comparison) -> Iterator[Block]:
    yield Table(
        ["", "traces", "seeds", "discipline", "scenario"],
        [
            [
                side.label,
                words.listed(side.runs),
                compared.seeds(side),
                str(side.manifest.get("discipline", "")),
                str(side.manifest.get("scenario_sha256", ""))[:12],
            ]
            for side in comparison.sides
        ],
        words=5,
    )
    yield Paragraph(
        "Every number is a row of a view over the traces; `tables/` holds what was read. "
        "`together.pftrace` shows the runs under each other on one clock: `toolkit view` opens it.",
        "note",
    )


def _figure(
    comparison: Comparison,
    name: str,
    draw: Callable[[Width], Drawn],
    caption: str,
    table: str | None = None,
) -> Figure:
    drawn = draw(style.WIDE)
    wide, narrow = style.svg(drawn, name), style.svg(draw(style.NARROW), name)
    origin = [
        side.run if "source" in side.manifest else f"{side.run}, seed {compared.seeds(side)}"
        for side in comparison.sides
    ]
    caption = f"{caption} ({'; '.join(origin)})"
    return Figure(name, wide, narrow, style.png(drawn), caption, table or f"tables/{name}.csv")
