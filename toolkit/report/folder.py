"""A folder of files that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import InputError

__all__ = ["MARK", "replacing"]

MARK = "report.html"
"""The page of a report."""

KNOWN_BY = (MARK, "results.parquet")
"""Files by which a folder is known as a report or a sweep, and may be replaced by a newer one."""


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield a hidden sibling of `folder` that takes its place when the block ends well.

    An earlier report is moved aside first and removed last, so that one of the
    two is there at any time; whatever ended before its last step is swept up.

    Raises:
        InputError: the place holds something else than a report, or cannot be
            written.
    """
    folder = folder.absolute()
    part, previous = (folder.with_name(f".{folder.name}.{it}") for it in ("part", "previous"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if previous.exists() and not folder.exists():
            previous.rename(folder)
        _require_replaceable(folder)
        for left in (part, previous):
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir()
        try:
            yield part
            if folder.exists():
                folder.rename(previous)
            os.replace(part, folder)
            shutil.rmtree(previous, ignore_errors=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            if previous.exists() and not folder.exists():
                previous.rename(folder)
    except OSError as error:
        raise InputError.one(
            str(folder),
            "",
            "expected a folder that can be written",
            error.strerror or str(error),
            "choose another folder with --out",
        ) from error


def _require_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    known = any((folder / name).exists() for name in KNOWN_BY)
    if folder.is_dir() and (known or not any(folder.iterdir())):
        return
    raise InputError.one(
        str(folder),
        "",
        "expected a report to replace, or nothing",
        "a folder of something else" if folder.is_dir() else "a file",
        "choose another folder",
    )
