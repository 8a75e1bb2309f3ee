"""What layers cache of a context: heads of keys and values, a window of them, a latent vector or a state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CacheKind = Literal["full", "sliding", "chunked", "mla", "recurrent"]
"""vLLM's FullAttentionSpec, SlidingWindowSpec, ChunkedLocalAttentionSpec, MLAAttentionSpec (with a window
SlidingWindowMLASpec) and MambaSpec."""


@dataclass(frozen=True)
class State:
    """One tensor of a recurrent layer's state. A request has one, whatever its length."""

    shape: tuple[int, ...]
    """Its shape in vLLM without tensor parallelism."""
    split: int
    """The dimension that tensor parallelism divides."""
    element_bytes: int = 2
    whole: int = 0
    """Part of that dimension that every rank holds whole: the shared group, if all heads of Mamba 2 share one."""

    def shape_on(self, tensor_parallel_size: int) -> tuple[int, ...]:
        """Return its shape on one rank."""
        divided = (self.shape[self.split] - self.whole) // tensor_parallel_size + self.whole
        return (*self.shape[: self.split], divided, *self.shape[self.split + 1 :])


@dataclass(frozen=True)
class Latent:
    """Sizes of the heads that a latent vector represents (MLA)."""

    size: int
    """Elements of the vector without those that carry positions."""
    rotary: int
    """Elements of a key that carry positions, which all heads share."""
    plain: int
    """Elements of a head's key that do not."""
    value: int
    """Elements of a head's value."""


@dataclass(frozen=True)
class Scan:
    """How a recurrent layer passes over a prompt: in chunks, inside of which it attends and between which it recurs."""

    kind: Literal["state_space", "linear", "delta"]
    """Mamba 2 (Dao and Gu, 2024), linear attention, or a (gated) delta rule (Yang et al., 2024)."""
    chunk: int
    """Tokens of a chunk in vLLM's kernels."""
    n_keys: int
    """Heads of keys, or groups of Mamba 2."""


@dataclass(frozen=True)
class CacheLayers:
    """Layers with equal caches."""

    kind: CacheKind
    layers: tuple[int, ...]
    """Numbers of these layers."""
    n_heads: int = 0
    """Query heads."""
    n_kv_heads: int = 0
    head_dim: int = 0
    """Elements of a key in one head; for MLA, of the vector that represents keys and values of all heads."""
    value_dim: int | None = None
    """Elements of a value in one head; None: as many as a key. 0 for MLA."""
    window: int | None = None
    """Tokens that sliding layers attend to (also layers of kind `mla`, if set), or tokens of a chunk."""
    states: tuple[State, ...] = ()
    block_size: int | None = None
    """Tokens per block, if the layers have their own block size as in DeepSeek-V4; None: the engine's."""
    tokens_per_state: int = 1
    """Tokens that one stored vector represents: DeepSeek-V4 compresses 4 or 128 into one."""
    state_content_bytes: int | None = None
    """Bytes that one head stores per token, whatever the KV cache's type; None: depends on the type."""
    fp8_state_content_bytes: int | None = None
    """Bytes that one head stores per token in an fp8 KV cache with scales beside the elements: 656 for sparse
    MLA (`fp8_ds_mla`)."""
    alignment: int = 1
    """Blocks are padded to a multiple of this many bytes."""
    num_prefill_checkpoint_blocks: int = 0
    """Extra blocks that a recurrent layer needs to keep its state during a prefill: 1 for Mamba 2."""
    latent: Latent | None = None
    """The heads that a latent vector represents; None if it is key and value itself, as in DeepSeek-V4."""
    chosen: int | None = None
    """Tokens that an indexer chooses for each query to attend to; None: all in the window."""
    index_heads: int = 0
    """Query heads of the indexer whose keys these are."""
    index_dim: int = 0
    """Elements of a key of the indexer."""
    scan: Scan | None = None
    """How a prompt passes a recurrent layer; None for Mamba 1 and convolutions, which only move data."""
    borrowers: tuple[int, ...] = ()
    """Layers that attend to these caches and keep none of their own."""

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def numbers_per_token(self) -> int:
        """Elements that one KV head of one layer keeps per token."""
        return self.head_dim + (self.head_dim if self.value_dim is None else self.value_dim)

    def kv_heads_on(self, ranks: int) -> int:
        """KV heads per rank: divided or, if there are fewer heads than ranks, replicated, as MLA's one vector is."""
        return max(1, self.n_kv_heads // ranks)

    def content_bytes(self, element_bytes: int) -> int:
        """Bytes that one KV head of one layer stores per token, in a KV cache with elements of that size."""
        if self.state_content_bytes is not None:
            return self.state_content_bytes
        if element_bytes == 1 and self.fp8_state_content_bytes is not None:
            return self.fp8_state_content_bytes
        return self.numbers_per_token * element_bytes
