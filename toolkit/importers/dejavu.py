"""Traces of the simulators published with DéjàVu: a process a stage, `p3` and `t3,17`.

`p<request>` is a request's prompt pass over a stage, `t<request>,<k>` its k-th
token pass.  The first token counts at the end of the first token pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolkit.importers.chrome import natural
from toolkit.importers.json_events import EventFile
from toolkit.importers.recording import Machine, Recording, Track
from toolkit.importers.rules import Meaning, Rules
from toolkit.importers.source import Source
from toolkit.importers.timeline import Timeline

__all__ = ["read"]

_PASS = re.compile(r"p(?P<prompt>\d{1,9})|t(?P<request>\d{1,9}),(?P<token>\d{1,9})")
_STAGE = re.compile(r"(?:(?P<role>Prompt|Token) Pipeline, )?Stage (?P<stage>\d{1,6})")


def read(source: Source, rules: Rules) -> Recording:
    """Return what a trace of `baseline.py` or `dejavu.py` says."""
    timeline = Timeline(replace(rules, discipline="dejavu"), source.wrong)

    def meaning(name: str, _: str, __: Mapping[str, Any]) -> Meaning:
        found = _PASS.fullmatch(name)
        if found is None:
            expected = "expected a prompt pass `p<request>` or a token pass `t<request>,<k>`"
            raise timeline.wrong("name", expected, repr(name), "another kind? name it with --from")
        if found["prompt"] is not None:
            return Meaning("prefill", int(found["prompt"]))
        return Meaning("decode", int(found["request"]), int(found["token"]))

    timeline.meaning = meaning
    for event in EventFile(source):
        timeline.feed(event)
    recording = timeline.finish(_tracks)
    recording.lacks += [
        "KV cache transfers: the published programs trace none",
        "how many requests a microbatch stands for; each counts as one",
    ]
    return recording


def _tracks(timeline: Timeline) -> None:
    recording = timeline.recording
    for pid, _ in timeline.keys.things:
        name = timeline.process_names.get(pid, f"Stage {pid}")
        found = _STAGE.fullmatch(name)
        role = ((found["role"] if found else None) or "colocated").lower()
        stage = int(found["stage"]) if found else 0
        shown = f"stage {stage}" if role == "colocated" else f"{role} {stage}"
        recording.machines[pid] = Machine("", role, int(role == "token"), stage)
        recording.tracks.append(Track(pid, shown, "stage", (role, stage, natural(pid))))
    in_order = sorted(recording.machines.items(), key=lambda it: (it[1].role, it[1].stage))
    for number, (_, machine) in enumerate(in_order):
        place = "stage" if machine.role == "colocated" else machine.role
        machine.name = f"m{number:02d} {place} {machine.stage}"
    recording.machines = dict(in_order)
