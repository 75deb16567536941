"""Views of the user's own: .sql files that join the library.

A file holds one query, or one CREATE VIEW of the file's name.  Comments are
read as the library's are, but none is required; what a view reads is found in
its text.  A file is told by name and line wherever it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from toolkit.analytics.library import View, library, parse
from toolkit.errors import InputError, Problem

__all__ = ["OWN", "OwnView", "read_views"]

OWN = "own"
"""Layer of the user's views, above all others."""

_CREATE = re.compile(r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?VIEW\s+\"?(\w+)\"?\s+AS\b", re.I)
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class OwnView:
    """One view of the user's, and the file it stands in."""

    view: View
    file: Path

    def problem(self, message: str, expected: str, way_out: str = "") -> Problem:
        """Return what the database says is wrong with the view, at the line it names."""
        line = _LINE.search(message)
        where = f"line {line[1]}" if line else ""
        return Problem(where, expected, "", way_out, str(self.file))


def read_views(places: Iterable[Path | str]) -> tuple[OwnView, ...]:
    """Return the views of .sql files, and of folders of them.

    Raises:
        InputError: everything that is wrong with them, short of what only the
            library can tell.
    """
    problems: list[Problem] = []
    found: dict[str, OwnView] = {}
    for file in _files(places, problems):
        view = _read(file, found, problems)
        if view is not None:
            found[view.view.name] = view
    own = {name: _with_reads(each, found) for name, each in found.items()}
    problems += _circles(own)
    if problems:
        raise InputError(problems[0].file, problems)
    return tuple(own.values())


def _files(places: Iterable[Path | str], problems: list[Problem]) -> Iterator[Path]:
    for place in map(Path, places):
        files = sorted(place.glob("*.sql")) if place.is_dir() else [place]
        if not files:
            expected = "expected .sql files"
            problems.append(Problem("", expected, "a folder without any", "", str(place)))
        yield from files


def _read(file: Path, others: Mapping[str, OwnView], problems: list[Problem]) -> OwnView | None:
    """Return the view of a file, or None and add what is wrong with it."""

    def wrong(expected: str, got: str = "", way_out: str = "", where: str = "") -> None:
        problems.append(Problem(where, expected, got, way_out, str(file)))

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        wrong("expected a .sql file that can be read", reason or str(error))
        return None
    name = file.stem
    if not _NAME.fullmatch(name):
        wrong("expected a file named as its view", file.name, "use a-z, 0-9 and _ before .sql")
    elif name in {view.name for view in library()}:
        wrong("expected a name of its own", f"{name}, a view of the library", "rename the file")
    elif name in others:
        wrong("expected a name of its own", f"{name}, which {others[name].file} has too")
    elif (sql := _as_view(name, text, wrong)) is not None:
        return OwnView(replace(parse(name, OWN, text), sql=sql), file)
    return None


def _as_view(name: str, text: str, wrong: Callable[..., None]) -> str | None:
    """Return the text as the statement that creates the view, its lines where they were."""
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        line = _LINE.search(str(error))
        wrong(str(error).partition("\n")[0], where=f"line {line[1]}" if line else "")
        return None
    kinds = [statement.type.name for statement in statements]
    created = _CREATE.match(_COMMENT.sub("", text))
    if kinds == ["SELECT"]:
        return f"CREATE VIEW {name} AS {text}"
    if kinds == ["CREATE"] and created:
        if created[1].lower() == name:
            return text
        wrong(f"expected CREATE VIEW {name}, as the file is named", created[1])
        return None
    more = f"a statement that does more ({kinds[0]})" if len(kinds) == 1 else ""
    wrong("expected one query, or one CREATE VIEW", more or f"{len(kinds)} statements")
    return None


def _with_reads(own: OwnView, others: Mapping[str, OwnView]) -> OwnView:
    """Return a view with the names of all views that its text mentions."""
    known = {*(view.name for view in library()), *others} - {own.view.name}
    words = re.findall(r"[A-Za-z_]\w*", _COMMENT.sub("", own.view.sql))
    reads = tuple(dict.fromkeys(word.lower() for word in words if word.lower() in known))
    return replace(own, view=replace(own.view, reads=reads))


def _circles(own: Mapping[str, OwnView]) -> Iterator[Problem]:
    """Yield each circle of views that read one another, once."""
    done: set[str] = set()

    def walk(name: str, path: Sequence[str]) -> Iterator[Problem]:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            yield Problem("", "expected views that end somewhere", circle, "", str(own[name].file))
        elif name not in done:
            done.add(name)
            for read in own[name].view.reads:
                if read in own:
                    yield from walk(read, (*path, name))

    for name in own:
        yield from walk(name, ())
