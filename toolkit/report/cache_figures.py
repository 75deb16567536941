"""What a prefix cache saved, in a sentence and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.report import words
from toolkit.report.figures import rows_of
from toolkit.report.style import panels, run_colours

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from toolkit.report.style import Width

__all__ = ["hits", "saved"]


def saved(row: Mapping[str, Any]) -> str:
    """Say what one run's cache saved.  A row of view prefix_cache."""
    return (
        f"{words.amount(row['cached_tokens'])} of "
        f"{words.amount(row['prompt_tokens'])} prompt tokens were in the prefix cache and not "
        f"computed, of {words.share(row['requests_hit_share'])} of the requests."
    )


def hits(
    windows: pl.DataFrame,
    whole: Sequence[Mapping[str, Any]],
    labels: Mapping[str, str],
    width: Width,
) -> Figure:
    """Draw which share of prompt tokens was cached over time.  Frame: prefix_cache_windows."""
    colours = run_colours(list(labels.values()))
    said = [f"{labels[row['run']]} {words.share(row['hit_rate'])}" for row in whole]
    caching = {labels[row["run"]]: colours[labels[row["run"]]] for row in whole}
    drawn, (axes,) = panels(
        width,
        f"Prompt tokens found in the prefix cache: {words.listed(said)}",
        [2.4],
        left=0.75,
        entries=list(caching.items()),
    )
    for row in whole:
        rows = rows_of(windows, row["run"])
        edges = [*rows["from_s"].to_list(), rows["until_s"].to_list()[-1]]
        shares = [float("nan") if share is None else 100 * share for share in rows["hit_rate"]]
        axes.stairs(shares, edges, color=colours[labels[row["run"]]], linewidth=1.6, baseline=None)
    axes.set_xlabel("time since the start, s")
    axes.set_ylabel("of prompt tokens, %")
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.grid(visible=True, axis="y")
    return drawn
