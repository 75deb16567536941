"""A resolved document to frozen values in base units: the one place where units are converted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import catalog
from toolkit.scenario.model import (
    Arrivals,
    Assertion,
    Capacity,
    Clients,
    Degree,
    Deployment,
    Engine,
    Failure,
    Failures,
    FixedTiming,
    Hardware,
    Lengths,
    Link,
    Model,
    Prefix,
    Profile,
    Replications,
    Report,
    RooflineTiming,
    Scenario,
    Sessions,
    Slo,
    TableTiming,
    Tenant,
    Timing,
    TokenPool,
    Trace,
    Workload,
)
from toolkit.scenario.resolve import FROM_ENTRY
from toolkit.units import BITS_PER_BYTE, GB, HOUR_S, MS_PER_S, TERA, US_PER_S

if TYPE_CHECKING:
    from toolkit.recordings import Recording

__all__ = ["build"]

Table = Mapping[str, Any]

STATED = "stated in the scenario"


def build(
    document: Table, saved: Table, file: Path | None, recording: Recording | None = None
) -> Scenario:
    """Return the scenario of a resolved document; `saved` is kept with it.

    `recording` is what the file of ``workload.requests`` holds.
    """
    deployment = _deployment(document["deployment"])
    hardware = _split(_hardware(document["hardware"]), document["deployment"])
    timing = _timing(document["timing"])
    token_pool = None
    if deployment.engine is not None and deployment.kind == "disaggregated":
        token_pool = _token_pool(document, hardware, timing)
        deployment, hardware = _as_replicas(deployment, hardware, token_pool, document)
    variant = document.get("variant")
    return Scenario(
        name=document["name"],
        title=document["title"],
        question=document["question"],
        discipline=document["simulation"]["discipline"],
        model=_model(document["model"]) if "model" in document else None,
        hardware=hardware,
        deployment=deployment,
        workload=_workload(document["workload"], saved["workload"], recording),
        timing=timing,
        trace=Trace(document["trace"]["level"], tuple(document["trace"]["renderings"])),
        report=_report(document["report"]),
        slo=_slo(document["slo"]) if "slo" in document else None,
        replications=Replications(**document["replications"])
        if "replications" in document
        else None,
        capacity=_capacity(document["capacity"]) if "capacity" in document else None,
        failures=_failures(document),
        assertions=tuple(Assertion(**each) for each in document.get("assert", ())),
        file=file,
        token_pool=token_pool,
        variant=variant if isinstance(variant, str) else None,
        document=saved,
    )


def _token_pool(document: Table, hardware: Hardware, timing: Timing) -> TokenPool:
    """Return what token replicas are: as the prompt replicas, save what is stated of them."""
    deployment, own = document["deployment"], document["deployment"].get("token", {})
    rules = {**deployment, **own}
    stated = document["hardware"].get("token")
    if stated is not None:
        whole = _hardware({"machines": 1, "links": hardware.links, **stated})
        timing = _timing({**document["timing"], **document["timing"].get("token", {})})
    else:
        whole = _hardware(document["hardware"])
    return TokenPool(_split(whole, rules), timing, _engine(rules), deployment["token_router"])


def _as_replicas(
    deployment: Deployment, hardware: Hardware, token: TokenPool, document: Table
) -> tuple[Deployment, Hardware]:
    """Return both with replicas for machines: each group of `tensor_parallel` devices is one."""
    machines = document["hardware"]["machines"]
    whole = hardware.machines // machines
    stated = document["hardware"].get("token")
    of_token = 1 if stated is not None else machines
    parts = token.hardware.machines // of_token
    prompts, tokens = deployment.prompt_machines, deployment.token_machines
    left = machines - prompts - tokens
    return (
        replace(deployment, prompt_machines=prompts * whole, token_machines=tokens * parts),
        replace(hardware, machines=prompts * whole + tokens * parts + left),
    )


def _model(table: Table) -> Model:
    name = table.get("use", "stated model")
    return Model(
        name=name,
        layers=table["layers"],
        hidden=table["hidden"],
        heads=table["heads"],
        kv_heads=table["kv_heads"],
        head_dim=table["head_dim"],
        vocab=table["vocab"],
        parameters=table["parameters"],
        bytes_per_parameter=float(table["bytes_per_parameter"]),
        bytes_per_kv_value=float(table["bytes_per_kv_value"]),
        active_parameters=table.get("active_parameters", 0),
        experts=table.get("experts", 0),
        experts_active=table.get("experts_active", 0),
        latent_attention=table.get("attention") == "MLA",
        tied_embeddings=table.get("tied_embeddings", False),
        dejavu_weights_gb=table.get("dejavu_weights_gb"),
        dejavu_kv_gb_per_token=table.get("dejavu_kv_gb_per_token"),
        source=_source("model", table.get("use"), table),
    )


def _hardware(table: Table) -> Hardware:
    memory_gb = table.get("memory_gb_per_machine")
    price = table.get("price_usd_per_machine_hour")
    return Hardware(
        machines=table["machines"],
        machine=table.get("machine"),
        device=table.get("device"),
        devices_per_machine=table.get("devices_per_machine"),
        memory_bytes=None if memory_gb is None else memory_gb * GB,
        price_usd_per_hour=None if price is None else float(price),
        link=_link(table["link"]) if "link" in table else None,
        links=table["links"],
        host_link=_link(table["host_link"]) if "host_link" in table else None,
    )


def _split(hardware: Hardware, deployment: Table) -> Hardware:
    """Return the machines as stages see them: each group of `tensor_parallel` devices is one.

    A machine whose devices do not divide stays whole, for physics to refuse.
    """
    devices, group = hardware.devices_per_machine, deployment.get("tensor_parallel")
    if group is None or devices is None or devices == group or devices % group:
        return hardware
    parts = devices // group
    memory, price = hardware.memory_bytes, hardware.price_usd_per_hour
    return replace(
        hardware,
        machines=hardware.machines * parts,
        devices_per_machine=group,
        memory_bytes=None if memory is None else memory / parts,
        price_usd_per_hour=None if price is None else price / parts,
    )


def _link(table: Table) -> Link:
    return Link(
        name=table.get("name", f"{table['gbit_per_s']:g} Gbit/s"),
        bytes_per_s=table["gbit_per_s"] * GB / BITS_PER_BYTE,
        latency_s=table["latency_us"] / US_PER_S,
        lanes=table.get("lanes", 1),
        source=_source("link", table.get("name"), table),
    )


def _source(kind: str, name: str | None, table: Table) -> str:
    """Return where a table's figures are from: its catalog entry, and what differs from it."""
    entries = {entry.name: entry for entry in catalog.entries(kind)}
    entry = entries.get(name or "")
    if entry is None:
        return STATED
    own = [
        key
        for key, figure in FROM_ENTRY[kind].items()
        if table.get(key) != entry.figures.get(figure)
    ]
    return entry.default.source + (f"; {STATED}: {', '.join(own)}" if own else "")


def _deployment(table: Table) -> Deployment:
    stated = {
        key: table[key]
        for key in (
            "data_parallel",
            "prompt_machines",
            "token_machines",
            "microbatches_in_flight",
            "router",
            "transfer",
            "replication",
            "swapping",
        )
        if key in table
    }
    return Deployment(
        kind=table["kind"],
        batching=table["batching"],
        microbatch_size=table.get("microbatch_size", 1),
        max_wait_s=_seconds(table.get("max_wait_ms")),
        activations=table.get("activations", False),
        transfer_time_s=_seconds(table.get("transfer_time_ms")),
        stream_slowdown=float(table.get("stream_slowdown", 1.0)),
        kv_buffer_bytes=float(table.get("kv_buffer_gb", 0.0) * GB),
        memory_fit=table["memory_fit"],
        engine=_engine(table) if table["batching"] == "continuous" else None,
        **stated,
    )


def _engine(table: Table) -> Engine:
    activations_gb = table.get("activations_gb")
    return Engine(
        **{
            key: table[key]
            for key in (
                *("tensor_parallel", "max_num_seqs", "max_num_batched_tokens", "chunked_prefill"),
                *("step_order", "queue_order", "max_waiting", "kv_block_tokens", "kv_blocks"),
                *("prefix_caching", "affinity_imbalance", "preemption"),
            )
            if key in table
        },
        memory_utilisation=float(table["memory_utilisation"]),
        activations_bytes=None if activations_gb is None else activations_gb * GB,
        host_memory_bytes=table.get("host_memory_gb", 0.0) * GB,
        host_link_bytes_per_s=table.get("host_link_gb_per_s", math.inf) * GB,
        host_link_latency_s=table.get("host_link_latency_us", 0.0) / US_PER_S,
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / MS_PER_S


def _workload(table: Table, saved: Table, recording: Recording | None) -> Workload:
    entries = table["entries"]
    tenants = tuple(_tenant(each, table, recording) for each in table.get("tenant", ()))
    own_arrivals = any(tenant.arrivals for tenant in tenants)
    return Workload(
        entries=entries,
        entry=table["entry"],
        arrivals=_arrivals_of_all(tenants)
        if own_arrivals
        else _arrivals(table["arrivals"], recording),
        lengths=Lengths("tenants", parts=tuple(tenant.lengths for tenant in tenants))
        if tenants
        else _lengths(table["lengths"], saved["lengths"], entries, recording),
        seed=table["seed"],
        equal_work_batch=table.get("equal_work_batch"),
        repeat_order=table.get("repeat_order", "in_place"),
        recording=recording,
        sessions=_sessions(table["sessions"]) if "sessions" in table else None,
        tenants=tenants,
        clients=_clients(table["clients"]) if "clients" in table else None,
        prefixes=tuple(_prefix(each) for each in table.get("prefix", ())),
    )


def _prefix(table: Table) -> Prefix:
    share = float(table.get("share", 1.0))
    return Prefix(table["name"], table["tokens"], share, table.get("tenant"))


def _tenant(table: Table, workload: Table, recording: Recording | None) -> Tenant:
    lengths = table.get("lengths", workload.get("lengths", {}))
    return Tenant(
        name=table["name"],
        lengths=_lengths(lengths, lengths, workload["entries"], recording),
        share=float(table.get("share", 1.0)),
        arrivals=_arrivals(table["arrivals"], None) if "arrivals" in table else None,
        priority=table.get("priority", 0),
        slo=_slo(table["slo"]) if "slo" in table else None,
    )


def _arrivals_of_all(tenants: Sequence[Tenant]) -> Arrivals:
    rates = (_rate_per_s(tenant.arrivals) for tenant in tenants if tenant.arrivals)
    return Arrivals("tenants", rate_per_s=sum(rates))


def _rate_per_s(arrivals: Arrivals) -> float:
    if arrivals.kind == "catalog" and not arrivals.rate_per_s:
        return 1 / catalog.interarrival_table(arrivals.name or "").mean_s
    return arrivals.rate_per_s


def _arrivals(table: Table, recording: Recording | None) -> Arrivals:
    kind = table["kind"]
    made = Arrivals(
        kind=kind,
        rate_per_s=float(table.get("rate_per_s", table.get("groups_per_s", 0.0))),
        times_s=tuple(float(time) for time in table.get("times_s", ())),
        group_size=table.get("group_size"),
        cv=table.get("cv"),
        shape=table.get("shape"),
        name=table.get("name"),
        profile=_profile(table["profile"]) if "profile" in table else None,
        time_scale=float(table.get("time_scale", 1.0)),
        recording=recording if kind == "trace" else None,
        concurrency=table.get("concurrency", 0),
        think_s=float(table.get("think_s", 0.0)),
        think=table.get("think", "constant"),
    )
    return replace(made, rate_per_s=_rate_per_s(made)) if kind == "catalog" else made


def _profile(table: Table) -> Profile:
    stated = {
        key: float(table[key])
        for key in (
            "amplitude",
            "period_s",
            "peak_s",
            "factor",
            "start_s",
            "length_s",
            "every_s",
            "repeat_s",
        )
        if key in table
    }
    if table["kind"] == "sinusoid":
        stated.setdefault("peak_s", stated["period_s"] / 4)
    points = tuple((float(time), float(factor)) for time, factor in table.get("points", ()))
    return Profile(table["kind"], points=points, **stated)


def _sessions(table: Table) -> Sessions:
    turns = table.get("turns", table.get("mean_turns"))
    return Sessions(
        turns=None if turns is None else float(turns),
        fixed="turns" in table,
        think_s=float(table["think_s"]),
        think=table["think"],
        history=table["history"],
    )


def _clients(table: Table) -> Clients:
    return Clients(
        cancel_share=float(table.get("cancel_share", 0.0)),
        cancel_s=table.get("cancel_after_ms", 0.0) / MS_PER_S,
        cancel=table["cancel"],
        cancel_quantiles=tuple(
            (float(share), after_ms / MS_PER_S)
            for share, after_ms in table.get("cancel_after_quantiles_ms", ())
        ),
        first_token_s=_seconds(table.get("first_token_timeout_ms")),
        whole_s=_seconds(table.get("timeout_ms")),
        max_retries=table["max_retries"],
        backoff_s=table.get("backoff_ms", 0.0) / MS_PER_S,
        backoff_factor=float(table["backoff_factor"]),
        backoff_jitter=float(table["backoff_jitter"]),
    )


def _lengths(table: Table, saved: Table, entries: int, recording: Recording | None) -> Lengths:
    return Lengths(
        kind=table["kind"],
        name=table.get("name"),
        prompt_tokens=table.get("prompt_tokens"),
        output_tokens=table.get("output_tokens"),
        pairs=tuple((prompt, output) for prompt, output in table.get("pairs", ())[:entries]),
        file=saved.get("file"),
        min_output_tokens=table.get("min_output_tokens", 1),
        max_output_tokens=table.get("max_output_tokens"),
        max_prompt_tokens=table.get("max_prompt_tokens"),
        recording=recording if table["kind"] == "trace" else None,
    )


def _timing(table: Table) -> Timing:
    if table["kind"] == "roofline":
        return _roofline(table)
    cache_s = table["cache_ms"] / MS_PER_S
    if table["kind"] == "fixed":
        return FixedTiming(table["prompt_ms"] / MS_PER_S, table["token_ms"] / MS_PER_S, cache_s)
    return TableTiming(
        name=table.get("name", "stated table"),
        batch_sizes=tuple(table["batch_sizes"]),
        prompt_s=_scaled(table["prompt_ms"], table["prompt_scale"]),
        token_s=_scaled(table["token_ms"], table["token_scale"]),
        prompt_tokens=table.get("prompt_tokens"),
        context_tokens=table.get("context_tokens"),
        cache_s=cache_s,
        scaling=table["scaling"],
        source=table.get("source", STATED),
        degrees=tuple(_degree(each, table) for each in table.get("tensor_parallel", ())),
    )


def _roofline(table: Table) -> RooflineTiming:
    """Return the roofline; a rate that is neither stated nor in the catalog is 0, and refused."""
    return RooflineTiming(
        flops_per_s=table.get("tflops", 0.0) * TERA,
        bytes_per_s=table.get("memory_gb_per_s", 0.0) * GB,
        arithmetic_efficiency=float(table.get("arithmetic_efficiency", 1.0)),
        memory_efficiency=float(table.get("memory_efficiency", 1.0)),
        link_bytes_per_s=table.get("device_link_gb_per_s", 0.0) * GB,
        link_latency_s=table.get("device_link_latency_us", 0.0) / US_PER_S,
        link_efficiency=float(table.get("device_link_efficiency", 1.0)),
        step_overhead_s=table.get("step_overhead_us", 0.0) / US_PER_S,
        layer_overhead_s=table.get("layer_overhead_us", 0.0) / US_PER_S,
        source=table.get("source", STATED),
    )


def _degree(each: Table, table: Table) -> Degree:
    return Degree(
        devices=each["devices"],
        prompt_s=_scaled(each["prompt_ms"], table["prompt_scale"]),
        token_s=_scaled(each["token_ms"], table["token_scale"]),
        source=each.get("source", STATED),
    )


def _scaled(times_ms: Sequence[float], factor: float) -> tuple[float, ...]:
    return tuple(time / MS_PER_S * factor for time in times_ms)


def _report(table: Table) -> Report:
    window = table.get("window_s")
    return Report(
        percentiles=tuple(float(each) for each in table["percentiles"]),
        window_s=None if window is None else (float(window[0]), float(window[1])),
        warm_up_s=_float(table.get("warm_up_s")),
        warm_up_share=_float(table.get("warm_up_share")),
    )


def _capacity(table: Table) -> Capacity:
    between = table.get("rate_range_per_s")
    return Capacity(
        attainment=float(table["attainment"]),
        tolerance=float(table["tolerance"]),
        replicas=tuple(sorted(table.get("replicas", ()))),
        rate_range_per_s=None if between is None else (float(between[0]), float(between[1])),
        rate_per_s=_float(table.get("rate_per_s")),
        least_span_s=float(table["least_span_s"]),
        latency=table["latency"],
    )


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _failures(document: Table) -> Failures | None:
    """Return what fails; what a failure does not say of itself, ``[failures]`` says of all."""
    table, listed = document.get("failures", {}), document.get("failure", ())
    mtbf_h = table.get("mtbf_h")
    if mtbf_h is None and not listed:
        return None
    usual = {key: float(table.get(key, 0.0)) for key in ("detection_s", "restart_s")}
    scheduled = tuple(
        Failure(
            machine=each["machine"],
            at_s=float(each["at_s"]),
            **{key: float(each.get(key, usual[key])) for key in usual},
        )
        for each in listed
    )
    return Failures(
        scheduled=tuple(sorted(scheduled, key=lambda each: (each.at_s, each.machine))),
        mtbf_s=None if mtbf_h is None else mtbf_h * HOUR_S,
        seed=table.get("seed", document["workload"]["seed"]),
        **usual,
    )


def _slo(table: Table) -> Slo:
    limits = (_seconds(table.get(f"{key}_ms")) for key in ("ttft", "tpot", "e2e"))
    return Slo(*limits)
