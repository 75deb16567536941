"""Traces: the vocabulary of spans, the Parquet store, and its renderings for the eye.

Left of this package simulations make spans; right of it analyses read them.
Modules import one another downwards only: :mod:`.columns`, :mod:`.store`,
:mod:`.selection`, the renderings :mod:`.perfetto` and :mod:`.chrome` over
:mod:`.wire`, :mod:`.view`.
"""
