"""vLLM's native KV offload of a model with one KV cache group: what is stored and loaded, as runs of chunks."""

from __future__ import annotations

from collections.abc import Callable

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.chain import Chain
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.offload.host_cache import HostCache
from continuum_sim.engine.offload.host_policies import Access
from continuum_sim.engine.offload.native import NativeConnector, Offloads, Transfer
from continuum_sim.engine.offload.spans import Spans
from continuum_sim.engine.request import Context, Request


class RunTransfer(Transfer):
    """Chunks on their way, by their place in the request."""

    __slots__ = ("spans",)

    def __init__(self, number: int, request: Request, spans: Spans, blocks: int, *, loads: bool) -> None:
        super().__init__(number, request, blocks, loads=loads)
        self.spans = spans


class RunOffloads(Offloads):
    """What the connector knows of one request."""

    __slots__ = ("access", "next_stored")

    def __init__(self, context: Context, blocks_per_chunk: int) -> None:
        super().__init__()
        self.access = Access(context, blocks_per_chunk)
        self.next_stored = 0
        """First chunk that has not been offered to host memory."""


class RunConnector(NativeConnector):
    """Connector to host memory that holds chunks of one group."""

    def __init__(
        self, config: TierConfig, block_size: int, prefill_s: Callable[[int], float], *, vllm_version: str
    ) -> None:
        self._cache = HostCache(
            config.dram_blocks // config.blocks_per_chunk,
            config.eviction_policy,
            ranks_requests=vllm_version != "0.32",
        )
        super().__init__(config, block_size, prefill_s, self._cache, vllm_version=vllm_version)
        self._chunk_tokens = block_size * config.blocks_per_chunk
        self._by_context: dict[Context, list[RunOffloads]] = {}

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int, now_s: float) -> int | None:
        """Return how many further tokens host memory has; None to be asked again, as transfers are under way."""
        found = self._requests.get(request)
        if found is None:
            found = self._requests[request] = RunOffloads(request.context, self._chunk_blocks)
            self._by_context.setdefault(request.context, []).append(found)
        assert isinstance(found, RunOffloads)
        if self._offers_again:
            found.next_stored = 0
        if found.transfers:
            return None
        size = self._chunk_tokens
        start, stop = num_computed_tokens // size, request.num_tokens // size
        if stop * size - num_computed_tokens < size:
            return 0
        chunks, pending, loading = self._cache.lookup(found.access.parts(start, stop))
        if pending:
            return None
        tokens = (start + chunks) * size - num_computed_tokens
        if not chunks or tokens < size:
            return 0
        return None if loading else tokens

    def _fills(self, batch: Batch, steps: int, *, ahead: bool) -> dict[int, dict[Request, None]]:
        """Return which turns fill chunks with tokens that are computed, by step, in order."""
        found: dict[int, dict[Request, None]] = {}
        size = self._chunk_tokens
        for request in batch.running.values():
            offloads = self._requests.get(request)
            if request.decoding and isinstance(offloads, RunOffloads):
                first = (offloads.next_stored + 1) * size - batch.computed(request) + ahead
                for step in range(max(1, first), steps + 1, size):
                    found.setdefault(step, {})[request] = None
        return dict(sorted(found.items()))

    def update_state_after_alloc(
        self, request: Request, num_computed_tokens: int, num_external_tokens: int, now_s: float
    ) -> None:
        """Begin to load these tokens; the next to be stored are those that follow."""
        found = self._requests[request]
        assert isinstance(found, RunOffloads)
        start = num_computed_tokens // self._chunk_tokens
        stop = (num_computed_tokens + num_external_tokens) // self._chunk_tokens
        self._cache.prepare_load(found.access, start, stop)
        found.next_stored = stop
        blocks = num_external_tokens // self._block_size
        self._begun.append(self._transfer(request, [(start, stop)], blocks, loads=True))

    def prompt_keeps(self, context: Context, kept_tokens: int, usable_tokens: int) -> None:
        """Let the rest of a context be a content that nobody asks for; it stays until it is evicted."""
        dropped, kept = Chain(), kept_tokens // self._chunk_tokens
        self._cache.drop(context.own, kept, dropped)
        for found in self._by_context.get(context, ()):
            found.access.drop(context.own, kept, dropped)

    # Within ---------------------------------------------------------------------------------------------

    def _store(self, request: Request, tokens: int) -> list[Transfer]:
        """Offer a request's blocks of so many tokens to host memory; return the transfer of those that it takes."""
        found = self._requests.get(request)
        if found is None:
            return []
        assert isinstance(found, RunOffloads)
        if self._config.offload_prompt_only:
            tokens = min(tokens, request.prompt_tokens)
        stop = tokens // self._chunk_tokens
        if stop <= found.next_stored:
            return []
        missing = self._cache.prepare_store(found.access, found.next_stored, stop)
        if missing is None:
            self._failing[request] = None
            return []
        self._failing.pop(request, None)
        found.next_stored = stop
        if not missing:
            return []
        blocks = sum([end - at for at, end in missing]) * self._chunk_blocks
        transfer = self._transfer(request, missing, blocks, loads=False)
        self.new_transfers.append(transfer)
        return [transfer]

    def _transfer(self, request: Request, spans: Spans, blocks: int, *, loads: bool) -> Transfer:
        self._requests[request].transfers += 1
        self._numbered += 1
        return RunTransfer(self._numbered - 1, request, spans, blocks, loads=loads)

    def _complete(self, found: Offloads, transfer: Transfer) -> None:
        assert isinstance(found, RunOffloads)
        assert isinstance(transfer, RunTransfer)
        if transfer.loads:
            self._cache.complete_load(found.access, *transfer.spans[0])
        else:
            self._cache.complete_store(found.access, transfer.spans)

    def _count(self, found: Offloads) -> None:
        assert isinstance(found, RunOffloads)
        self._cache.request_finished(found.access)

    def _forget(self, request: Request, found: Offloads) -> None:
        assert isinstance(found, RunOffloads)
        others = self._by_context[request.context]
        others.remove(found)
        if not others:
            del self._by_context[request.context]
