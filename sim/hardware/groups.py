"""KV cache groups: which layers share a block table, how many blocks fit, and what one request takes of them.

Worked out as vLLM 0.32 does (`vllm/v1/core/kv_cache_utils.py`). A block is an entry of the one pool that all groups
draw from; in it lie the pages of all layers of the group that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from continuum_sim.hardware.caches import CacheKind, CacheLayers
from continuum_sim.hardware.grouping import get_kv_cache_groups
from continuum_sim.hardware.kv_cache_spec import CachedLayer, KVCacheSpec, cached_layers
from continuum_sim.hardware.model_spec import ModelSpec

Layout = Literal["LBNHC", "BLNHC"]
"""vLLM's `KVCacheLayout`: layers outermost, each with pages of its own, or blocks outermost, each with the pages of
its layers side by side. Only the second holds pages of different sizes as they are."""


@dataclass(frozen=True)
class KVCacheGroup:
    """Layers that share a block table (`KVCacheGroupSpec`)."""

    layers: tuple[int, ...]
    """Which layers of the model; one is there twice if both its caches are."""
    specs: tuple[KVCacheSpec, ...]
    """What each of them keeps."""

    @property
    def kind(self) -> CacheKind:
        """How its layers mix tokens; those of a group free blocks alike."""
        return self.specs[0].kind

    @property
    def block_size(self) -> int:
        """Tokens of a block."""
        return self.specs[0].block_size

    @property
    def window(self) -> int | None:
        """Tokens of the window, or of a chunk; None where all are kept."""
        return self.specs[0].window

    @property
    def page_bytes(self) -> int:
        """Bytes of one block of all its layers."""
        return sum(spec.page_size_bytes for spec in self.specs)


@dataclass(frozen=True)
class Groups:
    """The groups of one rank, and what follows from them. `max_concurrent_batches` is 2 where vLLM plans ahead."""

    groups: tuple[KVCacheGroup, ...]
    """In vLLM's order."""
    block_size: int
    """What `--block-size` has become: recurrent states raise it."""
    mamba_cache_mode: Literal["align", "none"]
    """`align` where states are kept at the ends of blocks for prefix caching."""

    @cached_property
    def bytes_per_block(self) -> int:
        """Bytes of a block of the pool: those of the largest group (`_get_kv_cache_bytes_per_block`)."""
        return max(group.page_bytes for group in self.groups)

    def num_blocks(self, kv_bytes: int) -> int:
        """Blocks that fit (`get_kv_cache_config_from_groups`), vLLM's null block among them."""
        return max(0, kv_bytes) // self.bytes_per_block

    def blocks_of_request(self, tokens: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1) -> int:
        """Blocks that one request holds at most, over all groups (`_max_memory_usage_bytes_from_groups`)."""
        in_flight = max_num_batched_tokens * max_concurrent_batches
        return sum(
            max(spec.max_blocks_of_request(tokens, in_flight, self.mamba_cache_mode) for spec in set(group.specs))
            for group in self.groups
        )

    def bytes_of_request(self, tokens: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1) -> int:
        """Bytes of them."""
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
        """Tokens of as many requests, which vLLM logs as the size of its KV cache (`get_kv_cache_capacity`)."""
        return int(
            self.max_concurrency(kv_bytes, max_model_len, max_num_batched_tokens, max_concurrent_batches)
            * max_model_len
        )

    def starts(
        self, kv_bytes: int, max_model_len: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1
    ) -> bool:
        """Whether vLLM starts: one request fits beside the null block (`_check_enough_kv_cache_memory`)."""
        needed = self.bytes_of_request(max_model_len, max_num_batched_tokens, max_concurrent_batches)
        return needed <= kv_bytes - self.bytes_per_block

    def estimate_max_model_len(
        self, kv_bytes: int, max_model_len: int, max_num_batched_tokens: int, max_concurrent_batches: int = 1
    ) -> int:
        """Return the largest `--max-model-len` up to the one given with which vLLM starts; 0: none.

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
) -> Groups:
    """Derive the groups of one rank from what the layers of a model keep.

    Parameters
    ----------
    caches
        Of one layer at least. Layers come in the order of their numbers, caches of one layer in the order given.
    tensor_parallel_size
        Must divide the heads, or be a multiple of the KV heads.
    block_size
        vLLM's `--block-size`, in tokens.
    element_bytes
        Bytes of a number in the KV cache: 2, or 1 for fp8.
    max_model_len
        Longest request, in tokens.
    layout
        None: layers outermost where all pages are of one size, blocks outermost elsewhere.

    Raises
    ------
    ConfigError
        If vLLM does not start with such layers.
    """
    layers, block_size = cached_layers(
        caches,
        tensor_parallel_size=tensor_parallel_size,
        block_size=block_size,
        element_bytes=element_bytes,
        max_model_len=max_model_len,
    )
    if layout is None:
        layout = "LBNHC" if len({spec.page_size_bytes for _, spec in layers}) == 1 else "BLNHC"
    attends = any(cache.kind != "recurrent" for cache in caches)
    return Groups(
        groups=tuple(_group(group) for group in get_kv_cache_groups(layers, block_outermost=layout == "BLNHC")),
        block_size=block_size,
        mamba_cache_mode="align" if attends else "none",
    )


def model_groups(
    model: ModelSpec, *, tensor_parallel_size: int = 1, block_size: int = 16, max_model_len: int | None = None
) -> Groups:
    """Derive the groups of a model as it is served; None: its own greatest length.

    Raises
    ------
    ConfigError
        If the configuration does not tell what the layers keep.
    """
    return cache_groups(
        model.known_caches(),
        tensor_parallel_size=tensor_parallel_size,
        block_size=block_size,
        element_bytes=model.kv_element_bytes,
        max_model_len=model.max_model_len if max_model_len is None else max_model_len,
    )


def _group(layers: Sequence[CachedLayer]) -> KVCacheGroup:
    return KVCacheGroup(tuple(layer for layer, _ in layers), tuple(spec for _, spec in layers))
