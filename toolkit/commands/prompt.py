"""The prompt of `toolkit sql`: history, completion of views and columns, one query at a time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from toolkit import tables
from toolkit.commands.sql import describe, find, listing
from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.analytics import Run

__all__ = ["ViewsAndColumns", "answer", "prompt"]

KEYWORDS = (
    "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "USING", "HAVING", "WITH",
    "AS", "AND", "OR", "NOT", "IN", "BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "END", "DESC",
    "DISTINCT", "FILTER", "OVER", "PARTITION BY", "count", "sum", "avg", "min", "max", "median",
    "quantile_cont", "DESCRIBE", "SUMMARIZE",
)  # fmt: skip

HELP = """\
A query ends with a semicolon, or with Enter where it is complete.
  .list         the views and what each says
  .show VIEW    what one says, and its SQL
  .columns VIEW its columns
  .quit         leave (or Ctrl-D)"""


def prompt(run: Run, form: str) -> None:
    """Read queries and print their rows until the user leaves."""
    names = ", ".join(run.names)
    print(f"{names}: {len(run.views())} views; Tab completes, .help helps, Ctrl-D leaves")
    session: PromptSession[str] = PromptSession(
        "sql> ",
        multiline=True,
        prompt_continuation="...> ",
        history=_history(),
        completer=ViewsAndColumns(run.columns()),
        complete_while_typing=False,
        key_bindings=_bindings(run),
    )
    while True:
        try:
            text = session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        try:
            if not answer(run, text, form):
                return
        except InputError as error:
            print(error, file=sys.stderr)


def answer(run: Run, text: str, form: str) -> bool:
    """Print what a line asks for; return whether to go on.

    Raises:
        InputError: it is no query, or no command of the prompt.
    """
    text = text.strip()
    command, _, rest = text.partition(" ")
    view = rest.strip()
    if not text:
        return True
    if not command.startswith("."):
        for query in run.split(text):
            tables.write(run.sql(query), form, None)
    elif command in {".quit", ".exit"}:
        return False
    elif command == ".help":
        print(HELP)
    elif command == ".list":
        print("\n".join(listing(run.views())))
    elif command == ".show":
        print("\n".join(describe(find(view, run.views()))))
    elif command == ".columns":
        print("\n".join(run.columns()[find(view, run.views()).name]))
    else:
        raise InputError.one(command, "", "unknown command of the prompt", way_out="see .help")
    return True


class ViewsAndColumns(Completer):
    """Completes views after FROM and JOIN, elsewhere columns of the views named first."""

    def __init__(self, columns: Mapping[str, list[str]]) -> None:
        """Take the columns of each view."""
        self.columns = columns

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield what the word before the cursor may become."""
        before = document.text_before_cursor
        word = re.search(r"[\w.]*$", before)
        start = word[0] if word else ""
        for choice, kind in self._choices(before[: len(before) - len(start)], start, document.text):
            if choice.lower().startswith(start.lower()):
                yield Completion(choice, start_position=-len(start), display_meta=kind)

    def _choices(self, before: str, word: str, text: str) -> Iterable[tuple[str, str]]:
        views = [(view, "view") for view in self.columns]
        view, dot, _ = word.rpartition(".")
        if dot and view in self.columns:
            return [(f"{view}.{column}", "column") for column in self.columns[view]]
        if re.search(r"(\b(FROM|JOIN|DESCRIBE|SUMMARIZE)|^\.(show|columns))\s+$", before, re.I):
            return views
        named = [name for name in re.findall(r"\w+", text) if name in self.columns]
        columns = dict.fromkeys(each for name in named for each in self.columns[name])
        return [
            *((column, "column") for column in columns),
            *views,
            *((keyword, "") for keyword in KEYWORDS),
        ]


def _bindings(run: Run) -> KeyBindings:
    """Let Enter send what is a whole query, and begin a new line in one that is not."""
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        text = buffer.text.rstrip(" ")
        if not text.strip() or text.endswith((";", "\n")) or text.startswith("."):
            buffer.validate_and_handle()
            return
        try:
            run.split(text)
        except InputError:
            buffer.newline()
        else:
            buffer.validate_and_handle()

    return bindings


def _history() -> History:
    """Return the history of earlier sessions, or none where it cannot be kept."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    file = state / "toolkit" / "sql_history"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))
