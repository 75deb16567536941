"""Recorded workloads: files of published request traces as columns.

A file is read in batches, its cells are converted column by column, and what
is wrong with it is said by line.  Nothing here knows of scenarios: a file, its
layout and the window wanted go in, a :class:`Recording` comes out.
"""

from toolkit.recordings.layouts import KINDS, LAYOUTS, TIME_UNITS, Layout, layout_of
from toolkit.recordings.reading import digest, read
from toolkit.recordings.recording import Recording
from toolkit.recordings.servegen import draw, read_clients

__all__ = [
    "KINDS",
    "LAYOUTS",
    "TIME_UNITS",
    "Layout",
    "Recording",
    "digest",
    "draw",
    "layout_of",
    "read",
    "read_clients",
]
