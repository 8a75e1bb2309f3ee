"""The longest prefix that all groups have cached (`HybridKVCacheCoordinator.find_longest_cache_hit`)."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.engine.chain import BlockRun, Chain, WindowChain
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.groups.spec import GroupSpec

Stretches = list[tuple[BlockRun, int, int]]
"""Cached stretches (run, from block, to block) of one band."""


class Content:
    """Where one band's part of a program's context is: in a prefix that programs share, then in its own blocks."""

    __slots__ = ("own", "shared", "shared_blocks")

    def __init__(self, shared: Chain | None, shared_blocks: int, own: Chain) -> None:
        self.shared = shared
        self.shared_blocks = shared_blocks
        """Leading blocks that hold nothing but the shared prefix."""
        self.own = own

    def parts(self, start: int, stop: int) -> list[tuple[Chain, int, int]]:
        """Return blocks [start, stop) as stretches of the shared prefix, then of the program's own content."""
        parts: list[tuple[Chain, int, int]] = []
        if self.shared is not None and start < self.shared_blocks:
            parts.append((self.shared, start, min(stop, self.shared_blocks)))
            start = self.shared_blocks
        if start < stop:
            parts.append((self.own, start, stop))
        return parts

    def find(self, start: int, stop: int, pool: GroupedBlockPool) -> Stretches:
        """Return the cached stretches of [start, stop), which a look-up has just found to be cached in each group."""
        found: Stretches = []
        for chain, first, last in self.parts(start, stop):
            if chain.width > 1:
                for run in chain.differ(first, last):
                    pool.part(run)
            found += chain.just_covered(first, last)
        return found

    def covered(self, start: int, stop: int) -> int:
        """Return where what is cached of [start, stop) from its front on ends; `start` if nothing is."""
        end = start
        for chain, first, last in self.parts(start, stop):
            end = chain.covered(first, last)
            if end < last:
                break
        return end

    def span_before(self, stop: int) -> tuple[int, int]:
        """Return the last stretch of cached blocks that begins before `stop`; (0, 0) if there is none."""
        own, shared = self.own, self.shared
        assert isinstance(own, WindowChain), "only where a window may begin later"
        begin, end = own.span_before(stop)
        if shared is None or (end and begin > self.shared_blocks):
            return begin, end
        assert isinstance(shared, WindowChain)
        first, last = shared.span_before(min(stop, self.shared_blocks))
        last = min(last, self.shared_blocks)
        if not end:
            return first, last
        return (first, end) if last == self.shared_blocks else (begin, end)


class Alike:
    """Bands with one spec, whose hits must be equal (vLLM's `SpecGroup`)."""

    def __init__(self, spec: GroupSpec, members: Sequence[int], alignment_tokens: int) -> None:
        self.spec = spec
        self.members = members
        """Their numbers."""
        self._alignment = alignment_tokens
        self._aligns = spec.block_size != alignment_tokens

    def hit(self, contents: Sequence[Content], most_tokens: int) -> tuple[int, int]:
        """Return the blocks [start, stop) of the longest hit of at most so many tokens; those before are not needed."""
        most = most_tokens // self.spec.block_size
        found = [contents[member] for member in self.members]
        if self.spec.kind == "full":
            return 0, self._aligned(min([content.covered(0, most) for content in found]))
        if self.spec.kind == "chunked":
            start = most_tokens // self.spec.window * self.spec.window // self.spec.block_size
            return start, min([content.covered(start, most) for content in found])
        return self._window(found, most)

    def hit_but_last(self, contents: Sequence[Content], most_tokens: int, hashed_tokens: int) -> tuple[int, int]:
        """Return a hit like `hit` does, but of one block more, of which the last is to be computed again.

        Mirrors `find_longest_cache_hit` with `drop_eagle_block`; of `hashed_tokens` blocks can be looked for.
        """
        spec, size = self.spec, self.spec.block_size
        if spec.kind == "recurrent":  # no drafter has such layers
            return self.hit(contents, most_tokens)
        most = min(most_tokens + size, hashed_tokens) // size
        found = [contents[member] for member in self.members]
        if spec.kind == "full":
            return 0, self._aligned(max(0, min([content.covered(0, most) for content in found]) - 1))
        need, before = spec.blocks_for_hit + 1, most
        while before > 0:
            start, stop = _span_before(found, before)
            last = self._aligned(max(0, min(before, stop) - 1))  # a hit ends before it
            if stop > start and last >= start:
                if last + 1 - start >= need:
                    return last + 1 - need, last
                if not start:  # vLLM aligns twice here
                    return 0, self._aligned(max(0, self._aligned(last + 1) - 1))
            if not start:
                return 0, 0
            before = start
        return 0, 0

    def _window(self, contents: Sequence[Content], most: int) -> tuple[int, int]:
        """Return the last window that all have cached, or else what they have cached from the first block on."""
        need = max(1, self.spec.blocks_for_hit)
        before = most
        while before > 0:
            start, stop = _span_before(contents, before)
            stop = self._aligned(min(before, stop))
            if stop - start >= need:
                return stop - need, stop
            if not start:
                return 0, max(0, stop)
            before = start
        return 0, 0

    def _aligned(self, blocks: int) -> int:
        """Return the blocks of the longest hit among so many."""
        if not self._aligns:
            return blocks
        size = self.spec.block_size
        return blocks * size // self._alignment * self._alignment // size


def _span_before(contents: Sequence[Content], stop: int) -> tuple[int, int]:
    """Return what the last stretches of cached blocks that begin before `stop` have in common; it may be nothing."""
    if len(contents) == 1:
        return contents[0].span_before(stop)
    spans = [content.span_before(stop) for content in contents]
    return max([span[0] for span in spans]), min([span[1] for span in spans])
