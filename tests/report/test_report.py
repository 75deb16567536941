"""A report is whole, loads nothing, says where its numbers are from, and fits its reader."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from rich.console import Console
from small_runs import small_run

from toolkit import analytics, report
from toolkit.errors import InputError
from toolkit.report import findings, words
from toolkit.report.findings import TABLES
from toolkit.report.folder import MARK, replacing

FIGURES = (
    "timeline",
    "time_ledger",
    "time_ledger_windows",
    "e2e_parts",
    "cost_uses",
    "latency_curve",
    "throughput_windows",
    "load_windows",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[analytics.Run]:
    place = tmp_path_factory.mktemp("runs")
    return [
        analytics.open(
            small_run(seed, split=split, variant=name, batches=8).write(place / f"small-{name}")
        )
        for seed, split, name in ((4, False, "together"), (5, True, "apart"))
    ]


@pytest.fixture(scope="module")
def folder(runs: list[analytics.Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reports") / "small"
    report.write(runs, place)
    return place


class Page(HTMLParser):
    """The addresses a page would load and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data") and tag != "a":
                self.loads.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "br", "img"):
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_write_names_the_files_it_made(runs: list[analytics.Run], tmp_path: Path) -> None:
    files = report.write(runs[:1], tmp_path / "one")
    assert all(file.is_file() for file in files)
    names = {str(file.relative_to(tmp_path / "one")) for file in files}
    assert names == {
        "report.html",
        "report.md",
        *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")),
        *(f"tables/{name}.csv" for name in TABLES),
    }
    assert list(tmp_path.iterdir()) == [tmp_path / "one"]


def test_the_page_loads_nothing_and_its_tags_close(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert [address for address in page.loads if not address.startswith("#")] == []
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    assert "<script" not in text


def test_ids_are_unique_in_the_page_and_what_refers_to_them_resolves(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    ids = Page(text).ids
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', text):
        assert reference in ids


def test_the_answer_stands_first_with_every_run_in_its_table(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    start = text[: text.index("<h2>Why")]
    assert "Does it add up?" in start
    assert "is first" in start
    for label in ("together", "apart"):
        assert f'<th scope="col">{label}</th>' in start
    assert "×" in start


def test_the_page_says_how_numbers_are_defined_and_what_they_rest_on(folder: Path) -> None:
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        for said in (
            "linear interpolation",
            "per_nic",
            "stage 0: 1 GB of 80 GB",
            "price: from memory",
            "idle while there is work in its pipeline",
            "Definitions",
            "event: stages and links serve whoever is ready first",
        ):
            assert said in text, said


def test_figures_are_drawings_with_a_title_and_no_date(folder: Path) -> None:
    for name in FIGURES:
        text = (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        root = ET.fromstring(text)
        assert root.tag.endswith("svg")
        assert "date" not in text
        words_in_it = "".join(root.itertext())
        assert "together" in words_in_it
        assert re.search(r"\d", words_in_it)


def test_the_table_behind_each_figure_is_what_the_view_says(
    runs: list[analytics.Run], folder: Path
) -> None:
    together = analytics.open([run.path for run in runs])
    for name in FIGURES:
        saved = pl.read_csv(folder / "tables" / f"{name}.csv", infer_schema_length=None)
        asked = together.frame(f"FROM {name}")
        assert saved.height == asked.height > 0
        assert saved.columns == asked.columns


def test_the_same_traces_give_the_same_bytes(
    runs: list[analytics.Run], folder: Path, tmp_path: Path
) -> None:
    again = [analytics.open(run.path) for run in runs]
    for file in report.write(again, tmp_path / "again"):
        assert file.read_bytes() == (folder / file.relative_to(tmp_path / "again")).read_bytes()


def written(folder: Path, text: str) -> None:
    with replacing(folder) as part:
        (part / MARK).write_text(text, encoding="utf-8")


def test_a_new_report_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    written(tmp_path / "small", "before")
    written(tmp_path / "small", "after")
    assert (tmp_path / "small" / MARK).read_text(encoding="utf-8") == "after"
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_failure_leaves_the_old_report_alone(tmp_path: Path) -> None:
    written(tmp_path / "small", "before")

    def fail_half_way() -> None:
        with replacing(tmp_path / "small") as part:
            (part / MARK).write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert (tmp_path / "small" / MARK).read_text(encoding="utf-8") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_replacement_killed_half_way_is_undone_by_the_next(tmp_path: Path) -> None:
    written(tmp_path / ".small.previous", "before")
    (tmp_path / ".small.part").mkdir()
    written(tmp_path / "small", "after")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("dear", encoding="utf-8")
    with pytest.raises(InputError, match="something else"):
        written(tmp_path / "thesis", "report")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("colour", [True, False])
def test_the_terminal_summary_fits_80_columns(
    runs: list[analytics.Run], count: int, colour: bool
) -> None:
    console = Console(width=80, record=True, force_terminal=colour, no_color=not colour)
    with console.capture() as captured:
        report.terminal(runs[:count], console)
    text = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert max(map(len, text.splitlines())) <= 80
    for said in ("makespan", "first token", "p99", "stage 0", "trace:", "together"):
        assert said in text


def test_a_terminal_without_colour_still_tells_work_from_bubbles(
    runs: list[analytics.Run],
) -> None:
    console = Console(width=80, no_color=True)
    with console.capture() as captured:
        report.terminal(runs, console)
    for cell in "█▓":
        assert captured.get().count(cell) > 1


@pytest.mark.parametrize("level", ["full", "requests"])
def test_a_summary_has_the_promised_keys_and_is_json(tmp_path: Path, level: str) -> None:
    run = analytics.open(small_run(4, level=level).write(tmp_path / "small"))
    found = json.loads(json.dumps(report.summary(run)))
    assert found["name"] == "small"
    assert found["trace"] == str(tmp_path / "small")
    assert found["makespan_s"] > 0
    assert found["throughput_per_s"] > 0
    assert found["cost_usd"] > 0
    assert set(found["latency_per_token_s"]) == {"median", "max", "min"}
    for metric in ("ttft_s", "tpot_s", "e2e_s"):
        assert {"mean", "min", "median", "max", "p50", "p90", "p99"} == set(found[metric])


def test_a_trace_without_spans_or_prices_is_reported_all_the_same(tmp_path: Path) -> None:
    run = small_run(4, level="requests", price=None).write(tmp_path / "traces" / "small")
    report.write([analytics.open(run)], tmp_path / "report")
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "no timeline" in text
    assert "No price is stated" in text
    assert not (tmp_path / "report" / "figures" / "timeline.svg").exists()
    with Console(width=80).capture():
        report.terminal([analytics.open(run)], Console(width=80))


def test_the_verdict_compares_the_fastest_with_the_first(runs: list[analytics.Run]) -> None:
    found = findings.find(runs)
    rows = found["run_summary"].to_dicts()
    (said, *_) = found.answer()
    best = min(rows, key=lambda row: row["makespan_s"])
    assert said.startswith(f"{best['label']} is first")
    assert words.seconds(best["makespan_s"]) in said


def test_different_work_is_not_compared_in_silence(runs: list[analytics.Run]) -> None:
    assert findings.find(runs)["throughput"]["requests"].n_unique() == 2
    console = Console(width=80)
    with console.capture() as captured:
        report.terminal(runs, console)
    assert "do not serve the same work" in captured.get()


def test_stages_that_hold_the_same_are_told_together(tmp_path: Path) -> None:
    run = small_run(4)
    run.manifest["facts"]["memory"] = [f"stage {at} of 3: 1 GB" for at in range(3)] + ["no KV"]
    found = findings.find([analytics.open(run.write(tmp_path / "small"))])
    assert list(found.shared_facts("memory")) == ["stage 0 – 2 of 3: 1 GB", "no KV"]
