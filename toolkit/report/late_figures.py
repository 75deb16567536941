"""Figures of late requests: one request's life along time, or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolkit.report import style, words
from toolkit.report.lateness import HUNG, HUNG_OWN, PARTS
from toolkit.report.style import CAUSE_COLOURS, PART_COLOURS, WIDE, label_room, panels, rectangles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from toolkit.analytics.why import Why

__all__ = ["life", "side_by_side"]

_ROW = 0.23  # inches
_PIXELS = 2000
"""Pieces of time closer than so small a part of the whole are drawn as one."""
_COLOURS = {**CAUSE_COLOURS, "prefill": PART_COLOURS["prefill"], "decode": PART_COLOURS["decode"]}
_COLOURS |= {"behind_prompt": "#f4a582", "activation": "#80cdc1", "kv_transfer": "#1b9e77"}
_COLOURS |= {"arrival": "#cfd6db"}
_GREY = "#999999"


def life(why: Why) -> Figure:
    """Draw what one request did and waited for along time, and below it what it hung on."""
    parts = list(why.by_part())
    hung = [(it.own, it.what) for it in why.hung_on()]
    names = [PARTS[part] for part in parts]
    hung_names = [HUNG_OWN[what] if own else f"others’ {HUNG[what]}" for own, what in hung]
    heights = [_ROW * len(parts)] + ([_ROW * len(hung)] if hung else [])
    top, ns = next(iter(why.by_part().items()))
    drawn, axes = panels(
        WIDE,
        f"Request {why.number} of {why.run}: {words.share(ns / (why.e2e_ns or 1))} of "
        f"{words.seconds(why.e2e_ns / 1e9)} is {PARTS[top]}",
        heights,
        left=label_room([*names, *hung_names]),
        between=0.5,
        named=True,
    )
    start, end = (at / 1e9 for at in why.window_ns)
    style.title(axes[0], "what it did and waited for")
    _rows(axes[0], names, [why.by_part()[part] for part in parts], (start, end))
    for place, part in enumerate(parts):
        pieces = [(row["from_ns"], row["until_ns"]) for row in why.pieces if row["part"] == part]
        rectangles(axes[0], _boxes(pieces, place, why.e2e_ns), _COLOURS.get(part, _GREY))
    if hung:
        style.title(axes[1], "what it hung on, back through those it waited for")
        _rows(axes[1], hung_names, [it.dur_ns for it in why.hung_on()], (start, end))
        lead = why.request["lead"]
        for place, (own, what) in enumerate(hung):
            pieces = [
                (piece.from_ns, piece.until_ns)
                for piece in why.path
                if (piece.request == lead, piece.sort) == (own, what)
            ]
            rectangles(axes[1], _boxes(pieces, place, why.e2e_ns), _COLOURS.get(what, _GREY))
    axes[-1].set_xlabel("time since the start, s")
    return drawn


def _boxes(
    pieces: Sequence[tuple[int, int]], place: int, whole_ns: int
) -> list[tuple[float, float, float, float]]:
    """Return the boxes of pieces on a row; those closer than a pixel are one."""
    pixel_ns = whole_ns / _PIXELS
    joined: list[list[int]] = []
    for since, until in pieces:
        if joined and since - joined[-1][1] < pixel_ns:
            joined[-1][1] = until
        else:
            joined.append([since, until])
    return [(at / 1e9, place - 0.36, (over - at) / 1e9, 0.72) for at, over in joined]


def _rows(
    axes: Axes, names: Sequence[str], lengths: Sequence[int], span: tuple[float, float]
) -> None:
    """Set up named rows, each with its total at the right end."""
    style.rows_only(axes, names)
    wide = span[1] - span[0] or 1.0
    axes.set_xlim(span[0], span[1] + 0.11 * wide)
    for place, ns in enumerate(lengths):
        axes.text(
            span[1] + 0.105 * wide,
            place,
            words.seconds(ns / 1e9),
            ha="right",
            va="center",
            fontsize=8,
        )


def side_by_side(stories: Sequence[Why]) -> Figure:
    """Draw what the time of several requests went into, a bar each."""
    sums: dict[str, int] = {}
    for why in stories:
        for part, ns in why.by_part().items():
            sums[part] = sums.get(part, 0) + ns
    shown = sorted(sums, key=lambda part: -sums[part])
    total = sum(sums.values()) or 1
    drawn, (axes,) = panels(
        WIDE,
        f"{words.share(sums[shown[0]] / total)} of the time of these {len(stories)} requests of "
        f"{stories[0].run} is {PARTS[shown[0]]}",
        [0.3 * len(stories)],
        left=label_room([f"request {why.number}" for why in stories]),
        entries=[(PARTS[part], _COLOURS.get(part, _GREY)) for part in shown],
    )
    for place, why in enumerate(stories):
        left, parts = 0.0, why.by_part()
        for part in shown:
            wide = parts.get(part, 0) / 1e9
            rectangles(axes, [(left, place - 0.36, wide, 0.72)], _COLOURS.get(part, _GREY))
            left += wide
    style.rows_only(axes, [f"request {why.number}" for why in stories])
    axes.set_xlim(0, max(why.e2e_ns for why in stories) / 1e9 * 1.01)
    axes.set_xlabel("arrival to last token, s")
    return drawn
