"""Step times from the model's shapes and the GPU's limits: the slower of computing and reading memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from math import ceil, isfinite
from typing import Any, NamedTuple

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.kv import kv_heads_per_gpu
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.kind import StepTimeKind, read_settings
from continuum_sim.steptime.parts import Part
from continuum_sim.steptime.piecewise import Piece, PiecewiseStepTime
from continuum_sim.steptime.timed import check_timed

SMALL_KERNEL_LATENCY_S = 3e-6
"""Least duration of a kernel that only moves data (norm, rotary embedding, activation, KV write).

NVIDIA aiconfigurator-core 0.12.0, `mem_empirical_constant_latency`; LLMServingSim's RTX 4090 profile has 2 to 3 µs."""


@dataclass(frozen=True)
class Settings:
    """Adjustable parts of a roofline. None takes the GPU's measured value; an efficiency of 1, the data sheet."""

    matmul_efficiency: float | None = None
    weight_bandwidth_efficiency: float | None = None
    prefill_attention_efficiency: float | None = None
    decode_attention_efficiency: float | None = None
    host_overhead_s: float = 0.0
    """Host time per step that nothing overlaps; vLLM's asynchronous scheduling (its default) hides it."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = "zero or more" if name == "host_overhead_s" else "more than 0 and at most 1"
            if value is None or (isfinite(value) and value >= 0 and (name == "host_overhead_s" or 0 < value <= 1)):
                continue
            raise ConfigError(f"roofline: {name} is {value}, expected {least}")


class Roofline(PiecewiseStepTime):
    """One forward pass on `tensor_parallel_size` GPUs; no term is fitted to the simulated engine.

    A step takes the sum, over the kinds of work, of the slower of computing and reading memory:

    * linear layers: 2·weights·tokens FLOP (as in bf16, however they are stored), or reading their bytes once;
    * LM head: the same, for the sampled rows (one per request);
    * attention of prompts: 4·heads·head_dim FLOP per query-key pair, or reading the KV cache of its context;
    * attention of decoding requests: the same, over their contexts;
    * data movement of norms, rotary embedding, activation and KV write;
    * per layer, the latency of those kernels and of the attention call; with tensor parallelism, two ring all-reduces.

    The roofline model is by Williams, Waterman and Patterson (2009). Peaks are the data sheet's, times the measured
    shares in the GPU catalogue. Sliding-window layers count at most the window for every query: exact if all contexts
    are on the same side of it, an upper bound if a batch mixes both.
    """

    def __init__(
        self, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int = 1, settings: Settings | None = None
    ) -> None:
        self.model, self.gpu, self.tensor_parallel_size = model, gpu, tensor_parallel_size
        self.settings = settings = settings or Settings()
        check_timed(model, "roofline")
        latency_s, ring_bytes_per_s = _all_reduce(gpu, tensor_parallel_size)

        def rate(peak: float, name: str) -> float:
            share: float | None = getattr(settings, name)
            return peak * (getattr(gpu, name) if share is None else share)

        matmul_flops = rate(gpu.bf16_dense_flops, "matmul_efficiency")
        attention_flops = rate(gpu.bf16_dense_flops, "prefill_attention_efficiency")
        stream = rate(gpu.memory_bandwidth_bytes_per_s, "weight_bandwidth_efficiency")
        gather = rate(gpu.memory_bandwidth_bytes_per_s, "decode_attention_efficiency")

        size, layers = tensor_parallel_size, model.n_layers
        head = model.vocab * model.hidden / size
        self._layers_read_s = model.linear_bytes_per_rank(size) / stream
        self._layers_token_s = 2 * model.linear_params_per_rank(size) / matmul_flops
        self._head_read_s = model.head_bytes_per_rank(size) / stream
        self._head_row_s = 2 * head / matmul_flops
        self._move_token_s = _moved_bytes(model, size) / stream
        self._reduces = 2 * layers + 1 if size > 1 else 0
        self._reduce_latency_s = self._reduces * latency_s
        self._reduce_token_s = self._reduces * model.hidden * model.dtype_bytes / ring_bytes_per_s
        small_kernels = model.norms_per_layer + 3 + (2 if model.qk_norm else 0)
        self._fixed_s = (
            settings.host_overhead_s
            + layers * (small_kernels * SMALL_KERNEL_LATENCY_S + gpu.attention_latency_s)
            + self._reduce_latency_s
        )
        self._attention = tuple(_Attention.of(model, cache, size, attention_flops, gather) for cache in model.attention)
        self._windowed = any(part.window for part in self._attention)
        self._decode_s = sum(part.n_layers * part.decode_s for part in self._attention)

    def pieces(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Cut where another roof, or a sliding window, takes effect; between cuts a step's time is affine."""
        fixed_s = self._batch_s(batch)
        if not self._windowed and not batch.prefill_tokens:
            first_s = fixed_s + self._decode_s * batch.decode_context_tokens
            return ((n_steps, first_s, self._decode_s * batch.decode_requests, 0.0),)
        if n_steps == 1:
            return ((1, fixed_s + self._attention_s(batch, 0), 0.0, 0.0),)
        cuts = sorted({cut for j in self._crossings(batch) if 0 < (cut := ceil(j)) < n_steps})
        pieces = []
        for start, end in zip([0, *cuts], [*cuts, n_steps], strict=True):
            here_s = self._attention_s(batch, start)
            # Within half a step no other term takes over, unless the piece is a single step.
            slope_s = 2 * (self._attention_s(batch, start + 0.5) - here_s)
            pieces.append((end - start, fixed_s + here_s, slope_s, 0.0))
        return pieces

    def parts(self, batch: StepBatch) -> tuple[Part, ...]:
        """Return what a step's time is made of: the parts' `seconds` add up to `step_s`. Absent work has no part."""
        prefills, chunk, context, pairs, decodes, attended = batch
        tokens, rows = chunk + decodes, prefills + decodes
        found = [
            Part("linear", self._layers_token_s * tokens, self._layers_read_s),
            Part("lm_head", self._head_row_s * rows, self._head_read_s),
        ]
        for n_layers, window, pair_s, kv_s, _ in self._attention:
            if chunk:
                seen = min(pairs, chunk * window) if window else pairs
                read = min(context + chunk, prefills * window + chunk) if window else context + chunk
                found.append(Part("attention_prefill", n_layers * pair_s * seen, n_layers * kv_s * read))
            if decodes:
                seen = min(attended, decodes * window) if window else attended
                found.append(Part("attention_decode", n_layers * pair_s * seen, n_layers * kv_s * seen))
        found.append(Part("moved", 0.0, self._move_token_s * tokens))
        reduce_s, host_s = self._reduce_latency_s, self.settings.host_overhead_s
        if self._reduces:
            found.append(Part("all_reduce", 0.0, self._reduce_token_s * tokens, reduce_s))
        found.append(Part("launch", 0.0, 0.0, self._fixed_s - reduce_s - host_s))
        if host_s:
            found.append(Part("host", 0.0, 0.0, host_s))
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        """Model, GPU, parallel size and every efficiency in use, with the catalogue's sources."""
        used = {
            name: getattr(self.gpu, name) if value is None else value for name, value in asdict(self.settings).items()
        }
        return {
            "kind": "roofline",
            "model": self.model.name,
            "gpu": self.gpu.name,
            "tensor_parallel_size": self.tensor_parallel_size,
            **used,
            "provenance": {"model": self.model.source, "gpu": self.gpu.source, "measured": self.gpu.measured},
        }

    def _batch_s(self, batch: StepBatch) -> float:
        """Return everything but attention, which does not change during a run."""
        prefills, chunk, _, _, decodes, _ = batch
        tokens, rows = chunk + decodes, prefills + decodes
        layers_s, head_s = self._layers_token_s * tokens, self._head_row_s * rows
        return (
            self._fixed_s
            + (layers_s if layers_s > self._layers_read_s else self._layers_read_s)
            + (head_s if head_s > self._head_read_s else self._head_read_s)
            + (self._move_token_s + self._reduce_token_s) * tokens
        )

    def _attention_s(self, batch: StepBatch, j: float) -> float:
        """Return all layers' attention in the j-th step of the run."""
        prefills, chunk, context, first_pairs, decodes, decode_context = batch
        attended = decode_context + j * decodes
        pairs = first_pairs + j * chunk * chunk
        read = context + (j + 1) * chunk
        seconds = 0.0
        for n_layers, window, pair_s, kv_s, decode_s in self._attention:
            if window:
                seconds += n_layers * decode_s * min(attended, decodes * window)
                most_read = min(read, prefills * window + chunk)
                seconds += n_layers * max(pair_s * min(pairs, chunk * window), kv_s * most_read)
            else:
                seconds += n_layers * decode_s * attended
                seconds += n_layers * max(pair_s * pairs, kv_s * read)
        return seconds

    def _crossings(self, batch: StepBatch) -> Iterator[float]:
        """Yield the (fractional) steps after which another of two terms dominates; extra ones do no harm."""
        chunk = batch.prefill_tokens
        attended = (float(batch.decode_context_tokens), float(batch.decode_requests))
        for _, window, pair_s, kv_s, _ in self._attention:
            compute = (pair_s * batch.prefill_pairs, pair_s * chunk * chunk)
            memory = (kv_s * (batch.prefill_context_tokens + chunk), kv_s * chunk)
            yield from _crossing(compute, memory)
            if window:
                yield from _crossing(attended, (float(batch.decode_requests * window), 0.0))
                most_compute = (pair_s * chunk * window, 0.0)
                most_memory = (kv_s * (batch.prefill_requests * window + chunk), 0.0)
                yield from _crossing(compute, most_compute)
                yield from _crossing(memory, most_memory)
                yield from _crossing(compute, most_memory)
                yield from _crossing(memory, most_compute)


class _Attention(NamedTuple):
    """Layers of one shape, with the time of a pair of tokens and of a cached token in one layer."""

    n_layers: int
    window: int
    """Tokens they attend to; 0 for all."""
    pair_s: float
    kv_s: float
    decode_s: float

    @classmethod
    def of(cls, model: ModelSpec, cache: CacheLayers, size: int, flops: float, bytes_per_s: float) -> _Attention:
        kv_heads = kv_heads_per_gpu(model, size, cache)
        pair_s = 2 * (cache.n_heads // size) * cache.numbers_per_token / flops
        kv_s = kv_heads * cache.numbers_per_token * model.kv_element_bytes / bytes_per_s
        return cls(cache.n_layers, cache.window or 0, pair_s, kv_s, max(pair_s, kv_s))


def _crossing(one: tuple[float, float], other: tuple[float, float]) -> Iterator[float]:
    if one[1] != other[1]:
        yield (other[0] - one[0]) / (one[1] - other[1])


def _moved_bytes(model: ModelSpec, size: int) -> float:
    """Return the bytes that one token moves through the layers' kernels other than matrix products and attention.

    A norm reads and writes the stream and the residual; rotary embedding reads and writes queries and keys; the KV
    write reads and writes keys and values; the activation reads the up (and gate) projections and writes its product.
    """
    norms = 4 * model.norms_per_layer * model.hidden
    activation = (3 if model.gated_mlp else 2) * model.intermediate / size
    moved = 0.0
    for (n_heads, kv_heads, head_dim, numbers), n_layers in _layouts(model, size).items():
        queries, keys, kept = n_heads // size * head_dim, kv_heads * head_dim, kv_heads * numbers
        streamed = model.dtype_bytes * (norms + 2 * (queries + keys) + kept + activation)
        moved += n_layers * (streamed + kept * model.kv_element_bytes)
    return moved


def _layouts(model: ModelSpec, size: int) -> Counter[tuple[int, int, int, int]]:
    """Return shapes of attention layers (query heads, KV heads per GPU, elements) -> number of such layers."""
    layouts: Counter[tuple[int, int, int, int]] = Counter()
    for cache in model.attention:
        layouts[cache.n_heads, cache.kv_heads_on(size), cache.head_dim, cache.numbers_per_token] += cache.n_layers
    return layouts


def _all_reduce(gpu: GpuSpec, size: int) -> tuple[float, float]:
    """Return an all-reduce's latency, and message bytes per second: a ring sends 2(n-1)/n of it over each link."""
    if size == 1:
        return 0.0, float("inf")
    if size > max(gpu.all_reduce):
        raise ConfigError(
            f"tensor_parallel_size is {size}: the roofline models one node of {max(gpu.all_reduce)} {gpu.name} at most"
        )
    latency_s, efficiency = gpu.all_reduce[min(n for n in gpu.all_reduce if n >= size)]
    return latency_s, gpu.interconnect_bytes_per_s * efficiency * size / (2 * (size - 1))


def _make(argument: str, *, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int) -> Roofline:
    known = tuple(item.name for item in fields(Settings))
    return Roofline(model, gpu, tensor_parallel_size, Settings(**read_settings(argument, known, "roofline")))


STEP_TIME = StepTimeKind("roofline", _make)
