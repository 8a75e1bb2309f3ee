"""What the kernels between matrix products take: bytes that a token moves, launches, and all-reduces."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel

SMALL_KERNEL_LATENCY_S: Final = 3e-6
"""Least duration of a kernel that only moves data (norm, rotary embedding, activation, KV write).

NVIDIA aiconfigurator-core 0.12.0, `mem_empirical_constant_latency`; LLMServingSim's RTX 4090 profile has 2 to 3 µs."""

L2_GAIN: Final = 2.0
"""How many times faster kernels move data that the L2 cache holds, and"""
FITS_L2: Final = 1.1
"""the data, in sizes of the cache, up to which it does. Activations and norms in the kernel tables of an RTX PRO 6000
from which `varlen` has its constants."""

_ROUTED_KERNELS: Final = 3
"""Of a mixture besides its activation: choosing experts, aligning their tokens, summing (vLLM's `fused_experts`)."""

_RECURRENT_KERNELS: Final = 3
"""Convolution, recurrence and gated norm."""

_INDEXER_KERNELS: Final = 4
"""Norm and rotary embedding, KV write in fp8, scores, and choosing the highest."""


@dataclass(frozen=True)
class _Layers:
    """Which layers have which parts."""

    attends: frozenset[int]
    recurs: frozenset[int]
    indexes: frozenset[int]
    routes: frozenset[int]
    activations: Counter[int]
    """Layer -> dense MLPs and shared experts in it."""

    @classmethod
    def of(cls, model: ModelSpec) -> _Layers:
        return cls(
            attends=frozenset(
                layer
                for cache in model.attention
                if cache.n_heads and not cache.index_heads
                for layer in (*cache.layers, *cache.borrowers)
            ),
            recurs=frozenset(layer for one in model.caches if one.kind == "recurrent" for layer in one.layers),
            indexes=frozenset(layer for cache in model.attention if cache.index_heads for layer in cache.layers),
            routes=frozenset(layer for weight in model.expert_weights() for layer in weight.layers),
            activations=Counter(
                layer for one in model.linear_weights() if one.name.endswith("down_proj") for layer in one.layers
            ),
        )


def launches_s(model: ModelSpec, attention_latency_s: float) -> float:
    """Return the latencies of all small kernels and attention calls of a step."""
    has = _Layers.of(model)
    alike: Counter[tuple[int, bool]] = Counter()
    for layer in range(model.n_layers):
        attends, routes = layer in has.attends, layer in has.routes
        kernels = model.norms_per_layer + has.activations[layer]
        kernels += (2 + (2 if model.qk_norm else 0)) * attends
        kernels += (1 + _ROUTED_KERNELS) * routes
        kernels += _RECURRENT_KERNELS * (layer in has.recurs) + _INDEXER_KERNELS * (layer in has.indexes)
        alike[kernels, attends] += 1
    return sum(
        layers * (kernels * SMALL_KERNEL_LATENCY_S + (attention_latency_s if attends else 0.0))
        for (kernels, attends), layers in alike.items()
    )


def moved_bytes(model: ModelSpec, parallel: Parallel) -> tuple[Counter[float], float]:
    """Return what one token moves through kernels other than matrix products, attention and recurrence.

    First the bytes in each kernel of its own rank, and how many such kernels there are; then all bytes at the experts,
    of the tokens of all ranks, if these are split otherwise than the rest.

    A norm reads and writes the stream and the residual; rotary embedding reads and writes queries and keys; the KV
    write reads and writes keys and values; an activation reads the up (and gate) projections and writes its product;
    a mixture writes each expert's output, reads them, and writes their sum.
    """
    size = parallel.tensor_parallel_size
    moved: Counter[float] = Counter()
    moved[4.0 * model.dtype_bytes * model.hidden] += model.n_layers * model.norms_per_layer
    for cache in model.attention:
        if cache.n_heads and not cache.index_heads:
            kv_heads = cache.kv_heads_on(size)
            kept = kv_heads * cache.numbers_per_token / cache.tokens_per_state
            turned = 2 * (cache.n_heads // size * cache.head_dim + kv_heads * cache.head_dim)
            if cache.tokens_per_state > 1:  # the window's layers have counted the queries
                turned = 0
            layers = cache.n_layers + len(cache.borrowers)
            moved[float(model.dtype_bytes * turned)] += layers
            moved[model.dtype_bytes * kept + kept * model.kv_element_bytes] += layers
    activated = 3 if model.gated_mlp else 2
    ways, routed = parallel.expert_ways, 0.0
    apart = ways > size or parallel.enable_expert_parallel
    for weight in (*model.linear_weights(), *model.expert_weights()):
        if weight.name.endswith("down_proj"):
            copies = weight.visited if weight.use == "expert" else weight.uses_of_each
            if weight.use == "expert" and apart:
                numbers = copies * activated * weight.columns / ways
                each = 2 * weight.visited / (ways if parallel.enable_expert_parallel else 1)
                routed += len(weight.layers) * model.dtype_bytes * (numbers + (each + 1) * weight.rows)
                continue
            moved[model.dtype_bytes * copies * activated * weight.columns / size] += len(weight.layers)
            if weight.use == "expert":
                moved[float(model.dtype_bytes * (2 * weight.visited + 1) * weight.rows)] += len(weight.layers)
    return moved, routed


def moving_token_s(moved: Counter[float], tokens: int, bytes_per_s: float, l2_bytes: float) -> float:
    """Return how long small kernels take for each of so many tokens, through the L2 cache if all they move fits."""
    through_memory = through_l2 = 0.0
    for kernel_bytes, kernels in moved.items():
        if tokens * kernel_bytes <= FITS_L2 * l2_bytes:
            through_l2 += kernels * kernel_bytes
        else:
            through_memory += kernels * kernel_bytes
    return (through_memory + through_l2 / L2_GAIN) / bytes_per_s


def all_reduces(model: ModelSpec, parallel: Parallel) -> int:
    """Return the all-reduces of a step: after each mixer and each MLP or mixture, and after the embedding.

    A mixture whose tokens are dispatched by expert parallelism over several ranks comes back whole.
    """
    if parallel.tensor_parallel_size == 1:
        return 0
    has = _Layers.of(model)
    dispatched = parallel.enable_expert_parallel and parallel.data_parallel_size > 1
    mixed = set(has.activations) - has.routes if dispatched else has.routes | set(has.activations)
    return len(has.attends | has.recurs) + len(mixed) + 1
