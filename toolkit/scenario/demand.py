"""Can the workload be?  What no schema can say of arrivals, lengths, recordings and tenants.

Checks of `toolkit.scenario.physics`, which runs them: each is a function from
a scenario to findings that show the numbers on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from toolkit.scenario.model import Arrivals, Clients, Profile, Scenario, Sessions, Workload
from toolkit.scenario.toml import KeyPath
from toolkit.scenario.validate import Finding

__all__ = ["LONGEST_S", "of_arrivals", "of_counts", "served_entries"]

LONGEST_S = 3e9
"""Longest run, seconds, whose nanoseconds the trace's clock holds with room to spare: 95 years."""

ANSWERING = frozenset({"continuous"})
"""Kinds of batching that play what is sent after an answer."""


def of_counts(scenario: Scenario) -> Iterator[Finding]:
    """Yield what does not go together before any time is looked at."""
    yield from _output_bounds_ascend(scenario)
    yield from _a_request_for_each_entry(scenario)
    yield from _recordings_have_what_is_taken(scenario)
    yield from _tenants_go_together(scenario)
    yield from _answers_are_played(scenario)
    yield from _sessions_go_together(scenario.workload)
    yield from _clients_go_together(scenario)
    yield from _prefixes_go_together(scenario.workload)


def of_arrivals(scenario: Scenario) -> Iterator[Finding]:
    """Yield what is wrong with the arrival process."""
    yield from _arrivals_are_possible(scenario)


def served_entries(scenario: Scenario) -> int:
    """Return how many entries a deployment serves, repetition for equal work included."""
    workload = scenario.workload
    if workload.equal_work_batch is None:
        return workload.entries
    return workload.entries * workload.equal_work_batch // scenario.deployment.microbatch_size


def _output_bounds_ascend(scenario: Scenario) -> Iterator[Finding]:
    lengths = scenario.workload.lengths
    if (
        lengths.max_output_tokens is not None
        and lengths.max_output_tokens < lengths.min_output_tokens
    ):
        yield Finding(
            ("workload", "lengths", "max_output_tokens"),
            f"expected at least min_output_tokens, {lengths.min_output_tokens}",
            f"{lengths.max_output_tokens}",
        )


def _a_request_for_each_entry(scenario: Scenario) -> Iterator[Finding]:
    workload = scenario.workload
    lengths, entries = workload.lengths, workload.entries
    taken = lengths.recording or workload.arrivals.recording
    if taken is not None and len(taken) < entries:
        expected = f"expected at most as many entries as requests are recorded, {len(taken)}"
        yield Finding(("workload", "entries"), expected, f"{entries}")
    if lengths.kind == "pairs" and len(lengths.pairs) < entries:
        expected = f"expected at most as many entries as there are pairs, {len(lengths.pairs)}"
        yield Finding(("workload", "entries"), expected, f"{entries}")


def _recordings_have_what_is_taken(scenario: Scenario) -> Iterator[Finding]:
    workload = scenario.workload
    kinds = {"lengths": workload.lengths.kind, "arrivals": workload.arrivals.kind}
    taken = [f'{key}.kind = "trace"' for key, kind in kinds.items() if kind == "trace"]
    if taken and workload.recording is None:
        yield Finding(
            ("workload", "requests"),
            f"missing; required because {' and '.join(taken)}",
            way_out="requests = { kind = ..., file = ... } names a file of recorded requests",
        )
    recording = workload.arrivals.recording
    if recording is not None and recording.arrival_ns is None:
        yield Finding(
            ("workload", "arrivals", "kind"),
            "expected a kind that draws arrivals: the recorded requests have no arrival times",
            '"trace"',
            'use "poisson", or name the column of arrival times',
        )
    if recording is not None and workload.arrivals.rate_per_s and _all_at_one_moment(workload):
        yield Finding(
            ("workload", "arrivals", "rate_per_s"),
            "expected recorded requests at two moments at least, to be stretched to a rate",
            "all at one",
        )
    if workload.recording is not None and "trace" not in {
        workload.lengths.kind,
        workload.arrivals.kind,
    }:
        yield Finding(
            ("workload", "requests"),
            "expected lengths or arrivals to be taken from it",
            f'lengths.kind = "{workload.lengths.kind}", arrivals.kind = "{workload.arrivals.kind}"',
            'say kind = "trace" in one of them, or leave it out',
        )


def _all_at_one_moment(workload: Workload) -> bool:
    recording = workload.arrivals.recording
    if recording is None or recording.arrival_ns is None:
        return False
    taken = recording.arrival_ns[: workload.entries]
    return bool(taken[0] == taken[-1])


def _tenants_go_together(scenario: Scenario) -> Iterator[Finding]:
    tenants = scenario.workload.tenants
    names = [tenant.name for tenant in tenants]
    own = [tenant.arrivals is not None for tenant in tenants]
    for index, tenant in enumerate(tenants):
        where = ("workload", "tenant", index)
        if tenant.name in names[:index]:
            yield Finding((*where, "name"), "expected a name of its own", f'"{tenant.name}" again')
        if any(own) and not own[index]:
            expected = "missing; required because other tenants have arrivals of their own"
            way_out = "give every tenant arrivals, or every tenant a share of workload.arrivals"
            yield Finding((*where, "arrivals"), expected, way_out=way_out)
    if tenants and scenario.workload.equal_work_batch is not None:
        expected = "does not go with tenants, whose requests are not repeated"
        yield Finding(("workload", "equal_work_batch"), expected, way_out="remove it")


def _prefixes_go_together(workload: Workload) -> Iterator[Finding]:
    """Every request begins with one prefix at most, and recorded blocks say with which."""
    prefixes, recording = workload.prefixes, workload.lengths.recording
    tenants = tuple(tenant.name for tenant in workload.tenants)
    if recording is not None:
        tenants = recording.tenants
    if prefixes and recording is not None and recording.hash_ids is not None:
        expected = "does not go with recorded hash_ids, which say how prompts begin"
        yield Finding(("workload", "prefix"), expected, way_out="remove it")
    for index, prefix in enumerate(prefixes):
        where = ("workload", "prefix", index)
        if prefix.name in {each.name for each in prefixes[:index]}:
            yield Finding((*where, "name"), "expected a name of its own", f'"{prefix.name}" again')
        if prefix.tenant is not None and prefix.tenant not in tenants:
            known = ", ".join(tenants[:10])
            expected = f"expected a tenant, {known}" if tenants else "there are no tenants"
            yield Finding((*where, "tenant"), expected, f'"{prefix.tenant}"')
    for tenant in tenants or (None,):
        shares = [each.share for each in prefixes if each.tenant in {None, tenant}]
        if sum(shares) > 1 + 1e-9:
            whose = "" if tenant is None else f' of tenant "{tenant}"'
            yield Finding(
                ("workload", "prefix"),
                f"expected shares{whose} that add up to 1 at most",
                f"{sum(shares):g}",
                "a request begins with one prefix",
            )
            return


def _answers_are_played(scenario: Scenario) -> Iterator[Finding]:
    """What is sent after an answer needs a simulation that says when the answer is there."""
    workload = scenario.workload
    waiting = (
        (workload.sessions is not None, ("workload", "sessions"), "turns that wait for answers"),
        (
            workload.arrivals.kind == "closed_loop",
            ("workload", "arrivals", "kind"),
            "clients that wait for answers",
        ),
        (
            workload.clients is not None,
            ("workload", "clients"),
            "clients that do not wait for ever",
        ),
    )
    for present, where, what in waiting:
        if present and scenario.deployment.batching not in ANSWERING:
            yield Finding(
                where,
                "expected arrivals that are known beforehand because "
                f'batching = "{scenario.deployment.batching}", '
                f"which does not play {what}",
                '"closed_loop"' if where[-1] == "kind" else "",
                "state a rate, or recorded times" if where[-1] == "kind" else "remove it",
            )


def _sessions_go_together(workload: Workload) -> Iterator[Finding]:
    sessions, recording = workload.sessions, workload.recording
    if sessions is None:
        return
    if sessions.turns is not None:
        yield from _sessions_end(workload, sessions)
    elif recording is None or recording.session is None or workload.lengths.kind != "trace":
        yield Finding(
            ("workload", "sessions", "turns"),
            "missing; required where no recorded requests with sessions are taken",
            way_out="or mean_turns, or requests whose file has a column session",
        )


def _sessions_end(workload: Workload, sessions: Sessions) -> Iterator[Finding]:
    """Prompts that hold all turns before them have to stop growing, and thinking has to end."""
    if sessions.history and not sessions.fixed and workload.lengths.max_prompt_tokens is None:
        yield Finding(
            ("workload", "lengths", "max_prompt_tokens"),
            "missing; required because mean_turns sets no limit to the turns that a prompt holds",
            way_out="state the context window less the longest answer, or history = false",
        )
    turns = min(sessions.turns or 1, workload.entries)
    if turns * sessions.think_s > LONGEST_S:
        expected = f"expected sessions of at most {LONGEST_S:g} s"
        got = f"{turns:g} turns, {sessions.think_s:g} s each"
        yield Finding(("workload", "sessions", "think_s"), expected, got)


def _clients_go_together(scenario: Scenario) -> Iterator[Finding]:
    """What clients do has to have a reason and a time."""
    clients = scenario.workload.clients
    if clients is None:
        return
    where: KeyPath = ("workload", "clients")
    quantiles = clients.cancel_quantiles
    if clients.cancel_share and bool(clients.cancel_s) == bool(quantiles):
        expected = (
            "expected one of cancel_after_ms and cancel_after_quantiles_ms because "
            "cancel_share is given"
        )
        yield Finding((*where, "cancel_after_ms"), expected, "both" if quantiles else "neither")
    if not clients.cancel_share and (clients.cancel_s or quantiles):
        yield Finding(
            (*where, "cancel_share"),
            "missing; required because a patience is given",
            way_out="cancel_share = 1 gives it to every client",
        )
    yield from _quantiles_ascend((*where, "cancel_after_quantiles_ms"), quantiles)
    yield from _retries_are_possible(scenario, clients)


def _quantiles_ascend(
    where: KeyPath, quantiles: tuple[tuple[float, float], ...]
) -> Iterator[Finding]:
    shares = [share for share, _ in quantiles]
    if quantiles and (shares[0] != 0 or shares[-1] != 1):
        got = f"{shares[0]:g} to {shares[-1]:g}"
        yield Finding(where, "expected shares from 0 to 1", got)
    for (low, early), (high, late) in pairwise(quantiles):
        if high <= low or late < early:
            got = f"[{low:g}, {early * 1e3:g}], then [{high:g}, {late * 1e3:g}]"
            yield Finding(where, "expected ascending shares and times", got)
            return


def _retries_are_possible(scenario: Scenario, clients: Clients) -> Iterator[Finding]:
    where: KeyPath = ("workload", "clients")
    engine, retries = scenario.deployment.engine, clients.max_retries
    may_fail = (
        clients.first_token_s is not None
        or clients.whole_s is not None
        or (engine is not None and engine.max_waiting is not None)
    )
    if retries and not may_fail:
        yield Finding(
            (*where, "max_retries"),
            "expected a timeout, or deployment.max_waiting: else nothing is ever tried again",
            f"{retries}",
        )
    if retries and "backoff_ms" not in scenario.document["workload"]["clients"]:
        expected = "missing; required because max_retries is given"
        yield Finding(
            (*where, "backoff_ms"), expected, way_out="backoff_ms = 0 tries again at once"
        )
    longest_s = clients.backoff_s * clients.backoff_factor ** max(retries - 1, 0)
    if longest_s > LONGEST_S:
        expected = f"expected waits of at most {LONGEST_S:g} s before a retry"
        yield Finding((*where, "backoff_factor"), expected, f"{longest_s:.3g} s before the last")


def _arrivals_are_possible(scenario: Scenario) -> Iterator[Finding]:
    workload = scenario.workload
    arrivals = workload.arrivals
    yield from _profiles_are_possible(workload)
    if arrivals.kind == "times":
        times = arrivals.times_s
        where = ("workload", "arrivals", "times_s")
        needed, whats = _listed_times(workload)
        if len(times) != needed:
            expected = f"expected a time for each of the {needed} {whats}"
            yield Finding(where, expected, f"{len(times)} times")
        late = next((i for i, (a, b) in enumerate(pairwise(times)) if b < a), None)
        if late is not None:
            got = f"{times[late]:g} s, then {times[late + 1]:g} s at index {late + 1}"
            yield Finding(where, "expected ascending times", got)
    elif arrivals.kind == "closed_loop":
        rounds = -(-workload.entries // arrivals.concurrency)
        if rounds * arrivals.think_s > LONGEST_S:
            expected = f"expected that each client thinks for at most {LONGEST_S:g} s in all"
            got = f"{arrivals.think_s:g} s for each of {rounds} requests"
            yield Finding(("workload", "arrivals", "think_s"), expected, got)
    elif arrivals.rate_per_s > 0:
        entries = served_entries(scenario)
        size = scenario.deployment.microbatch_size if workload.entry == "microbatch" else 1
        groups = arrivals.kind == "groups"
        last_s = entries * (1 if groups else size) / arrivals.rate_per_s
        if last_s > LONGEST_S:
            key = "groups_per_s" if groups else "rate_per_s"
            yield Finding(
                ("workload", "arrivals", key),
                f"expected a rate at which the last entry arrives within {LONGEST_S:g} s",
                f"{arrivals.rate_per_s:g} per second: about {last_s:.3g} s",
            )

    elif arrivals.recording is not None and arrivals.recording.arrival_ns is not None:
        last_s = float(arrivals.recording.arrival_ns[: workload.entries][-1]) / 1e9
        if last_s * arrivals.time_scale > LONGEST_S:
            yield Finding(
                ("workload", "arrivals", "time_scale"),
                f"expected a factor with which the last request arrives within {LONGEST_S:g} s",
                f"{arrivals.time_scale:g}: {last_s * arrivals.time_scale:.3g} s",
            )


def _listed_times(workload: Workload) -> tuple[int, str]:
    """Return how many arrivals a list has to have, and of what: of sessions, where these arrive."""
    sessions, entries = workload.sessions, workload.entries
    if sessions is not None and sessions.fixed and sessions.turns:
        return -(-entries // int(sessions.turns)), "sessions"
    return entries, "entries"


def _profiles_are_possible(workload: Workload) -> Iterator[Finding]:
    arrivals: list[tuple[KeyPath, Arrivals]] = [(("workload", "arrivals"), workload.arrivals)]
    arrivals += [
        (("workload", "tenant", index, "arrivals"), tenant.arrivals)
        for index, tenant in enumerate(workload.tenants)
        if tenant.arrivals is not None
    ]
    for where, each in arrivals:
        if each.kind == "weibull" and (each.cv is None) == (each.shape is None):
            yield Finding((*where, "cv"), 'expected one of cv and shape because kind = "weibull"')
        if each.cv is not None and each.kind == "weibull" and not 0.02 <= each.cv <= 50:
            expected = "expected a CV from 0.02 to 50 of Weibull gaps"
            yield Finding((*where, "cv"), expected, f"{each.cv:g}")
        if each.profile is not None:
            yield from _profile_is_possible((*where, "profile"), each.profile)


def _profile_is_possible(where: KeyPath, profile: Profile) -> Iterator[Finding]:
    every, times = profile.every_s, [time for time, _ in profile.points]
    if every is not None and every < profile.start_s + profile.length_s:
        end_s = profile.start_s + profile.length_s
        expected = f"expected at least start_s + length_s, {end_s:g}, the end of the first spike"
        yield Finding((*where, "every_s"), expected, f"{every:g}")
    if profile.kind == "spikes" and every == profile.length_s and profile.factor == 0:
        yield Finding((*where, "factor"), "expected a rate above 0 at some time", "0 for good")
    if profile.kind != "steps":
        return
    if times[0] != 0 or any(b <= a for a, b in pairwise(times)):
        got = ", ".join(f"{time:g}" for time in times[:6])
        yield Finding((*where, "points"), "expected ascending times from 0 on", got)
    elif profile.repeat_s is not None and profile.repeat_s <= times[-1]:
        expected = f"expected a time after the last point, {times[-1]:g} s"
        yield Finding((*where, "repeat_s"), expected, f"{profile.repeat_s:g}")
    factors = [factor for _, factor in profile.points]
    if times[0] == 0 and profile.repeat_s is None and factors[-1] == 0:
        got = "0 from the last point on, so that the last entries never arrive"
        yield Finding((*where, "points"), "expected a factor above 0 at the end", got)
    elif not any(factors):
        yield Finding((*where, "points"), "expected a factor above 0 at some time", "0 throughout")
