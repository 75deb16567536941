"""A store to tables: the SQL library over a trace, and queries of one's own beside it.

>>> import toolkit
>>> run = toolkit.open("traces/opt66-baseline")                  # doctest: +SKIP
>>> run.frame("SELECT metric, median_s FROM latency_summary")    # doctest: +SKIP

The views are the `.sql` files below ``sql/``, in four layers: ``staging``
(names joined, nothing changed), ``facts`` (a row per request, step, transfer,
pause), ``reports`` (aggregates) and ``checks`` (rows that break an invariant;
a healthy trace has none).  Nothing here computes a metric in Python.
"""

from __future__ import annotations

from toolkit.analytics.library import LAYERS, View, library
from toolkit.analytics.run import SHARED, Broken, Run, open

__all__ = ["LAYERS", "SHARED", "Broken", "Run", "View", "library", "open"]
