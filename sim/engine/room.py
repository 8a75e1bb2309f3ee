"""Whether a turn fits into what is free, for which pins may have to break."""

from __future__ import annotations

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.offload.reloads import Reloads
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Hits, Request
from continuum_sim.engine.waiting import WaitingQueue
from continuum_sim.policies.host.governor import Governor


class Room:
    """Finds room for turns."""

    def __init__(
        self,
        config: EngineConfig,
        batch: Batch,
        manager: KVCacheManager,
        pool: BlockPool,
        governor: Governor,
        waiting: WaitingQueue,
        reloads: Reloads,
    ) -> None:
        self._watermark = config.watermark_blocks
        self._batch = batch
        self._manager = manager
        self._pool = pool
        self._governor = governor
        self._waiting = waiting
        self._reloads = reloads

    def make(
        self,
        plan: Plan,
        request: Request,
        hits: Hits,
        whole: int,
        step: int,
        now_s: float,
        *,
        surely: bool = False,
        has_loaded: bool = False,
        loads: int = 0,
    ) -> bool:
        """Return True if `whole` tokens of a turn fit, and `step`, breaking pins as far as the policy allows.

        Its `hits` are kept up to date: blocks that a broken pin frees may be the same.
        One that `has_loaded` some holds blocks already. Beside those of what it has once native offload has loaded
        some, `loads`, those must be free that prompts under way lack.
        """
        upload = request.context.upload
        blocks = (self._watermark if self._batch.running else 0) - (0 if upload is None else upload.stop)
        manager = self._manager
        reserved = self._reloads.reserved_blocks(self._batch, plan) if loads else 0
        while blocks + (
            manager.room_to_go_on(request, whole, step)
            if has_loaded
            else manager.room_for(hits, whole, step, surely=surely)
        ) > self._pool.free or (loads and blocks + reserved + manager.room_for_loads(hits, loads) > self._pool.free):
            if not self.break_pin(plan, request, now_s):
                plan.lacks = blocks + manager.lasting_room
                return False
            if hits:
                hits[:] = manager.found_again(hits)
        return True

    def break_pin(self, plan: Plan, request: Request, now_s: float) -> bool:
        """Break one pin for a turn that lacks room; return False if the policy allows none."""
        if not self._governor.has_pins:
            return False
        program = self._governor.pin_to_break(request.turn, now_s)
        if program is None:
            return False
        self._waiting.pin_changed(program, now_s)
        plan.changed = True
        return True
