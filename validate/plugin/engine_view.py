"""A policy's view of a vLLM scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from continuum_sim.validate.plugin.pins import PinnedBlocks


class VllmEngineView:
    """The `EngineView` of a running vLLM scheduler."""

    def __init__(self, scheduler: Any, pins: PinnedBlocks, rebuild_s: Callable[[int], float]) -> None:
        self._scheduler = scheduler
        self._pool = scheduler.kv_cache_manager.block_pool
        self._pins = pins
        self.rebuild_s = rebuild_s
        """Returns the seconds it takes to make a lost context of n tokens usable again."""
        self.leaving = 0
        """Requests that ended in the step just run: vLLM removes them from its list only once all have ended."""

    @property
    def block_size(self) -> int:
        """Tokens per block."""
        return int(self._scheduler.block_size)

    @property
    def total_blocks(self) -> int:
        """Usable blocks, so without vLLM's null block."""
        return int(self._pool.num_gpu_blocks) - 1

    @property
    def free_blocks(self) -> int:
        """Blocks that nothing references, cached or not."""
        return int(self._pool.get_num_free_blocks())

    @property
    def pinned_blocks(self) -> int:
        """Blocks held by pins."""
        return self._pins.num_blocks

    @property
    def num_running(self) -> int:
        """Requests in the batch."""
        return len(self._scheduler.running) - self.leaving

    @property
    def num_waiting(self) -> int:
        """Requests waiting."""
        return int(self._scheduler.get_request_counts()[1])

    @property
    def shortest_waiting_tokens(self) -> int:
        """Tokens of the shortest waiting request; 0 if none waits."""
        return min((int(request.num_tokens) for request in self._scheduler.waiting), default=0)

    @property
    def tier(self) -> None:
        """None: a policy cannot move what a KV connector of the engine keeps in host memory."""
        return None
