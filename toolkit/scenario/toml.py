"""TOML text in, its values and the line of every key out.

The parser gives values without their places, so :func:`key_lines` walks the
text once more.  It walks text that has been parsed: it can rely on every
bracket and quote being closed.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import tomli

from toolkit.errors import InputError, Problem

__all__ = ["KeyPath", "at", "key_lines", "parse", "parse_value", "read_text", "value_at"]

KeyPath = tuple[str | int, ...]
"""Place of a value: keys of tables and indices of lists, from the root."""

_PLACE = re.compile(
    r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|.*)\)$", re.S
)


def read_text(path: Path, shown: str) -> str:
    """Return the text of a file.

    Raises:
        InputError: it is missing, a folder, unreadable, or not UTF-8; called `shown` there.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        got = "nothing of that name" if path.parent.is_dir() else f"no folder {path.parent} either"
        raise InputError.one(shown, "", "expected a file", got) from None
    except IsADirectoryError:
        raise InputError.one(shown, "", "expected a file", "a folder") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        got = f"byte 0x{error.object[error.start]:02x} in line {line}"
        way_out = "save the file as UTF-8"
        raise InputError.one(shown, "", "expected text in UTF-8", got, way_out) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError.one(shown, "", "expected a file that can be read", reason) from None


def parse(text: str, shown: str) -> dict[str, Any]:
    """Return the root table of TOML text.

    Raises:
        InputError: a syntax error, with the parser's line and column.
    """
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        place = _PLACE.match(str(error))
        what = place["what"] if place else str(error)
        if place and place["line"]:
            line = int(place["line"])
            where = f"line {line}, column {place['column']}"
            got = text.splitlines()[line - 1].strip() if line <= text.count("\n") + 1 else ""
        else:
            where, got = "end of file", ""
        problem = Problem(where, f"not valid TOML: {what[:1].lower()}{what[1:]}", got, file=shown)
        raise InputError(shown, [problem]) from None
    except RecursionError:
        raise InputError.one(shown, "", "expected fewer brackets inside brackets") from None
    except ValueError as error:  # Python's limit on the digits of an integer
        raise InputError.one(shown, "", "expected numbers of fewer digits", str(error)) from None


def parse_value(text: str) -> Any:
    """Return what `text` means as a TOML value; a bare word is a string.

    Raises:
        ValueError: it begins like a list, a table or a quoted string but is none.
    """
    try:
        table = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError):
        if text.lstrip()[:1] in {"[", "{", '"', "'"}:
            raise ValueError(text) from None
        return text
    return table["value"] if table.keys() == {"value"} else text


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, on which each key, table and list element begins.

    >>> key_lines('a = 1\\n[b]\\nc = {d = [1,\\n 2]}\\n[[e]]\\n')[("b", "c", "d", 1)]
    4
    """
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return walk.lines


_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"'[^']*'")
_MULTILINE = re.compile(r'"""(?:[^\\]|\\.)*?"""{1,3}|\'\'\'.*?\'\'\'{1,3}', re.S)
_SCALAR = re.compile(r"[^,\]}#\n]+")
_SPACE = re.compile(r"(?:[ \t\n]|#[^\n]*)*")


class _Walk:
    """A position in the text, the table it is in, and the lines found so far."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.lists: dict[KeyPath, int] = {}
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: KeyPath = ()
        while self.peek():
            if self.text.startswith("[[", self.at):
                table = self.header("[[")
            elif self.text[self.at] == "[":
                table = self.header("[")
            else:
                self.pair(table)

    def header(self, bracket: Literal["[", "[["]) -> KeyPath:
        """Walk over a table's header; return the path of the table."""
        line = self.line()
        self.at += len(bracket)
        *parents, name = self.key()
        path: KeyPath = ()
        for part in parents:
            path = self.enter((*path, part))
        path = (*path, name)
        if bracket == "[[":
            self.lists[path] = self.lists.get(path, -1) + 1
            self.lines.setdefault(path, line)
        path = self.enter(path)
        self.peek()
        self.at += len(bracket)
        self.note(path, line)
        return path

    def enter(self, path: KeyPath) -> KeyPath:
        """Return where keys below `path` go: into its last table, if it is a list of tables."""
        return (*path, self.lists[path]) if path in self.lists else path

    def pair(self, table: KeyPath) -> None:
        """Walk over ``key = value``."""
        line = self.line()
        path = (*table, *self.key())
        self.note(path, line)
        self.peek()
        self.at += 1
        self.value(path)

    def value(self, path: KeyPath) -> None:
        first = self.peek()
        if first == "[":
            for index in self.items("]"):
                self.note((*path, index), self.line())
                self.value((*path, index))
        elif first == "{":
            for _ in self.items("}"):
                self.pair(path)
        elif match := _MULTILINE.match(self.text, self.at):
            self.at = match.end()
        elif first in {'"', "'"}:
            self.quoted()
        else:
            match = _SCALAR.match(self.text, self.at)
            self.at = match.end() if match else self.at + 1

    def items(self, closing: str) -> Iterator[int]:
        """Yield at each item of a list or inline table, then step over its end."""
        self.at += 1
        index = 0
        while self.peek() != closing:
            yield index
            index += 1
            if self.peek() == ",":
                self.at += 1
        self.at += 1

    def key(self) -> list[str]:
        """Walk over a dotted key; return its parts."""
        parts = []
        while True:
            first = self.peek()
            if first in {'"', "'"}:
                parts.append(next(iter(tomli.loads(f"{self.quoted()} = 0"))))
            else:
                match = _BARE.match(self.text, self.at)
                self.at = match.end() if match else self.at + 1
                parts.append(match[0] if match else "")
            if self.peek() != ".":
                return parts
            self.at += 1

    def quoted(self) -> str:
        match = _BASIC.match(self.text, self.at) or _LITERAL.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return match[0]

    def peek(self) -> str:
        """Step over space and comments; return the next character, empty at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def line(self) -> int:
        """Return the line the walk is on."""
        return bisect_left(self.newlines, self.at) + 1

    def note(self, path: KeyPath, line: int) -> None:
        """Note the line of a path, and of the tables that a dotted key makes on the way."""
        self.lines[path] = line
        for length in range(1, len(path)):
            self.lines.setdefault(path[:length], line)


def at(value: Any, path: KeyPath) -> Any:
    """Return what stands at `path` below `value`; KeyError where nothing does."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            raise KeyError(path) from None
    return value


def value_at(value: Any, path: KeyPath) -> Any:
    """Return what stands at `path` below `value`, None where nothing does."""
    try:
        return at(value, path)
    except KeyError:
        return None
