"""Names to figures and gaps to defaults: what a scenario says, spelt out in full.

A resolved document says everything a run depends on.  Catalog names stay, as
labels beside the figures used, so a document outlives changes of the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import catalog
from toolkit.errors import InputError, Problem
from toolkit.scenario.inputs import Inputs, read_inputs
from toolkit.scenario.layers import Layer, overlay
from toolkit.scenario.schema import defaults, ordered
from toolkit.scenario.toml import KeyPath, value_at
from toolkit.scenario.validate import Finding

if TYPE_CHECKING:
    from toolkit.recordings import Recording

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
    ("hardware", "token", "machine"): ("device", "devices_per_machine", "memory_gb_per_machine"),
    ("hardware", "link", "name"): ("gbit_per_s",),
    ("hardware", "host_link", "name"): ("gbit_per_s",),
    ("timing", "name"): ("batch_sizes", "prompt_ms", "token_ms"),
}
"""Figures beside which a name is a label, and need not be in the catalog."""

Put = Callable[[tuple[str, ...], Any, str], None]
"""Puts a value at a key path, with a note on where it is from."""

_LOOKUPS: Mapping[KeyPath, Callable[[str], object]] = {
    ("model", "use"): catalog.model,
    ("hardware", "machine"): catalog.machine,
    ("hardware", "device"): catalog.device,
    ("hardware", "token", "machine"): catalog.machine,
    ("hardware", "token", "device"): catalog.device,
    ("hardware", "link", "name"): catalog.link,
    ("hardware", "host_link", "name"): catalog.link,
    ("workload", "lengths", "name"): catalog.length_table,
    ("workload", "arrivals", "name"): catalog.interarrival_table,
    ("timing", "name"): catalog.timing_table,
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of table of the catalog from which something is drawn."""

    name: str
    look_up: Callable[[str], catalog.LengthTable | catalog.InterarrivalTable]


_TABLES: Mapping[str, _Kind] = {
    "lengths": _Kind("length table", catalog.length_table),
    "arrivals": _Kind("inter-arrival table", catalog.interarrival_table),
}
"""By the part of a workload that is drawn from one."""


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
    problems: tuple[Problem, ...] = ()
    """What is wrong inside files, each with its own file and line."""
    recording: Recording | None = None
    """The content of the file of ``workload.requests``."""


def resolve(
    user: Mapping[str, Any], folder_of: Callable[[KeyPath], Path], fallback_name: str
) -> Resolved:
    """Return what the user wrote, resolved; `user` is expected to keep to the schema."""
    user = _with_tables_of_tenants(_long_form(user))
    findings = list(known_names(user))
    inputs = read_inputs(user, folder_of)
    if inputs.recording is not None:
        values = inputs.values.setdefault("workload", {})
        values.update(_taken_from(inputs.recording, user["workload"]))
        findings += _arrivals_are_said(inputs.recording, user["workload"])
    findings += inputs.findings

    from_catalog = _catalog_layer(user)
    from_files = Layer("input", inputs.values, label="read from the file named")
    stated = overlay(overlay(from_catalog.values, inputs.values), user)
    plain = Layer("default", defaults(stated), label="schema")
    document = overlay(plain.values, stated)
    derived = _derived(document, fallback_name, inputs.recording)
    document = ordered(overlay(derived.values, document))
    if max_entries := document["workload"].pop("max_entries", None):
        entries = document["workload"].get("entries", max_entries)
        document["workload"]["entries"] = min(entries, max_entries)
    lengths = document["workload"].get("lengths", {})
    if "pairs" in lengths and "entries" in document["workload"]:
        lengths["pairs"] = lengths["pairs"][: document["workload"]["entries"]]
    elif not findings and not inputs.problems and "entries" not in document["workload"]:
        cause = f'missing; required because lengths.kind = "{lengths["kind"]}"'
        cause = cause if "tenant" not in user["workload"] else "missing; required with tenants"
        findings.append(Finding(("workload", "entries"), cause, "", "entries: number of entries"))
    return Resolved(
        document,
        _saved(document, inputs),
        (derived, plain, from_catalog),
        (from_files,),
        findings,
        tuple(inputs.problems),
        inputs.recording,
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
    yield from _missing_price(user)
    yield from _names_of_tenants(full)
    yield from _changed_table(user)


def _missing_price(user: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield that the catalog has no price of the kind asked for, and none is stated."""
    hardware = user.get("hardware", {})
    kind = hardware.get("price") if isinstance(hardware, Mapping) else None
    if kind is None or "price_usd_per_machine_hour" in hardware:
        return
    machine = _entry("machine", hardware.get("machine"))
    prices = () if machine is None else machine.figures.get("prices", ())
    kinds = sorted({each["kind"] for each in prices if "kind" in each})
    if kind in kinds:
        return
    of = "a machine without catalog entry" if machine is None else machine.name
    known = f"the catalog has {', '.join(kinds)} of it; or " if kinds else ""
    yield Finding(
        ("hardware", "price"),
        f"expected a kind of price that is known of {of}",
        f'"{kind}"',
        f"{known}state price_usd_per_machine_hour",
    )


def _tables_of_tenants(user: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield the tables of lengths and arrivals of every tenant, with their key paths."""
    tenants = value_at(user, ("workload", "tenant"))
    for index, tenant in enumerate(tenants if isinstance(tenants, list) else ()):
        for part in _TABLES:
            table = tenant.get(part) if isinstance(tenant, Mapping) else None
            if isinstance(table, Mapping):
                yield ("workload", "tenant", index, part), table


def _changed_table(user: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield that a table of the catalog is another one than when the scenario was resolved."""
    tables = [(("workload", part), value_at(user, ("workload", part))) for part in _TABLES]
    for path, table in (*tables, *_tables_of_tenants(user)):
        if not isinstance(table, Mapping) or "table_sha256" not in table:
            continue
        kind, was, name = _TABLES[str(path[-1])], table["table_sha256"], table.get("name")
        known = {entry.name for entry in catalog.entries(kind.name)}
        if name in known and kind.look_up(str(name)).sha256 != was:
            digest = kind.look_up(str(name)).sha256
            yield Finding(
                (*path, "table_sha256"),
                f"expected the {kind.name} the scenario was resolved with",
                f"another content of {name} (sha256 {digest[:12]}, was {str(was)[:12]})",
                "remove it to take the table as it is now",
            )


def _names_of_tenants(user: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the catalog names that tenants use and nobody knows."""
    for path, table in _tables_of_tenants(user):
        if isinstance(name := table.get("name"), str) and name:
            try:
                _TABLES[str(path[-1])].look_up(name)
            except InputError as error:
                problem = error.problems[0]
                yield Finding((*path, "name"), problem.expected, f'"{name}"', problem.way_out)


def _with_tables_of_tenants(user: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the digest of every table that a tenant names."""
    if not list(_tables_of_tenants(user)) or list(_names_of_tenants(user)):
        return user
    tenants = [dict(tenant) for tenant in user["workload"]["tenant"]]
    for path, table in _tables_of_tenants(user):
        if "name" in table:
            index, part = path[-2:]
            digest = _TABLES[str(part)].look_up(table["name"]).sha256
            tenants[index][part] = {**table, "table_sha256": table.get("table_sha256", digest)}  # type: ignore[index]
    return {**user, "workload": {**user["workload"], "tenant": tenants}}


def _taken_from(recording: Recording, workload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what recorded requests say where the scenario says nothing."""
    taken = {}
    if "lengths" not in workload:
        taken["lengths"] = {"kind": "trace"}
    if "arrivals" not in workload and recording.arrival_ns is not None:
        taken["arrivals"] = {"kind": "trace"}
    return taken


def _arrivals_are_said(recording: Recording, workload: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield that neither file nor scenario says when requests arrive: nothing is assumed."""
    if "arrivals" not in workload and recording.arrival_ns is None:
        yield Finding(
            ("workload", "arrivals"),
            "missing; required because the recorded requests have no arrival times",
            way_out='say how they arrive, kind = "at_zero" if all at once',
        )


def _long_form(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with ``link = "name"`` written as a table, and ``host_link`` so too."""
    named = {
        key: {"name": link}
        for key in ("link", "host_link")
        if isinstance(link := value_at(user, ("hardware", key)), str)
    }
    return {**user, "hardware": {**user["hardware"], **named}} if named else dict(user)


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
        (("hardware", "token", "machine"), "machine"),
        (("hardware", "link", "name"), "link"),
        (("hardware", "host_link", "name"), "link"),
    ):
        entry = _entry(kind, value_at(user, path))
        for key, name in FROM_ENTRY[kind].items() if entry else ():
            if entry and name in entry.figures:
                put((*path[:-1], key), entry.figures[name], _note(entry, name))
        if kind == "machine" and entry:
            _put_price(path[:-1], value_at(user, path[:-1]), entry, put)
    for where in (("hardware",), ("hardware", "token")):
        if isinstance(stated := value_at(user, where), Mapping):
            _put_power(where, stated, put)
    if (entry := _entry("model", value_at(user, ("model", "use")))) is not None:
        roofline = value_at(user, ("timing", "kind")) == "roofline"
        for key in ROOFLINE_MODEL:
            latent = key == "attention" and entry.figures.get(key) == "MLA"
            if key in entry.figures and (roofline or latent):
                put(("model", key), entry.figures[key], _note(entry, key))
    _put_timing(user, put)
    _put_roofline(user, put)
    _put_host_link(user, put)
    for part, of in _TABLES.items():
        name = value_at(user, ("workload", part, "name"))
        if isinstance(name, str) and not list(known_names(user)):
            table = of.look_up(name)
            note = f"{name}: {table.source} ({table.confidence})"
            put(("workload", part, "table_sha256"), table.sha256, note)
    return Layer("catalog", values, notes=notes)


def _put_price(
    where: tuple[str, ...], hardware: Mapping[str, Any], machine: catalog.Entry, put: Put
) -> None:
    """Put the machine's price of the kind asked for, or its first, and where it is from."""
    kind = hardware.get("price")
    prices = [
        each for each in machine.figures.get("prices", ()) if kind in (None, each.get("kind"))
    ]
    if not prices:
        return
    price = prices[0]
    words = f"{machine.name}, {price['basis']}, {price['date']}: {price['source']}"
    note = f"{words} ({price['confidence']})"
    put((*where, "price_usd_per_machine_hour"), price["usd_per_hour"], note)
    if "price_usd_per_machine_hour" not in hardware:
        put((*where, "price_source"), note, "of the price")


def _put_power(where: tuple[str, ...], hardware: Mapping[str, Any], put: Put) -> None:
    """Put the watts of a machine, busy and idle: those of its devices, as far as they are known."""
    machine = _entry("machine", hardware.get("machine"))
    figures = {} if machine is None else machine.figures
    device = _entry("device", hardware.get("device", figures.get("device")))
    count = hardware.get("devices_per_machine", figures.get("devices"))
    if device is None or not isinstance(count, int):
        return
    said = []
    for key, figure, words in (
        ("busy_w_per_machine", "power_w", "at work {} W, the thermal design power: an upper bound"),
        ("idle_w_per_machine", "idle_w", "idle {} W"),
    ):
        if figure in device.figures:
            note = f"{words.format(device.figures[figure])} ({device.source(figure).source}; "
            note += f"{device.source(figure).confidence})"
            put(
                (*where, key),
                count * device.figures[figure],
                f"{count} x {device.name}, {note}",
            )
            said += [] if key in hardware else [note]
    if said:
        words = f"{count} x {device.name}, devices alone: {'; '.join(said)}"
        put((*where, "power_source"), words, "of the watts")


def _put_timing(user: Mapping[str, Any], put: Put) -> None:
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
    parameter = value_at(user, ("model", "bytes_per_parameter"))
    for hardware, timing in (
        (("hardware",), ("timing",)),
        (("hardware", "token"), ("timing", "token")),
    ):
        machine = _entry("machine", value_at(user, (*hardware, "machine")))
        named = value_at(user, (*hardware, "device"))
        device = _entry("device", named or (machine and machine.figures.get("device")))
        if device is None:
            continue
        for key, figure in ROOFLINE_DEVICE.items():
            if figure in device.figures:
                put((*timing, key), device.figures[figure], _note(device, figure))
        source = _note(device, "memory_gb_per_s")
        put((*timing, "source"), f"{device.name} of the catalog", source)
        for figure in _arithmetic(2.0 if parameter is None else parameter):
            if figure in device.figures:
                put((*timing, "tflops"), device.figures[figure], _note(device, figure))
                break


def _put_host_link(user: Mapping[str, Any], put: Put) -> None:
    """Put the rate at which the machine's device is reached from its host, where that counts."""
    device, figure = _device(user), "pcie_gb_per_s"
    if value_at(user, ("deployment", "preemption")) != "swap" or device is None:
        return
    if figure in device.figures:
        put(("deployment", "host_link_gb_per_s"), device.figures[figure], _note(device, figure))


def _device(user: Mapping[str, Any]) -> catalog.Entry | None:
    """Return the catalog's entry of the device that is named, or of the machine's."""
    machine = _entry("machine", value_at(user, ("hardware", "machine")))
    name = value_at(user, ("hardware", "device")) or (machine and machine.figures.get("device"))
    return _entry("device", name)


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


def _derived(document: Mapping[str, Any], fallback_name: str, recording: Recording | None) -> Layer:
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
    if recording is not None:
        values["workload"]["entries"] = len(recording)
        notes["workload", "entries"] = "as many as requests are recorded"
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
        place.pop(key, None)  # type: ignore[arg-type]
        place["file"] = file
    return saved
