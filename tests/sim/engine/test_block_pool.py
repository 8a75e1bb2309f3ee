"""The pool of runs against one object per block, over random histories of programs."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.chain import BlockRun, Chain, WindowChain
from continuum_sim.engine.request import Context
from support.naive_pool import Block, NaivePool

LONGEST = 9
"""Blocks of the longest prompt."""


@dataclass
class Twin:
    """A program in both pools: `context` and `table` in the pool of runs, `blocks` in the naive one."""

    name: str
    context: Context
    shared_id: str | None
    contents: list[tuple[Any, ...]] = field(default_factory=list)
    """What the block at each index holds, as the naive pool names it."""
    state: str = "parked"
    table: list[BlockRun] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    full: int = 0
    """Blocks of a running turn that are full; the rest is the partly filled last one."""


class TwoPools(RuleBasedStateMachine):
    """Does the same to both pools, in the way the scheduler would."""

    @initialize(num_blocks=st.integers(4, 24))
    def start(self, num_blocks: int) -> None:
        self.pool = BlockPool(num_blocks)
        self.naive = NaivePool(num_blocks)
        self.shared = {"s": Chain(), "t": Chain()}
        self.labels: dict[int, Hashable] = {id(chain): name for name, chain in self.shared.items()}
        self.chains: list[Chain] = list(self.shared.values())  # kept alive: labels go by identity
        self.born = 0
        self.given_up: set[Hashable] = set()
        """Contents of the naive pool that no program will ask for again."""
        self.twins = [self._new_program(None, 0), self._new_program("s", 3), self._new_program("s", 4)]

    def _new_program(self, shared_id: str | None, shared_blocks: int) -> Twin:
        self.born += 1
        name = f"p{self.born}"
        context = Context(None if shared_id is None else self.shared[shared_id], shared_blocks)
        self.labels[id(context.own)] = name
        self.chains.append(context.own)
        contents: list[tuple[Any, ...]] = [
            (shared_id, index) if index < shared_blocks else (name, index, 0) for index in range(LONGEST + 1)
        ]
        return Twin(name, context, shared_id, contents)

    def _pick(self, which: int, *states: str) -> Twin | None:
        fitting = [twin for twin in self.twins if twin.state in states]
        return fitting[which % len(fitting)] if fitting else None

    # What the scheduler does ----------------------------------------------------------------------------

    @rule(which=st.integers(0, 5), blocks=st.integers(1, LONGEST), partial=st.booleans())
    def admit(self, which: int, blocks: int, partial: bool) -> None:
        twin = self._pick(which, "parked", "pinned")
        if twin is None:
            return
        # A prompt of whole blocks computes its last one again; a partly filled last block is never cached.
        hits = twin.context.find(blocks - 1)
        found = self.naive.find(twin.contents[: blocks - 1])
        covered = hits[-1][2] if hits else 0
        assert covered == len(found)
        held = sum(stop - start for run, start, stop in hits if run.refs)
        assert held == sum(block.refs > 0 for block in found)
        if blocks - held > self.pool.free:
            return
        table: list[BlockRun] = []
        for run, start, stop in reversed(hits):
            self.pool.touch(run, start, stop, table)
        self.pool.allocate(blocks - covered)
        self.naive.touch(found)
        mine = found + self.naive.allocate(blocks - covered)
        self._end_pin(twin)
        twin.state, twin.table, twin.blocks, twin.full = "running", table, mine, covered
        self._fill(twin, blocks - partial)

    @rule(which=st.integers(0, 5), blocks=st.integers(0, 3), partial=st.booleans())
    def grow(self, which: int, blocks: int, partial: bool) -> None:
        twin = self._pick(which, "running")
        if twin is None or blocks > self.pool.free or len(twin.blocks) + blocks > LONGEST:
            return
        self.pool.allocate(blocks)
        twin.blocks += self.naive.allocate(blocks)
        self._fill(twin, len(twin.blocks) - partial)

    @rule(which=st.integers(0, 5))
    def release(self, which: int) -> None:
        """End a turn."""
        twin = self._pick(which, "running")
        if twin is not None:
            blank = self._cache_own(twin)
            self.pool.merge(twin.table)
            self.pool.release(twin.table, blank)
            self._let_go(twin)

    @rule(which=st.integers(0, 5))
    def preempt(self, which: int) -> None:
        twin = self._pick(which, "running")
        if twin is not None:
            self.pool.release(twin.table, self._cache_own(twin))
            self._let_go(twin)

    @rule(which=st.integers(0, 5))
    def evict(self, which: int) -> None:
        twin = self._pick(which, "running")
        if twin is not None:
            cached = twin.table[-1].stop if twin.table else 0
            self.pool.evict(twin.table, len(twin.blocks) - cached)
            self._let_go(twin, forget=True)

    @rule(which=st.integers(0, 5))
    def pin(self, which: int) -> None:
        twin = self._pick(which, "running")
        if twin is None or not twin.full:
            return
        blank = self._cache_own(twin)
        self.pool.merge(twin.table)
        self.pool.release([], blank)
        twin.context.pinned = twin.table
        self.pool.pin(twin.table)
        self.naive.release(twin.blocks[twin.full :])
        del twin.blocks[twin.full :]
        twin.state, twin.table = "pinned", []

    @rule(which=st.integers(0, 5))
    def unpin(self, which: int) -> None:
        twin = self._pick(which, "pinned")
        if twin is not None:
            self._end_pin(twin)
            twin.state = "parked"

    @rule(which=st.integers(0, 5), kept=st.integers(0, LONGEST), usable=st.integers(0, LONGEST))
    def shrink(self, which: int, kept: int, usable: int) -> None:
        """Let the next prompt keep less than the context holds."""
        twin = self._pick(which, "parked", "pinned")
        if twin is None:
            return
        context = twin.context
        self.pool.abandon(context.own, kept)
        context.shared_blocks = min(context.shared_blocks, kept)
        self.given_up.update(content for content in twin.contents[kept:] if content[0] == twin.name)
        self.born += 1
        twin.contents[kept:] = [(twin.name, index, self.born) for index in range(kept, LONGEST + 1)]
        usable = min(kept, usable)
        if context.pinned and context.pinned[-1].stop > usable:
            self.pool.unpin(context.pinned, usable)
            self.naive.release(twin.blocks[usable:])
            del twin.blocks[usable:]

    @rule(which=st.integers(0, 5), shared=st.sampled_from([None, "s", "t"]), blocks=st.integers(0, 5))
    @precondition(lambda self: any(twin.state == "parked" for twin in self.twins))
    def replace(self, which: int, shared: str | None, blocks: int) -> None:
        """End a program and let another arrive; what the first one cached stays."""
        twin = self._pick(which, "parked")
        assert twin is not None
        self.twins[self.twins.index(twin)] = self._new_program(shared, blocks if shared else 0)

    def _fill(self, twin: Twin, full: int) -> None:
        """Fill blocks: the naive pool caches them at once, as vLLM does; ours caches only the shared ones."""
        for index in range(twin.full, full):
            self.naive.cache(twin.blocks[index], twin.contents[index])
        twin.full = max(twin.full, full)
        context = twin.context
        done = twin.table[-1].stop if twin.table else 0
        stop = min(twin.full, context.shared_blocks)
        if context.shared is not None and stop > done:
            self.pool.cache(context.shared, done, stop, twin.table)

    def _cache_own(self, twin: Twin) -> int:
        """Cache what only the program itself can hit; return the number of blocks that stay blank."""
        done = twin.table[-1].stop if twin.table else 0
        if twin.full > done:
            self.pool.cache(twin.context.own, done, twin.full, twin.table)
        return len(twin.blocks) - max(twin.full, done)

    def _let_go(self, twin: Twin, *, forget: bool = False) -> None:
        self.naive.release(twin.blocks, forget=forget)
        twin.state, twin.blocks, twin.full = "parked", [], 0
        assert twin.table == []

    def _end_pin(self, twin: Twin) -> None:
        if twin.state == "pinned":
            self.pool.unpin(twin.context.pinned)
            self.naive.release(twin.blocks)
            twin.blocks = []

    # What must agree ------------------------------------------------------------------------------------

    @invariant()
    def free_counts_agree(self) -> None:
        assert self.pool.free == self.naive.free

    @invariant()
    def pinned_counts_agree(self) -> None:
        assert self.pool.pinned == len(
            {block for twin in self.twins if twin.state == "pinned" for block in twin.blocks}
        )

    @invariant()
    def queues_agree(self) -> None:
        """Blocks are evicted in the same order, from the first to the last."""
        ours: list[Hashable] = []
        for run in self.pool.queued():
            assert run.refs == 0
            label = None if run.chain is None else self.labels[id(run.chain)]
            ours += [(label, index) if label else "unreachable" for index in reversed(range(run.start, run.stop))]
        naive: list[Any] = [block.content for block in self.naive.queue]
        blank = naive.count(None)
        assert blank == self.pool.blank
        assert naive[:blank] == [None] * blank, "blocks without content come first"
        theirs = ["unreachable" if content in self.given_up else content[:2] for content in naive[blank:]]
        assert ours == theirs

    @invariant()
    def lookups_agree(self) -> None:
        for twin in self.twins:
            hits = twin.context.find(LONGEST)
            found = self.naive.find(twin.contents[:LONGEST])
            assert (hits[-1][2] if hits else 0) == len(found) or twin.state == "running"
            if twin.state != "running":
                refs = [run.refs for run, start, stop in hits for _ in range(start, stop)]
                assert refs == [block.refs for block in found]
                at = 0
                for run, start, stop in hits:
                    assert run.start <= start == at < stop <= run.stop
                    at = stop

    @invariant()
    def tables_are_whole(self) -> None:
        for twin in self.twins:
            table = twin.context.pinned if twin.state == "pinned" else twin.table
            at = 0
            for run in table:
                assert run.start == at < run.stop
                assert sum(held is table for held in run.holders) == 1
                at = run.stop


TwoPools.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestTwoPools = TwoPools.TestCase


@pytest.mark.slow
class TestTwoPoolsLong(TwoPools.TestCase):
    """Longer histories."""

    settings = settings(max_examples=200, stateful_step_count=120, deadline=None)


# Single rules, by hand ----------------------------------------------------------------------------------


def parked(pool: BlockPool, context: Context, blocks: int) -> None:
    """Compute and park a context of this many blocks."""
    table: list[BlockRun] = []
    pool.allocate(blocks)
    pool.cache(context.own, 0, blocks, table)
    pool.release(table)


def test_blank_blocks_are_taken_before_cached_ones() -> None:
    pool, context = BlockPool(5), Context()
    parked(pool, context, 3)
    pool.allocate(2)
    assert [(run.start, run.stop) for run in pool.queued()] == [(0, 3)]
    pool.allocate(1)
    assert [(run.start, run.stop) for run in pool.queued()] == [(0, 2)]
    pool.release([], blank=3)
    pool.allocate(3)
    assert [(run.start, run.stop) for run in pool.queued()] == [(0, 2)]
    assert pool.free == 2


def test_a_context_is_one_run_however_it_grew() -> None:
    pool, context = BlockPool(20), Context()
    table: list[BlockRun] = []
    for start in range(0, 12, 3):
        pool.allocate(3)
        pool.cache(context.own, start, start + 3, table)
    pool.merge(table)
    assert [(run.start, run.stop) for run in table] == [(0, 12)]
    assert context.own.runs == table


def test_of_two_copies_the_one_cached_first_answers() -> None:
    pool, shared = BlockPool(8), Chain()
    first, second = Context(shared, 2), Context(shared, 2)
    tables: list[list[BlockRun]] = [[], []]
    pool.allocate(4)
    pool.cache(shared, 0, 2, tables[0])
    pool.cache(shared, 0, 2, tables[1])
    assert [run for run, _, _ in second.find(2)] == [tables[0][0]]
    pool.evict(tables[0])
    assert [run for run, _, _ in first.find(2)] == [tables[1][0]]


def test_a_lookup_may_change_between_copies() -> None:
    # Copy one lost its tail; beyond its end the second copy answers.
    pool, shared = BlockPool(6), Chain()
    context = Context(shared, 3)
    tables: list[list[BlockRun]] = [[], []]
    pool.allocate(6)
    pool.cache(shared, 0, 3, tables[0])
    pool.cache(shared, 0, 3, tables[1])
    one, two = tables[0][0], tables[1][0]
    pool.release(tables[0])
    pool.allocate(1)
    assert list(context.find(3)) == [(one, 0, 2), (two, 2, 3)]


def test_an_older_copy_of_the_tail_takes_over_where_it_begins() -> None:
    # Copy one lost its front to nobody but was cut: its tail is older than copy two, whose front is all there is.
    pool, shared = BlockPool(8), Chain()
    context = Context(shared, 4)
    tables: list[list[BlockRun]] = [[], []]
    pool.allocate(8)
    pool.cache(shared, 2, 4, tables[0])
    pool.cache(shared, 0, 4, tables[1])
    tail, whole = tables[0][0], tables[1][0]
    assert list(context.find(4)) == [(whole, 0, 2), (tail, 2, 4)]


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 5)), min_size=1, max_size=6),
    st.integers(0, 4),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_of_any_copies_a_lookup_finds_the_oldest_of_every_block(
    runs: list[tuple[int, int]], start: int, blocks: int, order: Random
) -> None:
    chains, stop = (Chain(), WindowChain()), start + blocks
    stamps = order.sample(range(len(runs)), len(runs))
    for (first, length), stamp in zip(runs, stamps, strict=True):
        for chain in chains:
            chain.add(BlockRun(chain, first, first + length, stamp))
    expected = []
    for block in range(start, stop):
        copies = [stamp for (first, length), stamp in zip(runs, stamps, strict=True) if first <= block < first + length]
        if not copies:
            break
        expected.append(min(copies))
    for chain in chains:
        found = chain.find(start, stop)
        assert all(begin < end for _, begin, end in found)
        assert [run.stamp for run, begin, end in found for _ in range(begin, end)] == expected
        assert [begin for _, begin, _ in found] == [start, *(end for _, _, end in found)][: len(found)]
