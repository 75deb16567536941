"""Opening runs and asking them questions, the wrong ones too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from small_runs import small_run

from toolkit import analytics
from toolkit.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(1).write(tmp_path_factory.mktemp("runs") / "one")


@pytest.fixture(scope="module")
def run(folder: Path) -> analytics.Run:
    return analytics.open(folder)


def test_a_query_gives_a_relation_or_a_polars_frame(run: analytics.Run) -> None:
    assert run.sql("SELECT 1 + 1 AS two").fetchall() == [(2,)]
    frame = run.frame("SELECT request FROM requests ORDER BY request LIMIT 2")
    assert frame.equals(pl.DataFrame({"request": [0, 1]}, schema={"request": pl.Int32}))


def test_parameters_are_bound_by_name(run: analytics.Run) -> None:
    found = run.sql("SELECT count(*) FROM requests WHERE request < $first", first=2).fetchall()
    assert found == [(2,)]


def test_the_run_column_names_the_folder(run: analytics.Run) -> None:
    assert run.sql("SELECT DISTINCT run FROM spans").fetchall() == [("one",)]
    assert run.sql("SELECT count(*) > 0 FROM spans WHERE run = 'one'").fetchall() == [(True,)]


def test_several_traces_stand_side_by_side_in_the_order_given(tmp_path: Path) -> None:
    paths = [small_run(seed).write(tmp_path / name) for seed, name in ((1, "zebra"), (2, "ant"))]
    together = analytics.open(paths)
    makespans = [
        analytics.open(path).sql("SELECT makespan_s FROM throughput").fetchall()[0][0]
        for path in paths
    ]
    found = together.sql("SELECT run, makespan_s FROM throughput ORDER BY run").fetchall()
    assert found == [("zebra", makespans[0]), ("ant", makespans[1])]


def test_traces_of_one_name_are_told_apart_by_their_parents(tmp_path: Path) -> None:
    paths = [small_run(1).write(tmp_path / parent / "opt66") for parent in ("a", "b")]
    assert analytics.open(paths).names == ("a/opt66", "b/opt66")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM request", "did you mean requests?"),
        ("SELECT * FROM nothing_like_it", "`toolkit sql --list`"),
        ("SELECT arival_ns FROM requests", "arrival_ns"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("", "0 statements"),
        ("SELECT $missing", "missing"),
        ("SELECT 'a'::INTEGER", "Could not convert"),
    ],
)
def test_a_wrong_query_is_answered_with_what_is_wrong(
    run: analytics.Run, query: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        run.frame(query)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{}/spans.parquet' (FORMAT parquet)",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW spans",
        "ATTACH '{}/x.db'",
        "INSERT INTO store.manifests VALUES (1, NULL, NULL)",
    ],
)
def test_a_query_cannot_write(run: analytics.Run, folder: Path, query: str) -> None:
    before = (folder / "spans.parquet").read_bytes()
    with pytest.raises(InputError, match="never written"):
        run.sql(query.format(folder))
    assert (folder / "spans.parquet").read_bytes() == before


def test_queries_that_look_around_see_the_whole_library(run: analytics.Run) -> None:
    shown = {row[0] for row in run.sql("SHOW TABLES").fetchall()}
    assert {view.name for view in run.views()} <= shown
    assert run.sql("DESCRIBE requests").fetchall()


@pytest.mark.parametrize("table", ["spans", "requests", "totals"])
def test_a_truncated_file_is_an_input_error(tmp_path: Path, table: str) -> None:
    folder = small_run(1).write(tmp_path / "cut")
    file = folder / f"{table}.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=table):
        analytics.open(folder)


@pytest.mark.parametrize("table", ["spans", "requests"])
def test_a_file_damaged_inside_is_named(tmp_path: Path, table: str) -> None:
    """Its size and end are as they were, so only reading it tells."""
    folder = small_run(1).write(tmp_path / "spoilt")
    file = folder / f"{table}.parquet"
    spoilt = bytearray(file.read_bytes())
    spoilt[8:200] = bytes(byte ^ 0xFF for byte in spoilt[8:200])
    file.write_bytes(spoilt)
    with pytest.raises(InputError, match="damaged after it was written") as caught:
        analytics.open(folder).frame(f"FROM {table}")
    assert caught.value.file == str(file)


def test_what_is_no_run_is_an_input_error(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError):
            analytics.open(wrong)
    with pytest.raises(InputError):
        analytics.open([])


def test_a_folder_with_a_quote_in_its_name_is_a_folder(tmp_path: Path) -> None:
    run = analytics.open(small_run(1).write(tmp_path / "it's"))
    assert run.sql("SELECT DISTINCT run FROM requests").fetchall() == [("it's",)]


def test_opening_imports_no_plotting() -> None:
    program = (
        "import sys, toolkit.analytics, toolkit.report; assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
