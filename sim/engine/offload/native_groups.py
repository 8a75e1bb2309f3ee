"""vLLM's native KV offload of a model with several KV cache groups: what of each is stored and loaded.

Host memory holds chunks of each group alone. Of windows only those are stored that a prompt can hit, of recurrent
layers the states, each as it becomes findable; and a prompt loads what its next token attends to in every group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.groups.manager import GroupedKVCacheManager
from continuum_sim.engine.groups.steps import GroupedContext
from continuum_sim.engine.groups.table import BandTable
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.offload.contents import HostContent, Key
from continuum_sim.engine.offload.gone import FreedBlocks, Taken
from continuum_sim.engine.offload.group_chunks import GroupChunks, hit_of, make_chunks
from continuum_sim.engine.offload.keyed_cache import KeyedCache
from continuum_sim.engine.offload.keyed_policies import KeyAccess
from continuum_sim.engine.offload.native import NativeConnector, Offloads, Transfer
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Context, Request


class KeyTransfer(Transfer):
    """Chunks on their way."""

    __slots__ = ("keys",)

    def __init__(self, number: int, request: Request, keys: Sequence[Key], blocks: int, *, loads: bool) -> None:
        super().__init__(number, request, blocks, loads=loads)
        self.keys = keys


class GroupOffloads(Offloads):
    """What the connector knows of one request."""

    __slots__ = ("access", "content", "ended", "freed", "junction_tokens", "keys", "next_stored", "opened")

    def __init__(self, content: HostContent, groups: int) -> None:
        super().__init__()
        self.access = KeyAccess()
        self.content = content
        self.keys: list[list[Key]] = [[] for _ in range(groups)]
        """The chunks of each group's part of the context, up to the tokens known."""
        self.next_stored = [0] * groups
        """First chunk of each group that has not been offered to host memory."""
        self.opened: list[int] = []
        """First block that the turn held of each group as it entered the batch; empty until then."""
        self.freed = FreedBlocks(groups)
        self.junction_tokens = 0
        """Where prompts part (`shared_prefix_boundary`), as of its latest look-up; 0 for nowhere."""
        self.ended = False


class GroupConnector(NativeConnector):
    """Connector to host memory that holds chunks of several groups."""

    def __init__(
        self, config: TierConfig, block_size: int, prefill_s: Callable[[int], float], *, vllm_version: str
    ) -> None:
        self._cache = KeyedCache(
            config.dram_blocks // config.blocks_per_chunk,
            config.eviction_policy,
            ranks_requests=vllm_version != "0.32",
        )
        super().__init__(config, block_size, prefill_s, self._cache, vllm_version=vllm_version)
        self._checks_parts = vllm_version != "0.32"
        """Whether a chunk is left out of which a block that can be hit has been freed (0.33)."""
        self._contents: dict[Context, HostContent] = {}
        self._prefixes: dict[object, int] = {}
        """Names of shared prefixes, by the content that the first group has of them."""
        self._named = 0
        self._loading: set[Key] = set()
        self._hits: list[tuple[Request, Taken]] = []
        """Blocks hit by turns admitted in the step being planned."""
        self._manager: GroupedKVCacheManager
        self._groups: Sequence[GroupChunks] = ()

    def bind_kv_cache_manager(self, manager: KVCacheManager) -> None:
        """Take the manager of the blocks that are stored and loaded."""
        assert isinstance(manager, GroupedKVCacheManager)
        self._manager = manager
        self._groups = make_chunks(manager.specs, self._chunk_blocks, manager.retention_interval)
        manager.cached_states = []
        manager.offloads = self

    # A turn's way ---------------------------------------------------------------------------------------

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int, now_s: float) -> int | None:
        """Return how many further tokens host memory has; None to be asked again, as transfers are under way."""
        found = self._requests.get(request)
        if found is None:
            found = self._requests[request] = GroupOffloads(self._content(request.context), len(self._groups))
        assert isinstance(found, GroupOffloads)
        found.opened = []
        found.freed = FreedBlocks(len(self._groups))
        found.junction_tokens = self._manager.latest_junction_tokens
        if self._offers_again:
            found.next_stored = [0] * len(self._groups)
        if found.transfers:
            return None
        self._name(found, request.num_tokens)
        tokens = hit_of(self._groups, self._cache, found.keys, request.num_tokens, num_computed_tokens)
        if tokens and self._loading:
            for group, keys in zip(self._groups, found.keys, strict=True):
                if any(key in self._loading for key in group.to_load(keys, num_computed_tokens, tokens)):
                    return None
        return tokens

    def update_state_after_alloc(
        self, request: Request, num_computed_tokens: int, num_external_tokens: int, now_s: float
    ) -> None:
        """Begin to load these tokens; the next to be stored are those that follow."""
        found = self._requests[request]
        assert isinstance(found, GroupOffloads)
        stop = num_computed_tokens + num_external_tokens
        loaded: list[Key] = []
        blocks = 0
        for number, group in enumerate(self._groups):
            first, last = group.blocks_to_load(num_computed_tokens, stop)
            end = -(-stop // group.chunk_tokens)
            if first < last:
                loaded += found.keys[number][first // self._chunk_blocks : end]
                blocks += last - first
            found.next_stored[number] = end
        self._cache.prepare_load(found.access, loaded)
        self._loading.update(loaded)
        self._begun.append(self._transfer(request, loaded, blocks, loads=True))

    def build_connector_meta(self, plan: Plan, batch: Batch, under_way: Plan | None, now_s: float) -> None:
        """Note what turns hold that a planned step admits, and offer to host memory what it computes."""
        for request in plan.admitted:
            found = self._requests.get(request)
            if isinstance(found, GroupOffloads) and request in self._manager.tables:
                found.opened = self._manager.first_blocks(request)
        self._strike_out()
        super().build_connector_meta(plan, batch, under_way, now_s)

    def prompt_keeps(self, context: Context, kept_tokens: int, usable_tokens: int) -> None:
        """Let the rest of a context be a content that nobody asks for; it stays until it is evicted."""
        if context in self._contents:
            self._contents[context].keep_to(kept_tokens, self._fresh())

    def leaves(self, context: Context) -> None:
        """Forget the names of a context."""
        self._contents.pop(context, None)

    def _end(self, request: Request, tokens: int) -> None:
        found = self._requests.get(request)
        if isinstance(found, GroupOffloads):
            self._name(found, request.num_tokens)
            found.ended = True
        super()._end(request, tokens)

    # Blocks freed before they are stored ----------------------------------------------------------------

    def blocks_hit(self, request: Request, table: BandTable) -> None:
        """Note the blocks that a turn hits as it is admitted."""
        for run in table.runs:
            assert run.chain is not None
            for group in range(run.group, run.group + run.width):
                self._hits.append((request, (group, run.chain, run.start, run.stop, run.stamp)))

    def blocks_freed(self, request: Request, table: BandTable, stop: int, *, later: bool = False) -> None:
        """Note which blocks are freed that host memory has yet to take."""
        found = self._requests.get(request)
        if not isinstance(found, GroupOffloads) or not found.opened or table.band.spec.kind == "recurrent":
            return
        if self._config.offload_prompt_only:
            chunk_tokens = self._groups[table.band.groups.start].chunk_tokens
            stop = min(stop, request.prompt_tokens // chunk_tokens * self._chunk_blocks)
        pending = self._pending(found)
        if any(pending[group] < stop for group in table.band.groups):
            found.freed.freed(table, pending, stop, self._manager.pool, later=later)

    def _pending(self, found: GroupOffloads) -> list[int]:
        """Return the first block of each group that has not been offered to host memory."""
        return [chunk * self._chunk_blocks for chunk in found.next_stored]

    def _strike_out(self) -> None:
        for request, found in self._requests.items():
            assert isinstance(found, GroupOffloads)
            if not found.opened:
                continue
            found.freed.strike_out([taken for _, taken in self._hits], self._manager.pool)
            others = [taken for other, taken in self._hits if other is not request]
            if others:
                pending = self._pending(found)
                for table in self._manager.tables.get(request, ()):
                    if table.band.spec.frees and table.band.spec.kind != "recurrent":
                        found.freed.strike_out_held(table, pending, others)
            found.freed.note_held(self._manager.tables.get(request, ()))
        self._hits = []

    # Names ----------------------------------------------------------------------------------------------

    def _content(self, context: Context) -> HostContent:
        found = self._contents.get(context)
        if found is None:
            assert isinstance(context, GroupedContext)
            shared, tokens = context.contents[0].shared, 0
            label = -1
            if shared is not None:
                bands = zip(context.contents, self._manager.bands, strict=True)
                tokens = max([content.shared_blocks * band.spec.block_size for content, band in bands])
                if shared not in self._prefixes:
                    self._prefixes[shared] = self._fresh()
                label = self._prefixes[shared]
            found = self._contents[context] = HostContent(self._fresh(), label, tokens)
        return found

    def _fresh(self) -> int:
        self._named += 1
        return self._named

    def _name(self, found: GroupOffloads, tokens: int) -> None:
        """Name the chunks of a request's first tokens (`update_offload_keys`)."""
        for number, (group, keys) in enumerate(zip(self._groups, found.keys, strict=True)):
            stop = tokens // group.chunk_tokens
            if stop > len(keys):
                keys += found.content.keys(number, group.chunk_tokens, len(keys), stop)

    # What is stored and loaded --------------------------------------------------------------------------

    def _store_states(self) -> list[Transfer]:
        """Store the states that became findable, each for itself (`_build_aligned_boundary_store_jobs`)."""
        states = self._manager.cached_states
        if not states:
            return []
        transfers: list[Transfer] = []
        by_group = sorted(states, key=_group)
        for request in dict.fromkeys([entry[0] for entry in by_group]):
            found = self._requests.get(request)
            if not isinstance(found, GroupOffloads):
                continue
            for _, number, block in [entry for entry in by_group if entry[0] is request]:
                group = self._groups[number]
                end = (block + 1) * group.spec.block_size
                if end % group.chunk_tokens or (self._config.offload_prompt_only and end > request.prompt_tokens):
                    continue
                self._name(found, end)
                stored = self._cache.prepare_store(found.access, [found.keys[number][end // group.chunk_tokens - 1]])
                if stored:
                    transfers.append(self._transfer(request, stored, 1, loads=False))
        self._manager.cached_states = []
        self.new_transfers += transfers
        return transfers

    def _store(self, request: Request, tokens: int) -> list[Transfer]:
        """Offer a request's blocks of so many tokens to host memory; return the transfer of those that it takes."""
        found = self._requests.get(request)
        if not isinstance(found, GroupOffloads) or not found.opened:
            return []
        prompt = request.prompt_tokens
        if self._config.offload_prompt_only:
            tokens = min(tokens, prompt)
        self._name(found, tokens)
        boundaries = (prompt - 1, found.junction_tokens) if found.junction_tokens else (prompt - 1,)
        stops = [tokens // group.chunk_tokens for group in self._groups]
        offered: list[Key] = []
        blocks: dict[Key, int] = {}
        for number, group in enumerate(self._groups):
            chunks = group.to_store(
                found.next_stored[number],
                stops[number],
                prompt // group.chunk_tokens,
                found.opened[number],
                boundaries,
                gone=found.freed.gone[number],
                ended=found.ended,
                whole=self._checks_parts,
            )
            for chunk, held in chunks:
                key = found.keys[number][chunk]
                offered.append(key)
                blocks[key] = held
        stored = self._cache.prepare_store(found.access, offered) if offered else offered
        if stored is None:
            self._failing[request] = None
            return []
        self._failing.pop(request, None)
        found.next_stored = [max(pair) for pair in zip(found.next_stored, stops, strict=True)]
        if not stored:
            return []
        transfer = self._transfer(request, stored, sum([blocks[key] for key in stored]), loads=False)
        self.new_transfers.append(transfer)
        return [transfer]

    def _transfer(self, request: Request, keys: Sequence[Key], blocks: int, *, loads: bool) -> Transfer:
        self._requests[request].transfers += 1
        self._numbered += 1
        return KeyTransfer(self._numbered - 1, request, keys, blocks, loads=loads)

    def _complete(self, found: Offloads, transfer: Transfer) -> None:
        assert isinstance(transfer, KeyTransfer)
        if transfer.loads:
            self._cache.complete_load(transfer.keys)
            self._loading.difference_update(transfer.keys)
        else:
            self._cache.complete_store(transfer.keys)

    def _count(self, found: Offloads) -> None:
        assert isinstance(found, GroupOffloads)
        self._cache.request_finished(found.access)

    def _forget(self, request: Request, found: Offloads) -> None:
        if request.last and not request.aborted:  # else its client may send it again
            self._contents.pop(request.context, None)


def _group(entry: tuple[Request, int, int]) -> int:
    return entry[1]
