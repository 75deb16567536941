"""ServeGen's clients: how each sends, window by window, and requests drawn from that.

A client is a pair of files: ``NAME-trace.csv``, without a header, has a row per
window (start in s, requests per s, CV of the gaps, their family, its shape and
scale), ``NAME-dataset.json`` histograms of prompt and answer lengths by longer
windows.  Most windows are silent
(rate 0).  The CV is not used: it is of the gaps counted; family, shape and
scale are the fit to them.

Source: alibaba/ServeGen at f891d118, data (Apache-2.0).
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import InputError, Problem
from toolkit.recordings.recording import NS_PER_S, Recording

__all__ = ["MOST_REQUESTS", "Client", "draw", "read_clients"]

MOST_REQUESTS = 20_000_000
"""Most requests that are drawn."""

_PURPOSE = 101
"""Key of these draws among the purposes of a scenario's seed."""

_FAMILIES = ("Gamma", "Weibull", "Exponential")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Lengths and the share of each, shape (lengths,) both, in ascending order."""

    tokens: npt.NDArray[np.int64]
    cumulative: Floats

    def at(self, uniform: Floats) -> npt.NDArray[np.int64]:
        """Return the lengths at some levels of the distribution function."""
        last = len(self.tokens) - 1
        return self.tokens[np.minimum(np.searchsorted(self.cumulative, uniform, "right"), last)]


@dataclass(frozen=True, slots=True)
class Window:
    """How a client sends for a while: from ``start_s``, ``rate_per_s``, gaps of a family."""

    start_s: float
    rate_per_s: float
    family: str
    shape: float


@dataclass(frozen=True, slots=True)
class Client:
    """One client: its windows of sending, and of lengths by the second they begin at."""

    name: str
    windows: tuple[Window, ...]
    length_s: float
    lengths: Mapping[float, tuple[Histogram, Histogram]]


def read_clients(path: Path) -> list[Client]:
    """Return the clients of a folder, or the one of a ``-trace.csv``, by number.

    Raises:
        InputError: no clients, or files that are not of this layout, by line.
    """
    traces = sorted(path.glob("*-trace.csv"), key=_number) if path.is_dir() else [path]
    if not traces:
        expected = "expected a folder with files NAME-trace.csv and NAME-dataset.json"
        raise InputError.one(str(path), "", expected, "none of them")
    clients: list[Client] = []
    problems: list[Problem] = []
    for trace in traces:
        try:
            clients.append(_client(trace))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(str(path), problems)
    return clients


def draw(clients: Sequence[Client], window_s: tuple[float, float], seed: int) -> Recording:
    """Return requests of some clients between two moments, each client a tenant.

    Each window of a client draws from a generator of its own, so a narrower
    window holds the same requests.  Gaps have the family and shape stated and
    the mean 1 / rate; each window begins anew.

    Raises:
        InputError: nobody sends in that window, or far too much is sent.
    """
    expected = sum(
        window.rate_per_s * max(0.0, min(end, window_s[1]) - max(window.start_s, window_s[0]))
        for client in clients
        for window, end in _with_ends(client)
    )
    if expected > MOST_REQUESTS:
        got = f"about {expected:,.0f} between {window_s[0]:g} and {window_s[1]:g} s"
        most = f"expected at most {MOST_REQUESTS:,} requests"
        raise InputError.one("", "", most, got, "narrow requests.window_s")
    parts = [
        (code, *drawn)
        for code, client in enumerate(clients)
        for drawn in _of_client(client, window_s, seed)
    ]
    if not sum(len(times) for _, times, _, _ in parts):
        got = f"a window from {window_s[0]:g} to {window_s[1]:g} s in which every client is silent"
        raise InputError.one("", "", "expected at least one request", got)
    times_s = np.concatenate([times for _, times, _, _ in parts])
    rows = np.argsort(times_s, kind="stable")
    tenant = np.repeat([code for code, *_ in parts], [len(times) for _, times, _, _ in parts])
    return Recording(
        prompt_tokens=np.concatenate([each for _, _, each, _ in parts]).astype(np.int32)[rows],
        output_tokens=np.concatenate([each for _, _, _, each in parts]).astype(np.int32)[rows],
        arrival_ns=np.rint((times_s[rows] - window_s[0]) * NS_PER_S).astype(np.int64),
        tenant=tenant.astype(np.int32)[rows],
        tenants=tuple(client.name for client in clients),
    )


def _of_client(
    client: Client, window_s: tuple[float, float], seed: int
) -> Iterator[tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    for index, (window, end) in enumerate(_with_ends(client)):
        if window.rate_per_s == 0 or end <= window_s[0] or window.start_s >= window_s[1]:
            continue
        key = (_PURPOSE, zlib.crc32(client.name.encode()), index)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
        times = window.start_s + _renewals(window, end - window.start_s, rng)
        prompt, output = _histograms(client, window.start_s)
        uniform = rng.random((len(times), 2))
        kept = (times >= window_s[0]) & (times < window_s[1])
        yield times[kept], prompt.at(uniform[kept, 0]), output.at(uniform[kept, 1])


def _renewals(window: Window, length_s: float, rng: np.random.Generator) -> Floats:
    """Return the arrivals of a renewal process within a window, seconds from its start."""
    batch = max(16, math.ceil(window.rate_per_s * length_s * 1.1))
    times = np.empty(0)
    while not len(times) or times[-1] < length_s:
        if window.family == "Gamma":
            unit = rng.standard_gamma(window.shape, batch) / window.shape
        elif window.family == "Weibull":
            unit = rng.weibull(window.shape, batch) / math.gamma(1 + 1 / window.shape)
        else:
            unit = rng.standard_exponential(batch)
        last = times[-1] if len(times) else 0.0
        times = np.concatenate((times, last + np.cumsum(unit / window.rate_per_s)))
    return times[times < length_s]


def _with_ends(client: Client) -> Iterator[tuple[Window, float]]:
    for window in client.windows:
        yield window, window.start_s + client.length_s


def _histograms(client: Client, at_s: float) -> tuple[Histogram, Histogram]:
    """Return the lengths that hold at a time: the last stated before, else the first after."""
    starts = sorted(client.lengths)
    before = [start for start in starts if start <= at_s]
    return client.lengths[before[-1] if before else starts[0]]


# -- reading -------------------------------------------------------------------------------------


def _client(trace: Path) -> Client:
    if not trace.name.endswith("-trace.csv"):
        raise InputError.one(str(trace), "", "expected a file NAME-trace.csv", trace.name)
    name = trace.name.removesuffix("-trace.csv")
    dataset = trace.with_name(f"{name}-dataset.json")
    problems: list[Problem] = []
    windows = list(_windows(trace, problems))
    starts = [window.start_s for window in windows]
    if not problems and any(b <= a for a, b in pairwise(starts)):
        problems.append(Problem("", "expected windows in ascending order", "", "", str(trace)))
    if not problems and not windows:
        problems.append(Problem("", "expected a row for each window", "none", "", str(trace)))
    lengths = dict(_lengths(dataset, problems))
    if not problems and not lengths and any(window.rate_per_s for window in windows):
        problems.append(Problem("", "expected a histogram of lengths", "none", "", str(dataset)))
    if problems:
        raise InputError(str(trace), problems)
    length_s = min((b - a for a, b in pairwise(starts)), default=600.0)
    return Client(name, tuple(windows), length_s, lengths)


def _windows(trace: Path, problems: list[Problem]) -> Iterator[Window]:
    try:
        text = trace.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = trace.read_bytes()[: error.start].count(b"\n") + 1
        problems.append(
            Problem(f"line {line}", "expected text in UTF-8", "other bytes", "", str(trace))
        )
        return
    for line, row in enumerate(csv.reader(text.splitlines()), 1):
        window = _window(row)
        if window is not None:
            yield window
        elif row and len(problems) < 8:
            expected = (
                "expected start in s, requests per s, CV of gaps, "
                f"{', '.join(_FAMILIES)} or nothing, shape, scale"
            )
            problems.append(Problem(f"line {line}", expected, ",".join(row)[:60], "", str(trace)))


def _window(row: Sequence[str]) -> Window | None:
    """Return the window of a row, None where it is none."""
    if len(row) != 6:
        return None
    family = row[3].strip()
    try:
        start_s, rate, cv, shape, scale = (float(row[at]) for at in (0, 1, 2, 4, 5))
    except ValueError:
        return None
    sound = all(math.isfinite(x) and x >= 0 for x in (start_s, rate, cv, shape, scale))
    if not sound or (rate > 0 and (family not in _FAMILIES or shape <= 0)):
        return None
    return Window(start_s, rate, family, shape)


def _lengths(
    dataset: Path, problems: list[Problem]
) -> Iterator[tuple[float, tuple[Histogram, Histogram]]]:
    try:
        content = json.loads(dataset.read_bytes())
    except FileNotFoundError:
        expected = "expected it beside the file of windows"
        problems.append(Problem("", expected, "nothing there", "", str(dataset)))
        return
    except (ValueError, RecursionError) as error:
        line = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        problems.append(Problem(line, "expected JSON", str(error)[:80], "", str(dataset)))
        return
    if not isinstance(content, dict):
        problems.append(Problem("", "expected windows by start", "", "", str(dataset)))
        return
    for start, sides in content.items():
        try:
            found = tuple(_histogram(sides[f"{side}_tokens"]) for side in ("input", "output"))
            at_s = float(start)
        except (KeyError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
            expected = "expected input_tokens and output_tokens, each a text {length: share}"
            problems.append(Problem(f'window "{start}"', expected, "", "", str(dataset)))
            continue
        if found[0] is not None and found[1] is not None:
            yield at_s, (found[0], found[1])


def _histogram(text: Any) -> Histogram | None:
    """Return the histogram of its text, None where the window has none.

    Raises:
        ValueError: it is another text.
    """
    shares = ast.literal_eval(text)
    if not shares:
        return None
    tokens = np.array(sorted(shares), np.int64)
    weights = np.array([float(shares[each]) for each in sorted(shares)])
    if (tokens < 0).any() or not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(text)
    if weights.sum() <= 0:
        return None
    return Histogram(tokens, np.cumsum(weights) / weights.sum())


def _number(path: Path) -> tuple[int, str]:
    found = re.search(r"\d+", path.name)
    return (int(found[0]) if found else 0, path.name)
