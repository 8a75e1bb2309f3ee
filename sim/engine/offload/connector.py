"""The seam between the scheduler and memory below the KV cache, after vLLM's KV connectors.

Names follow `KVConnectorBase_V1` (`vllm/distributed/kv_transfer/kv_connector/v1/base.py`, its scheduler's side) where
the thing is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from continuum_sim.engine.block_pool import BlockPool, BlockRun
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.tiers import Tiers, TierTotals
from continuum_sim.engine.offload.uploads import Uploads
from continuum_sim.engine.request import Context, Request, Upload
from continuum_sim.policies.planes import Decision, Fate, Retention
from continuum_sim.policies.views import ProgramView


class NoConnector:
    """No memory below: nothing is ever found there, or on its way."""

    def __init__(self, prefill_s: Callable[[int], float]) -> None:
        self.tiers: Tiers | None = None
        """What policies see of host memory."""
        self.rebuild_s: Callable[[int], float] = prefill_s
        """Seconds until a context of so many tokens is back on the GPU."""

    @property
    def uploads(self) -> Sequence[Upload]:
        """Contexts that the policy brings back ahead of their programs' turns."""
        return ()

    # A turn's way ---------------------------------------------------------------------------------------

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int, now_s: float) -> int:
        """Tokens behind the computed ones to bring up before the turn runs; 0 for none."""
        return 0

    def update_state_after_alloc(
        self, request: Request, num_computed_tokens: int, num_external_tokens: int, now_s: float
    ) -> None:
        """Begin to bring these tokens up, for which the turn holds blocks now."""
        raise AssertionError("nothing is held below")

    def get_finished(self, now_s: float) -> Sequence[tuple[float, Request | Upload]]:
        """Turns and uploads whose blocks are back by now, in order, each with the time of that."""
        return ()

    def request_preempted(self, request: Request, now_s: float) -> None:
        """See a turn lose its blocks, those with content being in its table."""

    def request_finished(self, request: Request, decision: Decision, now_s: float) -> None:
        """See a turn end, its content being in its table."""

    # A program's context --------------------------------------------------------------------------------

    def prompt_keeps(self, context: Context, kept_blocks: int, usable_blocks: int) -> None:
        """Forget of a context what its program's next prompt does not keep, or cannot use."""

    def has_come(self, context: Context) -> None:
        """See a context back on the GPU."""

    def leaves(self, context: Context) -> None:
        """See a program go to another engine."""

    def offload(self, context: Context, now_s: float) -> None:
        """Move a pinned context down, since the policy says so; without a tier its blocks are only freed."""

    def recall(self, program: ProgramView, context: Context, now_s: float) -> int | None:
        """Begin to bring a context up ahead of its turn; returns its blocks, or None for lack of room."""
        raise AssertionError("nothing is held below")

    def take(self, upload: Upload) -> list[BlockRun]:
        """End an upload that has arrived or that a turn takes over; returns the blocks it holds that have content."""
        raise AssertionError("nothing is held below")

    # When -----------------------------------------------------------------------------------------------

    def next_event_s(self) -> float:
        """Earliest time at which blocks arrive on the GPU or in host memory; may be infinite."""
        return math.inf

    def next_upload_s(self) -> float:
        """Earliest time at which a context may be back that the policy recalled; infinite if none is on its way."""
        return math.inf

    def totals(self, end_s: float) -> tuple[TierTotals, ...]:
        """Use of each tier there is, up to the end of a run."""
        return ()


class TierConnector(NoConnector):
    """Host memory, perhaps with an SSD below.

    It takes a copy of every context as its turn ends or is preempted, unless the policy moves contexts by itself:
    then it holds what was moved there and nothing else for long.
    """

    def __init__(
        self, tiers: Tiers, pool: BlockPool, block_size: int, retention: Retention, prefill_s: Callable[[int], float]
    ) -> None:
        super().__init__(prefill_s)
        self.tiers = self._tiers = tiers
        self._uploads = Uploads(pool, tiers, block_size)
        self._block_size = block_size
        self._writes_through = not retention.offloads
        if self._writes_through:  # else what is not in host memory for sure has to be computed again
            self.rebuild_s = tiers.rebuild_s

    @property
    def uploads(self) -> Sequence[Upload]:
        """Those under way."""
        return list(self._uploads.under_way)

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int, now_s: float) -> int:
        """As far as a tier holds the prompt without a gap, if bringing it up pays."""
        cached_blocks = num_computed_tokens // self._block_size
        stop = (request.num_tokens - 1) // self._block_size
        reload_stop = self._tiers.reload_stop(request.context, cached_blocks, stop, now_s)
        return max(0, reload_stop - cached_blocks) * self._block_size

    def update_state_after_alloc(
        self, request: Request, num_computed_tokens: int, num_external_tokens: int, now_s: float
    ) -> None:
        """Give the blocks to the links."""
        start = num_computed_tokens // self._block_size
        self._tiers.reload(request, start, start + num_external_tokens // self._block_size, now_s)

    def get_finished(self, now_s: float) -> Sequence[tuple[float, Request | Upload]]:
        """Take what the links have brought; a turn that took over an upload stands for it."""
        back: list[tuple[float, Request | Upload]] = []
        for end_s, mover in self._tiers.arrived(now_s):
            if not isinstance(mover, Upload):
                back.append((end_s, mover))
            elif mover.request is not None:
                back.append((end_s, mover.request))
            elif mover in self._uploads.under_way:  # else it was given up on the way
                back.append((end_s, mover))
        return back

    def request_preempted(self, request: Request, now_s: float) -> None:
        """Copy what is computed, unless the policy moves contexts by itself."""
        if self._writes_through:
            self._store(request.context, request.table, now_s)

    def request_finished(self, request: Request, decision: Decision, now_s: float) -> None:
        """Copy the turn's context, or move it, or forget it, as the decision says."""
        context = request.context
        self._tiers.let_go(context)
        if decision is Fate.EVICT:
            return
        if self._writes_through or decision is Fate.OFFLOAD:
            self._store(context, request.table, now_s)
            if decision is Fate.OFFLOAD and self._writes_through:
                self._tiers.hold(context)
        elif request.last:
            self._tiers.abandon(context, 0)  # a rule that moves contexts by itself knows whose they are

    def prompt_keeps(self, context: Context, kept_blocks: int, usable_blocks: int) -> None:
        """Forget the rest in every tier and, where it is on its way up, let it be."""
        self._tiers.abandon(context, kept_blocks)
        if context.upload is not None:
            self._uploads.keep_to(context.upload, usable_blocks)

    def has_come(self, context: Context) -> None:
        """Forget what a policy moved down, not copied; a copy is one like any other again."""
        if self._writes_through:
            self._tiers.let_go(context)
        else:
            self._tiers.abandon(context, 0)

    def leaves(self, context: Context) -> None:
        """Give up its way up, and keep what is here like any other's, should the program come back."""
        if context.upload is not None:
            self._uploads.drop(context.upload)
        self._tiers.let_go(context)

    def offload(self, context: Context, now_s: float) -> None:
        """Copy it and keep the copy before others; the host ends the pin."""
        self._store(context, context.pinned, now_s)
        if self._writes_through:
            self._tiers.hold(context)

    def recall(self, program: ProgramView, context: Context, now_s: float) -> int | None:
        """Give what the tiers hold of it to the links."""
        return self._uploads.begin(program, context, now_s)

    def take(self, upload: Upload) -> list[BlockRun]:
        """End an upload; its blocks are the caller's."""
        return self._uploads.take(upload)

    def next_event_s(self) -> float:
        """Of both links."""
        return self._tiers.next_event_s()

    def next_upload_s(self) -> float:
        """When the links bring something next, if an upload is among it."""
        return self._tiers.next_event_s() if self._uploads.under_way else math.inf

    def totals(self, end_s: float) -> tuple[TierTotals, ...]:
        """Of DRAM and SSD."""
        return self._tiers.totals(end_s)

    def _store(self, context: Context, table: list[BlockRun], now_s: float) -> None:
        if table:
            self._tiers.store(context, table[-1].stop, now_s)


def make_connector(
    config: EngineConfig, pool: BlockPool, retention: Retention, prefill_s: Callable[[int], float]
) -> NoConnector:
    """Connect the tiers of an engine, if it has any."""
    if config.tiers is None:
        return NoConnector(prefill_s)
    tiers = Tiers(config.tiers, config.block_size, prefill_s)
    return TierConnector(tiers, pool, config.block_size, retention, prefill_s)
