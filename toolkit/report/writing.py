"""A report as a folder: the page, its text, its figures and the tables behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.report.content import content
from toolkit.report.document import Document, Figure
from toolkit.report.findings import REPLICATED, find
from toolkit.report.folder import MARK, replacing
from toolkit.report.html import html
from toolkit.report.markdown import markdown
from toolkit.report.outcomes import Outcome

if TYPE_CHECKING:
    import polars as pl

    from toolkit.analytics import Run

__all__ = ["write", "write_document"]


def write(
    runs: Sequence[Run],
    folder: Path,
    *,
    title: str | None = None,
    question: str | None = None,
    outcomes: Sequence[Outcome] = (),
) -> list[Path]:
    """Write the report on `runs`, side by side, into `folder`; return its files.

    ``report.html``, ``report.md``, ``figures/*.svg`` and ``.png``, and ``tables/*.csv`` (one
    for each view that was read).  The folder appears whole or not at all, and
    the same traces give the same bytes.  `title` and `question` replace the
    scenario's; `outcomes` are what came of its assertions.

    Raises:
        InputError: the folder holds something else than a report, or cannot
            be written.
    """
    findings = find(runs)
    document = content(findings, title=title, question=question, outcomes=outcomes)
    shown = {
        name: frame
        for name, frame in findings.frames.items()
        if frame.height or name not in REPLICATED
    }
    return write_document(document, shown, folder)


def write_document(
    document: Document,
    frames: Mapping[str, pl.DataFrame],
    folder: Path,
    *,
    finish: Callable[[Path], object] | None = None,
) -> list[Path]:
    """Write a document with its figures, and `frames` as its tables; return the files.

    `finish` may add files of its own to the folder before it appears.

    Raises:
        InputError: the folder holds something else than a report, or cannot
            be written.
    """
    with replacing(folder) as part:
        (part / MARK).write_text(html(document), encoding="utf-8")
        (part / "report.md").write_text(markdown(document), encoding="utf-8")
        (part / "figures").mkdir()
        for figure in _figures(document):
            (part / "figures" / f"{figure.name}.svg").write_text(figure.wide, encoding="utf-8")
            (part / "figures" / f"{figure.name}.png").write_bytes(figure.png)
        (part / "tables").mkdir()
        for name, frame in frames.items():
            flat = [column for column, kind in frame.schema.items() if not kind.is_nested()]
            frame.select(flat).write_csv(part / "tables" / f"{name}.csv")
        if finish is not None:
            finish(part)
        files = [path.relative_to(part) for path in sorted(part.rglob("*")) if path.is_file()]
    return [folder / file for file in files]


def _figures(document: Document) -> list[Figure]:
    return [
        block
        for section in document.sections
        for block in section.blocks
        if isinstance(block, Figure)
    ]
