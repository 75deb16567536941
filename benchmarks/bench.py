"""Spans per second of every stage of the pipeline, beside plain Python measured in the same run.

Each line is a pair that does the same work on the same spans, ours and the
plain way (`plain.py`), run in turns so that a busy machine slows both.  Shown
are the medians and the median of the ratios.  Ours includes everything a user
pays for: reading the scenario is left out, sorting spans by time is not.
Questions to a stored run are in `queries.py`; there a rate is the spans of the
run by the time of the answer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import toolkit
from toolkit import catalog, tables
from toolkit.planner.simulate_all import Study, candidates
from toolkit.progress import watch
from toolkit.scenario.model import Lengths, Scenario
from toolkit.trace import chrome, perfetto
from toolkit.trace.store import Store
from toolkit.trace.store import write as write_store
from toolkit.workload import build
from toolkit.workload.lengths import token_counts

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "oracle"))

import plain
import published
import queries
import step_engine

PROMPT_MS, TOKEN_MS = 40.0, 3.125
STAGES = 8
ENTRIES = 512
TIMES = 32
"""How many times over our side takes the plain side's work: it would be gone too soon."""


@dataclass(frozen=True, slots=True)
class Line:
    """One pair of measurements."""

    what: str
    spans: int
    ours_per_s: float
    plain_spans: int
    plain_per_s: float
    ratio: float


def main() -> int:
    """Measure every pair and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument(
        "--only", choices=("spans", "queries"), help="making spans, or asking about them"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="toolkit-bench-") as folder:
        pairs: list[Work] = []
        if arguments.only != "queries":
            pairs += pairs_of_work(Path(folder))
        if arguments.only != "spans":
            pairs += queries.pairs(Path(folder))
        lines = [
            measure(*pair, repeats=arguments.repeats)
            for pair in watch(pairs, "benchmarks", total=len(pairs))
        ]
    if arguments.json:
        tables.print_json([asdict(line) for line in lines])
    else:
        rows = [
            (
                line.what,
                line.spans,
                rate(line.ours_per_s),
                rate(line.plain_per_s),
                f"{line.ratio:.0f}x" if line.ratio >= 10 else f"{line.ratio:.1f}x",
            )
            for line in lines
        ]
        sys.stdout.writelines(
            tables.aligned(("", "spans", "spans/s", "plain Python", "ratio"), rows)
        )
    return 0


Work = tuple[str, int, Callable[[], object], int, Callable[[], object]]
"""What is measured, the spans of our side and how to do it, the same of the plain side."""


def pairs_of_work(folder: Path) -> Iterator[Work]:
    """Yield each pair: every step from a checked scenario to a file, on one pipeline's spans."""
    tokens = outputs(ENTRIES)
    full, bare = scenario(tokens, "full"), scenario(tokens, "requests")
    long, long_bare = scenario(tokens * TIMES, "full"), scenario(tokens * TIMES, "requests")
    spans = STAGES * sum(count + 1 for count in tokens)
    many = spans * TIMES
    loop = partial(
        published.baseline, tokens, [0.0] * ENTRIES, STAGES, PROMPT_MS * 1000, TOKEN_MS * 1000
    )

    few = scenario(tokens[:STAGES], "full")
    write_store(folder / "few", toolkit.simulate(few), {})
    perfetto.render(Store(folder / "few"), folder / "few.pftrace")
    chrome.render(Store(folder / "few"), folder / "few.json")

    write_store(folder / "run", toolkit.simulate(full), {})
    store = Store(folder / "run")
    stored = store.rows("spans")
    some = recorded(loop)[:50_000]

    chat, less_chat = engines(20_000), engines(200)
    exhaust(engines(10))
    yield (
        "engines, requests only",
        steps_of(chat),
        partial(exhaust, chat),
        steps_of(less_chat),
        partial(step_engine.play, less_chat, build(less_chat)),
    )
    whole = engines(20_000, level="full")
    yield (
        "engines to Parquet",
        steps_of(whole),
        lambda: write_store(folder / "engines", toolkit.simulate(whole), {}),
        steps_of(less_chat),
        partial(step_engine.play, less_chat, build(less_chat)),
    )
    exhaust(bare)
    study = figure17()
    list(candidates(study, machines=(1, 2)))
    yield "the sweep of figure 17", events(study), lambda: list(candidates(study)), spans, loop
    yield "simulate, requests only", many, partial(exhaust, long_bare), spans, loop
    yield "simulate, every column", many, partial(exhaust, long), spans, partial(recorded, loop)
    yield (
        "simulate and write Parquet",
        many,
        lambda: write_store(folder / "again", toolkit.simulate(long), {}),
        spans,
        lambda: plain.write_parquet(recorded(loop), folder / "plain.parquet"),
    )
    yield (
        "render .pftrace",
        stored,
        lambda: perfetto.render(store, folder / "run.pftrace", max_spans=None),
        len(some),
        lambda: plain.write_pftrace(some, folder / "plain.pftrace"),
    )
    yield (
        "render .json",
        stored,
        lambda: chrome.render(store, folder / "run.json", max_spans=None),
        len(some),
        lambda: plain.write_json(some, folder / "plain.json"),
    )


def engines(requests: int, level: str = "requests") -> Scenario:
    """Return eight engines on an H100 each, under chat like the Azure conversation trace."""
    return toolkit.load(
        {
            "schema_version": 1,
            "name": "bench-engines",
            "model": {"use": "Llama-3.1-8B"},
            "hardware": {"machine": "coreweave-1xH100-80GB", "machines": 8},
            "deployment": {"kind": "pipeline", "batching": "continuous", "data_parallel": 8},
            "workload": {
                "entries": requests,
                "arrivals": {"kind": "poisson", "rate_per_s": 48.0},
                "lengths": {"kind": "catalog", "name": "azure-2023-conversation"},
            },
            "timing": {"kind": "roofline"},
            "trace": {"level": level},
        }
    )


def steps_of(scenario: Scenario) -> int:
    """Return the steps that a scenario's engines take."""
    count = 0
    for chunk in toolkit.simulate(scenario):
        if chunk.table == "totals":
            on_stage = np.asarray(chunk.columns["track"]) < scenario.hardware.machines
            count += int(np.asarray(chunk.columns["count"])[on_stage].sum())
    return count


def figure17() -> Study:
    """Return the published sweep's question about OPT-66B, on the catalog's stand-in figures."""
    table = catalog.timing_table("opt-66b-4xa100-80gb")
    lengths = Lengths("catalog", name="lmsys-chat-english", max_output_tokens=1000)
    drawn = token_counts(lengths, 256, np.random.Generator(np.random.PCG64(42))).output
    return Study(
        tokens=np.clip(drawn, 2, 1000).astype(np.int64),
        batch_sizes=table.batch_sizes,
        prompt_ms=table.prompt_ms,
        token_ms=table.token_ms,
        weights_gb=132,
        kv_gb_per_token=0.00236,
        memory_gb=320,
        machine_usd_per_hour=18.52,
    )


def events(study: Study) -> int:
    """Return the stage events of all configurations that fit, played one by one."""
    total = 0
    for each in candidates(study):
        if each.makespan_s is None:
            continue
        tokens = study.repeated(each.batch)
        first, second = each.parts
        if each.family == "DV":
            total += first * len(tokens) + second * int(tokens.sum())
        else:
            kept = tokens[: len(tokens) // first * first]
            total += second * int((kept + 1).sum())
    return total


def recorded(loop: Callable[..., object]) -> list[published.Span]:
    """Run the plain simulation and return its spans."""
    spans: list[published.Span] = []
    loop(spans=spans)
    return spans


def outputs(entries: int) -> list[int]:
    """Return answer lengths like a chat's: lognormal, median 150 tokens, at most 1000."""
    drawn = np.random.Generator(np.random.PCG64(7)).lognormal(np.log(150), 1.0, entries)
    return [int(count) for count in np.clip(drawn.round(), 2, 1000)]


def scenario(tokens: list[int], level: str) -> Scenario:
    """Return the published baseline on one pipeline, serving `tokens`."""
    return toolkit.load(
        {
            "schema_version": 1,
            "name": "bench",
            "simulation": {"discipline": "dejavu"},
            "hardware": {"machines": STAGES},
            "deployment": {"kind": "pipeline"},
            "workload": {
                "entry": "microbatch",
                "lengths": {"kind": "pairs", "pairs": [[1000, count] for count in tokens]},
            },
            "timing": {"kind": "fixed", "prompt_ms": PROMPT_MS, "token_ms": TOKEN_MS},
            "trace": {"level": level, "renderings": []},
        }
    )


def exhaust(checked: Scenario) -> int:
    """Simulate to the end and keep nothing."""
    return sum(len(chunk) for chunk in toolkit.simulate(checked))


def measure(
    what: str,
    spans: int,
    ours: Callable[[], object],
    plain_spans: int,
    others: Callable[[], object],
    *,
    repeats: int,
) -> Line:
    """Run both sides in turns and return their median rates."""
    rates = [(spans / seconds(ours), plain_spans / seconds(others)) for _ in range(repeats)]
    return Line(
        what,
        spans,
        median(rate for rate, _ in rates),
        plain_spans,
        median(rate for _, rate in rates),
        median(ours_rate / plain_rate for ours_rate, plain_rate in rates),
    )


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rate(per_s: float) -> str:
    """Return a rate as a reader compares them: millions, three digits."""
    return f"{per_s / 1e6:.3g} M"


if __name__ == "__main__":
    sys.exit(main())
