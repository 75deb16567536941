"""The points of a sweep: each combination that meets its constraints, built and checked.

What a schema can say of a value is asked once for each value, and what a
catalog and files say once for each combination of the keys that choose among
them.  All else is laid into values that are built already, so that a point
costs a fraction of a millisecond and is the same scenario as if it had been
loaded alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from toolkit.errors import InputError, Problem
from toolkit.scenario import physics, validate
from toolkit.scenario.build import build
from toolkit.scenario.expressions import Condition, ConditionError
from toolkit.scenario.layers import Layer, merged, shown_path
from toolkit.scenario.model import Scenario
from toolkit.scenario.resolve import known_names, resolve
from toolkit.scenario.sources import Sources, folder_of, located
from toolkit.scenario.sweep import Best, Family, Plan, Study, line_of, listed_values, nested
from toolkit.scenario.toml import KeyPath, value_at
from toolkit.scenario.validate import Finding

__all__ = ["MOST_POINTS", "Point", "Sweep", "open_sweep"]

MOST_POINTS = 100_000
"""Points of a sweep; more are refused, for a constraint is most likely missing."""

MOST_COMBINATIONS = 10_000_000
"""Combinations looked at on the way to them."""

Status = Literal["fits", "does_not_fit", "invalid"]

AS_WRITTEN = frozenset(
    {
        "hardware.machines",
        "deployment.data_parallel",
        "deployment.prompt_machines",
        "deployment.token_machines",
        "deployment.microbatch_size",
        "deployment.microbatches_in_flight",
        "deployment.router",
        "deployment.transfer",
        "workload.seed",
        "workload.equal_work_batch",
        "workload.repeat_order",
    }
)
"""Keys of which nothing else is derived, and whose value a scenario holds under the same name."""


@dataclass(frozen=True, slots=True)
class Point:
    """One combination: what it sets, the scenario it makes, and whether that can be.

    ``settings`` has every key path that the sweep varies anywhere, None where
    this point says nothing of it.  ``digest`` is that of the resolved
    scenario: equal digests, equal results.
    """

    number: int
    family: str
    settings: Mapping[str, Any]
    status: Status
    reason: str
    digest: str
    scenario: Scenario = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The points of a scenario with ``[sweep]``, family by family in the file's order.

    ``published`` maps families to what the published sweep calls them;
    ``studies`` can be asked for, and ``study`` is the one this sweep is under.
    """

    points: tuple[Point, ...]
    keys: tuple[str, ...]
    families: tuple[str, ...]
    best: Best
    published: Mapping[str, str] = field(default_factory=dict)
    studies: tuple[Study, ...] = ()
    study: Study | None = None


def open_sweep(sources: Sources, plan: Plan) -> Sweep:
    """Return the points of a sweep.

    Raises:
        InputError: a value, or what several together choose, is no scenario;
            constraints that cannot be answered or leave nothing; too many points.
    """
    keys = plan.keys
    empty: list[InputError] = []
    problems: dict[tuple[str, str], Problem] = {}
    found: list[Point] = []
    for family in plan.families:
        try:
            for point in _points(sources, family):
                settings = {key: point.settings.get(key) for key in keys}
                found.append(replace(point, number=len(found), settings=settings))
                if len(found) > MOST_POINTS:
                    raise _too_many(sources, f"more than {MOST_POINTS:,}")
        except _LeavesNothingError as nothing:
            empty.append(nothing)
        except InputError as error:
            _note(problems, error)
    # `--set` may leave a family nothing to do, as data parallelism on one machine.
    if empty and not (sources.sets and found):
        for each in empty:
            _note(problems, each)
    if problems:
        raise sources.error(problems.values())
    names = tuple(family.name for family in plan.families)
    published = {each.name: each.published_as for each in plan.families if each.published_as}
    return Sweep(tuple(found), keys, names, plan.best, published, plan.studies, plan.study)


class _LeavesNothingError(InputError):
    """No combination of a family meets its constraints."""


def _note(problems: dict[tuple[str, str], Problem], error: InputError) -> None:
    """Keep the problems of an error, each once whatever the family."""
    for problem in error.problems:
        problems.setdefault((problem.where.split(" (family")[0], problem.got), problem)


def _points(sources: Sources, family: Family) -> Iterator[Point]:
    """Yield the points of one family, the first key's values outermost."""
    _refuse_wrong_values(sources, family)
    bases = _Bases(sources, family)
    count = 0
    for settings in _combinations(sources, family, bases):
        count += 1
        yield bases.point(settings)
    if not count:
        texts = "; ".join(condition.text for condition in family.constraints)
        expected = "expected a combination that meets all constraints"
        error = _at(sources, family, ("sweep",), expected, texts)
        raise _LeavesNothingError(error.file, error.problems)


def _refuse_wrong_values(sources: Sources, family: Family) -> None:
    findings = [
        replace(finding, path=(*place, *finding.path[key.count(".") + 1 :]))
        for place, key, value in listed_values(family)
        for finding in validate.check_value(tuple(key.split(".")), value)
    ]
    if findings:
        raise sources.error(located(finding, sources.layers) for finding in findings)


def _combinations(sources: Sources, family: Family, bases: _Bases) -> Iterator[Mapping[str, Any]]:
    """Yield the settings that meet the constraints, dropping each as soon as one is broken.

    A constraint is asked once all it names is chosen; one that names keys that
    are not swept, once everything is.
    """
    steps: list[Sequence[Mapping[str, Any]]] = [
        [{key: value} for value in values] for key, values in family.lists.items()
    ]
    steps.append(family.together)
    chosen_by: list[set[str]] = [set()]
    for step in steps:
        chosen_by.append(chosen_by[-1] | {key for each in step for key in each})
    due: list[list[Condition]] = [[] for _ in steps]
    for condition in family.constraints:
        depths = [at for at, keys in enumerate(chosen_by[1:]) if keys >= set(condition.names)]
        due[depths[0] if depths else -1].append(condition)
    tried = 0

    def walk(depth: int, chosen: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
        nonlocal tried
        if depth == len(steps):
            yield chosen
            return
        for choice in steps[depth]:
            tried += 1
            if tried > MOST_COMBINATIONS:
                raise _too_many(sources, f"more than {MOST_COMBINATIONS:,} combinations to look at")
            now = {**chosen, **choice}
            if all(_holds(sources, family, bases, each, now) for each in due[depth]):
                yield from walk(depth + 1, now)

    return walk(0, {})


def _holds(
    sources: Sources, family: Family, bases: _Bases, condition: Condition, chosen: dict[str, Any]
) -> bool:
    values: Mapping[str, Any] = chosen
    missing = [name for name in condition.names if name not in chosen]
    if missing:
        document = bases.base(chosen).document
        stated = {name: value_at(document, tuple(name.split("."))) for name in missing}
        unset = [name for name in missing if stated[name] is None]
        if unset:
            expected = f"asks for {unset[0]}, which is not set here"
            way_out = "put the constraint into the families that have the key"
            raise _at(sources, family, ("sweep", "constraints"), expected, condition.text, way_out)
        values = {**chosen, **stated}
    try:
        return condition.holds(values)
    except ConditionError as error:
        where = ("sweep", "constraints")
        raise _at(sources, family, where, str(error), condition.text) from None


@dataclass(frozen=True, slots=True)
class _Base:
    """A scenario with everything in it but the keys that are taken as written."""

    scenario: Scenario
    document: Mapping[str, Any]
    digest: str


class _Bases:
    """The scenarios of a family that differ in more than keys taken as written, each built once."""

    def __init__(self, sources: Sources, family: Family) -> None:
        self._sources = sources
        self._family = family
        self._built: dict[str, _Base] = {}
        # A key whose table is swept as a whole may be replaced together with it.
        within = [key for key in family.keys if f"{key.rpartition('.')[0]}" in family.keys]
        self._plain = AS_WRITTEN - set(within)
        written = merged((*sources.layers, *family.layers, *sources.sets))
        if value_at(written, ("workload", "requests", "kind")) == "servegen":
            self._plain -= {"workload.seed"}  # its requests are drawn when they are read

    def base(self, settings: Mapping[str, Any]) -> _Base:
        """Return what these settings have in common with all that take the same choices."""
        chosen = {key: value for key, value in settings.items() if key not in self._plain}
        # Which of the plain keys are set at all is a choice, too.
        plain = sorted(settings.keys() - chosen.keys())
        name = json.dumps([chosen, plain], sort_keys=True, default=str)
        if name not in self._built:
            self._built[name] = self._build(settings)
        return self._built[name]

    def point(self, settings: Mapping[str, Any]) -> Point:
        """Return the point with these settings."""
        base = self.base(settings)
        plain = {key: settings[key] for key in settings if key in self._plain}
        scenario = _laid_over(base, plain)
        findings = physics.check(scenario)
        status: Status = "fits"
        if findings:
            memory = all(finding.path == physics.MEMORY for finding in findings)
            status = "does_not_fit" if memory else "invalid"
        text = json.dumps([base.digest, plain], sort_keys=True, default=str)
        return Point(
            0,
            self._family.name,
            settings,
            status,
            _reason(findings),
            hashlib.sha256(text.encode()).hexdigest(),
            scenario,
        )

    def _build(self, settings: Mapping[str, Any]) -> _Base:
        sources, family = self._sources, self._family
        layer = _layer(sources, family, settings)
        stack = (*sources.layers, *family.layers, layer, *sources.sets)
        user = merged(stack)
        for key in ("extends", "sweep", "variant"):
            user.pop(key, None)
        self._stop_at(validate.check(user), stack)
        self._stop_at(list(known_names(user)), stack)
        resolved = resolve(user, partial(folder_of, stack), sources.fallback_name)
        self._stop_at(resolved.findings, stack)
        if resolved.problems:
            raise sources.error(resolved.problems)
        scenario = build(resolved.document, resolved.saved, sources.path, resolved.recording)
        plain: set[KeyPath] = {tuple(key.split(".")) for key in settings if key in self._plain}
        return _Base(scenario, resolved.document, _digest(resolved.saved, plain))

    def _stop_at(self, findings: Sequence[Finding], stack: Sequence[Layer]) -> None:
        if findings:
            raise self._sources.error(located(finding, stack) for finding in findings)


def _layer(sources: Sources, family: Family, settings: Mapping[str, Any]) -> Layer:
    """Return the settings of a point as a layer that knows where each value is listed."""
    lines: dict[KeyPath, int] = {}
    file, _ = line_of(sources, ("sweep",))
    for key, value in settings.items():
        values = family.lists.get(key, ())
        last = values.index(value) if value in values else key
        file, line = line_of(sources, (*family.places[key], last))
        path: KeyPath = tuple(key.split("."))
        lines |= {path: line} | {path[:length]: line for length in range(1, len(path))}
    return Layer("sweep", nested(settings), file, lines=lines)


def _laid_over(base: _Base, plain: Mapping[str, Any]) -> Scenario:
    """Return the scenario of a base with keys taken as written; its document says them too."""
    parts: dict[str, dict[str, Any]] = {}
    for key, value in plain.items():
        section, _, name = key.partition(".")
        parts.setdefault(section, {})[name] = value
    scenario = base.scenario
    document = dict(scenario.document)
    changed: dict[str, Any] = {}
    for section, values in parts.items():
        document[section] = {**document[section], **values}
        changed[section] = replace(getattr(scenario, section), **values)
    return replace(scenario, document=document, **changed)


def _digest(document: Mapping[str, Any], plain: set[KeyPath]) -> str:
    """Return the digest of a resolved document but for keys taken as written and for words."""
    left = {
        section: {key: each for key, each in table.items() if (section, key) not in plain}
        for section, table in document.items()
        if isinstance(table, Mapping) and section not in {"trace", "report"}
    }
    left["report"] = {"percentiles": document["report"]["percentiles"]}
    text = json.dumps(left, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _reason(findings: Sequence[Finding]) -> str:
    return "; ".join(
        f"{shown_path(each.path)}: {each.expected}" + (f", got {each.got}" if each.got else "")
        for each in findings
    )


def _at(
    sources: Sources,
    family: Family,
    place: KeyPath,
    expected: str,
    got: str = "",
    way_out: str = "",
) -> InputError:
    file, line = line_of(sources, place)
    where = shown_path(place) + (f' (family "{family.name}")' if family.name else "")
    return sources.error([Problem(where, expected, got, way_out, file, line)])


def _too_many(sources: Sources, got: str) -> InputError:
    file, line = line_of(sources, ("sweep",))
    expected = f"expected at most {MOST_POINTS:,} points"
    way_out = "list fewer values, or state a constraint"
    return sources.error([Problem("sweep", expected, got, way_out, file, line)])
