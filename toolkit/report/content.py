"""Findings to a document: what stands where, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.report import (
    cache_figures,
    endings,
    failing,
    figures,
    ledger_figures,
    limits,
    load,
    replicated,
    style,
    words,
)
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
from toolkit.report.findings import Findings
from toolkit.report.outcomes import Outcome
from toolkit.report.outcomes import blocks as assertion_blocks

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

    from toolkit.report.style import Width

__all__ = ["content"]

_TERMS = (
    "run_totals",
    "throughput",
    "first_token",
    "request_latency",
    "latency_summary",
    "latency_percentiles",
    "stage_time",
    "pipeline_work",
    "time_ledger",
    "idle_causes",
    "pipeline_load",
    "dominant_causes",
    "utilisation",
    "request_time",
    "throughput_windows",
    "itl",
    "request_slo",
    "request_outcomes",
    "slo_attainment",
    "goodput",
    "saturation",
    "percentile_support",
    "replication_summary",
    "replication_differences",
    "load_windows",
    "prefix_cache",
    "transfer_summary",
    "kv_transfers",
    "cost",
    "cost_ledger",
    "unit_costs",
    "timeline",
)
"""Views whose definitions are printed."""

_LINK_MODELS = {
    "per_nic": "Each machine has one network interface: a transfer holds the sender's outgoing and "
    "the receiver's incoming side, and transfers over different pairs do not slow one another.",
    "shared": "All machines share one link: transfers queue behind one another, whoever sends.",
    "unknown": "The trace does not say which transfers compete for a link.",
    "none": "Nothing competes for a link: KV caches stay where they are, or take a stated time "
    "however many move at once.",
}

_DISCIPLINES = {
    "event": "event: stages and links serve whoever is ready first; times are whole nanoseconds",
    "dejavu": "dejavu: the published simulators' order of service, which is the order of the list",
}


def content(
    findings: Findings,
    *,
    title: str | None = None,
    question: str | None = None,
    outcomes: Sequence[Outcome] = (),
) -> Document:
    """Return the report on `findings` and what came of assertions; draws the figures."""
    ended = endings.cells(findings)
    failures = list(failing.blocks(findings)) if failing.told(findings) else []
    with style.look():
        sections = [
            Section("Answer", list(_answer(findings))),
            *([Section("Assertions", list(assertion_blocks(outcomes)))] if outcomes else []),
            *_section("Replications", replicated.blocks(findings)),
            *_section("Load", load.blocks(findings)),
            *_section("Limits", limits.blocks(findings), findings["goodput"].height),
            *_section("Tenants", limits.tenants(findings), findings["tenant_summary"].height),
            *_section("Outcomes", endings.blocks(findings), len(ended)),
            *([Section("Failures", failures)] if failures else []),
            Section("Why", list(_why(findings))),
            Section("Where the time went", list(_time(findings))),
            Section("Cost", list(_cost(findings))),
            Section("Latency", list(_latency(findings))),
            Section("Over time", list(_over_time(findings))),
            Section("Transfers", list(_transfers(findings))),
            Section("What this rests on", list(_grounds(findings))),
            Section("Definitions", [_definitions(findings)], folded=True),
            Section("Provenance", list(_provenance(findings)), folded=True),
        ]
    return Document(title or findings.title(), question or findings.question(), sections)


def _section(title: str, blocks: Iterator[Block], shown: int = 1) -> Iterator[Section]:
    """Yield the section, unless it is not `shown` or has nothing in it."""
    if shown and (listed := list(blocks)):
        yield Section(title, listed)


def _answer(findings: Findings) -> Iterator[Block]:
    yield Paragraph(findings.answer()[0], "lead")
    if said := failing.lines(findings):
        yield Lines(said)
    if unequal := findings.unequal_work():
        yield Paragraph(unequal, "note")
    yield _headline(findings)


def _headline(findings: Findings) -> Table:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in findings["headline"].to_dicts():
        groups.setdefault(row["metric"], []).append(row)
    rows: list[list[str]] = []
    strong: set[tuple[int, int]] = set()
    for metric, cells in groups.items():
        if all(cell["value"] is None for cell in cells):
            continue
        texts, unit = words.in_unit([cell["value"] for cell in cells], cells[0]["unit"])
        best = findings.best(cells)
        if best is not None:
            strong.add((len(rows), best + 1))
        ratios = ["", *(words.ratio(cell["ratio_to_first"]) for cell in cells[1:])]
        rows.append(
            [
                f"{metric}, {unit}",
                *(f"{text}\n{it}" for text, it in zip(texts, ratios, strict=True)),
            ]
        )
    return Table(["", *findings.labels.values()], rows, frozenset(strong))


def _why(findings: Findings) -> Iterator[Block]:
    yield Lines([_split(line) for line in findings.answer()[1:]])
    yield Lines([(each.label, " ".join(each.sentences)) for each in findings.explanations()])
    if findings["utilisation"]["bubble_share"].count():
        yield Paragraph(
            "A bubble is a stage that stands still while there is work in its pipeline: a decode "
            "pass is short, a prompt pass long, and whoever follows a prompt through the stages "
            "waits for it.",
            "note",
        )
    if findings["timeline"].height:
        yield _figure(
            findings,
            "timeline",
            lambda width: figures.timeline(
                findings["timeline"],
                findings["timeline_pipelines"],
                findings["timeline_window"],
                findings.labels,
                width,
            ),
            "A stage per row, first stage on top; each run at its own place in time, all on one "
            "scale. A bar lower than its row is many short passes: its height is the share of the "
            "time they took.",
        )
    else:
        yield Paragraph(
            "This trace keeps no spans of stages, hence no timeline (trace level `requests`, or a "
            "source that knows none).",
            "note",
        )
    if findings["e2e_parts"].height:
        yield _figure(
            findings,
            "e2e_parts",
            lambda width: figures.e2e(findings["e2e_parts"], findings.labels, width),
            "From arrival to the last token, averaged over requests; the parts add up exactly.",
        )


def _time(findings: Findings) -> Iterator[Block]:
    if not (findings["time_ledger"]["kind"] == "stage").any():
        yield Paragraph("The trace knows no stages, so there is no time of theirs to tell.", "note")
        return
    yield Paragraph(
        "The time ledger: every nanosecond of every stage between 0 and the makespan belongs to "
        "one cause, and the causes of a stage add up to the makespan exactly.",
        "note",
    )
    yield _figure(
        findings,
        "time_ledger",
        lambda width: ledger_figures.stages(findings["time_ledger"], findings.labels, width),
        "The number is the share of the makespan in which the stage worked, in percent.",
    )
    if findings["time_ledger_windows"].height:
        yield _figure(
            findings,
            "time_ledger_windows",
            lambda width: ledger_figures.over_time(
                findings["time_ledger_windows"], findings.labels, width
            ),
            "Share of the stages' time in each window, all runs on one clock.",
        )
    runs = findings["runs"]
    if runs["source"].count() and not set(findings["time_ledger"]["cause"]).isdisjoint(
        ("bubble", "unexplained")
    ):
        yield Paragraph(
            "An imported trace does not say what its requests waited for: its bubbles are one "
            "cause, and what a stage that works for no known request stands still for is "
            "unexplained.",
            "note",
        )
    if any(level != "full" for level in runs.filter(runs["source"].is_null())["level"].to_list()):
        yield Paragraph(
            "Below trace level `full` the spans that tell the kinds of bubble apart are not kept: "
            "there a bubble is one cause, and nothing is drawn over time.",
            "note",
        )
    yield _ledger_table(findings)


def _ledger_table(findings: Findings) -> Table:
    """Return the share of each cause in the stages' time, role by role."""
    shares = {
        (str(row["run"]), row["role"], row["cause"]): row["share"]
        for row in findings["role_ledger"].to_dicts()
        if row["kind"] == "stage"
    }
    columns = list(dict.fromkeys((run, role) for run, role, _ in shares))
    causes = [cause for cause in words.LEDGER if any(key[2] == cause for key in shares)]

    def name(run: str, role: str | None) -> str:
        return findings.labels[run] + ("" if role in ("colocated", None) else f", {role}")

    return Table(
        ["share of stage time", *(name(*column) for column in columns)],
        [
            [
                words.LEDGER[cause],
                *(
                    words.share(shares[run, role, cause]) if (run, role, cause) in shares else ""
                    for run, role in columns
                ),
            ]
            for cause in causes
        ],
    )


def _cost(findings: Findings) -> Iterator[Block]:
    rows = findings["unit_costs"].to_dicts()
    hours = {str(row["run"]): row for row in findings["cost"].to_dicts()}
    if all(row["machines"] is None for row in hours.values()):
        yield Paragraph("The trace knows no machines, so there is nothing to be paid for.", "note")
        return
    if findings["cost_uses"].height:
        yield _figure(
            findings,
            "cost_uses",
            lambda width: ledger_figures.cost(findings["cost_uses"], findings.labels, width),
            "All machines are paid for the whole makespan; the dollars of a bar add up to the "
            "bill.",
        )
    good = any(row["usd_per_good_request"] is not None for row in rows)
    columns = {
        "bill": "cost_usd",
        "not useful": "wasted_usd",
        "per 1000 requests": "usd_per_1000_requests",
        **({"per good request": "usd_per_good_request"} if good else {}),
        "per million input tokens": "usd_per_million_input_tokens",
        "per million output tokens": "usd_per_million_output_tokens",
    }
    yield Table(
        ["", "machines", "machine-hours", *columns],
        [
            [
                findings.labels[str(row["run"])],
                words.amount(hours[str(row["run"])]["machines"], 1),
                words.amount(hours[str(row["run"])]["machine_hours"]),
                *(words.dollars(row[column]) for column in columns.values()),
            ]
            for row in rows
        ],
    )
    yield Paragraph(
        "No price is stated, so there is no bill."
        if any(row["cost_usd"] is None for row in rows)
        else "The bill is split between input and output tokens: the dollars of each role's "
        "machines in proportion to the time its stages spent on prefill and on decode; "
        "a run whose steps took both at once has no such split.",
        "note",
    )
    yield from _energy(findings, rows)


def _energy(findings: Findings, rows: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """Say what the machines drew, and where the watts and the price are from."""
    if any(row["energy_kwh"] is not None for row in rows):
        carbon = any(row["co2_g"] is not None for row in rows)
        yield Table(
            ["", "energy", "per output token", *(["CO2", "per request"] if carbon else [])],
            [
                [
                    findings.labels[str(row["run"])],
                    _with_unit(row["energy_kwh"], "kWh"),
                    _with_unit(row["joules_per_output_token"], "J"),
                    *(
                        [_with_unit(row["co2_g"], "g"), _with_unit(row["co2_g_per_request"], "g")]
                        if carbon
                        else []
                    ),
                ]
                for row in rows
            ],
        )
    played = [row for row in rows if not findings.imported(str(row["run"]))]
    unknown = [findings.labels[str(row["run"])] for row in played if row["energy_kwh"] is None]
    if unknown:
        yield Paragraph(
            f"No energy for {words.listed(unknown)}: it takes the watts of a machine at work and "
            "idle, from the catalog or the scenario (hardware.busy_w_per_machine, "
            "idle_w_per_machine).",
            "note",
        )
    elif played and all(row["co2_g"] is None for row in played):
        yield Paragraph("No carbon: the scenario states no hardware.co2_g_per_kwh.", "note")
    yield Lines(
        [
            (heading, text)
            for heading, column in (("Price", "price_source"), ("Power", "power_source"))
            for text in dict.fromkeys(row[column] for row in rows if row[column])
        ]
    )


def _with_unit(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{words.amount(value)} {unit}"


def _latency(findings: Findings) -> Iterator[Block]:
    told = set(findings["latency_summary"]["metric"].to_list())
    if not told:
        yield Paragraph("The trace does not say how long any request took.", "note")
        return
    if told & {"ttft", "e2e"}:
        yield _figure(
            findings,
            "latency_curve",
            lambda width: figures.latency(
                findings["latency_curve"], findings["latency_summary"], findings.labels, width
            ),
            "Read up from a time: so many requests took no longer.",
        )
    yield _latency_table(findings)
    yield Paragraph(
        "Percentiles by linear interpolation between order statistics. Each request counts once, "
        "an entry of several like requests as many times; latency per token, the published "
        "simulators' figure (end-to-end time by output tokens), counts entries.",
        "note",
    )
    for said in (*load.warm_up(findings), *load.support(findings)):
        yield Paragraph(f"{said}.", "note")


_METRICS = {
    "ttft": "time to first token",
    "tpot": "time per output token after the first",
    "e2e": "end-to-end",
    "queueing": "until the first stage took it up",
    "prefill": "prompt",
    "transfer": "KV cache on its way",
    "decode_wait": "until the first decode",
    "decode": "decode",
    "latency_per_token": "latency per token (entries)",
}


def _latency_table(findings: Findings) -> Table:
    spread = {
        (str(row["run"]), row["metric"]): row for row in findings["latency_summary"].to_dicts()
    }
    late = {
        (str(row["run"]), row["metric"], row["percentile"]): row["value_s"]
        for row in findings["latency_percentiles"].to_dicts()
    }
    asked = sorted({percentile for _, _, percentile in late if percentile != 50})
    rows: list[list[str]] = []
    for metric, name in _METRICS.items():
        for run, label in findings.labels.items():
            row = spread.get((run, metric))
            if row is not None:
                values = [row["min_s"], row["median_s"], row["mean_s"]]
                values += [late.get((run, metric, each)) for each in asked]
                told = any(name == before[0] for before in rows)
                cells = [words.seconds(value) for value in [*values, row["max_s"]]]
                rows.append(["" if told else name, label, *cells])
    rows += _itl_rows(findings, asked)
    headers = ["", "run", "min", "median", "mean", *(f"p{each:g}" for each in asked), "max"]
    return Table(headers, rows, words=2)


def _itl_rows(findings: Findings, percentiles: Sequence[float]) -> list[list[str]]:
    """Return the rows of inter-token latency; none for runs that keep no passes."""
    rows: list[list[str]] = []
    for run, label in findings.labels.items():
        spread = {row["statistic"]: row for row in findings.of("itl_summary", run).to_dicts()}
        if spread:
            shown = ["min", "p50", "mean", *(f"p{each:g}" for each in percentiles), "max"]
            cells = [words.seconds(spread[each]["value_s"]) for each in shown]
            rows.append(["" if rows else "between tokens (ITL)", label, *cells])
    return rows


def _over_time(findings: Findings) -> Iterator[Block]:
    """Draw load and throughput over time, each where a trace tells it."""
    if findings["throughput_windows"]["output_tokens_per_s"].count():
        yield _throughput_figure(findings)
    else:
        yield Paragraph("The trace does not say when tokens were out.", "note")
    load = findings["load_windows"]
    if load["queued_mean"].count() or load["in_flight_mean"].count():
        yield _load_figure(findings)
    else:
        yield Paragraph(
            "The trace does not say how many requests waited, or were served, at a time.", "note"
        )
    whole = findings["prefix_cache"].to_dicts()
    if whole:
        yield Lines([(findings.labels[row["run"]], cache_figures.saved(row)) for row in whole])
        yield _figure(
            findings,
            "prefix_cache_windows",
            lambda width: cache_figures.hits(
                findings["prefix_cache_windows"], whole, findings.labels, width
            ),
            "Of prompts admitted in each window, in tokens.",
        )


def _throughput_figure(findings: Findings) -> Figure:
    return _figure(
        findings,
        "throughput_windows",
        lambda width: figures.throughput(findings["throughput_windows"], findings.labels, width),
        "A request's tokens are spread evenly from its first to its last.",
    )


def _load_figure(findings: Findings) -> Figure:
    return _figure(
        findings,
        "load_windows",
        lambda width: figures.load(findings["load_windows"], findings.labels, width),
        "Averages over windows: waiting from arrival to the first stage, served from there to the "
        "last token.",
    )


def _transfers(findings: Findings) -> Iterator[Block]:
    for model in dict.fromkeys(findings["runs"]["link_model"].to_list()):
        runs = findings["runs"].filter(findings["runs"]["link_model"] == model)
        names = [findings.labels[str(run)] for run in runs["run"].to_list()]
        said = "" if model == "unknown" else f'links = "{model}". '
        yield Lines([(words.listed(names), f"{said}{_LINK_MODELS.get(model, '')}")])
    rows = findings["transfer_summary"].to_dicts()
    moved = [row for row in rows if row["transfers"]]
    if not moved:
        yield Paragraph("Nothing moved over a link.", "note")
        return
    yield Table(
        ["", "what", "transfers", "volume", "link time", "mean", "mean rate", "busiest link"],
        [
            [
                findings.labels[str(row["run"])],
                words.TRANSFERS[row["name"]],
                f"{row['transfers']:,}",
                words.bytes_of(row["bytes"]),
                words.seconds(row["busy_s"]),
                words.seconds(row["mean_transfer_s"]),
                f"{words.amount(row['mean_gbit_per_s'])} Gbit/s",
                words.share(row["busiest_link_share"]),
            ]
            for row in moved
        ],
        words=2,
    )
    hidden = {
        str(row["run"]): (row["hidden_share"], row["mean_wait_s"], row["max_wait_s"])
        for row in findings["kv_transfer_summary"].to_dicts()
    }
    if hidden:
        yield Lines(
            [
                (
                    findings.labels[run],
                    f"{words.share(share)} of the KV caches' link time ran while the sending stage "
                    f"worked; their requests waited {words.seconds(mean)} for the link on average, "
                    f"{words.seconds(most)} at most.",
                )
                for run, (share, mean, most) in hidden.items()
            ]
        )


def _grounds(findings: Findings) -> Iterator[Block]:
    """Say which discipline, timing source and memory arithmetic the numbers rest on."""
    runs = findings["runs"]
    played = runs.filter(runs["source"].is_null())["discipline"].unique(maintain_order=True)
    if len(played):
        yield Lines([("Discipline", _DISCIPLINES.get(each, each)) for each in played.to_list()])
    if imported := [_source(manifest) for manifest in findings.manifests if "source" in manifest]:
        yield Lines([("Imported", text) for text in imported])
    if timing := _timing(findings.manifests):
        yield Lines([("Timing", text) for text in timing])
    for key, heading in (
        ("outside_table", "Outside the measured points"),
        ("memory", "Memory"),
        ("lacks", "Not in the source"),
        ("notes", "Note"),
    ):
        said = findings.shared_facts(key)
        if said:
            every = len(findings.labels)
            yield Lines(
                [
                    (
                        heading if len(labels) == every else f"{heading}, {words.listed(labels)}",
                        text,
                    )
                    for text, labels in said.items()
                ]
            )


def _source(manifest: Mapping[str, Any]) -> str:
    """Return where an imported run is from: the kind of file, its name and its hash."""
    source = manifest["source"]
    files = [f"{each['name']} (SHA-256 {each['sha256'][:12]}...)" for each in source["files"]]
    return f"{manifest['name']}: {source['about']}, {words.listed(files)}"


def _timing(manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each timing source in use, with the words of its provenance."""
    said: dict[str, None] = {}
    for manifest in manifests:
        timing = manifest.get("scenario", {}).get("timing", {})
        if timing:
            name = timing.get("name") or timing.get("kind", "")
            source = timing.get("source") or manifest.get("facts", {}).get("timing_source") or ""
            said[f"{name}. {source}".strip()] = None
    return list(said)


def _definitions(findings: Findings) -> Terms:
    return Terms(
        [
            (
                name,
                " ".join(
                    filter(None, (view.doc, view.definition, view.units and f"Units: {view.units}"))
                ),
            )
            for name in _TERMS
            if (view := findings.views[name])
        ]
    )


def _provenance(findings: Findings) -> Iterator[Block]:
    rows = []
    for (run, label), manifest in zip(findings.labels.items(), findings.manifests, strict=True):
        spans = manifest.get("tables", {}).get("requests", {}).get("sha256", "")
        rows.append(
            [
                label,
                run,
                str(manifest.get("level", "")),
                "–" if manifest.get("seed") is None else str(manifest["seed"]),
                str(manifest.get("scenario_sha256", ""))[:12],
                str(manifest.get("workload_sha256", ""))[:12],
                spans[:12],
            ]
        )
    yield Table(
        ["", "trace", "level", "seed", "scenario", "workload", "requests table"], rows, words=7
    )
    versions = findings.manifests[0].get("versions", {})
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield Paragraph(
        "Every number is a row of a view over the trace: `toolkit sql TRACE` asks them again, and "
        f"`tables/` holds what was read. Hashes are the first digits of SHA-256. Made with {said}.",
        "note",
    )


def _figure(findings: Findings, name: str, draw: Callable[[Width], Drawn], caption: str) -> Figure:
    drawn = draw(style.WIDE)
    wide, narrow = style.svg(drawn, name), style.svg(draw(style.NARROW), name)
    seeds = {str(manifest.get("seed")) for manifest in findings.manifests}
    digest = str(findings.manifests[0].get("scenario_sha256", ""))[:12]
    scenario = findings.manifests[0].get("name", "")
    origin = f"{scenario}, seed {words.listed(sorted(seeds))}, scenario {digest}"
    if all("source" in manifest for manifest in findings.manifests):
        origin = words.listed([str(manifest["name"]) for manifest in findings.manifests])
    caption = f"{caption} ({origin})"
    return Figure(name, wide, narrow, style.png(drawn), caption, f"tables/{name}.csv")


def _split(line: str) -> tuple[str, str]:
    label, _, rest = line.partition(": ")
    return label, rest
