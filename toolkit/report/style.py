"""One look for all figures: colours with a meaning, two widths, the same bytes every time.

matplotlib is imported where something is drawn and nowhere else: it takes
half a second that a terminal summary should not wait for.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "CAUSE_COLOURS",
    "LEDGER_COLOURS",
    "NARROW",
    "PART_COLOURS",
    "WIDE",
    "Width",
    "label_room",
    "look",
    "panels",
    "png",
    "rectangles",
    "rows_only",
    "run_colours",
    "svg",
    "title",
]

PART_COLOURS = {
    "prefill": "#e08214",
    "decode": "#2166ac",
    "mixed": "#7f5a83",
    "other": "#5aae61",
    "lost": "#c2607a",
    "failed": "#b2182b",
    "starting": "#d8d0b0",
    "bubble": "#f4b6ab",
    "waiting": "#e9edf0",
    "finished": "#cfd6db",
    "idle": "#eeeeee",
    "kv_transfer": "#1b9e77",
}
"""What a stage does keeps one colour in every figure: work is dark, loss is pale."""

LEDGER_COLOURS = {
    "prefill": "#e08214",
    "decode": "#2166ac",
    "mixed": "#7f5a83",
    "other": "#5aae61",
    "swapping": "#c2a5cf",
    "imbalance": "#f4b6ab",
    "early_stop": "#d98880",
    "fill": "#fbdfd8",
    "drain": "#e8c4bb",
    "starved": "#fdd9a0",
    "head_of_line": "#c9a0a0",
    "bubble": "#f4b6ab",
    "blocked_transfer": "#a6dba0",
    "blocked_kv": "#c7b1dd",
    "lost": "#c2607a",
    "failed": "#b2182b",
    "starting": "#d8d0b0",
    "waiting": "#e9edf0",
    "no_work": "#dde2e6",
    "unexplained": "#eeeeee",
}
"""Causes of the time ledger: work is dark, bubbles are reds, other losses have their own hues."""

CAUSE_COLOURS = {
    "work": "#2166ac",
    "transfer": "#1b9e77",
    "link_busy": "#a6dba0",
    "behind_prompt": "#e08214",
    "behind_batch": "#92c5de",
    "head_of_line": "#f4b6ab",
    "kv_room": "#9970ab",
    "packing": "#dfc27d",
    "padding": "#f6e8c3",
    "preempted": "#c2a5cf",
    "swapped": "#e7d4e8",
    "failed": "#b2182b",
    "recovering": "#ef8a62",
    "queue": "#cfd6db",
    "unsplit": "#f0f0f0",
}

_RUNS = ("#3b3b3b", "#d6604d", "#1b7fa6", "#7b3f98", "#4d9221", "#b8860b", "#c2407a", "#6b7a8f")

_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": "#444444",
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "toolkit",
    "svg.id": "",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True, slots=True)
class Width:
    """A width to draw for: inches, and the characters of a title that fit."""

    inches: float
    characters: int

    @property
    def narrow(self) -> bool:
        """Whether things that stand side by side go under each other."""
        return self.inches < 5


WIDE = Width(7.6, 88)
"""A page or a screen."""

NARROW = Width(3.9, 43)
"""A phone."""


@contextmanager
def look() -> Iterator[None]:
    """Draw in this style inside the block."""
    import matplotlib

    known: dict[Any, Any] = {
        key: value for key, value in _SETTINGS.items() if key in matplotlib.rcParams
    }
    with matplotlib.rc_context(known):
        yield


def panels(
    width: Width,
    heading: str,
    heights: Sequence[float],
    *,
    columns: int = 1,
    left: float = 0.6,
    between: float = 0.55,
    entries: Sequence[tuple[str, str]] = (),
    named: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure under its title, with axes of `heights` inches and a key of colours below.

    `left` and `between` are the inches beside and between axes, for their
    labels, `named` makes room for a name above each; `entries` are (label,
    colour).  Everything is placed by arithmetic:
    matplotlib's own layout draws each figure twice.
    """
    from matplotlib.figure import Figure

    lines = textwrap.wrap(heading, width.characters, break_on_hyphens=False)
    head = 0.16 + 0.19 * len(lines) + (0.27 if named else 0.08)
    in_a_row = _entries_in_a_row([label for label, _ in entries], width)
    foot = 0.5 + 0.21 * -(-len(entries) // max(in_a_row, 1)) + 0.05
    rows = len(heights)
    total = head + sum(heights) + between * (rows - 1) + foot
    drawn = Figure(figsize=(width.inches, total))
    drawn.text(
        0.05 / width.inches,
        1 - 0.05 / total,
        "\n".join(lines),
        va="top",
        fontsize=10.5,
        fontweight="bold",
        linespacing=1.25,
    )
    axes = []
    right, gap = 0.12, left
    wide = (width.inches - left - right - gap * (columns - 1)) / columns
    top = total - head
    for height in heights:
        for column in range(columns):
            x = left + column * (wide + gap)
            box = (x / width.inches, (top - height) / total, wide / width.inches, height / total)
            axes.append(drawn.add_axes(box))
        top -= height + between
    if entries:
        _legend(drawn, entries, in_a_row, total)
    return drawn, axes


def _entries_in_a_row(labels: Sequence[str], width: Width) -> int:
    """Return how many entries of a key of colours fit side by side."""
    for count in range(len(labels), 1, -1):
        columns = [max(map(len, labels[column::count])) for column in range(count)]
        if sum(0.42 + 0.068 * column for column in columns) <= width.inches:
            return count
    return 1


def _legend(drawn: Figure, entries: Sequence[tuple[str, str]], in_a_row: int, total: float) -> None:
    from matplotlib.patches import Patch

    # matplotlib fills columns first: deal the entries so that rows read in order.
    rows = -(-len(entries) // in_a_row)
    dealt = [
        entries[row * in_a_row + column]
        for column in range(in_a_row)
        for row in range(rows)
        if row * in_a_row + column < len(entries)
    ]
    drawn.legend(
        handles=[Patch(facecolor=colour, label=label) for label, colour in dealt],
        loc="lower left",
        bbox_to_anchor=(0, 0.02 / total),
        ncols=in_a_row,
        handlelength=1.1,
        handleheight=0.9,
        columnspacing=1.3,
        borderaxespad=0.2,
    )


def label_room(labels: Iterable[str], size: float = 8) -> float:
    """Return the inches that tick labels of a font size need to the left of axes."""
    return 0.16 + max((len(label) for label in labels), default=0) * size * 0.0088


def rectangles(
    axes: Axes, boxes: Sequence[tuple[float, float, float, float]], colour: str, edge: float = 0
) -> None:
    """Draw (x, y, width, height) boxes as one collection: hundreds cost what one does."""
    from matplotlib.collections import PolyCollection

    corners = [
        [(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)] for x, y, wide, high in boxes
    ]
    axes.add_collection(
        PolyCollection(corners, facecolors=colour, edgecolors="white", linewidths=edge),
        autolim=False,
    )


def rows_only(axes: Axes, names: Sequence[str], size: float = 8) -> None:
    """Turn the y axis into named rows, the first on top."""
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def title(axes: Axes, text: str, colour: str = "#333333") -> None:
    """Name a panel."""
    axes.set_title(text, color=colour, pad=5)


def run_colours(labels: Sequence[str]) -> dict[str, str]:
    """Return a colour for each run, the same in every figure."""
    return {label: _RUNS[at % len(_RUNS)] for at, label in enumerate(labels)}


def png(drawn: Figure) -> bytes:
    """Return a figure as PNG, for where SVG cannot go."""
    file = BytesIO()
    drawn.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def svg(drawn: Figure, name: str) -> str:
    """Return a figure as SVG text; the same figure gives the same text.

    `name` and the width go into every id, so that figures can share a page.
    """
    file = BytesIO()
    drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    prefix = f"{name}-{drawn.get_figwidth():.0f}-"
    return re.sub(r"(\bid=\"|url\(#|xlink:href=\"#)", rf"\g<1>{prefix}", text)
