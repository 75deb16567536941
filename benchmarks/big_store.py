"""Write a store of many spans: a long disaggregated run under Poisson arrivals.

    python benchmarks/big_store.py FOLDER --spans 1e7

The run is OPT-66B on eight 4xA100-80GB machines, four that prompt and four that
decode, with chat-like answer lengths.  It is simulated like any other, so the
store has every table and every wait; only the renderings are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import toolkit
from toolkit.scenario.model import Scenario

MEAN_TOKENS = 200
"""Mean answer of :func:`answers`, roughly."""

SPANS_PER_TOKEN = 7
"""Four stages, and three activations between them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the trace goes to FOLDER/traces/big")
    parser.add_argument("--spans", type=float, default=1e7, help="about so many (default: 1e7)")
    arguments = parser.parse_args()
    run = toolkit.run(scenario(arguments.spans), arguments.folder, report=False, quiet=False)
    assert isinstance(run, toolkit.analytics.Run)
    (spans,) = run.sql("SELECT count(*) FROM store.spans").fetchall()[0]
    print(f"{run.path}: {spans:,} spans")
    return 0


def scenario(spans: float) -> Scenario:
    """Return a run that leaves about so many spans."""
    entries = max(int(spans / (MEAN_TOKENS * SPANS_PER_TOKEN)), 8)
    return toolkit.load(
        {
            "schema_version": 1,
            "name": "big",
            "model": {"use": "OPT-66B"},
            "hardware": {
                "machine": "4xA100-80GB",
                "machines": 8,
                "link": "ethernet-40g",
                "price_usd_per_machine_hour": 18.52,
            },
            "deployment": {
                "kind": "disaggregated",
                "prompt_machines": 4,
                "token_machines": 4,
                "microbatch_size": 8,
            },
            "workload": {
                "entry": "microbatch",
                "seed": 42,
                "arrivals": {"kind": "poisson", "rate_per_s": 0.35},
                "lengths": {"kind": "pairs", "pairs": answers(entries)},
            },
            "timing": {"kind": "table", "name": "opt-66b-4xa100-80gb"},
            "trace": {"renderings": []},
        }
    )


def answers(entries: int) -> list[list[int]]:
    """Return prompts of 1000 tokens and answers like a chat's: lognormal, median 150 tokens."""
    drawn = np.random.Generator(np.random.PCG64(7)).lognormal(np.log(150), 0.9, entries)
    return [[1000, int(count)] for count in np.clip(drawn.round(), 2, 1000)]


if __name__ == "__main__":
    sys.exit(main())
