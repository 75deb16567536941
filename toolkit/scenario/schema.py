"""The scenario schema as the rest of the room reads it: keys, defaults, conditions.

The schema is the manual: each key's ``description`` is quoted in errors.  It
uses no references, so that a place in it is a plain path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from toolkit.scenario.toml import KeyPath

__all__ = [
    "defaults",
    "excluded",
    "holds",
    "key_paths",
    "load_schema",
    "ordered",
    "schema_at",
    "words",
]

Schema = Mapping[str, Any]

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "schemas", _PACKAGE.parent / "schemas")
"""Where schemas are: inside an installed package, or beside it in a checkout."""


@cache
def load_schema(name: str = "scenario") -> Schema:
    """Return the schema ``<name>.schema.json`` that ships with this package."""
    file = next(path for folder in _FOLDERS if (path := folder / f"{name}.schema.json").is_file())
    schema: Schema = json.loads(file.read_text(encoding="utf-8"))
    return schema


def schema_at(path: KeyPath) -> Schema:
    """Return what the schema says of the value at `path`; empty where it knows no such key."""
    schema: Any = load_schema()
    for part in path:
        inside = schema.get("items") if isinstance(part, int) else schema.get("properties")
        schema = inside if isinstance(part, int) else (inside or {}).get(part)
        if not schema:
            return {}
    found: Schema = schema
    return found


def key_paths(schema: Schema | None = None, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every key path of a scenario, dotted, variants and sweeps aside."""
    for key, each in (schema or load_schema()).get("properties", {}).items():
        if not prefix and key in {"variant", "sweep"}:
            continue
        yield ".".join((*prefix, key))
        yield from key_paths(each, (*prefix, key)) if "properties" in each else ()


def defaults(document: Mapping[str, Any], schema: Schema | None = None) -> dict[str, Any]:
    """Return the defaults of keys that `document` leaves out, for the kinds it has chosen."""
    schema = schema or load_schema()
    left_out = excluded(schema, document)
    result: dict[str, Any] = {}
    for key, each in schema.get("properties", {}).items():
        if key in left_out:
            continue
        if key not in document:
            if "default" not in each:
                continue
            result[key] = deepcopy(each["default"])
        value = document.get(key, result.get(key))
        if isinstance(value, Mapping) and "properties" in each:
            below = defaults(value, each)
            if below or key in result:
                result[key] = {**result.get(key, {}), **below}
    return result


def ordered(document: Mapping[str, Any], schema: Schema | None = None) -> dict[str, Any]:
    """Return `document` with its keys in the schema's order."""
    properties = (schema or load_schema()).get("properties", {})
    known = [key for key in properties if key in document]
    result = {}
    for key in [*known, *(key for key in document if key not in properties)]:
        value = document[key]
        below = properties.get(key, {})
        both = isinstance(value, Mapping) and "properties" in below
        result[key] = ordered(value, below) if both else value
    return result


def holds(condition: Schema, value: Any) -> bool:
    """Return whether an ``if`` of the scenario schema is true of a table.

    Understands what these conditions are made of: a constant of a key, a
    required key, the table's type, and ``not``.
    """
    if "not" in condition and holds(condition["not"], value):
        return False
    if not isinstance(value, Mapping):
        return condition.get("type") != "object"
    return all(key in value for key in condition.get("required", ())) and all(
        each["const"] == value[key]
        for key, each in condition.get("properties", {}).items()
        if key in value
    )


def words(condition: Schema) -> str:
    """Return an ``if`` of the scenario schema as a user would say it.

    >>> words({"properties": {"kind": {"const": "fixed"}}, "required": ["kind"]})
    'kind = "fixed"'
    >>> words({"not": {"required": ["use"]}})
    'use is not given'
    """
    if "not" in condition:
        return " and ".join(f"{key} is not given" for key in condition["not"]["required"])
    return " and ".join(
        f"{key} = {json.dumps(each['const'])}" for key, each in condition["properties"].items()
    )


def excluded(schema: Schema, value: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys that do not go with what a table has chosen, each with that choice."""
    return {
        key: words(branch["if"])
        for branch in schema.get("allOf", ())
        if holds(branch["if"], value)
        for key, each in branch["then"].get("properties", {}).items()
        if each is False
    }
