"""The library is documented, and its layers read only what lies below them."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest
from small_runs import small_run

from toolkit import analytics
from toolkit.analytics.library import LAYERS, STORE, View, library, needed, parse
from toolkit.trace.columns import TABLES

VIEWS = {view.name: view for view in library()}
OF_THE_STORE = {f"{STORE}.{table}" for table in (*TABLES, "manifests")}


def each_view() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)


def tables_named_in(sql: str) -> set[str]:
    """Return what FROM and JOIN name in a view's file, its own named steps left out."""
    body = re.sub(r"--[^\n]*", "", sql)
    body = re.sub(r"ASOF LEFT JOIN", "JOIN", body)
    steps = set(re.findall(r"\b(\w+) AS (?:NOT MATERIALIZED )?\(\s*SELECT", body))
    found = set(re.findall(r"\b(?:FROM|JOIN)\s+(store\.\w+|[a-z_]+)\b(?!\s*\()", body))
    return found - steps - {"in_table", "excluded"}


@each_view()
def test_every_view_says_what_it_is_what_a_row_is_and_what_it_reads(view: View) -> None:
    assert view.doc.endswith(".")
    assert view.grain.endswith(".")
    assert view.reads


@each_view()
def test_a_file_creates_the_view_it_is_named_after(view: View) -> None:
    assert re.findall(r"CREATE OR REPLACE VIEW (\w+) AS", view.sql) == [view.name]


@each_view()
def test_what_a_view_says_it_reads_is_what_it_reads(view: View) -> None:
    assert set(view.reads) == tables_named_in(view.sql)


@each_view()
def test_a_view_reads_only_its_own_layer_and_earlier_ones(view: View) -> None:
    for read in view.reads:
        if read in OF_THE_STORE:
            assert view.layer in ("staging", "checks"), f"{view.name} reads {read}"
        else:
            assert LAYERS.index(VIEWS[read].layer) <= LAYERS.index(view.layer)


@each_view()
def test_columns_in_seconds_nanoseconds_bytes_or_dollars_have_their_unit_explained(
    view: View,
) -> None:
    if view.layer in ("facts", "reports"):
        measured = re.search(r"_(s|ns|usd|bytes)\b", view.sql.split("CREATE", 1)[1])
        assert view.units or not measured, f"{view.name} has no Units:"


def test_needed_views_come_after_what_they_read() -> None:
    order = [view.name for view in needed("SELECT * FROM headline", VIEWS)]
    for name in order:
        for read in set(VIEWS[name].reads) - OF_THE_STORE:
            assert order.index(read) < order.index(name)
    assert order[-1] == "headline"


def test_a_comment_is_taken_apart_at_its_keywords() -> None:
    view = parse(
        "v", "facts", "-- One thing.\n-- Grain: one row.  Reads: a, b.\n-- Units: s.\nSELECT 1;"
    )
    assert (view.doc, view.grain, view.reads, view.units) == (
        "One thing.",
        "one row.",
        ("a", "b"),
        "s.",
    )


def test_no_name_of_a_view_is_taken_twice() -> None:
    assert len(VIEWS) == len(library())


def test_every_view_can_be_created_and_says_which_run(tmp_path: Path) -> None:
    run = analytics.open(small_run(3).write(tmp_path / "small"), kept=analytics.SHARED)
    for view in run.views():
        columns = run.sql(f"FROM {view.name}").columns
        assert "run" in columns or view.name.endswith("window_width")


def test_the_connection_has_all_views_for_tools_of_their_own(tmp_path: Path) -> None:
    connection = analytics.open(small_run(3).write(tmp_path / "small")).connection
    assert isinstance(connection, duckdb.DuckDBPyConnection)
    found = connection.sql("SELECT table_name FROM information_schema.tables").fetchall()
    assert set(VIEWS) <= {name for (name,) in found}
