"""Everything a scenario is made of, and where in it a finding stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.catalog import nearest
from toolkit.errors import InputError, Problem
from toolkit.scenario.layers import Layer, origin, read, read_sets, shown_path, variant_layers
from toolkit.scenario.toml import KeyPath
from toolkit.scenario.validate import Finding

__all__ = ["Sources", "folder_of", "located"]


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

    @property
    def variant_list(self) -> Layer:
        """The layer whose list of variants counts; there is one if there are variants."""
        return next(
            layer
            for layer in reversed(self.layers)
            if isinstance(layer.values.get("variant"), list)
        )

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

    def error(self, problems: Iterable[Problem]) -> InputError:
        """Return the problems as one error: the file's own by line, then those of its parents."""
        order = sorted(problems, key=lambda each: (each.file != self.file, each.file, each.line))
        return InputError(self.file, order)


def located(finding: Finding, stack: Sequence[Layer]) -> Problem:
    """Return a finding as a problem: in which layer's file and line it stands."""
    layer = origin(stack, finding.path)
    where = shown_path(finding.path)
    if layer.kind in {"variant", "family", "study"}:
        where += f' ({layer.kind} "{layer.label}")'
    elif layer.kind == "sweep":
        where += " (sweep)"
    elif layer.kind == "set":
        where += f" ({layer.label})"
    line, path = 0, finding.path
    while not line and path:
        line, path = layer.line(path), path[:-1]
    file = layer.file or _own_file(stack)
    return Problem(where, finding.expected, finding.got, finding.way_out, file, line)


def folder_of(stack: Sequence[Layer], path: KeyPath) -> Path:
    """Return where the file named at `path` is looked for: beside the file that names it."""
    return origin(stack, path).folder


def _own_file(stack: Sequence[Layer]) -> str:
    """Return the name of the scenario's own file."""
    return next(layer.file for layer in reversed(stack) if layer.kind == "file")
