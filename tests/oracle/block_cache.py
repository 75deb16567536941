"""Prefix caching the obvious way: text as tuples of tokens, blocks in lists and dicts.

With `toolkit.simulator.engine_cache` it shares nothing: what two requests have
in common is found by writing their text down, token by token.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from toolkit.scenario.model import Scenario
from toolkit.workload.requests import Requests

__all__ = ["BlockCache", "texts"]

Text = tuple[Hashable, ...]


def texts(scenario: Scenario, requests: Requests) -> list[Text]:
    """Return prompt and answer of each request, a label for every token.

    Two tokens of one label are the same only where all before them are, too:
    blocks are compared with all that comes before.
    """
    if requests.hash_ids is not None:
        lists = requests.hash_ids.lists()
        return [_recorded(requests, number, ids) for number, ids in enumerate(lists)]
    found: list[Text] = []
    last: dict[Any, int] = {}
    for number in range(len(requests)):
        prompt, output = (
            int(column[number]) for column in (requests.prompt_tokens, requests.output_tokens)
        )
        own = tuple(("own", number, at) for at in range(prompt + output))
        prefix = -1 if requests.prefix is None else int(requests.prefix[number])
        begins: Text = ()
        if prefix >= 0:
            tokens = scenario.workload.prefixes[prefix].tokens
            begins = tuple(("prefix", prefix, at) for at in range(min(tokens, prompt)))
        session = -1 if requests.session is None else int(requests.session[number])
        if session >= 0 and session in last and len(found[last[session]]) <= prompt:
            begins = found[last[session]]
        if session >= 0:
            last[session] = number
        found.append(begins + own[len(begins) :])
    return found


def _recorded(requests: Requests, number: int, ids: list[int]) -> Text:
    assert requests.block_tokens is not None
    prompt = int(requests.prompt_tokens[number])
    text: list[Hashable] = []
    for each in ids:
        text += [(each, at) for at in range(requests.block_tokens)]
    text = text[:prompt]
    total = prompt + int(requests.output_tokens[number])
    return (*text, *(("own", number, at) for at in range(len(text), total)))


class BlockCache:
    """The blocks of one replica."""

    def __init__(self, size: int, blocks: int | None) -> None:
        """Begin with empty blocks of so many tokens, in order; None: as many as are asked for."""
        self.size = size
        self.endless = blocks is None
        self.free = list(range(blocks or 0))
        self.made = blocks or 0
        self.holders: dict[int, int] = {}
        self.known: dict[int, Text] = {}
        """Text of known blocks, the oldest first."""
        self.lost = 0

    @property
    def used(self) -> int:
        """Blocks that somebody holds."""
        return sum(holders > 0 for holders in self.holders.values())

    @property
    def cached(self) -> int:
        """Free blocks whose text is known."""
        return sum(block in self.known for block in self.free)

    def find(self, text: Text, tokens: int) -> list[int]:
        """Return the known blocks with which a text begins, all but its last token at most."""
        found: list[int] = []
        for end in range(self.size, tokens, self.size):
            same = [block for block, known in self.known.items() if known == text[:end]]
            if not same:
                break
            found.append(same[0])
        return found

    def fits(self, found: list[int], blocks: int) -> bool:
        """Return whether so many blocks can be had, those found among them."""
        free = len(self.free) - sum(block in self.free for block in found)
        return self.endless or blocks - len(found) <= free

    def take(self, found: list[int], blocks: int) -> list[int]:
        """Hold the blocks found and new ones."""
        for block in found:
            if block in self.free:
                self.free.remove(block)
            self.holders[block] += 1
        return found + [self.new() for _ in range(blocks - len(found))]

    def new(self) -> int:
        """Hold the block that has been free for longest; what is known of it is lost."""
        if self.endless:
            self.free.insert(0, self.made)
            self.made += 1
        block = self.free.pop(0)
        self.lost += self.known.pop(block, None) is not None
        self.holders[block] = 1
        return block

    def learn(self, held: list[int], text: Text, tokens: int) -> None:
        """Know those blocks that the first `tokens` tokens of a text fill."""
        for place, block in enumerate(held[: tokens // self.size]):
            if block not in self.known:
                self.known[block] = text[: (place + 1) * self.size]

    def release(self, held: list[int]) -> None:
        """Let blocks go, the last one first."""
        for block in reversed(held):
            self.holders[block] -= 1
            if not self.holders[block]:
                self.free.append(block)
