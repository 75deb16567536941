"""``[sweep]``: many points in place of one, told by lists, constraints and families.

This module reads the table and says what is wrong with its words;
:mod:`toolkit.scenario.points` makes points of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from toolkit.catalog import nearest
from toolkit.scenario import validate
from toolkit.scenario.expressions import Condition, ConditionError, parse
from toolkit.scenario.layers import Layer, merged, origin
from toolkit.scenario.schema import key_paths, schema_at
from toolkit.scenario.sources import Sources
from toolkit.scenario.toml import KeyPath, value_at
from toolkit.scenario.validate import Finding

__all__ = [
    "Best",
    "Family",
    "Plan",
    "Study",
    "line_of",
    "listed_values",
    "nested",
    "read_plan",
    "stated",
    "with_keys",
]

NOT_SWEPT = ("trace", "report")
"""Tables that are the same for all points: every point is kept at trace level `requests`."""

_OWN = frozenset({"name", "points", "constraints", "published_as", "about", "vary", "between"})
"""Keys of a family or a study that are no overlay."""


@dataclass(frozen=True, slots=True)
class Best:
    """Which point wins: of `metric` the least or the most, within `limits`.

    ``by`` are key paths: for each combination of their values there is a
    winner of its own, besides the one over all.
    """

    metric: str = "makespan_s"
    least: bool = True
    by: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One strategy: an overlay, and the values its points take.

    ``lists`` maps key paths to values, in the file's order; ``together`` are
    values that go together, one table with nothing in it where none are given.
    Names in ``constraints`` are whole key paths.
    """

    name: str
    layers: tuple[Layer, ...]
    lists: Mapping[str, tuple[Any, ...]]
    together: tuple[Mapping[str, Any], ...]
    constraints: tuple[Condition, ...]
    places: Mapping[str, KeyPath]
    """Where the values of each key stand in the file."""
    published_as: str = ""
    """What the published sweep calls this family."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key path that differs between points."""
        listed = dict.fromkeys(self.lists)
        return tuple({**listed, **{key: None for each in self.together for key in each}})


@dataclass(frozen=True, slots=True)
class Study:
    """The whole sweep under another assumption, `about` which it says in words.

    With ``vary``, the key path of a number, it is a search instead: for the
    values of that key, from ``between[0]`` to ``between[1]``, at which another
    family wins.
    """

    name: str
    about: str
    vary: str = ""
    between: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep as the file states it: its families, what wins, and the studies to ask for.

    ``study`` is the one whose assumption the families are under, if any.
    """

    families: tuple[Family, ...]
    best: Best
    studies: tuple[Study, ...] = ()
    study: Study | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key path that differs between points of any family."""
        return tuple(dict.fromkeys(key for family in self.families for key in family.keys))

    def only(self, name: str) -> Plan:
        """Return the sweep of one family."""
        return replace(self, families=tuple(f for f in self.families if f.name == name))


def read_plan(
    sources: Sources, table: Mapping[str, Any], study: str | None = None
) -> tuple[Plan, list[Finding]]:
    """Return the sweep that `table`, the merged ``[sweep]``, states, and what is wrong with it.

    With the name of a `study`, the sweep is under its assumption.
    """
    findings = [*_keys_without_quotes(table)]
    said = {finding.path for finding in findings}
    findings += [each for each in validate.check_sweep(table) if each.path not in said]
    if findings:
        return Plan((), Best()), findings
    findings += _unknown_keys(table, ("sweep",))
    for what in ("family", "study"):
        for index, each in enumerate(table.get(what, ())):
            findings += _unknown_keys(each, ("sweep", what, index))
        findings += _twice(table.get(what, ()), what)
    findings += _unknown_numbers(table.get("study", ()))
    if findings:
        return Plan((), Best()), findings
    chosen = next(
        (at for at, each in enumerate(table.get("study", ())) if each["name"] == study), None
    )
    families = [
        _family(sources, table, layers, (own, place), chosen, findings)
        for layers, own, place in _strategies(sources, table)
    ]
    studies = tuple(_study(each) for each in table.get("study", ()))
    under = None if chosen is None else studies[chosen]
    plan = Plan(tuple(families), Best(), studies, under)
    best = _best(table.get("best", {}), plan.keys, findings)
    return replace(plan, best=best), findings


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted key paths as tables.

    >>> nested({"hardware.machines": 4})
    {'hardware': {'machines': 4}}
    """
    values: dict[str, Any] = {}
    for key, value in settings.items():
        *tables, last = key.split(".")
        place = values
        for part in tables:
            place = place.setdefault(part, {})
        place[last] = value
    return values


def with_keys(condition: Condition, keys: Mapping[str, str]) -> Condition:
    """Return a condition whose names are the keys they stand for."""

    def holds(values: Mapping[str, Any]) -> bool:
        return condition.holds({name: values[key] for name, key in keys.items()})

    return Condition(condition.text, tuple(keys.values()), holds)


# -- what each family sweeps ---------------------------------------------------------------------


def _strategies(
    sources: Sources, table: Mapping[str, Any]
) -> Iterator[tuple[tuple[Layer, ...], Mapping[str, Any], KeyPath]]:
    """Yield the layers, the own lists and the place of each family; variants are families too."""
    if "family" not in table:
        for layer in sources.variants.values():
            yield (layer,), {}, ("sweep",)
        if not sources.variants:
            yield (), {}, ("sweep",)
    for index, own in enumerate(table.get("family", ())):
        place: KeyPath = ("sweep", "family", index)
        yield (_overlay_of(sources, own, place, "family"),), own, place


def _overlay_of(
    sources: Sources, own: Mapping[str, Any], place: KeyPath, kind: Literal["family", "study"]
) -> Layer:
    """Return what a family or a study lays over the scenario."""
    values = {key: each for key, each in own.items() if key not in _OWN and "." not in key}
    where = origin(sources.layers, ("sweep", kind))
    return replace(where, kind=kind, values=values, prefix=place, label=own["name"])


def _study(table: Mapping[str, Any]) -> Study:
    low, high = table.get("between", (1.0, 1.0))
    return Study(table["name"], table["about"], table.get("vary", ""), (float(low), float(high)))


def _family(
    sources: Sources,
    table: Mapping[str, Any],
    layers: tuple[Layer, ...],
    strategy: tuple[Mapping[str, Any], KeyPath],
    study: int | None,
    findings: list[Finding],
) -> Family:
    own, place = strategy
    lists = {key: tuple(each) for key, each in table.items() if "." in key}
    places: dict[str, KeyPath] = {key: ("sweep", key) for key in lists}
    stronger = [(own, place)]
    if study is not None:
        under, there = table["study"][study], ("sweep", "study", study)
        stronger.append((under, there))
        layers = (*layers, _overlay_of(sources, under, there, "study"))
    for stated_by, at in stronger:
        for key, each in stated_by.items():
            if "." in key:
                lists[key], places[key] = tuple(each), (*at, key)
    whose = place if "points" in own else ("sweep",)
    together: list[Mapping[str, Any]] = [
        _flat(each) for each in own.get("points", table.get("points", [{}]))
    ]
    for index, each in enumerate(together):
        for key in each:
            places.setdefault(key, (*whose, "points", index))
            if key in lists:
                where = (*whose, "points", index, key)
                findings.append(Finding(where, "is listed too; a key has a list or points"))
    lists, together = _narrowed(sources.sets, lists, together)
    label = next((layer.label for layer in layers if layer.kind != "study"), "")
    published_as = own.get("published_as", "")
    family = Family(label, layers, lists, tuple(together), (), places, published_as)
    texts: list[tuple[KeyPath, str]] = [
        ((*where, "constraints", at), text)
        for where, stated in ((("sweep",), table), (place, own))
        for at, text in enumerate(stated.get("constraints", ()))
    ]
    constraints = (_constraint(text, where, family.keys, findings) for where, text in texts)
    return replace(family, constraints=tuple(each for each in constraints if each))


def _narrowed(
    sets: Sequence[Layer],
    lists: Mapping[str, tuple[Any, ...]],
    together: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, tuple[Any, ...]], list[Mapping[str, Any]]]:
    """Return the values left where `--set` says what a swept key is to be."""
    said: dict[str, Any] = {}
    for layer in sets:
        for key in {*lists, *(key for each in together for key in each)}:
            if layer.has(tuple(key.split("."))):
                said[key] = layer.get(tuple(key.split(".")))
    kept = {key: (said[key],) if key in said else values for key, values in lists.items()}
    points = [{key: said.get(key, value) for key, value in each.items()} for each in together]
    once = {json.dumps(each, sort_keys=True, default=str): each for each in points}
    return kept, list(once.values())


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return a table of a point with dotted key paths, whichever way it was written."""
    flat: dict[str, Any] = {}
    known = _known_keys()
    for key, value in table.items():
        path = f"{before}{key}"
        whole = path in known and not any(each.startswith(f"{path}.") for each in known)
        if isinstance(value, Mapping) and not whole:
            flat |= _flat(value, f"{path}.")
        else:
            flat[path] = value
    return flat


# -- what is wrong with the words ----------------------------------------------------------------


def _known_keys() -> list[str]:
    return [each for each in key_paths() if "." in each and each.split(".")[0] not in NOT_SWEPT]


def _keys_without_quotes(table: Any) -> Iterator[Finding]:
    """Yield tables of the scenario that stand where a list by key path is meant."""
    if not isinstance(table, Mapping):
        return
    sections = {key.split(".")[0] for key in key_paths() if "." in key}
    for section, inside in table.items():
        if section in sections and isinstance(inside, Mapping):
            key = next(iter(inside), "KEY")
            yield Finding(
                ("sweep", section),
                "expected lists by key path, in quotes",
                "a table",
                f'write "{section}.{key}" = [...]',
            )


def _unknown_keys(table: Mapping[str, Any], place: KeyPath) -> Iterator[Finding]:
    for key, values in table.items():
        if "." not in key:
            continue
        yield from _unknown_key(key, (*place, key))
        again = [each for at, each in enumerate(values) if each in values[:at]]
        if again:
            got = f"{json.dumps(again[0], default=str)} again"
            yield Finding((*place, key), "expected a list without repetition", got)
    for index, point in enumerate(table.get("points", ())):
        for key in _flat(point):
            yield from _unknown_key(key, (*place, "points", index, key))


def _unknown_key(key: str, where: KeyPath) -> Iterator[Finding]:
    known = _known_keys()
    if key in known:
        return
    if key.partition(".")[0] in NOT_SWEPT and key in set(key_paths()):
        expected = "is the same for every point; all are kept at trace level requests"
        yield Finding(where, expected, way_out="remove it")
        return
    last = key.rpartition(".")[2]
    same = [each for each in known if each.rpartition(".")[2] == last]
    close = same[0] if len(same) == 1 else nearest(key, known)
    way_out = f"did you mean {close}?" if close else "`toolkit explain` knows every key"
    yield Finding(where, "no such key of a scenario", way_out=way_out)


def _twice(listed: Sequence[Mapping[str, Any]], what: str) -> Iterator[Finding]:
    """Yield names, and what the published sweep calls a family, that are there before."""
    for key in ("name", "published_as"):
        names = [each.get(key) for each in listed]
        for index, name in enumerate(names):
            if name is not None and name in names[:index]:
                where = ("sweep", what, index, key)
                yield Finding(where, "expected a name of its own", f'"{name}" again')


def _unknown_numbers(studies: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield keys to vary that are no numbers of a scenario, and ranges the wrong way round."""
    for index, study in enumerate(studies):
        place: KeyPath = ("sweep", "study", index)
        for key, other in (("vary", "between"), ("between", "vary")):
            if key in study and other not in study:
                expected = f"missing; required because {key} is given"
                yield Finding((*place, other), expected)
        if not {"vary", "between"} <= study.keys():
            continue
        key, (low, high) = study["vary"], study["between"]
        unknown = list(_unknown_key(key, (*place, "vary")))
        yield from unknown
        if not unknown and "number" not in schema_at(tuple(key.split("."))).get("type", ()):
            yield Finding((*place, "vary"), "expected the key of a number", f'"{key}"')
        if low >= high:
            expected = "expected [least, most], the least first"
            yield Finding((*place, "between"), expected, f"[{low:g}, {high:g}]")


def _constraint(
    text: str, where: KeyPath, swept: Sequence[str], findings: list[Finding]
) -> Condition | None:
    try:
        condition = parse(text)
        keys = {name: _key_of(name, swept) for name in condition.names}
    except ConditionError as error:
        findings.append(Finding(where, f"no condition: {error}", f'"{text}"'))
        return None
    return with_keys(condition, keys)


def _key_of(name: str, swept: Collection[str]) -> str:
    """Return the key path that a name, whole or its last part, stands for: a swept one first."""
    known = _known_keys()
    for keys in (swept, known):
        found = [key for key in keys if name in {key, key.rpartition(".")[2]}]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConditionError(f"{name} could be {' or '.join(found)}")
    close = nearest(name, [*(key.rpartition(".")[2] for key in known), *known])
    hint = f"; did you mean {close}?" if close else ""
    raise ConditionError(f"no such key: {name}{hint}")


def _best(table: Mapping[str, Any], swept: Sequence[str], findings: list[Finding]) -> Best:
    place: KeyPath = ("sweep", "best")
    if "minimise" in table and "maximise" in table:
        findings.append(Finding((*place, "maximise"), "expected minimise or maximise, not both"))
    by = []
    for index, name in enumerate(table.get("by", ())):
        try:
            by.append(_key_of(name, swept))
            if by[-1] not in swept:
                raise ConditionError(f"{by[-1]} is not swept; {', '.join(swept)} are")
        except ConditionError as error:
            findings.append(Finding((*place, "by", index), str(error), f'"{name}"'))
    for index, text in enumerate(table.get("limits", ())):
        try:
            parse(text)
        except ConditionError as error:
            where = (*place, "limits", index)
            findings.append(Finding(where, f"no condition: {error}", f'"{text}"'))
    metric = table.get("maximise", table.get("minimise", Best().metric))
    least = "maximise" not in table
    return Best(metric, least, tuple(by), tuple(table.get("limits", ())))


def listed_values(family: Family) -> Iterator[tuple[KeyPath, str, Any]]:
    """Yield each value of a family with the place where it stands and its key."""
    for key, values in family.lists.items():
        for index, value in enumerate(values):
            yield (*family.places[key], index), key, value
    for point in family.together:
        for key, value in point.items():
            yield family.places[key], key, value


def line_of(sources: Sources, place: KeyPath) -> tuple[str, int]:
    """Return file and line on which something of the sweep stands."""
    layer = origin(sources.layers, place)
    line = 0
    while place and not line:
        line, place = layer.line(place), place[:-1]
    return layer.file, line


def stated(sources: Sources) -> Mapping[str, Any] | None:
    """Return the merged ``[sweep]`` of a scenario, None where it has none."""
    found: Mapping[str, Any] | None = value_at(merged(sources.layers), ("sweep",))
    return found
