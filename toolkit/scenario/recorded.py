"""The file of recorded requests that a scenario names: read, held to its digest, selected from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from toolkit import recordings
from toolkit.errors import InputError
from toolkit.recordings import Recording
from toolkit.scenario.inputs import EMBEDDED_BYTES, Inputs, WrongError, require_file
from toolkit.scenario.toml import KeyPath
from toolkit.scenario.validate import Finding

__all__ = ["read_requests"]


def read_requests(
    inputs: Inputs, given: Mapping[str, Any], seed: Any, folder_of: Callable[[KeyPath], Path]
) -> None:
    """Read recorded requests, or take those that stand in their place, and select."""
    table = ("workload", "requests")
    where = (*table, "file" if "file" in given else "recorded")
    try:
        if "recorded" in given:
            recording = _in_their_place(given["recorded"])
        else:
            recording = _recorded(inputs, given, seed, folder_of(where))
        inputs.recording = _selected(recording, given)
    except WrongError as error:
        inputs.findings.append(
            Finding((*table, *error.key), error.expected, error.got, error.way_out)
            if error.key
            else Finding(where, error.expected, error.got, error.way_out)
        )
    except InputError as error:
        if error.file:
            inputs.problems += error.problems
        else:  # of the selection, not of the file
            problem = error.problems[0]
            inputs.findings.append(
                Finding((*table, "window_s"), problem.expected, problem.got, problem.way_out)
            )


def _recorded(inputs: Inputs, given: Mapping[str, Any], seed: Any, folder: Path) -> Recording:
    """Return the content of the file, and note what the resolved scenario keeps of it."""
    path = folder / given["file"]
    if not path.is_dir() or given["kind"] != "servegen":
        require_file(path)
    digest = recordings.digest(path)
    if given.get("sha256", digest) != digest:
        raise WrongError(
            "expected the file the scenario was resolved with",
            f"another content of {path} (sha256 {digest[:12]}, was {given['sha256'][:12]})",
        )
    values: dict[str, Any] = {"sha256": digest}
    if given["kind"] == "servegen":
        start, end = given["window_s"]
        seed = 42 if seed is None else seed
        recording = recordings.draw(recordings.read_clients(path), (start, end), seed)
    else:
        stated = (given.get("columns"), given.get("time_unit"), given.get("block_tokens"))
        recording = _read_once(str(path), digest, json.dumps([given["kind"], *stated]))
    if given["kind"] != "servegen" and path.stat().st_size <= EMBEDDED_BYTES:
        values["recorded"] = recording.as_lists()
    else:
        inputs.large["workload", "requests", "recorded"] = str(path.resolve())
    inputs.values.setdefault("workload", {})["requests"] = values
    return recording


def _in_their_place(columns: Mapping[str, Any]) -> Recording:
    """Return the recording whose columns a scenario holds itself."""
    rows = len(columns["prompt_tokens"])
    for key, values in columns.items():
        if isinstance(values, list) and len(values) != rows:
            expected = f"expected a value for each of the {rows} requests of prompt_tokens"
            raise WrongError(expected, f"{len(values)}", key=("recorded", key))
    if not rows:
        raise WrongError("expected at least one request", "none", key=("recorded",))
    return Recording.of_lists(columns)


def _selected(recording: Recording, given: Mapping[str, Any]) -> Recording:
    """Return the requests of the window that is asked for, answered ones if those are."""
    if "window_s" in given and given["kind"] != "servegen":
        if recording.arrival_ns is None:
            expected = "does not go with requests that have no arrival times"
            raise WrongError(expected, way_out="remove it", key=("window_s",))
        start, end = given["window_s"]
        last_s = float(recording.arrival_ns[-1]) / 1e9
        recording = recording.within((start, end))
        if not len(recording):
            got = f"none from {start:g} to {end:g} s; the last arrives at {last_s:g} s"
            raise WrongError("expected a request in the window", got, key=("window_s",))
    if given.get("drop_unanswered", False):
        recording = recording.answered()
        if not len(recording):
            expected = "expected a request whose answer has a token"
            raise WrongError(expected, "none", key=("drop_unanswered",))
    return recording


@lru_cache(maxsize=2)
def _read_once(path: str, digest: str, layout: str) -> Recording:
    """Return the content of a file; the variants and points of one scenario share it."""
    return recordings.read(Path(path), recordings.layout_of(*json.loads(layout)))
