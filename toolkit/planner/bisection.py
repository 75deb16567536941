"""Between a value where something is so and one where it is not: where it changes.

Values are positive and halved by ratio, since rates and factors matter by
ratio.  Nothing is taken for granted about what lies further out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["narrowed"]


def narrowed(
    stays: float, changes: float, close: float, same: Callable[[float], bool]
) -> tuple[float, float]:
    """Return two values no further apart than the ratio `close`, between which `same` changes.

    `same` is true of the first and false of the second, as it is taken to be
    of `stays` and `changes`; each value returned was asked, or is one of those.

    >>> narrowed(1.0, 16.0, 1.5, lambda value: value < 5)
    (4.0, 5.656854249492381)
    """
    while max(stays / changes, changes / stays) > close:
        between = math.sqrt(stays * changes)
        if same(between):
            stays = between
        else:
            changes = between
    return stays, changes
