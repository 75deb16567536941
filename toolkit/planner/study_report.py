"""The report of studies: the plain sweep beside itself under other assumptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from toolkit.planner import sweep_figures
from toolkit.planner.results import Results
from toolkit.planner.sweep_report import metric_words, shown_value, winners_table
from toolkit.planner.turning import Lead, Turn, leads
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
from toolkit.scenario.sweep import Study

__all__ = ["change_words", "group_words", "speedups", "told", "write_report"]

BEHIND = ("utilisation", "bubble_share", "transfer_mean_ms", "least_makespan_s")
"""Metrics that say why a family does as it does."""

TABLE = "tables/studies.csv"


def write_report(
    scenario: Scenario,
    sweeps: Mapping[str, Results],
    turns: Mapping[str, Sequence[Turn]],
    asked: Sequence[Study],
    folder: Path,
) -> None:
    """Write the page, its figure and its table, whole or not at all.

    `sweeps` are the results under each study by its name, the plain ones
    first; `turns` what the searching studies found.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    with replacing(folder) as part:
        for name in ("tables", "figures"):
            (part / name).mkdir()
        pyarrow.csv.write_csv(_table_of_all(sweeps), part / TABLE)
        with style.look():
            figures = list(_figures(sweeps, part / "figures"))
        sections = [
            Section("Answer", list(_answer(sweeps, asked))),
            *([Section("Side by side", figures)] if figures else []),
            *(
                [Section("How far off must the figure be?", list(_turns(turns, asked)))]
                * bool(turns)
            ),
            Section("What is behind it", list(_behind(sweeps))),
            Section("All winners", list(_winners(sweeps))),
            Section("What each study assumes", [_assumptions(asked)]),
        ]
        title = f"{scenario.title}: studies"
        document = Document(title, scenario.question, sections)
        (part / "report.html").write_text(html(document), encoding="utf-8")
        (part / "report.md").write_text(markdown(document), encoding="utf-8")


def told(sweeps: Mapping[str, Results]) -> list[tuple[str, str]]:
    """Return a sentence on each sweep: who leads where, and the best of all."""
    lines = []
    plain = next(iter(sweeps.values())).best()
    for name, results in sweeps.items():
        best = results.best()
        if best is None:
            lines.append((name, "nothing fits"))
            continue
        metric = results.goal.metric
        text = f"{_leaders(leads(results))}; best: {best.family or 'the sweep'} with "
        text += shown_value(metric, best.value)
        if results is not next(iter(sweeps.values())) and plain is not None and plain.value:
            text += f" ({words.ratio((best.value or 0.0) / plain.value)})"
        lines.append((name, text))
    return lines


def _leaders(found: Sequence[Lead]) -> str:
    by_family: dict[str, list[str]] = {}
    for lead in found:
        by_family.setdefault(lead.winner.family, []).append(group_words(lead.group))
    return "; ".join(
        f"{family} leads" + (f" at {words.listed(groups)}" if all(groups) else "")
        for family, groups in by_family.items()
    )


def group_words(group: Mapping[str, Any]) -> str:
    """Return a group in a word where one key makes it, else with the keys' names."""
    if len(group) == 1:
        return str(next(iter(group.values())))
    return ", ".join(f"{column} = {value}" for column, value in group.items())


def speedups(results: Results) -> dict[tuple[str, str], tuple[float, str]]:
    """Return by how much each family beats each earlier one at most, and in which group.

    Only groups in which both fit count.
    """
    values: dict[str, dict[str, float]] = {family: {} for family in results.families}
    for winner in results.winners():
        if winner.value and bool(winner.group) == bool(results.goal.by):
            values[winner.family][group_words(winner.group)] = winner.value
    found: dict[tuple[str, str], tuple[float, str]] = {}
    for at, family in enumerate(results.families):
        for other in results.families[:at]:
            shared = [group for group in values[family] if group in values[other]]
            ratios = [
                (values[other][group] / values[family][group], group)
                if results.goal.least
                else (values[family][group] / values[other][group], group)
                for group in shared
            ]
            if ratios:
                found[family, other] = max(ratios, key=lambda each: each[0])
    return found


# -- the page ------------------------------------------------------------------------------------


def _answer(sweeps: Mapping[str, Results], asked: Sequence[Study]) -> Iterator[Block]:
    yield Lines(told(sweeps))
    pairs = list(dict.fromkeys(pair for each in sweeps.values() for pair in speedups(each)))
    rows = []
    for name, results in sweeps.items():
        found = speedups(results)
        cells = [
            f"{found[pair][0]:.2f}" + (f"\nat {found[pair][1]}" if found[pair][1] else "")
            if pair in found
            else "–"
            for pair in pairs
        ]
        rows.append([name, *cells])
    if pairs:
        yield Paragraph("By how many times a family is better than another at most:", "note")
        yield Table(["", *(f"{better} over {other}" for better, other in pairs)], rows)
    yield Lines([(study.name, study.about) for study in asked if not study.vary])


def _turns(turns: Mapping[str, Sequence[Turn]], asked: Sequence[Study]) -> Iterator[Block]:
    about = {study.name: study for study in asked}
    for name, found in turns.items():
        study = about[name]
        yield Paragraph(f"{name}: {study.about}")
        rows = [
            [
                group_words(turn.lead.group) or "all",
                turn.lead.winner.family,
                _ahead(turn.lead),
                change_words(turn.own, turn.lower, study.between[0]),
                change_words(turn.own, turn.upper, study.between[1]),
            ]
            for turn in found
        ]
        by = ", ".join(found[0].lead.group) if found else ""
        headers = [by, "leads", "ahead of the next", f"{study.vary} lower", f"{study.vary} higher"]
        yield Table(headers, rows, words=2)
        yield Paragraph(
            "Ahead of the next: the leader's times alone would have to be so much longer. Lower, "
            "higher: the change of the key, nearest to none, from which another family leads, to "
            "one per cent of the value.",
            "note",
        )


def _ahead(lead: Lead) -> str:
    if lead.ahead is None:
        return "nothing else fits"
    return f"{100 * (lead.ahead - 1):.1f}\N{NO-BREAK SPACE}%\n{lead.runner_up}"


def change_words(own: float, found: tuple[float, str] | None, end: float) -> str:
    """Return the change of a key that makes another family lead, and which, on two lines."""
    if found is None:
        return f"none to {_percent(own, end)}"
    value, family = found
    return f"{_percent(own, value)}\n{family or 'nothing fits'}"


def _percent(own: float, value: float) -> str:
    sign = "+" if value > own else "−"
    return f"{sign}{abs(100 * (value / own - 1)):.0f}\N{NO-BREAK SPACE}%"


def _behind(sweeps: Mapping[str, Results]) -> Iterator[Block]:
    first = next(iter(sweeps.values()))
    rows = []
    for family in first.families:
        for name, results in sweeps.items():
            played = [row for row in results.rows if row["family"] == family]
            fitting = sum(row["status"] == "done" for row in played)
            best = next(
                (each for each in results.winners() if each.family == family and not each.group),
                None,
            )
            row = best.row if best is not None and best.row is not None else {}
            cells = [family or "all", name, f"{fitting} of {len(played)}"]
            cells += [shown_value(first.goal.metric, best.value if best else None)]
            rows.append([*cells, *(shown_value(each, row.get(each)) for each in BEHIND)])
    headers = ["family", "study", "points that fit", metric_words(first.goal.metric)]
    yield Table([*headers, *(metric_words(each) for each in BEHIND)], rows, words=2)
    yield Paragraph(
        "Of each family's best point. The transfer is a KV cache's, from the prompt's end until it "
        "has arrived where it decodes.",
        "note",
    )


def _winners(sweeps: Mapping[str, Results]) -> Iterator[Block]:
    """Yield a row per group and family: its value under each study, and how it was reached."""
    first = next(iter(sweeps.values()))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for name, results in sweeps.items():
        for winner in results.winners():
            if bool(winner.group) == bool(results.goal.by):
                chosen = [
                    f"{winner.row[column]}"
                    for column in results.settings.values()
                    if winner.row is not None
                    and column not in winner.group
                    and winner.row[column] is not None
                ]
                text = shown_value(results.goal.metric, winner.value) if winner.row else "–"
                text += f"\n{'/'.join(chosen)}" if chosen else ""
                cells.setdefault((group_words(winner.group), winner.family), {})[name] = text
    order = list(dict.fromkeys(group_words(lead.group) for lead in leads(first)))
    keys = sorted(
        cells, key=lambda key: (order.index(key[0]) if key[0] in order else len(order),
                                first.families.index(key[1]) if key[1] in first.families else 0)
    )  # fmt: skip
    by = ", ".join(first.goal.by)
    rows = [
        [group or "all", family, *(cells[group, family].get(name, "–") for name in sweeps)]
        for group, family in keys
    ]
    yield Table([by, "family", *sweeps], rows, words=2)
    swept = [column for column in first.settings.values() if column not in first.goal.by]
    yield Paragraph(f"Small: {', '.join(swept)}, as far as a family has them.", "note")


def _assumptions(asked: Sequence[Study]) -> Block:
    return Terms([(study.name, study.about) for study in asked])


def _table_of_all(sweeps: Mapping[str, Results]) -> pa.Table:
    """Return every winner of every sweep, with the name of its study."""
    tables = []
    for name, results in sweeps.items():
        table = winners_table(results)
        tables.append(table.add_column(0, "study", pa.array([name] * len(table), pa.string())))
    return pa.concat_tables(tables, promote_options="permissive")


# -- figures -------------------------------------------------------------------------------------


def _figures(sweeps: Mapping[str, Results], folder: Path) -> Iterator[Figure]:
    """Yield the goal's metric by the one key that makes the groups, a panel for each sweep."""
    first = next(iter(sweeps.values()))
    if len(first.goal.by) != 1:
        return
    column, metric = first.goal.by[0], first.goal.metric
    places = list(dict.fromkeys(winner.group[column] for winner in first.winners() if winner.group))
    panels: dict[str, sweep_figures.Series] = {}
    for name, results in sweeps.items():
        values = {
            (winner.family, winner.group[column]): winner.value
            for winner in results.winners()
            if winner.group
        }
        panels[name] = {
            family: [values.get((family, place)) for place in places] for family in results.families
        }
    named = metric_words(metric).partition(",")[0].capitalize()
    heading = f"{named} by {column.replace('_', ' ')}, under each study"
    name = f"{metric}-by-{column}-by-study".replace("_", "-").replace(".", "-")
    labels = [str(place) for place in places]
    across, up = column.replace("_", " "), metric_words(metric)

    def draw(width: style.Width) -> Any:
        return sweep_figures.panels_of_bars(labels, panels, heading, across, up, width)

    wide = draw(style.WIDE)
    svg = style.svg(wide, name)
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    png = style.png(wide)
    (folder / f"{name}.png").write_bytes(png)
    caption = "All panels on one scale. A cross stands where nothing fits."
    yield Figure(name, svg, style.svg(draw(style.NARROW), name), png, caption, TABLE)
