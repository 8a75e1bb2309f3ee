"""A model as the simulator sees it: the tensors and caches that determine memory and a step's work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.caches import CacheKind, CacheLayers
from continuum_sim.hardware.parallel import ONE_GPU, Parallel
from continuum_sim.hardware.weights import Weight, WeightUse


@dataclass(frozen=True)
class ModelSpec:
    """A decoder-only model. `hardware.hf` reads one from a configuration, `hardware.dense` makes one from shapes."""

    name: str
    source: str
    model_type: str
    """Hugging Face's name of its type, such as `llama`."""
    n_layers: int
    hidden: int
    """Width of the residual stream."""
    n_heads: int
    """Query heads of an attention layer."""
    intermediate: int
    """Width inside a dense MLP."""
    vocab: int
    max_model_len: int
    """Tokens of the longest request that vLLM serves without `--max-model-len`."""
    caches: tuple[CacheLayers, ...]
    """What its layers cache of a context. Empty if the configuration does not say."""
    weights: tuple[Weight, ...]
    """All its tensors; empty if they are not known (`unread`)."""
    unread: str | None = None
    """Why the weights are not known."""
    longest_model_len: int | None = None
    """Largest value for `--max-model-len`; None: `max_model_len`."""
    gated_mlp: bool = True
    """Three matrices per MLP (gate, up, down) instead of two."""
    qkv_bias: bool = False
    qk_norm: bool = False
    """Norms over queries and keys."""
    norms_per_layer: int = 2
    quantization: str | None = None
    """vLLM's name for how its weights are stored; None: bf16."""
    kv_scheme: str | None = None
    """KV cache type requested by the configuration, which `--kv-cache-dtype auto` takes; None: the model's."""
    dtype_bytes: int = 2
    """Bytes of an activation, and of an unquantised weight (bf16: 2)."""
    kv_dtype_bytes: int | None = None
    """Bytes of a KV cache element as served; None: as many as an activation's."""
    supports_pp: bool = True
    """Whether vLLM can split it into stages (`SupportsPP`)."""
    has_head: bool = True
    """Whether it ends in the LM head: of a pipeline's stages (`hardware.stages`), the last does."""
    aliases: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    """What is counted differently than in vLLM, one per line."""

    @property
    def max_position_embeddings(self) -> int:
        """`max_model_len`, under the name that most configurations have for it."""
        return self.max_model_len

    @property
    def kv_element_bytes(self) -> int:
        """Bytes of an element of the KV cache."""
        if self.kv_dtype_bytes is not None:
            return self.kv_dtype_bytes
        return self.dtype_bytes if self.kv_scheme is None else 1

    @property
    def attention(self) -> tuple[CacheLayers, ...]:
        """The layers that attend to keys and values, those with full attention first."""
        order: tuple[CacheKind, ...] = ("full", "mla", "chunked", "sliding")
        return tuple(one for kind in order for one in self.caches if one.kind == kind)

    @property
    def n_kv_heads(self) -> int:
        """KV heads of an attention layer, of most of them if layers differ; 0 if there is none."""
        return most.n_kv_heads if (most := self._most_common) else 0

    @property
    def head_dim(self) -> int:
        """Elements of a key in one head, of most layers if they differ (`head_dim_of`); 0 if there is none."""
        return most.head_dim if (most := self._most_common) else 0

    @property
    def _most_common(self) -> CacheLayers | None:
        return max(self.attention, key=lambda one: one.n_layers, default=None)

    def head_dim_of(self, layer: int) -> int:
        """Elements of a key in one head of a layer; 0 for a layer without keys."""
        return next((one.head_dim for one in self.attention if layer in one.layers), 0)

    @property
    def sliding_window(self) -> int | None:
        """Tokens that the sliding layers attend to; None without such layers."""
        return next((one.window for one in self.caches if one.kind == "sliding"), None)

    @property
    def n_full_layers(self) -> int:
        """Number of layers with full attention."""
        return sum(one.n_layers for one in self.caches if one.kind == "full")

    @property
    def n_sliding_layers(self) -> int:
        """Number of layers that attend to a window."""
        return sum(one.n_layers for one in self.caches if one.kind == "sliding")

    @property
    def tied_embeddings(self) -> bool:
        """Whether the LM head is the embedding table."""
        return not self._of("head")

    @property
    def n_params(self) -> int:
        """Number of all parameters.

        Raises
        ------
        ConfigError
            If the weights are not known.
        """
        return sum(weight.n_params for weight in self.known_weights())

    def n_params_of(self, layer: int) -> int:
        """Number of parameters of one layer.

        Raises
        ------
        ConfigError
            If the weights are not known.
        """
        # Towers number their own layers.
        having = [weight for weight in self.known_weights() if weight.use != "tower" and layer in weight.layers]
        return sum(weight.n_params // len(weight.layers) for weight in having)

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights on one GPU without parallelism."""
        return self.weight_bytes_per_rank(ONE_GPU)

    def weight_bytes_per_rank(self, parallel: Parallel) -> int:
        """Memory of the weights on each of the GPUs over which they are divided, on one with the most experts.

        Of a pipeline's stages, it is the model that has the weights (`hardware.stages`): all layers are counted here.

        Raises
        ------
        ConfigError
            If the weights are not known.
        """
        return sum(weight.bytes_on(parallel) for weight in self.known_weights())

    def linear_weights(self) -> list[Weight]:
        """Return the matrices that every token is multiplied with, without the LM head."""
        return self._of("linear")

    def expert_weights(self) -> list[Weight]:
        """Return the matrices that tokens are routed to."""
        return self._of("expert")

    def head_weights(self) -> list[Weight]:
        """Return the LM head, which may be the embedding table; nothing where it is another stage's."""
        return (self._of("head") or self._of("table")[:1]) if self.has_head else []

    def linear_params_per_rank(self, tensor_parallel_size: int) -> int:
        """Parameters that every token is multiplied with on each GPU, without the LM head."""
        return sum(weight.params_per_rank(tensor_parallel_size) for weight in self._of("linear"))

    def linear_bytes_per_rank(self, tensor_parallel_size: int) -> int:
        """Bytes of those that each GPU reads per step."""
        return sum(weight.bytes_per_rank(tensor_parallel_size) for weight in self._of("linear"))

    def head_bytes_per_rank(self, tensor_parallel_size: int) -> int:
        """Bytes that each GPU reads of the LM head, which may be the embedding table."""
        return sum(weight.bytes_per_rank(tensor_parallel_size) for weight in self.head_weights())

    def describe(self) -> dict[str, Any]:
        """Summarise the model in a few numbers, for manifests and reports."""
        known = self.unread is None
        return {
            "name": self.name,
            "model_type": self.model_type,
            "n_layers": self.n_layers,
            "hidden": self.hidden,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "head_dim": self.head_dim,
            "intermediate": self.intermediate,
            "vocab": self.vocab,
            "max_model_len": self.max_model_len,
            "max_position_embeddings": self.longest_model_len or self.max_model_len,
            "tied_embeddings": self.tied_embeddings,
            "gated_mlp": self.gated_mlp,
            "qkv_bias": self.qkv_bias,
            "qk_norm": self.qk_norm,
            "norms_per_layer": self.norms_per_layer,
            "dtype_bytes": self.dtype_bytes,
            "kv_dtype_bytes": self.kv_dtype_bytes,
            "extra_params": sum(weight.n_params for weight in self._of("tower")),
            "n_params": self.n_params if known else None,
            "weight_bytes": self.weight_bytes if known else None,
            "quantization": self.quantization,
            "n_experts": self.n_experts,
            "sliding_window": self.sliding_window,
            "n_sliding_layers": self.n_sliding_layers,
            "source": self.source,
            "aliases": list(self.aliases),
        }

    def known_weights(self) -> tuple[Weight, ...]:
        """Return the weights.

        Raises
        ------
        ConfigError
            If they are not known; the message says why and what to do.
        """
        if self.unread is not None:
            raise ConfigError(f"{self.unread}; use --step-time fitted:FILE with --kv-blocks, measured on the engine")
        return self.weights

    def known_caches(self) -> tuple[CacheLayers, ...]:
        """Return what the layers cache.

        Raises
        ------
        ConfigError
            If the configuration does not say.
        """
        if not self.caches:
            raise ConfigError(
                f"{self.source} does not tell what its layers keep of a token: give --kv-blocks, and no tiers"
            )
        return self.caches

    def _of(self, use: WeightUse) -> list[Weight]:
        return [weight for weight in self.weights if weight.use == use]

    @property
    def n_experts(self) -> int:
        """Experts of a layer that tokens are routed to; 0 for a dense model."""
        return max((weight.count for weight in self._of("expert")), default=0)
