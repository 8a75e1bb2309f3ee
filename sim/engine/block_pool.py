"""KV blocks with prefix caching, as vLLM V1 keeps them, counted in runs instead of one by one.

vLLM (`vllm/v1/core/block_pool.py`) has one object per block; a paused program's context of 20,000 tokens is 1,250 of
them. Its rules never treat these differently: a context's blocks are freed together, tail first, so they are neighbours
in the free queue and are evicted from the tail. Here such a stretch is one `BlockRun`: consecutive blocks of one
content that share their reference count. Every operation costs the number of runs it touches. `groups/pool.py` is for
several KV cache groups.

The rules it follows, with their place in vLLM:

* the free queue is in LRU order; a freed context enters at the back, its tail first (`free_blocks`);
* blocks without content go to the front and are taken first (`free_blocks`, `prepend_n`);
* a prefix hit takes unreferenced blocks out of the queue (`touch`);
* equal content may exist twice; a lookup finds the copy cached first (`BlockHashToBlockMap`).
"""

from __future__ import annotations

from collections.abc import Iterator

from continuum_sim.engine.chain import BlockRun, Chain


class BlankMark:
    """A blank block at some height above the bottom of those at the front of the queue, until it is taken."""

    __slots__ = ("gone", "height")

    def __init__(self, height: int) -> None:
        self.height = height
        self.gone = False


class BlockPool:
    """All KV blocks of one engine.

    Examples
    --------
    >>> pool, content, table = BlockPool(10), Chain(), []
    >>> pool.allocate(4)  # a turn takes blank blocks
    >>> pool.cache(content, 0, 4, table)  # what it computes can be hit from now on
    >>> pool.release(table)  # it ends: its blocks are free, and still cached
    >>> pool.free, pool.blank
    (10, 6)
    >>> [(run, start, stop)] = content.find(0, 8)
    >>> pool.touch(run, start, stop, table)  # the next turn hits all four
    >>> start, stop, pool.free
    (0, 4, 6)
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.free = num_blocks
        """Blocks without references, cached or blank (vLLM's `get_num_free_blocks`)."""
        self.blank = num_blocks
        """Free blocks without content; always at the front of the queue."""
        self.pinned = 0
        """Blocks held by pins; a block of a shared prefix counts once, however many pins hold it."""
        self._marks: list[BlankMark] = []
        self._stamp = 0
        self._queue = BlockRun(None, 0, 0, 0)  # sentinel of a circular list: next is the LRU end
        self._queue.prev = self._queue.next = self._queue

    # Taking blocks -------------------------------------------------------------------------------------

    def allocate(self, blocks: int) -> None:
        """Take blocks off the front of the free queue, evicting their content; the caller has checked `free`."""
        self.free -= blocks
        if self._marks:
            self._take_marked(max(0, self.blank - blocks))
        if blocks <= self.blank:
            self.blank -= blocks
            return
        blocks -= self.blank
        self.blank = 0
        self._evict(blocks)

    def _evict(self, blocks: int) -> None:
        while blocks:
            run = self._queue.next
            assert run is not None
            size = run.stop - run.start
            if size <= blocks:
                blocks -= size
                self._unlink(run)
                forget(run)
            else:
                run.stop -= blocks
                if run.chain is not None:
                    run.chain.shrank(run, run.stop + blocks)
                return

    def mark_blank(self, height: int) -> BlankMark:
        """Return a mark of a blank block about to be freed, with so many below it; call in the order of heights."""
        self._marks.append(BlankMark(height))
        return self._marks[-1]

    def _take_marked(self, left: int) -> None:
        while self._marks and self._marks[-1].height >= left:
            self._marks.pop().gone = True

    def touch(self, run: BlockRun, start: int, stop: int, table: list[BlockRun]) -> None:
        """Reference blocks [start, stop) of a run and insert them at the front of a block table.

        Touch the stretches of one lookup from last to first: a split keeps the front of a run in place, so an earlier
        stretch of the same run stays valid.
        """
        if start > run.start:
            run = self._split(run, start)
        if stop < run.stop:
            self._split(run, stop)
        if run.refs == 0:
            self._unlink(run)
            self.free -= run.stop - run.start
        run.refs += 1
        run.holders.append(table)
        table.insert(0, run)

    def cache(self, chain: Chain, start: int, stop: int, table: list[BlockRun]) -> None:
        """Give content to blocks that a table has held blank until now, so that they can be hit."""
        self._stamp += 1
        run = BlockRun(chain, start, stop, self._stamp, chain.group, chain.width)
        run.refs = 1
        run.holders.append(table)
        chain.add(run)
        table.append(run)

    # Giving blocks back --------------------------------------------------------------------------------

    def release(self, table: list[BlockRun], blank: int = 0) -> None:
        """Drop a table's references and free `blank` blocks; unreferenced blocks are queued, the table's tail first."""
        self.blank += blank
        self.free += blank
        while table:
            self._drop(table.pop(), table)

    def evict(self, table: list[BlockRun], blank: int = 0) -> None:
        """Like `release`, but forget the content of every block that is left without references."""
        self.blank += blank
        self.free += blank
        while table:
            run = table.pop()
            run.refs -= 1
            remove_table(run, table)
            if run.refs == 0:
                forget(run)
                self.blank += len(run)
                self.free += len(run)

    def abandon(self, chain: Chain, start: int) -> None:
        """Make the content of a chain from block `start` on impossible to hit; its blocks stay where they are."""
        for run in chain.from_block(start):
            if run.start < start:
                run = self._split(run, start)
            forget(run)

    def merge(self, table: list[BlockRun], *, hit: bool = False) -> None:
        """Join adjacent runs that only this table holds, so that a context stays a few runs however it grew.

        Runs of which a lookup finds an older copy are left alone; others may count as cached with the oldest of them.
        What was just `hit` has none.
        """
        if len(table) < 2:
            return
        joined = [table[0]]
        for run in table[1:]:
            last = joined[-1]
            alike = run.refs == 1 == last.refs and run.chain is last.chain and run.start == last.stop
            alike = alike and run.group == last.group and run.width == last.width
            if alike and (hit or not (is_copy(run) or is_copy(last))):
                last.stop = run.stop
                last.stamp = min(last.stamp, run.stamp)
                if run.chain is not None:
                    run.chain.join(last, run)
            else:
                joined.append(run)
        table[:] = joined

    # Pins ----------------------------------------------------------------------------------------------

    def pin(self, table: list[BlockRun]) -> None:
        """Turn the references of a table into those of a pin."""
        for run in table:
            run.pins += 1
            if run.pins == 1:
                self.pinned += len(run)

    def unpin(self, table: list[BlockRun], start: int = 0) -> None:
        """Drop a pin's references to blocks from index `start` on, as `release` does."""
        if start and table and table[-1].stop > start:
            cut = next(run for run in table if run.stop > start)
            if cut.start < start:
                self._split(cut, start)
        while table and table[-1].start >= start:
            run = table.pop()
            run.pins -= 1
            if run.pins == 0:
                self.pinned -= len(run)
            self._drop(run, table)

    # Lists ---------------------------------------------------------------------------------------------

    def _drop(self, run: BlockRun, table: list[BlockRun]) -> None:
        run.refs -= 1
        remove_table(run, table)
        if run.refs == 0:
            self.free += run.stop - run.start
            self._insert_before(run, self._queue)

    def _split(self, run: BlockRun, at: int) -> BlockRun:
        """Split a run at block `at` and return the tail; both parts keep the references and the place in the queue."""
        tail = self._split_off(run, at)
        if run.refs == 0:
            self._insert_before(tail, run)  # the tail is evicted first
        return tail

    def _split_off(self, run: BlockRun, at: int) -> BlockRun:
        tail = BlockRun(run.chain, at, run.stop, run.stamp, run.group, run.width)
        tail.key = run.key
        run.stop = at
        self._share(run, tail)
        return tail

    def _share(self, run: BlockRun, other: BlockRun) -> None:
        """Give a run that another was made smaller by what that one has."""
        other.refs = run.refs
        other.pins = run.pins
        if run.chain is not None:
            run.chain.split(run, other)
        for table in run.holders:
            other.holders.append(table)
            table.insert(index_of(table, run) + 1, other)

    def _insert_before(self, run: BlockRun, other: BlockRun) -> None:
        before = other.prev
        assert before is not None
        run.prev, run.next = before, other
        before.next = other.prev = run

    def _unlink(self, run: BlockRun) -> None:
        before, after = run.prev, run.next
        assert before is not None
        assert after is not None
        before.next, after.prev = after, before
        run.prev = run.next = None

    # Inspection ----------------------------------------------------------------------------------------

    def queued(self) -> Iterator[BlockRun]:
        """Yield the runs in the free queue, next to be evicted first; for tests and reports."""
        run = self._queue.next
        while run is not None and run is not self._queue:
            yield run
            run = run.next


def forget(run: BlockRun) -> None:
    """Make the content of a run impossible to hit."""
    if run.chain is not None:
        run.chain.discard(run)
        run.chain = None


def is_copy(run: BlockRun) -> bool:
    """Return whether a look-up finds an older copy of a run."""
    return run.chain is not None and run.chain.has_older_copy(run)


def index_of(table: list[BlockRun], run: BlockRun) -> int:
    """Return the place of a run in a table."""
    for at, held in enumerate(table):
        if held is run:
            return at
    raise ValueError("the table does not hold this run")


def remove_table(run: BlockRun, table: list[BlockRun]) -> None:
    """Take a table out of the holders of a run."""
    for i, held in enumerate(run.holders):
        if held is table:
            del run.holders[i]
            return
