"""Models, devices, machines, links, length tables and timing tables, each figure with its source.

The figures are data files under ``data/``; a new device is a new TOML table,
not a class.  Lookups answer a mistyped name with its nearest neighbour.

>>> from toolkit import catalog
>>> catalog.model("OPT-66B").figures["layers"]
64
>>> catalog.machine("4xA100-80GB").source("nic_gbit_per_s").confidence
'second-hand'
"""

from toolkit.catalog.entries import (
    KINDS,
    Entry,
    Row,
    Source,
    describe,
    device,
    entries,
    find,
    link,
    machine,
    model,
)
from toolkit.catalog.interarrivals import InterarrivalTable, interarrival_table
from toolkit.catalog.lengths import LengthTable, length_table
from toolkit.catalog.names import nearest, unknown
from toolkit.catalog.timings import VARIANTS, TimingTable, timing_table

__all__ = [
    "KINDS",
    "VARIANTS",
    "Entry",
    "InterarrivalTable",
    "LengthTable",
    "Row",
    "Source",
    "TimingTable",
    "describe",
    "device",
    "entries",
    "find",
    "interarrival_table",
    "length_table",
    "link",
    "machine",
    "model",
    "nearest",
    "timing_table",
    "unknown",
]
