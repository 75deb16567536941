"""Recorded workloads are read as they were published, and damaged ones are answered by line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import InputError
from toolkit.recordings import Recording, digest, draw, layout_of, read, read_clients
from toolkit.recordings.recording import Ragged
from toolkit.recordings.rows import BATCH

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"

PUBLISHED = {
    "azure_llm_2023/AzureLLMInferenceTrace_conv.csv": ("azure", 19366, 3501.721937),
    "azure_llm_2023/AzureLLMInferenceTrace_code.csv": ("azure", 8819, 3435.948056),
    "mooncake/conversation_trace.first8000.jsonl": ("mooncake", 8000, 2435.999),
    "vidur/splitwise_conv.first3000.csv": ("vidur", 3000, 628.703398),
    "vidur/splitwise_code.first3000.csv": ("vidur", 3000, 1088.955361),
    "vidur/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.first20000.csv": (
        "vidur",
        20000,
        None,
    ),
    "sharegpt_lengths/sharegpt_V3_format_lens.first40000.csv": ("vidur", 40000, None),
    "splitwise_sim/test_trace.csv": ("splitwise", 3, 3.0),
    "apex_plus/creation_025.textblanked.jsonl": ("apex", 512, 2082.271252796),
    "llmservingsim/example_trace.jsonl": ("llmservingsim", 10, 0.980043269),
    "llmservingsim/sharegpt-llama-3.1-8b-300-sps10.ids_dropped.jsonl": (
        "llmservingsim",
        300,
        29.136836395,
    ),
}
"""Kind, rows and seconds to the last arrival of each file, as the note beside them counts."""


def complaint(file: Path, kind: str, **stated: Any) -> str:
    """Return what is said of a file, without the folder it is in."""
    with pytest.raises(InputError) as raised:
        read(file, layout_of(kind, **stated))
    return str(raised.value).replace(f"{file.parent}/", "")


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


# -- the published files -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_is_read_whole(name: str, shared: Path) -> None:
    kind, rows, last_s = PUBLISHED[name]
    recording = read(shared / "workloads" / name, layout_of(kind))
    assert len(recording) == rows
    assert recording.out_of_order == 0
    if last_s is None:
        assert recording.arrival_ns is None
    else:
        assert recording.arrival_ns is not None
        assert recording.arrival_ns[0] == 0
        assert recording.arrival_ns[-1] == round(last_s * 1e9)


def test_azure_timestamps_keep_their_hundred_nanoseconds(shared: Path) -> None:
    """Against the decimal digits themselves, for every row of both files."""
    for name in ("conv", "code"):
        file = shared / "workloads/azure_llm_2023" / f"AzureLLMInferenceTrace_{name}.csv"
        moments = []
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                whole, _, fraction = row["TIMESTAMP"].partition(".")
                second = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
                assert len(fraction) == 7
                moments.append(int(second) * 10**9 + int(fraction) * 100)
        recording = read(file, layout_of("azure"))
        assert recording.arrival_ns is not None
        assert recording.arrival_ns.tolist() == [moment - moments[0] for moment in moments]


def test_the_lengths_of_azure_have_the_means_of_the_collected_facts(shared: Path) -> None:
    facts = json.loads((shared / "facts/length_statistics.json").read_bytes())
    for name in ("conv", "code"):
        file = shared / "workloads/azure_llm_2023" / f"AzureLLMInferenceTrace_{name}.csv"
        recording = read(file, layout_of("azure"))
        fact = facts[f"azure2023_{name}"]
        assert recording.prompt_tokens.mean() == pytest.approx(fact["prompt_mean"], abs=0.005)
        assert recording.output_tokens.mean() == pytest.approx(fact["output_mean"], abs=0.005)
        assert recording.arrival_ns is not None
        gaps = np.diff(recording.arrival_ns) / 1e9
        assert gaps.mean() == pytest.approx(fact["interarrival"]["mean_s"], abs=5e-5)
        assert gaps.std() / gaps.mean() == pytest.approx(fact["interarrival"]["cv"], abs=5e-4)


def test_two_publishers_of_the_same_requests_agree(shared: Path) -> None:
    """Vidur's processed trace is the head of Azure's, to the microsecond it keeps."""
    folder = shared / "workloads"
    azure = read(folder / "azure_llm_2023/AzureLLMInferenceTrace_conv.csv", layout_of("azure"))
    vidur = read(folder / "vidur/splitwise_conv.first3000.csv", layout_of("vidur"))
    head = azure.take(np.arange(3000))
    assert np.array_equal(vidur.prompt_tokens, head.prompt_tokens)
    assert np.array_equal(vidur.output_tokens, head.output_tokens)
    assert vidur.arrival_ns is not None
    assert head.arrival_ns is not None
    assert np.abs(vidur.arrival_ns - head.arrival_ns).max() <= 500


def test_mooncake_keeps_every_block_of_every_prompt(shared: Path) -> None:
    file = shared / "workloads/mooncake/conversation_trace.first8000.jsonl"
    recording = read(file, layout_of("mooncake"))
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert recording.hash_ids is not None
    assert recording.block_tokens == 512
    assert recording.hash_ids.lists() == [row["hash_ids"] for row in rows]
    blocks = np.diff(recording.hash_ids.starts)
    assert np.array_equal(blocks, -(-recording.prompt_tokens // 512))


# -- cells ---------------------------------------------------------------------------------------


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**8), st.integers(0, 10**9 - 1), st.integers(0, 9)),
        min_size=1,
        max_size=30,
    ),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_decimal_times_are_taken_digit_by_digit(
    rows: list[tuple[int, int, int]], unit: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whole units and up to nine decimals, rounded half up where the unit is finer than those."""
    texts = [
        f"{whole}.{fraction:09d}"[: len(str(whole)) + 1 + digits] if digits else str(whole)
        for whole, fraction, digits in rows
    ]
    body = "".join(f"{text},1,1\n" for text in texts)
    file = written(
        tmp_path_factory.mktemp("t"), "t.csv", f"arrival,prompt_tokens,output_tokens\n{body}"
    )
    columns = {
        "arrival": "arrival",
        "prompt_tokens": "prompt_tokens",
        "output_tokens": "output_tokens",
    }
    recording = read(file, layout_of("csv", columns, unit))
    scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    exact = sorted(int(Decimal(text) * scale + Decimal("0.5")) for text in texts)
    assert recording.arrival_ns is not None
    assert recording.arrival_ns.tolist() == [moment - exact[0] for moment in exact]


def test_rows_out_of_order_are_sorted_and_counted(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "t.csv",
        "arrived_at,num_prefill_tokens,num_decode_tokens\n5,1,1\n3,2,1\n5,3,1\n4,4,1\n9,5,1\n",
    )
    recording = read(file, layout_of("vidur"))
    assert recording.out_of_order == 2
    assert recording.prompt_tokens.tolist() == [2, 4, 1, 3, 5]
    assert recording.arrival_ns is not None
    assert recording.arrival_ns.tolist() == [0, 10**9, 2 * 10**9, 2 * 10**9, 6 * 10**9]


def test_burstgpt_has_models_as_tenants_and_conversations(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "b.csv",
        "Timestamp,Session ID,Elapsed time,Model,"
        "Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,a,3.1,ChatGPT,472,18,490,Conversation log\n"
        "45,,2,GPT-4,1087,0,1087,API log\n"
        "118,a,9,ChatGPT,417,276,693,Conversation log\n",
    )
    recording = read(file, layout_of("burstgpt"))
    assert recording.tenants == ("ChatGPT", "GPT-4")
    assert recording.tenant is not None
    assert recording.tenant.tolist() == [0, 1, 0]
    assert recording.session is not None
    assert recording.session.tolist() == [0, -1, 0]
    assert recording.answered().prompt_tokens.tolist() == [472, 417]


def test_the_first_release_of_burstgpt_has_no_conversations(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "b.csv",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n",
    )
    assert read(file, layout_of("burstgpt")).session is None


def test_azure_of_2024_has_a_zone_and_microseconds(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "a.csv",
        f"{AZURE}2024-05-10 00:00:00.009930+00:00,2162,5\n"
        "2024-05-12 00:00:00.017335+00:00,2399,6\n",
    )
    recording = read(file, layout_of("azure"))
    assert recording.arrival_ns is not None
    assert recording.arrival_ns.tolist() == [0, 2 * 86400 * 10**9 + 7_405_000]


def test_three_forms_of_the_same_rows_are_the_same_recording(tmp_path: Path) -> None:
    rows = [
        {"t": 10 * i + 3, "in": 100 + i, "out": 1 + i % 7, "who": "ab"[i % 2], "urgent": i % 3}
        for i in range(BATCH + 5)
    ]
    columns = {
        "arrival": "t",
        "prompt_tokens": "in",
        "output_tokens": "out",
        "tenant": "who",
        "priority": "urgent",
    }
    body = "".join(f"{','.join(map(str, row.values()))}\r\n" for row in rows)
    written(tmp_path, "r.csv", "\ufeff" + f"{','.join(rows[0])}\r\n{body}")
    written(tmp_path, "r.jsonl", "\n\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    read_as = {
        form: read(tmp_path / f"r.{form}", layout_of(form, columns, "ms"))
        for form in ("csv", "jsonl", "parquet")
    }
    assert read_as["csv"] == read_as["jsonl"] == read_as["parquet"]
    assert Recording.of_lists(read_as["csv"].as_lists()) == read_as["csv"]


def test_parquet_of_timestamps_and_blocks(tmp_path: Path) -> None:
    start = datetime(2024, 5, 10, tzinfo=UTC)
    table = pa.table(
        {
            "at": pa.array([start, start.replace(microsecond=7)], pa.timestamp("us", "UTC")),
            "prompt_tokens": [600.0, 3.0],
            "output_tokens": [1, 2],
            "blocks": [[1, 2], [3]],
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    columns = {"arrival": "at", "hash_ids": "blocks"}
    recording = read(tmp_path / "r.parquet", layout_of("parquet", columns, "ns", 256))
    assert recording.arrival_ns is not None
    assert recording.arrival_ns.tolist() == [0, 7000]
    assert recording.hash_ids is not None
    assert recording.hash_ids.lists() == [[1, 2], [3]]
    assert recording.block_tokens == 256


def test_blocks_in_csv_are_numbers_with_spaces_or_commas_between(tmp_path: Path) -> None:
    body = 'in,out,blocks\n9,1,1 2\n9,1,"[3, 4]"\n9,1,\n'
    columns = {"prompt_tokens": "in", "output_tokens": "out", "hash_ids": "blocks"}
    recording = read(written(tmp_path, "b.csv", body), layout_of("csv", columns))
    assert recording.hash_ids is not None
    assert recording.hash_ids.lists() == [[1, 2], [3, 4], []]


# -- selecting -----------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=12), st.data())
def test_taking_rows_takes_their_lists(lists: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=12))
    taken = Ragged.of(lists).take(np.array(rows, np.int64))
    assert (taken.lists() if rows else []) == [lists[row] for row in rows]


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(0, 40), st.integers(1, 20)
)
def test_windows_that_touch_part_the_requests(times: list[int], start: int, length: int) -> None:
    """Every request is in exactly one of the windows before, from, and behind."""
    ordered = np.sort(np.array(times)) * 10**9
    ones = np.ones(len(times), np.int32)
    recording = Recording(ones, ones, ordered - ordered[0])
    bounds = (0, start, start + length, 101)
    parts = [recording.within((a, b)) for a, b in pairwise(bounds) if a < b]
    assert sum(len(part) for part in parts) == len(recording)
    within = recording.within((start, start + length))
    assert within.arrival_ns is not None
    assert all(0 <= moment < length * 10**9 for moment in within.arrival_ns.tolist())


# -- damaged files -------------------------------------------------------------------------------

GOOD = "2023-11-16 18:15:46.6805900,374,44\n"


def test_everything_wrong_with_a_file_is_said_by_line(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "wrong.csv",
        f"{AZURE}{GOOD}"
        "2023-13-16 18:15:46.6805900,374,44\n"
        "\n"
        "2023-11-16 18:15:47.6805900,37x,-4\n"
        "2023-11-16 18:15:48.6805900,374\n"
        "2023-11-16 18:15:49.6805900,,1.5\n"
        "2023-11-16 18:15:50.6805900,20000000,nan\n",
    )
    assert complaint(file, "azure") == (
        "wrong.csv: 8 problems\n"
        "  line 3\n"
        "      expected TIMESTAMP, a date and time like 2023-11-16 18:15:46.6805900\n"
        '      got "2023-13-16 18:15:46.6805900"\n'
        "  line 5\n"
        "      expected ContextTokens, a whole number from 0 to 10,000,000\n"
        '      got "37x"\n'
        "  line 5\n"
        "      expected GeneratedTokens, a whole number from 0 to 10,000,000\n"
        '      got "-4"\n'
        "  line 6\n"
        "      expected 3 cells as in the header\n"
        "      got 2: 2023-11-16 18:15:48.6805900,374\n"
        "  line 7\n"
        "      expected ContextTokens, a whole number from 0 to 10,000,000\n"
        "      got an empty cell\n"
        "  line 7\n"
        "      expected GeneratedTokens, a whole number from 0 to 10,000,000\n"
        '      got "1.5"\n'
        "  line 8\n"
        "      expected ContextTokens, a whole number from 0 to 10,000,000\n"
        '      got "20000000"\n'
        "  line 8\n"
        "      expected GeneratedTokens, a whole number from 0 to 10,000,000\n"
        '      got "nan"'
    )


def test_a_file_full_of_mistakes_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = written(tmp_path, "wrong.csv", AZURE + "yesterday,1,1\n" * 3 * BATCH)
    said = complaint(file, "azure")
    assert said.count("got") == 8
    assert said.endswith("  and more: the file was read no further")


MOONCAKE = '{"timestamp": 0, "input_length": 3, "output_length": 4, "hash_ids": [0]}\n'

CASES: dict[str, tuple[str, str | bytes, str]] = {
    "empty.csv": (
        "azure",
        "",
        "  expected a header and a row for each request\n  got an empty file",
    ),
    "header.csv": ("azure", AZURE, "  expected at least one request\n  got none"),
    "columns.csv": (
        "azure",
        "TIMESTAMP,ContextToken,GeneratedTokens\n" + GOOD,
        "  line 1\n      expected the column ContextTokens\n"
        "      got the columns TIMESTAMP, ContextToken, GeneratedTokens\n"
        '      did you mean "ContextToken"? columns = { ... } says which column holds what',
    ),
    "twice.csv": (
        "azure",
        "TIMESTAMP,ContextTokens,GeneratedTokens,ContextTokens\n",
        '  line 1\n      expected each column once\n      got "ContextTokens" twice',
    ),
    "latin.csv": (
        "azure",
        AZURE.encode() + GOOD.encode() * 5000 + b"2023-11-16 18:15:46,3\xe974,44\n",
        "  line 5002\n      expected text in UTF-8\n      got other bytes",
    ),
    "utf16.csv": (
        "azure",
        (AZURE + GOOD).encode("utf-16"),
        "  line 1\n      expected text in UTF-8\n      got other bytes",
    ),
    "quote.csv": (
        "azure",
        AZURE + '"2023-11-16 18:15:46,3,4\n',
        "  line 2\n      expected CSV\n      got unexpected end of data",
    ),
    "wide.csv": (
        "azure",
        AZURE + '"' + "9" * 200_000 + '",3,4\n',
        "  line 2\n      expected CSV\n      got field larger than field limit (131072)",
    ),
    "total.csv": (
        "vidur",
        "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n3,4,7,0\n3,4,8,0\n",
        "  line 3\n      expected a total of prompt and generated tokens\n      got 3 + 4, but 8",
    ),
    "cut.jsonl": (
        "mooncake",
        MOONCAKE + '{"timestamp": 1, "inp',
        "  line 2\n      expected a JSON object\n"
        "      got Unterminated string starting at, column 18",
    ),
    "keys.jsonl": (
        "mooncake",
        MOONCAKE + '{"timestamp": 1}\n',
        "  line 2\n      expected input_length, output_length, hash_ids\n      got only timestamp",
    ),
    "list.jsonl": (
        "mooncake",
        "[1, 2]\n",
        "  line 1\n      expected a JSON object\n      got [1, 2]",
    ),
    "blocks.jsonl": (
        "mooncake",
        MOONCAKE.replace("3", "true", 1).replace("[0]", '["a"]')
        + MOONCAKE.replace("[0]", f"[{2**63}]"),
        "  line 1\n      expected input_length, a whole number from 0 to 10,000,000\n"
        '      got "true"\n'
        "  line 1\n      expected hash_ids, a list of whole numbers from 0\n      got ['a']\n"
        "  line 2\n      expected hash_ids, a list of whole numbers from 0\n"
        "      got [9223372036854775808]",
    ),
    "huge.jsonl": (
        "mooncake",
        '{"timestamp": ' + "9" * 5000 + "}\n",
        "  line 1\n      expected a JSON object\n      got brackets too deep, or a number too long",
    ),
    "blank.jsonl": ("mooncake", "\n\n", "  expected at least one request\n  got none"),
    "times.csv": (
        "vidur",
        "arrived_at,num_prefill_tokens,num_decode_tokens\n-1,1,1\n1e30,1,1\ninf,1,1\n",
        "".join(
            f'  line {line}\n      expected arrived_at, a time from 0 in s\n      got "{text}"\n'
            for line, text in ((2, "-1"), (3, "1e30"), (4, "inf"))
        ).rstrip("\n"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_gets_its_message(name: str, tmp_path: Path) -> None:
    kind, content, expected = CASES[name]
    said = complaint(written(tmp_path, name, content), kind)
    assert said.partition("\n")[2] == expected


def test_what_is_no_parquet_is_said(tmp_path: Path) -> None:
    said = complaint(written(tmp_path, "r.parquet", "prompt_tokens\n1\n"), "parquet")
    assert said.startswith("r.parquet: 1 problem\n  expected a Parquet file\n  got Parquet magic")


def test_parquet_rows_are_counted_from_one(tmp_path: Path) -> None:
    table = pa.table({"prompt_tokens": [1, None], "output_tokens": [1, 2]})
    pq.write_table(table, tmp_path / "r.parquet")
    assert complaint(tmp_path / "r.parquet", "parquet") == (
        "r.parquet: 1 problem\n  row 2\n"
        '      expected prompt_tokens, a whole number from 0 to 10,000,000\n      got "null"'
    )


def test_a_line_break_in_quotes_does_not_shift_the_lines(tmp_path: Path) -> None:
    file = written(tmp_path, "q.csv", 'note,prompt_tokens,output_tokens\n"a\nb",1,1\nc,2,x\n')
    assert complaint(file, "csv").splitlines()[1] == "  line 4"


def cut(text: bytes) -> bytes:
    return text[: len(text) * 2 // 3]


def swapped(text: bytes) -> bytes:
    head, _, rest = text.partition(b"\n")
    return head.replace(b"e", b"3") + b"\n" + rest


def garbled(text: bytes) -> bytes:
    middle = len(text) // 2
    return text[:middle] + b"\xff\xfe" + text[middle:]


@pytest.mark.parametrize("damage", [cut, swapped, garbled, lambda _: b""])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_damaged_copy_is_read_in_part_or_answered_by_line(
    name: str, damage: Callable[[bytes], bytes], shared: Path, tmp_path: Path
) -> None:
    """A cut between two rows leaves a file that is sound; nothing else passes unseen."""
    kind, rows, _ = PUBLISHED[name]
    text = (shared / "workloads" / name).read_bytes()[:60_000]
    text = text[: text.rindex(b"\n") + 1] if len(text) == 60_000 else text
    file = written(tmp_path, Path(name).name, damage(text))
    if damage is not cut:
        with pytest.raises(InputError, match="expected"):
            read(file, layout_of(kind))
        return
    try:
        recording = read(file, layout_of(kind))
    except InputError as error:
        (problem,) = error.problems  # the row that was cut
        last = file.read_bytes().count(b"\n") + 1
        assert problem.where == f"line {last}"
    else:
        assert len(recording) < rows


# -- ServeGen ------------------------------------------------------------------------------------


def client(folder: Path, rows: str, lengths: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    written(folder, "chunk-0-trace.csv", rows)
    histogram = '{"input_tokens": "{10: 0.25, 20: 0.75}", "output_tokens": "{5: 1.0}"}'
    written(folder, "chunk-0-dataset.json", lengths or f'{{"0": {histogram}}}')
    return folder


def test_servegen_clients_send_at_their_rate_with_their_lengths(tmp_path: Path) -> None:
    """20,000 expected arrivals; five standard errors of a count, CV 2: 5 x 2 x sqrt(20000)."""
    rows = "".join(f"{600 * i},{10 * (i % 2)},2,Gamma,0.25,0.4\n" for i in range(8))
    clients = read_clients(client(tmp_path / "c", rows))
    drawn = draw(clients, (600.0, 4800.0), 42)
    assert len(drawn) == pytest.approx(4 * 6000, abs=5 * 2 * 24000**0.5)
    assert np.mean(drawn.prompt_tokens == 20) == pytest.approx(0.75, abs=0.02)
    assert set(drawn.output_tokens.tolist()) == {5}
    assert drawn.arrival_ns is not None
    silent = (drawn.arrival_ns // (600 * 10**9)) % 2 == 1
    assert not silent.any()


def test_a_narrower_window_of_servegen_holds_the_same_requests(shared: Path) -> None:
    clients = read_clients(shared / "workloads/servegen/data/reason/deepseek-r1")
    wide, narrow = draw(clients, (0, 3600), 42), draw(clients, (700, 1300), 42)
    assert wide.arrival_ns is not None
    assert narrow.arrival_ns is not None
    within = (wide.arrival_ns >= 700 * 10**9) & (wide.arrival_ns < 1300 * 10**9)
    assert np.array_equal(wide.arrival_ns[within] - 700 * 10**9, narrow.arrival_ns)
    assert np.array_equal(wide.prompt_tokens[within], narrow.prompt_tokens)
    assert draw(clients, (0, 3600), 43) != wide


def test_every_servegen_client_can_be_read_and_sends_about_its_rate(shared: Path) -> None:
    """Expected counts from the windows; the renewals of all clients within 5 %."""
    for name in ("language/m-small", "reason/deepseek-r1"):
        folder = shared / "workloads/servegen/data" / name
        clients = read_clients(folder)
        assert len(clients) == 8
        expected = sum(
            window.rate_per_s * 600
            for each in clients
            for window in each.windows
            if 36000 <= window.start_s < 39600
        )
        assert len(draw(clients, (36000, 39600), 1)) == pytest.approx(expected, rel=0.05)


def test_damaged_servegen_files_are_answered_by_line(tmp_path: Path) -> None:
    folder = client(tmp_path / "c", "0,1,1,Gamma,1,1\n600,1,1,Pareto,1,1\n1200,x,1,Gamma,1,1\n")
    written(folder, "chunk-1-trace.csv", "0,1,1,Gamma,1,1\n")
    with pytest.raises(InputError) as raised:
        read_clients(folder)
    rule = (
        "expected start in s, requests per s, CV of gaps, "
        "Gamma, Weibull, Exponential or nothing, shape, scale"
    )
    assert str(raised.value).replace(f"{folder}/", "").partition("\n")[2] == (
        "  in chunk-0-trace.csv:\n"
        f"  line 2\n      {rule}\n      got 600,1,1,Pareto,1,1\n"
        f"  line 3\n      {rule}\n      got 1200,x,1,Gamma,1,1\n"
        "  in chunk-1-dataset.json:\n"
        "  expected it beside the file of windows\n  got nothing there"
    )


@pytest.mark.parametrize(
    "lengths",
    ["{", "[]", '{"0": {}}', '{"0": {"input_tokens": "os.system(1)", "output_tokens": "{1: 1}"}}'],
)
def test_servegen_lengths_that_are_none_are_answered(lengths: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_clients(client(tmp_path / "c", "0,1,1,Gamma,1,1\n", lengths))


def test_a_folder_has_the_digest_of_its_files(tmp_path: Path) -> None:
    folder = client(tmp_path / "c", "0,1,1,Gamma,1,1\n")
    before = digest(folder)
    assert digest(folder) == before
    written(folder, "chunk-0-trace.csv", "0,2,1,Gamma,1,1\n")
    assert digest(folder) != before
