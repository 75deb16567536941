"""Layouts of published request traces: which column holds what, and in which unit.

A new layout is a row here, not a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["COLUMNS", "KINDS", "LAYOUTS", "TIME_UNITS", "Layout", "layout_of"]

TIME_UNITS: Mapping[str, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1, "clock": 1}
"""Nanoseconds in a unit of arrival times; ``clock`` is date and time of day, in UTC."""

COLUMNS = (
    "arrival",
    "prompt_tokens",
    "output_tokens",
    "total_tokens",
    "tenant",
    "priority",
    "session",
    "hash_ids",
)
"""What a column can hold; ``total_tokens`` is only checked against the sum of the two."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of file is laid out.

    ``columns`` maps what is wanted to the file's own name for it; those in
    ``optional`` are taken where the file has them.
    """

    form: Literal["csv", "jsonl", "parquet"]
    columns: Mapping[str, str]
    time_unit: str = "s"
    optional: frozenset[str] = field(default_factory=frozenset)
    block_tokens: int = 512
    source: str = ""


LAYOUTS: Mapping[str, Layout] = {
    "azure": Layout(
        "csv",
        {
            "arrival": "TIMESTAMP",
            "prompt_tokens": "ContextTokens",
            "output_tokens": "GeneratedTokens",
        },
        time_unit="clock",
        source="Azure/AzurePublicDataset, LLM inference traces of 2023 and 2024 (CC-BY 4.0)",
    ),
    "mooncake": Layout(
        "jsonl",
        {
            "arrival": "timestamp",
            "prompt_tokens": "input_length",
            "output_tokens": "output_length",
            "hash_ids": "hash_ids",
        },
        time_unit="ms",
        source="kvcache-ai/Mooncake, FAST25-release/traces; ticks of about 3 s, "
        "blocks of 512 tokens",
    ),
    "burstgpt": Layout(
        "csv",
        {
            "arrival": "Timestamp",
            "prompt_tokens": "Request tokens",
            "output_tokens": "Response tokens",
            "total_tokens": "Total tokens",
            "tenant": "Model",
            "session": "Session ID",
        },
        optional=frozenset({"session", "tenant", "total_tokens"}),
        source="HPMLL/BurstGPT (CC-BY 4.0); an answer of 0 tokens is a request that failed",
    ),
    "vidur": Layout(
        "csv",
        {
            "arrival": "arrived_at",
            "prompt_tokens": "num_prefill_tokens",
            "output_tokens": "num_decode_tokens",
            "total_tokens": "num_total_tokens",
        },
        optional=frozenset({"arrival", "total_tokens"}),
        source="microsoft/vidur, data/processed_traces, and files of that layout (ShareGPT); "
        "`pd_ratio` is not read: publishers disagree which way round it is",
    ),
    "splitwise": Layout(
        "csv",
        {
            "arrival": "arrival_timestamp",
            "prompt_tokens": "prompt_size",
            "output_tokens": "token_size",
        },
        source="Mutinifni/splitwise-sim, traces",
    ),
    "apex": Layout(
        "jsonl",
        {
            "arrival": "StartTimeOffset",
            "prompt_tokens": "ContextTokens",
            "output_tokens": "GeneratedTokens",
            "total_tokens": "TotalTokens",
        },
        time_unit="ns",
        optional=frozenset({"total_tokens"}),
        source="microsoft/apex_plus, traces",
    ),
    "llmservingsim": Layout(
        "jsonl",
        {
            "arrival": "arrival_time_ns",
            "prompt_tokens": "input_toks",
            "output_tokens": "output_toks",
        },
        time_unit="ns",
        source="casys-kaist/LLMServingSim, workloads",
    ),
    "csv": Layout("csv", {}),
    "jsonl": Layout("jsonl", {}),
    "parquet": Layout("parquet", {}),
}
"""Every kind of file of one request per row."""

KINDS = (*LAYOUTS, "servegen")
"""Every kind; ServeGen's files describe clients from whom requests are drawn."""

_PLAIN = {name: name for name in ("prompt_tokens", "output_tokens")}


def layout_of(
    kind: str,
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    block_tokens: int | None = None,
) -> Layout:
    """Return the layout of a kind, with the columns and units that a user states instead.

    A column that is stated has to be there, so it is no longer optional.  The
    kinds csv, jsonl and parquet look for ``prompt_tokens`` and
    ``output_tokens`` unless told otherwise.
    """
    known, stated = LAYOUTS[kind], dict(columns or {})
    return replace(
        known,
        columns={**(known.columns or _PLAIN), **stated},
        optional=known.optional - stated.keys(),
        time_unit=time_unit or known.time_unit,
        block_tokens=block_tokens or known.block_tokens,
    )
