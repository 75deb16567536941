"""Names to figures and gaps to defaults: what a scenario says, spelt out in full.

A resolved document says everything a run depends on.  Catalog names stay, as
labels beside the figures used, so a document outlives changes of the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import catalog
from toolkit.errors import InputError
from toolkit.scenario.inputs import Inputs, read_inputs
from toolkit.scenario.layers import Layer, overlay
from toolkit.scenario.schema import defaults, ordered
from toolkit.scenario.toml import KeyPath, value_at
from toolkit.scenario.validate import Finding

__all__ = ["FROM_ENTRY", "Resolved", "known_names", "resolve"]

FROM_ENTRY = {
    "model": {
        key: key
        for key in (
            "layers",
            "hidden",
            "heads",
            "kv_heads",
            "head_dim",
            "vocab",
            "parameters",
            "dejavu_weights_gb",
            "dejavu_kv_gb_per_token",
        )
    },
    "machine": {
        "device": "device",
        "devices_per_machine": "devices",
        "memory_gb_per_machine": "memory_gb",
    },
    "link": {"gbit_per_s": "gbit_per_s", "latency_us": "latency_us"},
}
"""Keys of the scenario that a catalog entry fills, and the entry's own names for them."""

ROOFLINE_MODEL = (
    "active_parameters",
    "experts",
    "experts_active",
    "attention",
    "tied_embeddings",
)
"""Figures of a model that only the roofline asks for, save where they change its KV cache."""

ROOFLINE_DEVICE = {
    "memory_gb_per_s": "memory_gb_per_s",
    "device_link_gb_per_s": "gpu_link_gb_per_s",
    "device_link_latency_us": "gpu_link_latency_us",
    "arithmetic_efficiency": "arithmetic_efficiency",
    "memory_efficiency": "memory_efficiency",
    "device_link_efficiency": "gpu_link_efficiency",
    "step_overhead_us": "step_overhead_us",
    "layer_overhead_us": "layer_overhead_us",
}
"""Keys of a roofline that the device's catalog entry fills, and the entry's names for them."""

_SELF_SUFFICIENT: Mapping[KeyPath, tuple[str, ...]] = {
    ("model", "use"): ("layers", "hidden", "heads", "vocab", "parameters"),
    ("hardware", "machine"): ("device", "devices_per_machine", "memory_gb_per_machine"),
    ("hardware", "link", "name"): ("gbit_per_s",),
    ("timing", "name"): ("batch_sizes", "prompt_ms", "token_ms"),
}
"""Figures beside which a name is a label, and need not be in the catalog."""

_LOOKUPS: Mapping[KeyPath, Callable[[str], object]] = {
    ("model", "use"): catalog.model,
    ("hardware", "machine"): catalog.machine,
    ("hardware", "device"): catalog.device,
    ("hardware", "link", "name"): catalog.link,
    ("workload", "lengths", "name"): catalog.length_table,
    ("timing", "name"): catalog.timing_table,
}


@dataclass(slots=True)
class Resolved:
    """A document spelt out, the layers that spelt it, and what was wrong on the way.

    ``document`` holds all values; ``saved`` is the same but for the content of
    large files, of which it keeps path and digest.
    """

    document: dict[str, Any]
    saved: dict[str, Any]
    below: tuple[Layer, ...]
    above: tuple[Layer, ...]
    findings: list[Finding]


def resolve(
    user: Mapping[str, Any], folder_of: Callable[[KeyPath], Path], fallback_name: str
) -> Resolved:
    """Return what the user wrote, resolved; `user` is expected to keep to the schema."""
    user = _long_form(user)
    findings = list(known_names(user))
    inputs = read_inputs(user, folder_of)
    findings += inputs.findings

    from_catalog = _catalog_layer(user)
    from_files = Layer("input", inputs.values, label="read from the file named")
    stated = overlay(overlay(from_catalog.values, inputs.values), user)
    plain = Layer("default", defaults(stated), label="schema")
    document = overlay(plain.values, stated)
    derived = _derived(document, fallback_name)
    document = ordered(overlay(derived.values, document))
    if max_entries := document["workload"].pop("max_entries", None):
        entries = document["workload"].get("entries", max_entries)
        document["workload"]["entries"] = min(entries, max_entries)
    lengths = document["workload"]["lengths"]
    if "pairs" in lengths and "entries" in document["workload"]:
        lengths["pairs"] = lengths["pairs"][: document["workload"]["entries"]]
    elif not findings and "entries" not in document["workload"]:
        cause = f'missing; required because lengths.kind = "{lengths["kind"]}"'
        findings.append(Finding(("workload", "entries"), cause, "", "entries: number of entries"))
    return Resolved(
        document, _saved(document, inputs), (derived, plain, from_catalog), (from_files,), findings
    )


def known_names(user: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the catalog names a document uses."""
    full = _long_form(user)
    for path, lookup in _LOOKUPS.items():
        name, beside = value_at(full, path), value_at(full, path[:-1])
        if not isinstance(name, str) or not name or not isinstance(beside, Mapping):
            continue
        enough = _SELF_SUFFICIENT.get(path)
        if enough and all(key in beside for key in enough):
            continue
        try:
            lookup(name)
        except InputError as error:
            problem = error.problems[0]
            written = path if value_at(user, path) else path[:-1]  # link = "name"
            yield Finding(written, problem.expected, f'"{name}"', problem.way_out)
    yield from _changed_table(user)


def _changed_table(user: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield that a length table is another one than when the scenario was resolved."""
    lengths = value_at(user, ("workload", "lengths"))
    if not isinstance(lengths, Mapping) or "table_sha256" not in lengths:
        return
    was, name = lengths["table_sha256"], lengths.get("name")
    known = {entry.name for entry in catalog.entries("length table")}
    if name in known and catalog.length_table(name).sha256 != was:
        digest = catalog.length_table(name).sha256
        yield Finding(
            ("workload", "lengths", "table_sha256"),
            "expected the length table the scenario was resolved with",
            f"another content of {name} (sha256 {digest[:12]}, was {str(was)[:12]})",
            "remove it to take the table as it is now",
        )


def _long_form(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with ``link = "name"`` written as a table."""
    link = value_at(user, ("hardware", "link"))
    if not isinstance(link, str):
        return dict(user)
    return {**user, "hardware": {**user["hardware"], "link": {"name": link}}}


def _catalog_layer(user: Mapping[str, Any]) -> Layer:
    """Return the figures of the catalog entries a document names, each with its source."""
    values: dict[str, Any] = {}
    notes: dict[KeyPath, str] = {}

    def put(path: tuple[str, ...], value: Any, note: str) -> None:
        place = values
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = list(value) if isinstance(value, tuple) else value
        notes[path] = note

    for path, kind in (
        (("model", "use"), "model"),
        (("hardware", "machine"), "machine"),
        (("hardware", "link", "name"), "link"),
    ):
        entry = _entry(kind, value_at(user, path))
        for key, name in FROM_ENTRY[kind].items() if entry else ():
            if entry and name in entry.figures:
                put((*path[:-1], key), entry.figures[name], _note(entry, name))
        if kind == "machine" and entry and entry.figures.get("prices"):
            price = entry.figures["prices"][0]
            words = f"{entry.name}, {price['basis']}, {price['date']}: {price['source']}"
            put(
                ("hardware", "price_usd_per_machine_hour"),
                price["usd_per_hour"],
                f"{words} ({price['confidence']})",
            )
    if (entry := _entry("model", value_at(user, ("model", "use")))) is not None:
        roofline = value_at(user, ("timing", "kind")) == "roofline"
        for key in ROOFLINE_MODEL:
            latent = key == "attention" and entry.figures.get(key) == "MLA"
            if key in entry.figures and (roofline or latent):
                put(("model", key), entry.figures[key], _note(entry, key))
    _put_timing(user, put)
    _put_roofline(user, put)
    name = value_at(user, ("workload", "lengths", "name"))
    if isinstance(name, str) and not list(known_names(user)):
        table = catalog.length_table(name)
        note = f"{name}: {table.source} ({table.confidence})"
        put(("workload", "lengths", "table_sha256"), table.sha256, note)
    return Layer("catalog", values, notes=notes)


def _put_timing(user: Mapping[str, Any], put: Callable[[tuple[str, ...], Any, str], None]) -> None:
    timing = user.get("timing", {})
    name, variant = timing.get("name"), timing.get("variant", "central")
    if timing.get("kind") != "table" or {"batch_sizes", "file"} & timing.keys():
        return
    try:
        table = catalog.timing_table(name, variant)
    except InputError:
        return
    note = f"{name}, {variant}: {table.source} ({table.confidence})"
    for key in ("batch_sizes", "prompt_ms", "token_ms", "prompt_tokens", "context_tokens"):
        put(("timing", key), getattr(table, key), note)
    put(("timing", "source"), f"{table.source} ({table.confidence})", note)


def _put_roofline(
    user: Mapping[str, Any], put: Callable[[tuple[str, ...], Any, str], None]
) -> None:
    """Put the rates and efficiencies of the machine's device, as far as the catalog has them."""
    if value_at(user, ("timing", "kind")) != "roofline":
        return
    machine = _entry("machine", value_at(user, ("hardware", "machine")))
    name = value_at(user, ("hardware", "device")) or (machine and machine.figures.get("device"))
    device = _entry("device", name)
    if device is None:
        return
    for key, figure in ROOFLINE_DEVICE.items():
        if figure in device.figures:
            put(("timing", key), device.figures[figure], _note(device, figure))
    put(("timing", "source"), f"{device.name} of the catalog", _note(device, "memory_gb_per_s"))
    parameter = value_at(user, ("model", "bytes_per_parameter"))
    for figure in _arithmetic(2.0 if parameter is None else parameter):
        if figure in device.figures:
            put(("timing", "tflops"), device.figures[figure], _note(device, figure))
            break


def _arithmetic(bytes_per_parameter: Any) -> tuple[str, ...]:
    """Return the arithmetic that weights of a format run on, best first.

    8-bit weights run on 8-bit units; smaller ones are unpacked to 16 bits.
    """
    eight_bits = bytes_per_parameter == 1
    return (*(("fp8_tflops", "int8_tops") if eight_bits else ()), "bf16_tflops", "fp16_tflops")


def _entry(kind: str, name: Any) -> catalog.Entry | None:
    known = {entry.name: entry for entry in catalog.entries(kind)}
    return known.get(name) if isinstance(name, str) else None


def _note(entry: catalog.Entry, key: str) -> str:
    source = entry.source(key)
    return f"{entry.name}: {source.source} ({source.confidence})"


def _derived(document: Mapping[str, Any], fallback_name: str) -> Layer:
    """Return the defaults that follow from other values of the document."""
    values: dict[str, Any] = {"name": fallback_name, "workload": {}, "deployment": {}}
    notes: dict[KeyPath, str] = {("name",): "the file's name"}
    values["title"] = document.get("name", fallback_name)
    notes["title",] = "as the name"

    model: Mapping[str, Any] = document.get("model", {})
    if "heads" in model and "hidden" in model:
        values["model"] = {
            "kv_heads": model["heads"],
            "head_dim": max(model["hidden"] // model["heads"], 1),
        }
        notes["model", "kv_heads"] = "as many as heads"
        notes["model", "head_dim"] = "hidden / heads"

    workload = document["workload"]
    for path in (("lengths", "pairs"), ("arrivals", "times_s")):
        listed = value_at(workload, path)
        if isinstance(listed, list) and "entries" not in values["workload"]:
            values["workload"]["entries"] = len(listed)
            notes["workload", "entries"] = f"as many as {path[1]}"

    hardware, deployment = document["hardware"], document["deployment"]
    event = document["simulation"]["discipline"] == "event"
    fits = bool(model) and "memory_gb_per_machine" in hardware
    values["deployment"]["memory_fit"] = "exact" if fits else "off"
    notes["deployment", "memory_fit"] = "" if fits else "model or memory is unknown"
    if deployment.get("batching") != "continuous":
        values["deployment"]["activations"] = event and bool(model) and "link" in hardware
        notes["deployment", "activations"] = "true with a model, a link and the event discipline"
    cache_ms = document["timing"].get("cache_ms", 0)
    if event and deployment["kind"] == "disaggregated" and cache_ms:
        values["deployment"]["transfer_time_ms"] = cache_ms
        notes["deployment", "transfer_time_ms"] = "as timing.cache_ms"
    return Layer("default", values, notes=notes)


def _saved(document: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """Return the document without the content of large files."""
    saved = dict(document)
    for path, file in inputs.large.items():
        *tables, key = path
        place = saved
        for part in tables:
            place[part] = dict(place[part])  # type: ignore[index]
            place = place[part]  # type: ignore[index]
        del place[key]  # type: ignore[arg-type]
        place["file"] = file
    return saved
