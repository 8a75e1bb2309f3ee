"""What policies see of a simulated engine: the `EngineView` of `policies/views.py`."""

from __future__ import annotations

from collections.abc import Callable

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.cadence import PrefillCadence
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.connector import NoConnector
from continuum_sim.engine.request import Context, Request
from continuum_sim.engine.waiting import WaitingQueue
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.instants import EARLY_S
from continuum_sim.policies.views import TierView


class VisibleEngine:
    """The engine's counts; its scheduler sets what they are taken from."""

    config: EngineConfig
    block_size: int
    """Tokens per block."""
    pool: BlockPool
    batch: Batch
    running: dict[int, Request]
    reloading: dict[Request, None]
    waiting: WaitingQueue
    governor: Governor
    cadence: PrefillCadence
    shows_arrivals: bool
    """Whether a program that comes or goes is logged, or read by the policy together with the engine's state."""
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
        """Turns in the batch, plus admitted turns that wait for blocks from a lower tier; of vLLM's own these wait."""
        return len(self.running) + (0 if self.connector.native else len(self.reloading))

    @property
    def num_waiting(self) -> int:
        """Turns in the waiting queue, and with vLLM's native offload those that load from host memory."""
        return len(self.waiting.queued) + (len(self.reloading) if self.connector.native else 0)

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

    # What its clock asks ----------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether any turn runs, waits or reloads."""
        return bool(self.running or self.waiting.queued or self.reloading or self.connector.has_finished)

    def next_event_s(self) -> float:
        """Return the earliest time at which the policy or a lower tier acts without another event; may be infinite."""
        return min(self.governor.next_event_s(), self.waiting.next_change_s, self.connector.next_event_s() - EARLY_S)

    @property
    def counts_turns(self) -> bool:
        """Whether the number of turns in the engine decides how much of some prompt the next step computes."""
        threshold = self.config.long_prefill_token_threshold
        return self.cadence.active or bool(threshold and (self.batch.prefilling or self.waiting.queued))

    def state_matters_to(self, context: Context) -> bool:
        """Return whether this context's program, if it comes or goes, reads the engine's state or frees blocks."""
        return self.shows_arrivals or bool(context.pinned) or context.upload is not None
