"""Chrome trace events out of JSON, one at a time: a file of any size, one event in memory.

The file is an array of events, or an object with one under `traceEvents`.
Numbers with a point come as `Decimal`: a nanosecond is the third decimal of a
microsecond, and a double has no room for it beyond a few months of clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

from toolkit.errors import InputError
from toolkit.importers.source import Source

__all__ = ["EventFile", "document"]

_SPACE = re.compile(r"[ \t\r\n]*")
_TORN = 16
"""Characters before the end of what was read in which a mistake may be a value cut in two."""
_MOST = 1 << 28
"""Characters of the largest single value; an event is some hundred."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no JSON number")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


class _Cursor:
    """A place in the text of a file, of which no more than needed is held."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._blocks = source.text()
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._lines = 1
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is no space; empty at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        self._at += 1

    def value(self) -> Any:
        """Return the JSON value that begins here, and stand behind it."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                torn = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - _TORN
                if torn and len(self._text) - self._at < _MOST and self._more():
                    continue
                raise self._not_json(error.msg, error.pos, cut=torn) from None
            except RecursionError:
                raise self.wrong("expected fewer brackets inside brackets") from None
            except (ValueError, ArithmeticError) as error:
                raise self.wrong("expected numbers that can be read", str(error)) from None
            # A number at the very end may go on in the next block.
            if end == len(self._text) and not isinstance(value, dict | list) and self._more():
                continue
            self._at = end
            if self._at > 1 << 20:
                self._drop()
            return value

    def wrong(
        self, expected: str, got: str = "", way_out: str = "", at: int | None = None
    ) -> InputError:
        at = self._at if at is None else at
        line = self._lines + self._text.count("\n", 0, at)
        where = f"line {line}, character {self._dropped + at}"
        return self.source.wrong(where, expected, got, way_out)

    def _not_json(self, message: str, at: int, *, cut: bool) -> InputError:
        if cut and self._ended:
            way_out = "the file is cut short: fetch or write it again"
            return self.wrong("expected JSON to go on", "the end of the file", way_out)
        near = self._text[at : at + 24].split("\n", 1)[0]
        return self.wrong(f"not valid JSON: {message[:1].lower()}{message[1:]}", near, at=at)

    def _more(self) -> bool:
        """Read as much again as is held, at least a block; return whether there was any."""
        self._drop()
        wanted, parts = max(len(self._text), 1), [self._text]
        while wanted > 0:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
                break
            parts.append(block)
            wanted -= len(block)
        self._text = "".join(parts)
        return len(parts) > 1

    def _drop(self) -> None:
        self._lines += self._text.count("\n", 0, self._at)
        self._dropped += self._at
        self._text, self._at = self._text[self._at :], 0


class EventFile:
    """The events of a Chrome trace; iterate once.

    `about` fills with what stands beside `traceEvents` as it is passed.
    """

    def __init__(self, source: Source) -> None:
        """Open the file."""
        self.source = source
        self.about: dict[str, Any] = {}
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        cursor = _Cursor(self.source)
        first = cursor.peek()
        if first == "[":
            yield from self._array(cursor, open_end=True)
        elif first == "{":
            yield from self._object(cursor)
        else:
            raise cursor.wrong("expected JSON: a list of trace events, or an object with them")
        if extra := cursor.peek():
            raise cursor.wrong("expected the end of the file", extra)

    def _object(self, cursor: _Cursor) -> Iterator[dict[str, Any]]:
        cursor.skip()
        seen = False
        while (character := cursor.peek()) != "}":
            if character == ",":
                cursor.skip()
                continue
            if character != '"':
                self._refuse(cursor, character, 'a key in quotes or "}"')
            key = cursor.value()
            if cursor.peek() != ":":
                self._refuse(cursor, cursor.peek(), '":"')
            cursor.skip()
            if key == "traceEvents" and cursor.peek() == "[":
                seen = True
                yield from self._array(cursor, open_end=False)
            else:
                self.about[key] = cursor.value()
        cursor.skip()
        if not seen:
            raise self.source.wrong(
                "traceEvents",
                "expected a list of trace events under this key",
                f"an object with {', '.join(list(self.about)[:6]) or 'nothing in it'}",
                "name the kind of the file with --from",
            )

    def _array(self, cursor: _Cursor, *, open_end: bool) -> Iterator[dict[str, Any]]:
        """Yield the events of a list; a bare list may end without its last bracket."""
        cursor.skip()
        while (character := cursor.peek()) != "]":
            if not character and open_end:
                return
            if character == ",":
                cursor.skip()
                continue
            if character != "{":
                self._refuse(cursor, character, 'an event, "{"')
            yield cursor.value()
            self.count += 1
        cursor.skip()

    @staticmethod
    def _refuse(cursor: _Cursor, character: str, expected: str) -> NoReturn:
        if character:
            raise cursor.wrong(f"expected {expected}", character)
        way_out = "the file is cut short: fetch or write it again"
        raise cursor.wrong(f"expected {expected}", "the end of the file", way_out)


def document(source: Source) -> Any:
    """Return a whole JSON document, for formats that are one object and never large."""
    cursor = _Cursor(source)
    if not cursor.peek():
        raise source.wrong("", "expected JSON", "nothing but space")
    value = cursor.value()
    if extra := cursor.peek():
        raise cursor.wrong("expected the end of the file", extra)
    return value
