"""vLLM's native KV offload (`--kv-offloading-size`): the scheduler side of its `OffloadingConnector`.

Names follow `OffloadingConnectorScheduler` (`vllm/distributed/kv_transfer/kv_connector/v1/offloading/scheduler.py`).
A turn's blocks are stored in the step that schedules their tokens, prompts only unless asked, and whatever host memory
has is loaded; nothing is compared with computing it. Host memory holds chunks of one block or several. Here is when
transfers begin and end; what they move is in `native_runs.py` for one KV cache group, and in `native_groups.py`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.offload.connector import NoConnector
from continuum_sim.engine.offload.host_cache import HostMemory
from continuum_sim.engine.offload.link import Link
from continuum_sim.engine.offload.tiers import TierTotals
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request, Upload
from continuum_sim.policies.instants import EARLY_S
from continuum_sim.policies.planes import Decision


class Transfer:
    """Blocks on their way to or from host memory (vLLM's `TransferJob`)."""

    __slots__ = ("blocks", "loads", "number", "request")

    def __init__(self, number: int, request: Request, blocks: int, *, loads: bool) -> None:
        self.number = number
        """Number in order of submission, loads and stores together."""
        self.request = request
        self.blocks = blocks
        self.loads = loads


class Offloads:
    """What the connector knows of one request (vLLM's `RequestOffloadState`)."""

    __slots__ = ("finished", "transfers")

    def __init__(self) -> None:
        self.transfers = 0
        """Transfers under way."""
        self.finished = False


class NativeConnector(NoConnector):
    """Connector to vLLM's host memory. Policies do not see it, as they do not in vLLM."""

    def __init__(
        self,
        config: TierConfig,
        block_size: int,
        prefill_s: Callable[[int], float],
        host: HostMemory,
        *,
        vllm_version: str,
    ) -> None:
        super().__init__(prefill_s)
        self.native = True
        self.host = host
        self.new_transfers: list[Transfer] = []
        """Those of the step planned last; for observers."""
        self.completed: list[Transfer] | None = None
        """Collects those that are over, if an observer asks."""
        self._config = config
        self._block_size = block_size
        self._chunk_blocks = config.blocks_per_chunk
        self._offers_again = vllm_version != "0.32"
        self._down = Link(config.dram_block_s)
        self._up = Link(config.dram_block_s)
        self._requests: dict[Request, Offloads] = {}
        self._failing: dict[Request, None] = {}
        """Running turns whose blocks found no room, which are offered again in every step."""
        self._finished: list[tuple[Request, int]] = []
        """Turns that have ended since a step was planned, with the tokens that may be stored."""
        self._begun: list[Transfer] = []
        """Loads begun in the step being planned."""
        self._unsent: list[tuple[int, Transfer]] = []
        """Transfers that begin when so many more steps are over."""
        self._early: list[tuple[float, Request | Upload]] = []
        """Turns whose blocks came within a jump, for the step after it."""
        self._arrivals: list[tuple[float, int, Transfer]] = []
        """Heap of (end in s, number, transfer)."""
        self._numbered = 0
        self._written_blocks = self._read_blocks = 0

    # A turn's way ---------------------------------------------------------------------------------------

    def build_connector_meta(self, plan: Plan, batch: Batch, under_way: Plan | None, now_s: float) -> None:
        """Offer to host memory what a planned step computes, and what turns that ended have not stored.

        Loads begin with the step, stores when it is over.

        Parameters
        ----------
        under_way
            The step planned before and not over, if any.
        """
        self.new_transfers = [*self._begun]
        steps = int(under_way is not None)
        begins = [(steps, transfer) for transfer in self._begun]
        after = steps if plan.empty else steps + 1
        begins += [(after, transfer) for transfer in self._store_states()]
        for request, tokens in self._scheduled(plan, batch, under_way):
            begins += [(after, transfer) for transfer in self._store(request, tokens)]
        for request, tokens in self._finished:
            begins += [(after, transfer) for transfer in self._store(request, tokens)]
        for request, _ in self._finished:
            self._failing.pop(request, None)
            found = self._requests.get(request)
            if found is not None:
                found.finished = True
                self._count(found)
                self._clean_up(request, found)
        self._begun, self._finished = [], []
        for steps, transfer in begins:
            if steps:
                self._unsent.append((steps, transfer))
            else:
                self._send(transfer, now_s)

    def step_over(self, now_s: float) -> None:
        """Begin the transfers that waited for the end of a step."""
        if self._unsent:
            self._steps_over(1, now_s)

    def repeat(self, batch: Batch, steps: int, *, ahead: bool, end_s: Callable[[int], float]) -> None:
        """Let `steps` steps be over, after each of which one like the latest is planned: offer what these fill.

        Only at the ends of steps at which a block fills or a transfer begins anything is to be done. While the blocks
        of some turn find no room, they are offered again in every step, and count as used again.
        """
        fills = self._fills(batch, steps, ahead=ahead)
        turns = [request for request in batch.running.values() if request.decoding]
        over = 0
        while True:
            waits = [entry[0] for entry in self._unsent]
            following = min([over + min(waits, default=steps + 1), next(iter(fills), steps + 1)])
            if self._failing:
                following = over + 1
            if following > steps:
                break
            at_s = end_s(following)
            self._steps_over(following - over, at_s)
            over = following
            offering = fills.pop(over, {})
            if self._failing or offering:
                self._early += self._end_transfers(at_s)
                for request in turns:
                    if request in offering or request in self._failing:
                        tokens = batch.computed(request) + over - ahead
                        self._unsent += [(1 + ahead, transfer) for transfer in self._store(request, tokens)]
        if self._unsent and over < steps:
            self._unsent = [(wait - (steps - over), transfer) for wait, transfer in self._unsent]

    def _fills(self, batch: Batch, steps: int, *, ahead: bool) -> dict[int, dict[Request, None]]:
        """Return which turns fill chunks with tokens that are computed, by step, in order."""
        return {}

    def _steps_over(self, steps: int, now_s: float) -> None:
        """Begin the transfers that waited for the end of the last of so many steps."""
        left = []
        for wait, transfer in self._unsent:
            if wait > steps:
                left.append((wait - steps, transfer))
            else:
                self._send(transfer, now_s)
        self._unsent = left

    def get_finished(self, now_s: float) -> Sequence[tuple[float, Request | Upload]]:
        """End the transfers that are over by now; return the turns whose blocks have come."""
        back = [*self._early, *self._end_transfers(now_s)]
        self._early = []
        return back

    def _end_transfers(self, now_s: float) -> list[tuple[float, Request | Upload]]:
        back: list[tuple[float, Request | Upload]] = []
        while self._arrivals and self._arrivals[0][0] - EARLY_S <= now_s:
            end_s, _, transfer = heapq.heappop(self._arrivals)
            found = self._requests[transfer.request]
            found.transfers -= 1
            self._complete(found, transfer)
            if transfer.loads:
                back.append((end_s, transfer.request))
            self._clean_up(transfer.request, found)
            if self.completed is not None:
                self.completed.append(transfer)
        return back

    def request_preempted(self, request: Request, now_s: float) -> None:
        """Stop offering its blocks until it runs again."""
        self._failing.pop(request, None)

    def request_finished(self, request: Request, decision: Decision, now_s: float) -> None:
        """Store what is missing with the next step; the blocks are freed at once."""
        self._end(request, max(request.prompt_tokens, request.num_tokens - 1))

    def request_aborted(self, request: Request, num_computed_tokens: int) -> None:
        """Store what was computed with the next step."""
        self._end(request, num_computed_tokens)

    # When -----------------------------------------------------------------------------------------------

    def loads_under_way(self) -> list[Transfer]:
        """Return the loads that are not over."""
        unsent = [transfer for _, transfer in self._unsent]
        return [each for each in [*unsent, *[entry[2] for entry in self._arrivals]] if each.loads]

    @property
    def failing(self) -> int:
        """Running turns whose blocks found no room in host memory."""
        return len(self._failing)

    @property
    def has_finished(self) -> bool:
        """Whether turns have ended of which the connector has yet to hear in a step."""
        return bool(self._finished)

    @property
    def stores_outputs(self) -> bool:
        """Whether blocks of sampled tokens are stored."""
        return not self._config.offload_prompt_only

    @property
    def busy(self) -> bool:
        """Whether blocks are offered again in every step."""
        return bool(self._failing)

    @property
    def begins_later(self) -> bool:
        """Whether transfers begin when a step under way is over."""
        return bool(self._unsent)

    @property
    def loads_later(self) -> bool:
        """Whether loads do."""
        return any(transfer.loads for _, transfer in self._unsent)

    def next_event_s(self) -> float:
        """Return when the next transfer ends, if a turn may wait for it; infinite otherwise."""
        if self.passed_over or self._failing:
            return self._arrivals[0][0] if self._arrivals else math.inf
        return min([end_s for end_s, _, transfer in self._arrivals if transfer.loads], default=math.inf)

    def totals(self, end_s: float) -> tuple[TierTotals, ...]:
        """Return the use of host memory, over a link in each direction."""
        busy_s = self._down.busy_s(end_s) + self._up.busy_s(end_s)
        host = self.host
        return (
            TierTotals(
                "dram",
                host.num_blocks * self._chunk_blocks,
                host.peak_used_blocks * self._chunk_blocks,
                self._config.block_bytes,
                self._written_blocks,
                self._read_blocks,
                busy_s,
                2,
            ),
        )

    # Within ---------------------------------------------------------------------------------------------

    def _scheduled(self, plan: Plan, batch: Batch, under_way: Plan | None) -> list[tuple[Request, int]]:
        """Return the turns of a step that may have blocks to store, in its order, with their tokens to store."""
        chunks = {request: request.num_computed_tokens + tokens for request, tokens in plan.chunks}
        if self._config.offload_prompt_only:
            if not self._failing:
                return list(chunks.items())
            turns = [request for request in self._failing if request not in chunks]
        else:
            turns = [request for request in batch.running.values() if request.decoding]
        for request in turns:
            if request.decoding and request not in plan.skipped:
                if request.drafted is not None:  # of what it verifies only the tokens known are stored
                    if request in plan.verified:
                        chunks[request] = request.num_tokens - request.drafted.coming_tokens
                    continue
                in_flight = under_way is not None and bool(under_way.tokens_in_flight(request))
                chunks[request] = batch.computed(request) + 1 - in_flight
        return sorted(chunks.items(), key=lambda entry: entry[0].rank)

    def _send(self, transfer: Transfer, now_s: float) -> None:
        if transfer.loads:
            self._read_blocks += transfer.blocks
            end_s = self._up.send(transfer.blocks, now_s)
        else:
            self._written_blocks += transfer.blocks
            end_s = self._down.send(transfer.blocks, now_s)
        heapq.heappush(self._arrivals, (end_s, transfer.number, transfer))

    def _clean_up(self, request: Request, found: Offloads) -> None:
        """Forget a request that has ended and has no transfer under way."""
        if found.finished and not found.transfers:
            del self._requests[request]
            self._forget(request, found)

    def _end(self, request: Request, tokens: int) -> None:
        """Note that a turn has ended of which so many tokens may be stored."""
        self._finished.append((request, tokens))

    # What is stored and loaded --------------------------------------------------------------------------

    def _store_states(self) -> list[Transfer]:
        """Offer to host memory the states of recurrent layers that became findable; return their transfers."""
        return []

    def _store(self, request: Request, tokens: int) -> list[Transfer]:
        """Offer a request's blocks of so many tokens to host memory; return the transfer of those that it takes."""
        raise NotImplementedError

    def _complete(self, found: Offloads, transfer: Transfer) -> None:
        """Let chunks be used that have been stored, or evicted that have been loaded."""
        raise NotImplementedError

    def _count(self, found: Offloads) -> None:
        """Count a request that has ended as one use of what it accessed."""
        raise NotImplementedError

    def _forget(self, request: Request, found: Offloads) -> None:
        """Forget a request."""
