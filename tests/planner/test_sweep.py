"""A sweep from its points to results that do not depend on who computed them, or how often."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sweep_documents import SMALL, small

import toolkit
from toolkit import cli, scenario
from toolkit.errors import InputError
from toolkit.planner import points
from toolkit.planner.ledger import Ledger
from toolkit.planner.metrics import metric_names
from toolkit.planner.sweep import Swept, check, sweep
from toolkit.trace.store import locked

KILLS = 20


def swept(document: Mapping[str, Any], out: Path, **more: Any) -> Swept:
    return sweep(toolkit.load(document), out, **{"executor": "serial", "report": False, **more})


def result_bytes(out: Path) -> bytes:
    return (out / "reports" / "small" / "results.parquet").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the small sweep was played at one go, in this process."""
    out = tmp_path_factory.mktemp("whole")
    swept(SMALL, out, report=True)
    return out


@pytest.fixture(scope="module")
def frame(whole: Path) -> pl.DataFrame:
    return pl.read_parquet(whole / "reports" / "small" / "results.parquet")


# -- results -------------------------------------------------------------------------------------


def test_results_have_a_row_for_every_point_and_a_column_for_every_metric(
    frame: pl.DataFrame,
) -> None:
    loaded = toolkit.load(SMALL).sweep
    assert loaded is not None
    assert frame["point"].to_list() == list(range(len(loaded.points)))
    assert set(metric_names(())) < set(frame.columns)
    assert frame["machines"].dtype == pl.Int64


def test_points_that_cannot_be_are_there_with_the_reason_and_no_metrics(
    frame: pl.DataFrame,
) -> None:
    bad = frame.filter(frame["status"] != "done")
    assert bad.height == 15
    assert bad["reason"].null_count() == 0
    assert bad.select(metric_names(())).null_count().sum_horizontal()[0] == 15 * len(
        metric_names(())
    )
    assert frame.filter(frame["status"] == "done")["makespan_s"].null_count() == 0


def test_the_winner_is_the_first_with_the_least(frame: pl.DataFrame, whole: Path) -> None:
    winners = pl.read_csv(whole / "reports" / "small" / "tables" / "winners.csv")
    good = frame.filter((frame["status"] == "done") & (frame["ttft_p99_ms"] <= 60_000))
    for family in ("colocated", "split"):
        own = good.filter(good["family"] == family)
        groups = {
            "all": own,
            **{f"machines = {n}": own.filter(own["machines"] == n) for n in (2, 3, 4)},
        }
        for over, rows in groups.items():
            expected = rows.sort("makespan_s", "point").row(0, named=True)
            row = winners.filter((winners["family"] == family) & (winners["over"] == over))
            assert row["point"].item() == expected["point"]
            assert row["makespan_s"].item() == expected["makespan_s"]


def test_limits_keep_points_from_winning(tmp_path: Path) -> None:
    """Also those on keys; where nothing is left there is no winner."""
    goal = {"maximise": "requests_per_s", "limits": ["machines = 3", "e2e_max_s < 1e9"]}
    found = swept(small(best=goal), tmp_path)
    assert {winner.row["machines"] for winner in found.results.winners() if winner.row} == {3}
    goal["limits"] = ["machines > 9"]
    nothing = swept(small(best=goal), tmp_path)
    assert nothing.results.best() is None
    assert not nothing.traces


def test_metrics_are_those_of_the_same_run_on_disk(frame: pl.DataFrame, whole: Path) -> None:
    """The winner's trace, opened, says what the sweep said of its point."""
    for family in ("colocated", "split"):
        run = toolkit.open(whole / "traces" / f"small-{family}")
        winners = pl.read_csv(whole / "reports" / "small" / "tables" / "winners.csv")
        number = winners.filter((winners["family"] == family) & (winners["over"] == "all"))["point"]
        row = frame.row(number.item(), named=True)
        summary = run.frame("FROM run_summary").row(0, named=True)
        for name in ("makespan_s", "requests_per_s", "utilisation", "bubble_share", "cost_usd"):
            assert row[name] == summary[name]
        for each in run.frame("FROM latency_summary").to_dicts():
            for it in ("min", "mean", "max"):
                expected = pytest.approx(each[f"{it}_s"] * 1e3, rel=1e-12)
                assert row[f"{each['metric']}_{it}_ms"] == expected
        for each in run.frame("FROM latency_percentiles").to_dicts():
            name = f"{each['metric']}_p{each['percentile']:g}_ms"
            assert row[name] == pytest.approx(each["value_s"] * 1e3, rel=1e-12)


def test_a_spread_is_that_of_the_other_views(whole: Path) -> None:
    run = toolkit.open(sorted((whole / "traces").iterdir()))
    spread = run.frame("FROM latency_spread").sort("run", "metric")
    summary = run.frame("FROM latency_summary").sort("run", "metric")
    for column in ("samples", "min_s", "median_s", "mean_s", "max_s"):
        assert spread[column].to_list() == pytest.approx(summary[column].to_list(), rel=1e-12)


# -- who computes, and how often it is stopped ---------------------------------------------------


def test_the_size_of_batches_changes_no_byte(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "MOST_POINTS", 1)
    swept(SMALL, tmp_path)
    assert result_bytes(tmp_path) == result_bytes(whole)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_byte(workers: int, whole: Path, tmp_path: Path) -> None:
    swept(SMALL, tmp_path, executor="processes", workers=workers)
    assert result_bytes(tmp_path) == result_bytes(whole)


def test_a_dask_cluster_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs distributed, of the extra dask")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        swept(SMALL, tmp_path, executor="dask", address=cluster.scheduler_address)
    assert result_bytes(tmp_path) == result_bytes(whole)


def _play_slowly(out: str) -> None:
    """Play the small sweep in batches of one, with time between them to be killed in."""
    points.MOST_POINTS = 1
    add = Ledger.add

    def add_slowly(ledger: Ledger, answers: Any) -> None:
        time.sleep(0.005)
        add(ledger, answers)

    Ledger.add = add_slowly  # type: ignore[method-assign, assignment]
    swept(SMALL, Path(out))


def test_a_sweep_killed_again_and_again_ends_in_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    """Each start goes on where the last one was killed; all of them are killed for real."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toolkit.planner.sweep", "toolkit.simulator.event_run"])
    moments = random.Random(3)
    kills, progress = 0, []
    ledger = tmp_path / "reports" / ".small.sweep"
    while kills < KILLS:
        process = context.Process(target=_play_slowly, args=(str(tmp_path),))
        process.start()
        # Wait until it works, then for any moment of its work.
        until = time.monotonic() + 30
        before = len(list(ledger.glob("*.jsonl")))
        if moments.random() < 0.5:
            while process.is_alive() and time.monotonic() < until:
                if len(list(ledger.glob("*.jsonl"))) > before:
                    break
                time.sleep(0.001)
        process.join(moments.uniform(0, 0.05))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        progress.append(len(list(ledger.glob("*.jsonl"))))
        if process.exitcode == 0:  # it was quicker: again from the start
            assert result_bytes(tmp_path) == result_bytes(whole)
            (tmp_path / "reports" / "small" / "results.parquet").unlink()
            (tmp_path / "reports" / "small" / "tables" / "winners.csv").unlink()
            (tmp_path / "reports" / "small" / "tables").rmdir()
    assert any(count > 0 for count in progress)

    swept(SMALL, tmp_path)
    assert result_bytes(tmp_path) == result_bytes(whole)
    assert not ledger.exists()


def test_what_is_known_is_not_played_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither after an interruption nor where two families have a point in common."""
    played: list[str] = []
    answer, patience = points.answer, 8

    def counted(batch: Any) -> Any:
        if len(played) >= patience:
            raise KeyboardInterrupt
        played.extend(task.key for task in batch)
        return answer(batch)

    monkeypatch.setattr(points, "MOST_POINTS", 4)
    monkeypatch.setattr(points, "answer", counted)
    with pytest.raises(KeyboardInterrupt):
        swept(SMALL, tmp_path)
    assert len(played) == 8
    patience = 1000
    swept(SMALL, tmp_path)
    assert len(set(played)) == len(played)
    assert result_bytes(tmp_path) == result_bytes(whole)

    played.clear()
    twins = small(family=[{"name": "one"}, {"name": "other"}])
    found = swept(twins, tmp_path / "twins").results.frame()
    assert len(played) == (found["status"] == "done").sum() / 2


def test_a_damaged_ledger_is_played_again(whole: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "reports" / ".small.sweep"
    ledger.mkdir(parents=True)
    (ledger / "a.jsonl").write_text('{"key": "cut sho')
    (ledger / "b.jsonl").write_bytes(b"\xff\xfe")
    swept(SMALL, tmp_path)
    assert result_bytes(tmp_path) == result_bytes(whole)


def test_the_second_at_a_sweep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    refused = pytest.raises(InputError, match="expected to be the only one writing this run")
    with locked(tmp_path / "reports" / "small"), refused:
        swept(SMALL, tmp_path)
    swept(SMALL, tmp_path)


def test_ctrl_c_ends_the_workers_too(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    long = small()
    long["workload"]["entries"] = 40_000
    long["workload"]["lengths"]["output_tokens"] = 2000
    file.write_text(scenario.dumps(long), encoding="utf-8")
    command = [sys.executable, "-m", "toolkit", "run", str(file), "--out", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--workers", "2"], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + 60
        while len(_group(process.pid)) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    until = time.monotonic() + 10
    while _group(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _group(process.pid)


def _group(leader: int) -> list[int]:
    """Return the living processes of a session, by /proc."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("best", "said"),
    [
        ({"minimise": "makespan"}, "no such metric or key: makespan; did you mean makespan_s?"),
        ({"maximise": "thruput_per_s"}, "did you mean throughput_per_s?"),
        ({"limits": ["ttft_p98_ms < 1"]}, "no such metric or key: ttft_p98_ms"),
        ({"limits": ["microbatch < 1"]}, "did you mean microbatch_size?"),
    ],
)
def test_what_is_no_metric_is_told_before_anything_is_played(
    best: dict[str, Any], said: str, tmp_path: Path
) -> None:
    loaded = toolkit.load(small(best=best))
    for act in (lambda: check(loaded), lambda: sweep(loaded, tmp_path)):
        with pytest.raises(InputError) as raised:
            act()
        assert said in str(raised.value)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"executor": "threads"}, "expected one of serial, processes, dask"),
        ({"executor": "dask"}, "expected --address together with --executor dask"),
        ({"workers": 0}, "expected at least 1"),
        ({"trace_points": [99]}, "expected the number of a point, 0 to 47"),
    ],
)
def test_options_that_cannot_be_are_refused(
    more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        swept(SMALL, tmp_path, **more)


def test_run_and_sweep_know_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"call toolkit\.sweep"):
        toolkit.run(toolkit.load(SMALL), tmp_path)
    plain = {key: value for key, value in SMALL.items() if key != "sweep"}
    with pytest.raises(InputError, match=r"expected a scenario with \[sweep\]"):
        toolkit.sweep(toolkit.load(plain), tmp_path)


# -- report and command line ---------------------------------------------------------------------


def test_the_report_has_its_figures_and_the_same_bytes_again(whole: Path, tmp_path: Path) -> None:
    swept(SMALL, tmp_path, report=True)
    first, again = whole / "reports" / "small", tmp_path / "reports" / "small"
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    again_files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert again_files == files
    for name in ("makespan-s-by-machines", "machine-hours-by-machines"):
        assert Path(f"figures/{name}.svg") in files
        assert Path(f"figures/{name}.png") in files
    for file in files:
        assert (again / file).read_bytes() == (first / file).read_bytes(), file
    text = (first / "report.md").read_text(encoding="utf-8")
    assert "The least makespan_s is" in text
    assert "33 of 48 points were played" in text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(scenario.dumps(SMALL), encoding="utf-8")
    return path


def test_the_command_line_checks_runs_and_prints(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(file)]) == 0
    assert "48 points in families colocated, split; 15 do not fit" in capsys.readouterr().out
    options = ["--out", str(tmp_path), "--executor", "serial", "--trace-points", "0"]
    assert cli.main(["run", str(file), *options, "--no-report"]) == 0
    said = capsys.readouterr().out
    assert "33 of 48 points were played" in said
    assert (tmp_path / "traces" / "small-point-0" / "manifest.json").is_file()
    assert cli.main(["run", str(file), *options, "--json", "--variant", "split"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert {winner["family"] for winner in found["winners"]} == {"split"}
    assert cli.main(["run", str(file), "--trace-points", "a"]) == 2
    assert "expected numbers of points" in capsys.readouterr().err
