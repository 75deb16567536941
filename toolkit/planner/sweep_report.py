"""The report of a sweep: results to a page, figures and tables, in one folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from toolkit import __version__
from toolkit.planner import published_files, sweep_figures
from toolkit.planner.ledger import VERSIONED
from toolkit.planner.results import Results, Row, Winner
from toolkit.report import style, words
from toolkit.report.document import (
    Block,
    Document,
    Figure,
    Lines,
    Paragraph,
    Section,
    Table,
    Terms,
)
from toolkit.report.folder import replacing
from toolkit.report.html import html
from toolkit.report.markdown import markdown
from toolkit.scenario.model import Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

__all__ = [
    "BESIDE",
    "RESULTS",
    "headline",
    "metric_words",
    "shown_value",
    "winners_table",
    "write_report",
]

RESULTS = "results.parquet"

MOST_KEYS = 6
"""Swept keys of which the report draws a figure."""

MOST_PLACES = 40
"""Values of a key that a figure has room for."""

MOST_REASONS = 5
"""Reasons not to fit that are quoted."""


def write_report(scenario: Scenario, results: Results, folder: Path, *, page: bool = True) -> None:
    """Write the results, the winners and, with `page`, the report; whole or not at all.

    The same results give the same bytes.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    with replacing(folder) as part:
        pyarrow.parquet.write_table(results.table(), part / RESULTS, compression="zstd")
        tables = part / "tables"
        tables.mkdir()
        pyarrow.csv.write_csv(winners_table(results), tables / "winners.csv")
        published_files.write(scenario, results, tables)
        if not page:
            return
        (part / "figures").mkdir()
        with style.look():
            figures = list(_figures(results, part / "figures"))
        document = _document(scenario, results, figures)
        (part / "report.html").write_text(html(document), encoding="utf-8")
        (part / "report.md").write_text(markdown(document), encoding="utf-8")


def winners_table(results: Results) -> pa.Table:
    """Return a row per winner: its family, its group, then all columns of its point."""
    rows: list[dict[str, Any]] = []
    for winner in results.winners():
        row = dict.fromkeys(results.columns) | dict(winner.row or {})
        row["family"] = winner.family
        over = ", ".join(f"{column} = {value}" for column, value in winner.group.items())
        rows.append({"over": over or "all"} | row)
    schema = results.table().schema
    fields = [pa.field("over", pa.string()), *schema]
    return pa.Table.from_pylist([_as_stored(row, schema) for row in rows], pa.schema(fields))


def _as_stored(row: Row, schema: pa.Schema) -> dict[str, Any]:
    """Return a row whose settings are text where the results hold them as text."""
    return {
        column: value
        if value is None or column not in schema.names or schema.field(column).type != pa.string()
        else str(value)
        for column, value in row.items()
    }


def shown_value(metric: str, value: float | None) -> str:
    """Return a value of a metric in the unit that its name ends in.

    >>> shown_value("cost_usd", 12.5)
    '$12.50'
    """
    if value is None:
        return "–"
    for ending, say in _WORDS.items():
        if metric.endswith(ending):
            return say(value)
    return words.dollars(value) if "usd" in metric else words.amount(value)


def metric_words(metric: str) -> str:
    """Return what a metric is called beside its unit.

    >>> metric_words("ttft_p99_ms"), metric_words("machine_hours"), metric_words("cost_usd")
    ('ttft p99, ms', 'machine-hours', 'cost, USD')
    """
    if metric in _NAMES:
        return _NAMES[metric]
    stem, _, unit = metric.rpartition("_")
    if unit in _UNITS and not stem.endswith("_per"):
        return f"{stem.replace('_', ' ')}, {_UNITS[unit]}"
    return metric.replace("_", " ")


_UNITS = {"s": "s", "ms": "ms", "usd": "USD"}
_NAMES = {
    "machine_hours": "machine-hours",
    "least_makespan_s": "makespan, at least",
    "most_requests_per_s": "requests per s, at most",
}

_WORDS: Mapping[str, Callable[[float], str]] = {
    "_ms": lambda value: words.seconds(value / 1e3),
    "_per_s": lambda value: f"{words.amount(value)} per s",
    "_s": words.seconds,
    "_share": words.share,
    "utilisation": words.share,
}
"""How a value is told, by the end of its metric's name; the first that fits."""


def headline(results: Results) -> str:
    """Return the answer in a sentence."""
    best = results.best()
    if best is None:
        return "No point fits."
    others = [
        each
        for each in results.winners()
        if not each.group and each.family != best.family and each.value is not None
    ]
    metric = results.goal.metric
    told = f"The {results.goal.words} is {shown_value(metric, best.value)}"
    told += f", of {best.family} with {_said(results, best)}" if best.family else ""
    told += "" if best.family else f", with {_said(results, best)}"
    compared = [
        f"{each.family} reaches {shown_value(metric, each.value)} "
        f"({words.ratio(_ratio(each, best))})"
        for each in others
    ]
    return f"{told}; {words.listed(compared)}." if compared else f"{told}."


def _ratio(winner: Winner, best: Winner) -> float | None:
    return None if not best.value or winner.value is None else winner.value / best.value


def _said(results: Results, winner: Winner) -> str:
    row = winner.row or {}
    told = [
        f"{column} = {row[column]}"
        for column in results.settings.values()
        if row.get(column) is not None
    ]
    return words.listed(told) if told else "nothing varied"


# -- the page ------------------------------------------------------------------------------------


def _document(scenario: Scenario, results: Results, figures: Sequence[Figure]) -> Document:
    sections = [
        Section("Answer", list(_answer(results))),
        *([Section("By what is swept", figures)] if figures else []),
        *([Section("Winners", [_winners(results)])] if results.goal.by else []),
        Section("What does not fit", list(_unfit(results))),
        Section("What was swept", list(_swept(results))),
        Section("Provenance", [_provenance(scenario)], folded=True),
    ]
    return Document(scenario.title, scenario.question, sections)


def _answer(results: Results) -> Iterator[Block]:
    yield Paragraph(headline(results), "lead")
    overall = [winner for winner in results.winners() if not winner.group]
    yield _table(results, overall)
    if results.goal.limits:
        yield Paragraph(f"A winner keeps the limits: {'; '.join(results.goal.limits)}.", "note")


def _winners(results: Results) -> Table:
    return _table(results, [winner for winner in results.winners() if winner.group])


def _table(results: Results, winners: Sequence[Winner]) -> Table:
    """Return winners as rows: group, what was chosen, the goal's metric, makespan, bound, cost.

    The best of a group stands out; the others have how many times its value
    theirs is.
    """
    by = list(dict.fromkeys(column for winner in winners for column in winner.group))
    chosen = [column for column in results.settings.values() if column not in by]
    metric = results.goal.metric
    more = [each for each in ("makespan_s", *BESIDE, "cost_usd", "machine_hours") if each != metric]
    best = _best_of_groups(results, winners)
    strong: set[tuple[int, int]] = set()
    rows = []
    for at, winner in enumerate(winners):
        row = winner.row or {}
        cells = [winner.family or "all", *(str(winner.group.get(column, "")) for column in by)]
        cells += ["–" if row.get(column) is None else str(row[column]) for column in chosen]
        leader = best.get(str(winner.group))
        if leader is winner:
            strong.add((at, len(cells)))
        cells += [_beside_leader(metric, winner, leader)]
        cells += [shown_value(each, row.get(each)) for each in more]
        rows.append(cells)
    headers = ["family", *by, *chosen, *(metric_words(each) for each in (metric, *more))]
    return Table(headers, rows, frozenset(strong))


BESIDE = ("least_makespan_s", "most_requests_per_s")
"""What no schedule can beat, shown beside what a winner reaches."""


def _best_of_groups(results: Results, winners: Sequence[Winner]) -> dict[str, Winner]:
    """Return the best family's winner of each group, by the group's text."""
    sign = 1 if results.goal.least else -1
    best: dict[str, Winner] = {}
    for winner in winners:
        leader = best.get(str(winner.group))
        if winner.value is not None and (
            leader is None or sign * winner.value < sign * (leader.value or 0.0)
        ):
            best[str(winner.group)] = winner
    return best


def _beside_leader(metric: str, winner: Winner, leader: Winner | None) -> str:
    if winner.row is None:
        return "nothing fits"
    text = shown_value(metric, winner.value)
    if leader is None or leader is winner:
        return text
    return f"{text}\n{words.ratio(_ratio(winner, leader))}"


def _unfit(results: Results) -> Iterator[Block]:
    unfit = [row for row in results.rows if row["status"] != "done"]
    counts = Counter((row["family"] or "all", row["status"]) for row in unfit)
    yield Paragraph(
        f"{len(results.rows) - len(unfit)} of {len(results.rows)} points were played. "
        "The others are in the results with the reason, have no metrics, and win nothing.",
    )
    if counts:
        shown = [
            (family, f"{count} {'do not fit' if status == 'does_not_fit' else 'are impossible'}")
            for (family, status), count in counts.items()
        ]
        yield Lines(shown)
        yield Lines([(f"point {row['point']}", f"{row['reason']}") for row in unfit[:MOST_REASONS]])


def _swept(results: Results) -> Iterator[Block]:
    items = []
    for key, column in results.settings.items():
        values = list(dict.fromkeys(str(row[column]) for row in results.rows if _has(row, column)))
        items.append((key, ", ".join(values)))
    yield Terms(items)


def _has(row: Row, column: str) -> bool:
    return row[column] is not None


def _provenance(scenario: Scenario) -> Block:
    versions = {"toolkit": __version__, **{each: version(each) for each in VERSIONED}}
    items = [
        ("scenario", scenario.name),
        ("discipline", scenario.discipline),
        ("seed", str(scenario.workload.seed)),
        (
            "metrics",
            "the views throughput, highest_bound, cost, stage_shares and latency_spread; "
            "trace level requests",
        ),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
    ]
    return Terms(items)


# -- figures -------------------------------------------------------------------------------------

Draw = Callable[[style.Width], "Drawn"]


def _figures(results: Results, folder: Path) -> Iterator[Figure]:
    """Yield a figure of the goal's metric per swept key; of makespan and cost for machines."""
    drawn = 0
    for key, column in results.settings.items():
        values = sorted({row[column] for row in results.rows if _is_number(row[column])})
        if not 2 <= len(values) <= MOST_PLACES or drawn >= MOST_KEYS:
            continue
        drawn += 1
        metrics = [results.goal.metric]
        if key == "hardware.machines":
            metrics = list(dict.fromkeys([*metrics, "makespan_s", "machine_hours"]))
        for metric in metrics:
            yield _figure(results, column, values, metric, folder)


def _figure(
    results: Results, column: str, values: Sequence[float], metric: str, folder: Path
) -> Figure:
    goal = results.goal
    sign = 1 if goal.least else -1
    series: dict[str, list[float | None]] = {}
    for family in results.families:
        best: dict[float, Row] = {}
        for row in results.candidates(family):
            place = row[column]
            if place is None:
                continue
            if place not in best or sign * goal.value.of(row) < sign * goal.value.of(best[place]):
                best[place] = row
        if best:
            series[family] = [
                _of(results, best[place], metric) if place in best else None for place in values
            ]
    name = f"{metric}-by-{column}".replace(".", "-").replace("_", "-")
    heading = _heading(results, column, values, series, metric)
    up = _UP.get(metric, metric_words(metric))
    places = [f"{value:g}" for value in values]
    across = column.replace("_", " ")
    if any(None in line for line in series.values()):
        across += "  (×: nothing fits, or no such layout)" * (column == "machines")

    def draw(width: style.Width) -> Drawn:
        if column == "machines":
            return sweep_figures.bars(places, series, heading, across, up, width)
        return sweep_figures.lines(values, series, heading, across, up, width)

    wide = draw(style.WIDE)
    (folder / f"{name}.svg").write_text(style.svg(wide, name), encoding="utf-8")
    png = style.png(wide)
    (folder / f"{name}.png").write_bytes(png)
    caption = f"At each value of `{column}`, the point of the family with the {goal.words}."
    if any(None in line for line in series.values()):
        caption += " Where there is none, nothing fits."
    if column == "machines":
        caption += " A bar with a gap goes on; its number is its height."
    narrow = style.svg(draw(style.NARROW), name)
    return Figure(name, style.svg(wide, name), narrow, png, caption, RESULTS)


_UP = {"machine_hours": "machine-hours (cost / price of one)"}
"""What stands at a figure's y axis where the metric's name does not say enough."""


def _heading(
    results: Results,
    column: str,
    values: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    metric: str,
) -> str:
    """Return the figure's answer: which family leads at which values, or the one family's best."""
    sign = 1 if results.goal.least or metric != results.goal.metric else -1
    leads: dict[str, list[str]] = {}
    found: list[tuple[float, int]] = []
    for at, value in enumerate(values):
        there = [
            (sign * number, family)
            for family, line in series.items()
            if (number := line[at]) is not None
        ]
        if there:
            number, family = min(there, key=lambda each: each[0])
            leads.setdefault(family, []).append(f"{value:g}")
            found.append((number, at))
    if not found:
        return f"{metric_words(metric)}: nothing fits"
    word, said = "least" if sign > 0 else "most", column.replace("_", " ")
    number, at = min(found)
    top = f"{word} {metric_words(metric).partition(',')[0]} {shown_value(metric, sign * number)}"
    top += f" at {said} = {values[at]:g}"
    if len(series) == 1:
        return top[0].upper() + top[1:]
    told = [f"{family} leads at {words.listed(places)}" for family, places in leads.items()]
    return f"By {said}: {'; '.join(told)}. {top[0].upper()}{top[1:]}"


def _of(results: Results, row: Row, metric: str) -> float | None:
    value = results.goal.value.of(row) if metric == results.goal.metric else row[metric]
    return None if value is None else float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
