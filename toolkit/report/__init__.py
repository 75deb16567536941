"""Tables to figures, pages and terminal summaries.

`write` makes a folder with ``report.html`` (one file that loads nothing),
``report.md``, the figures and the tables behind them; `terminal` prints the
same answer at 80 columns; `summary` is the run as an object for ``--json``.
Every number comes from a view of `toolkit.analytics`: here they are only put
into words, tables and pictures.
"""

from __future__ import annotations

from toolkit.report.outcomes import Outcome
from toolkit.report.summary import summary
from toolkit.report.terminal import terminal
from toolkit.report.writing import write

__all__ = ["Outcome", "summary", "terminal", "write"]
