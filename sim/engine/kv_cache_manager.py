"""The blocks that turns hold: what of a prompt is cached, and what becomes findable when (vLLM's KVCacheManager)."""

from __future__ import annotations

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.request import Hits, Request


class KVCacheManager:
    """Gives turns their blocks. A turn's table holds those with content; what it holds beyond them is blank."""

    def __init__(self, pool: BlockPool, block_size: int) -> None:
        self.peak_used_blocks = 0
        """Most blocks that were not free at the end of a step."""
        self._pool = pool
        self._block_size = block_size

    def blocks_of(self, tokens: int) -> int:
        """Blocks that some tokens take."""
        return -(-tokens // self._block_size)

    def get_computed_blocks(self, request: Request) -> tuple[Hits, int]:
        """Return the cached blocks that a prompt begins with, and their tokens; its last token is always computed."""
        hits = request.context.find((request.num_tokens - 1) // self._block_size)
        return hits, hits[-1][2] * self._block_size if hits else 0

    def allocate(self, request: Request, hits: Hits, blocks: int) -> None:
        """Let a turn hold `blocks` in all: those it hits, and new ones."""
        for run, start, stop in reversed(hits):
            self._pool.touch(run, start, stop, request.table)
        cached_blocks = hits[-1][2] if hits else 0
        self._pool.allocate(blocks - cached_blocks)
        if request.scheduled_s < 0:
            request.cached_tokens = cached_blocks * self._block_size

    def grow(self, blocks: int) -> None:
        """Take the blocks of the steps that follow the one planned, and note how many are used then."""
        if blocks:
            self._pool.allocate(blocks)
        used = self._pool.num_blocks - self._pool.free
        if used > self.peak_used_blocks:
            self.peak_used_blocks = used

    def blank_blocks(self, request: Request, tokens: int) -> int:
        """Blocks a turn holds for some tokens that have no content to be found by."""
        return self.blocks_of(tokens) - (request.table[-1].stop if request.table else 0)

    def cache_shared(self, request: Request, tokens: int) -> None:
        """Let others hit what a turn computes of a shared prefix, as soon as it is scheduled."""
        context = request.context
        if context.shared is None:
            return
        done = request.table[-1].stop if request.table else 0
        full = min(tokens // self._block_size, context.shared_blocks)
        if full > done:
            self._pool.cache(context.shared, done, full, request.table)

    def cache_own(self, request: Request, tokens: int) -> None:
        """Make the rest of a turn's full blocks findable.

        Only its own program looks for them, so the end of the turn is soon enough.
        """
        done = request.table[-1].stop if request.table else 0
        full = tokens // self._block_size
        if full > done:
            self._pool.cache(request.context.own, done, full, request.table)
