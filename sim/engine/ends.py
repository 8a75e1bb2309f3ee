"""What happens to a turn's blocks when it ends."""

from __future__ import annotations

from collections import deque

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.chain import BlockRun
from continuum_sim.engine.contexts import Contexts
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.offload.connector import NoConnector
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.waiting import WaitingQueue
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.planes import Fate, PinFor, keeps_contexts


class TurnEnds:
    """Ends turns: the policy decides whether their blocks are pinned, released, offloaded or evicted.

    With native offload, blocks that a step under way may write to are free only when it is over: what is loaded into
    them is not ordered against that step (vLLM's `defer_block_free`).
    """

    def __init__(
        self,
        plans: deque[Plan],
        batch: Batch,
        pool: BlockPool,
        manager: KVCacheManager,
        contexts: Contexts,
        connector: NoConnector,
        governor: Governor,
        waiting: WaitingQueue,
        *,
        defers: bool,
    ) -> None:
        self.defers = defers
        """Whether frees are deferred."""
        self.deferred: list[tuple[Plan, list[list[BlockRun]], int]] = []
        """The step that must be over, tables of blocks with content, and the number of those without
        (`deferred_frees`)."""
        self._plans = plans
        self._batch = batch
        self._pool = pool
        self._manager = manager
        self._contexts = contexts
        self._connector = connector
        self._governor = governor
        self._keeps = keeps_contexts(governor.policy.retention)
        self._waiting = waiting

    def finish(self, request: Request, now_s: float) -> None:
        """End a turn that has all its tokens."""
        request.finish_s = now_s
        under_way = bool(self._plans) and request.stops and request not in self._plans[-1].skipped
        if request.drafted is not None:
            under_way = bool(self._plans) and request in self._plans[-1].verified
        if request.rank < 0:
            self._waiting.drop(request)  # preempted while its last token was computed
        else:
            self._batch.leave(request)
        held_tokens = request.num_computed_tokens
        computed = min(held_tokens, request.num_tokens - 1)  # a token after the last one is of no use
        manager = self._manager
        decision = self._governor.turn_ended(
            request.turn,
            context_tokens=request.num_tokens,
            computed_tokens=request.work_tokens,
            tool=request.tool,
            last=request.last,
            blocks=manager.blocks_to_keep(request, computed) if self._keeps else 0,
            now_s=now_s,
            foresight=request.foresight[1] if request.foresight else None,
        )
        if request.last:
            self._contexts.close(request.turn.program.program_id)
        if decision is Fate.EVICT:
            self._connector.request_finished(request, decision, now_s)
            manager.evict(request, held_tokens)
            return
        manager.cache(request, computed, leaves=True)
        self._connector.request_finished(request, decision, now_s)
        if self._connector.native:
            in_flight = self._plans[-1].tokens_in_flight(request) if under_way else 0
            manager.slide(request, max(0, held_tokens - in_flight))  # vLLM does so before it tells a connector
        if isinstance(decision, PinFor):
            kept = self._keep(request, held_tokens, under_way=under_way)
            self._contexts.pin(request.turn.program, kept, decision.ttl_s, now_s)
        else:
            self.free(request, held_tokens, under_way=under_way)

    def free(self, request: Request, tokens: int, *, under_way: bool) -> None:
        """Free the blocks that a turn holds for so many tokens, of which a step under way may compute some."""
        if under_way and self.defers:
            self.deferred.append((self._plans[-1], *self._manager.detach(request, tokens)))
        else:
            self._manager.free(request, tokens)

    def _keep(self, request: Request, tokens: int, *, under_way: bool) -> list[BlockRun]:
        """Return a turn's blocks with content for a pin, and free the others.

        While a step is under way all of them stay referenced, even if the pin ends.
        """
        if not (under_way and self.defers):
            return self._manager.keep(request, tokens)
        kept, tables, blank = self._manager.keep_and_detach(request, tokens)
        self.deferred.append((self._plans[-1], tables, blank))
        return kept

    def step_over(self, plan: Plan) -> None:
        """Free what waited for the end of a step."""
        for last, tables, blank in self.deferred:
            if last is plan:
                self._pool.release([], blank)
                for table in tables:
                    self._pool.release(table)
        self.deferred = [entry for entry in self.deferred if entry[0] is not plan]
