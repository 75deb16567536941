"""The nearest known name to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from toolkit.errors import InputError

__all__ = ["nearest", "unknown"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` was most likely meant to be, or None.

    Upper and lower case count as equal, and so do ``-``, ``_`` and space.  A
    name that only begins like a known one is taken for it.

    >>> nearest("opt66b", ["OPT-66B", "OPT-30B"])
    'OPT-66B'
    >>> nearest("tea", ["OPT-66B"])
    """
    folded = _fold(name)
    by_fold = {_fold(each): each for each in reversed(list(known))}
    found = get_close_matches(folded, by_fold, n=1, cutoff=0.8)
    if not found and len(folded) >= 3:
        found = [each for each in reversed(by_fold) if each.startswith(folded)][:1]
    found = found or get_close_matches(folded, by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that is in no list: the nearest one, or all of them."""
    known = list(known)
    close = nearest(name, known)
    way_out = f"did you mean {close}?" if close else f"known: {', '.join(known)}"
    return InputError.one("catalog", name, f"no such {what}", way_out=way_out)


def _fold(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
