"""What layers keep of a context: heads of keys and values, a window of them, a latent vector or a state."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

CacheKind = Literal["full", "sliding", "chunked", "mla", "recurrent"]
"""vLLM's FullAttentionSpec, SlidingWindowSpec, ChunkedLocalAttentionSpec, MLAAttentionSpec and MambaSpec."""


@dataclass(frozen=True)
class State:
    """One tensor of a recurrent layer's state, of which a request has one whatever its length."""

    shape: tuple[int, ...]
    """As vLLM shapes it on one rank of one."""
    split: int
    """The dimension that tensor parallelism divides."""
    element_bytes: int = 2
    whole: int = 0
    """How much of that dimension every rank holds: of the groups of Mamba 2 where all heads share one."""

    def shape_on(self, tensor_parallel_size: int) -> tuple[int, ...]:
        """Return its shape on one of the ranks."""
        divided = (self.shape[self.split] - self.whole) // tensor_parallel_size + self.whole
        return self.shape[: self.split] + (divided,) + self.shape[self.split + 1 :]

    def bytes_on(self, tensor_parallel_size: int) -> int:
        """Bytes of it on one of the ranks."""
        return prod(self.shape_on(tensor_parallel_size)) * self.element_bytes


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
    """Tokens that sliding layers attend to, or tokens of a chunk."""
    states: tuple[State, ...] = ()
    element_bytes: int | None = None
    """Bytes of a number whatever type the KV cache is asked to have; None: as it is asked to."""
    fp8_token_bytes: int | None = None
    """Bytes of a token in an fp8 cache where scales and unquantised parts lie between the numbers; None: one a number."""
    token_bytes: int | None = None
    """Bytes of an entry in a cache of any type, scales included; None: as the numbers are."""
    tokens_per_entry: int = 1
    """Tokens that one entry stands for."""
    block_tokens: int | None = None
    """Tokens of a block where it is not as large as that of other layers."""
    page_multiple_bytes: int = 1
    """A block's bytes are filled up to a multiple."""

    @property
    def n_layers(self) -> int:
        """How many layers they are."""
        return len(self.layers)

    @property
    def numbers_per_token(self) -> int:
        """Numbers one KV head of one layer keeps of a token."""
        return self.head_dim + (self.head_dim if self.value_dim is None else self.value_dim)
