"""The models that draft for another: a layer of it, or a smaller model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from continuum_sim.hardware.kv import kv_bytes_per_token
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.weights import Weight


@dataclass(frozen=True)
class Drafter:
    """A drafter, which runs on the GPUs of the model it drafts for."""

    model: ModelSpec
    shares_head: bool
    """Whether embeddings and LM head are those of the other model."""

    def weight_bytes_per_rank(self, parallel: Parallel) -> int:
        """Memory of its own weights on each GPU."""
        if self.shares_head:
            layer = [*self.model.linear_weights(), *self.model.expert_weights()]
            return sum(weight.bytes_on(parallel) for weight in layer)
        return self.model.weight_bytes_per_rank(parallel)

    def kv_bytes_per_token(self, tensor_parallel_size: int) -> float:
        """Bytes of its KV cache that a token takes on each GPU."""
        return kv_bytes_per_token(self.model, tensor_parallel_size)


def layer_of(model: ModelSpec) -> Drafter:
    """Return the drafter that EAGLE and MTP train: the last layer of a model that attends, after a projection.

    The projection joins a token's embedding and the model's hidden state, 2 · hidden to hidden (Li et al., EAGLE, 2024;
    `fc` of vllm/model_executor/models/llama_eagle.py). Embeddings and LM head are the model's.
    """
    attention = max((cache for cache in model.attention if cache.n_heads), key=lambda cache: cache.n_layers)
    layer = attention.layers[-1]  # of a mixture whose first layers are dense, one with experts
    weights = [
        replace(weight, layers=(0,), uses=0)
        for weight in model.known_weights()
        if layer in weight.layers and weight.use in ("linear", "vector", "expert")
    ]
    weights += [weight for weight in model.known_weights() if weight.use in ("table", "head")]
    weights.append(Weight("fc", model.hidden, 2 * model.hidden))
    one = replace(
        model,
        name=f"a layer of {model.name}",
        n_layers=1,
        caches=tuple(replace(cache, layers=(0,), borrowers=()) for cache in model.attention if layer in cache.layers),
        weights=tuple(weights),
    )
    return Drafter(one, shares_head=True)
