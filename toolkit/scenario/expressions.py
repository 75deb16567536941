"""Conditions between numbers, as users write them: ``prompt_machines + token_machines = machines``.

A condition compares two or more sums.  It knows names (of keys, of metrics),
numbers, quoted words, ``+ - * / // %``, brackets, ``= != < <= > >=`` and
``divides``, and nothing else: no call, no attribute, nothing that runs.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Condition", "ConditionError", "parse"]

Values = Mapping[str, Any]
Term = Callable[[Values], Any]

MOST_BRACKETS = 20
"""Brackets inside brackets that are followed."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
      | (?P<quoted>"[^"]*"|'[^']*')
      | (?P<sign><=|>=|==|!=|//|[-+*/%()<>=])
    )""",
    re.X,
)


def _divides(divisor: Any, number: Any) -> bool:
    return bool(divisor != 0 and number % divisor == 0)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "divides": _divides,
}
_ADD: Mapping[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub}
_MULTIPLY: Mapping[str, Callable[[Any, Any], Any]] = {
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


class ConditionError(Exception):
    """Why a text is no condition, or why it cannot be answered for these values."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition: its text, the names in it, and the question itself."""

    text: str
    names: tuple[str, ...]
    _holds: Callable[[Values], bool]

    def holds(self, values: Values) -> bool:
        """Return whether the condition is true of these values, which have all of its names.

        Raises:
            ConditionError: it divides by zero, or calculates with words.
        """
        try:
            return self._holds(values)
        except ZeroDivisionError:
            raise ConditionError("divides by zero") from None
        except (TypeError, OverflowError):
            shown = ", ".join(f"{name} = {values[name]!r}" for name in self.names)
            raise ConditionError(f"cannot be calculated with {shown}") from None


def parse(text: str) -> Condition:
    """Return the condition that `text` states.

    >>> parse("data_parallel divides machines").holds({"data_parallel": 2, "machines": 8})
    True

    Raises:
        ConditionError: it is none; the words say where reading stopped.
    """
    reading = _Reading(text)
    holds = reading.comparison()
    return Condition(text, tuple(dict.fromkeys(reading.names)), holds)


class _Reading:
    """A place in the text, and the names met so far."""

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        self._tokens = list(_tokens(text))
        self._at = 0
        self._brackets = 0

    def comparison(self) -> Callable[[Values], bool]:
        terms, signs = [self._sum()], []
        while self._next() in _COMPARE:
            signs.append(_COMPARE[self._take()])
            terms.append(self._sum())
        if self._next() is not None or not signs:
            signs_known = " ".join(sign for sign in _COMPARE if sign != "==")
            raise ConditionError(f"expected one of {signs_known}{self._here()}")
        if len(signs) == 1:
            (left, right), (sign,) = terms, signs
            return lambda values: bool(sign(left(values), right(values)))
        return lambda values: all(
            sign(left(values), right(values))
            for left, sign, right in zip(terms, signs, terms[1:], strict=False)
        )

    def _sum(self) -> Term:
        return self._chain(_ADD, lambda: self._chain(_MULTIPLY, self._factor))

    def _chain(
        self, signs: Mapping[str, Callable[[Any, Any], Any]], operand: Callable[[], Term]
    ) -> Term:
        """Read operands joined by `signs`, from left to right."""
        term = operand()
        while self._next() in signs:
            term = _joined(signs[self._take()], term, operand())
        return term

    def _factor(self) -> Term:
        token = self._next()
        if token == "-":
            self._take()
            inner = self._factor_once()
            return lambda values: -inner(values)
        return self._factor_once()

    def _factor_once(self) -> Term:
        token = self._next()
        if token is None or (token in _SIGNS and token != "("):
            raise ConditionError(f"expected a key or a number{self._here()}")
        self._take()
        if token == "(":
            self._brackets += 1
            if self._brackets > MOST_BRACKETS:
                raise ConditionError("expected fewer brackets inside brackets")
            inner = self._sum()
            if self._next() != ")":
                raise ConditionError(f"expected a closing bracket{self._here()}")
            self._take()
            self._brackets -= 1
            return inner
        if token[0] in "\"'":
            word = token[1:-1]
            return lambda _: word
        if token[0].isdigit() or token[0] == ".":
            number = float(token) if re.search(r"[.eE]", token) else int(token)
            return lambda _: number
        self.names.append(token)
        return lambda values: values[token]

    def _next(self) -> str | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1][0]

    def _here(self) -> str:
        if self._at == len(self._tokens):
            return " at its end"
        token, column = self._tokens[self._at]
        return f" at {token} (character {column})"


_SIGNS = {*_COMPARE, *_ADD, *_MULTIPLY, "(", ")"}


def _joined(sign: Callable[[Any, Any], Any], left: Term, right: Term) -> Term:
    return lambda values: sign(left(values), right(values))


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Yield each token and the number, from 1, of its first character."""
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise ConditionError(f"what is {text[at]} (character {at + 1})?")
        yield match[match.lastgroup or 0], match.start(match.lastgroup or 0) + 1
        at = match.end()
