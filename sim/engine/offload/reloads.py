"""Turns that wait for blocks from a lower tier, and contexts that are recalled before their turns."""

from __future__ import annotations

import math
from collections import deque

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.contexts import Contexts
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.offload.connector import NoConnector
from continuum_sim.engine.request import Hits, Request, Upload
from continuum_sim.engine.waiting import WaitingQueue
from continuum_sim.policies.host.governor import Governor


class Reloads:
    """What is on its way up. Meanwhile the engine runs other turns, as vLLM does."""

    def __init__(
        self,
        connector: NoConnector,
        pool: BlockPool,
        contexts: Contexts,
        manager: KVCacheManager,
        governor: Governor,
        waiting: WaitingQueue,
        block_size: int,
    ) -> None:
        self.waiting: dict[Request, None] = {}
        """Turns that hold blocks for their whole prompt and join the batch once a tier has filled some of them."""
        self.ready: deque[Request] = deque()
        """Those whose blocks have arrived, in that order; they enter the batch next."""
        self._connector = connector
        self._pool = pool
        self._contexts = contexts
        self._manager = manager
        self._governor = governor
        self._queue = waiting
        self._block_size = block_size

    def begin(self, request: Request, cached_tokens: int, external_tokens: int, hits: Hits, now_s: float) -> None:
        """Admit a turn that has to wait for blocks from a lower tier."""
        self._manager.allocate(request, hits, request.num_tokens)
        self._connector.update_state_after_alloc(request, cached_tokens, external_tokens, now_s)
        start, stop = cached_tokens // self._block_size, (cached_tokens + external_tokens) // self._block_size
        self._await(request, start, stop, now_s)

    def join(self, upload: Upload, request: Request, now_s: float) -> None:
        """Admit a turn whose context is already on its way up."""
        request.table = self._connector.take(upload)
        upload.request = request
        self._pool.allocate(self._manager.blocks_of(request.num_tokens) - upload.stop)
        if request.scheduled_s < 0:
            request.cached_tokens = upload.start * self._block_size
        self._await(request, upload.start, upload.stop, now_s)

    def take_in(self, now_s: float) -> None:
        """Make blocks that have arrived findable: their turns are ready for the batch, recalled contexts are pinned."""
        for end_s, mover in self._connector.get_finished(now_s):
            if isinstance(mover, Upload):
                self._pin(mover, now_s)
                continue
            for part in mover.context.parts(*mover.reload_blocks):
                self._pool.cache(*part, mover.table)
            mover.num_computed_tokens = mover.reload_blocks[1] * self._block_size
            if mover.scheduled_s < 0:
                mover.reload_s = max(0.0, min(end_s, now_s) - mover.reload_began_s)
            self.ready.append(mover)
            self._connector.has_come(mover.context)

    def next(self, budget: int) -> tuple[Request, int]:
        """Remove and return the turn whose blocks arrived first, with the tokens it computes in its first step."""
        request = self.ready.popleft()
        del self.waiting[request]
        tokens = min(request.num_tokens - request.num_computed_tokens, budget)
        scheduled_blocks = self._manager.blocks_of(request.num_computed_tokens + tokens)
        self._pool.release([], self._manager.blocks_of(request.num_tokens) - scheduled_blocks)
        return request, tokens

    def _await(self, request: Request, start: int, stop: int, now_s: float) -> None:
        self._queue.admit(request)
        request.reload_blocks = (start, stop)
        request.reload_began_s = max(now_s, request.arrival_s)
        request.reloaded_tokens += (stop - start) * self._block_size
        self.waiting[request] = None
        self._governor.turn_admitted(request.turn, stop * self._block_size, now_s)
        self._governor.turn_reloads(request.turn, (stop - start) * self._block_size, now_s)

    def _pin(self, upload: Upload, now_s: float) -> None:
        """Pin a context that has come back before its program's next turn."""
        table, context = self._connector.take(upload), upload.context
        for part in context.parts(upload.start, upload.stop):
            self._pool.cache(*part, table)
        self._pool.merge(table)
        self._contexts.pin(upload.program, table, math.inf, now_s)
        self._connector.has_come(context)
        self._governor.context_back(upload.program, now_s)
        self._queue.pin_changed(upload.program, now_s)
