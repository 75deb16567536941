"""Requests as a table: when each arrives, how long its prompt and its answer are.

`build` turns a checked scenario into columns of equal length, one row per
entry, in arrival order as the simulation will take them.
"""

from toolkit.workload.prefixes import shared_tokens
from toolkit.workload.requests import Requests, build

__all__ = ["Requests", "build", "shared_tokens"]
