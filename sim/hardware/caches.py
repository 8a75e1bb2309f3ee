"""What layers keep of a context: heads of keys and values, a window of them, a latent vector or a state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CacheKind = Literal["full", "sliding", "chunked", "mla", "recurrent"]
"""vLLM's FullAttentionSpec, SlidingWindowSpec, ChunkedLocalAttentionSpec, MLAAttentionSpec (with a window
SlidingWindowMLASpec) and MambaSpec."""


@dataclass(frozen=True)
class State:
    """One tensor of a recurrent layer's state, of which a request has one whatever its length."""

    shape: tuple[int, ...]
    """As vLLM shapes it on one rank of one."""
    split: int
    """The dimension that tensor parallelism divides."""
    element_bytes: int = 2
    whole: int = 0
    """How much of that dimension every rank holds: of Mamba 2 whose heads all share one group, that group's."""

    def shape_on(self, tensor_parallel_size: int) -> tuple[int, ...]:
        """Return its shape on one of the ranks."""
        divided = (self.shape[self.split] - self.whole) // tensor_parallel_size + self.whole
        return (*self.shape[: self.split], divided, *self.shape[self.split + 1 :])


@dataclass(frozen=True)
class CacheLayers:
    """Layers whose caches are alike."""

    kind: CacheKind
    layers: tuple[int, ...]
    """Which ones they are."""
    n_heads: int = 0
    """Query heads."""
    n_kv_heads: int = 0
    head_dim: int = 0
    """Numbers of a key in one head; for MLA, of the vector that stands for keys and values of all heads."""
    value_dim: int | None = None
    """Numbers of a value in one head; None: as many as a key. 0 for MLA."""
    window: int | None = None
    """Tokens that sliding layers attend to (those of kind `mla` too where it is set), or tokens of a chunk."""
    states: tuple[State, ...] = ()
    block_size: int | None = None
    """Tokens of a block where the layers have a size of their own, as DeepSeek-V4's; None: the engine's."""
    tokens_per_state: int = 1
    """Tokens that one stored vector stands for: DeepSeek-V4 compresses 4 or 128 into one."""
    state_content_bytes: int | None = None
    """Bytes that one head stores of a token whatever the type of the KV cache; None: by its type."""
    fp8_state_content_bytes: int | None = None
    """Bytes that one head stores of a token in a KV cache of fp8 where scales lie beside the numbers: 656 for sparse
    MLA (`fp8_ds_mla`)."""
    alignment: int = 1
    """Bytes that a block is padded to a multiple of."""
    num_prefill_checkpoint_blocks: int = 0
    """Blocks more that a recurrent layer takes to keep its state inside a prefill: 1 for Mamba 2."""

    @property
    def n_layers(self) -> int:
        """How many layers they are."""
        return len(self.layers)

    @property
    def numbers_per_token(self) -> int:
        """Numbers one KV head of one layer keeps of a token."""
        return self.head_dim + (self.head_dim if self.value_dim is None else self.value_dim)

    def kv_heads_on(self, ranks: int) -> int:
        """KV heads of a rank: divided or, where there are fewer than ranks, replicated, as MLA's one vector is."""
        return max(1, self.n_kv_heads // ranks)

    def content_bytes(self, element_bytes: int) -> int:
        """Bytes of what one KV head of one layer stores of a token, in a KV cache of such elements."""
        if self.state_content_bytes is not None:
            return self.state_content_bytes
        if element_bytes == 1 and self.fp8_state_content_bytes is not None:
            return self.fp8_state_content_bytes
        return self.numbers_per_token * element_bytes
