"""The router that looks for a prompt's beginning: where most of it is cached, if load allows.

SGLang's router decides so under its policy ``cache_aware``: while the loads of
replicas differ by more than a limit the least loaded one is taken, else the
one with the longest prefix.  It states the limit as a difference and a ratio
together, here it is the difference alone; it knows of caches by a tree of its
own of what it sent where or, as here, by what engines tell it (KV events, from
which NVIDIA's Dynamo and llm-d route too).
"""

from __future__ import annotations

from toolkit.simulator.engine_blocks import extend, know, look
from toolkit.simulator.engine_queues import blocks_of, run_end
from toolkit.simulator.engine_state import NEVER, EnginePlan, EngineState
from toolkit.simulator.kernel import inner

__all__ = ["most_akin"]


@inner
def _settle(plan: EnginePlan, state: EngineState, replica: int) -> None:
    """Give the decodes of a run the blocks of those of its steps that have begun."""
    engine, now = state.replicas[replica], state.run[0].now
    if engine.due == NEVER or engine.chunks > 0:
        return
    low, high = engine.done + 1, engine.until  # the first boundary not before now
    while low < high:
        middle = (low + high) // 2
        if run_end(plan, state, replica, middle) >= now:
            high = middle
        else:
            low = middle + 1
    steps = low - engine.done
    for place in range(engine.count):
        request = state.running[replica, place]
        tokens = state.requests[request].computed + steps
        extend(plan, state, replica, request, blocks_of(plan, tokens))
        know(plan, state, replica, request, tokens)


@inner
def most_akin(plan: EnginePlan, state: EngineState, request: int) -> int:
    """Return the replica with most of a prompt's beginning; of equals the least loaded."""
    replicas = plan.split if plan.split > 0 else len(state.replicas)
    best, longest, least, most = 0, 0, 0, 0
    for replica in range(replicas):
        load = state.queue_size[replica, 0] + state.replicas[replica].count
        least = load if replica == 0 else min(least, load)
        most = max(most, load)
    balanced = most - least <= plan.limits[0].imbalance
    lightest = most + 1
    for replica in range(replicas):
        found, load = 0, state.queue_size[replica, 0] + state.replicas[replica].count
        if balanced and plan.limits[0].caching != 0:
            _settle(plan, state, replica)
            look(plan, state, replica, request, plan.requests[request].prompt)
            found = state.cache.pools[replica].found
        if found > longest or (found == longest and load < lightest):
            best, longest, lightest = replica, found, load
    return best
