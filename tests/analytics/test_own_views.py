"""Views of the user's own join the library, and are told by file and line where they cannot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from small_runs import small_run

from toolkit import analytics
from toolkit.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(1).write(tmp_path_factory.mktemp("runs") / "one")


def written(place: Path, files: Mapping[str, str]) -> Path:
    place.mkdir(exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text, encoding="utf-8")
    return place


def test_a_query_in_a_file_is_a_view_of_its_name(folder: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine", {"long.sql": "SELECT run, request FROM requests"})
    run = analytics.open(folder, views=mine)
    assert (
        run.sql("SELECT count(*) FROM long").fetchall()
        == run.sql("SELECT count(*) FROM requests").fetchall()
    )


def test_own_views_read_one_another_in_any_order_and_may_be_told_as_create_view(
    folder: Path, tmp_path: Path
) -> None:
    files = {
        "a.sql": "-- Reads nothing that is called itl.\nCREATE OR REPLACE VIEW a AS\nFROM b",
        "b.sql": "/* first */ SELECT run, ttft_s FROM request_latency WHERE ttft_s > 0;",
    }
    run = analytics.open(folder, views=written(tmp_path / "mine", files))
    assert run.frame("FROM a").equals(run.frame("FROM b"))
    layers = {view.name: (view.layer, view.reads) for view in run.views()}
    assert layers["a"] == ("own", ("b",))


def test_their_comments_are_documentation_like_the_librarys(folder: Path, tmp_path: Path) -> None:
    text = "-- How many there are.\n-- Grain: one row.\nSELECT count(*) AS n FROM requests"
    run = analytics.open(folder, views=written(tmp_path / "mine", {"many.sql": text}))
    (view,) = (view for view in run.views() if view.name == "many")
    assert (view.doc, view.grain) == ("How many there are.", "one row.")


def test_files_may_be_named_one_by_one(folder: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine", {"a.sql": "SELECT 1 AS one", "b.sql": "SELECT nonsense"})
    run = analytics.open(folder, views=[mine / "a.sql"])
    assert run.sql("FROM a").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.sql": "SELECT run,\n  nope\nFROM requests"}, "line 2"),
        ({"a.sql": "SELECT 1\nFROM request"}, "did you mean requests?"),
        ({"a.sql": "SELECT (1\n"}, "syntax error"),
        ({"a.sql": "SELECT 1; SELECT 2"}, "2 statements"),
        ({"a.sql": ""}, "0 statements"),
        ({"a.sql": "CREATE TABLE a AS SELECT 1"}, "a statement that does more (CREATE)"),
        ({"a.sql": "COPY (SELECT 1) TO 'x'"}, "a statement that does more (COPY)"),
        ({"a.sql": "CREATE VIEW b AS SELECT 1"}, "expected CREATE VIEW a"),
        ({"itl.sql": "SELECT 1"}, "itl, a view of the library"),
        ({"My view.sql": "SELECT 1"}, "use a-z, 0-9 and _"),
        ({"a.sql": "FROM b", "b.sql": "FROM a"}, "a -> b -> a"),
        ({"notes.txt": "SELECT 1"}, "a folder without any"),
    ],
)
def test_what_is_wrong_is_told_with_its_file(
    folder: Path, tmp_path: Path, files: dict[str, str], said: str
) -> None:
    mine = written(tmp_path / "mine", files)
    with pytest.raises(InputError) as caught:
        analytics.open(folder, views=mine)
    assert said in str(caught.value)
    assert str(mine) in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_wrong_files_are_told_at_once(folder: Path, tmp_path: Path) -> None:
    files = {"a.sql": "SELECT nope FROM requests", "b.sql": "SELECT no FROM requests"}
    with pytest.raises(InputError) as caught:
        analytics.open(folder, views=written(tmp_path / "mine", files))
    assert [Path(each.file).name for each in caught.value.problems] == ["a.sql", "b.sql"]


def test_a_file_that_is_not_there_or_not_text_is_no_traceback(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        analytics.open(folder, views=tmp_path / "absent.sql")
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe9'")
    with pytest.raises(InputError, match="not UTF-8"):
        analytics.open(folder, views=tmp_path / "latin.sql")
