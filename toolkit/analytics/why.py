"""Why was this request late: what its end-to-end time went into, behind whom, and what it hung on.

Everything is rows of views (`request_rank`, `request_parts`, `request_pieces`),
asked for one request at a time, and its :mod:`.critical_path`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toolkit.analytics.critical_path import Piece, critical_path
from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.analytics.run import Run

__all__ = ["Hung", "Why", "at_percentile", "slowest", "why"]

Row = Mapping[str, Any]

WORK = ("prefill", "decode", "activation", "kv_transfer", "transfer")
"""What a piece of a critical path can be, where it is work."""

_RANK = """
    SELECT request, size, e2e_ns, rank, share_at_most
    FROM request_rank
    WHERE run = $run AND request = $request
"""
_MEDIAN = """
    SELECT median_s FROM latency_summary WHERE run = $run AND metric = 'e2e'
"""
_REQUEST = "FROM requests WHERE run = $run AND request = $request"
_PARTS = """
    SELECT parts.kind, parts.part, parts.on_request, parts.on_track, tracks.name AS track_name,
        parts.dur_ns
    FROM request_parts AS parts
    LEFT JOIN tracks ON tracks.run = parts.run AND tracks.track = parts.on_track
    WHERE parts.run = $run AND parts.request = $request
    ORDER BY parts.dur_ns DESC, parts.part, parts.on_request, parts.on_track
"""
_PIECES = """
    SELECT part, on_request, on_track, from_ns, until_ns
    FROM request_pieces
    WHERE run = $run AND request = $request
    ORDER BY from_ns
"""
_SLOWEST = """
    SELECT request FROM request_rank WHERE run = $run AND rank <= $count ORDER BY rank
"""
# Nearest rank: the fastest of those that at least so many requests do not outlast.
_AT = """
    SELECT request
    FROM request_rank
    WHERE run = $run AND share_at_most >= $share
    ORDER BY rank DESC
    LIMIT 1
"""
_KEYS = "SELECT count(*), max(request) FROM requests WHERE run = $run"
_OUTCOME = """
    SELECT outcome, arrival_ns IS NOT NULL AND finish_ns IS NOT NULL AS timed
    FROM requests
    WHERE run = $run AND request = $request
"""
_UNTIMED = "expected a request whose arrival and finish the trace says"


@dataclass(frozen=True, slots=True)
class Hung:
    """A part of a critical path: what was done, for itself or for others, and how long."""

    own: bool
    what: str
    dur_ns: int
    requests: int
    """Microbatches it was done for."""


@dataclass(frozen=True)
class Why:
    """The time of one request, taken apart.

    ``parts`` (columns of the view `request_parts`, longest first) add up to
    ``e2e_ns`` exactly, and so do ``pieces`` (in order of time) and ``path``.
    The last two are empty where the trace keeps too little; ``lost`` then says
    what is missing, and why.
    """

    run: str
    trace: str
    request: Row
    e2e_ns: int
    rank: int
    share_at_most: float
    median_s: float
    parts: Sequence[Row]
    pieces: Sequence[Row]
    path: Sequence[Piece] = field(repr=False)
    lost: str

    @property
    def number(self) -> int:
        """Key of the request."""
        return int(self.request["request"])

    @property
    def window_ns(self) -> tuple[int, int]:
        """From its arrival to its finish."""
        return self.request["arrival_ns"], self.request["finish_ns"]

    def by_part(self) -> dict[str, int]:
        """Return the nanoseconds of each part, all its blockers together, longest first."""
        return _summed((row["part"], row["dur_ns"]) for row in self.parts)

    def by_kind(self) -> dict[str, int]:
        """Return the nanoseconds of each class of parts, longest first."""
        return _summed((row["kind"], row["dur_ns"]) for row in self.parts)

    def blockers(self, part: str) -> list[tuple[int, int]]:
        """Return whom it waited for under one cause, and how long in ns, longest first."""
        named = [row for row in self.parts if row["part"] == part and row["on_request"] is not None]
        return list(_summed((row["on_request"], row["dur_ns"]) for row in named).items())

    def hung_on(self) -> list[Hung]:
        """Return the critical path summed up: own and others' work of each sort, longest first."""
        lead = self.request["lead"]
        sums = _summed(((each.request == lead, each.sort), each.dur_ns) for each in self.path)
        whose: dict[Any, set[int]] = {}
        for each in self.path:
            whose.setdefault((each.request == lead, each.sort), set()).add(each.request)
        return [Hung(own, what, ns, len(whose[own, what])) for (own, what), ns in sums.items()]

    def as_json(self) -> dict[str, Any]:
        """Return everything as one object; times in nanoseconds."""
        return {
            "run": self.run,
            "trace": self.trace,
            **self.request,
            "e2e_ns": self.e2e_ns,
            "rank": self.rank,
            "share_at_most": self.share_at_most,
            "median_e2e_s": self.median_s,
            "parts": list(self.parts),
            "pieces": list(self.pieces),
            "critical_path": [
                {"own": it.own, "what": it.what, "dur_ns": it.dur_ns, "requests": it.requests}
                for it in self.hung_on()
            ],
            "lost": self.lost,
        }


def _summed(pairs: Any) -> dict[Any, int]:
    sums: dict[Any, int] = {}
    for key, value in pairs:
        sums[key] = sums.get(key, 0) + value
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def why(run: Run, request: int, *, of: str | None = None) -> Why:
    """Take one request's time apart; `of` names its run where several are opened.

    Raises:
        InputError: there is no such request, or it was not served.
    """
    name = run.names[0] if of is None else of
    if name not in run.names:
        raise InputError.one(
            "why", "of", f"expected one of the opened runs, {', '.join(run.names)}", repr(name)
        )
    store = run.stores[run.names.index(name)]
    key = {"run": name, "request": request}
    ranked = run.frame(_RANK, **key).to_dicts()
    if not ranked:
        raise _no_such(run, str(store.folder), name, request)
    row = run.frame(_REQUEST, **key).to_dicts()[0]
    row.pop("run")
    level = str(store.manifest.get("level", "full"))
    pieces = run.frame(_PIECES, **key).to_dicts()
    return Why(
        run=name,
        trace=str(store.folder),
        request=row,
        e2e_ns=ranked[0]["e2e_ns"],
        rank=ranked[0]["rank"],
        share_at_most=ranked[0]["share_at_most"],
        median_s=run.frame(_MEDIAN, run=name)["median_s"][0],
        parts=run.frame(_PARTS, **key).to_dicts(),
        pieces=pieces,
        path=critical_path(run, name, row) if level == "full" and pieces else [],
        lost=_LOST["imported" if "source" in store.manifest else level],
    )


_LOST = {
    "full": "",
    "imported": "This trace is imported: it does not say behind whom a request waited, nor how the "
    "rest of its time divides into waiting and its own work, so that what it hung on cannot be "
    "followed.",
    "steps": "This trace (level `steps`) keeps the spans of last stages only, so that what the "
    "request hung on cannot be followed.",
    "requests": "This trace (level `requests`) keeps sums of waits: how long for each cause is "
    "exact, but not when, nor behind whom once the request had started, nor how its own work "
    "divides into prefill and decode. `--set trace.level='\"full\"'` keeps all of it.",
}
"""What a trace does not keep: one of a level, or an imported one."""


def slowest(run: Run, count: int) -> list[int]:
    """Return the `count` requests of the (first) run that took longest, the slowest first.

    Raises:
        InputError: `count` is less than 1, or the run served nothing.
    """
    if count < 1:
        raise InputError.one("--slowest", "", "expected a number of at least 1", str(count))
    return _some(run, run.frame(_SLOWEST, run=run.name, count=count)["request"].to_list())


def at_percentile(run: Run, percentile: float) -> int:
    """Return the request of the (first) run that stands at a percentile of end-to-end time.

    Nearest rank: the fastest one that at least `percentile` % of the requests
    do not outlast.

    Raises:
        InputError: `percentile` is not above 0 and at most 100, or the run
            served nothing.
    """
    if not 0 < percentile <= 100:
        raise InputError.one(
            "--percentile", "", "expected a number above 0 and at most 100", f"{percentile:g}"
        )
    # A share such as 0.99 may come out one bit above the sum of sizes it means.
    share = percentile / 100 - 1e-12
    return _some(run, run.frame(_AT, run=run.name, share=share)["request"].to_list())[0]


def _some(run: Run, found: list[int]) -> list[int]:
    if not found:
        ((count, _),) = run.frame(_KEYS, run=run.name).rows()
        if count and "source" in run.manifest:
            raise InputError.one(str(run.path), "", _UNTIMED, f"none of {count}")
        raise InputError.one(str(run.path), "", "expected a run that served a request", "none")
    return found


def _no_such(run: Run, folder: str, name: str, request: int) -> InputError:
    """Say what is wrong with the number of a request."""
    there = run.frame(_OUTCOME, run=name, request=request).rows()
    ((count, last),) = run.frame(_KEYS, run=name).rows()
    if there:
        ((outcome, timed),) = there
        expected, got = "expected a request that was served", f"request {request}: {outcome}"
        if outcome == "served" and not timed:
            expected, got = _UNTIMED, f"request {request} has not both"
    elif count:
        expected, got = f"expected a request from 0 to {last}", str(request)
    else:
        expected, got = "expected a run with requests", "none"
    return InputError.one(folder, "--request", expected, got)
