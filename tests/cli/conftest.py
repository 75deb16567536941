"""One small run that the command line's tests read from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import toolkit

SMALL = {
    "schema_version": 1,
    "name": "small",
    "hardware": {"machines": 2, "price_usd_per_machine_hour": 3.6},
    "deployment": {"kind": "pipeline", "microbatch_size": 2},
    "workload": {
        "entries": 6,
        "lengths": {"kind": "fixed", "prompt_tokens": 9, "output_tokens": 4},
    },
    "timing": {"kind": "fixed", "prompt_ms": 10.0, "token_ms": 1.0},
}
"""Two stages, three microbatches of two requests, four tokens each."""


@pytest.fixture(scope="session")
def small_document() -> Mapping[str, Any]:
    """Return the scenario of the small run."""
    return SMALL


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small run."""
    out = tmp_path_factory.mktemp("small")
    toolkit.run(toolkit.load(SMALL), out=out, report=False, quiet=True)
    return out / "traces" / "small"
