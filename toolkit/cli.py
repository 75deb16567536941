"""Arguments to an exit code: a thin layer over the Python interface.

Results go to stdout, progress and complaints to stderr.  Exit codes: 0 done,
1 a stated target was missed, 2 the input was wrong, 3 a fault of ours, 130
interrupted.

The verbs are in `toolkit.commands`; only light modules are imported here, so
that `toolkit --help` is not kept waiting by a compiler and two database
engines.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword
from typing import Any, NoReturn

from toolkit import __version__
from toolkit.errors import FaultError, InputError, Problem, ToolkitError

__all__ = ["COMMANDS", "main"]

INTERRUPTED = 130
QUERY_INTERRUPTED = "Query interrupted"
"""What DuckDB makes of Ctrl-C in the middle of a query: a RuntimeError of these words."""


class Parser(argparse.ArgumentParser):
    """An argument parser that answers in the words of every other wrong input."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print together with the usage."""
        raise InputError.one(self.prog, "", message, way_out=f"see `{self.prog} --help`")

    def options(self) -> list[str]:
        """Return every long option the parser knows."""
        return sorted(set(re.findall(r"--\w[\w-]*", self.format_help())))


@dataclass(frozen=True, slots=True)
class Command:
    """A verb: what it is for, what it takes, what it does."""

    about: str
    arguments: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except ToolkitError as error:
        return _complain(str(error), error.exit_code)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _interrupted()
    except OSError as error:
        where = str(error.filename or "toolkit")
        return _complain(str(InputError.one(where, "", error.strerror or str(error))), 2)
    except Exception as error:  # whatever else: ours, and nobody wants the traceback unasked
        interrupted = str(error) == QUERY_INTERRUPTED
        code = _interrupted() if interrupted else _complain(_fault(error), FaultError.exit_code)
    return code


def _interrupted() -> int:
    return _complain("interrupted; nothing half-written is left", INTERRUPTED)


def _dispatch(argv: Sequence[str]) -> int:
    """Parse the arguments, answer mistyped ones, execute the command."""
    parser = _parser()
    _refuse_unknown_command(next((word for word in argv if not word.startswith("-")), None))
    arguments, unknown = parser.parse_known_args(argv)
    if "words" in arguments:  # argparse fills a list of words no further than the next option
        arguments.words = [*arguments.words, *(each for each in unknown if each[:1] != "-")]
        unknown = [each for each in unknown if each[:1] == "-"]
    if unknown:
        _refuse_unknown_arguments(arguments.parser if "parser" in arguments else parser, unknown)
    if arguments.command is None:
        parser.print_help()
        return 0
    execute: Callable[[argparse.Namespace], int] = arguments.execute
    return execute(arguments)


def _parser() -> Parser:
    parser = Parser(
        prog="toolkit",
        description="Rehearse an LLM-serving deployment before paying for it.",
        epilog="Exit codes: 0 done, 1 a target was missed, 2 wrong input, 3 a fault of ours.",
    )
    parser.add_argument("--version", action="version", version=f"toolkit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = command.about
        sub = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        sub.set_defaults(execute=command.execute, parser=sub)
        command.arguments(sub)
    return parser


def _refuse_unknown_command(word: str | None) -> None:
    if word is not None and word not in COMMANDS:
        raise InputError.one(
            "toolkit", word, "unknown command", way_out=_nearest(word, COMMANDS, "toolkit --help")
        )


def _refuse_unknown_arguments(parser: Parser, unknown: Sequence[str]) -> NoReturn:
    problems = [
        Problem(
            word,
            "unknown option" if word.startswith("-") else "one argument too many",
            way_out=_nearest(word.split("=")[0], parser.options(), f"{parser.prog} --help"),
        )
        for word in unknown
    ]
    raise InputError(parser.prog, problems)


def _nearest(word: str, known: Mapping[str, Any] | Sequence[str], help_command: str) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"see `{help_command}`"


def _complain(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


def _fault(error: Exception) -> str:
    """Say what to report about an error nobody foresaw; with TOOLKIT_DEBUG, all of it."""
    if os.environ.get("TOOLKIT_DEBUG"):
        return "".join(traceback.format_exception(error)).rstrip()
    return (
        f"toolkit {__version__}: a fault of ours: {type(error).__name__}: {error}\n"
        "  please report it with the command, its input and the output of the same command\n"
        "  with TOOLKIT_DEBUG=1 set"
    )


VERBS = (
    "check",
    "explain",
    "run",
    "sql",
    "report",
    "explain-run",
    "terms",
    "export",
    "view",
    "import",
    "why",
    "compare",
    "workload",
    "plan",
    "capacity",
    "compile",
    "catalog",
    "dejavu",
)
"""Every verb, in the order `--help` lists them: a module of `toolkit.commands` each.

A verb that is a word of Python's has an underscore behind its module's name.
"""


def _command(verb: str) -> Command:
    module = import_module(f"toolkit.commands.{verb.replace('-', '_')}{'_' * iskeyword(verb)}")
    return Command(module.ABOUT, module.add_arguments, module.execute)


COMMANDS: Mapping[str, Command] = {verb: _command(verb) for verb in VERBS}


if __name__ == "__main__":
    sys.exit(main())
