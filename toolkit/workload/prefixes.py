"""Which requests begin with the same text: declared prefixes, conversations, recorded blocks.

Text is told apart by numbers.  A *run* is a stretch of one request's prompt and
answer; the token that ends at position e of a request (from 1) has the number

    shift of its run + e,

and two tokens of one number have the same text up to there.  So a block of KV
cache, of any size, is known by the number of its last token, and a prompt of
100,000 tokens takes no more room than the few runs it is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from toolkit.scenario.model import Prefix, Scenario, Workload

if TYPE_CHECKING:
    from toolkit.recordings.recording import Ragged
    from toolkit.workload.requests import Requests

__all__ = ["Contents", "contents", "converses", "draw_prefixes", "shared_tokens"]

I4 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Contents:
    """Prompts and answers as runs of text: those of request i are rows starts[i] to starts[i+1].

    ``ends`` is the last position of each run, ``shifts`` what makes positions
    numbers of text; ``starts`` has shape (requests + 1,).
    """

    starts: I8
    ends: I8
    shifts: I8

    @property
    def answers_shared(self) -> bool:
        """Whether a prompt may begin with another request's prompt and answer."""
        last = self.shifts[self.starts[1:] - 1]
        return len(np.unique(last)) < len(last)

    def shared_tokens(self, prompt_tokens: I4) -> I8:
        """Return how many tokens at the start of each prompt another request has too, or may have.

        Shape (requests,).  A run counts whole where any other request has one
        of its shift.
        """
        _, which, uses = np.unique(self.shifts, return_inverse=True, return_counts=True)
        own = uses[which] == 1
        owner = np.repeat(np.arange(len(prompt_tokens)), np.diff(self.starts))
        before = np.where(own, np.append(0, self.ends[:-1]), np.iinfo(np.int64).max)
        before[own & (np.arange(len(own)) == self.starts[owner])] = 0
        shared = np.full(len(prompt_tokens), np.iinfo(np.int64).max)
        np.minimum.at(shared, owner, before)
        least: I8 = np.minimum(shared, prompt_tokens)
        return least


def draw_prefixes(
    prefixes: tuple[Prefix, ...],
    count: int,
    tenant: I4 | None,
    tenants: tuple[str, ...],
    session: I4 | None,
    rng: np.random.Generator,
) -> I4 | None:
    """Return which declared prefix each of `count` requests begins with, -1 for none.

    Shape (count,); None where none is declared.  One uniform number per
    request, or per session: all turns of a conversation begin alike.
    """
    if not prefixes:
        return None
    uniform = rng.random(count)
    if session is not None:
        numbered = np.where(session < 0, session.max(initial=-1) + 1 + np.arange(count), session)
        _, first, whose = np.unique(numbered, return_index=True, return_inverse=True)
        uniform = uniform[first][whose]
    drawn = np.full(count, -1, np.int32)
    for code, name in enumerate(tenants or ("",)):
        rows = np.arange(count) if tenant is None else np.flatnonzero(tenant == code)
        own = [at for at, each in enumerate(prefixes) if each.tenant in {None, name}]
        shares = np.cumsum([prefixes[at].share for at in own])
        place = np.searchsorted(shares, uniform[rows], side="right")
        drawn[rows] = np.array([*own, -1], np.int32)[place]
    return drawn


def contents(scenario: Scenario, requests: Requests) -> Contents:
    """Return what the requests of a scenario have in common, as runs of text.

    Recorded ``hash_ids`` say it all.  Else a prompt begins with the prefix that
    was drawn for it, as far as it reaches; and with ``sessions`` that keep
    their history, or recorded ones, the prompt of a turn begins with prompt
    and answer of the turn before, unless it is too short to hold them: then
    the conversation was cut, and nothing of it is taken over.
    """
    if requests.hash_ids is not None and requests.block_tokens is not None:
        return _of_blocks(requests, requests.hash_ids, requests.block_tokens)
    prompt = requests.prompt_tokens.astype(np.int64)
    total = prompt + requests.output_tokens
    opening = _openings(scenario, requests, prompt, total)
    declared = scenario.workload.prefixes
    tokens = np.array([0, *(each.tokens for each in declared)], np.int64)
    which = (np.full(len(prompt), -1) if requests.prefix is None else requests.prefix)[opening]
    prefix_end = np.minimum(tokens[which + 1], prompt[opening])
    bases = np.concatenate(([0], np.cumsum(tokens[1:])))
    rows = np.arange(len(prompt))
    longest = np.zeros(len(prompt), np.int64)
    np.maximum.at(longest, opening, total)
    own = bases[-1] + np.cumsum(longest) - longest
    return _in_order(
        np.concatenate((rows, rows)),
        np.concatenate((np.zeros_like(prompt), prefix_end)),
        np.concatenate((prefix_end, total)),
        np.concatenate((bases[which], own[opening])),
        len(prompt),
    )


def shared_tokens(scenario: Scenario, requests: Requests) -> I8 | None:
    """Return how many tokens of each prompt a prefix cache may hold already, shape (requests,).

    None where the scenario has no such cache.
    """
    engine = scenario.deployment.engine
    if engine is None or not engine.prefix_caching:
        return None
    return contents(scenario, requests).shared_tokens(requests.prompt_tokens)


def converses(workload: Workload) -> bool:
    """Return whether sessions are conversations; those of a closed loop are clients."""
    if workload.sessions is not None:
        return workload.sessions.history
    return workload.recording is not None and workload.arrivals.kind != "closed_loop"


def _openings(scenario: Scenario, requests: Requests, prompt: I8, total: I8) -> I8:
    """Return the request with which each one's conversation began: itself, where it has none."""
    rows = np.arange(len(prompt))
    if requests.session is None or requests.turn is None or not converses(scenario.workload):
        return rows
    order = np.lexsort((requests.turn, requests.session))
    session, turn = requests.session[order], requests.turn[order]
    goes_on = (session[1:] == session[:-1]) & (session[1:] >= 0) & (turn[1:] > turn[:-1])
    goes_on &= prompt[order][1:] >= total[order][:-1]
    at = np.maximum.accumulate(np.where(np.append(False, goes_on), 0, rows))
    opening = np.empty_like(rows)
    opening[order] = order[at]
    return opening


def _of_blocks(requests: Requests, hash_ids: Ragged, block: int) -> Contents:
    """Return the runs of recorded blocks: a block is known by its id and those before it.

    What of a prompt its ids do not reach, and its answer, is nobody else's.
    """
    lengths = np.diff(hash_ids.starts)
    owner = np.repeat(np.arange(len(requests)), lengths)
    depth = np.arange(len(owner)) - hash_ids.starts[owner]
    since = depth * block
    prompt = requests.prompt_tokens.astype(np.int64)
    until = np.minimum(since + block, prompt[owner])
    nodes = _nodes(hash_ids.ids, depth)
    covered = np.minimum(lengths * block, prompt)
    total = prompt + requests.output_tokens
    rest = total - covered
    own = (nodes.max(initial=-1) + 1) * block + np.cumsum(rest) - rest
    return _in_order(
        np.concatenate((owner, np.arange(len(requests)))),
        np.concatenate((since, covered)),
        np.concatenate((until, total)),
        np.concatenate((nodes * block - since, own - covered)),
        len(requests),
    )


def _nodes(ids: I8, depth: I8) -> I8:
    """Return the number of each block's node in the tree of all lists of ids."""
    _, dense = np.unique(ids, return_inverse=True)
    width = dense.max(initial=0) + 1
    nodes = np.zeros(len(ids), np.int64)
    by_depth = np.argsort(depth, kind="stable")
    levels = np.split(by_depth, np.cumsum(np.bincount(depth))[:-1]) if len(ids) else []
    known = 0
    for level, rows in enumerate(levels):
        parents = nodes[rows - 1] if level else np.zeros(len(rows), np.int64)
        pairs, which = np.unique(parents * width + dense[rows], return_inverse=True)
        nodes[rows] = known + which
        known += len(pairs)
    return nodes


def _in_order(owner: I8, since: I8, until: I8, shift: I8, count: int) -> Contents:
    """Return runs in order of request and position, those of no length left out."""
    kept = np.flatnonzero(until > since)
    kept = kept[np.lexsort((since[kept], owner[kept]))]
    starts = np.append(0, np.cumsum(np.bincount(owner[kept], minlength=count)))
    return Contents(starts, until[kept], shift[kept])
