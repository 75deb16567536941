"""The pools of a deployment of engines, each as a scenario of its own kind of replicas."""

from __future__ import annotations

from dataclasses import replace

from toolkit.scenario.model import Scenario

__all__ = ["pools"]


def pools(scenario: Scenario) -> tuple[Scenario, ...]:
    """Return the prompt pool and the token pool; the scenario alone where nothing is split.

    A pool is the scenario as if its replicas took prompts and tokens: what a
    replica's memory holds and what its steps cost is asked of it.
    """
    token = scenario.token_pool
    if token is None:
        return (scenario,)
    deployment = scenario.deployment
    prompts, tokens = deployment.prompt_machines, deployment.token_machines
    alone = replace(deployment, kind="pipeline", prompt_machines=0, token_machines=0)
    return (
        replace(
            scenario,
            hardware=replace(scenario.hardware, machines=prompts),
            deployment=replace(alone, data_parallel=prompts),
            token_pool=None,
        ),
        replace(
            scenario,
            hardware=replace(token.hardware, machines=tokens),
            deployment=replace(
                alone, data_parallel=tokens, engine=token.engine, router=token.router
            ),
            timing=token.timing,
            token_pool=None,
        ),
    )
