"""Scenarios that Hypothesis writes: documents as a user would, of every kind, nearly all valid."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

__all__ = ["documents"]

Document = dict[str, Any]

tokens = st.integers(1, 3000)
milliseconds = st.floats(0.001, 1e4)


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({}, optional=keys)


@st.composite
def deployments(draw: st.DrawFn) -> tuple[int, Document]:
    """Return a number of machines and a deployment that uses them all."""
    common = draw(
        optional(
            microbatch_size=st.integers(1, 4),
            microbatches_in_flight=st.integers(1, 9),
        )
    )
    if draw(st.booleans()):
        replicas, stages = draw(st.integers(1, 3)), draw(st.integers(1, 4))
        own = {"kind": "pipeline", "data_parallel": replicas}
        own |= draw(optional(router=st.sampled_from(["round_robin", "shared_queue"])))
        return replicas * stages, {**common, **own}
    prompt, token = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    own = {"kind": "disaggregated", "prompt_machines": prompt, "token_machines": token}
    own |= draw(
        optional(
            transfer=st.sampled_from(["whole", "layerwise"]),
            transfer_time_ms=milliseconds,
            stream_slowdown=st.floats(1, 2),
            kv_buffer_gb=st.floats(0, 100),
        )
    )
    return prompt + token, {**common, **own}


@st.composite
def lengths(draw: st.DrawFn, entries: int) -> Document:
    kind = draw(st.sampled_from(["fixed", "pairs", "catalog"]))
    if kind == "fixed":
        return {"kind": kind, "prompt_tokens": draw(tokens), "output_tokens": draw(tokens)}
    cuts = draw(optional(max_prompt_tokens=tokens, max_output_tokens=tokens))
    if kind == "pairs":
        pair = st.lists(st.integers(0, 3000), min_size=2, max_size=2)
        return {
            "kind": kind,
            "pairs": draw(st.lists(pair, min_size=entries, max_size=entries + 3)),
            **cuts,
        }
    name = draw(st.sampled_from(["lmsys-chat-english", "azure-2023-code"]))
    return {"kind": kind, "name": name, **draw(optional(prompt_tokens=tokens)), **cuts}


def profiles() -> st.SearchStrategy[Document]:
    """Return rates that change, all of them possible."""
    length = st.floats(0.1, 1000)
    return st.one_of(
        st.fixed_dictionaries(
            {"kind": st.just("sinusoid"), "amplitude": st.floats(0.1, 1), "period_s": length},
            optional={"peak_s": length},
        ),
        st.fixed_dictionaries(
            {
                "kind": st.just("spikes"),
                "factor": st.floats(0, 20),
                "start_s": length,
                "length_s": length,
            },
            optional={"every_s": st.floats(2000, 3000)},
        ),
        st.fixed_dictionaries(
            {
                "kind": st.just("steps"),
                "points": st.tuples(st.floats(0, 3), length, st.floats(0.1, 3)).map(
                    lambda each: [[0, each[0]], [each[1], each[2]]]
                ),
            }
        ),
    )


@st.composite
def arrivals(draw: st.DrawFn, entries: int) -> Document:
    gaps = ["poisson", "gamma", "weibull", "constant", "catalog"]
    kind = draw(st.sampled_from(["at_zero", "times", "groups", *gaps]))
    if kind in gaps:
        rate = {"rate_per_s": draw(st.floats(0.001, 1e6))}
        own: dict[str, st.SearchStrategy[Document]] = {
            "gamma": st.fixed_dictionaries({"cv": st.floats(0.1, 9)}),
            "weibull": st.fixed_dictionaries({"cv": st.floats(0.1, 9)})
            | st.fixed_dictionaries({"shape": st.floats(0.1, 9)}),
            "catalog": st.just({"name": "azure-2023-code-gaps"}),
        }
        chosen = draw(own.get(kind, st.just({})))
        return {"kind": kind, **rate, **chosen, **draw(optional(profile=profiles()))}
    if kind == "times":
        times = draw(st.lists(st.floats(0, 1e6), min_size=entries, max_size=entries))
        return {"kind": kind, "times_s": sorted(times)}
    if kind == "groups":
        return {"kind": kind, "groups_per_s": draw(st.floats(0.001, 1e6))}
    return {"kind": kind}


@st.composite
def timings(draw: st.DrawFn) -> Document:
    if draw(st.booleans()):
        return {
            "kind": "fixed",
            "prompt_ms": draw(milliseconds),
            "token_ms": draw(milliseconds),
            **draw(optional(cache_ms=milliseconds)),
        }
    if draw(st.booleans()):
        variant = st.sampled_from(["central", "low_ratio", "high_ratio"])
        return {"kind": "table", "name": "opt-66b-4xa100-80gb", **draw(optional(variant=variant))}
    times = st.lists(milliseconds, min_size=3, max_size=3)
    return {
        "kind": "table",
        "batch_sizes": [1, 2, 8],
        "prompt_ms": draw(times),
        "token_ms": draw(times),
    }


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Return a scenario as a user would write it."""
    machines, deployment = draw(deployments())
    event = draw(st.booleans())
    entries = draw(st.integers(1, 5)) if event else draw(st.integers(machines, machines + 3))
    if not event:  # as many in flight as there are stages, by the published rules
        deployment.pop("microbatches_in_flight", None)
    workload = {
        "entries": entries,
        "entry": draw(st.sampled_from(["microbatch", "request"])) if event else "microbatch",
        "lengths": draw(lengths(entries)),
        "arrivals": draw(arrivals(entries)),
        **draw(optional(seed=st.integers(0, 2**63 - 1))),
    }
    link = st.sampled_from(["ethernet-40g", {"gbit_per_s": 12.5}, {"name": "nvlink-a100"}])
    return {
        "schema_version": 1,
        "hardware": {
            "machines": machines,
            "machine": "4xA100-80GB",
            "link": draw(link),
            **draw(
                optional(
                    price_usd_per_machine_hour=st.floats(0, 100),
                    co2_g_per_kwh=st.floats(0, 1000),
                    idle_w_per_machine=st.floats(0, 1600),
                )
            ),
        },
        "model": {"use": "OPT-13B", **draw(optional(bytes_per_kv_value=st.floats(0.5, 2)))},
        "deployment": deployment,
        "simulation": {"discipline": "event" if event else "dejavu"},
        "workload": workload,
        "timing": draw(timings()),
        **draw(
            optional(
                slo=st.fixed_dictionaries(
                    {"tpot_ms": milliseconds}, optional={"ttft_ms": milliseconds}
                )
            )
        ),
        **draw(
            optional(**{"assert": st.just([{"name": "in time", "metric": "e2e_p99_ms <= 1e9"}])})
        ),
        **draw(
            optional(title=st.text(), name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z"))
        ),
    }
