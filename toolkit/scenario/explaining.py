"""Where a value comes from, and every value it overrode."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.catalog import nearest
from toolkit.errors import InputError
from toolkit.scenario import validate
from toolkit.scenario.layers import Layer, live, merged
from toolkit.scenario.loading import load
from toolkit.scenario.model import Scenario
from toolkit.scenario.resolve import resolve
from toolkit.scenario.schema import key_paths, schema_at
from toolkit.scenario.sources import Sources, folder_of
from toolkit.scenario.toml import KeyPath, value_at

__all__ = ["Explanation", "Step", "explain"]


@dataclass(frozen=True, slots=True)
class Step:
    """One layer that set the value: what kind it is, where it stands, what it said."""

    kind: str
    value: Any
    file: str = ""
    line: int = 0
    note: str = ""
    in_force: bool = True
    """False where a later change of ``kind`` put the whole table aside."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        source = ", ".join(text for text in (place, self.note) if text)
        return f"{self.kind}{f' ({source})' if source else ''}: {_shown(self.value)}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The value of a key and the layers that set it, the one in force last."""

    key: str
    about: str
    value: Any
    steps: tuple[Step, ...]
    variants: Mapping[str, Any]
    """What variants say instead, where none was chosen."""
    swept: tuple[Any, ...] = ()
    """The values that the points of a sweep take instead."""

    def __str__(self) -> str:
        lines = [f"{self.key} = {_shown(self.value)}", f"  {self.about}"]
        words = ["over"] * len(self.steps)
        if self.steps and self.steps[-1].in_force:
            words[-1] = "from"
        lines += [f"  {word} {step}" for word, step in zip(words, self.steps, strict=True)][::-1]
        lines += [f"  in variant {name}: {_shown(each)}" for name, each in self.variants.items()]
        lines += [f"  swept: {_shown(list(self.swept))}"] * bool(self.swept)
        return "\n".join(line for line in lines if line.strip())

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as plain values, for JSON."""
        return asdict(self)


def explain(
    source: str | Path | Mapping[str, Any],
    key: str,
    *,
    sets: Sequence[str] = (),
    variant: str | None = None,
) -> Explanation:
    """Return the value of a key of a scenario, and each layer that set it.

    Without ``variant``, a scenario with variants is explained as it stands
    before they are laid over it, and what they change is listed.

    Raises:
        InputError: no such key (it names what comes closest), or the scenario
            itself is wrong.
    """
    known = list(key_paths())
    if key not in known:
        close = nearest(key, known)
        way_out = f"did you mean {close}?" if close else "toolkit explain --help lists none"
        raise InputError.one("explain", key, "no such key of a scenario", way_out=way_out)
    scenario = load(source, sets=sets, variant=variant)
    sources = Sources.read(source, sets)
    stack = sources.stack(variant if variant in sources.variants else None)
    user = merged(stack)
    for each in ("extends", "variant", "sweep"):
        user.pop(each, None)
    document: Mapping[str, Any] = user
    below: tuple[Layer, ...] = ()
    if not validate.check(user):  # complete even without a variant
        resolved = resolve(user, partial(folder_of, stack), sources.fallback_name)
        document, below = resolved.document, (*resolved.below, *resolved.above)
    path = tuple(key.split("."))
    steps = tuple(_steps(below, stack, path))
    others = {} if variant else sources.variants
    return Explanation(
        key,
        schema_at(path).get("description", ""),
        value_at(document, path),
        steps,
        {name: each.get(path) for name, each in others.items() if each.has(path)},
        _swept(scenario, key),
    )


def _swept(scenario: Scenario, key: str) -> tuple[Any, ...]:
    """Return the values a key takes in the points of a scenario's sweep, each once."""
    points = scenario.sweep.points if scenario.sweep is not None else ()
    found: list[Any] = []
    for point in points:
        value = point.settings.get(key)
        if value is not None and value not in found:
            found.append(value)
    return tuple(found)


def _steps(below: Sequence[Layer], stack: Sequence[Layer], path: KeyPath) -> Iterator[Step]:
    """Yield what each layer says at `path`, first those whose word no longer counts."""
    in_force = live(stack, path)
    for layer in stack[: len(stack) - len(in_force)]:
        if layer.has(path):
            yield replace(_step(layer, path), note="put aside by another kind", in_force=False)
    for layer in (*below, *in_force):
        if layer.has(path):
            yield _step(layer, path)


def _step(layer: Layer, path: KeyPath) -> Step:
    kind = f"variant {layer.label}" if layer.kind == "variant" else layer.kind
    noted = [note for place, note in layer.notes.items() if place[: len(path)] == path]
    note = "" if layer.kind == "variant" else next(iter(noted), layer.label)
    return Step(kind, layer.get(path), layer.file, layer.line(path), note)


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 200 else f"{text[:197]}..."
