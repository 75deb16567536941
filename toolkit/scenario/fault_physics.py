"""Do the numbers of failures and replicas go together?

As in `toolkit.scenario.physics`, which asks these checks beside its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.scenario.model import Failure, Scenario
from toolkit.scenario.validate import Finding

__all__ = ["COUNTS", "WORK"]


def _faults_go(scenario: Scenario) -> Iterator[Finding]:
    """Only pipelines of microbatches fail and replicate, under `event`."""
    deployment = scenario.deployment
    asked = [key for key in ("failures", "failure") if scenario.document.get(key)]
    if deployment.replication != "none":
        asked.append("deployment.replication")
    for key in asked:
        path = tuple(key.split("."))
        if scenario.discipline != "event":
            expected = 'asks for discipline = "event"; the published programs know no failures'
            yield Finding(path, expected, f'"{scenario.discipline}"')
        elif deployment.kind != "pipeline" or deployment.engine is not None:
            got = "continuous batching" if deployment.engine else "prompt and token machines"
            yield Finding(
                path,
                "goes with pipelines of microbatches only, as yet",
                got,
                'remove it, or use deployment.kind = "pipeline" with batching = "microbatch"',
            )


def _machines_are_there(scenario: Scenario) -> Iterator[Finding]:
    machines = scenario.hardware.machines
    for index, each in enumerate(_listed(scenario)):
        if each["machine"] >= machines:
            expected = f"expected a machine of the {machines}, 0 to {machines - 1}"
            yield Finding(("failure", index, "machine"), expected, f"{each['machine']}")


def _failures_take_time(scenario: Scenario) -> Iterator[Finding]:
    """A failure that is over at once would be none."""
    failures = scenario.failures
    if failures is None:
        return
    way_out = "state detection_s, restart_s, or both"
    expected = "expected a failure that takes time"
    if failures.mtbf_s is not None and failures.detection_s + failures.restart_s == 0:
        yield Finding(("failures", "restart_s"), expected, "0 s in all", way_out)
    usual = scenario.document.get("failures", {})
    for index, each in enumerate(_listed(scenario)):
        took = sum(each.get(key, usual.get(key, 0)) for key in ("detection_s", "restart_s"))
        if took == 0:
            yield Finding(("failure", index, "restart_s"), expected, "0 s in all", way_out)


def _a_machine_is_up_to_fail(scenario: Scenario) -> Iterator[Finding]:
    """Of one machine, the next failure comes after it is back from the last."""
    last: dict[int, Failure] = {}
    for each in scenario.failures.scheduled if scenario.failures else ():
        before = last.get(each.machine)
        if before is not None:
            back = before.at_s + before.detection_s + before.restart_s
            if each.at_s < back:
                yield Finding(
                    ("failure",),
                    f"expected machine {each.machine} to be up when it fails again: it fails at "
                    f"{before.at_s:g} s and is back at {back:g} s",
                    f"at_s = {each.at_s:g}",
                )
        last[each.machine] = each


def _replicas_have_a_place(scenario: Scenario) -> Iterator[Finding]:
    if scenario.deployment.replication == "none" or scenario.deployment.kind != "pipeline":
        return
    cause = 'because deployment.replication = "next_stage"'
    if scenario.token_stages < 2:
        expected = f"expected at least 2 stages a replica, {cause}"
        yield Finding(("deployment", "replication"), expected, f"{scenario.token_stages}")
    for path, thing in (
        (("hardware", "link"), scenario.hardware.link),
        (("model",), scenario.model),
    ):
        if thing is None:
            yield Finding(path, f"missing; required {cause}")


def _swapping_is_possible(scenario: Scenario) -> Iterator[Finding]:
    """Swapping needs sizes and a link; and it is not played together with failures."""
    if not scenario.deployment.swapping or scenario.deployment.kind != "pipeline":
        return
    path, cause = ("deployment", "swapping"), "because deployment.swapping = true"
    if scenario.discipline != "event":
        yield Finding(path, 'asks for discipline = "event"', f'"{scenario.discipline}"')
    if scenario.failures is not None or scenario.deployment.replication != "none":
        expected = "does not go with failures and replicas, as yet"
        yield Finding(path, expected, "true", "remove one of the two")
    needed = (
        (("hardware", "host_link"), scenario.hardware.host_link),
        (("model",), scenario.model),
    )
    for where, thing in needed:
        if thing is None:
            way_out = 'hardware.host_link = "pcie-4-x16"' if where[0] == "hardware" else ""
            yield Finding(where, f"missing; required {cause}", way_out=way_out)


def _listed(scenario: Scenario) -> list[dict[str, float]]:
    listed: list[dict[str, float]] = scenario.document.get("failure", [])
    return listed


COUNTS = (_faults_go, _machines_are_there)
WORK = (
    _failures_take_time,
    _a_machine_is_up_to_fail,
    _replicas_have_a_place,
    _swapping_is_possible,
)
