"""The answer on a terminal: the same figures as the page, at 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from toolkit.report import endings, failing, load, replicated, words
from toolkit.report.findings import Findings, find
from toolkit.report.limits import LIMITS
from toolkit.report.outcomes import Outcome
from toolkit.report.outcomes import lines as outcome_lines

if TYPE_CHECKING:
    from toolkit.analytics import Run

__all__ = ["terminal"]

_BAR = 30
"""Cells of a stage's bar."""

_CELLS = {
    "prefill": ("█", "yellow"),
    "decode": ("▓", "blue"),
    "mixed": ("▚", "magenta"),
    "other": ("▒", "green"),
    "lost": ("×", "red"),
    "bubble": ("░", "red"),
    "waiting": ("·", "bright_black"),
    "finished": (" ", "bright_black"),
    "idle": (" ", "bright_black"),
}
"""A part's cell and colour; work is solid, so that the bar reads without colour too."""

_METRICS = {
    "ttft": "first token",
    "tpot": "per token after it",
    "e2e": "end to end",
    "latency_per_token": "per token, by entry",
}

_LINKS = {
    "per_nic": "a link for each machine",
    "shared": "one link for all",
}

_STAGES = 16
"""Stages of a run shown one by one; beyond, the averages of its roles."""


def terminal(runs: Sequence[Run], console: Console, *, outcomes: Sequence[Outcome] = ()) -> None:
    """Print what the runs say, side by side where there are several, and their assertions."""
    findings = find(runs)
    console.print()
    console.print(Text(findings.title(), style="bold"))
    if findings.question():
        console.print(Text(findings.question(), style="italic"))
    console.print()
    console.print(Text(findings.answer()[0]))
    for label, sentence in failing.lines(findings):
        console.print(Text(f"{label}: {sentence}"))
    if unequal := findings.unequal_work():
        console.print(Text(unequal, "yellow"))
    console.print()
    if outcomes:
        console.print(_assertions(outcomes), crop=False)
    for part in _PARTS:
        if (shown := part(findings)) is not None:
            console.print(shown)


def _headline(findings: Findings) -> RenderableType:
    """Return the figures people ask for first, each with its ratio to the first run's."""
    labels = findings.labels
    table = _table("")
    for label in labels.values():
        table.add_column(label, justify="right", overflow="fold")
    for rows in _metrics(findings["headline"].to_dicts()):
        if all(row["value"] is None for row in rows):
            continue
        texts, unit = words.in_unit([row["value"] for row in rows], rows[0]["unit"])
        best = findings.best(rows)
        cells = [
            Text(_with_ratio(text, row["ratio_to_first"], at), "bold green" if at == best else "")
            for at, (text, row) in enumerate(zip(texts, rows, strict=True))
        ]
        table.add_row(f"{rows[0]['metric']}, {unit}", *cells)
    return table


def _assertions(outcomes: Sequence[Outcome]) -> RenderableType:
    """Return what came of each assertion, missed ones with where to look."""
    parts: list[RenderableType] = [Text("assertions", "bold")]
    for line in outcome_lines(outcomes):
        text = line.lstrip()
        if text.startswith("toolkit "):  # a command is copied whole, whatever the width
            parts.append(Padding(Text(text, "dim", overflow="ignore", no_wrap=True), (0, 0, 0, 10)))
            continue
        style = {"held": "green", "MISS": "bold red"}.get(line[:4], "")
        grid = Table.grid(padding=(0, 2, 0, 0))
        first, _, rest = line.partition("  ")
        grid.add_row(Text(first.ljust(6), style), Text(rest.strip().replace("`", "")))
        parts.append(grid)
    return Group(*parts)


def _limits(findings: Findings) -> RenderableType | None:
    """Return which share of requests met each limit of an [slo]."""
    rows = findings["slo_attainment"].to_dicts()
    if not rows:
        return None
    table = _table("limits, share that met them")
    table.add_column("limit", justify="right", no_wrap=True)
    for label in findings.labels.values():
        table.add_column(label, justify="right", overflow="fold")
    for limit, name in LIMITS.items():
        these = {str(row["run"]): row for row in rows if row["slo"] == limit}
        if these:
            stated = {row["limit_ms"] for row in these.values()}
            bound = stated.pop() if len(stated) == 1 else None
            table.add_row(
                name,
                "" if bound is None else words.seconds(bound / 1e3),
                *(
                    words.share(these[run]["attainment"]) if run in these else ""
                    for run in findings.labels
                ),
            )
    return table


def _endings(findings: Findings) -> RenderableType | None:
    """Return what became of the requests, where not all were served."""
    counts = endings.cells(findings)
    if not counts:
        return None
    table = _table("requests")
    for label in findings.labels.values():
        table.add_column(label, justify="right", overflow="fold")
    named = ((endings.ENDINGS[outcome], of_run) for outcome, of_run in counts.items())
    for name, of_run in (*named, *endings.wasted(findings)):
        table.add_row(name, *(of_run.get(run, "0") for run in findings.labels))
    return Padding(table, (0, 0, 1, 0))


def _replications(findings: Findings) -> RenderableType | None:
    """Return means over replications with their intervals, and what differs from the first run."""
    said = replicated.about(findings)
    if not said:
        return None
    first, *others = findings.labels.values()
    parts: list[RenderableType] = []
    for heading, labels, rows in (
        ("over replications", [first, *others], replicated.means(findings)),
        (f"less {first}", others, replicated.differences(findings)),
    ):
        if rows:
            table = _table(heading)
            for label in labels:
                table.add_column(label, justify="right", overflow="fold")
            for row in rows:
                table.add_row(*row)
            parts.append(table)
    note = "pairs of the same seed; *: the interval leaves 0 out" if len(parts) > 1 else ""
    return Padding(Group(*parts, *([_note(note)] if note else []), _note(said)), (0, 0, 1, 0))


def _load(findings: Findings) -> RenderableType | None:
    """Return whether each run keeps up with what arrives."""
    said = load.keeping_up(findings)
    if not said:
        return None
    table = Table.grid(padding=(0, 2, 0, 0))
    for label, sentence in said:
        found, _, rest = sentence.partition(": ")
        text = Text(found, _VERDICTS.get(found, "")).append(f": {rest}" if rest else "", "not bold")
        table.add_row(Text(label if len(findings.labels) > 1 else "load", "italic"), text)
    return Padding(table, (0, 0, 1, 0))


_VERDICTS = {"stable": "green", "backlogged": "yellow", "overloaded": "bold red"}


def _tenants(findings: Findings) -> RenderableType | None:
    """Return what each tenant got."""
    rows = findings["tenant_summary"].to_dicts()
    if not rows:
        return None
    table = _table("tenants")
    for column in ("requests", "TTFT p50", "p99", "TPOT p99", "E2E p99", "met limits"):
        table.add_column(column, justify="right", no_wrap=True)
    for run, label in findings.labels.items():
        these = [row for row in rows if str(row["run"]) == run]
        if these and len(findings.labels) > 1:
            table.add_row(Text(label, "italic"))
        for row in these:
            figures = ("ttft_median_s", "ttft_p99_s", "tpot_p99_s", "e2e_p99_s")
            table.add_row(
                f"  {row['tenant']}" if len(findings.labels) > 1 else str(row["tenant"]),
                f"{row['arrived_requests']:,}",
                *(words.seconds(row[figure]) for figure in figures),
                "" if row["attainment"] is None else words.share(row["attainment"]),
            )
    return table


def _latency(findings: Findings) -> RenderableType | None:
    """Return the latencies of each run, the scenario's percentiles among them."""
    late = {
        (str(row["run"]), row["metric"], row["percentile"]): row["value_s"]
        for row in findings["latency_percentiles"].to_dicts()
    }
    spread = {
        (str(row["run"]), row["metric"]): row for row in findings["latency_summary"].to_dicts()
    }
    asked = sorted({percentile for _, _, percentile in late if percentile != 50})[-3:]
    if not spread:
        return None
    table = _table("latency")
    for column in ("median", "mean", *(f"p{each:g}" for each in asked), "max"):
        table.add_column(column, justify="right", no_wrap=True)
    for metric, name in _METRICS.items():
        if not any((run, metric) in spread for run in findings.labels):
            continue
        several = len(findings.labels) > 1
        if several:
            table.add_row(Text(name, "italic"))
        for run, label in findings.labels.items():
            row = spread.get((run, metric))
            if row is not None:
                values = [row["median_s"], row["mean_s"]]
                values += [late.get((run, metric, each)) for each in asked]
                cells = [words.seconds(value) for value in [*values, row["max_s"]]]
                table.add_row(f"  {label}" if several else name, *cells)
    notes = ["percentiles by linear interpolation; each request counts once"]
    warnings = [Text(each, "yellow") for each in load.support(findings)]
    return Group(table, *map(_note, [*notes, *load.warm_up(findings)]), *warnings)


def _stages(findings: Findings) -> RenderableType | None:
    """Return a bar for each stage: what it did with the makespan.  Stages alike share one."""
    table = _table("stages")
    table.add_column("work", justify="right", no_wrap=True)
    table.add_column("bubbles", justify="right", no_wrap=True)
    table.add_column("what they did with the makespan", no_wrap=True, min_width=_BAR)
    several = len(findings.labels) > 1
    if not findings["utilisation"].height:
        return None
    for run, label in findings.labels.items():
        rows = _alike(findings.of("utilisation", run).to_dicts())
        if len(rows) > _STAGES:
            rows = _by_role(findings.of("pool_utilisation", run).to_dicts())
        if several:
            table.add_row(Text(label, "italic"))
        for row in rows:
            table.add_row(
                f"  {row['stage_name']}" if several else row["stage_name"],
                words.share(row["utilisation"]),
                words.share(row["bubble_share"]),
                _bar(row),
            )
    key = Text()
    used = findings["utilisation"]
    for part, (cell, colour) in _CELLS.items():
        if cell.strip() and (part not in ("mixed", "other", "lost") or used[f"{part}_s"].sum()):
            key.append(cell, colour).append(f" {words.PARTS[part]}   ", "dim")
    return Group(table, key)


def _transfers(findings: Findings) -> RenderableType:
    """Return what moved between machines, beside the link model that decides its time."""
    rows = [row for row in findings["transfer_summary"].to_dicts() if row["transfers"]]
    if not rows:
        return Text("")
    table = _table("transfers")
    for column in ("volume", "mean", "Gbit/s", "busiest link"):
        table.add_column(column, justify="right", no_wrap=True)
    for run, label in findings.labels.items():
        these = [row for row in rows if str(row["run"]) == run]
        if these:
            links = _LINKS.get(these[0]["link_model"])
            table.add_row(Text(f"{label} ({links})" if links else label, "italic"))
        for row in these:
            table.add_row(
                f"  {words.TRANSFERS[row['name']]}",
                words.bytes_of(row["bytes"]),
                words.seconds(row["mean_transfer_s"]),
                words.amount(row["mean_gbit_per_s"]),
                words.share(row["busiest_link_share"]),
            )
    return table


def _places(findings: Findings) -> RenderableType:
    """Return what a reader should know besides, and where the traces are."""
    lines: list[RenderableType] = []
    for key, lead in (
        ("outside_table", "outside the timing table"),
        ("lacks", "not in the source"),
        ("notes", "note"),
    ):
        for said, labels in findings.shared_facts(key).items():
            lines.append(_note(f"{lead} ({words.listed(labels)}): {said}"))
    lines += [_note(f"trace: {path}") for path in findings.paths]
    return Group(Text(""), *lines)


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _note(text: str) -> RenderableType:
    return Padding(Text(text, "dim", overflow="fold"), (0, 0, 0, 0))


def _metrics(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the rows of each metric together, in order."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["metric"], []).append(row)
    return list(groups.values())


def _with_ratio(text: str, ratio: float | None, at: int) -> str:
    return text if at == 0 or ratio is None else f"{text} {words.ratio(ratio)}"


def _alike(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for neighbours that did the same to half a percent, named first .. last."""
    kept: list[tuple[list[dict[str, Any]], tuple[Any, ...]]] = []
    for row in rows:
        looks = (
            row["role"],
            row["replica"],
            *(round(200 * row[f"{part}_s"] / (row["makespan_s"] or 1)) for part in _CELLS),
        )
        if kept and kept[-1][1] == looks:
            kept[-1][0].append(row)
        else:
            kept.append(([row], looks))
    return [group[0] | {"stage_name": _span_of(group)} for group, _ in kept]


def _span_of(group: Sequence[Mapping[str, Any]]) -> str:
    first, last = group[0]["stage_name"], group[-1]["stage_name"]
    return str(first) if len(group) == 1 else f"{first} – {last.rsplit(' ', 1)[-1]}"


def _by_role(pools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the averages of roles in the columns of stages."""
    return [
        {
            "stage_name": f"{pool['stages']} {pool['role']}",
            "makespan_s": 1.0,
            "utilisation": pool["utilisation"],
            "bubble_share": pool["bubble_share"],
        }
        | {f"{part}_s": pool[f"{part}_share"] for part in _CELLS}
        for pool in pools
    ]


def _bar(row: Mapping[str, Any]) -> Text:
    """Return what a stage did as cells; parts are rounded so that they fill the bar."""
    bar, done, until = Text(), 0, 0.0
    for part, (cell, colour) in _CELLS.items():
        until += row[f"{part}_s"] / (row["makespan_s"] or 1) * _BAR
        cells = round(until) - done
        bar.append(cell * cells, colour)
        done += cells
    return bar


_PARTS = (
    *(_headline, _replications, _load, _limits, _tenants, _endings),
    *(_latency, _stages, _transfers, _places),
)
"""What is printed below the answer, in order; None where there is nothing to say."""
