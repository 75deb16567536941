"""TOML in, frozen checked values out.

A scenario is read (with the files it extends), laid over its parents, checked
against the schema, resolved with the catalog, and checked once more for what
only its numbers together can tell.  What comes out is a
:class:`~toolkit.scenario.model.Scenario`, which everything else trusts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from toolkit.scenario.explaining import Explanation, Step, explain
from toolkit.scenario.loading import load
from toolkit.scenario.model import Scenario
from toolkit.scenario.schema import key_paths, load_schema

__all__ = [
    "Explanation",
    "Scenario",
    "Step",
    "dumps",
    "explain",
    "key_paths",
    "load",
    "load_schema",
]


def dumps(document: Mapping[str, Any]) -> str:
    """Return a scenario's document as TOML text; loading it gives an equal scenario."""
    return tomli_w.dumps(document)
