"""Files a scenario names: token counts, arrival times, timing tables, recorded requests.

What they hold becomes part of the resolved scenario, so that it can be run
again without them; of a large file the scenario keeps the digest, and a rerun
that finds another one stops.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.catalog import nearest
from toolkit.errors import Problem
from toolkit.scenario.toml import KeyPath, value_at
from toolkit.scenario.validate import Finding

if TYPE_CHECKING:
    from toolkit.recordings import Recording

__all__ = ["EMBEDDED_BYTES", "Inputs", "WrongError", "read_inputs", "require_file"]

EMBEDDED_BYTES = 100_000
"""Largest file whose content the resolved scenario holds itself."""

MOST_TOKENS = 10_000_000
"""Most tokens of a prompt or answer."""

LAST_S = 3e9
"""Latest arrival, seconds: a third of what the trace's clock holds."""


@dataclass(slots=True)
class Inputs:
    """What was read: values to lay into the document, and what was wrong.

    ``large`` holds the key paths of values too large to be kept in the saved
    document, each with the absolute path of the file to keep in its stead.
    """

    values: dict[str, Any] = field(default_factory=dict)
    large: dict[KeyPath, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """What is wrong inside a file of recorded requests, by line."""
    recording: Recording | None = None


class WrongError(Exception):
    """What a file holds is not what was expected there, or at ``key`` beside its name."""

    def __init__(self, expected: str, got: str = "", way_out: str = "", key: KeyPath = ()) -> None:
        """Say it in the words of a finding."""
        super().__init__(expected)
        self.expected, self.got, self.way_out, self.key = expected, got, way_out, key


def read_inputs(document: Mapping[str, Any], folder_of: Callable[[KeyPath], Path]) -> Inputs:
    """Return the content of every file that `document` names and does not hold already.

    ``folder_of`` tells, for the key path of a file's name, the folder it is
    relative to.
    """
    inputs = Inputs()
    for table, key, understand in (
        (("workload", "lengths"), "pairs", _pairs),
        (("workload", "arrivals"), "times_s", _times),
        (("timing",), "batch_sizes", _timing),
    ):
        given = value_at(document, table)
        if not isinstance(given, Mapping) or not isinstance(given.get("file"), str):
            continue
        where = (*table, "file")
        if key in given:
            if "sha256" not in given:
                expected = f"says the same as {key}; a scenario has one of the two"
                inputs.findings.append(Finding(where, expected, way_out="remove one"))
            continue
        try:
            _read_one(inputs, given, table, key, folder_of(where), understand)
        except WrongError as error:
            inputs.findings.append(Finding(where, error.expected, error.got, error.way_out))
    requests = value_at(document, ("workload", "requests"))
    if isinstance(requests, Mapping):
        from toolkit.scenario.recorded import read_requests  # noqa: PLC0415 - loads numpy

        read_requests(inputs, requests, value_at(document, ("workload", "seed")), folder_of)
    return inputs


def _read_one(
    inputs: Inputs,
    given: Mapping[str, Any],
    table: KeyPath,
    key: str,
    folder: Path,
    understand: Callable[[Any, Mapping[str, Any]], dict[str, Any]],
) -> None:
    path = folder / given["file"]
    data = _bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if given.get("sha256", digest) != digest:
        raise WrongError(
            "expected the file the scenario was resolved with",
            f"another content of {path} (sha256 {digest[:12]}, was {given['sha256'][:12]})",
        )
    values = {**understand(_json(data), given), "sha256": digest}
    if len(data) > EMBEDDED_BYTES and key != "batch_sizes":
        inputs.large[(*table, key)] = str(path.resolve())
    place = inputs.values
    for part in table:
        place = place.setdefault(str(part), {})
    place.update(values)


def _bytes(path: Path) -> bytes:
    with _reading(path):
        return path.read_bytes()


def require_file(path: Path) -> None:
    """Refuse what is no file that can be read."""
    with _reading(path), path.open("rb"):
        pass


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say what keeps a file from being read."""
    try:
        yield
    except FileNotFoundError:
        near = None
        if path.parent.is_dir():
            near = nearest(path.name, (each.name for each in path.parent.glob(f"*{path.suffix}")))
        hint = f"did you mean {near}?" if near else "a file is looked for beside the one naming it"
        raise WrongError("expected a file", f"nothing at {path}", hint) from None
    except IsADirectoryError:
        raise WrongError("expected a file", f"a folder at {path}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WrongError("expected a file that can be read", f"{reason}: {path}") from None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise WrongError("expected JSON in UTF-8", f"other bytes in line {line}") from None
    except json.JSONDecodeError as error:
        got = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise WrongError("expected JSON", got if data.strip() else "an empty file") from None
    except ValueError as error:  # Python's limit on the digits of an integer
        raise WrongError("expected JSON with numbers of fewer digits", str(error)) from None
    except RecursionError:
        raise WrongError("expected JSON with fewer brackets inside brackets") from None


def _pairs(content: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    _need_list(content, "[prompt tokens, generated tokens]")
    for index, pair in enumerate(content):
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_count, pair))):
            expected = "expected [prompt tokens, generated tokens], two whole numbers from 0"
            raise WrongError(expected, f"{_brief(pair)} as entry {index}, counted from 0")
    return {"pairs": content}


def _times(content: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    _need_list(content, "arrival times in seconds")
    for index, time in enumerate(content):
        if not (_is_number(time) and 0 <= time <= LAST_S):
            got = f"{_brief(time)} as entry {index}, counted from 0"
            raise WrongError("expected an arrival time, seconds from 0", got)
    return {"times_s": content}


def _timing(content: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of one model out of the published sweep's file of measurements.

    Points are taken by their key, not by their position as the published
    sweep takes them.
    """
    if not isinstance(content, dict) or not content:
        raise WrongError("expected {model: {batch_sizes, measurements_per_bs}}", _brief(content))
    name = given.get("model")
    if name is None and len(content) == 1:
        name = next(iter(content))
    if name not in content:
        close = nearest(name, content) if isinstance(name, str) else None
        hint = f"did you mean {close}?" if close else f"the file has {', '.join(content)}"
        got = f"model = {_brief(name)}" if name else "no model"
        raise WrongError("expected timing.model to name a model of the file", got, hint)
    variant = given.get("variant", "central")
    key = "measurements_per_bs" if variant == "central" else f"{variant}_variant"
    try:
        sizes = sorted(int(size) for size in content[name]["batch_sizes"])
        points = [[float(time) for time in content[name][key][str(size)]] for size in sizes]
        prompt_ms, token_ms = ([point[side] for point in points] for side in (0, 1))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        expected = f"expected batch_sizes and, for each size, {key} = [prompt ms, token ms]"
        raise WrongError(expected, f"another layout at {name}") from None
    if not sizes or not all(math.isfinite(t) and t >= 0 for t in (*prompt_ms, *token_ms)):
        raise WrongError("expected finite times from 0", f"others at {name}")
    return {
        "name": name,
        "batch_sizes": sizes,
        "prompt_ms": prompt_ms,
        "token_ms": token_ms,
        "source": f"{given['file']}, {key} of {name}",
    }


def _need_list(content: Any, of: str) -> None:
    if not isinstance(content, list):
        raise WrongError(f"expected a JSON list of {of}", _brief(content))
    if not content:
        raise WrongError(f"expected at least one of {of}", "an empty list")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
