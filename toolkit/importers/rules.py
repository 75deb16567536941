"""Rules for traces that do not say what they mean: a small TOML file, held to its schema."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import tomli

from toolkit.errors import InputError, Problem

__all__ = ["DEFAULT_ARGS", "Meaning", "Rules", "SpanRule", "TrackRule", "load_rules", "schema"]

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "schemas", _PACKAGE.parent / "schemas")
"""Where schemas are: inside an installed package, or beside it in a checkout."""

_FIELDS = ("request", "token", "step", "bytes")
DEFAULT_ARGS: Mapping[str, tuple[str, ...]] = {
    "request": ("request", "request_id", "req_id"),
    "token": ("token",),
    "step": ("step",),
    "bytes": ("bytes",),
}
"""Args of an event that are read without being told to."""

_COLUMN_TIMES = ("arrival_s", "start_s", "first_token_s", "finish_s", "ttft_s", "e2e_s")
"""Examples of keys with a unit, for whoever misspelt one."""


@dataclass(frozen=True, slots=True)
class TrackRule:
    """Which tracks it is about, and what they are."""

    process: re.Pattern[str] | None
    thread: re.Pattern[str] | None
    kind: str | None
    machine: str | None
    name: str | None
    role: str | None
    replica: int | None
    stage: int | None

    def match(self, process: str, thread: str) -> dict[str, str] | None:
        """Return the named groups where the rule is about this track, else None."""
        groups = {"process": process, "thread": thread}
        for pattern, text in ((self.process, process), (self.thread, thread)):
            if pattern is not None:
                found = pattern.fullmatch(text)
                if found is None:
                    return None
                groups |= {key: value or "" for key, value in found.groupdict().items()}
        return groups


@dataclass(frozen=True, slots=True)
class SpanRule:
    """Which spans it is about, what they are called, and which args or groups hold their keys."""

    name: re.Pattern[str] | None
    category: re.Pattern[str] | None
    rename: str | None
    ignore: bool
    args: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event means: its name, and its request (any id), token, step and bytes."""

    name: str
    request: Hashable = None
    token: Any = None
    step: Any = None
    bytes: Any = None


@dataclass(frozen=True)
class Rules:
    """Everything a rules file says; an empty one says nothing."""

    title: str = ""
    unit: str = "us"
    zero: str = "auto"
    discipline: str = "event"
    machines: int | None = None
    price_usd_per_hour: float | None = None
    args: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(DEFAULT_ARGS))
    tracks: tuple[TrackRule, ...] = ()
    spans: tuple[SpanRule, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)

    def track(self, process: str, thread: str) -> tuple[TrackRule, dict[str, str]] | None:
        """Return the first rule about a track, with what its patterns found."""
        for rule in self.tracks:
            groups = rule.match(process, thread)
            if groups is not None:
                return rule, groups
        return None

    def meaning(self, name: str, category: str, args: Mapping[str, Any]) -> Meaning | None:
        """Return what a span is; None for one that is left out."""
        for rule in self.spans:
            groups = _matched(rule, name, category)
            if groups is None:
                continue
            if rule.ignore:
                return None
            found = {key: self._argument(key, args) for key in _FIELDS}
            found |= {key: args.get(arg) for key, arg in rule.args.items()}
            found |= {key: groups[key] for key in _FIELDS if groups.get(key)}
            return Meaning(rule.rename or name, **found)
        return Meaning(name, **{key: self._argument(key, args) for key in _FIELDS})

    def _argument(self, key: str, args: Mapping[str, Any]) -> Any:
        for name in self.args[key]:
            if name in args:
                return args[name]
        return None


def _matched(rule: SpanRule, name: str, category: str) -> dict[str, str | Any] | None:
    groups: dict[str, str | Any] = {}
    for pattern, text in ((rule.name, name), (rule.category, category)):
        if pattern is not None:
            found = pattern.fullmatch(text)
            if found is None:
                return None
            groups |= found.groupdict()
    return groups


@cache
def schema() -> Mapping[str, Any]:
    """Return the JSON Schema of a rules file."""
    name = "import-rules.schema.json"
    file = next(path for folder in _FOLDERS if (path := folder / name).is_file())
    loaded: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def load_rules(file: Path | str) -> Rules:
    """Return the rules in a TOML file.

    Raises `InputError` with everything wrong in it: syntax with line and
    column, unknown keys with the nearest known one, values, patterns.
    """
    path = Path(file)
    document = _parsed(path)
    problems = [*_against_schema(document), *_bad_patterns(document)]
    if problems:
        raise InputError(str(path), problems)
    time, hardware = document.get("time", {}), document.get("hardware", {})
    given = {
        key: (value,) if isinstance(value, str) else tuple(value)
        for key, value in document.get("args", {}).items()
    }
    return Rules(
        title=document.get("title", ""),
        unit=time.get("unit", "us"),
        zero=time.get("zero", "auto"),
        discipline=document.get("discipline", "event"),
        machines=hardware.get("machines"),
        price_usd_per_hour=hardware.get("price_usd_per_machine_hour"),
        args={**DEFAULT_ARGS, **given},
        tracks=tuple(_track_rule(table) for table in document.get("track", ())),
        spans=tuple(_span_rule(table) for table in document.get("span", ())),
        columns=document.get("columns", {}),
        where=document.get("where", {}),
    )


def _track_rule(table: Mapping[str, Any]) -> TrackRule:
    return TrackRule(
        _pattern(table.get("process")),
        _pattern(table.get("thread")),
        *(table.get(key) for key in ("kind", "machine", "name", "role", "replica", "stage")),
    )


def _span_rule(table: Mapping[str, Any]) -> SpanRule:
    return SpanRule(
        _pattern(table.get("name")),
        _pattern(table.get("category")),
        table.get("rename"),
        bool(table.get("ignore", False)),
        {key: table[key] for key in _FIELDS if key in table},
    )


def _pattern(text: str | None) -> re.Pattern[str] | None:
    return None if text is None else re.compile(text)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise InputError.one(str(path), "", "expected a file", "nothing of that name") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        got = f"byte 0x{error.object[error.start]:02x} in line {line}"
        raise InputError.one(str(path), "", "expected text in UTF-8", got) from None
    except OSError as error:
        got = error.strerror or str(error)
        raise InputError.one(str(path), "", "expected a file that can be read", got) from None
    except (ValueError, RecursionError) as error:
        raise InputError.one(str(path), "", f"not valid TOML: {error}") from None


def _against_schema(document: Mapping[str, Any]) -> list[Problem]:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - a tenth of a second

    found = []
    for error in Draft202012Validator(schema()).iter_errors(document):
        path = ".".join(str(part) for part in error.absolute_path)
        rules: Any = error.schema
        if error.validator == "additionalProperties":
            patterns = rules.get("patternProperties", {})
            names = [*rules["properties"], *(_COLUMN_TIMES if patterns else ())]
            for key in error.instance:
                if key not in names and not any(re.search(each, key) for each in patterns):
                    near = get_close_matches(key, names, 1)
                    known = ", ".join(names)
                    way_out = f"did you mean {near[0]}?" if near else f"known here: {known}"
                    where = f"{path}.{key}" if path else key
                    found.append(Problem(where, "unknown key", way_out=way_out))
        elif error.validator == "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            way_out = "write schema_version = 1" if "schema_version" in missing else ""
            found.extend(
                Problem(f"{path}.{key}" if path else key, "missing", way_out=way_out)
                for key in missing
            )
        else:
            about = rules.get("description", "")
            got = json.dumps(error.instance, default=str)[:80]
            found.append(Problem(path, f"expected {_expected(rules)} ({about})", got))
    return found


def _expected(rules: Mapping[str, Any]) -> str:
    if "enum" in rules:
        return " or ".join(json.dumps(each) for each in rules["enum"])
    if "const" in rules:
        return json.dumps(rules["const"])
    kinds = rules.get("type", "a value")
    words = {"string": "text in quotes", "integer": "an integer", "number": "a number"}
    words |= {"array": "a list", "object": "a table", "boolean": "true or false"}
    kinds = [kinds] if isinstance(kinds, str) else kinds
    text = " or ".join(words.get(kind, kind) for kind in kinds)
    if "minimum" in rules:
        text += f" of at least {rules['minimum']}"
    if "exclusiveMinimum" in rules:
        text += f" above {rules['exclusiveMinimum']}"
    return text


def _bad_patterns(document: Mapping[str, Any]) -> list[Problem]:
    found = []
    for table, keys in (("track", ("process", "thread")), ("span", ("name", "category"))):
        listed = document.get(table, ())
        for place, rule in enumerate(listed if isinstance(listed, list) else ()):
            for key in keys:
                text = rule.get(key) if isinstance(rule, Mapping) else None
                if isinstance(text, str):
                    try:
                        re.compile(text)
                    except re.error as error:
                        where = f"{table}.{place}.{key}"
                        found.append(
                            Problem(where, "expected a regular expression", f"{text!r}: {error}")
                        )
    return found
