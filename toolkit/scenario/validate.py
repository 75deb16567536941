"""A document against the schema, in the user's words.

JSON Schema finds what is wrong; this module says it: which key, what was
expected and why, what was found, and the way out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from toolkit.catalog import nearest
from toolkit.scenario.expressions import ConditionError, parse
from toolkit.scenario.schema import excluded, key_paths, load_schema, schema_at, words
from toolkit.scenario.toml import KeyPath, parse_value, value_at

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

__all__ = ["Finding", "check", "check_sweep", "check_value", "check_variants"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong at a key path; its file and line are looked up later."""

    path: KeyPath
    expected: str
    got: str = ""
    way_out: str = ""


def check(document: Mapping[str, Any]) -> list[Finding]:
    """Return everything the schema has against a document, at most one finding a key."""
    found = _first_of_each(
        (
            *_not_finite(document),
            *_out_of_place(document),
            *_broken_rules(document),
            *_without_lengths(document),
        )
    )
    return found or [*_neither_file_nor_inline(document), *_no_assertion(document)]


def check_variants(listed: Any) -> list[Finding]:
    """Return what the schema has against a list of variants, their tables' content aside."""
    document = {"variant": listed}
    return [
        finding
        for finding in _first_of_each(_broken_rules(document))
        if finding.path[:1] == ("variant",)
    ]


def check_sweep(table: Any) -> list[Finding]:
    """Return what the schema has against a ``[sweep]``, the content of its overlays aside."""
    findings = (*_not_finite(table, ("sweep",)), *_broken_rules({"sweep": table}))
    return [each for each in _first_of_each(findings) if each.path[:1] == ("sweep",)]


def check_value(path: KeyPath, value: Any) -> list[Finding]:
    """Return what the schema has against a value at `path`, whatever it is chosen with."""
    validator = _validator().evolve(schema=schema_at(path))
    broken = [
        finding
        for error in validator.iter_errors(_within_64_bits(value))
        if "then" not in error.absolute_schema_path  # a choice: asked of the whole document
        for finding in _of_error(error, (*path, *error.absolute_path), value, len(path))
    ]
    return _first_of_each((*_not_finite(value, path), *broken))


def _first_of_each(findings: Iterable[Finding]) -> list[Finding]:
    found: dict[KeyPath, Finding] = {}
    for finding in findings:
        found.setdefault(finding.path, finding)
    return list(found.values())


@cache
def _validator() -> Validator:
    """Return the validator; 8.0 is no integer here, as it is none in TOML."""
    # Imported here: a tenth of a second that only checking needs.
    from jsonschema import Draft202012Validator  # noqa: PLC0415
    from jsonschema.validators import extend  # noqa: PLC0415

    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    made: Validator = extend(Draft202012Validator, type_checker=types)(load_schema())  # type: ignore[no-untyped-call]
    return made


def _not_finite(value: Any, path: KeyPath = ()) -> Iterator[Finding]:
    if isinstance(value, float) and not math.isfinite(value):
        yield Finding(path, f"expected a finite number{_about(schema_at(path))}", _shown(value))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _not_finite(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _not_finite(each, (*path, index))


def _out_of_place(value: Any, path: KeyPath = ()) -> Iterator[Finding]:
    """Yield the keys that do not go with the kind, or another choice, of their table."""
    if not isinstance(value, Mapping):
        return
    not_here = excluded(schema_at(path) if path else load_schema(), value)
    for key, each in value.items():
        if key in not_here:
            yield Finding((*path, key), f"does not go with {not_here[key]}", way_out="remove it")
        yield from _out_of_place(each, (*path, key))
        if isinstance(each, list):
            for index, item in enumerate(each):
                yield from _out_of_place(item, (*path, key, index))


def _broken_rules(document: Mapping[str, Any]) -> Iterator[Finding]:
    for error in _validator().iter_errors(_within_64_bits(document)):
        yield from _of_error(error, tuple(error.absolute_path), document)


def _of_error(
    error: ValidationError, path: KeyPath, value: Any, depth: int = 0
) -> Iterator[Finding]:
    """Yield what a broken rule is in words; `path` leads into `value` after `depth` parts."""
    if error.validator == "additionalProperties":
        yield from _unknown_keys(path, error)
    elif error.validator == "required":
        yield from _missing_keys(path, error)
    elif error.schema is not False:  # those are _out_of_place
        yield _wrong_value(path, value_at(value, path[depth:]), error)


def _within_64_bits(value: Any) -> Any:
    """Return a value with integers cut to what can be printed; larger ones are refused anyway."""
    if isinstance(value, int) and value.bit_length() > 64:
        return (1 << 64) if value > 0 else -(1 << 64)
    if isinstance(value, Mapping):
        return {key: _within_64_bits(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_within_64_bits(each) for each in value]
    return value


def _without_lengths(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield that nothing says how long prompts and answers are."""
    workload = document.get("workload")
    if not isinstance(workload, Mapping) or {"lengths", "requests"} & workload.keys():
        return
    tenants = workload.get("tenant", ())
    if not tenants or not all(isinstance(each, Mapping) and "lengths" in each for each in tenants):
        about = schema_at(("workload", "lengths"))["description"]
        yield Finding(("workload", "lengths"), "missing", way_out=f"lengths: {about}")


def _neither_file_nor_inline(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is missing where content may stand inline, in a file, or in the catalog."""
    workload, timing = document["workload"], document["timing"]
    lengths, arrivals = workload.get("lengths", {}), workload.get("arrivals", {})
    yield from _requests_are_there(workload)
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


def _no_assertion(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with ``[[assert]]`` beyond its keys: choice, condition, names."""
    listed = document.get("assert", [])
    names = [each["name"] for each in listed]
    for at, each in enumerate(listed):
        place: KeyPath = ("assert", at)
        if names[at] in names[:at]:
            got = f"{json.dumps(names[at], ensure_ascii=False)} again"
            yield Finding((*place, "name"), "expected a name of its own", got)
        if ("metric" in each) == ("sql" in each):
            got = "both" if "sql" in each else "neither"
            way_out = 'for example metric = "ttft_p99_ms <= 500"'
            yield Finding(place, "expected either metric or sql", got, way_out)
        elif "metric" in each:
            try:
                parse(each["metric"])
            except ConditionError as error:
                got = json.dumps(each["metric"], ensure_ascii=False)
                yield Finding((*place, "metric"), f"no condition: {error}", got)


def _requests_are_there(workload: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what does not go together in recorded requests, sessions and tenants."""
    requests, sessions = workload.get("requests"), workload.get("sessions")
    path: KeyPath = ("workload", "requests")
    if requests is not None and not {"file", "recorded"} & requests.keys():
        about = schema_at((*path, "file"))["description"]
        yield Finding((*path, "file"), "missing", way_out=f"file: {about}")
    window = (requests or {}).get("window_s")
    if window is not None and window[0] >= window[1]:
        got = f"{window[0]:g} to {window[1]:g}"
        yield Finding((*path, "window_s"), "expected a start before the end", got)
    if sessions is not None and {"turns", "mean_turns"} <= sessions.keys():
        expected = "expected one of turns and mean_turns"
        yield Finding(("workload", "sessions", "turns"), expected)
    if "tenant" in workload and requests is not None:
        expected = "does not go with requests, which name their tenants themselves"
        yield Finding(("workload", "tenant"), expected, way_out="remove one of the two")
    if "tenant" in workload and sessions is not None:
        expected = "does not go with tenant yet"
        yield Finding(("workload", "sessions"), expected, way_out="remove one of the two")
    yield from _one_arrival_process(workload)


def _one_arrival_process(workload: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what would not count beside tenants with arrivals of their own."""
    tenants = workload.get("tenant", ())
    own = [index for index, tenant in enumerate(tenants) if "arrivals" in tenant]
    for index in own:
        if "share" in tenants[index]:
            path: KeyPath = ("workload", "tenant", index, "share")
            yield Finding(path, "does not go with arrivals of its own", way_out="remove it")
    if own and workload.get("arrivals", {}).get("kind", "at_zero") != "at_zero":
        expected = "does not go with tenants that have arrivals of their own"
        yield Finding(("workload", "arrivals"), expected, way_out="remove it")


def _unknown_keys(path: KeyPath, error: ValidationError) -> Iterator[Finding]:
    known: Mapping[str, Any] = error.schema["properties"]  # type: ignore[index]
    instance: Mapping[str, Any] = error.instance  # type: ignore[assignment]
    patterns: Iterable[str] = error.schema.get("patternProperties", ())  # type: ignore[union-attr]
    for key in instance:
        if key not in known and not any(re.search(each, key) for each in patterns):
            yield Finding((*path, key), f"unknown key; {_where_it_belongs(key, known)}")


def _where_it_belongs(key: str, known: Iterable[str]) -> str:
    if close := nearest(key, known):
        return f"did you mean {close}?"
    for each in key_paths():
        table, _, last = each.rpartition(".")
        if last == key:
            return f"it belongs in [{table}]" if table else "it belongs at the top of the file"
    return f"known here: {', '.join(known)}"


def _missing_keys(path: KeyPath, error: ValidationError) -> Iterator[Finding]:
    cause = _cause(error)
    required: Sequence[str] = error.validator_value  # type: ignore[assignment]
    instance: Mapping[str, Any] = error.instance  # type: ignore[assignment]
    for key in required:
        if key not in instance:
            about = schema_at((*path, key)).get("description", "")
            way_out = f"{key}: {about}" if about else ""
            expected = f"missing; required because {cause}" if cause else "missing"
            if key == "schema_version":
                way_out = "write schema_version = 1"
            yield Finding((*path, key), expected, way_out=way_out)


def _wrong_value(path: KeyPath, value: Any, error: ValidationError) -> Finding:
    rules = {**schema_at(path), **error.schema}  # type: ignore[dict-item]
    cause = _cause(error)
    because = f" because {cause}" if cause else ""
    expected = f"expected {_rule(rules, str(error.validator))}{_about(rules)}"
    if error.validator == "uniqueItems":
        return Finding(path, f"expected a list without repetition{because}", _shown(value))
    return Finding(path, expected + because, _shown(value) + _hint(value, rules))


def _cause(error: ValidationError) -> str:
    """Return the condition under which the broken rule applies, empty if it always does."""
    path: Sequence[str | int] = list(error.absolute_schema_path)
    if "then" not in path:
        return ""
    branch: Any = load_schema()
    for part in path[: len(path) - 1 - path[::-1].index("then")]:
        branch = branch[part]
    return words(branch["if"])


_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "text in quotes",
    "array": "a list",
    "object": "a table",
    "boolean": "true or false",
}


def _rule(rules: Mapping[str, Any], broken: str) -> str:
    """Return what a value has to be, in TOML's words."""
    if "const" in rules:
        return json.dumps(rules["const"])
    if "enum" in rules:
        return _listed([json.dumps(each) for each in rules["enum"]])
    types = rules.get("type", "object")
    types = [types] if isinstance(types, str) else types
    text = " or ".join(_TYPES[each] for each in types)
    if broken in {"pattern", "maxLength"}:
        return "a name"
    if broken == "minProperties":
        return "a table that is not empty"
    if broken == "minLength":
        return "text that is not empty"
    if "array" in types and "minItems" in rules:
        least, most = rules["minItems"], rules.get("maxItems")
        if least == most:
            text += f" of {least}"
        elif broken == "minItems":
            text += f" of at least {least}"
    if "integer" in types or "number" in types:
        text += _range(rules, broken)
    return text


def _range(rules: Mapping[str, Any], broken: str) -> str:
    if broken == "maximum":
        return f" of at most {rules['maximum']:,}"
    if "exclusiveMinimum" in rules:
        return f" above {rules['exclusiveMinimum']}"
    return f" of at least {rules['minimum']}" if "minimum" in rules else ""


def _about(rules: Mapping[str, Any]) -> str:
    """Return a key's description as an aside: all of it where it lists choices, else its start."""
    description: str = rules.get("description", "")
    shown = description if "enum" in rules else description.partition("; ")[0]
    return f" ({shown})" if shown else ""


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) + ", a string"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, Mapping):
        return "a table"
    return f"{value}, a date or time"


def _number(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 100:
        return f"an integer of about {value.bit_length() * 0.30103:,.0f} digits"
    return str(value)


def _hint(value: Any, rules: Mapping[str, Any]) -> str:
    """Return how the value found would become the value wanted, where that is plain."""
    types = rules.get("type", ())
    if isinstance(value, str):
        if "enum" in rules:
            close = nearest(value, [each for each in rules["enum"] if isinstance(each, str)])
            return f"; did you mean {json.dumps(close)}?" if close else ""
        meant = parse_value(value) if value[:1] not in {"[", "{", '"', "'"} else value
        wanted = {"integer": int, "number": int | float, "boolean": bool}
        if any(name in types and isinstance(meant, kind) for name, kind in wanted.items()):
            return "; write it without quotes"
    elif isinstance(value, float) and types == "integer" and value.is_integer():
        return f"; write {int(value)}"
    elif types == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return "; write it in quotes"
    return ""


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"
