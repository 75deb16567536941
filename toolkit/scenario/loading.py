"""A file or mapping to a checked scenario, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.catalog import nearest
from toolkit.errors import InputError, Problem
from toolkit.scenario import physics, validate
from toolkit.scenario.build import build
from toolkit.scenario.layers import Layer, merged
from toolkit.scenario.model import Scenario
from toolkit.scenario.points import open_sweep
from toolkit.scenario.resolve import known_names, resolve
from toolkit.scenario.sources import Sources, folder_of, located
from toolkit.scenario.sweep import read_plan, stated
from toolkit.scenario.validate import Finding

__all__ = ["load"]


def load(
    source: str | Path | Mapping[str, Any],
    *,
    sets: Sequence[str] = (),
    variant: str | None = None,
    study: str | None = None,
) -> Scenario:
    """Return the checked scenario of a file, or of a mapping of the same layout.

    ``sets`` are overrides written ``key.path=value``; ``variant`` picks one of
    the file's variants, or one family of its sweep.  Without it the result's
    ``variants`` (or ``sweep``) holds all of them, and its own values are those
    of the first.  ``study`` names one of the sweep's studies, under whose
    assumption it is then; the scenario is called after it.  Relative names of
    files start at the file that names them, or at the current folder in a
    mapping.

    Raises:
        InputError: everything that is wrong, in the file's order.
    """
    sources = Sources.read(source, sets)
    if (table := stated(sources)) is not None:
        return _swept(sources, table, variant, study)
    if study is not None:
        raise InputError.one(sources.file, "", "expected a scenario with [[sweep.study]]", study)
    if variant is not None:
        sources.pick(variant)
        return _one(sources, variant)
    if not sources.variants:
        return _one(sources, None)
    loaded: list[Scenario] = []
    problems: dict[str, Sequence[Problem]] = {}
    for name in sources.variants:
        try:
            loaded.append(_one(sources, name))
        except InputError as error:
            problems[name] = error.problems
    all_problems = _once(_of_the_list(sources), problems, len(sources.variants))
    if all_problems:
        raise sources.error(all_problems)
    return _family(sources, loaded)


def _one(sources: Sources, variant: str | None) -> Scenario:
    """Return one variant of a scenario, or the scenario that has none."""
    stack = sources.stack(variant)
    user = merged(stack)
    user.pop("extends", None)
    if variant is not None:
        user["variant"] = variant

    def stop_at(findings: Sequence[Finding]) -> None:
        if findings:
            raise sources.error(located(finding, stack) for finding in findings)

    stop_at(_of_the_words(user))
    resolved = resolve(user, partial(folder_of, stack), sources.fallback_name)
    if resolved.findings or resolved.problems:
        of_the_scenario = [located(finding, stack) for finding in resolved.findings]
        raise sources.error((*of_the_scenario, *resolved.problems))
    scenario = build(resolved.document, resolved.saved, sources.path, resolved.recording)
    stop_at(physics.check(scenario))
    return scenario


def _swept(
    sources: Sources, table: Mapping[str, Any], family: str | None, study: str | None
) -> Scenario:
    """Return the scenario that stands for all points of its sweep."""
    plan, findings = read_plan(sources, table, study)
    if any("assert" in layer.values for layer in sources.layers):
        way_out = "state it as one of the limits of [sweep.best], or on its own scenario"
        findings.append(Finding(("assert",), "does not go with [sweep]", way_out=way_out))
    if any("replications" in layer.values for layer in sources.layers):
        way_out = "state it on the winner's own scenario"
        findings.append(Finding(("replications",), "does not go with [sweep]", way_out=way_out))
    if findings:
        raise sources.error(located(finding, sources.layers) for finding in findings)
    if study is not None:
        _require(sources, study, [each.name for each in plan.studies], "study", "studies")
    if family is not None:
        _require(sources, family, [each.name for each in plan.families], "family", "families")
        plan = plan.only(family)
    base = merged((*sources.layers, *sources.sets))
    base.pop("extends", None)
    if study is not None:
        base["name"] = f"{base.get('name', sources.fallback_name)}-{study}"
        sources = replace(sources, sets=(*sources.sets, Layer("study", {"name": base["name"]})))
    sweep = open_sweep(sources, plan)
    first = sweep.points[0].scenario
    return replace(
        first,
        title=base.get("title", first.name),
        question=base.get("question", ""),
        sweep=sweep,
        document={**base, "name": first.name},
    )


def _require(sources: Sources, name: str, listed: Sequence[str], one: str, several: str) -> None:
    """Refuse the name of a family or a study that the sweep does not have."""
    names = [each for each in listed if each]
    if name not in names:
        close = nearest(name, names)
        has = f"it has {', '.join(names)}" if names else f"it has no {several}"
        way_out = f"did you mean {close}?" if close else has
        raise InputError.one(sources.file, "", f"expected a {one} of the sweep", name, way_out)


def _of_the_words(user: Mapping[str, Any]) -> list[Finding]:
    """Return what is wrong with the words of a document: its keys, values and names."""
    # A variant's name was checked where it is listed.
    findings = [finding for finding in validate.check(user) if finding.path != ("variant",)]
    said = {finding.path for finding in findings}
    return findings + [finding for finding in known_names(user) if finding.path not in said]


def _family(sources: Sources, variants: Sequence[Scenario]) -> Scenario:
    """Return the scenario that stands for all its variants."""
    first = variants[0]
    base = merged((*sources.layers, *sources.sets))
    base = {key: value for key, value in base.items() if key not in {"extends", "variant"}}
    overlays = [
        {
            **{key: each.document[key] for key in each.document if key not in _OF_THE_FILE},
            "name": each.variant,
        }
        for each in variants
    ]
    return replace(
        first,
        title=base.get("title", first.name),
        question=base.get("question", ""),
        variant=None,
        variants=tuple(variants),
        document={**base, "name": first.name, "variant": overlays},
    )


_OF_THE_FILE = frozenset(
    {"schema_version", "variant", "name", "assert", "replications", "capacity"}
)
"""Keys that a variant does not have of its own."""


def _of_the_list(sources: Sources) -> Iterator[Problem]:
    """Yield what is wrong with the list of variants itself, their tables' content aside."""
    layer = sources.variant_list
    listed = layer.values["variant"]
    names = [each.get("name") if isinstance(each, Mapping) else None for each in listed]
    again = [
        Finding(("variant", index, "name"), "expected a name of its own", f'"{name}" again')
        for index, name in enumerate(names)
        if isinstance(name, str) and name in names[:index]
    ]
    for finding in (*again, *validate.check_variants(listed)):
        yield located(finding, (layer,))


def _once(
    of_the_list: Iterable[Problem], by_variant: Mapping[str, Sequence[Problem]], variants: int
) -> list[Problem]:
    """Return each problem once, saying which variants have it unless all do."""
    problems = list(of_the_list)
    said = {(problem.line, problem.expected) for problem in problems if problem.line}
    having: dict[Problem, list[str]] = {}
    for name, found in by_variant.items():
        for problem in found:
            if (problem.line, problem.expected) not in said:
                having.setdefault(problem, []).append(name)
    for problem, names in having.items():
        everywhere = len(names) == variants or "(variant " in problem.where
        quoted = ", ".join(f'"{name}"' for name in names)
        where = problem.where if everywhere else f"{problem.where} (variant {quoted})"
        problems.append(replace(problem, where=where))
    return problems
