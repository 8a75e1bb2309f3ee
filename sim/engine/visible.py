"""What policies see of a simulated engine: the `EngineView` of `policies/views.py`."""

from __future__ import annotations

from collections.abc import Callable

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.offload.connector import NoConnector
from continuum_sim.engine.request import Request
from continuum_sim.engine.waiting import WaitingQueue
from continuum_sim.policies.views import TierView


class VisibleEngine:
    """The engine's counts; its scheduler sets what they are taken from."""

    block_size: int
    """Tokens per block."""
    pool: BlockPool
    running: dict[int, Request]
    reloading: dict[Request, None]
    waiting: WaitingQueue
    leaving: dict[Request, None]
    """Turns whose clients have hung up, which the engine hears of while its next step runs."""
    connector: NoConnector
    """Access to the memory tiers below the KV cache."""
    rebuild_s: Callable[[int], float]
    """Returns the seconds to prefill a context of that many tokens."""

    @property
    def total_blocks(self) -> int:
        """Blocks that can hold KV."""
        return self.pool.num_blocks

    @property
    def free_blocks(self) -> int:
        """Blocks without references, cached or not."""
        return self.pool.free

    @property
    def pinned_blocks(self) -> int:
        """Blocks that pins hold."""
        return self.pool.pinned

    @property
    def num_running(self) -> int:
        """Turns in the batch, plus admitted turns that wait for blocks from a lower tier."""
        return len(self.running) + len(self.reloading)

    @property
    def num_waiting(self) -> int:
        """Turns in the waiting queue."""
        return len(self.waiting.queued)

    @property
    def shortest_waiting_tokens(self) -> int:
        """Tokens of the shortest waiting turn; 0 if none waits."""
        return self.waiting.shortest_tokens()

    def queued_tokens(self) -> int:
        """Return the prompt tokens, cached or not, of the turns whose clients wait for a first token."""
        turns = [*self.running.values(), *self.reloading, *self.waiting.requests()]
        return sum([turn.prompt_tokens for turn in turns if turn.first_token_s < 0 and turn not in self.leaving])

    @property
    def tier(self) -> TierView | None:
        """Host memory below the KV cache, if any."""
        return self.connector.tiers
