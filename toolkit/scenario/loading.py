"""A file or mapping to a checked scenario, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.catalog import nearest
from toolkit.errors import InputError, Problem
from toolkit.scenario import physics, validate
from toolkit.scenario.build import build
from toolkit.scenario.layers import (
    Layer,
    merged,
    origin,
    overlay,
    read,
    read_sets,
    shown_path,
    variant_layers,
)
from toolkit.scenario.model import Scenario
from toolkit.scenario.resolve import known_names, resolve
from toolkit.scenario.toml import KeyPath
from toolkit.scenario.validate import Finding

__all__ = ["Sources", "folder_of", "load"]


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything a scenario is made of, read but not yet checked."""

    layers: tuple[Layer, ...]
    variants: Mapping[str, Layer]
    sets: tuple[Layer, ...]
    path: Path | None

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], sets: Sequence[str] = ()) -> Sources:
        """Return the layers of a scenario; InputError if a file of it cannot be read."""
        layers = tuple(read(source))
        path = None if isinstance(source, Mapping) else Path(source)
        return cls(layers, variant_layers(layers), tuple(read_sets(sets)), path)

    @property
    def file(self) -> str:
        """The name errors give the scenario."""
        return self.layers[-1].file

    @property
    def fallback_name(self) -> str:
        """The run's name where the scenario states none: the file's, made fit for a folder."""
        stem = self.path.stem if self.path else "scenario"
        return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "scenario"

    def stack(self, variant: str | None) -> tuple[Layer, ...]:
        """Return the layers of one variant, the strongest last."""
        own = (self.variants[variant],) if variant is not None else ()
        return (*self.layers, *own, *self.sets)

    def pick(self, variant: str) -> None:
        """Make sure there is a variant of that name.

        Raises:
            InputError: there is none; it names what comes closest.
        """
        if variant in self.variants:
            return
        close = nearest(variant, self.variants)
        has = f"it has {', '.join(self.variants)}" if self.variants else "it has no variants"
        way_out = f"did you mean {close}?" if close else has
        raise InputError.one(self.file, "", "expected a variant of the file", variant, way_out)


def load(
    source: str | Path | Mapping[str, Any],
    *,
    sets: Sequence[str] = (),
    variant: str | None = None,
) -> Scenario:
    """Return the checked scenario of a file, or of a mapping of the same layout.

    ``sets`` are overrides written ``key.path=value``; ``variant`` picks one of
    the file's variants.  Without it the result's ``variants`` holds all of
    them, and its own values are those of the first.  Relative names of files
    start at the file that names them, or at the current folder in a mapping.

    Raises:
        InputError: everything that is wrong, in the file's order.
    """
    sources = Sources.read(source, sets)
    if variant is not None:
        sources.pick(variant)
        return _one(sources, variant)
    if not sources.variants:
        return _one(sources, None)
    loaded, problems = [], _variant_list_problems(sources)
    by_variant: dict[str, list[Problem]] = {}
    for name in sources.variants:
        try:
            loaded.append(_one(sources, name))
        except InputError as error:
            by_variant[name] = list(error.problems)
    said = {(problem.line, problem.expected) for problem in problems if problem.line}
    problems += [
        problem
        for problem in _shared_problems(by_variant, len(sources.variants))
        if (problem.line, problem.expected) not in said
    ]
    if problems:
        raise InputError(sources.file, _in_file_order(problems, sources))
    return _family(sources, loaded)


def _one(sources: Sources, variant: str | None) -> Scenario:
    """Return one variant of a scenario, or the scenario that has none."""
    stack = sources.stack(variant)
    user = merged(stack)
    user.pop("extends", None)
    if variant is not None:
        user["variant"] = variant
    findings = _of_the_words(user)
    if findings:
        raise _error(findings, sources, stack)
    resolved = resolve(user, partial(folder_of, stack), sources.fallback_name)
    if not resolved.findings and "entries" not in resolved.document["workload"]:
        kind = resolved.document["workload"]["lengths"]["kind"]
        resolved.findings.append(
            Finding(
                ("workload", "entries"),
                f'missing; required because lengths.kind = "{kind}"',
                way_out="entries: number of entries",
            )
        )
    if resolved.findings:
        raise _error(resolved.findings, sources, stack)
    scenario = build(resolved.document, resolved.saved, sources.path)
    findings = _enough_pairs(scenario) or physics.check(scenario)
    if findings:
        raise _error(findings, sources, stack)
    return scenario


def folder_of(stack: Sequence[Layer], path: KeyPath) -> Path:
    """Return where the file named at `path` is looked for: beside the file that names it."""
    return origin(stack, path).folder


def _of_the_words(user: Mapping[str, Any]) -> list[Finding]:
    """Return what is wrong with the words of a document: its keys, values and names."""
    findings = [f for f in validate.check(user) if f.path != ("variant",)]
    seen = {finding.path for finding in findings}
    more = (*known_names(user), *(() if findings else _neither_file_nor_inline(user)))
    return findings + [finding for finding in more if finding.path not in seen]


def _neither_file_nor_inline(user: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is missing where content may stand inline, in a file, or in the catalog."""
    lengths, timing = user["workload"]["lengths"], user["timing"]
    arrivals = user["workload"].get("arrivals", {})
    for table, path, kind, key in (
        (lengths, ("workload", "lengths"), "pairs", "pairs"),
        (arrivals, ("workload", "arrivals"), "times", "times_s"),
    ):
        if table.get("kind") == kind and not {key, "file"} & table.keys():
            expected = f'missing; required because kind = "{kind}"'
            yield Finding((*path, key), expected, way_out=f"give {key}, or a file that holds them")
    if timing["kind"] != "table":
        return
    if not {"name", "file", "batch_sizes"} & timing.keys():
        way_out = "name a timing table, or give a file, or batch_sizes, prompt_ms and token_ms"
        yield Finding(("timing", "name"), 'missing; required because kind = "table"', "", way_out)
    for key in ("prompt_ms", "token_ms"):
        if "batch_sizes" in timing and key not in timing:
            yield Finding(("timing", key), "missing; required because batch_sizes is given")


def _enough_pairs(scenario: Scenario) -> list[Finding]:
    lengths, entries = scenario.workload.lengths, scenario.workload.entries
    if lengths.kind != "pairs" or len(lengths.pairs) >= entries:
        return []
    expected = f"expected at most as many entries as there are pairs, {len(lengths.pairs)}"
    return [Finding(("workload", "entries"), expected, f"{entries}")]


def _family(sources: Sources, variants: Sequence[Scenario]) -> Scenario:
    """Return the scenario that stands for all its variants."""
    base = merged(sources.layers)
    for key in ("extends", "variant"):
        base.pop(key, None)
    first = variants[0]
    document = {
        **base,
        "name": first.name,
        "variant": [
            {
                **{k: v for k, v in each.document.items() if k not in _OF_THE_FILE},
                "name": each.variant,
            }
            for each in variants
        ],
    }
    title = overlay(base, {}).get("title", first.name)
    return replace(
        first,
        title=title,
        question=base.get("question", ""),
        variant=None,
        variants=tuple(variants),
        document=document,
    )


_OF_THE_FILE = frozenset({"schema_version", "variant", "name"})
"""Keys that a variant does not have of its own."""


def _error(
    findings: Sequence[Finding],
    sources: Sources,
    stack: Sequence[Layer],
) -> InputError:
    """Return the findings as an error, each with the file and line it stands at."""
    problems = [_located(finding, sources, stack) for finding in findings]
    return InputError(sources.file, _in_file_order(problems, sources))


def _located(finding: Finding, sources: Sources, stack: Sequence[Layer]) -> Problem:
    layer = origin(stack, finding.path)
    where = shown_path(finding.path)
    if layer.kind == "variant":
        where += f' (variant "{layer.label}")'
    elif layer.kind == "set":
        where += f" ({layer.label})"
    line = 0
    path = finding.path
    while not line and path:
        line, path = layer.line(path), path[:-1]
    file = layer.file or sources.file
    return Problem(where, finding.expected, finding.got, finding.way_out, file, line)


def _variant_list_problems(sources: Sources) -> list[Problem]:
    """Return what is wrong with the list of variants itself: two of one name."""
    listed = next(
        layer for layer in reversed(sources.layers) if isinstance(layer.values.get("variant"), list)
    )
    seen: set[str] = set()
    problems = []
    for index, each in enumerate(listed.values["variant"]):
        name = each.get("name") if isinstance(each, Mapping) else None
        path = ("variant", index, "name")
        if isinstance(name, str) and name in seen:
            problems.append(
                Problem(
                    shown_path(path),
                    "expected a name of its own",
                    f'"{name}" again',
                    file=listed.file,
                    line=listed.line(path),
                )
            )
        seen.add(str(name))
    schema_problems = validate.check_variants(listed.values["variant"])
    return problems + [_located(finding, sources, (listed,)) for finding in schema_problems]


def _shared_problems(by_variant: Mapping[str, list[Problem]], variants: int) -> list[Problem]:
    """Return each problem once, saying which variants have it unless all do."""
    having: dict[Problem, list[str]] = {}
    for name, problems in by_variant.items():
        for problem in problems:
            having.setdefault(problem, []).append(name)
    return [
        problem
        if len(names) == variants or "(variant " in problem.where
        else replace(problem, where=f"{problem.where} (variant {_quoted(names)})")
        for problem, names in having.items()
    ]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _in_file_order(problems: Sequence[Problem], sources: Sources) -> list[Problem]:
    """Return the problems of the file itself by line, then those of its parents."""
    return sorted(problems, key=lambda each: (each.file != sources.file, each.file, each.line))
