"""The pool of an engine whose KV cache groups hold the same blocks of a content, or lose them one by one.

A run has blocks of several adjacent groups of one spec. vLLM frees groups one after another, so what a run in the queue
has of the first one is evicted first; where eviction or copies make groups differ, a run is made into one of each.

Behind a window that slides, a run loses its blocks to the queue from the front on, one each so many steps, between
those of other turns: a trail. It is one entry of the queue all the same, which says when its next block was queued.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from continuum_sim.engine.block_pool import BlockPool, forget, index_of, is_copy, remove_table
from continuum_sim.engine.chain import BlockRun, Chain

_NEVER: Final = 1 << 200


class GroupedBlockPool(BlockPool):
    """All KV blocks of one engine with several KV cache groups."""

    def __init__(self, num_blocks: int) -> None:
        super().__init__(num_blocks)
        self.now = 0
        """When runs are queued, in units of the caller's; it never goes back."""
        self._trails: list[tuple[int, int, BlockRun]] = []
        """Heap of (when its first block is queued, number, run) for runs that are queued block by block; of some
        entries the run has changed since."""
        self._number = 0
        self._queue.key = _NEVER

    # Taking blocks -------------------------------------------------------------------------------------

    def _evict(self, blocks: int) -> None:
        while blocks:
            run = self._queue.next
            assert run is not None
            if self._trails and self._first_trail(run.key):
                blocks = self._evict_trail(blocks)
                continue
            size = (run.stop - run.start) * run.width
            if size <= blocks:
                blocks -= size
                self._unlink(run)
                forget(run)
            elif run.width > 1:
                self._part(run, max(1, blocks // (run.stop - run.start)))
            else:
                run.stop -= blocks
                if run.chain is not None:
                    run.chain.shrank(run, run.stop + blocks)
                return

    def cache(self, chain: Chain, start: int, stop: int, table: list[BlockRun]) -> None:
        """Give content to blocks that a table has held blank; its last run grows if nothing is found otherwise then."""
        if table:
            last = table[-1]
            grows = last.chain is chain and last.stop == start and last.refs == 1 and not last.pitch
            if grows and chain.extend(last, stop):
                return
        super().cache(chain, start, stop, table)

    def touch(self, run: BlockRun, start: int, stop: int, table: list[BlockRun]) -> None:
        """Reference blocks [start, stop) of a run and insert them at the front of a block table; see `BlockPool`."""
        if run.refs == 0:
            run = self._take(run, start, stop)
        else:
            if start > run.start:
                run = self._split(run, start)
            if stop < run.stop:
                self._split(run, stop)
        run.refs += 1
        run.holders.append(table)
        table.insert(0, run)

    def _take(self, run: BlockRun, start: int, stop: int) -> BlockRun:
        """Take blocks [start, stop) of an unreferenced run out of the queue; return the run of these."""
        self.free -= (stop - start) * run.width
        if run.pitch:
            return self._take_from_trail(run, start, stop)
        if start == run.start and stop == run.stop:
            self._unlink(run)
            return run
        place = run.next
        assert place is not None
        self._unlink(run)
        left: list[BlockRun] = []
        taken = run
        if stop < run.stop:
            left = [self._split_off(run, stop)]
        if start > run.start:
            taken = self._split_off(run, start)
            left.append(run)
        if len(left) > 1 and run.width > 1:  # what is left of a group stays together
            pairs = zip(*[self.part(rest) for rest in left], strict=True)
            left = [rest for pair in pairs for rest in pair]
        for rest in left:
            self._insert_before(rest, place)
        return taken

    def _bundle(self, table: list[BlockRun]) -> None:
        """Make runs of the same blocks of all groups one again, if only this table holds them and none is a copy."""
        parts: dict[tuple[int, int, int], list[BlockRun]] = {}
        for run in table:
            if run.chain is not None and run.width < run.chain.width:
                parts.setdefault((id(run.chain), run.start, run.stop), []).append(run)
        for same in parts.values():
            chain, first = same[0].chain, min(same, key=_group)
            if chain is None or sum([run.width for run in same]) < chain.width:
                continue
            if any(run.refs > 1 or is_copy(run) for run in same):
                continue
            for run in same:
                if run is not first:
                    chain.join(first, run)
                    del table[index_of(table, run)]
            first.width = chain.width
            first.stamp = min([run.stamp for run in same])

    def merge(self, table: list[BlockRun], *, hit: bool = False) -> None:
        """Join runs that only this table holds; see `BlockPool`."""
        if len(table) > 1:
            for run in table:
                if run.chain is not None and run.width < run.chain.width:
                    self._bundle(table)
                    break
            super().merge(table, hit=hit)

    # Giving blocks back --------------------------------------------------------------------------------

    def release(self, table: list[BlockRun], blank: int = 0) -> None:
        """Drop a table's references and free `blank` blocks; unreferenced blocks are queued group by group."""
        if len(table) > 1:
            self._order(table)
        super().release(table, blank)

    def unpin(self, table: list[BlockRun], start: int = 0) -> None:
        """Drop a pin's references to blocks from index `start` on, as `release` does."""
        self._order(table)
        super().unpin(table, start)

    def release_front(self, table: list[BlockRun], stop: int) -> int:
        """Drop a table's references to its blocks before index `stop`, the last first; return how many these are."""
        dropped = [run for run in table if run.start < stop]
        if not dropped:
            return 0
        for run in dropped:
            if run.stop > stop:
                self._split(run, stop)
        kept = [run for run in table if run.start >= stop]
        table[:] = dropped
        blocks = sum([len(run) for run in dropped])
        self.release(table)
        table[:] = kept
        return blocks

    def abandon(self, chain: Chain, start: int) -> None:
        """Make the content of a chain from block `start` on impossible to hit; its blocks stay where they are."""
        for run in chain.from_block(start):
            if run.start >= start:
                forget(run)
                continue
            for part in [run] if run.refs or run.pitch else self.part(run):
                forget(self._split(part, start))

    # Lists ---------------------------------------------------------------------------------------------

    def _drop(self, run: BlockRun, table: list[BlockRun]) -> None:
        run.refs -= 1
        remove_table(run, table)
        if run.refs == 0:
            self.free += (run.stop - run.start) * run.width
            run.key = self.now
            self._insert_before(run, self._queue)

    def _order(self, table: list[BlockRun]) -> None:
        """Bring a table into such an order that vLLM frees its last blocks first, group by group."""
        table.sort(key=_place)
        if any(run.group < after.group + after.width and after.width > 1 for run, after in pairwise(table)):
            for run in list(table):
                self.part(run)
            table.sort(key=_place)

    def _split(self, run: BlockRun, at: int) -> BlockRun:
        """Split a run at block `at` and return the tail; in the queue it must be a trail, or of one group."""
        tail = self._split_off(run, at)
        if run.pitch:
            self._queue_singly(tail, run.key + (at - run.start) * run.pitch, run.pitch)
        elif run.refs == 0:
            self._insert_before(tail, run)  # the tail is evicted first
        return tail

    def _part(self, run: BlockRun, width: int) -> BlockRun:
        """Leave a run its first `width` groups and return a run of the others, which follows it in the queue."""
        rest = BlockRun(run.chain, run.start, run.stop, run.stamp, run.group + width, run.width - width)
        rest.key = run.key
        run.width = width
        self._share(run, rest)
        if run.pitch:
            self._queue_singly(rest, run.key + width, run.pitch)
        elif run.next is not None:
            self._insert_before(rest, run.next)
        return rest

    def part(self, run: BlockRun) -> list[BlockRun]:
        """Make a run into one of each of its groups, in place."""
        parts = [run]
        while parts[-1].width > 1:
            parts.append(self._part(parts[-1], 1))
        return parts

    def by_group(self, table: list[BlockRun]) -> list[list[BlockRun]]:
        """Return the runs of a table as one table for each group."""
        for run in list(table):
            self.part(run)
        tables: dict[int, list[BlockRun]] = {}
        for run in sorted(table, key=_group_and_start):
            own = tables.setdefault(run.group, [])
            own.append(run)
            remove_table(run, table)
            run.holders.append(own)
        table.clear()
        return list(tables.values())

    # Trails ---------------------------------------------------------------------------------------------

    def trail(self, run: BlockRun, key: int, pitch: int) -> None:
        """Let a run that one table holds lose its blocks to the queue, the first at time `key`, then one each `pitch`.

        The caller counts them as free when they are (`flow`), and ends this before anybody looks for them.
        """
        self._queue_singly(run, key, pitch)

    def flow(self, taken: int, evicted: int, freed: int, freed_blank: int) -> None:
        """Take and free blocks in several steps, for which some must be evicted; `freed` ones are those of trails."""
        self.free += freed + freed_blank - taken
        self.blank += freed_blank + evicted - taken
        self._evict(evicted)

    def end_trail(self, run: BlockRun, stop: int) -> None:
        """Leave in the queue what a run has lost before block `stop`; its table keeps the rest."""
        if stop <= run.start:
            run.pitch = 0
            return
        if stop < run.stop:
            self._split_off(run, stop)
        self._leave(run)

    def _leave(self, run: BlockRun) -> None:
        """Take a run out of the table that holds it, if one does."""
        for table in run.holders:
            del table[index_of(table, run)]
        run.holders.clear()
        run.refs = 0

    def _queue_singly(self, run: BlockRun, key: int, pitch: int) -> None:
        run.key, run.pitch = key, pitch
        self._number += 1
        heapq.heappush(self._trails, (key, self._number, run))

    def _first_trail(self, before: int) -> bool:
        """Return whether a block of a trail was queued before this time."""
        trails = self._trails
        while trails and trails[0][0] < before:
            key, _, run = trails[0]
            if run.pitch and run.key == key:
                return True
            heapq.heappop(trails)
        return False

    def _evict_trail(self, blocks: int) -> int:
        """Evict the block of all groups that was queued first, or leave it first in the queue if only some are to go.

        Returns how many of `blocks` are still to be evicted.
        """
        _, _, run = heapq.heappop(self._trails)
        key, pitch = run.key, run.pitch
        if run.width > blocks:
            if run.stop - run.start > 1:
                self._queue_singly(self._split_off(run, run.start + 1), key + pitch, pitch)
            self._end(run)
            after = self._queue.next
            assert after is not None
            self._insert_before(run, after)
            return blocks
        run.start += 1
        if run.chain is not None:
            run.chain.lost_first(run)
        if run.start < run.stop:
            self._queue_singly(run, key + pitch, pitch)
        else:
            self._end(run)
        return blocks - run.width

    def _end(self, run: BlockRun) -> None:
        """Let a run be a trail no more; no table has what is left of it."""
        run.pitch = 0
        self._leave(run)

    def _take_from_trail(self, run: BlockRun, start: int, stop: int) -> BlockRun:
        """Take blocks [start, stop) of an unreferenced run that was queued block by block out of the queue."""
        if stop < run.stop:
            self._split(run, stop)
        if start > run.start:
            return self._split_off(run, start)
        run.pitch = 0
        return run

    # Inspection ----------------------------------------------------------------------------------------

    def queued(self) -> Iterator[BlockRun]:
        """Yield the runs in the free queue, next to be evicted first, those of trails block by block."""
        trails = [
            (run.key + number * run.pitch, BlockRun(run.chain, block, block + 1, run.stamp, run.group, run.width))
            for key, _, run in self._trails
            if run.pitch and run.key == key
            for number, block in enumerate(range(run.start, run.stop))
        ]
        trails.sort(key=_time, reverse=True)
        for run in super().queued():
            while trails and trails[-1][0] < run.key:
                yield trails.pop()[1]
            yield run
        while trails and trails[-1][0] < self.now:
            yield trails.pop()[1]


def _time(trail: tuple[int, BlockRun]) -> int:
    return trail[0]


def _group(run: BlockRun) -> int:
    return run.group


def _group_and_start(run: BlockRun) -> tuple[int, int]:
    return run.group, run.start


def _place(run: BlockRun) -> tuple[int, int]:
    return -run.group, run.start
