"""The pictures a run brings along: both renderings, of what a viewer can hold."""

from __future__ import annotations

from toolkit.trace import chrome, perfetto
from toolkit.trace.selection import MAX_SPANS, Selection, first_window
from toolkit.trace.store import Store

__all__ = ["CHROME", "PERFETTO", "render_default"]

PERFETTO = "trace.pftrace"
CHROME = "trace.json.gz"


def render_default(store: Store, *, max_spans: int = MAX_SPANS) -> str:
    """Write both renderings into the store's folder; return words about what they leave out.

    A store of more than `max_spans` spans is drawn from its beginning as far as that goes, and the
    words say so; they are empty where everything is drawn.
    """
    spans = store.rows("spans")
    selection = Selection()
    if spans > max_spans:
        selection = Selection(window_ns=first_window(store, max_spans))
    picture = perfetto.render(store, store.folder / PERFETTO, selection)
    chrome.draw(picture, picture.batches(), store.folder / CHROME)
    if selection.window_ns is None:
        return ""
    until_s = selection.window_ns[1] / 1e9
    return (
        f"{PERFETTO} and {CHROME} show the first {until_s:.3f} s: {picture.spans:,} of "
        f"{spans:,} spans, as many as a viewer opens well; `toolkit export --window` shows others"
    )
