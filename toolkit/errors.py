"""The exception tree, and the words in which bad input is answered.

Every mistake in what a user wrote is a :class:`Problem`: where it stands, what
was expected, what was found, and the way out.  Problems are collected and
raised together as one :class:`InputError`; the command line prints it and
exits with 2.  A :class:`FaultError` is ours: a broken invariant, exit 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["FaultError", "InputError", "Problem", "TargetMissedError", "ToolkitError"]


class ToolkitError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input.

    ``where`` is a key path (``deployment.machines``), a line (``line 3``), or
    empty when the file as a whole is meant.
    """

    where: str
    expected: str
    got: str = ""
    way_out: str = ""
    file: str = ""
    line: int = 0

    def lines(self) -> list[str]:
        """Return the problem as lines of text, the key path first."""
        at = f"  (line {self.line})" if self.line else ""
        body = [self.expected]
        if self.got:
            body.append(f"got {self.got}")
        if self.way_out:
            body.append(self.way_out)
        if not self.where:
            return [f"  {line}" for line in body]
        return [f"  {self.where}{at}", *(f"      {line}" for line in body)]


class InputError(ToolkitError):
    """What the user gave is wrong; holds every problem found, in the file's order."""

    exit_code = 2

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        """Collect what is wrong with `file` (or a command, or an option)."""
        self.file = file
        self.problems = tuple(problems)
        super().__init__(str(self))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, tuple[Problem, ...]]]:
        """Survive the way out of another process."""
        return type(self), (self.file, self.problems)

    @classmethod
    def one(
        cls, file: str, where: str, expected: str, got: str = "", way_out: str = ""
    ) -> InputError:
        """Return the error for a single problem."""
        return cls(file, [Problem(where, expected, got, way_out, file)])

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.file}: {count} problem{'s' if count != 1 else ''}"
        text, within = [head], self.file
        for problem in self.problems:
            if problem.file and problem.file != within:
                text.append(f"  in {problem.file}:")
            within = problem.file or within
            text.extend(problem.lines())
        return "\n".join(text)


class TargetMissedError(ToolkitError):
    """The run is sound, but a target or assertion of the user's was missed."""

    exit_code = 1


class FaultError(ToolkitError):
    """A broken invariant: a fault of this package, never of its input."""

    exit_code = 3
