"""The blocks that turns hold: prefix hits, allocation, and when blocks can be hit (vLLM's `KVCacheManager`)."""

from __future__ import annotations

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.request import Hits, Request


class KVCacheManager:
    """Allocates blocks to turns. A turn's table lists its blocks with content; its other blocks are blank."""

    def __init__(self, pool: BlockPool, block_size: int, *, caches: bool = True) -> None:
        """Start empty; unless it `caches`, no block is ever found again."""
        self.peak_used_blocks = 0
        """Most blocks in use when any step was planned."""
        self._pool = pool
        self._block_size = block_size
        self._caches = caches

    def blocks_of(self, tokens: int) -> int:
        """Return how many blocks `tokens` tokens take."""
        return -(-tokens // self._block_size)

    def get_computed_blocks(self, request: Request) -> tuple[Hits, int]:
        """Return the longest cached prefix of a prompt and its tokens; the last token is always computed."""
        hits = request.context.find((request.num_tokens - 1) // self._block_size)
        return hits, hits[-1][2] * self._block_size if hits else 0

    def allocate(self, request: Request, hits: Hits, blocks: int) -> None:
        """Reference the hit blocks and allocate the rest, `blocks` in total."""
        for run, start, stop in reversed(hits):
            self._pool.touch(run, start, stop, request.table)
        cached_blocks = hits[-1][2] if hits else 0
        self._pool.allocate(blocks - cached_blocks)
        if request.scheduled_s < 0:
            request.cached_tokens = cached_blocks * self._block_size

    def note_peak(self) -> None:
        """Update the peak after a step was planned."""
        used = self._pool.num_blocks - self._pool.free
        if used > self.peak_used_blocks:
            self.peak_used_blocks = used

    def blank_blocks(self, request: Request, tokens: int) -> int:
        """Return how many of the blocks that a turn holds for `tokens` tokens have no content."""
        return self.blocks_of(tokens) - (request.table[-1].stop if request.table else 0)

    def cache_shared(self, request: Request, tokens: int) -> None:
        """Cache a turn's full blocks of a shared prefix, so that others can hit them as soon as they are scheduled."""
        context = request.context
        if context.shared is None or not self._caches:
            return
        done = request.table[-1].stop if request.table else 0
        full = min(tokens // self._block_size, context.shared_blocks)
        if full > done:
            self._pool.cache(context.shared, done, full, request.table)

    def cache_own(self, request: Request, tokens: int) -> None:
        """Cache the rest of a turn's full blocks.

        Only the turn's own program looks for them, so it is enough to do this when the turn leaves the batch.
        """
        done = request.table[-1].stop if request.table else 0
        full = tokens // self._block_size
        if full > done and self._caches:
            self._pool.cache(request.context.own, done, full, request.table)
