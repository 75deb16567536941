"""A search for capacity as a page, with its figures and tables, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from toolkit import __version__
from toolkit.planner import capacity_figures
from toolkit.planner.capacity import Found, Searched
from toolkit.planner.capacity_words import (
    answer,
    bracket,
    cautions,
    latency_words,
    met,
    shown_latency,
    size,
)
from toolkit.planner.ledger import VERSIONED
from toolkit.report import style, words
from toolkit.report.document import Block, Document, Figure, Lines, Paragraph, Section, Table, Terms
from toolkit.report.folder import MARK, replacing
from toolkit.report.html import html
from toolkit.report.markdown import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

    from toolkit.report.style import Width

__all__ = ["RESULTS", "write_report"]

RESULTS = "results.parquet"
"""Every rate of every candidate that was played."""

MOST_TOLD = 3
"""Candidates whose capacity a heading has room for."""

Row = Mapping[str, Any]


def write_report(searched: Searched, folder: Path) -> Path:
    """Write the page, its figures, ``results.parquet`` and the tables; return the page.

    The folder appears whole or not at all; the same search gives the same bytes.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    with replacing(folder) as part:
        rows = pa.Table.from_pylist([dict(row) for row in searched.rows])
        pyarrow.parquet.write_table(rows, part / RESULTS, compression="zstd")
        (part / "tables").mkdir()
        pyarrow.csv.write_csv(rows, part / "tables" / "played.csv")
        front = pa.Table.from_pylist([dict(row) for row in searched.front], rows.schema)
        pyarrow.csv.write_csv(front, part / "tables" / "front.csv")
        (part / "figures").mkdir()
        with style.look():
            document = _document(searched)
        for section in document.sections:
            for block in section.blocks:
                if isinstance(block, Figure):
                    file = part / "figures" / block.name
                    file.with_suffix(".svg").write_text(block.wide, encoding="utf-8")
                    file.with_suffix(".png").write_bytes(block.png)
        (part / MARK).write_text(html(document), encoding="utf-8")
        (part / "report.md").write_text(markdown(document), encoding="utf-8")
    return folder / MARK


def _document(searched: Searched) -> Document:
    scenario = searched.scenario
    sections = [
        Section("Answer", list(_answer(searched))),
        Section("Load", [_attainment(searched)]),
        *([Section("Cost against latency", list(_front(searched)))] if searched.front else []),
        Section("Every rate played", [_played(searched)], folded=True),
        Section("What this rests on", list(_grounds(searched))),
        Section("Provenance", [_provenance(searched)], folded=True),
    ]
    return Document(scenario.title, scenario.question, sections)


def _answer(searched: Searched) -> Iterator[Block]:
    yield Paragraph(" ".join(answer(searched)), "lead")
    latency = searched.stated.latency
    headers = [
        "",
        "holds, requests/s",
        "fails, requests/s",
        "size",
        "per hour",
        "per 1000 requests",
        "within limits",
        latency_words(latency),
    ]
    yield Table(headers, [_capacity_row(each, latency) for each in searched.found])
    if searched.rate_per_s is not None:
        yield Paragraph(f"At {words.amount(searched.rate_per_s)} requests/s:")
        yield _at_the_rate(searched)


def _capacity_row(found: Found, latency: str) -> list[str]:
    row, candidate = found.at_capacity, found.candidate
    sized = size({"machines": candidate.machines, "devices": candidate.devices})
    cells = [_unbroken(candidate.label), bracket(found), words.amount(found.fails_per_s), sized]
    if row is None:
        return [*cells, "", "", "", ""]
    return [
        *cells,
        words.dollars(row["usd_per_hour"]),
        words.dollars(row["usd_per_1000_requests"]),
        met(row),
        shown_latency(row, latency),
    ]


def _unbroken(label: str) -> str:
    """Return a label that a narrow column does not break."""
    return label.replace(" ", "\N{NO-BREAK SPACE}")


def _at_the_rate(searched: Searched) -> Table:
    strong = frozenset(
        (at, 0)
        for at, row in enumerate(searched.at_rate)
        if row is searched.smallest or row is searched.cheapest
    )
    marks = [
        [
            name
            for name, best in (("smallest", searched.smallest), ("cheapest", searched.cheapest))
            if best is row
        ]
        for row in searched.at_rate
    ]
    return Table(
        ["", "holds", "within limits", "load", "size", "per hour", "per 1000 requests",
         latency_words(searched.stated.latency)],
        [
            [
                f"{row['candidate']}\n{', '.join(mark)}" if mark else str(row["candidate"]),
                "yes" if row["holds"] else "no",
                met(row),
                row["verdict"] or "–",
                size(row),
                words.dollars(row["usd_per_hour"]),
                words.dollars(row["usd_per_1000_requests"]),
                shown_latency(row, searched.stated.latency),
            ]
            for row, mark in zip(searched.at_rate, marks, strict=True)
        ],
        strong,
    )  # fmt: skip


def _by_candidate(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row["candidate"]), []).append(row)
    return found


def _attainment(searched: Searched) -> Figure:
    target = searched.stated.attainment
    told = [f"{each.candidate.label} {bracket(each)}" for each in searched.found]
    heading = f"Requests per second with {words.share(target)} within limits"
    heading += f": {words.listed(told)}" if len(told) <= MOST_TOLD else ", by deployment"
    rows = {each.candidate.label: each.rows for each in searched.found}
    return _figure(
        searched,
        "attainment",
        lambda width: capacity_figures.attainment(rows, target, heading, width),
        "Each dot is a run; hollow: it fell short of the dashed line, or was overloaded.",
    )


def _front(searched: Searched) -> Iterator[Block]:
    latency = searched.stated.latency
    asked = searched.rate_per_s
    where = "at the rates that hold" if asked is None else f"at {words.amount(asked)} requests/s"
    rows = _by_candidate(searched.rows if asked is None else searched.at_rate)
    heading = f"{latency_words(latency)} against cost, {where}"
    yield _figure(
        searched,
        "cost_against_latency",
        lambda width: capacity_figures.cost_against_latency(
            rows, searched.front, latency, f"{latency_words(latency)}, ms", heading, width
        ),
        "Only rates that hold. Black: nothing else is both cheaper and as fast.",
    )
    yield Table(
        ["none is cheaper and faster", "requests/s", "per 1000 requests", latency_words(latency)],
        [
            [
                str(row["candidate"]),
                words.amount(row["rate_per_s"]),
                words.dollars(row["usd_per_1000_requests"]),
                shown_latency(row, latency),
            ]
            for row in searched.front
        ],
    )


def _played(searched: Searched) -> Table:
    latency = searched.stated.latency
    rows: list[list[str]] = []
    for candidate, played in _by_candidate(searched.rows).items():
        rows += [
            [
                "" if at else candidate,
                words.amount(row["rate_per_s"]),
                "yes" if row["holds"] else "no",
                met(row),
                row["verdict"] or "–",
                f"{row['requests']:,}",
                words.dollars(row["usd_per_1000_requests"]),
                shown_latency(row, latency),
            ]
            for at, row in enumerate(played)
        ]
    headers = ["", "requests/s", "holds", "within limits", "load", "requests", "per 1000 requests"]
    return Table([*headers, latency_words(latency)], rows)


def _grounds(searched: Searched) -> Iterator[Block]:
    yield Lines([("", each) for each in cautions(searched)])
    yield Paragraph(
        "Figures of a row are those of the views load_outcome, saturation and latency_spread over "
        "that run. Dollars per 1000 requests are what the machines cost while so many arrive at "
        "the rate; gaps between arrivals keep their pattern and are stretched, so rates differ in "
        "nothing but the load.",
        "note",
    )


def _provenance(searched: Searched) -> Terms:
    versions = {"toolkit": __version__, **{each: version(each) for each in VERSIONED}}
    stated = searched.stated
    return Terms(
        [
            ("scenario", searched.scenario.name),
            ("seed", str(searched.scenario.workload.seed)),
            ("attainment", f"{stated.attainment:g}"),
            ("tolerance", f"{stated.tolerance:g}"),
            ("trace level", "requests"),
            ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ]
    )


def _figure(searched: Searched, name: str, draw: Callable[[Width], Drawn], caption: str) -> Figure:
    drawn = draw(style.WIDE)
    wide, narrow = style.svg(drawn, name), style.svg(draw(style.NARROW), name)
    origin = f"{searched.scenario.name}, seed {searched.scenario.workload.seed}"
    return Figure(
        name, wide, narrow, style.png(drawn), f"{caption} ({origin})", "tables/played.csv"
    )
