"""What dominates a run and what would change it, in three sentences.

The numbers are rows of the view `dominant_causes`; the words for each cause
stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.errors import InputError
from toolkit.report import words

if TYPE_CHECKING:
    from toolkit.analytics import Run

__all__ = ["Explanation", "explain", "explained"]

Row = Mapping[str, Any]

SMALL = 0.05
"""Share of all stage time below which a loss is not worth a sentence of its own."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Three sentences about one run, and the rows of `dominant_causes` that they tell."""

    run: str
    label: str
    dominates: str
    because: str
    change: str
    rows: Sequence[Row]

    @property
    def sentences(self) -> tuple[str, str, str]:
        """The sentences, in order."""
        return (self.dominates, self.because, self.change)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as one object: sentences under their names, causes by size."""
        causes = [{key: row[key] for key in row if key not in _OF_THE_RUN} for row in self.rows]
        shared = {key: self.rows[0][key] for key in _OF_THE_RUN if key != "run"} if causes else {}
        return {
            "name": self.run,
            "dominates": self.dominates,
            "because": self.because,
            "change": self.change,
            **shared,
            "causes": causes,
        }


_OF_THE_RUN = (
    "run",
    "useful_share",
    "bill_usd",
    "makespan_s",
    "prefill_s",
    "decode_s",
    "cache_s",
    "busiest_link_share",
)
"""Columns that are the same for every cause of a run."""


def explain(run: Run) -> list[Explanation]:
    """Return an explanation of each run opened, in order.

    Raises:
        InputError: a run has no stages (an imported one may have none), or took no time.
    """
    runs = run.frame(_RUNS).to_dicts()
    rows = run.frame("FROM dominant_causes").to_dicts()
    for each in runs:
        if not each["stages"] or not each["makespan_ns"]:
            store = run.stores[run.names.index(str(each["run"]))]
            expected, got = "expected a run whose stages took time", "one that took none"
            if not each["stages"]:
                expected, got = "expected a run with stages, whose time can be explained", "none"
            raise InputError.one(str(store.folder), "", expected, got)
    return [
        explained(
            str(each["run"]),
            each["label"],
            [row for row in rows if str(row["run"]) == str(each["run"])],
            each["source"] is not None,
        )
        for each in runs
    ]


_RUNS = """
    SELECT runs.run, label, source, makespan_ns, count(tracks.track) AS stages
    FROM runs
    JOIN run_totals USING (run)
    LEFT JOIN tracks ON tracks.run = runs.run AND tracks.kind = 'stage'
    GROUP BY runs.run, ordinal, label, source, makespan_ns
    ORDER BY ordinal
"""


def explained(run: str, label: str, rows: Sequence[Row], imported: bool = False) -> Explanation:
    """Put the rows of one run, the largest cause first, into sentences.

    Of an imported run, the causes that its trace does not tell apart are called so.
    """
    if not rows:
        return Explanation(run, label, *_NOTHING_LOST, rows)
    largest = rows[0]
    because, change = _BECAUSE[largest["cause"]], _CHANGE[largest["cause"]]
    if largest["role"] != "colocated":
        change = _CHANGE_APART.get(largest["cause"], change)
    if imported:
        change = _CHANGE_IMPORTED.get(largest["cause"], change)
    if largest["cause"] == "unexplained":
        told = because.format_map(_Told(largest))
        return Explanation(run, label, _dominates(rows, imported), told, f"{change}.", rows)
    return Explanation(
        run,
        label,
        _dominates(rows, imported),
        because.format_map(_Told(largest)),
        f"{change}; without it, {_stages(largest)} would need "
        f"{words.seconds(largest['without_s'])} of the {words.seconds(largest['makespan_s'])}, if "
        "nothing else changed.",
        rows,
    )


_NOTHING_LOST = (
    "Every stage works all the time.",
    "No nanosecond of any stage is lost to waiting.",
    "More machines, or faster ones, are all that would make it faster.",
)


def _dominates(rows: Sequence[Row], imported: bool) -> str:
    names = _NAMES | _NAMES_IMPORTED if imported else _NAMES
    largest = rows[0]
    second = next((row for row in rows[1:] if row["share"] >= SMALL), None)
    said = (
        f"Stages work {words.share(largest['useful_share'])} of the time; the largest loss is "
        f"{names[largest['cause']]}, {_amount(largest)}"
    )
    if largest["bill_usd"] is not None:
        said += f" of the {words.dollars(largest['bill_usd'])}"
    if second is not None:
        said += f", then {names[second['cause']]}, {_amount(second)}"
    return f"{said}."


def _amount(row: Row) -> str:
    """Say whose time it is, how much, and what it cost."""
    where = "" if row["role"] in ("colocated", None) else f" on {row['role']} machines"
    cost = "" if row["cost_usd"] is None else f" and {words.dollars(row['cost_usd'])}"
    return f"{words.share(row['share'])} of all stage time{where}{cost}"


def _stages(row: Row) -> str:
    return "the stages" if row["role"] in ("colocated", None) else f"the {row['role']} stages"


class _Told(dict[str, str]):
    """The figures of a row in words, for a sentence with names in braces."""

    def __init__(self, row: Row) -> None:
        super().__init__(
            prefill=words.seconds(row["prefill_s"]),
            decode=words.seconds(row["decode_s"]),
            in_flight=words.amount(row["mean_in_flight"], 2),
            stages=f"{row['stages']}",
            cache=words.seconds(row["cache_s"]),
            link=words.share(row["busiest_link_share"]),
            role=_stages(row),
            role_share=words.share(row["role_share"]),
        )


_NAMES = {
    "imbalance": "stages waiting for microbatches held elsewhere (imbalance)",
    "early_stop": "places of microbatches that ended and were not filled again (early stop)",
    "fill": "pipelines not yet full (fill)",
    "drain": "pipelines running empty (drain)",
    "starved": "token machines waiting for prompts (starved)",
    "blocked_transfer": "stages waiting for what is on a link (blocked on a transfer)",
    "blocked_kv": "stages waiting for room for KV caches (blocked on KV room)",
    "head_of_line": "stages held for a microbatch that is not ready (head of line)",
    "swapping": "stages waiting for KV caches on their way from the host (swapping)",
    "no_work": "machines with nothing to do (no work)",
    "lost": "work that failures undid",
    "failed": "failed machines",
    "starting": "machines starting up",
    "bubble": "pipeline bubbles (their kinds need trace level full)",
    "waiting": "stages with an empty pipeline (why needs trace level full)",
    "unexplained": "stages that stand still for no stated reason (unexplained)",
}
"""What a cause is called in a sentence."""

_NAMES_IMPORTED = {
    "bubble": "pipeline bubbles (the trace does not tell their kinds)",
    "waiting": "stages with an empty pipeline (the trace does not say why)",
}
"""What it is called where an imported trace tells no more."""

_BECAUSE = {
    "imbalance": "A pass through a stage takes {prefill} for a prompt and {decode} for a token, "
    "and whoever is behind the longer one reaches the next stage late: {role} stand still for that "
    "{role_share} of their time.",
    "early_stop": "On average {in_flight} microbatches are in flight for {stages} stages: when one "
    "ends before the others there is none to take its place.",
    "fill": "On average {in_flight} microbatches are in flight for {stages} stages: there are too "
    "few to give every stage one.",
    "drain": "On average {in_flight} microbatches are in flight for {stages} stages: the last one "
    "leaves stage after stage with nothing behind it.",
    "starved": "A prompt takes {prefill} on each prompt stage, a token {decode} on a token stage, "
    "and only {in_flight} microbatches are in flight for {stages} token stages.",
    "blocked_transfer": "A part of a KV cache takes {cache} on a link, the busiest link is taken "
    "{link} of the time, and {in_flight} microbatches are in flight for {stages} stages.",
    "blocked_kv": "With {in_flight} microbatches in flight for {stages} stages, the memory set "
    "aside for KV caches is full and the next one stays outside.",
    "head_of_line": "A stage takes microbatches in the order of the list: one that is ready waits "
    "for one that is not, {role_share} of the time of {role}.",
    "swapping": "KV caches move between device and host memory, and {role} wait for them "
    "{role_share} of their time.",
    "no_work": "Requests come slower than {role} serve them, or the last ones are out: "
    "{role_share} of their time there is nothing in the pipeline and nothing on its way to it.",
    "lost": "Failures undid what {role} had done in {role_share} of their time.",
    "failed": "Machines of their pipeline are down, or its caches on their way back, "
    "{role_share} of the time of {role}.",
    "starting": "Machines are starting {role_share} of the time of {role}.",
    "bubble": "A pass through a stage takes {prefill} for a prompt and {decode} for a token, and "
    "{in_flight} microbatches are in flight for {stages} stages.",
    "waiting": "Nothing is in the pipeline of {role} {role_share} of their time.",
    "unexplained": "The trace shows work of {role} for no request that it knows, so it does not "
    "say whether there was more to do in the {role_share} of their time in which they do nothing.",
}
"""Why a cause takes what it takes; the names in braces are figures of its row."""

_CHANGE = {
    "imbalance": "Prompts on machines of their own, shorter prompts or smaller microbatches would "
    "change it",
    "early_stop": "More requests at once, more microbatches in flight or fewer stages would change "
    "it",
    "fill": "More requests at once, smaller microbatches or fewer stages would change it",
    "drain": "More requests behind the last one, or fewer stages, would change it",
    "starved": "More prompt machines and fewer token machines would change it",
    "blocked_transfer": "A faster link, or fewer bytes over it (shorter prompts, a KV cache of "
    "fewer bytes a token), would change it",
    "blocked_kv": "More memory for KV caches (smaller microbatches, more stages, a KV buffer on "
    "the token side) would change it",
    "head_of_line": 'Serving whoever is ready (discipline = "event") would change it',
    "swapping": "More device memory or smaller microbatches would change it",
    "no_work": "Fewer machines, requests spread more evenly over them, or more requests would "
    "change it",
    "lost": 'Replicas of the KV cache (deployment.replication = "next_stage") would change it',
    "failed": "Faster detection and recovery, or a spare machine, would change it",
    "starting": "Keeping machines warm would change it",
    "bubble": "Trace level full would tell its kinds apart",
    "waiting": "Trace level full would tell what it waits for",
    "unexplained": "A trace with every request's start and end, and which request each span is "
    "for, would tell what they wait for",
}
"""What would make a cause smaller."""

_CHANGE_APART = {
    "imbalance": "Microbatches more alike (prompts of one length together, smaller ones) would "
    "change it",
}
"""What would, where prompts have machines of their own already."""

_CHANGE_IMPORTED = {
    "bubble": "A simulation of the same deployment would tell their kinds apart",
    "waiting": "A simulation of the same deployment would tell what they wait for",
}
"""What would tell more, where an imported trace does not."""
