"""Rehearse an LLM-serving deployment before paying for it.

A scenario is checked, the checked scenario is simulated, the simulation is a
stream of spans, and every number we publish is a query over those spans.

>>> import toolkit
>>> scenario = toolkit.load("scenarios/opt66.toml", variant="baseline")    # doctest: +SKIP
>>> run = toolkit.run(scenario, out="/tmp/rehearsal")                      # doctest: +SKIP
>>> run.frame("SELECT makespan_s, cost_usd FROM run_summary")              # doctest: +SKIP

``load`` checks a scenario, ``simulate`` yields its trace in chunks of columns,
``run`` does both and writes trace and report, ``sweep`` does so for every point
of a scenario with a ``[sweep]``, ``studies`` again under other assumptions,
``capacity`` searches how much load deployments hold, ``open`` opens a trace
written before, ``import_trace`` makes one out of a foreign file.  Wrong input
raises :class:`InputError` with every problem in it.

Importing this package imports nothing else: each name is fetched when first
used, so that ``toolkit --help`` is not kept waiting by a compiler and two
database engines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.analytics import open as open
    from toolkit.errors import FaultError as FaultError
    from toolkit.errors import InputError as InputError
    from toolkit.errors import Problem as Problem
    from toolkit.errors import TargetMissedError as TargetMissedError
    from toolkit.errors import ToolkitError as ToolkitError
    from toolkit.importing import import_trace as import_trace
    from toolkit.planner.capacity import capacity as capacity
    from toolkit.planner.studies import studies as studies
    from toolkit.planner.sweep import sweep as sweep
    from toolkit.runs import run as run
    from toolkit.scenario import load as load
    from toolkit.simulator import simulate as simulate

__version__ = "0.1.0"

_HOME = {
    "load": "toolkit.scenario",
    "simulate": "toolkit.simulator",
    "run": "toolkit.runs",
    "capacity": "toolkit.planner.capacity",
    "studies": "toolkit.planner.studies",
    "sweep": "toolkit.planner.sweep",
    "open": "toolkit.analytics",
    "import_trace": "toolkit.importing",
    "FaultError": "toolkit.errors",
    "InputError": "toolkit.errors",
    "Problem": "toolkit.errors",
    "TargetMissedError": "toolkit.errors",
    "ToolkitError": "toolkit.errors",
}
"""Where each public name lives."""

__all__ = [
    "FaultError",
    "InputError",
    "Problem",
    "TargetMissedError",
    "ToolkitError",
    "__version__",
    "capacity",
    "import_trace",
    "load",
    "open",
    "run",
    "simulate",
    "studies",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Fetch a public name from its home on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
