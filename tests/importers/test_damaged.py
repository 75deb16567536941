"""Damaged, empty, foreign and huge input: one clear error, exit code 2, nothing written over."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit import cli, importers
from toolkit.errors import InputError
from toolkit.importers.rules import load_rules, schema
from toolkit.importers.source import Source

DATA = Path(__file__).parent / "data"
SLICE = '{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 3, "dur": 2}'


def vllm(**changes: object) -> str:
    return json.dumps({**json.loads((DATA / "vllm_bench_detailed.json").read_text()), **changes})


def event(**changes: object) -> str:
    return json.dumps([{**json.loads(SLICE), **changes}])


BAD: dict[str, tuple[str, bytes | str, str]] = {
    "an empty file": ("auto", b"", "an empty file"),
    "an empty gzip": ("auto", gzip.compress(b""), "an empty file"),
    "a picture": ("auto", b"\x89PNG\r\n\x1a\n\0\0", "one of the kinds"),
    "text of nothing known": ("auto", "hello\n", "one of the kinds"),
    "JSON of nothing known": ("auto", '{"a": 1}', "map them: --map"),
    "a torn gzip": ("chrome", gzip.compress(b"[" + SLICE.encode() + b"]")[:-12], "cut short"),
    "a gzip with a wrong byte": (
        "chrome",
        gzip.compress(b"[" + SLICE.encode() * 9 + b"]")[:20] + b"\xff" * 40,
        "cut short or damaged",
    ),
    "no JSON": ("chrome", "ph = X", "expected JSON"),
    "not UTF-8": ("chrome", b'[{"ph": "X",\n "name": "\xff"}]', "line 2, byte 23"),
    "a torn event": ("chrome", f"[{SLICE},\n{SLICE[:20]}", "line 2"),
    "a torn object": ("chrome", '{"traceEvents": [' + SLICE, "the end of the file"),
    "a wrong comma": ("chrome", "[" + SLICE.replace(": 3", " 3") + "]" + " " * 40, "line 1"),
    "something behind": ("chrome", f"[{SLICE}] x", "the end of the file"),
    "an object without events": ("chrome", '{"metadata": {}}', "traceEvents"),
    "events that are numbers": ("chrome", "[1, 2]", "an event"),
    "no events": ("chrome", "[]", "something that took time"),
    "an event without a phase": ("chrome", '[{"name": "a"}]', "event 1, ph"),
    "a time that is text": ("chrome", event(ts="soon"), "event 1, ts"),
    "a time that is missing": ("chrome", event(ts=None), "event 1, ts"),
    "a time beyond 64 bits": ("chrome", event(ts=10**30), "146 years"),
    "a time of 5000 digits": (
        "chrome",
        "[" + SLICE.replace(" 3", " " + "9" * 5000) + "]",
        "numbers",
    ),
    "a time of 1e999999": ("chrome", "[" + SLICE.replace(" 3", " 1e999999") + "]", "a number"),
    "a time that is NaN": ("chrome", "[" + SLICE.replace(" 3", " NaN") + "]", "NaN"),
    "a negative duration": ("chrome", event(dur=-1), "at least 0"),
    "a flow without an id": ("chrome", event(ph="s"), "id of a flow"),
    "an asynchronous event without an id": ("chrome", event(ph="b"), "asynchronous"),
    "brackets without end": ("chrome", '[{"ph": ' + "[" * 100_000, "brackets"),
    "another simulator's names": ("dejavu", event(name="forward"), "prompt pass"),
    "Vidur without its lists": ("vidur", event(), "request_ids and num_tokens"),
    "Vidur with lists that differ": (
        "vidur",
        event(args={"request_ids": [1, 2], "num_tokens": [3]}),
        "as many",
    ),
    "a result without details": ("vllm", '{"duration": 1, "completed": 3}', "--save-detailed"),
    "a result that is a list": ("vllm", "[1]", "one JSON object"),
    "lists of other lengths": ("vllm", vllm(ttfts=[0.1]), "beside 1 in ttfts"),
    "a latency that is text": ("vllm", vllm(ttfts=[0.1, "x", 0.1, 0]), "ttfts[1]"),
    "a gap below zero": ("vllm", vllm(itls=[[0.1], [], [-1], []]), "itls[2]"),
    "tokens in halves": ("vllm", vllm(input_lens=[1, 2.5, 3, 4]), "input_lens[1]"),
    "a table without rows": ("table", "arrival_s,e2e_s\n", "a table without rows"),
    "a table that says nothing": ("table", "a,b\n1,2\n", "--map"),
    "a table with a torn row": ("table", "arrival_s,e2e_s\n1,2\n3\n", "CSV"),
    "a table of words": ("table", "arrival_s,e2e_s\nsoon,late\n", "expected numbers"),
    "a table with a time below zero": ("table", "arrival_s,e2e_s\n-1,2\n", "from 0"),
    "a table with a time too far": ("table", "arrival_s,e2e_s\n1e30,2\n", "146 years"),
    "a table with half a token": ("table", "e2e_s,output_tokens\n1,2.5\n", "whole numbers"),
    "a request twice": ("table", "request,e2e_s\n5,2\n5,3\n", "row 1 too"),
    "a table not in UTF-8": ("table", b"arrival_s,e2e_s\n1,\xe9\n", "line 2"),
    "JSON lines that break off": ("table", '{"e2e_s": 1}\n{"e2e_s": ', "JSONL"),
    "a torn Parquet file": ("table", b"PAR1 and no more", "Parquet"),
    "a packet that is none": ("perfetto", b"\x0a\x05\xff\xff\xff\xff\xff", "byte 0"),
    "a packet cut short": ("perfetto", b"\x0a\x7f\x08", "the end of the file"),
    "a file of other packets": ("perfetto", b"\x0a\x02\x50\x01", "expected track events"),
    "not a Perfetto trace": ("perfetto", b"hello world, hello", "0x68"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_error_and_nothing_is_written_over(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, content, words = BAD[what]
    before = tmp_path / "traces" / "it"
    before.parent.mkdir()
    importers.read_into([DATA / "engine.json"], tmp_path, name="it")
    manifest = (before / "manifest.json").read_bytes()
    file = tmp_path / "bad.file"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    arguments = ["import", str(file), "--out", str(tmp_path), "--name", "it", "--no-renderings"]
    assert cli.main([*arguments, "--from", kind]) == 2
    told = capsys.readouterr().err
    assert str(file) in told
    assert words in told
    assert "Traceback" not in told
    assert (before / "manifest.json").read_bytes() == manifest
    assert sorted(path.name for path in before.parent.iterdir()) == ["it"]


def test_a_bare_list_may_end_without_its_bracket(tmp_path: Path) -> None:
    """As the format allows, for programs that were killed."""
    file = tmp_path / "open.json"
    file.write_text(f"[{SLICE},\n")
    folder = importers.read_into([file], tmp_path)
    assert (folder / "spans.parquet").exists()


def test_a_missing_file_a_folder_and_several_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f"[{SLICE}]")
    for files, words in (
        ([tmp_path / "none.json"], "nothing of that name"),
        ([tmp_path], "a folder"),
        ([tmp_path / "a.json", DATA / "vllm_bench_detailed.json"], "files of one kind"),
        ([tmp_path / "a.json", tmp_path / "a.json"], "expected one file"),
    ):
        with pytest.raises(InputError, match=words):
            importers.read_into(files, tmp_path)


RULES: dict[str, tuple[str, str]] = {
    "a missing version": ("", "schema_version"),
    "a version that is none": ("schema_version = 2", "expected 1"),
    "bad TOML": ("schema_version = ", "not valid TOML"),
    "a misspelt table": ("schema_version = 1\n[tim]", "did you mean time?"),
    "a misspelt key": ('schema_version = 1\n[[track]]\nkin = "stage"', "did you mean kind?"),
    "a kind that is none": ('schema_version = 1\n[[track]]\nkind = "gpu"', '"stage" or "link"'),
    "a bad pattern": ("schema_version = 1\n[[span]]\nname = '('", "regular expression"),
    "a column without a unit": ('schema_version = 1\n[columns]\narrival = "x"', "unknown key"),
    "a negative price": (
        "schema_version = 1\n[hardware]\nprice_usd_per_machine_hour = -1",
        "at least 0",
    ),
    "a list where a table goes": ("schema_version = 1\ntime = [1]", "a table"),
}


@pytest.mark.parametrize("what", RULES)
def test_rules_that_are_wrong_say_where(what: str, tmp_path: Path) -> None:
    text, words = RULES[what]
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        load_rules(file)
    assert words in str(refused.value)
    assert str(file) in str(refused.value)


def test_rules_about_something_else_are_refused_rather_than_ignored(tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    file.write_text("e2e_s\n1\n")
    with pytest.raises(InputError, match="does not go with --from table"):
        importers.read_into([file], tmp_path, kind="table", rules=DATA / "engine.toml")


def test_every_key_of_the_rules_is_described() -> None:
    def walk(rules: dict[str, object], path: str) -> None:
        assert rules.get("description") or not path, path
        for part in ("properties", "patternProperties"):
            for key, inner in rules.get(part, {}).items():  # type: ignore[attr-defined]
                walk(inner, f"{path}.{key}")
        items = rules.get("items")
        if isinstance(items, dict) and "properties" in items:
            walk(items, f"{path}[]")

    walk(dict(schema()), "")


def test_a_file_of_many_small_reads_is_read_as_one_of_a_single_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events, numbers, escapes and letters cut in two by the border of a block are whole."""
    text = json.dumps(
        [{**json.loads(SLICE), "name": f"ü\\{n}", "ts": n * 7.125} for n in range(50)]
    )
    file = tmp_path / "t.json"
    file.write_bytes(text.encode())

    def digests() -> object:
        folder = importers.read_into([file], tmp_path, name="t")
        return json.loads((folder / "manifest.json").read_text())["tables"]

    whole = digests()
    read: Callable[..., object] = Source.blocks
    for size in (1, 7, 64):
        monkeypatch.setattr(Source, "blocks", lambda self, _=0, size=size: read(self, size))
        assert digests() == whole
