"""Whatever a source lacks, the same reports, queries, checks and pictures run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import toolkit
from toolkit import analytics, cli
from toolkit.analytics.comparison import compare
from toolkit.analytics.run import SHARED
from toolkit.analytics.terms import DIALECTS
from toolkit.commands.report import show_json

DATA = Path(__file__).parent / "data"
SPARSE = {
    "spans alone": '[{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 3, "dur": 2}]',
    "no time at all": '[{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 0, "dur": 0}]',
    "latencies alone": "e2e_s\n1\n2\n",
    "first tokens alone": "first_token_s\n1\n2\n",
    "arrivals alone": "arrival_s\n1\n2\n",
    "a request without tokens": "arrival_s,finish_s,output_tokens\n1,2,0\n",
}


NOT_SAID = r"\b(nan|None(?!\s+took)|inf)\b"

UNANSWERED = (
    "expected a request whose arrival and finish the trace says",
    "expected a run that served a request",
    "expected a trace that knows requests",
    "expected a run with stages, whose time can be explained",
    "expected a run whose stages took time",
)
"""What a question about requests or stages says of a trace that has none."""


def asked(capsys: pytest.CaptureFixture[str], answers: bool, *command: str) -> None:
    """Ask a question that a trace answers, or does not and says so."""
    capsys.readouterr()
    assert cli.main(list(command)) == (0 if answers else 2), command
    said = capsys.readouterr()
    if answers:
        assert said.out
        assert not re.search(NOT_SAID, said.out), command
    else:
        assert any(text in said.err for text in UNANSWERED), (command, said.err)


def every_question(
    run: analytics.Run, folder: Path, capsys: pytest.CaptureFixture[str], *, drawn: bool
) -> None:
    """Ask who was late, what dominates, what changed, and in other tools' terms."""
    trace = str(run.path)
    ((requests, timed, served),) = run.sql(
        "SELECT count(*), count(finish_ns - arrival_ns), count(*) FILTER (outcome = 'served') "
        "FROM requests"
    ).fetchall()
    ((stages, lasted),) = run.sql(
        "SELECT count(*) FILTER (kind = 'stage'), any_value(makespan_ns) "
        "FROM run_totals LEFT JOIN tracks USING (run)"
    ).fetchall()
    for how in ([], ["--slowest", "2", "-o", str(folder / "why.svg")]):
        asked(capsys, timed > 0, "why", trace, *how)
    asked(capsys, stages > 0 and lasted > 0, "explain-run", trace)
    for dialect in DIALECTS if drawn else DIALECTS[:1]:
        asked(capsys, requests > 0, "report", trace, "--dialect", dialect)
    page = ["-o", str(folder / "compared")] if drawn else []
    asked(capsys, served > 0, "compare", trace, trace, "--all", *page)
    if (folder / "compared").exists():
        assert not re.search(NOT_SAID, (folder / "compared" / "report.md").read_text())


def every_command(
    run: analytics.Run, folder: Path, capsys: pytest.CaptureFixture[str], *, drawn: bool
) -> None:
    """Ask everything; where not `drawn`, without pages and in one tool's terms only."""
    trace = str(run.path)
    every_question(run, folder, capsys, drawn=drawn)
    assert cli.main(["check", trace]) == 0
    show_json([run])
    assert cli.main(["export", trace, "--to", "perfetto", "-o", str(folder / "t.pftrace")]) == 0
    assert cli.main(["export", trace, "--to", "chrome", "-o", str(folder / "t.json")]) == 0
    if drawn:
        page_is_good(run, folder)


def every_view(folders: Sequence[Path]) -> None:
    """Read all of the library over traces that lack different things."""
    with analytics.open(folders, kept=SHARED) as opened:
        for view in opened.views():
            if view.layer != "checks":
                opened.frame(f"FROM {view.name}")


def page_is_good(run: analytics.Run, folder: Path) -> None:
    """Write the report; it says what the trace lacks, and nothing is a number that is none."""
    assert cli.main(["report", str(run.path), "-o", str(folder / "report")]) == 0
    text = (folder / "report" / "report.md").read_text()
    for lack in run.manifest["facts"]["lacks"]:
        assert lack in text
    assert not re.search(NOT_SAID, text)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> dict[str, analytics.Run]:
    """Return a trace of each sparse source."""
    place = tmp_path_factory.mktemp("sparse")
    runs = {}
    for number, (what, text) in enumerate(SPARSE.items()):
        file = place / "source"
        file.write_text(text)
        kind = "chrome" if text.startswith("[") else "table"
        runs[what] = toolkit.import_trace(
            file, kind=kind, out=place, name=f"it-{number}", renderings=False
        )
    return runs


@pytest.fixture(scope="module")
def fuller(tmp_path_factory: pytest.TempPathFactory) -> dict[str, analytics.Run]:
    """Return a trace of each file here that says more."""
    place = tmp_path_factory.mktemp("fuller")
    rules = {"engine.json": DATA / "engine.toml", "vllm_bench_detailed.json": None}
    return {
        name: toolkit.import_trace(DATA / name, out=place, rules=file)
        for name, file in rules.items()
    }


@pytest.mark.parametrize("what", SPARSE)
def test_a_sparse_trace_has_every_report(
    what: str,
    sparse: dict[str, analytics.Run],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    every_command(sparse[what], tmp_path, capsys, drawn=what == "latencies alone")


@pytest.mark.parametrize("name", ["vllm_bench_detailed.json", "engine.json"])
def test_the_files_here_have_every_report(
    name: str,
    fuller: dict[str, analytics.Run],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = fuller[name]
    assert (run.path / "trace.pftrace").exists()
    every_command(run, tmp_path, capsys, drawn=name == "engine.json")


def test_a_trace_has_every_view_whatever_it_lacks(
    sparse: dict[str, analytics.Run], fuller: dict[str, analytics.Run]
) -> None:
    """The emptiest alone, and all of them beside one another."""
    every_view([sparse["spans alone"].path])
    every_view([run.path for run in (*sparse.values(), *fuller.values())])


def test_real_files_have_every_report(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in sorted((shared / "samples" / "foreign_traces").glob("*/*.gz")):
        run = toolkit.import_trace(file, out=tmp_path, name="it")
        assert run.check() == []
        if file.parent.name == "vidur":
            every_command(run, tmp_path, capsys, drawn=False)
            every_view([run.path])
        if file.name.startswith(("llama3", "alexnet")):
            page_is_good(run, tmp_path)


@pytest.mark.filterwarnings("error")
def test_runs_that_lack_different_things_stand_side_by_side(
    sparse: dict[str, analytics.Run], tmp_path: Path
) -> None:
    runs = [str(run.path) for run in sparse.values()]
    assert [run.name for run in sparse.values()] == [f"it-{at}" for at in range(len(SPARSE))]
    assert cli.main(["report", *runs, "-o", str(tmp_path / "report")]) == 0
    assert cli.main(["report", *reversed(runs), "-o", str(tmp_path / "report")]) == 0


def test_runs_from_elsewhere_stand_beside_simulated_ones(tmp_path: Path) -> None:
    scenario = toolkit.load(Path(__file__).parents[2] / "scenarios" / "first.toml", variant="apart")
    run = toolkit.run(scenario, out=tmp_path)
    assert not isinstance(run, dict)
    again = toolkit.import_trace(run.path / "trace.pftrace", out=tmp_path, name="again")
    assert cli.main(["report", str(run.path), str(again.path), "-o", str(tmp_path / "both")]) == 0
    figures = "SELECT makespan_s, requests, ttft_median_s, e2e_p99_s, utilisation FROM run_summary"
    assert again.sql(figures).fetchall() == run.sql(figures).fetchall()


def test_a_comparison_of_an_imported_with_a_simulated_run_finds_the_same_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Either way round; what the import does not know has no difference, and is said."""
    scenario = toolkit.load(Path(__file__).parents[2] / "scenarios" / "first.toml", variant="apart")
    simulated = toolkit.run(scenario, out=tmp_path, report=False)
    assert isinstance(simulated, analytics.Run)
    imported = toolkit.import_trace(
        simulated.path / "trace.pftrace", out=tmp_path, name="again", renderings=False
    )
    for runs in ([imported, simulated], [simulated, imported]):
        found = compare([run.path for run in runs])
        metrics = found.rows("metric_changes", found.sides[1])
        known = {row["metric"]: by for row in metrics if (by := row["difference"]) is not None}
        assert known == dict.fromkeys(known, pytest.approx(0))
        assert known.keys() >= {"makespan_s", "requests", "ttft_p99_ms", "e2e_p50_ms"}
        spent = found.rows("spending_changes", found.sides[1])
        assert {row["cause"]: row["difference_s"] for row in spent} == dict.fromkeys(
            ("prefill", "decode", "bubble", "waiting", "finished"), 0
        )
    traces = [str(run.path) for run in (simulated, imported)]
    page = tmp_path / "compared"
    limit = ["--fail-if", "e2e_p99_ms > +1%"]
    asked(capsys, True, "compare", *traces, "--all", *limit, "-o", str(page))
    report = (page / "report.md").read_text()
    assert not re.search(NOT_SAID, report)
    assert "again is imported and has no scenario." in report
    assert "again states no price, so no bills can be compared." in report
    assert "No request is known to be the same in both" in report
