"""What one layer keeps in a block on one rank, and the size of a block: vLLM's KV cache specs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final, NamedTuple

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.caches import CacheKind, CacheLayers, State

_KERNEL_BLOCK_TOKENS: Final = 16
"""Smallest block of FlashAttention's kernels; larger ones are multiples of it
(`FlashAttentionBackend.get_supported_kernel_block_sizes`)."""

_HYBRID_MLA_BLOCK_TOKENS: Final = 128
"""Blocks of MLA beside recurrent layers are multiples of this (`Platform._align_hybrid_block_size`)."""


@dataclass(frozen=True)
class KVCacheSpec:
    """One layer's cache (`vllm/v1/kv_cache_interface.py`). Layers whose specs are equal can share a group."""

    kind: CacheKind
    block_size: int
    """Tokens per block."""
    num_kv_heads: int = 0
    head_size: int = 0
    head_size_v: int = 0
    state_content_bytes: int = 0
    """Bytes that one head stores per token."""
    tokens_per_state: int = 1
    window: int | None = None
    """Tokens of the window, or of a chunk."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Shapes of a recurrent layer's states."""
    state_bytes: int = 0
    """Bytes of all states of a request together."""
    num_prefill_checkpoint_blocks: int = 0
    page_size_padded: int | None = None
    """Bytes that a block takes, if more than its contents."""

    @property
    def unpadded_page_size_bytes(self) -> int:
        """Bytes of a block's contents."""
        return self.state_bytes + self.num_kv_heads * self.block_size // self.tokens_per_state * (
            self.state_content_bytes
        )

    @property
    def page_size_bytes(self) -> int:
        """Bytes of memory that a block takes."""
        return self.page_size_padded or self.unpadded_page_size_bytes

    def max_blocks_of_request(self, tokens: int, max_in_flight_tokens: int, mamba_cache_mode: str) -> int:
        """Most blocks that a request of `tokens` tokens holds (`max_memory_usage_bytes` over the page size).

        Parameters
        ----------
        tokens
            Length of the request.
        max_in_flight_tokens
            Tokens of steps that are planned but not finished, whose blocks are not freed yet
            (`VllmConfig.max_in_flight_tokens`).
        mamba_cache_mode
            `align` if states are cached at the ends of blocks (with prefix caching), otherwise `none`.
        """
        if self.kind == "recurrent":
            return 2 + self.num_prefill_checkpoint_blocks if mamba_cache_mode == "align" else 1
        if self.window is None:
            return -(-tokens // self.block_size)
        chunked = self.kind == "chunked"
        return window_blocks(self.window, self.block_size, tokens, max_in_flight_tokens, chunked=chunked)

    def is_uniform_with(self, other: KVCacheSpec) -> bool:
        """Return True if `other` needs a block whenever this one does (`UniformTypeKVCacheSpecs.is_uniform_type`)."""
        if self.block_size != other.block_size or self.window != other.window:
            return False
        if self.kind == "recurrent":
            return (
                other.kind == "recurrent"
                and self.page_size_bytes == other.page_size_bytes
                and self.num_prefill_checkpoint_blocks == other.num_prefill_checkpoint_blocks
            )
        if self.kind == "mla" and self.window is not None:
            return other.kind == "mla"
        alike: dict[CacheKind, tuple[CacheKind, ...]] = {
            "full": ("full", "mla"),
            "mla": ("full", "mla"),
            "sliding": ("sliding", "mla"),
            "chunked": ("chunked",),
        }
        return other.kind in alike[self.kind]


def window_blocks(window: int, block_size: int, tokens: int, max_in_flight_tokens: int, *, chunked: bool) -> int:
    """Return the most blocks that a request of `tokens` tokens holds of a window, or of a chunk.

    vLLM sizes the pool and admits requests by the same number (`max_admission_blocks_per_request`).
    """
    if chunked:
        return -(-min(window + max_in_flight_tokens, tokens) // block_size)
    # A window need not begin at a block boundary, so one more block.
    return -(-min(window - 1 + max_in_flight_tokens, tokens) // block_size) + 1


class CachedLayer(NamedTuple):
    """A layer of the model and one of its caches."""

    layer: int
    spec: KVCacheSpec


def cached_layers(
    caches: Sequence[CacheLayers],
    *,
    tensor_parallel_size: int,
    block_size: int,
    element_bytes: int,
    max_model_len: int,
    prefix_caching: bool = True,
) -> tuple[list[CachedLayer], int]:
    """Return all caches of a model in the order of its layers, and the resulting block size."""
    block_size = aligned_block_size(caches, tensor_parallel_size, block_size, element_bytes)
    hybrid = _attends(caches) and _recurs(caches)
    # Attention and states share one pool: a state is padded to a block of attention.
    padded = block_size * _attention_bytes_per_token(caches, tensor_parallel_size, element_bytes) if hybrid else None
    # Without prefix caching, as always without attention, vLLM treats the whole request as one block.
    mamba_block_size = block_size if hybrid and prefix_caching else max_model_len
    found = []
    for place, cache in enumerate(caches):
        spec = (
            _recurrent_spec(cache, tensor_parallel_size, mamba_block_size, padded)
            if cache.kind == "recurrent"
            else _attention_spec(cache, tensor_parallel_size, block_size, element_bytes)
        )
        found += [(layer, place, spec) for layer in cache.layers]
    found.sort(key=lambda one: one[:2])
    return [CachedLayer(layer, spec) for layer, _, spec in found], block_size


def aligned_block_size(
    caches: Sequence[CacheLayers], tensor_parallel_size: int, block_size: int, element_bytes: int
) -> int:
    """Return the block size, raised if a block of attention would be smaller than a state.

    vLLM's `Platform.update_block_size_for_backend` and `_align_hybrid_block_size`.
    """
    largest = max((_state_bytes(cache.states, tensor_parallel_size) for cache in caches), default=0)
    if not largest or not _attends(caches):
        return block_size
    per_token = _attention_bytes_per_token(caches, tensor_parallel_size, element_bytes)
    multiple = max(block_size, _KERNEL_BLOCK_TOKENS)
    if any(cache.kind == "mla" for cache in caches):
        multiple = max(multiple, _HYBRID_MLA_BLOCK_TOKENS)
    least = multiple * -(-largest // (multiple * per_token))
    least = _KERNEL_BLOCK_TOKENS * -(-least // _KERNEL_BLOCK_TOKENS)
    return max(block_size, least)


def unified_page_size(layers: Sequence[CachedLayer]) -> list[CachedLayer] | None:
    """Give all caches pages of one size: larger blocks, or padding (vLLM's `unify_kv_cache_spec_page_size`).

    Returns None if MLA's pages would need padding: they are read as contiguous rows.

    Raises
    ------
    ConfigError
        If vLLM does not start with such pages.
    """
    largest = max(spec.page_size_bytes for _, spec in layers)
    found = []
    for layer, spec in layers:
        page = spec.page_size_bytes
        if page == largest:
            unified = spec
        elif spec.kind != "recurrent" and largest % page == 0:
            if spec.page_size_padded is not None:
                raise ConfigError(f"vLLM does not start: blocks padded to {page} bytes cannot be made {largest} bytes")
            unified = replace(spec, block_size=spec.block_size * (largest // page))
        elif spec.kind == "mla" and spec.window is None:
            return None
        else:
            unified = replace(spec, page_size_padded=largest)
        found.append(CachedLayer(layer, unified))
    return found


def _attention_spec(cache: CacheLayers, tensor_parallel_size: int, block_size: int, element_bytes: int) -> KVCacheSpec:
    spec = KVCacheSpec(
        kind=cache.kind,
        block_size=cache.block_size or block_size,
        num_kv_heads=cache.kv_heads_on(tensor_parallel_size),
        head_size=cache.head_dim,
        head_size_v=cache.numbers_per_token - cache.head_dim,
        state_content_bytes=cache.content_bytes(element_bytes),
        tokens_per_state=cache.tokens_per_state,
        window=cache.window,
    )
    aligned = cache.alignment * -(-spec.unpadded_page_size_bytes // cache.alignment)
    return spec if aligned == spec.unpadded_page_size_bytes else replace(spec, page_size_padded=aligned)


def _recurrent_spec(cache: CacheLayers, tensor_parallel_size: int, block_size: int, padded: int | None) -> KVCacheSpec:
    state_bytes = _state_bytes(cache.states, tensor_parallel_size)
    return KVCacheSpec(
        kind="recurrent",
        block_size=block_size,
        shapes=tuple(state.shape_on(tensor_parallel_size) for state in cache.states),
        state_bytes=state_bytes,
        num_prefill_checkpoint_blocks=cache.num_prefill_checkpoint_blocks,
        page_size_padded=None if padded == state_bytes else padded,
    )


def _attention_bytes_per_token(caches: Sequence[CacheLayers], tensor_parallel_size: int, element_bytes: int) -> int:
    """Bytes that an attention layer keeps per token, with the heads that vLLM takes as the model's."""
    cache = next(cache for cache in caches if cache.kind != "recurrent")
    numbers = cache.head_dim if cache.kind == "mla" else 2 * cache.head_dim
    return cache.kv_heads_on(tensor_parallel_size) * numbers * element_bytes


def _state_bytes(states: Sequence[State], tensor_parallel_size: int) -> int:
    return sum(prod(state.shape_on(tensor_parallel_size)) * state.element_bytes for state in states)


def _attends(caches: Sequence[CacheLayers]) -> bool:
    return any(cache.kind != "recurrent" for cache in caches)


def _recurs(caches: Sequence[CacheLayers]) -> bool:
    return any(cache.kind == "recurrent" for cache in caches)
