"""A progress bar on stderr for anything that takes over a second.

Nothing is shown in the first second, nothing where stderr is not a terminal,
and what was shown is wiped when the work ends: results have stdout to
themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TypeVar

__all__ = ["PATIENCE_S", "bar", "watch"]

PATIENCE_S = 1.0
"""How long a piece of work may stay silent, seconds."""

T = TypeVar("T")


def _ignore(_: float) -> None:
    """Take no notice of work done."""


@contextmanager
def bar(
    what: str, *, total: float | None = None, quiet: bool = False
) -> Iterator[Callable[[float], None]]:
    """Show a bar while the block runs; yield the function that advances it.

    `what` names the work in the reader's words; `total` is all of it, in the
    unit the function is called with (None: unknown, the bar only moves).
    """
    if quiet or not sys.stderr.isatty():
        yield _ignore
        return

    from rich.console import Console
    from rich.progress import Progress

    shown = Progress(console=Console(stderr=True), transient=True)
    task = shown.add_task(what, total=total)
    patience = Timer(PATIENCE_S, shown.start)
    patience.daemon = True
    patience.start()
    try:
        yield lambda amount: shown.advance(task, amount)
    finally:
        patience.cancel()
        patience.join()
        if shown.live.is_started:
            shown.stop()


def watch(
    items: Iterable[T],
    what: str,
    *,
    total: float | None = None,
    amount: Callable[[T], float] = lambda _: 1,
    quiet: bool = False,
) -> Iterator[T]:
    """Yield the items, advancing a bar by the `amount` of each."""
    with bar(what, total=total, quiet=quiet) as advance:
        for item in items:
            yield item
            advance(amount(item))
