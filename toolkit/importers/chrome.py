"""Chrome trace events in general, our own rendering among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from toolkit.importers.json_events import EventFile
from toolkit.importers.recording import Interned, Machine, Recording, Track
from toolkit.importers.rules import Rules, TrackRule
from toolkit.importers.source import Source
from toolkit.importers.timeline import Timeline
from toolkit.trace.perfetto import TID
from toolkit.trace.selection import BUSY_STAGES

__all__ = [
    "filled",
    "machine_of_link",
    "natural",
    "noted_machine",
    "own_machine",
    "read",
    "tracks_by_rules",
    "without_derived",
]

OWN_PLACE = re.compile(r"m(\d+) (?:r(\d+) )?(stage|prompt|token) (\d+)")
"""How a simulated deployment calls its machines."""


def read(source: Source, rules: Rules) -> Recording:
    """Return what a Chrome trace says, by `rules` where they know better."""
    timeline = Timeline(rules, source.wrong)
    file = EventFile(source)
    for event in file:
        timeline.feed(event)
    if file.about.get("displayTimeUnit") == "ns" and "Deployment" in (
        timeline.process_names.values()
    ):
        return _own(timeline)
    return timeline.finish(tracks_by_rules)


def natural(text: object) -> tuple[tuple[int, int, str], ...]:
    """Return a key by which `stage 2` comes before `stage 10`."""
    return tuple(
        (0, int(part), "") if part.isdigit() and len(part) < 19 else (1, 0, part)
        for part in re.split(r"(\d+)", str(text))
        if part
    )


def tracks_by_rules(timeline: Timeline) -> None:
    """Name the tracks: rules first; else threads are stages, asynchronous events lanes."""
    recording = timeline.recording
    threads = Counter(pid for pid, _ in timeline.keys.things)
    for pid, tid in timeline.keys.things:
        process = timeline.process_names.get(pid, str(pid))
        lane = isinstance(tid, tuple)
        thread = tid[1] if lane else timeline.thread_names.get((pid, tid), str(tid))
        found = timeline.rules.track(process, thread)
        rule, groups = found or (None, {"process": process, "thread": thread})
        kind = (rule.kind if rule else None) or ("lane" if lane else "stage")
        machine = None
        if kind in ("stage", "thread") or (kind == "link" and rule and rule.machine):
            machine = noted_machine(timeline, rule, groups, process)
        if rule and rule.name:
            name = filled(rule.name, groups, timeline)
        else:
            unnamed = not lane and (pid, tid) not in timeline.thread_names
            name = process if unnamed and threads[pid] == 1 else thread
        recording.tracks.append(Track(machine, name, kind, (natural(process), natural(thread))))
    by_name = sorted(recording.machines.items(), key=lambda item: natural(item[1].name))
    recording.machines = dict(by_name)
    _counters(timeline)


def noted_machine(
    timeline: Timeline, rule: TrackRule | None, groups: Mapping[str, str], process: str
) -> str:
    """Note the machine of a track, the first words about it counting; return its key."""
    name = filled(rule.machine, groups, timeline) if rule and rule.machine else process
    made = Machine(name)
    if rule:
        made.role = rule.role or made.role
        made.replica = _number(rule.replica, groups.get("replica"))
        made.stage = _number(rule.stage, groups.get("stage"))
    timeline.recording.machines.setdefault(name, made)
    return name


def _number(stated: int | None, found: str | None) -> int:
    if stated is not None:
        return stated
    return int(found) if found and found.isdigit() and len(found) < 9 else 0


def filled(template: str, groups: Mapping[str, str], timeline: Timeline) -> str:
    """Return a name with what the patterns of its rule found."""
    try:
        return template.format_map(groups)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise timeline.wrong(
            "rules",
            "expected {process}, {thread} or named groups of the rule's patterns in braces",
            f"{template!r} ({error})",
        ) from None


def _counters(timeline: Timeline) -> None:
    """Give a process's counters to the machine of that name, others to none."""
    recording, keys = timeline.recording, timeline.counter_keys.things
    several = len({pid for pid, _, _ in keys}) > 1
    for pid, name, unit in keys:
        process = timeline.process_names.get(pid, str(pid))
        known = process in recording.machines
        shown = f"{name} ({process})" if several and not known else name
        recording.counters.append((process if known else None, shown, unit, name))


def _own(timeline: Timeline) -> Recording:
    """Return a rendering of one of our stores with the keys it had there."""
    recording = timeline.recording
    recording.own, recording.origin = True, "source"
    timeline.finish(_own_tracks)
    flows, recording.flow_ids = recording.flow_ids.things, Interned()
    for number in flows:
        recording.flow_ids.number(number - 1 if isinstance(number, int) else number)
    without_derived(recording)
    return recording


def without_derived(recording: Recording) -> None:
    """Drop the counter that renderings add."""
    derived = (None, BUSY_STAGES, "stages")
    for at, key in enumerate(recording.counters):
        if key[:3] == derived:
            recording.drop_counter(at)
            return


def _own_tracks(timeline: Timeline) -> None:
    recording, names = timeline.recording, timeline.process_names
    for pid, name in names.items():
        if name not in ("Links", "Requests", "Deployment"):
            recording.machines[pid] = own_machine(name)
    for key in timeline.thread_names:  # stages are there without spans too
        timeline.keys.number(key)
    for pid, tid in timeline.keys.things:
        kind = {"Links": "link", "Requests": "lane"}.get(names.get(pid, ""), "stage")
        name = timeline.thread_names.get((pid, tid), str(tid))
        machine = (
            pid if kind == "stage" else machine_of_link(name, recording) if kind == "link" else None
        )
        number = tid - TID if isinstance(tid, int) else None
        recording.tracks.append(Track(machine, name, kind, (natural(name),), number))
    for pid, name, unit in timeline.counter_keys.things:
        recording.counters.append((pid if pid in recording.machines else None, name, unit, name))


def machine_of_link(name: str, recording: Recording) -> int | None:
    """Return the process id of the machine that a link of ours belongs to: `m03 KV out`."""
    found = re.match(r"m(\d+) ", name)
    pid = int(found[1]) + 1 if found else None
    return pid if pid in recording.machines else None


def own_machine(name: str) -> Machine:
    """Return a machine as its shown name tells it."""
    found = OWN_PLACE.fullmatch(name)
    if found is None:
        return Machine(name)
    _, replica, role, stage = found.groups()
    return Machine(
        name,
        "colocated" if role == "stage" else role,
        int(replica or (role == "token")),
        int(stage),
    )
