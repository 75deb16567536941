"""The pages of questions/ with the true output of their commands.

All pages share one folder, which has the scenarios and the traces of opt66.
Commands of `sh` blocks are run, once, and not shown; those of `console` blocks
are shown with what they print at 80 columns.  A command may go on over lines
inside its quotes.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "questions"
BLOCK = re.compile(r"```(sh|console)\n(.*?)```", re.DOTALL)
OPT66 = "toolkit run scenarios/opt66.toml --quiet"


class Folder:
    """Where the commands of all pages run."""

    def __init__(self, place: Path) -> None:
        """Lay out the scenarios, and make the traces that most pages ask, drawing nothing."""
        self.place = place
        (place / "scenarios").symlink_to(ROOT / "scenarios")
        self.run(f"{OPT66} --no-report --set trace.renderings=[]")
        self._done = {OPT66}

    def answered(self, page: str) -> str:
        """Return a page with the true output of its commands."""
        return BLOCK.sub(self._told, page)

    def _told(self, block: re.Match[str]) -> str:
        if block[1] == "sh":
            for line in block[2].splitlines():
                if line not in self._done:
                    self.run(line)
                    self._done.add(line)
            return block[0]
        told = (f"$ {command}\n{self.run(command)}" for command in _commands(block[2]))
        return "```console\n" + "\n".join(told) + "```"

    def run(self, command: str) -> str:
        """Return what a command prints; a missed assertion (exit code 1) is an answer too."""
        program, *words = shlex.split(command)
        assert program == "toolkit", command
        done = subprocess.run(
            [sys.executable, "-m", "toolkit", *words],
            cwd=self.place,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                "PYTHONIOENCODING": "utf-8",
                "COLUMNS": "80",
                "NO_COLOR": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), f"{command}\n{done.stderr}"
        printed = done.stdout.strip("\n").replace(f"{self.place}{os.sep}", "")
        return "".join(f"{row.rstrip()}\n" for row in printed.splitlines())


def _commands(block: str) -> Iterator[str]:
    """Yield the commands of a block, each as far as its quotes go."""
    lines = block.splitlines()
    for at, line in enumerate(lines):
        if not line.startswith("$ "):
            continue
        for end in range(at + 1, len(lines) + 1):
            command = "\n".join(lines[at:end]).removeprefix("$ ")
            try:
                shlex.split(command)
            except ValueError:  # a quote that is still open
                continue
            yield command
            break


@contextmanager
def folder() -> Iterator[Folder]:
    """Yield a folder of its own, gone afterwards."""
    with TemporaryDirectory(prefix="toolkit-docs-") as place:
        yield Folder(Path(os.path.realpath(place)))
