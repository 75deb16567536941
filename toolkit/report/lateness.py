"""Why a request was late, on a terminal: in words, a bar of its life, and two tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolkit.report import words

if TYPE_CHECKING:
    from toolkit.analytics.why import Hung, Why

__all__ = ["HUNG", "PARTS", "blockers", "several", "single", "verdict"]

Row = Mapping[str, Any]

PARTS = {
    "prefill": "its own prefill",
    "decode": "its own decode",
    **words.CAUSES,
    "transfer": "its KV cache on its way",
    "work": "its own work",
}
"""Parts of a request's time in words."""

_WAITED = {cause: PARTS[cause] for cause in words.CAUSES if cause not in ("work", "transfer")}

HUNG = {
    "prefill": "prompts",
    "decode": "decode passes",
    "activation": "hand-overs between stages",
    "kv_transfer": "KV caches on a link",
    "arrival": "time before one of them arrived",
    **_WAITED,
}
"""Pieces of a critical path in words: others' work, and waits that nobody is named for."""

HUNG_OWN = {
    "prefill": "its own prompt",
    "decode": "its own decode passes",
    "activation": "its own hand-overs between stages",
    "kv_transfer": "its own KV cache on a link",
    **_WAITED,
}
"""Pieces of a critical path that are the request's own, in words."""

CELLS = {
    "prefill": ("█", "yellow"),
    "decode": ("▓", "blue"),
    "work": ("▓", "blue"),
    "transfer": ("▒", "green"),
    "queue": ("·", "bright_black"),
    "packing": ("+", "bright_black"),
    "behind_prompt": ("░", "red"),
    "behind_batch": (":", "cyan"),
    "head_of_line": ("!", "red"),
    "link_busy": ("-", "green"),
    "kv_room": ("=", "magenta"),
    "unsplit": ("#", "blue"),
}
"""A part's cell and colour; own work is solid, so that the bar reads without colour too."""

_OTHER = ("?", "white")
_BAR = 78
_SHORT = 24
_NAMED = 2
"""Blockers named beside a cause; the others are counted."""


def single(why: Why, console: Console, looks: Sequence[str]) -> None:
    """Print one request's story; `looks` are the lines that say how to see it."""
    console.print()
    console.print(Text(_title(why), style="bold"))
    console.print(Text(_about(why), style="italic"))
    console.print()
    for sentence in verdict(why):
        console.print(Text(sentence))
    console.print()
    console.print(_life(why, _BAR))
    console.print(_scale(why))
    console.print(_key(why))
    console.print(_parts(why))
    if why.path:
        console.print(_hung(why))
    if why.lost:
        console.print(Text(why.lost, "yellow"))
        console.print()
    for line in looks:
        console.print(Text(line, "dim", no_wrap=True, overflow="ignore"), soft_wrap=True)


def several(stories: Sequence[Why], console: Console, looks: Sequence[str]) -> None:
    """Print several requests under each other: how long, how much of it work, and what else."""
    console.print()
    console.print(Text(f"{len(stories)} requests of {stories[0].run}", style="bold"))
    console.print()
    table = _table("request", "E2E", "own work", "mostly", "its life, in order of time")
    for column in table.columns[1:3]:
        column.justify = "right"
    table.columns[-1].no_wrap = True
    for why in stories:
        part, ns = next(iter(why.by_part().items()))
        table.add_row(
            str(why.number),
            words.seconds(why.e2e_ns / 1e9),
            "–" if "unsplit" in why.by_part() else words.share(_own(why) / (why.e2e_ns or 1)),
            f"{PARTS[part]} {words.share(ns / (why.e2e_ns or 1))}",
            _life(why, _SHORT),
        )
    console.print(table)
    console.print(_key(*stories))
    console.print()
    for lost in dict.fromkeys(why.lost for why in stories if why.lost):
        console.print(Text(lost, "yellow"))
    for line in looks:
        console.print(Text(line, "dim"), soft_wrap=True)


def blockers(rows: Sequence[Row], console: Console) -> None:
    """Print the top blockers of a run: rows of the view `top_blockers`."""
    if not rows:
        return
    table = _table("who kept others of the run waiting", "how", "waited", "share", "held")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            f"{row['request']} ({row['prompt_tokens']:,} + {row['output_tokens']:,} tokens)",
            words.CAUSES.get(row["cause"], row["cause"]),
            words.seconds(row["wait_s"]),
            words.share(row["share"]),
            f"{row['entries_held']:,}",
        )
    console.print(table)


def verdict(why: Why) -> list[str]:
    """Return the answer in sentences: its own part, what it waited for, what it hung on."""
    total = why.e2e_ns or 1
    own = _own(why)
    waits = [
        (part, ns)
        for part, ns in why.by_part().items()
        if part not in ("prefill", "decode", "work", "transfer", "unsplit")
    ]
    said = [f"{words.share(own / total)} of that is its own work ({words.seconds(own / 1e9)})."]
    if unsplit := why.by_part().get("unsplit", 0):
        said = [
            f"{words.share(unsplit / total)} of that ({words.seconds(unsplit / 1e9)}) is its own "
            "work and what it waited for meanwhile, which the trace does not tell apart."
        ]
    told = [
        f"{words.share(ns / total)} {_WAITING.get(part, PARTS[part])}{_whom(why, part)}"
        for part, ns in waits[:3]
        if ns >= 0.01 * total
    ]
    if told:
        said.append(f"It waited {words.listed(told)}.")
    elif not waits and not unsplit:
        said.append("It waited for nobody.")
    if why.path:
        hung = [_piece(each) for each in why.hung_on() if each.dur_ns >= 0.02 * total][:4]
        said.append(f"What it hung on, back through those it waited for: {words.listed(hung)}.")
    return said


_WAITING = {
    "queue": "in a queue",
    "behind_prompt": "behind other prompts",
    "behind_batch": "behind other decodes",
    "head_of_line": "with a stage kept idle for a batch that was not ready",
    "link_busy": "for a busy link",
    "kv_room": "for room for its KV cache",
    "packing": "for its microbatch to fill up",
}


def _piece(hung: Hung) -> str:
    others = "" if hung.what in ("arrival", *_WAITED) else "others' "
    what = HUNG_OWN[hung.what] if hung.own else others + HUNG[hung.what]
    return f"{words.seconds(hung.dur_ns / 1e9)} {what}"


def _whom(why: Why, part: str) -> str:
    """Name the one that a cause was mostly about, where one was."""
    named = why.blockers(part)
    if not named:
        return ""
    total = sum(ns for _, ns in named)
    request, ns = named[0]
    if ns < 0.6 * total:
        return f" ({len(named)} of them)" if len(named) > 1 else ""
    return f" (behind {request})" if part == "queue" else f" ({request})"


def _own(why: Why) -> int:
    return why.by_kind().get("own work", 0)


def _title(why: Why) -> str:
    return (
        f"Request {why.number} of {why.run}: {words.seconds(why.e2e_ns / 1e9)} "
        "from arrival to last token"
    )


def _about(why: Why) -> str:
    row = why.request
    like = f", {row['size']} like requests" if row["size"] > 1 else ""
    tokens = (
        f"{_count(row['prompt_tokens'])} prompt and {_count(row['output_tokens'])} output tokens"
    )
    return (
        f"{tokens[0].upper()}{tokens[1:]}{like}. "
        f"{_standing(why)} The median is {words.seconds(why.median_s)}."
    )


def _count(tokens: int | None) -> str:
    return "an unknown number of" if tokens is None else f"{tokens:,}"


def _standing(why: Why) -> str:
    if why.rank == 1:
        return "None took longer."
    return f"{words.share(why.share_at_most)} of all requests took no longer."


def _life(why: Why, cells: int) -> Text:
    """Return a request's life as a bar: each cell shows what most of its time was.

    Where the order of its parts is not known they stand one after the other.
    """
    start, end = why.window_ns
    bar, length = Text(no_wrap=True), max(end - start, 1)
    pieces = [(row["part"], row["from_ns"] - start, row["until_ns"] - start) for row in why.pieces]
    if not pieces:
        at = 0
        for part, ns in why.by_part().items():
            pieces.append((part, at, at + ns))
            at += ns
    first = 0
    for cell in range(cells):
        since, until = cell * length / cells, (cell + 1) * length / cells
        while first < len(pieces) - 1 and pieces[first][2] <= since:
            first += 1
        inside: dict[str, float] = {}
        for part, begin, over in pieces[first:]:
            if begin >= until:
                break
            inside[part] = inside.get(part, 0) + min(over, until) - max(begin, since)
        most = max(inside, key=lambda part: inside[part], default="")
        bar.append(*CELLS.get(most, _OTHER))
    return bar


def _scale(why: Why) -> Text:
    start, end = (words.seconds(ns / 1e9) for ns in why.window_ns)
    return Text(f"{start}{end.rjust(_BAR - len(start))}", "dim")


def _key(*stories: Why) -> Text:
    """Return what the cells mean, as many to a line as fit."""
    present = {part for why in stories for part in why.by_part()}
    key, column = Text(), 0
    for part, (cell, colour) in CELLS.items():
        if part in present:
            entry = f" {PARTS[part]}   "
            if column and column + len(entry) - 2 > _BAR:
                key.append("\n")
                column = 0
            key.append(cell, colour).append(entry, "dim")
            column += len(entry) + 1
    return key


def _parts(why: Why) -> Table:
    table = _table("where its time went", "time", "share", "for whom, longest first")
    for column in table.columns[1:3]:
        column.justify = "right"
    for part, ns in why.by_part().items():
        table.add_row(
            PARTS[part],
            words.seconds(ns / 1e9),
            words.share(ns / (why.e2e_ns or 1)),
            _named(why.blockers(part)),
        )
    table.add_section()
    table.add_row("arrival to last token", words.seconds(why.e2e_ns / 1e9), words.share(1.0), "")
    return table


def _named(named: Sequence[tuple[int, int]]) -> str:
    said = [f"{request} ({words.seconds(ns / 1e9)})" for request, ns in named[:_NAMED]]
    more = len(named) - _NAMED
    return ", ".join([*said, *([f"{more} more"] if more > 0 else [])])


def _hung(why: Why) -> Table:
    table = _table("what it hung on (critical path)", "time", "share", "whose")
    for column in table.columns[1:3]:
        column.justify = "right"
    for hung in why.hung_on():
        many = f"{hung.requests} other{'s' if hung.requests > 1 else ''}"
        table.add_row(
            HUNG_OWN[hung.what] if hung.own else HUNG[hung.what],
            words.seconds(hung.dur_ns / 1e9),
            words.share(hung.dur_ns / (why.e2e_ns or 1)),
            "" if hung.own else many,
        )
    return table


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
