"""Records of arrays handed to compiled functions by reference.

A NamedTuple of arrays is passed by value: every compiled function it is handed
to takes and counts references of all its arrays, whichever it uses.  With some
forty arrays that is most of the time of a small function, and of compiling it.
A reference is one pointer; its fields read as those of the tuple do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from numba import njit, types
from numba.experimental import structref

__all__ = ["ReferenceType", "by_reference"]

_compiler: Any = structref  # it ships no types


class ReferenceType(types.StructRef):
    """What the compiler knows a reference as; one subclass for each record."""

    def preprocess_fields(self, fields: Any) -> Any:
        """Let integers be integers, whatever their value."""
        return tuple((name, cast(Any, types).unliteral(kind)) for name, kind in fields)

    @property
    def mangling_args(self) -> tuple[str, tuple[()]]:
        """A short name for symbols: the types of all fields would make it pages long."""
        return type(self).__name__, ()


T = TypeVar("T")


def by_reference(
    fields: Sequence[str], kind: type[ReferenceType], **nested: Callable[[Any], Any]
) -> Callable[[T], T]:
    """Return a compiled function that makes a reference to the fields of a record.

    What it returns is typed as the record, for it reads the same.  Arrays are
    shared: what is written to them is seen by whoever has the record.  A field
    that is a record itself is `nested`, with the function that refers to it.
    """

    class Fields:
        def __init__(self, *values: object) -> None:
            self.__dict__.update(zip(fields, values, strict=True))

    _compiler.register(kind)
    _compiler.define_constructor(Fields, kind, fields)
    scope: dict[str, Any] = {"Fields": Fields, **nested}
    each = (
        f"{field}(record.{field})" if field in nested else f"record.{field}" for field in fields
    )
    exec(f"def refer(record):\n    return Fields({', '.join(each)})\n", scope)
    return njit(scope["refer"])  # type: ignore[no-any-return]
