"""One look for all figures: colours with a meaning, two widths, the same bytes every time."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "CAUSE_COLOURS",
    "NARROW",
    "PART_COLOURS",
    "WIDE",
    "Width",
    "figure",
    "legend",
    "look",
    "run_colours",
    "svg",
    "title",
]

PART_COLOURS = {
    "prefill": "#e08214",
    "decode": "#2166ac",
    "other": "#5aae61",
    "bubble": "#f4b6ab",
    "waiting": "#e9edf0",
    "finished": "#cfd6db",
}
"""What a stage does keeps one colour in every figure: work is dark, loss is pale."""

CAUSE_COLOURS = {
    "work": "#2166ac",
    "transfer": "#1b9e77",
    "link_busy": "#a6dba0",
    "behind_prompt": "#e08214",
    "behind_batch": "#92c5de",
    "head_of_line": "#f4b6ab",
    "kv_room": "#9970ab",
    "packing": "#dfc27d",
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
        return self.inches < 5


WIDE = Width(7.6, 88)
"""A page or a screen."""

NARROW = Width(3.9, 43)
"""A phone."""


@contextmanager
def look() -> Iterator[None]:
    """Draw in this style inside the block."""
    import matplotlib

    matplotlib.use("Agg")
    known = {key: value for key, value in _SETTINGS.items() if key in matplotlib.rcParams}
    with matplotlib.rc_context(known):
        yield


def figure(width: Width, height: float, question_title: str) -> Figure:
    """Return an empty figure whose axes are `height` inches high, under its title."""
    from matplotlib.figure import Figure

    lines = textwrap.wrap(question_title, width.characters)
    head = 0.1 + 0.19 * len(lines)
    drawn = Figure(figsize=(width.inches, height + head), layout="constrained")
    drawn.get_layout_engine().set(rect=(0, 0, 1, height / (height + head)))
    drawn.text(
        0.012,
        1 - 0.03 / (height + head),
        "\n".join(lines),
        va="top",
        ha="left",
        fontsize=10.5,
        fontweight="bold",
        linespacing=1.25,
    )
    return drawn


def title(axes: Axes, text: str, colour: str = "#333333") -> None:
    """Name a panel."""
    axes.set_title(text, color=colour, pad=5)


def legend(drawn: Figure, entries: Sequence[tuple[str, str]], width: Width) -> None:
    """Explain colours in a row below the figure."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=label) for label, colour in entries]
    drawn.legend(
        handles=handles,
        loc="outside lower left",
        ncols=2 if width.narrow else min(len(handles), 4),
        handlelength=1.2,
        handleheight=0.9,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def run_colours(labels: Sequence[str]) -> dict[str, str]:
    """Return a colour for each run, the same in every figure."""
    return {label: _RUNS[at % len(_RUNS)] for at, label in enumerate(labels)}


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
