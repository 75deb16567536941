"""Per-request tables (CSV, TSV, JSONL, Parquet): a row a request, a map of columns.

A column's unit is in the key of the map (`arrival_s = "arrived"`).  Without a
map, columns of well-known names are taken, where the name itself ends in a
unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import InputError, Problem
from toolkit.importers.recording import LIMIT_NS, Ints, Recording
from toolkit.importers.rules import Rules
from toolkit.importers.source import Source
from toolkit.importers.timeline import NS
from toolkit.trace.columns import NULL, OUTCOMES

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read", "well_known"]

_POINTS = ("arrival", "start", "prefill_end", "first_token", "decode_start", "finish")
_DURATIONS = ("ttft", "tpot", "e2e", "queueing")
_COUNTS = ("prompt_tokens", "output_tokens", "replica", "size")

_KNOWN = {
    "request": ("request", "request_id", "req_id", "id"),
    "arrival": ("arrival", "arrival_time", "arrived", "arrived_at", "submitted", "sent"),
    "start": ("start", "started", "scheduled", "scheduled_at"),
    "prefill_end": ("prefill_end", "prefill_completed_at"),
    "first_token": ("first_token", "first_token_time"),
    "decode_start": ("decode_start",),
    "finish": ("finish", "finished", "last_token", "end", "completed", "completed_at"),
    "ttft": ("ttft", "time_to_first_token"),
    "tpot": ("tpot", "time_per_output_token"),
    "e2e": ("e2e", "e2e_latency", "e2el", "latency", "request_latency"),
    "queueing": ("queueing", "queue_time", "queued_for"),
    "prompt_tokens": ("prompt_tokens", "input_tokens", "input_len", "prompt_len"),
    "output_tokens": ("output_tokens", "output_len", "generated_tokens", "completion_tokens"),
    "replica": ("replica", "replica_id"),
    "outcome": ("outcome",),
    "error": ("error",),
}
"""Names of columns that mean the same everywhere; those of times need a unit behind them."""

_UNIT = re.compile(r"(?P<name>.+)_(?P<unit>ns|us|ms|s)")


def read(source: Source, rules: Rules) -> Recording:
    """Return the requests of a table.

    Raises `InputError` for a file that is no such table, columns that are not
    there, values that are no numbers, and requests that come twice.
    """
    table = _selected(source, _load(source), rules.where)
    mapping = dict(rules.columns) or well_known(table.column_names)
    _check_mapping(source, table, mapping, mapped=bool(rules.columns))
    times, numbers = _columns(source, table, mapping)
    recording = Recording(
        title=rules.title,
        origin=rules.zero,
        discipline=rules.discipline,
        price_usd_per_hour=rules.price_usd_per_hour,
        machine_count=rules.machines,
    )
    _name_requests(source, recording, table, mapping)
    requests = _requests(recording, times, numbers, table.num_rows)
    requests["outcome"] = _outcomes(source, table, mapping, requests)
    recording.requests = requests
    _say_what_is_missing(recording, requests)
    return recording


def well_known(names: list[str]) -> dict[str, str]:
    """Return the columns whose names say what they hold, by what they are to us."""
    found: dict[str, str] = {}
    meanings = {alias: key for key, aliases in _KNOWN.items() for alias in aliases}
    for name in names:
        plain = name.strip().lower().replace(" ", "_").replace("-", "_")
        timed = _UNIT.fullmatch(plain)
        key = meanings.get(timed["name"]) if timed else meanings.get(plain)
        if key in (*_POINTS, *_DURATIONS):
            if timed:
                found.setdefault(f"{key}_{timed['unit']}", name)
        elif key is not None and not timed:
            found.setdefault(key, name)
    return found


def _load(source: Source) -> pa.Table:
    """Return the file as an Arrow table, by what it begins with."""
    import pyarrow as pa  # noqa: PLC0415 - a tenth of a second, where a table is read
    import pyarrow.csv as pa_csv  # noqa: PLC0415
    import pyarrow.json as pa_json  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    kind, expected = "CSV", "expected a table as CSV, with a line of names first"
    try:
        if source.head.startswith(b"PAR1"):
            kind, expected = "Parquet", "expected a whole Parquet file"
            return pq.read_table(source.path)
        for _ in source.text():  # says line and byte of what is not UTF-8
            pass
        with pa.input_stream(
            str(source.path), compression="gzip" if source.packed else None
        ) as file:
            if source.head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                kind, expected = "JSONL", "expected a JSON object on each line"
                return pa_json.read_json(file)
            tab = b"\t" in source.head.split(b"\n", 1)[0]
            options = pa_csv.ParseOptions(delimiter="\t" if tab else ",")
            return pa_csv.read_csv(file, parse_options=options)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        got = str(error).split("\n", 1)[0][:160]
        raise source.wrong("", expected, got, f"it was taken for {kind} by how it begins") from None


def _selected(source: Source, table: pa.Table, where: Mapping[str, Any]) -> pa.Table:
    """Return the rows with the values that the rules ask for."""
    import pyarrow.compute as pc  # noqa: PLC0415

    for column, value in where.items():
        if column not in table.column_names:
            raise _no_column(source, table, "where", column)
        texts = pc.cast(table[column], "string")
        table = table.filter(pc.equal(texts, str(value)))
    if not table.num_rows:
        said = ", ".join(f"{column} = {value!r}" for column, value in where.items())
        raise source.wrong(
            "",
            "expected at least one request",
            f"no row with {said}" if said else "a table without rows",
        )
    return table


def _check_mapping(
    source: Source, table: pa.Table, mapping: Mapping[str, str], *, mapped: bool
) -> None:
    problems = [
        _no_column(source, table, f"columns.{key}", name).problems[0]
        for key, name in mapping.items()
        if name not in table.column_names
    ]
    stems = [found["name"] for key in mapping if (found := _UNIT.fullmatch(key))]
    known = set(stems)
    twice = sorted(name for name in known if stems.count(name) > 1)
    problems += [
        Problem(f"columns.{name}", "expected one column", "several, in several units")
        for name in twice
    ]
    if not problems and not known & {"finish", "e2e", "first_token", "ttft", "arrival"}:
        shown = ", ".join(table.column_names[:12])
        problems.append(
            Problem(
                "columns",
                "expected columns that say when requests came or how long they took",
                f"columns {shown}",
                "change the [columns] of the rules"
                if mapped
                else 'map them: --map RULES.toml with [columns] arrival_s = "..." and the like',
            )
        )
    if problems:
        raise InputError(str(source.path), problems)


def _no_column(source: Source, table: pa.Table, where: str, name: str) -> InputError:
    from difflib import get_close_matches  # noqa: PLC0415

    near = get_close_matches(name, table.column_names, 1)
    known = ", ".join(table.column_names[:12])
    way_out = f"did you mean {near[0]}?" if near else f"columns there: {known}"
    return source.wrong(where, f"expected a column {name!r} in the table", "none", way_out)


def _columns(
    source: Source, table: pa.Table, mapping: Mapping[str, str]
) -> tuple[dict[str, Ints], dict[str, Ints]]:
    """Return times in nanoseconds and counts, empty values as NULL, all problems at once."""
    times: dict[str, Ints] = {}
    numbers: dict[str, Ints] = {}
    problems: list[Problem] = []
    for key, name in mapping.items():
        found = _UNIT.fullmatch(key)
        try:
            if found and found["name"] in (*_POINTS, *_DURATIONS):
                times[found["name"]] = _nanoseconds(table[name], NS[found["unit"]])
            elif key in _COUNTS:
                numbers[key] = _whole(table[name])
        except _NotSoError as wrong:
            problems.append(Problem(f"column {name}", wrong.expected, wrong.got))
    if problems:
        raise InputError(str(source.path), problems)
    return times, numbers


class _NotSoError(Exception):
    """A column holds something else than expected."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(expected)
        self.expected, self.got = expected, got


def _nanoseconds(column: pa.ChunkedArray, scale: int) -> Ints:
    """Return a column of numbers, or of dates and times, as nanoseconds."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if pa.types.is_timestamp(column.type):
        whole = pc.cast(pc.cast(column, pa.timestamp("ns", column.type.tz)), pa.int64())
        return np.asarray(whole.fill_null(NULL).to_numpy(), np.int64)
    if pa.types.is_integer(column.type):
        values = np.asarray(pc.cast(column, pa.float64(), safe=False).fill_null(np.nan).to_numpy())
        exact = np.asarray(pc.fill_null(column, 0).to_numpy(), object)
        _refuse_far(values * scale)
        return np.where(np.isnan(values), NULL, (exact * scale).astype(np.int64))
    values = _floats(column)
    _refuse_far(values * scale)
    return np.where(np.isnan(values), NULL, np.rint(np.nan_to_num(values) * scale)).astype(np.int64)


def _refuse_far(ns: npt.NDArray[np.float64]) -> None:
    bad = (np.abs(ns) >= LIMIT_NS) | (ns < 0)
    if bad.any():
        row = int(np.argmax(bad))
        raise _NotSoError(
            "expected times from 0, within 146 years", f"{ns[row]:.6g} ns in row {row + 1}"
        )


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    try:
        numbers = pc.cast(column, pa.float64())
    except pa.ArrowException as error:
        raise _NotSoError("expected numbers", str(error).split("\n", 1)[0][:120]) from None
    values: npt.NDArray[np.float64] = np.array(numbers.fill_null(np.nan).to_numpy(), np.float64)
    if np.isinf(values).any():
        raise _NotSoError(
            "expected finite numbers", f"one in row {int(np.argmax(np.isinf(values))) + 1}"
        )
    return values


def _whole(column: pa.ChunkedArray) -> Ints:
    values = _floats(column)
    known = ~np.isnan(values)
    bad = known & ((values != np.rint(np.nan_to_num(values))) | (values < 0) | (values >= 1 << 31))
    if bad.any():
        row = int(np.argmax(bad))
        raise _NotSoError(
            "expected whole numbers of 31 bits", f"{values[row]:.6g} in row {row + 1}"
        )
    return np.where(known, np.nan_to_num(values), NULL).astype(np.int64)


def _name_requests(
    source: Source, recording: Recording, table: pa.Table, mapping: Mapping[str, str]
) -> None:
    """Number the requests by their ids, or by their rows."""
    ids = recording.request_ids
    if "request" not in mapping:
        for row in range(table.num_rows):
            ids.number(row)
        return
    first: dict[Any, int] = {}
    for row, each in enumerate(table[mapping["request"]].to_pylist(), 1):
        if each is None or isinstance(each, dict | list):
            raise source.wrong(f"row {row}", "expected the id of a request", repr(each)[:60])
        if each in first:
            raise source.wrong(
                f"row {row}",
                "expected each request once",
                f"{each!r} in row {first[each]} too",
                'a table of several runs? choose one: --map RULES.toml with [where] COLUMN = "..."',
            )
        first[each] = row
        ids.number(each)


def _requests(
    recording: Recording, times: Mapping[str, Ints], numbers: Mapping[str, Ints], rows: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the points in time of requests; what is missing follows from durations."""
    nothing = np.full(rows, NULL, np.int64)

    def time(name: str) -> Ints:
        return times.get(name, nothing)

    def plus(begin: Ints, duration: Ints) -> Ints:
        return np.where((begin == NULL) | (duration == NULL), NULL, begin + duration)

    def either(values: Ints, other: Ints) -> Ints:
        return np.where(values == NULL, other, values)

    arrival = time("arrival")
    if "arrival" not in times and {"e2e", "ttft"} & times.keys():
        arrival = np.zeros(rows, np.int64)
        recording.lacks.append(
            "arrivals: every request is placed at 0, so that latencies are true and nothing over "
            "time is"
        )
    start = either(time("start"), plus(arrival, time("queueing")))
    first = either(time("first_token"), plus(arrival, time("ttft")))
    if recording.discipline == "event" and "prefill_end" in times:
        first = either(time("prefill_end"), first)
    output = numbers.get("output_tokens", nothing)
    decode = np.where(
        (output == NULL) | (time("tpot") == NULL), NULL, time("tpot") * np.maximum(output - 1, 0)
    )
    finish = either(either(time("finish"), plus(arrival, time("e2e"))), plus(first, decode))
    return {
        "arrival_ns": arrival,
        "start_ns": start,
        "prefill_end_ns": time("prefill_end"),
        "first_token_ns": first,
        "decode_start_ns": time("decode_start"),
        "finish_ns": finish,
        **numbers,
        "size": np.where(numbers.get("size", nothing) == NULL, 1, numbers.get("size", nothing)),
    }


def _outcomes(
    source: Source,
    table: pa.Table,
    mapping: Mapping[str, str],
    requests: Mapping[str, npt.NDArray[Any]],
) -> npt.NDArray[Any]:
    outcomes = np.where(requests["finish_ns"] == NULL, "failed", "served").astype(object)
    if "error" in mapping:
        errors = table[mapping["error"]].to_pylist()
        outcomes[[bool(each) and str(each).lower() not in ("none", "false") for each in errors]] = (
            "failed"
        )
    if "outcome" in mapping:
        for row, each in enumerate(table[mapping["outcome"]].to_pylist()):
            if each not in OUTCOMES:
                raise source.wrong(
                    f"row {row + 1}, column {mapping['outcome']}",
                    f"expected {', '.join(OUTCOMES)}",
                    repr(each)[:60],
                )
            outcomes[row] = each
    return outcomes


def _say_what_is_missing(recording: Recording, requests: Mapping[str, npt.NDArray[Any]]) -> None:
    for column, what in (
        ("arrival_ns", "arrivals: hence no TTFT, E2E or queueing time"),
        ("start_ns", "when the engine took a request up: no queueing time"),
        ("first_token_ns", "first tokens: no TTFT or TPOT"),
        ("prompt_tokens", "prompt tokens"),
        ("output_tokens", "output tokens: no TPOT"),
    ):
        values = requests.get(column)
        if values is None or (values == NULL).all():
            recording.lacks.append(what)
    recording.lacks.append("machines, stages and steps: it is a table of requests")
