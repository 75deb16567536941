"""The kinds of files that can be imported, and how one is told from another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from toolkit.importers import chrome, dejavu, perfetto, table, torch, vidur, vllm
from toolkit.importers.recording import Recording
from toolkit.importers.rules import Rules
from toolkit.importers.source import Source

__all__ = ["KINDS", "Kind", "recognised"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file: what it is, who reads it, and which rules apply."""

    about: str
    read: Callable[[Sequence[Source], Rules], Recording]
    several: bool = False
    """Whether a run may be in several files, one a rank."""
    rules: frozenset[str] = frozenset({"time", "hardware"})
    """Tables of a rules file that mean something here."""


def _one(
    read: Callable[[Source, Rules], Recording],
) -> Callable[[Sequence[Source], Rules], Recording]:
    return lambda sources, rules: read(sources[0], rules)


_EVENTS = frozenset({"time", "hardware", "args", "track", "span", "discipline"})

KINDS: Mapping[str, Kind] = {
    "chrome": Kind("Chrome trace events as JSON", _one(chrome.read), rules=_EVENTS),
    "dejavu": Kind("a trace of the published DéjàVu simulators", _one(dejavu.read)),
    "vidur": Kind("Vidur's Chrome trace", _one(vidur.read)),
    "torch": Kind("PyTorch profiler traces, one file a rank", torch.read, several=True),
    "vllm": Kind(
        "the detailed result of `vllm bench serve`", _one(vllm.read), rules=frozenset({"hardware"})
    ),
    "perfetto": Kind(
        "native Perfetto traces, their track events",
        _one(perfetto.read),
        rules=_EVENTS,
    ),
    "table": Kind(
        "a table with a row per request: CSV, JSONL, Parquet",
        _one(table.read),
        rules=frozenset({"time", "hardware", "columns", "where", "discipline"}),
    ),
}
"""Every kind, by the name that --from takes."""


def recognised(source: Source) -> str:
    """Return the kind of a file by its beginning.

    Raises `InputError` where it looks like none of them.
    """
    head = source.head
    if head.startswith(b"PAR1"):
        return "table"
    if perfetto.looks_like(head):
        return "perfetto"
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text[:1] in ("[", "{"):
        return _kind_of_json(source, text)
    first_line = text.partition("\n")[0]
    if b"\0" not in head and ("," in first_line or "\t" in first_line) and "\n" in text:
        return "table"
    raise source.wrong(
        "",
        f"expected one of the kinds {', '.join(KINDS)}",
        f"a file that begins with {head[:16]!r}",
        "name its kind with --from",
    )


def _kind_of_json(source: Source, text: str) -> str:
    if "traceEvents" not in text and text[0] == "{":
        if any(f'"{name}"' in text for name in ("ttfts", "input_lens", "request_throughput")):
            return "vllm"
        if re.match(r"\{[^\n]*\}\s*(\n|$)", text):
            return "table"
    if '"schemaVersion"' in text or re.search(r'"cat":\s*"(cpu_op|kernel|cuda_runtime)"', text):
        return "torch"
    if re.search(r'"request_ids":\s*\[', text) and '"num_tokens"' in text:
        return "vidur"
    if text[0] == "[" and '"cname"' in text and re.search(r'"name":\s*"[pt]\d+(,\d+)?"', text):
        return "dejavu"
    if '"ph"' in text or "traceEvents" in text:
        return "chrome"
    raise source.wrong(
        "",
        "expected JSON of a kind that is known",
        f"a document that begins with {text[:40]!r}",
        "name its kind with --from",
    )
