"""KV cache groups: which layers share a block table, how many blocks fit, and how many one request needs.

Computed as in vLLM 0.32 (`vllm/v1/core/kv_cache_utils.py`). A block is an entry of the one pool that all groups
draw from; it holds the pages of all layers of its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.caches import CacheKind, CacheLayers
from continuum_sim.hardware.grouping import all_kept_whole, get_kv_cache_groups
from continuum_sim.hardware.kv_cache_spec import CachedLayer, KVCacheSpec, cached_layers
from continuum_sim.hardware.model_spec import ModelSpec

Layout = Literal["LBNHC", "BLNHC"]
"""vLLM's `KVCacheLayout`: layers outermost, each with its own pages, or blocks outermost, each with the pages of
its layers side by side. Only the second can hold pages of different sizes unchanged."""


@dataclass(frozen=True)
class KVCacheGroup:
    """Layers that share a block table (`KVCacheGroupSpec`)."""

    layers: tuple[int, ...]
    """Numbers of the layers in the model; a layer occurs twice if both its caches are in the group."""
    specs: tuple[KVCacheSpec, ...]
    """What each of them caches."""

    @property
    def kind(self) -> CacheKind:
        """How its layers mix tokens; layers of one group free blocks by the same rule."""
        return self.specs[0].kind

    @property
    def block_size(self) -> int:
        """Tokens per block."""
        return self.specs[0].block_size

    @property
    def window(self) -> int | None:
        """Tokens of the window, or of a chunk; None if all tokens are kept."""
        return self.specs[0].window

    @property
    def checkpoints(self) -> bool:
        """Whether recurrent layers save a state during a prefill, in a block of its own."""
        return any(spec.num_prefill_checkpoint_blocks for spec in self.specs)

    @property
    def keeps_all(self) -> bool:
        """Whether it keeps every token of a context."""
        return self.window is None and self.kind != "recurrent"

    @property
    def page_bytes(self) -> int:
        """Bytes of one block over all its layers."""
        return sum(spec.page_size_bytes for spec in self.specs)


@dataclass(frozen=True)
class Groups:
    """The groups of one rank. `max_concurrent_batches` is 2 if vLLM plans ahead."""

    groups: tuple[KVCacheGroup, ...]
    """In vLLM's order."""
    block_size: int
    """The effective `--block-size`, which recurrent states may raise."""
    mamba_cache_mode: Literal["align", "none"]
    """`align` if states are kept at the ends of blocks for prefix caching."""

    @property
    def whole(self) -> bool:
        """Whether they are one group that keeps every token, in blocks of the size asked for."""
        return len(self.groups) == 1 and self.groups[0].keeps_all

    @cached_property
    def bytes_per_block(self) -> int:
        """Bytes per block of the pool: those of the largest group (`_get_kv_cache_bytes_per_block`)."""
        return max(group.page_bytes for group in self.groups)

    def stage_bytes_per_block(self, layers: range) -> int:
        """Bytes per block of the pool of a pipeline's stage with these layers.

        vLLM's `_project_kv_cache_groups_to_worker`.
        """
        return max(
            sum(spec.page_size_bytes for layer, spec in zip(group.layers, group.specs, strict=True) if layer in layers)
            for group in self.groups
        )

    def num_blocks(self, kv_bytes: int) -> int:
        """Blocks that fit, including vLLM's null block (`get_kv_cache_config_from_groups`)."""
        return max(0, kv_bytes) // self.bytes_per_block

    def blocks_of_request(self, tokens: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1) -> int:
        """Most blocks that one request holds, over all groups (`_max_memory_usage_bytes_from_groups`)."""
        in_flight = max_num_batched_tokens * max_concurrent_batches
        return sum(
            max(spec.max_blocks_of_request(tokens, in_flight, self.mamba_cache_mode) for spec in set(group.specs))
            for group in self.groups
        )

    def bytes_of_request(self, tokens: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1) -> int:
        """Bytes of those blocks."""
        return self.bytes_per_block * self.blocks_of_request(tokens, max_num_batched_tokens, max_concurrent_batches)

    def max_concurrency(
        self, kv_bytes: int, max_model_len: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1
    ) -> float:
        """Requests of `max_model_len` that fit at once (`get_max_concurrency_for_kv_cache_config`)."""
        taken = self.blocks_of_request(max_model_len, max_num_batched_tokens, max_concurrent_batches)
        return self.num_blocks(kv_bytes) / taken

    def capacity_tokens(
        self, kv_bytes: int, max_model_len: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1
    ) -> int:
        """Tokens of that many requests, which vLLM logs as the size of its KV cache (`get_kv_cache_capacity`)."""
        return int(
            self.max_concurrency(kv_bytes, max_model_len, max_num_batched_tokens, max_concurrent_batches)
            * max_model_len
        )

    def starts(
        self, kv_bytes: int, max_model_len: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1
    ) -> bool:
        """Return True if vLLM starts: one request fits beside the null block (`_check_enough_kv_cache_memory`)."""
        needed = self.bytes_of_request(max_model_len, max_num_batched_tokens, max_concurrent_batches)
        return needed <= kv_bytes - self.bytes_per_block

    def estimate_max_model_len(
        self, kv_bytes: int, max_model_len: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1
    ) -> int:
        """Return the largest `--max-model-len`, at most the given one, with which vLLM starts; 0 if none.

        vLLM's `_estimate_max_model_len_from_groups`.
        """
        starts, too_long = 0, max_model_len + 1
        while too_long - starts > 1:
            middle = (starts + too_long) // 2
            if self.starts(kv_bytes, middle, max_num_batched_tokens, max_concurrent_batches):
                starts = middle
            else:
                too_long = middle
        return starts


def cache_groups(
    caches: Sequence[CacheLayers],
    *,
    tensor_parallel_size: int = 1,
    block_size: int = 16,
    element_bytes: int = 2,
    max_model_len: int,
    layout: Layout | None = None,
    prefix_caching: bool = True,
    hybrid: bool = True,
) -> Groups:
    """Derive the groups of one rank from what a model's layers cache.

    Parameters
    ----------
    caches
        At least one. Sorted by layer number; caches of one layer stay in the given order.
    tensor_parallel_size
        Must divide the heads, or be a multiple of the KV heads.
    block_size
        vLLM's `--block-size`, in tokens.
    element_bytes
        Bytes per element of the KV cache: 2, or 1 for fp8.
    max_model_len
        Longest request, in tokens.
    layout
        None: layers outermost if all pages have one size, otherwise blocks outermost.
    prefix_caching
        Off, a block of recurrent layers holds the state of a whole request; as it always does without attention, for
        which vLLM caches no prefixes (`ModelConfig.is_prefix_caching_supported`).
    hybrid
        False as with vLLM's ``--disable-hybrid-kv-cache-manager``: if layers differ, those with windows or chunks keep
        all tokens.

    Raises
    ------
    ConfigError
        If vLLM does not start with these layers.
    """
    layers, block_size = cached_layers(
        caches,
        tensor_parallel_size=tensor_parallel_size,
        block_size=block_size,
        element_bytes=element_bytes,
        max_model_len=max_model_len,
        prefix_caching=prefix_caching,
    )
    if not hybrid:
        found = all_kept_whole(layers)
        if found is None:
            raise ConfigError(
                "vLLM does not start: these layers cannot share one KV cache group; leave "
                "--disable-hybrid-kv-cache-manager out"
            )
        layers = found
    if layout is None:
        layout = "LBNHC" if len({spec.page_size_bytes for _, spec in layers}) == 1 else "BLNHC"
    attends = any(cache.kind != "recurrent" for cache in caches)
    return Groups(
        groups=tuple(_group(group) for group in get_kv_cache_groups(layers, block_outermost=layout == "BLNHC")),
        block_size=block_size,
        mamba_cache_mode="align" if attends and prefix_caching else "none",
    )


def model_groups(
    model: ModelSpec,
    *,
    tensor_parallel_size: int = 1,
    block_size: int = 16,
    max_model_len: int | None = None,
    prefix_caching: bool = True,
    hybrid: bool = True,
) -> Groups:
    """Derive the groups of a model as it is served; `max_model_len` defaults to the model's own.

    Raises
    ------
    ConfigError
        If the configuration does not say what the layers cache, or vLLM does not start with it.
    """
    return cache_groups(
        model.known_caches(),
        tensor_parallel_size=tensor_parallel_size,
        block_size=block_size,
        element_bytes=model.kv_element_bytes,
        max_model_len=model.max_model_len if max_model_len is None else max_model_len,
        prefix_caching=prefix_caching,
        hybrid=hybrid,
    )


def _group(layers: Sequence[CachedLayer]) -> KVCacheGroup:
    return KVCacheGroup(tuple(layer for layer, _ in layers), tuple(spec for _, spec in layers))
