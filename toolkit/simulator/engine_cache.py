"""Blocks of KV cache that others may use again: prefix caching, one replica at a time.

As vLLM's V1 does it (vllm/v1/core/block_pool.py and kv_cache_manager.py, 0.11):

* A block that is full is known by all the text up to its end, from the moment
  a step that fills it is formed.  Of blocks of one text, the oldest is used.
* A block is held by as many requests as use it.  Once nobody does it stands at
  the end of the queue of free blocks, the tail of a request before its head,
  and keeps its text until it is taken for another.
* Blocks are taken from the front of that queue; those never used stand there first.
* A prompt finds the blocks of its start that are known, without a gap, but
  always computes one token at least.

What stands in a block is a number of `toolkit.workload.prefixes`; 0 is nothing.
Blocks count from 1: number 0 closes the ring of free blocks, and ends chains.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.simulator.kernel import I8, Records, inner, records
from toolkit.simulator.reference import ReferenceType, by_reference

__all__ = [
    "CacheState",
    "grow_to",
    "known_blocks",
    "learn",
    "new_cache",
    "no_cache",
    "release",
    "take",
    "with_more_tables",
]

BLOCK_FIELDS = ("text", "holders", "before", "after", "earlier", "later")
"""Of each block: the number of its text, requests that hold it, its neighbours among free blocks
(in the queue) and among those of its bucket (in order of age)."""

POOL_FIELDS = ("fresh", "tables", "cached", "found", "idle")

SPREAD = np.int64(-7046029254386353131)  # 2**64 over the golden ratio, as int64


class CacheState(NamedTuple):
    """Blocks of every replica, and who has them.

    ``pools`` has a record for each replica: blocks ever used (``fresh``),
    ``tables`` in use, free blocks whose text is known (``cached``), blocks
    ``found`` by the last look and those of them that are free (``idle``).
    ``blocks`` (replicas, blocks + 1); ``buckets`` (replicas, buckets, 2) the
    first and last block of each chain; ``tables`` (replicas, seats + 1, most
    blocks of a request) which blocks a request has, the last row for those
    just found; ``spare`` (replicas, seats) its free rows.
    """

    pools: Records
    blocks: Records
    buckets: I8
    tables: I8
    spare: I8


class CacheReference(ReferenceType):
    pass


cache_reference = by_reference(CacheState._fields, CacheReference)


def new_cache(replicas: int, blocks: int, seats: int, longest: int) -> CacheState:
    """Return empty caches of so many blocks each; requests have `longest` blocks at most.

    Memory is taken as blocks are used.
    """
    return CacheState(
        pools=records(POOL_FIELDS, replicas),
        blocks=records(BLOCK_FIELDS, replicas * (blocks + 1)).reshape(replicas, blocks + 1),
        buckets=np.zeros((replicas, 1 << max(blocks - 1, 1).bit_length(), 2), np.int64),
        tables=np.zeros((replicas, seats + 1, longest), np.int64),
        spare=np.tile(np.arange(seats), (replicas, 1)),
    )


def no_cache(replicas: int) -> CacheState:
    """Return what stands for caches where nothing is cached."""
    return new_cache(replicas, 0, 0, 0)


def with_more_tables(cache: CacheState) -> CacheState:
    """Return the caches with room for twice as many requests that hold blocks."""
    replicas, before = cache.spare.shape
    tables = np.zeros((replicas, 2 * before + 1, cache.tables.shape[2]), np.int64)
    tables[:, :before] = cache.tables[:, :before]  # the last row was for those just found
    spare = np.tile(np.arange(2 * before), (replicas, 1))
    spare[:, :before] = cache.spare
    return cache._replace(tables=tables, spare=spare)


# -- chains of blocks of one bucket ------------------------------------------------------------


@inner
def _bucket(cache: CacheState, text: int) -> int:
    """Return the bucket of a text."""
    return ((text * SPREAD) >> 17) & (cache.buckets.shape[1] - 1)


@inner
def _find(cache: CacheState, replica: int, text: int) -> int:
    """Return the oldest block of a text, 0 if there is none."""
    blocks = cache.blocks[replica]
    block = cache.buckets[replica, _bucket(cache, text), 0]
    while block != 0 and blocks[block].text != text:
        block = blocks[block].later
    return block


@inner
def _learn(cache: CacheState, replica: int, block: int, text: int) -> None:
    """Let a block be known by its text."""
    blocks, ends = cache.blocks[replica], cache.buckets[replica, _bucket(cache, text)]
    blocks[block].text = text
    blocks[block].earlier = ends[1]
    blocks[block].later = 0
    if ends[1] == 0:
        ends[0] = block
    else:
        blocks[ends[1]].later = block
    ends[1] = block


@inner
def _forget(cache: CacheState, replica: int, block: int) -> None:
    """Let a block's text be known no more."""
    blocks = cache.blocks[replica]
    this = blocks[block]
    ends = cache.buckets[replica, _bucket(cache, this.text)]
    if this.earlier == 0:
        ends[0] = this.later
    else:
        blocks[this.earlier].later = this.later
    if this.later == 0:
        ends[1] = this.earlier
    else:
        blocks[this.later].earlier = this.earlier
    this.text = 0


# -- the queue of free blocks ------------------------------------------------------------------


@inner
def _pull(cache: CacheState, replica: int, block: int) -> None:
    """Take a block out of the queue of free ones."""
    blocks = cache.blocks[replica]
    this = blocks[block]
    blocks[this.before].after = this.after
    blocks[this.after].before = this.before
    if this.text != 0:
        cache.pools[replica].cached -= 1


@inner
def _put(cache: CacheState, replica: int, block: int) -> None:
    """Put a block at the end of the queue of free ones."""
    blocks = cache.blocks[replica]
    last = blocks[0].before
    blocks[block].before = last
    blocks[block].after = 0
    blocks[last].after = block
    blocks[0].before = block
    if blocks[block].text != 0:
        cache.pools[replica].cached += 1


@inner
def _new(cache: CacheState, replica: int) -> int:
    """Take the block whose room is needed first; what stood in it is lost."""
    pool = cache.pools[replica]
    if pool.fresh + 1 < cache.blocks.shape[1]:
        pool.fresh += 1
        block = pool.fresh
    else:
        block = cache.blocks[replica, 0].after
        _pull(cache, replica, block)
        if cache.blocks[replica, block].text != 0:
            _forget(cache, replica, block)
    cache.blocks[replica, block].holders = 1
    return block


# -- what requests do --------------------------------------------------------------------------


@inner
def known_blocks(
    cache: CacheState, runs: I8, start: int, size: int, replica: int, tokens: int
) -> None:
    """Look for the full blocks of a request's first `tokens` tokens that are known.

    The last token is never among them.  `runs` (runs, 2) has ends and shifts
    of all requests' text, those of this one from row `start`; blocks have
    `size` tokens.  What is found is noted in the pool.
    """
    found, row = cache.tables[replica, cache.tables.shape[1] - 1], start
    most, free, place = (tokens - 1) // size, 0, 0
    while place < most:
        end = (place + 1) * size
        while runs[row, 0] < end:
            row += 1
        block = _find(cache, replica, runs[row, 1] + end)
        if block == 0:
            break
        found[place] = block
        if cache.blocks[replica, block].holders == 0:
            free += 1
        place += 1
    cache.pools[replica].found = place
    cache.pools[replica].idle = free


@inner
def take(cache: CacheState, replica: int, blocks: int) -> int:
    """Give a request the blocks just found and new ones, so many in all; return its table."""
    pool = cache.pools[replica]
    table = cache.spare[replica, pool.tables]
    pool.tables += 1
    own, found = cache.tables[replica, table], cache.tables[replica, cache.tables.shape[1] - 1]
    for place in range(pool.found):
        block = found[place]
        if cache.blocks[replica, block].holders == 0:
            _pull(cache, replica, block)
        cache.blocks[replica, block].holders += 1
        own[place] = block
    for place in range(pool.found, blocks):
        own[place] = _new(cache, replica)
    return table


@inner
def grow_to(cache: CacheState, replica: int, table: int, had: int, blocks: int) -> None:
    """Give a request new blocks behind those it had."""
    for place in range(had, blocks):
        cache.tables[replica, table, place] = _new(cache, replica)


@inner
def learn(
    cache: CacheState,
    runs: I8,
    start: int,
    size: int,
    replica: int,
    table: int,
    known: int,
    tokens: int,
) -> int:
    """Let a request's blocks be known that its first `tokens` tokens fill; return how many are."""
    row = start
    for place in range(known, tokens // size):
        end = (place + 1) * size
        while runs[row, 0] < end:
            row += 1
        _learn(cache, replica, cache.tables[replica, table, place], runs[row, 1] + end)
    return max(known, tokens // size)


@inner
def release(cache: CacheState, replica: int, table: int, blocks: int) -> int:
    """Let a request's blocks go, the last one first; return how many nobody else holds."""
    pool, own, freed = cache.pools[replica], cache.tables[replica, table], 0
    for behind in range(1, blocks + 1):
        block = own[blocks - behind]
        cache.blocks[replica, block].holders -= 1
        if cache.blocks[replica, block].holders == 0:
            _put(cache, replica, block)
            freed += 1
    pool.tables -= 1
    cache.spare[replica, pool.tables] = table
    return freed
