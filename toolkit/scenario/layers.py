"""The layers a scenario is made of: parent files, the file, a variant, `--set`.

Each layer keeps its own values and the places they stand at, so that an error
can name the line and `explain` can tell what overrode what.  Laid over each
other they are one document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from toolkit.catalog import nearest
from toolkit.errors import InputError, Problem
from toolkit.scenario.toml import KeyPath, key_lines, parse, parse_value, read_text, value_at

__all__ = [
    "Layer",
    "live",
    "merged",
    "origin",
    "overlay",
    "read",
    "read_sets",
    "shown_path",
    "variant_layers",
]

Kind = Literal[
    "default", "catalog", "input", "parent", "file", "variant", "family", "study", "sweep", "set"
]


@dataclass(frozen=True, slots=True)
class Layer:
    """Values from one place.

    ``file`` is the name errors use; ``folder`` is where relative files start;
    ``lines`` maps key paths of the whole file to line numbers, and ``prefix``
    is where in the file this layer's root is.  ``label`` names the variant,
    or quotes the `--set`; ``notes`` says of a figure where it is from.
    """

    kind: Kind
    values: Mapping[str, Any]
    file: str = ""
    folder: Path = field(default_factory=Path)
    lines: Mapping[KeyPath, int] = field(default_factory=dict, repr=False)
    prefix: KeyPath = ()
    label: str = ""
    notes: Mapping[KeyPath, str] = field(default_factory=dict, repr=False)

    def line(self, path: KeyPath) -> int:
        """Return the line on which `path` stands, 0 where it has none."""
        return self.lines.get((*self.prefix, *path), 0)

    def has(self, path: KeyPath) -> bool:
        """Return whether this layer says something at `path`."""
        return self.get(path) is not None

    def get(self, path: KeyPath) -> Any:
        """Return what this layer says at `path`, None if it says nothing."""
        return value_at(self.values, path)


def read(source: str | Path | Mapping[str, Any]) -> list[Layer]:
    """Return the layers of a scenario: its parents, the eldest first, then itself.

    Raises:
        InputError: a file that cannot be read or parsed, a parent that is
            missing, or parents that go round in a circle.
    """
    if isinstance(source, Mapping):
        own = Layer("file", _plain(source), "scenario")
        return [*_parents(own, []), own]
    path = Path(source)
    own = _read_file(path, str(source), "file")
    return [*_parents(own, [path.resolve()]), own]


def read_sets(sets: Sequence[str]) -> list[Layer]:
    """Return a layer for each ``key.path=value``; the value as in TOML, bare words as strings.

    Raises:
        InputError: no ``=``, an empty key, or a value that TOML cannot read.
    """
    layers, problems = [], []
    for text in sets:
        key, equals, value = text.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            problems.append(Problem(f"--set {text}", "expected key.path=value"))
            continue
        try:
            values: Any = parse_value(value.strip())
        except ValueError:
            got = f"{value.strip()}, which TOML cannot read"
            problems.append(Problem(f"--set {text}", "expected a value as in TOML", got))
            continue
        for part in reversed(parts):
            values = {part: values}
        layers.append(Layer("set", values, label=f"--set {text}"))
    if problems:
        raise InputError("command line", problems)
    return layers


def variant_layers(layers: Sequence[Layer]) -> dict[str, Layer]:
    """Return the overlay of each [[variant]] by name, in the file's order.

    A later file's list of variants replaces an earlier one's.  What is no list
    of named tables is left to the schema to refuse.
    """
    for layer in reversed(layers):
        listed = layer.values.get("variant")
        if listed is None:
            continue
        if not isinstance(listed, list):
            return {}
        found: dict[str, Layer] = {}
        for index, each in enumerate(listed):
            name = each.get("name") if isinstance(each, dict) else None
            if isinstance(name, str) and name not in found:
                values = {key: value for key, value in each.items() if key != "name"}
                at_index: KeyPath = ("variant", index)
                found[name] = replace(
                    layer, kind="variant", values=values, prefix=at_index, label=name
                )
        return found
    return {}


def merged(layers: Iterable[Layer]) -> dict[str, Any]:
    """Return the layers laid over each other, later over earlier."""
    document: dict[str, Any] = {}
    for layer in layers:
        document = overlay(document, layer.values)
    return document


def origin(stack: Sequence[Layer], path: KeyPath) -> Layer:
    """Return the strongest layer that says something at `path`, or else above it."""
    for length in range(len(path), 0, -1):
        for layer in reversed(live(stack, path[:length])):
            if layer.has(path[:length]):
                return layer
    return next(layer for layer in reversed(stack) if layer.kind == "file")


def live(stack: Sequence[Layer], path: KeyPath) -> Sequence[Layer]:
    """Return the layers whose word at `path` counts: none below a change of a table's ``kind``."""
    first = 0
    for length in range(len(path)):
        kind = None
        for index, layer in enumerate(stack):
            chosen = layer.get((*path[:length], "kind"))
            if kind is not None and chosen not in {None, kind}:
                first = max(first, index)
            kind = chosen or kind
    return stack[first:]


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `over` laid over `base`: tables merge, all else is replaced.

    A table that changes its ``kind`` replaces the table below it.

    >>> overlay({"a": {"kind": "x", "b": 1}}, {"a": {"kind": "y", "c": 2}})
    {'a': {'kind': 'y', 'c': 2}}
    """
    if "kind" in base and "kind" in over and base["kind"] != over["kind"]:
        return deepcopy(dict(over))
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = overlay(below, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return result


def shown_path(path: KeyPath) -> str:
    """Return a key path as users write it.

    >>> shown_path(("workload", "lengths", "pairs", 3))
    'workload.lengths.pairs[3]'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += "." * bool(text) + (part if bare else json.dumps(part, ensure_ascii=False))
    return text


def _read_file(path: Path, shown: str, kind: Kind) -> Layer:
    text = read_text(path, shown)
    values = parse(text, shown)
    if not values:
        way_out = "a scenario has [hardware], [deployment], [workload] and [timing]"
        raise InputError.one(shown, "", "expected a scenario", "an empty file", way_out)
    return Layer(kind, values, shown, path.parent, key_lines(text))


def _parents(child: Layer, chain: list[Path]) -> list[Layer]:
    """Return the layers below `child`; `chain` holds the files already on the way to it."""
    name = child.values.get("extends")
    if not isinstance(name, str) or not name:
        return []
    path = child.folder / name
    shown = str(path)
    if path.resolve() in chain:
        circle = [*chain[chain.index(path.resolve()) :], path.resolve()]
        got = " -> ".join(each.name for each in circle)
        raise _at_extends(child, "expected parents that end somewhere", got)
    try:
        parent = _read_file(path, shown, "parent")
    except InputError as error:
        problem = error.problems[0]
        if problem.where:  # a mistake inside the parent: it speaks for itself
            raise
        raise _at_extends(child, problem.expected, problem.got, _neighbour(path)) from None
    return [*_parents(parent, [*chain, path.resolve()]), parent]


def _at_extends(child: Layer, expected: str, got: str, way_out: str = "") -> InputError:
    line = child.line(("extends",))
    return InputError(child.file, [Problem("extends", expected, got, way_out, child.file, line)])


def _neighbour(path: Path) -> str:
    """Return a hint to the file that a missing one was most likely meant to be."""
    if path.exists() or not path.parent.is_dir():
        return ""
    near = nearest(path.name, (each.name for each in path.parent.glob("*.toml")))
    return f"did you mean {near}?" if near else ""


def _plain(value: Any) -> Any:
    """Return a value of the kinds that TOML has: tuples as lists, paths and numpy numbers too."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value
