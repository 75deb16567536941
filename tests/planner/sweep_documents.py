"""A sweep that is played in a moment, and what tests change of it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

__all__ = ["SMALL", "small"]

Document = dict[str, Any]

SMALL: Document = {
    "schema_version": 1,
    "name": "small",
    "title": "A small sweep",
    "hardware": {"machines": 4, "price_usd_per_machine_hour": 2.0},
    "deployment": {"kind": "pipeline"},
    "workload": {
        "entries": 12,
        "entry": "microbatch",
        "equal_work_batch": 4,
        "arrivals": {"kind": "at_zero"},
        "lengths": {"kind": "fixed", "prompt_tokens": 100, "output_tokens": 5},
    },
    "timing": {"kind": "fixed", "prompt_ms": 50, "token_ms": 5},
    "trace": {"level": "requests", "renderings": []},
    "sweep": {
        "hardware.machines": [2, 3, 4],
        "deployment.microbatch_size": [1, 2, 3, 4],
        "best": {"minimise": "makespan_s", "by": ["machines"], "limits": ["ttft_p99_s <= 60"]},
        "family": [
            {"name": "colocated", "deployment.data_parallel": [1, 2]},
            {
                "name": "split",
                "deployment": {"kind": "disaggregated", "transfer_time_ms": 1},
                "deployment.prompt_machines": [1, 2, 3],
                "deployment.token_machines": [1, 2, 3],
                "constraints": ["prompt_machines + token_machines = machines"],
            },
        ],
    },
}
"""48 points in two families, 15 of which are impossible."""


def small(**sweep: Any) -> Document:
    """Return the small sweep with other keys in its ``[sweep]``."""
    document = deepcopy(SMALL)
    document["sweep"] |= sweep
    return document
