"""Turns that wait for blocks from a lower tier, and contexts that are recalled before their turns."""

from __future__ import annotations

import math
from collections import deque

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.contexts import Contexts
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.offload.connector import NoConnector
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Hits, Request, Upload
from continuum_sim.engine.waiting import WaitingQueue
from continuum_sim.policies.host.governor import Governor


class Reloads:
    """What is on its way up. Meanwhile the engine runs other turns, as vLLM does."""

    def __init__(
        self,
        pool: BlockPool,
        manager: KVCacheManager,
        contexts: Contexts,
        connector: NoConnector,
        governor: Governor,
        waiting: WaitingQueue,
        config: EngineConfig,
    ) -> None:
        self.waiting: dict[Request, None] = {}
        """Turns that hold blocks for their whole prompt (for what is loaded, in native offload) and join the batch once
        a tier has filled some of them. vLLM's `kv_holding_waiting`."""
        self.ready: deque[Request] = deque()
        """Those whose blocks have arrived, in that order or, in native offload, that of `waiting`; they enter the batch
        next."""
        self._connector = connector
        self._pool = pool
        self._contexts = contexts
        self._manager = manager
        self._governor = governor
        self._queue = waiting
        self._block_size = config.block_size
        self._by_priority = config.scheduling_policy == "priority"
        self._joined: list[Request] = []
        """Turns that entered the batch in the step being planned."""
        self._cached: set[Request] = set()
        """Those of `ready` whose blocks others can hit, in native offload."""

    def begin(self, request: Request, cached_tokens: int, external_tokens: int, hits: Hits, now_s: float) -> None:
        """Admit a turn that has to wait for blocks from a lower tier."""
        tokens = cached_tokens + external_tokens if self._connector.native else request.num_tokens
        if self._connector.native:
            self._manager.allocate_for_loads(request, hits, tokens)
        else:
            self._manager.allocate(request, hits, tokens)
        self._connector.update_state_after_alloc(request, cached_tokens, external_tokens, now_s)
        self._await(request, cached_tokens, cached_tokens + external_tokens, now_s)

    def join(self, upload: Upload, request: Request, now_s: float) -> None:
        """Admit a turn whose context is already on its way up."""
        request.table = self._connector.take(upload)
        upload.request = request
        self._pool.allocate(self._manager.blocks_of(request.num_tokens) - upload.stop)
        if request.scheduled_s < 0:
            request.cached_tokens = upload.start * self._block_size
        self._await(request, upload.start * self._block_size, upload.stop * self._block_size, now_s)

    def take_in(self, now_s: float) -> None:
        """Make blocks that have arrived findable: their turns are ready for the batch, recalled contexts are pinned."""
        self._joined = []
        for end_s, mover in self._connector.get_finished(now_s):
            if isinstance(mover, Upload):
                self._pin(mover, now_s)
                continue
            if mover.aborted:
                self._give_up(mover)
                continue
            if not self._connector.native:
                self._cache(mover)
            mover.num_computed_tokens = min(mover.loaded_tokens, mover.num_tokens - 1)
            if mover.scheduled_s < 0:
                mover.reload_s = max(0.0, min(end_s, now_s) - mover.reload_began_s)
            self.ready.append(mover)
            self._connector.has_come(mover.context)
        if self._connector.native and len(self.ready) > 1:
            self._sort()

    def first(self) -> Request:
        """Return the turn that enters the batch next; others can hit its blocks from now on.

        vLLM notices only when it tries a turn that its blocks have come (`_update_waiting_for_remote_kv`).
        """
        request = self.ready[0]
        if self._connector.native and request not in self._cached:
            self._cache(request)
            self._cached.add(request)
        return request

    def next(self, tokens: int) -> Request:
        """Remove and return that turn, which computes so many tokens in its first step."""
        request = self.ready.popleft()
        del self.waiting[request]
        self._joined.append(request)
        held = request.reload_blocks[1] if self._connector.native else self._manager.blocks_of(request.num_tokens)
        self._manager.go_on(request, tokens, held)
        self._cached.discard(request)
        return request

    def reserved_blocks(self, batch: Batch, plan: Plan) -> int:
        """Return the blocks that prompts under way lack, in native offload (`_inflight_prefill_reserved_blocks`).

        Of a step that is being planned they hold those of its tokens already.
        """
        lacking, chunks = self._manager.lacking, dict(plan.chunks)
        blocks = [lacking(request, request.loaded_tokens, request.loaded_tokens) for request in self.waiting]
        for request in {**dict.fromkeys(batch.prefilling.values()), **dict.fromkeys(chunks)}:
            computed = request.num_computed_tokens
            held = computed + chunks.get(request, 0)
            if held < request.num_tokens or request.rank in batch.prefilling or request in self._joined:
                blocks.append(lacking(request, computed, held))  # vLLM counts those that it has counted before
        return sum(blocks) + self._manager.step_blocks

    def drop(self, request: Request) -> None:
        """Remove a turn that is aborted; blocks that are being loaded are freed when they have come."""
        if request in self.waiting:
            del self.waiting[request]
            if request in self.ready:
                self.ready.remove(request)
                self._give_up(request)

    def _cache(self, request: Request) -> None:
        if self._manager.grouped:
            self._manager.cache(request, request.loaded_tokens)
            return
        for part in request.context.parts(*request.reload_blocks):
            self._pool.cache(*part, request.table)

    def _give_up(self, request: Request) -> None:
        if request in self._cached and self._manager.grouped:
            self._manager.cache(request, request.loaded_tokens, leaves=True)
        self._manager.free(request, request.loaded_tokens)
        self._cached.discard(request)

    def _sort(self) -> None:
        """Put the turns that are ready in the order of vLLM's queue: in which they were admitted, or by priority."""
        turns = [request for request in self.waiting if request in self.ready]
        if self._by_priority:
            turns.sort(key=_priority)
        self.ready.clear()
        self.ready.extend(turns)

    def _await(self, request: Request, cached_tokens: int, tokens: int, now_s: float) -> None:
        self._queue.admit(request)
        request.reload_blocks = (cached_tokens // self._block_size, -(-tokens // self._block_size))
        request.loaded_tokens = tokens
        request.reload_began_s = max(now_s, request.arrival_s)
        request.reloaded_tokens += tokens - cached_tokens
        self.waiting[request] = None
        self._governor.turn_admitted(request.turn, tokens, now_s)
        self._governor.turn_reloads(request.turn, tokens - cached_tokens, now_s)

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


def _priority(request: Request) -> tuple[float, float, int]:
    return (request.turn.priority, request.turn.arrival_s, request.turn.seq)
