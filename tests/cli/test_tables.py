"""A table comes out the same in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import duckdb
import pytest

from toolkit import tables
from toolkit.errors import InputError

QUERY = """
    SELECT * FROM (VALUES
        (1, 0.5, 'plain', TRUE), (2, 'nan'::DOUBLE, 'a "quoted", é', FALSE), (3, NULL, NULL, NULL)
    ) AS t (number, ratio, words, flag)
"""


def rows_of(query: str) -> duckdb.DuckDBPyRelation:
    relation = duckdb.sql(query)
    assert relation is not None
    return relation


def written(form: str, folder: Path, query: str = QUERY) -> Path:
    file = folder / f"table.{form}"
    tables.write(rows_of(query), form, file)
    return file


def test_csv_is_read_back_by_a_csv_reader(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", tmp_path).read_text(encoding="utf-8"))))
    assert [row["words"] for row in rows] == ["plain", 'a "quoted", é', ""]
    assert [row["number"] for row in rows] == ["1", "2", "3"]


def test_json_has_null_where_json_has_no_number(tmp_path: Path) -> None:
    rows = json.loads(written("json", tmp_path).read_text(encoding="utf-8"))
    assert rows[1] == {"number": 2, "ratio": None, "words": 'a "quoted", é', "flag": False}
    assert rows[2] == {"number": 3, "ratio": None, "words": None, "flag": None}


def test_parquet_is_what_the_query_says(tmp_path: Path) -> None:
    file = written("parquet", tmp_path)
    assert rows_of(f"FROM '{file}'").fetchall()[::2] == rows_of(QUERY).fetchall()[::2]


@pytest.mark.parametrize("form", tables.FORMATS)
def test_no_rows_are_a_table_too(form: str, tmp_path: Path) -> None:
    file = written(form, tmp_path, "SELECT 1 AS number WHERE FALSE")
    if form == "json":
        assert json.loads(file.read_text(encoding="utf-8")) == []
    elif form == "parquet":
        assert rows_of(f"FROM '{file}'").fetchall() == []
    else:
        assert file.read_text(encoding="utf-8").startswith("number")


def test_columns_of_aligned_text_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    tables.write(
        rows_of("SELECT 1 AS n, 'a' AS word UNION ALL SELECT 1000, 'b' ORDER BY 1"),
        "table",
        None,
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["   n  word", "────  ────", "   1  a", "1000  b"]


def test_aligned_text_says_when_it_stops(capsys: pytest.CaptureFixture[str]) -> None:
    tables.write(rows_of(f"SELECT range AS n FROM range({tables.TABLE_ROWS + 1})"), "table", None)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == tables.TABLE_ROWS + 2
    assert "--format csv" in err


def test_a_query_that_fails_half_way_leaves_the_previous_file(tmp_path: Path) -> None:
    file = written("csv", tmp_path)
    before = file.read_bytes()
    failing = rows_of(
        "SELECT CASE WHEN range < 290000 THEN 1 ELSE error('no') END FROM range(300000)"
    )
    with pytest.raises(InputError, match="got Invalid Input Error: no"):
        tables.write(failing, "csv", file)
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_a_folder_that_is_not_there_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file that can be written"):
        tables.write(rows_of("SELECT 1"), "csv", tmp_path / "nowhere" / "table.csv")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.1234567, "0.123457"), (123456.789, "123456.8"), (1e20, "1e+20"), (7, "7")],
)
def test_numbers_are_as_long_as_a_reader_needs(value: object, text: str) -> None:
    *_, line = tables.aligned(["value"], [[value]])
    assert line.strip() == text
