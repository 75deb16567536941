"""The waist: the tables a simulation yields and a store keeps.

A simulation is a stream of :class:`Chunk`; a store is these tables on disk.
Nothing here knows what a pipeline is, and nothing else decides what a column
is called, which unit it has, or whether it may be empty.

Times are integer nanoseconds since the start of the simulation (of an imported
trace, since its own zero).  What only an imported trace may lack, the arrival
and the token counts of a request, is nullable for its sake.  In a chunk,
an empty value of a nullable integer column is :data:`NULL` (-1); in the store
it is a Parquet null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "CAUSES",
    "ENGINE_NAMES",
    "FAULT_NAMES",
    "FORMAT_VERSION",
    "IDLE_CAUSES",
    "LEVELS",
    "NAMES",
    "NULL",
    "OUTCOMES",
    "SWAP_NAMES",
    "TABLES",
    "TRACK_KINDS",
    "Chunk",
    "Column",
    "Table",
    "name_key",
]

FORMAT_VERSION = 1
"""Version of the store's layout; an older store is read, or refused by name."""

NULL = -1
"""The empty value of a nullable integer column inside a chunk."""

Values = npt.NDArray[Any] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its type in the store, and what it means."""

    name: str
    type: str  # "int64" | "int32" | "int8" | "float64" | "string"
    about: str
    nullable: bool = False
    optional: bool = False
    """A chunk, or a store written before it was, may be without it: it is empty then."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a store: its columns, its order, and its grain."""

    name: str
    grain: str
    columns: tuple[Column, ...]
    sorted_by: tuple[str, ...] = ()
    large: bool = False
    """Streamed in row groups as chunks arrive (the others are small and kept until the end)."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def _table(name: str, grain: str, columns: Sequence[Column], **more: Any) -> Table:
    return Table(name, grain, tuple(columns), **more)


TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        _table(
            "machines",
            "one row per machine",
            [
                Column("machine", "int32", "key"),
                Column("name", "string", "shown name, numbered so that any order can be read"),
                Column("role", "string", "colocated, prompt or token"),
                Column("replica", "int32", "pipeline the machine belongs to"),
                Column("stage", "int32", "position in that pipeline, from 0"),
                Column("layers", "float64", "model layers the stage holds", nullable=True),
                Column("weights_bytes", "float64", "model weights on the machine", nullable=True),
                Column("memory_bytes", "float64", "device memory of the machine", nullable=True),
                Column("price_usd_per_hour", "float64", "price of the machine", nullable=True),
            ],
            sorted_by=("machine",),
        ),
        _table(
            "tracks",
            "one row per track: one thing that does one job at a time",
            [
                Column("track", "int32", "key"),
                Column("kind", "string", "stage, link, lane or thread"),
                Column("machine", "int32", "machine it belongs to", nullable=True),
                Column("index", "int32", "stage in its pipeline, or number of its kind"),
                Column("name", "string", "shown name, unique within its kind"),
                Column("rank", "int32", "order in a picture"),
            ],
            sorted_by=("track",),
        ),
        _table(
            "names",
            "one row per name in use: of spans and of the causes of waits",
            [Column("name", "int32", "key"), Column("text", "string", "the name")],
            sorted_by=("name",),
        ),
        _table(
            "counter_defs",
            "one row per counter",
            [
                Column("counter", "int32", "key"),
                Column("machine", "int32", "machine it belongs to; empty: global", nullable=True),
                Column("name", "string", "shown name"),
                Column("unit", "string", "unit of its values"),
                Column("share_key", "string", "counters of one share key share a y axis"),
            ],
            sorted_by=("counter",),
        ),
        _table(
            "requests",
            "one row per entry of the workload (of `size` like requests, if it is a microbatch)",
            [
                Column("request", "int32", "key"),
                Column("arrival_ns", "int64", "when it arrived", nullable=True),
                Column("start_ns", "int64", "start of its first span on a stage", nullable=True),
                Column(
                    "prefill_end_ns",
                    "int64",
                    "end of its prompt pass on the last stage",
                    nullable=True,
                ),
                Column(
                    "kv_ready_ns",
                    "int64",
                    "when its KV cache had arrived where it decodes; empty where it never moves",
                    nullable=True,
                ),
                Column("first_token_ns", "int64", "when its first token was out", nullable=True),
                Column("decode_start_ns", "int64", "start of its first decode pass", nullable=True),
                Column(
                    "finish_ns",
                    "int64",
                    "when its last token was out, or it was let go of",
                    nullable=True,
                ),
                Column("prompt_tokens", "int32", "prompt tokens of one request", nullable=True),
                Column("output_tokens", "int32", "generated tokens of one request", nullable=True),
                Column("size", "int32", "like requests this row stands for"),
                Column("replica", "int32", "replica that decoded it", nullable=True),
                Column("lane", "int32", "its lane's track", nullable=True),
                Column(
                    "lead",
                    "int32",
                    "first request of its microbatch, whose spans and waits carry this key",
                    nullable=True,
                ),
                Column("outcome", "string", "served, refused, cancelled, timed_out or failed"),
                *(
                    Column(name, width, about, nullable=True, optional=True)
                    for name, width, about in (
                        (
                            "prompt_replica",
                            "int32",
                            "engine that computed its prompt, in a split deployment of engines",
                        ),
                        (
                            "cached_tokens",
                            "int32",
                            "prompt tokens found in a prefix cache as it was first admitted; empty "
                            "where there is no such cache",
                        ),
                        ("session", "int32", "conversation it belongs to"),
                        ("turn", "int32", "which request of its session it is, from 0"),
                        ("attempt", "int32", "which try it is, from 0, where clients try again"),
                        ("attempt_of", "int32", "request whose try it is; empty for a first try"),
                        (
                            "given_up_ns",
                            "int64",
                            "when its client gave it up (cancelled, timed_out); it left the engine "
                            "at finish_ns",
                        ),
                        (
                            "generated_tokens",
                            "int32",
                            "tokens that had been generated of one that was given up",
                        ),
                        (
                            "tenant",
                            "string",
                            "who sent it; empty where the workload has no tenants",
                        ),
                    )
                ),
            ],
            sorted_by=("request",),
        ),
        _table(
            "spans",
            "one row per piece of work on a track",
            [
                Column("ts_ns", "int64", "start"),
                Column("dur_ns", "int64", "duration"),
                Column("track", "int32", "track it ran on"),
                Column("name", "int32", "what it was: key into names"),
                Column(
                    "request",
                    "int32",
                    "request it worked for; the lead of a microbatch of several; empty for an "
                    "engine's step of several requests",
                    nullable=True,
                ),
                Column(
                    "token",
                    "int32",
                    "decode pass, from 0; empty for a prompt and for an engine's step",
                    nullable=True,
                ),
                Column(
                    "step",
                    "int32",
                    "pass of a batch through its pipeline; shared by its stages",
                    nullable=True,
                ),
                Column("bytes", "int64", "bytes moved, transfers only", nullable=True),
                Column("depth", "int8", "0 except for sub-spans"),
            ],
            sorted_by=("ts_ns", "track"),
            large=True,
        ),
        _table(
            "flows",
            "one row per slice of a flow: prompt, transfer, first decode of one request "
            "(of an imported trace: whatever its arrows join)",
            [
                Column("flow", "int32", "key: the request, or a number of an imported arrow"),
                Column("order", "int32", "position in the flow, from 0"),
                Column("track", "int32", "track of the slice"),
                Column("ts_ns", "int64", "start of the slice"),
                Column("ordinal", "int32", "which of the track's spans starting then, from 0"),
            ],
            sorted_by=("flow", "order"),
        ),
        _table(
            "waits",
            "one row per wait of a request (or its whole microbatch, by its lead); "
            "at level `requests` one row per cause of what it waited once started",
            [
                Column("request", "int32", "who waited: a request (cause packing), else a lead"),
                Column("from_ns", "int64", "start of the stretch"),
                Column("until_ns", "int64", "end of the stretch"),
                Column(
                    "wait_ns", "int64", "time waited: all of the stretch, or the sum of waits in it"
                ),
                Column("cause", "int32", "why: key into names"),
                Column("on_request", "int32", "whom it waited for (a lead)", nullable=True),
                Column("on_track", "int32", "what it waited for: a stage or link", nullable=True),
            ],
            large=True,
        ),
        _table(
            "counters",
            "one row per change of a counter; the value holds until its next row",
            [
                Column("ts_ns", "int64", "when"),
                Column("counter", "int32", "key into counter_defs"),
                Column("value", "float64", "value from then on"),
            ],
            sorted_by=("ts_ns", "counter"),
        ),
        _table(
            "totals",
            "one row per track and name: what its spans add up to, at every trace level",
            [
                Column("track", "int32", "track"),
                Column("name", "int32", "key into names"),
                Column("busy_ns", "int64", "sum of durations"),
                Column("count", "int64", "number of spans"),
                Column("bytes", "int64", "sum of bytes, transfers only", nullable=True),
            ],
            sorted_by=("track", "name"),
        ),
    )
}

TRACK_KINDS = ("stage", "link", "lane", "thread")
"""Kinds of tracks; threads, of a machine's host, come from imported traces only."""

LEVELS = ("full", "steps", "requests")
OUTCOMES = ("served", "refused", "failed", "cancelled", "timed_out")

CAUSES = (
    "packing",  # its microbatch was still filling
    "queue",  # every place in the pipeline or batch was taken, or others stood before it
    "behind_prompt",  # another's prompt held the stage, or took the tokens of the step
    "behind_batch",  # another batch's decode held the stage, or the step under way had to end
    "head_of_line",  # dejavu only: a batch that was not ready held the stage
    "transfer",  # its own KV cache was on its way
    "link_busy",  # other traffic held the link its KV cache (or activation) needed
    "kv_room",  # no room for its KV cache
    "padding",
    "preempted",  # it gave its KV blocks to others, and waits to compute them anew
    "swapped",  # KV caches moved to or from host memory, or its own is there
    "failed",
    "recovering",
)
"""Why a request waits: a closed vocabulary.

A request's E2E time is exactly its waits plus the stage and activation spans
of its microbatch up to its own finish: what is neither is nothing.
"""

IDLE_CAUSES = (
    "no_work",  # nothing in its pipeline, and the next microbatch had not arrived
    "fill",  # before the stage's first work, or fewer microbatches than stages so far
    "drain",  # after the stage's last work before its pipeline is empty
    "imbalance",  # the next microbatch was held by another one at another stage
    "early_stop",  # a microbatch ended, and none was there to take its place
    "starved",  # token machines: the next prompt was still on the prompt machines
    "blocked_transfer",  # what comes next was on a link, or waited for one
    "blocked_kv",  # what comes next waited for room for its KV cache
    "head_of_line",  # dejavu only: one that was ready had to let another pass first
    "swapping",  # the cache of the next microbatch was on its way from the host
    "failed",
    "starting",
)
"""Why a resource is idle: a closed vocabulary, defined by the view `idle_causes`."""

ENGINE_NAMES = ("mixed",)
"""Names that only runs with continuous batching have, behind all others."""

SWAP_NAMES = ("swap_out", "swap_in")
"""Names that only runs have that swap KV caches out, behind those."""

FAULT_NAMES = ("lost", "starting", "replica", "restore")
"""Names that only runs with failures, replicas or swapping have, behind all others."""

NAMES = (
    *("prefill", "decode", "activation", "kv_transfer", "kv_receive", "queued"),
    *CAUSES,
    *ENGINE_NAMES,
    *SWAP_NAMES,
    *FAULT_NAMES,
)
"""Names of spans and waits the simulator uses, in the order of their keys.

On stages: prefill, decode; mixed, an engine's step that takes prompts and
decodes; swap_out and swap_in, KV blocks on their way to host memory and back, with
their bytes; lost, a pass that a failure undid (with its token where it had come to
its end); failed and starting, a machine that is down, until it is noticed and
until it is back.  On links: activation (between neighbouring stages), kv_transfer (on
the sending side, with its bytes) and kv_receive (the receiving side of the
same transfer); replica, what a pass added to a KV cache on its way to the next
stage's host, and restore, caches on their way back; swap_in and swap_out,
between a stage's devices and its own host.  On request lanes: queued,
prefill, transfer, decode.
"""


def name_key(text: str) -> int:
    """Return the key of one of :data:`NAMES`."""
    return NAMES.index(text)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of one table, as columns of equal length.

    ``columns`` has every column of the table save optional ones: integer and
    float columns as numpy arrays of the declared type, string columns as
    sequences of str, with None where a nullable one is empty.
    """

    table: str
    columns: Mapping[str, Values] = field(repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def empty(table: str) -> Chunk:
    """Return a chunk of `table` with no rows."""
    return Chunk(
        table,
        {
            column.name: [] if column.type == "string" else np.empty(0, column.type)
            for column in TABLES[table].columns
        },
    )
