"""What a checked scenario is: frozen values in base units, past all doubt.

`toolkit.scenario.load` makes these; everything to the right trusts them.
Durations are seconds as float, sizes bytes, rates bytes or requests per
second, prices dollars per hour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from toolkit.recordings import Recording
    from toolkit.scenario.points import Sweep

__all__ = [
    "Arrivals",
    "Assertion",
    "Capacity",
    "Clients",
    "Degree",
    "Deployment",
    "Engine",
    "Failure",
    "Failures",
    "FixedTiming",
    "Hardware",
    "Lengths",
    "Link",
    "Model",
    "Prefix",
    "Profile",
    "Replications",
    "Report",
    "RooflineTiming",
    "Scenario",
    "Sessions",
    "Slo",
    "TableTiming",
    "Tenant",
    "Timing",
    "TokenPool",
    "Trace",
    "Workload",
]

Discipline = Literal["event", "dejavu"]
Level = Literal["full", "steps", "requests"]
Router = Literal[
    "round_robin",
    "shared_queue",
    "least_loaded",
    "shortest_queue",
    "power_of_two",
    "prefix_affinity",
]


@dataclass(frozen=True, slots=True)
class Model:
    """A transformer as its weights and its KV cache see it."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    parameters: int
    bytes_per_parameter: float = 2.0
    bytes_per_kv_value: float = 2.0
    active_parameters: int = 0
    """Parameters one token passes through; 0 stands for all."""
    experts: int = 0
    """Routed experts of a layer; 0: a dense model."""
    experts_active: int = 0
    latent_attention: bool = False
    """Keys and values are one latent (MLA): ``head_dim`` values a layer, held once."""
    tied_embeddings: bool = False
    """Embedding and output head are one table."""
    dejavu_weights_gb: int | None = None
    """Weights as the published sweep rounds them, GB."""
    dejavu_kv_gb_per_token: float | None = None
    """KV cache per request and token as the published sweep rounds it, GB."""
    source: str = ""

    @property
    def weights_bytes(self) -> float:
        """Bytes of all weights."""
        return self.parameters * self.bytes_per_parameter

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of KV cache per token, all layers: 2 x layers x kv heads x head dim x bytes.

        Once rather than twice where keys and values are one latent.
        """
        values = (1 if self.latent_attention else 2) * self.kv_heads * self.head_dim
        return self.layers * values * self.bytes_per_kv_value

    def __post_init__(self) -> None:
        """Let every parameter be active unless said otherwise."""
        if not self.active_parameters:
            object.__setattr__(self, "active_parameters", self.parameters)


@dataclass(frozen=True, slots=True)
class Link:
    """A directed channel between machines."""

    name: str
    bytes_per_s: float
    latency_s: float = 0.0
    source: str = ""
    lanes: int = 1
    """Transfers that an interface carries at once, each at the full bandwidth."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Machines of one kind and the links between them.

    ``memory_bytes`` and ``price_usd_per_hour`` are None where the scenario
    names neither a catalog machine nor the figure: then nothing is checked
    or charged, and the report says so.
    """

    machines: int
    machine: str | None = None
    device: str | None = None
    devices_per_machine: int | None = None
    memory_bytes: float | None = None
    price_usd_per_hour: float | None = None
    link: Link | None = None
    links: Literal["per_nic", "shared"] = "per_nic"
    host_link: Link | None = None
    """Between each device and its host's memory, one direction."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How a replica with continuous batching forms its steps, and its KV memory."""

    tensor_parallel: int | None = None
    """Stated devices of a replica; None: those of a machine."""
    max_num_seqs: int = 256
    """Most requests in a batch."""
    max_num_batched_tokens: int = 8192
    """Most tokens of a step: one for each decode, the rest for prompts."""
    chunked_prefill: bool = True
    step_order: Literal["decode_first", "prefill_first"] = "decode_first"
    queue_order: Literal["fcfs", "priority", "shortest_first"] = "fcfs"
    max_waiting: int | None = None
    """Requests that may wait at a replica; None: as many as come."""
    kv_block_tokens: int = 16
    kv_blocks: int | None = None
    """Stated blocks of a replica; None: what memory leaves room for."""
    memory_utilisation: float = 0.9
    activations_bytes: float | None = None
    """Memory of a machine kept for activations; None: an estimate."""
    prefix_caching: bool = False
    """Whether blocks keep their KV cache for other requests until their room is needed."""
    affinity_imbalance: int = 32
    """Requests by which replicas may differ before ``prefix_affinity`` looks at load alone."""
    preemption: Literal["recompute", "swap"] = "recompute"
    """What becomes of the KV cache of a request that gives way."""
    host_memory_bytes: float = 0.0
    """Host memory of a replica for KV caches that are swapped out."""
    host_link_bytes_per_s: float = math.inf
    """Rate between host and device memory, of each device."""
    host_link_latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenPool:
    """What the token replicas of a split deployment with continuous batching are."""

    hardware: Hardware
    """``machines`` is the number of replicas."""
    timing: Timing
    engine: Engine
    router: Router = "least_loaded"
    """Which of them takes a request over as its prompt ends."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """How the machines are put to work."""

    kind: Literal["pipeline", "disaggregated"]
    batching: Literal["microbatch", "continuous"] = "microbatch"
    data_parallel: int = 1
    prompt_machines: int = 0
    token_machines: int = 0
    microbatch_size: int = 1
    microbatches_in_flight: int | None = None
    """Most microbatches in a pipeline at once; None: as many as it has stages."""
    max_wait_s: float | None = None
    """Longest wait of a microbatch for more requests; None: until it is full."""
    router: Router = "round_robin"
    activations: bool = True
    transfer: Literal["whole", "layerwise"] = "layerwise"
    transfer_time_s: float | None = None
    """Stated time of a prompt stage's KV transfer; None: bytes over the link."""
    stream_slowdown: float = 1.0
    """Factor m >= 1 by which streaming stretches the prompt pass."""
    kv_buffer_bytes: float = 0.0
    """Room for KV caches beside the token machines' device memory."""
    memory_fit: Literal["exact", "dejavu", "off"] = "exact"
    replication: Literal["none", "next_stage"] = "none"
    """Where a stage's KV cache is kept once more, for the case that its machine fails."""
    swapping: bool = False
    """Whether the hosts keep all KV caches and the devices a few."""
    engine: Engine | None = None
    """How each replica batches; there where ``batching`` is ``continuous``."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a rate changes over time: a factor on it, at every moment from 0 on.

    ``sinusoid``: 1 + amplitude x cos(2 pi (t - peak) / period).  ``spikes``:
    ``factor`` for ``length_s`` from ``start_s`` on, again every ``every_s``.
    ``steps``: of each (time, factor) the factor from its time on; from
    ``repeat_s`` they begin again.
    """

    kind: Literal["sinusoid", "spikes", "steps"]
    amplitude: float = 0.0
    period_s: float = 0.0
    peak_s: float = 0.0
    factor: float = 1.0
    start_s: float = 0.0
    length_s: float = 0.0
    every_s: float | None = None
    points: tuple[tuple[float, float], ...] = ()
    repeat_s: float | None = None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When entries arrive.

    ``poisson``, ``gamma``, ``weibull``, ``constant`` and ``catalog`` are
    renewal processes: independent gaps of that distribution (``catalog``: of
    the quantile table `name`) with mean 1 / ``rate_per_s``, and, with a
    ``profile``, a rate that changes.  ``trace`` takes the times of
    ``recording``, times ``time_scale``, or stretched to the mean
    ``rate_per_s``.  ``closed_loop``: ``concurrency`` clients, each of whom
    sends its next request (or begins its next session) ``think_s`` after an
    answer.  ``tenants``: each tenant's own.

    ``groups`` is the published simulators' process: groups of ``group_size``
    entries at once (None: one per machine), exponential gaps at
    ``rate_per_s`` groups per second from the seed 42, the last
    ``entries % group_size`` entries at 0.
    """

    kind: Literal[
        "at_zero",
        "poisson",
        "gamma",
        "weibull",
        "constant",
        "catalog",
        "times",
        "trace",
        "groups",
        "closed_loop",
        "tenants",
    ]
    rate_per_s: float = 0.0
    times_s: tuple[float, ...] = ()
    group_size: int | None = None
    cv: float | None = None
    """Coefficient of variation of the gaps."""
    shape: float | None = None
    """Weibull shape parameter, in place of the CV."""
    name: str | None = None
    profile: Profile | None = None
    time_scale: float = 1.0
    recording: Recording | None = None
    concurrency: int = 0
    think_s: float = 0.0
    think: Literal["constant", "exponential"] = "constant"


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long prompts and answers are.

    ``catalog``: drawn from the named quantile table by a Gaussian copula,
    unless ``prompt_tokens`` or ``output_tokens`` fixes that side.  ``fixed``:
    both fixed.  ``pairs``: ``pairs`` holds [prompt, output] in order.
    ``trace``: those of ``recording``.  ``tenants``: ``parts`` holds each
    tenant's own.
    """

    kind: Literal["catalog", "fixed", "pairs", "trace", "tenants"]
    name: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    pairs: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    file: str | None = None
    min_output_tokens: int = 1
    max_output_tokens: int | None = None
    max_prompt_tokens: int | None = None
    recording: Recording | None = None
    parts: tuple[Lengths, ...] = ()


@dataclass(frozen=True, slots=True)
class Sessions:
    """Conversations: a session's next turn is sent ``think_s`` after the answer to the last.

    ``turns`` is the mean number of turns; ``fixed``: every session has as many,
    else geometrically distributed.  None: the sessions are those of the recorded
    requests, and no turn is sent before its recorded time.
    """

    turns: float | None
    fixed: bool
    think_s: float = 0.0
    think: Literal["constant", "exponential"] = "constant"
    history: bool = True
    """Whether a prompt holds the prompts and answers of the turns before."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What clients do when an answer is long in coming: give up, or try again.

    A share ``cancel_share`` of requests has a client whose patience ends after
    ``cancel_s``, all alike or exponentially distributed, or drawn from
    ``cancel_quantiles``, (share, seconds) ascending.  Whatever has no first
    token ``first_token_s`` after it was sent, or is not done after ``whole_s``,
    has timed out; it is sent again up to ``max_retries`` times, as is what was
    refused, ``backoff_s`` later, and ``backoff_factor`` times as long each
    further time; up to the share ``backoff_jitter`` of it is left out at random.
    """

    cancel_share: float = 0.0
    cancel_s: float = 0.0
    cancel: Literal["constant", "exponential"] = "constant"
    cancel_quantiles: tuple[tuple[float, float], ...] = ()
    first_token_s: float | None = None
    whole_s: float | None = None
    max_retries: int = 0
    backoff_s: float = 0.0
    backoff_factor: float = 2.0
    backoff_jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits that a request has to meet to be good, seconds; None where nothing is stated."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who sends: a share of the arrivals, or arrivals of its own, and lengths.

    ``arrivals`` is None where all tenants share those of the workload.
    """

    name: str
    lengths: Lengths
    share: float = 1.0
    arrivals: Arrivals | None = None
    priority: int = 0
    slo: Slo | None = None
    """Limits of its own, in place of the scenario's; None: the scenario's."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Text with which a share of all prompts, or of one tenant's, begin."""

    name: str
    tokens: int
    share: float = 1.0
    tenant: str | None = None
    """Whose prompts; None: anybody's."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be served; see docs for `entry`, repetition and equal work."""

    entries: int
    entry: Literal["microbatch", "request"]
    arrivals: Arrivals
    lengths: Lengths
    seed: int = 42
    equal_work_batch: int | None = None
    """Each entry is repeated equal_work_batch / microbatch_size times."""
    repeat_order: Literal["in_place", "tiled", "shuffled"] = "in_place"
    recording: Recording | None = None
    """The requests of ``workload.requests``, from which lengths, arrivals or both are taken."""
    sessions: Sessions | None = None
    tenants: tuple[Tenant, ...] = ()
    clients: Clients | None = None
    prefixes: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True)
class FixedTiming:
    """Times of one microbatch on one stage, as the published command lines give them."""

    prompt_s: float
    token_s: float
    cache_s: float = 0.0
    kind: Literal["fixed"] = "fixed"


@dataclass(frozen=True, slots=True)
class Degree:
    """A table's times where the model is split over so many devices; columns as in the table."""

    devices: int
    prompt_s: tuple[float, ...]
    token_s: tuple[float, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class TableTiming:
    """Times of one microbatch through the whole model on one machine, by batch size.

    ``batch_sizes`` ascending; ``prompt_s`` at ``prompt_tokens`` tokens per
    request, ``token_s`` at ``context_tokens``.  Divided by the number of
    stages; interpolated between batch sizes, never extrapolated.
    """

    name: str
    batch_sizes: tuple[int, ...]
    prompt_s: tuple[float, ...]
    token_s: tuple[float, ...]
    prompt_tokens: int | None = None
    context_tokens: int | None = None
    cache_s: float = 0.0
    scaling: Literal["none", "linear_in_tokens"] = "none"
    source: str = ""
    degrees: tuple[Degree, ...] = ()
    """The same table at lower tensor-parallel degrees, for the planner."""
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class RooflineTiming:
    """Peak rates of one device, the share of them that is reached, and what a step adds.

    ``flops_per_s`` at the weights' format, ``bytes_per_s`` of its memory,
    ``link_...`` between the devices of a machine.
    """

    flops_per_s: float
    bytes_per_s: float
    arithmetic_efficiency: float = 1.0
    memory_efficiency: float = 1.0
    link_bytes_per_s: float = math.inf
    link_latency_s: float = 0.0
    link_efficiency: float = 1.0
    step_overhead_s: float = 0.0
    layer_overhead_s: float = 0.0
    cache_s: float = 0.0
    source: str = ""
    kind: Literal["roofline"] = "roofline"

    def without_memory(self) -> RooflineTiming:
        """Return the roof of arithmetic alone."""
        return replace(self, bytes_per_s=math.inf)

    def without_arithmetic(self) -> RooflineTiming:
        """Return the roof of memory traffic alone."""
        return replace(self, flops_per_s=math.inf)


Timing = FixedTiming | TableTiming | RooflineTiming


@dataclass(frozen=True, slots=True)
class Failure:
    """A machine that fails at a stated time.

    Noticed after ``detection_s``, back ``restart_s`` after that.
    """

    machine: int
    at_s: float
    detection_s: float
    restart_s: float


@dataclass(frozen=True, slots=True)
class Failures:
    """Which machines fail, and when: at stated times, at random, or both.

    With ``mtbf_s`` each machine fails by itself, after exponentially
    distributed times of that mean since it was last up; None: never at random.
    """

    scheduled: tuple[Failure, ...] = ()
    mtbf_s: float | None = None
    detection_s: float = 0.0
    restart_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """How much of a run is kept, and which renderings are made of it."""

    level: Level = "full"
    renderings: tuple[str, ...] = ("perfetto", "chrome")


@dataclass(frozen=True, slots=True)
class Report:
    """What the report shows beside the standing figures."""

    percentiles: tuple[float, ...] = (50.0, 90.0, 95.0, 99.0)
    window_s: tuple[float, float] | None = None
    """Window of the stage timeline; None: chosen from the run."""
    warm_up_s: float | None = None
    """Requests that arrive earlier are left out of latencies and attainment."""
    warm_up_share: float | None = None
    """The same as a share of the time from the first arrival to the last."""


@dataclass(frozen=True, slots=True)
class Replications:
    """How often a scenario is played, each time with a seed of its own, and how sure to be."""

    count: int
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a search for capacity tries, and when a rate holds.  Rates are requests per second."""

    attainment: float = 0.99
    """Share of requests that have to meet all their limits."""
    tolerance: float = 0.02
    """A rate that fails is known this close above the highest that holds, as a share of it."""
    replicas: tuple[int, ...] = ()
    """Numbers of replicas to try; none: the scenario's own."""
    rate_range_per_s: tuple[float, float] | None = None
    rate_per_s: float | None = None
    """The load for which the smallest and the cheapest deployment are sought."""
    least_span_s: float = 60.0
    latency: str = "ttft_p99_ms"


@dataclass(frozen=True, slots=True)
class Assertion:
    """What has to be true of a run: a condition on metrics, or a query without rows."""

    name: str
    metric: str | None = None
    sql: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One deployment to simulate; with `variants`, several to compare; with `sweep`, many.

    ``document`` is the resolved scenario as it would be written in TOML
    (catalog figures of use filled in), self-contained: loading it again gives
    an equal scenario.  A scenario with variants or a sweep is not simulated
    itself; its own values are those of the first.
    """

    name: str
    title: str
    question: str
    discipline: Discipline
    model: Model | None
    hardware: Hardware
    deployment: Deployment
    workload: Workload
    timing: Timing
    trace: Trace = field(default_factory=Trace)
    report: Report = field(default_factory=Report)
    slo: Slo | None = None
    replications: Replications | None = None
    capacity: Capacity | None = None
    failures: Failures | None = None
    assertions: tuple[Assertion, ...] = ()
    file: Path | None = field(default=None, compare=False)
    token_pool: TokenPool | None = None
    """There in a split deployment with continuous batching; all else is of its prompt pool."""
    variant: str | None = None
    variants: tuple[Scenario, ...] = ()
    sweep: Sweep | None = None
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_limits(self) -> bool:
        """Whether any request has limits to meet: those of [slo], or of its tenant."""
        return self.slo is not None or any(tenant.slo for tenant in self.workload.tenants)

    @property
    def run_name(self) -> str:
        """Folder of the run below traces/ and reports/: `name` or `name-variant`."""
        return self.name if self.variant is None else f"{self.name}-{self.variant}"

    @property
    def swap_slots(self) -> int:
        """KV caches on a stage's devices with swapping: 2, or 1 at depth 2; 0: all of them.

        Where no more microbatches are in flight than that, none is swapped.
        """
        if not self.deployment.swapping:
            return 0
        slots = 2 if self.token_stages > 2 else 1
        in_flight = self.deployment.microbatches_in_flight or self.token_stages
        return slots if in_flight > slots else 0

    @property
    def keeps_or_swaps(self) -> bool:
        """Whether KV caches are on hosts too."""
        return self.deployment.replication != "none" or bool(self.swap_slots)

    @property
    def prompt_stages(self) -> int:
        """Stages a prompt passes: of the prompt pipeline, or of one colocated replica."""
        if self.deployment.kind == "disaggregated":
            return self.deployment.prompt_machines
        return self.hardware.machines // self.deployment.data_parallel

    @property
    def token_stages(self) -> int:
        """Stages a token passes: of the token pipeline, or of one colocated replica."""
        if self.deployment.kind == "disaggregated":
            return self.deployment.token_machines
        return self.hardware.machines // self.deployment.data_parallel
