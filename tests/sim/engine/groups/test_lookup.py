"""Longest hits that all groups agree on, of contents laid out by hand."""

from __future__ import annotations

from continuum_sim.engine.chain import BlockRun, WindowChain
from continuum_sim.engine.groups.lookup import Alike, Content
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.groups.spec import GroupSpec


def cached(pool: GroupedBlockPool, content: Content, *spans: tuple[int, int]) -> list[BlockRun]:
    """Cache these blocks of a content and return the table that holds them."""
    table: list[BlockRun] = []
    for start, stop in spans:
        for chain, first, last in content.parts(start, stop):
            pool.allocate(last - first)
            pool.cache(chain, first, last, table)
    return table


def test_the_last_whole_window_is_hit() -> None:
    pool, content = GroupedBlockPool(100), Content(None, 0, WindowChain())
    cached(pool, content, (0, 1), (4, 6), (8, 9))
    alike = Alike(GroupSpec("sliding", 4, 9), [0], 4)  # a hit needs two blocks
    assert alike.hit([content], 40) == (4, 6)
    assert alike.hit([content], 23) == (0, 1), "a part of it is of no use, but from the first block on it is"
    assert alike.hit([content], 3) == (0, 0)


def test_equal_groups_are_hit_together() -> None:
    pool, one, other = GroupedBlockPool(100), Content(None, 0, WindowChain()), Content(None, 0, WindowChain())
    cached(pool, one, (0, 2), (4, 8), (9, 12))
    cached(pool, other, (1, 6), (10, 11))
    assert Alike(GroupSpec("sliding", 4, 9), [0, 1], 4).hit([one, other], 48) == (4, 6)
    assert Alike(GroupSpec("full", 4), [0, 1], 4).hit([one, other], 48) == (0, 0)


def test_hits_end_where_blocks_of_all_sizes_do() -> None:
    pool, content = GroupedBlockPool(100), Content(None, 0, WindowChain())
    cached(pool, content, (0, 7))
    assert Alike(GroupSpec("full", 4), [0], 8).hit([content], 100) == (0, 6)
    assert Alike(GroupSpec("sliding", 4, 9), [0], 8).hit([content], 100) == (4, 6)


def test_a_drafter_has_the_last_block_of_a_hit_computed_again() -> None:
    pool, content = GroupedBlockPool(100), Content(None, 0, WindowChain())
    cached(pool, content, (0, 2), (4, 7))
    slides = Alike(GroupSpec("sliding", 4, 9), [0], 4)  # a hit needs two blocks, and now the one after them
    assert slides.hit_but_last([content], 27, 28) == (4, 6)
    assert slides.hit_but_last([content], 24, 28) == (4, 6), "a block more than is asked for is looked for"
    assert slides.hit_but_last([content], 20, 28) == (0, 1), "of the window that ends there a block is missing"
    assert slides.hit_but_last([content], 24, 24) == (0, 1), "the block after it has no hash"
    full = Alike(GroupSpec("full", 4), [0], 4)
    assert full.hit_but_last([content], 27, 28) == (0, 1)
    assert full.hit_but_last([content], 4, 28) == (0, 1)
    pairs = Alike(GroupSpec("sliding", 4, 9), [0], 8)
    assert pairs.hit_but_last([content], 31, 28) == (4, 6)
    state = Alike(GroupSpec("recurrent", 4), [0], 4)
    assert state.hit_but_last([content], 27, 28) == (5, 6) == state.hit([content], 27), "no drafter has states"


def test_of_chunks_only_the_last_must_be_cached() -> None:
    pool, content = GroupedBlockPool(100), Content(None, 0, WindowChain())
    cached(pool, content, (2, 3))
    alike = Alike(GroupSpec("chunked", 4, 8), [0], 4)  # examples of `ChunkedLocalAttentionManager`
    assert alike.hit([content], 15) == (2, 3)
    assert alike.hit([content], 16) == (4, 4)


def test_a_shared_prefix_and_what_follows_are_one_stretch() -> None:
    pool, shared = GroupedBlockPool(100), WindowChain()
    content = Content(shared, 3, WindowChain())
    table = cached(pool, content, (1, 5))
    assert [(run.start, run.stop) for run in table] == [(1, 3), (3, 5)]
    assert content.span_before(9) == (1, 5)
    assert content.span_before(2) == (1, 3)
    assert [(start, stop) for _, start, stop in content.find(2, 5, pool)] == [(2, 3), (3, 5)]


def test_what_is_evicted_leaves_a_gap_unless_there_is_a_copy() -> None:
    pool, content = GroupedBlockPool(12), Content(None, 0, WindowChain())
    table = cached(pool, content, (0, 6))
    copy = cached(pool, content, (3, 5))
    pool.release(table)
    pool.allocate(4 + 3)  # four are blank; of the context the last three go
    assert content.own.span_before(9) == (0, 5)
    assert [(run is copy[0], start, stop) for run, start, stop in content.find(0, 6, pool)] == [
        (False, 0, 3),
        (True, 3, 5),
    ]
    pool.release(copy)
    pool.allocate(3 + 2)
    assert content.own.span_before(9) == (0, 0)
