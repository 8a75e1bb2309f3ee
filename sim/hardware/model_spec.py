"""What a model is to the simulator: the shapes a step's work and the KV cache follow from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModelSpec:
    """A dense decoder-only transformer, by its shapes."""

    name: str
    n_layers: int
    hidden: int
    """Width of the residual stream."""
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate: int
    """Width inside the MLP."""
    vocab: int
    max_position_embeddings: int
    source: str
    tied_embeddings: bool = False
    """Whether the LM head is the embedding table."""
    gated_mlp: bool = True
    """Three matrices an MLP (gate, up, down) rather than two."""
    qkv_bias: bool = False
    qk_norm: bool = False
    """RMS norms over the heads of queries and keys."""
    norms_per_layer: int = 2
    sliding_window: int | None = None
    """Tokens that the sliding-window layers attend to."""
    n_sliding_layers: int = 0
    """How many of the layers use the window; the others attend to everything."""
    dtype_bytes: int = 2
    """Bytes a weight as served (bf16: 2)."""
    kv_dtype_bytes: int | None = None
    """Bytes of an element of the KV cache as served; None: as many as a weight has."""
    extra_params: int = 0
    """Parameters that are loaded but take no part in text steps (a vision tower)."""
    aliases: tuple[str, ...] = field(default=())

    @property
    def kv_element_bytes(self) -> int:
        """Bytes of an element of the KV cache."""
        return self.dtype_bytes if self.kv_dtype_bytes is None else self.kv_dtype_bytes

    @property
    def n_full_layers(self) -> int:
        """Layers that attend to the whole context."""
        return self.n_layers - self.n_sliding_layers

    @property
    def attention_params(self) -> int:
        """Weights of one layer's query, key, value and output projections, biases included."""
        heads, kv_heads = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        matrices = self.hidden * (2 * heads + 2 * kv_heads)
        return matrices + (heads + 2 * kv_heads if self.qkv_bias else 0)

    @property
    def mlp_params(self) -> int:
        """Weights of one layer's MLP."""
        return (3 if self.gated_mlp else 2) * self.hidden * self.intermediate

    @property
    def n_params(self) -> int:
        """All parameters, counted from the shapes."""
        norms = self.norms_per_layer * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        layers = self.n_layers * (self.attention_params + self.mlp_params + norms)
        tables = (1 if self.tied_embeddings else 2) * self.vocab * self.hidden
        return layers + tables + self.hidden + self.extra_params

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights on one GPU without tensor parallelism."""
        return self.n_params * self.dtype_bytes
