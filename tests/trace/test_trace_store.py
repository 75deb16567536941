"""The store: what goes in comes out, the same bytes each time, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit import analytics
from toolkit.errors import FaultError, InputError
from toolkit.trace import store as store_module
from toolkit.trace.columns import TABLES, Chunk, empty
from toolkit.trace.store import ROW_GROUP, Store, StoreWriter, write


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def in_pieces(chunks: list[Chunk], sizes: list[int]) -> Iterator[Chunk]:
    for chunk in chunks:
        first = 0
        turn = 0
        while first < len(chunk):
            last = first + sizes[turn % len(sizes)]
            yield Chunk(
                chunk.table, {name: values[first:last] for name, values in chunk.columns.items()}
            )
            first, turn = last, turn + 1


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_every_table_is_there_and_reads_back(tmp_path: Path) -> None:
    opened = worlds.store(tmp_path / "run", worlds.pipeline())
    for name, table in TABLES.items():
        assert opened.path(name).exists()
        assert pq.read_schema(opened.path(name)).names == list(table.column_names)
    chunks = {chunk.table: chunk for chunk in worlds.pipeline()}
    for name in ("spans", "flows", "waits"):
        read = worlds.table(opened, name)
        for column in TABLES[name].column_names:
            np.testing.assert_array_equal(read[column], chunks[name].columns[column])


def test_empty_values_become_nulls_and_others_stay(tmp_path: Path) -> None:
    opened = worlds.store(tmp_path / "run", worlds.pipeline())
    machines = opened.read("machines").to_pylist()
    assert machines[0]["weights_bytes"] is None
    assert machines[0]["layers"] == 4.0
    spans = pl.read_parquet(opened.path("spans"))
    assert spans.filter(pl.col("bytes").is_not_null()).height == 4
    assert spans["depth"].null_count() == 0


def test_an_optional_column_that_no_chunk_has_is_empty_and_one_that_a_chunk_has_stays(
    tmp_path: Path,
) -> None:
    without = worlds.store(tmp_path / "without", worlds.pipeline())
    assert set(without.read("requests")["tenant"].to_pylist()) == {None}
    tenants: Any = ["chat", None, "code", "chat"]
    with_tenants = [
        Chunk("requests", {**chunk.columns, "tenant": tenants})
        if chunk.table == "requests"
        else chunk
        for chunk in worlds.pipeline()
    ]
    opened = worlds.store(tmp_path / "with", with_tenants)
    assert opened.read("requests")["tenant"].to_pylist() == tenants


def test_an_older_store_without_an_optional_column_opens_beside_a_newer_one(
    tmp_path: Path,
) -> None:
    worlds.store(tmp_path / "new", worlds.pipeline())
    worlds.store(tmp_path / "old", worlds.pipeline())
    path = tmp_path / "old" / "requests.parquet"
    pq.write_table(pq.read_table(path).drop(["tenant"]), path)
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    manifest["tables"]["requests"]["bytes"] = path.stat().st_size
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    assert Store(tmp_path / "old").lacks("requests") == ("tenant",)
    with analytics.open([tmp_path / "old", tmp_path / "new"]) as run:
        assert run.sql("SELECT DISTINCT tenant FROM requests").fetchall() == [(None,)]
        per_run = "SELECT run, count(*) FROM requests GROUP BY run ORDER BY run"
        assert [count for _, count in run.sql(per_run).fetchall()] == [4, 4]


def test_a_store_without_rows_has_every_table(tmp_path: Path) -> None:
    opened = worlds.store(tmp_path / "run", [empty(name) for name in TABLES])
    assert all(opened.rows(name) == 0 for name in TABLES)
    assert worlds.store(tmp_path / "other", []).rows("spans") == 0


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_the_same_rows_in_any_chunks_give_the_same_bytes(
    sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("chunks")
    worlds.store(folder / "whole", worlds.pipeline())
    worlds.store(folder / "pieces", in_pieces(worlds.pipeline(), sizes))
    assert digests(folder / "whole") == digests(folder / "pieces")


@pytest.mark.parametrize("size", [ROW_GROUP - 1, 100_003, 2 * ROW_GROUP + 1])
def test_row_groups_are_full_whatever_the_chunks(size: int, tmp_path: Path) -> None:
    chunks = list(worlds.large(2 * ROW_GROUP + 8))
    whole = worlds.store(tmp_path / "whole", chunks)
    pieces = worlds.store(tmp_path / "pieces", in_pieces(chunks, [size]))
    assert digests(whole.folder) == digests(pieces.folder)
    metadata = pq.read_metadata(whole.path("spans"))
    assert [metadata.row_group(g).num_rows for g in range(3)] == [ROW_GROUP, ROW_GROUP, 8]
    first = metadata.row_group(1).column(0).statistics
    assert first.min == metadata.row_group(0).column(0).statistics.max + 4_600_000


def test_small_tables_are_sorted_whatever_the_order_of_chunks(tmp_path: Path) -> None:
    chunks = worlds.pipeline()
    backwards = worlds.store(tmp_path / "backwards", chunks[::-1])
    assert digests(backwards.folder) == digests(worlds.store(tmp_path / "run", chunks).folder)


def test_spans_out_of_order_are_a_fault_of_ours(tmp_path: Path) -> None:
    chunk = worlds.spans([(5, 1, 0, 0, 0, None, None, None, 0)])
    before = worlds.spans([(4, 1, 0, 0, 0, None, None, None, 0)])
    with pytest.raises(FaultError, match="not sorted"):
        worlds.store(tmp_path / "run", [chunk, before])
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_that_is_not_its_table_is_a_fault_of_ours(tmp_path: Path) -> None:
    good = worlds.spans([(5, 1, 0, 0, 0, None, None, None, 0)])
    wrong = [
        Chunk("spams", good.columns),
        Chunk("spans", {"ts_ns": np.zeros(1, np.int64)}),
        Chunk("spans", {**good.columns, "dur_ns": np.zeros(2, np.int64)}),
        Chunk("spans", {**good.columns, "track": np.array([2**31])}),
        Chunk("spans", {**good.columns, "ts_ns": np.array([0.5])}),
    ]
    for chunk in wrong:
        with pytest.raises(FaultError):
            worlds.store(tmp_path / "run", [chunk])
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_is_completed_and_has_no_clock(tmp_path: Path) -> None:
    text = []
    for name in ("one", "two"):
        write(tmp_path / name, worlds.pipeline(), {"title": "größer", "seed": 42})
        text.append((tmp_path / name / "manifest.json").read_text(encoding="utf-8"))
    assert text[0] == text[1]
    manifest = json.loads(text[0])
    assert manifest["title"] == "größer"
    assert manifest["format_version"] == 1
    spans = manifest["tables"]["spans"]
    path = tmp_path / "one" / spans["file"]
    assert spans["bytes"] == path.stat().st_size
    assert spans["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert spans["rows"] == pq.read_metadata(path).num_rows


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


@settings(max_examples=12, deadline=None)
@given(after=st.integers(0, 12))
def test_an_interrupted_run_leaves_the_previous_one_as_it_was(
    after: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("runs") / "run"
    worlds.store(folder, worlds.pipeline(requests=3))
    before = digests(folder)

    def broken() -> Iterator[Chunk]:
        for number, chunk in enumerate([*worlds.pipeline(), *worlds.scenery(), *worlds.scenery()]):
            if number == after:
                raise Interrupted
            yield chunk

    with pytest.raises(Interrupted):
        write(folder, broken(), {})
    assert digests(folder) == before
    assert hidden(folder.parent) == []


def test_a_failure_in_the_writer_thread_reaches_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(InputError, match="No space left on device"):
        worlds.store(tmp_path / "run", worlds.large(3 * ROW_GROUP))
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
import worlds
from pathlib import Path
from toolkit.trace.store import write

def chunks():
    yield from worlds.large(600_000)
    print("half", flush=True)
    time.sleep(60)

write(Path(sys.argv[1]), chunks(), {})
"""


def killed_writer(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(Path(worlds.__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


def test_kill_9_leaves_the_previous_run_and_the_next_start_sweeps(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    worlds.store(folder, worlds.pipeline())
    before = digests(folder)
    process = killed_writer(folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert digests(folder) == before
    assert hidden(tmp_path) != []
    Store(folder)

    worlds.store(folder, worlds.pipeline(requests=2))
    assert hidden(tmp_path) == []
    assert Store(folder).rows("requests") == 2


def test_a_second_writer_is_refused_while_the_first_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOCK_WAIT_S", 0.1)
    folder = tmp_path / "run"
    process = killed_writer(folder)
    try:
        with pytest.raises(InputError, match=f"process {process.pid} is writing it"):
            worlds.store(folder, worlds.pipeline())
    finally:
        process.kill()
        process.wait()
    worlds.store(folder, worlds.pipeline())  # a dead owner's lock is taken over


def test_a_second_writer_waits_for_a_first_that_ends_soon(tmp_path: Path) -> None:
    def slow() -> Iterator[Chunk]:
        time.sleep(0.3)
        yield from worlds.pipeline()

    first = threading.Thread(target=lambda: write(tmp_path / "run", slow(), {"name": "first"}))
    first.start()
    time.sleep(0.1)
    write(tmp_path / "run", worlds.pipeline(), {"name": "second"})
    first.join()
    assert Store(tmp_path / "run").manifest["name"] == "second"
    assert hidden(tmp_path) == []


def test_a_replacement_killed_between_its_renames_is_put_back(tmp_path: Path) -> None:
    worlds.store(tmp_path / "run", worlds.pipeline())
    (tmp_path / "run").rename(tmp_path / ".run.previous")
    assert Store(tmp_path / "run").rows("requests") == 4

    (tmp_path / "run").rename(tmp_path / ".run.previous")
    with pytest.raises(Interrupted):
        write(tmp_path / "run", interrupted(), {})
    assert Store(tmp_path / "run").rows("requests") == 4
    assert hidden(tmp_path) == []


def interrupted() -> Iterator[Chunk]:
    raise Interrupted
    yield


def test_only_earlier_runs_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine too")
    for name in ("file", "folder"):
        with pytest.raises(InputError, match="left alone"):
            worlds.store(tmp_path / name, worlds.pipeline())
    with pytest.raises(InputError, match="can be written"):
        worlds.store(tmp_path / "file" / "below", worlds.pipeline())
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "mine too"
    assert hidden(tmp_path) == []
    (tmp_path / "empty").mkdir()
    worlds.store(tmp_path / "empty", worlds.pipeline())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="can be written"):
        worlds.store(tmp_path / "run", worlds.pipeline())


def test_what_finish_adds_is_part_of_the_same_commit(tmp_path: Path) -> None:
    def finish(store: Store) -> None:
        assert not (tmp_path / "run").exists()
        (store.folder / "picture").write_text("drawn")

    write(tmp_path / "run", worlds.pipeline(), {}, finish=finish)
    assert (tmp_path / "run" / "picture").read_text() == "drawn"


def test_foreign_and_damaged_runs_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="nothing of that name"):
        Store(folder)
    folder.mkdir()
    with pytest.raises(InputError, match="without manifest"):
        Store(folder)
    for text, complaint in (
        ("{", "cannot be read"),
        ("[]", "something else"),
        ('{"tables": {}, "format_version": 99}', "format version 99"),
    ):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=complaint):
            Store(folder)
    with pytest.raises(InputError, match="a file"):
        Store(tmp_file(tmp_path))


def tmp_file(folder: Path) -> Path:
    (folder / "file").write_bytes(b"PAR1")
    return folder / "file"


def damaged(folder: Path, table: str, content: bytes | None) -> None:
    worlds.store(folder, worlds.pipeline())
    path = folder / f"{table}.parquet"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def test_missing_truncated_and_exchanged_files_are_named(tmp_path: Path) -> None:
    worlds.store(tmp_path / "other", worlds.pipeline(requests=2))
    whole = (tmp_path / "other" / "spans.parquet").read_bytes()
    for content, complaint in (
        (None, "no such file"),
        (whole[: len(whole) // 2], "cut short or damaged"),
        (b"", "cut short or damaged"),
        (b"hello, world", "cut short or damaged"),
        ((tmp_path / "other" / "waits.parquet").read_bytes(), "a table without ts_ns"),
        (whole, "but the manifest says"),
    ):
        damaged(tmp_path / "run", "spans", content)
        with pytest.raises(InputError, match=complaint) as error:
            Store(tmp_path / "run")
        assert "spans.parquet" in str(error.value)
        assert "toolkit run" in str(error.value)


def test_the_writer_by_itself_leaves_nothing_behind_on_an_exception(tmp_path: Path) -> None:
    def use() -> None:
        with StoreWriter(tmp_path / "run") as writer:
            writer.write(worlds.pipeline()[0])
            raise Interrupted

    with pytest.raises(Interrupted):
        use()
    assert list(tmp_path.iterdir()) == []
