"""The interface between the scheduler and memory below the KV cache, modelled on vLLM's KV connectors.

Where a method does what one of the scheduler side of `KVConnectorBase_V1` does
(`vllm/distributed/kv_transfer/kv_connector/v1/base.py`), it has the same name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.chain import BlockRun
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.offload.tiers import Tiers, TierTotals
from continuum_sim.engine.offload.uploads import Uploads
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Context, Request, Upload
from continuum_sim.policies.planes import Decision, Fate, Retention
from continuum_sim.policies.views import ProgramView


class NoConnector:
    """Null connector: there is no memory below, so nothing is ever found there or on its way up."""

    def __init__(self, prefill_s: Callable[[int], float]) -> None:
        self.tiers: Tiers | None = None
        """What policies see of host memory; None without it."""
        self.rebuild_s: Callable[[int], float] = prefill_s
        """Returns the seconds until a context of that many tokens is back on the GPU."""
        self.native = False
        """Whether this is vLLM's native offload, by whose rules turns are admitted."""
        self.passed_over = 0
        """Turns passed over in the latest step because transfers are under way, whose end the next one must see."""

    @property
    def uploads(self) -> Sequence[Upload]:
        """Contexts that are being brought back before their programs' next turns."""
        return ()

    def bind_kv_cache_manager(self, manager: KVCacheManager) -> None:
        """Take the manager of the blocks that are stored and loaded."""

    # A turn's way ---------------------------------------------------------------------------------------

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int, now_s: float) -> int | None:
        """Return how many tokens beyond the computed ones to load before the turn runs; None to be asked later."""
        return 0

    def update_state_after_alloc(
        self, request: Request, num_computed_tokens: int, num_external_tokens: int, now_s: float
    ) -> None:
        """Start loading these tokens, for which the turn now holds blocks."""
        raise AssertionError("nothing is held below")

    def get_finished(self, now_s: float) -> Sequence[tuple[float, Request | Upload]]:
        """Return the turns and uploads whose blocks are back by now, in order, each with its time of arrival."""
        return ()

    def request_preempted(self, request: Request, now_s: float) -> None:
        """Called when a turn is preempted, before its blocks are freed; `request.table` has those with content."""

    def request_finished(self, request: Request, decision: Decision, now_s: float) -> None:
        """Called when a turn has finished, before its blocks are freed; `request.table` has those with content."""

    def request_aborted(self, request: Request, num_computed_tokens: int) -> None:
        """Called when a turn is aborted, with its tokens that have KV."""

    def build_connector_meta(self, plan: Plan, batch: Batch, under_way: Plan | None, now_s: float) -> None:
        """Called when a step is planned, before it is counted; `under_way` is the one planned before and not over."""

    def step_over(self, now_s: float) -> None:
        """Called when a step is over."""

    def repeat(self, batch: Batch, steps: int, *, ahead: bool, end_s: Callable[[int], float]) -> None:
        """Called before `steps` steps are carried out at once, each followed by another like the latest plan.

        Parameters
        ----------
        ahead
            Whether another step is under way when one is planned.
        end_s
            Returns when the n-th of the steps ends.
        """

    # A program's context --------------------------------------------------------------------------------

    def prompt_keeps(self, context: Context, kept_tokens: int, usable_tokens: int) -> None:
        """Forget what a program's next prompt does not keep of its context, and stop loading what it cannot use."""

    def has_come(self, context: Context) -> None:
        """Called when a context is back on the GPU."""

    def leaves(self, context: Context) -> None:
        """Called when a program moves to another engine."""

    def offload(self, context: Context, now_s: float) -> None:
        """Called when the policy offloads a pinned context; the caller frees its blocks.

        Without a tier nothing else happens.
        """

    def recall(self, program: ProgramView, context: Context, now_s: float) -> int | None:
        """Start bringing a context back before its turn; return its blocks, or None if there is no room."""
        raise AssertionError("nothing is held below")

    def take(self, upload: Upload) -> list[BlockRun]:
        """End an upload that has arrived or that a turn takes over; return its blocks with content."""
        raise AssertionError("nothing is held below")

    # When -----------------------------------------------------------------------------------------------

    @property
    def has_finished(self) -> bool:
        """Whether turns have ended of which the connector has yet to hear in a step."""
        return False

    @property
    def stores_outputs(self) -> bool:
        """Whether blocks are stored in the steps that fill them with sampled tokens."""
        return False

    @property
    def busy(self) -> bool:
        """Whether blocks are offered again in every step."""
        return False

    @property
    def begins_later(self) -> bool:
        """Whether transfers begin when a step under way is over."""
        return False

    @property
    def loads_later(self) -> bool:
        """Whether loads do."""
        return False

    def next_event_s(self) -> float:
        """Return the earliest time at which blocks arrive on the GPU or in host memory; may be infinite."""
        return math.inf

    def next_upload_s(self) -> float:
        """Return the earliest time at which a recalled context may be back; infinite if none is on its way."""
        return math.inf

    def totals(self, end_s: float) -> tuple[TierTotals, ...]:
        """Return the use of each tier that exists, up to the end of a run."""
        return ()


class TierConnector(NoConnector):
    """Connector to host memory, perhaps with an SSD below.

    A copy of every context goes down when its turn ends or is preempted, unless the policy offloads contexts itself:
    then only those are there, until they are back on the GPU.
    """

    def __init__(
        self, tiers: Tiers, pool: BlockPool, block_size: int, retention: Retention, prefill_s: Callable[[int], float]
    ) -> None:
        super().__init__(prefill_s)
        self.tiers = self._tiers = tiers
        self._uploads = Uploads(pool, tiers, block_size)
        self._block_size = block_size
        self._writes_through = not retention.offloads
        if self._writes_through:  # else a context need not be below, and may have to be computed again
            self.rebuild_s = tiers.rebuild_s

    @property
    def uploads(self) -> Sequence[Upload]:
        """Uploads under way."""
        return list(self._uploads.under_way)

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int, now_s: float) -> int:
        """Return how many tokens the tiers hold without a gap, as far as loading them pays."""
        cached_blocks = num_computed_tokens // self._block_size
        stop = (request.num_tokens - 1) // self._block_size
        reload_stop = self._tiers.reload_stop(request.context, cached_blocks, stop, now_s)
        return max(0, reload_stop - cached_blocks) * self._block_size

    def update_state_after_alloc(
        self, request: Request, num_computed_tokens: int, num_external_tokens: int, now_s: float
    ) -> None:
        """Submit the transfers of these tokens to the links."""
        start = num_computed_tokens // self._block_size
        self._tiers.reload(request, start, start + num_external_tokens // self._block_size, now_s)

    def get_finished(self, now_s: float) -> Sequence[tuple[float, Request | Upload]]:
        """Return what the links have brought; an upload that a turn took over is returned as that turn."""
        back: list[tuple[float, Request | Upload]] = []
        for end_s, mover in self._tiers.arrived(now_s):
            if not isinstance(mover, Upload):
                back.append((end_s, mover))
            elif mover.request is not None:
                back.append((end_s, mover.request))
            elif mover in self._uploads.under_way:  # else it was cancelled on its way
                back.append((end_s, mover))
        return back

    def request_preempted(self, request: Request, now_s: float) -> None:
        """Copy down what is computed, unless the policy offloads contexts itself."""
        if self._writes_through:
            self._store(request.context, request.table, now_s)

    def request_finished(self, request: Request, decision: Decision, now_s: float) -> None:
        """Copy the turn's context down or forget it, as the decision says."""
        context = request.context
        self._tiers.let_go(context)
        if decision is Fate.EVICT:
            return
        if self._writes_through or decision is Fate.OFFLOAD:
            self._store(context, request.table, now_s)
            if decision is Fate.OFFLOAD and self._writes_through:
                self._tiers.hold(context)
        elif request.last:
            self._tiers.abandon(context, 0)  # where only the rule offloads, what a finished program left below can go

    def prompt_keeps(self, context: Context, kept_tokens: int, usable_tokens: int) -> None:
        """Forget the rest in every tier, and cut an upload short."""
        self._tiers.abandon(context, kept_tokens // self._block_size)
        if context.upload is not None:
            self._uploads.keep_to(context.upload, usable_tokens // self._block_size)

    def has_come(self, context: Context) -> None:
        """Forget a context that the policy moved down; where every context is copied, only stop holding the copy."""
        if self._writes_through:
            self._tiers.let_go(context)
        else:
            self._tiers.abandon(context, 0)

    def leaves(self, context: Context) -> None:
        """Cancel its upload; what the tiers have stays, held no longer, in case the program comes back."""
        if context.upload is not None:
            self._uploads.drop(context.upload)
        self._tiers.let_go(context)

    def offload(self, context: Context, now_s: float) -> None:
        """Copy the context down; where every context is copied, hold this copy. The caller ends the pin."""
        self._store(context, context.pinned, now_s)
        if self._writes_through:
            self._tiers.hold(context)

    def recall(self, program: ProgramView, context: Context, now_s: float) -> int | None:
        """Submit the transfers of what the tiers hold of the context."""
        return self._uploads.begin(program, context, now_s)

    def take(self, upload: Upload) -> list[BlockRun]:
        """End an upload, whose blocks are the caller's from now on."""
        return self._uploads.take(upload)

    def next_event_s(self) -> float:
        """Return the next arrival over either link."""
        return self._tiers.next_event_s()

    def next_upload_s(self) -> float:
        """Return the next arrival over either link if an upload is under way; infinite otherwise."""
        return self._tiers.next_event_s() if self._uploads.under_way else math.inf

    def totals(self, end_s: float) -> tuple[TierTotals, ...]:
        """Return the use of DRAM and, if there is one, the SSD."""
        return self._tiers.totals(end_s)

    def _store(self, context: Context, table: list[BlockRun], now_s: float) -> None:
        if table:
            self._tiers.store(context, table[-1].stop, now_s)
