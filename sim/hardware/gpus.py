"""The GPU catalogue: data-sheet limits, and the shares of them that kernels reach in measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.catalogue import by_name, find, read_catalogue

GIB = 1 << 30


@dataclass(frozen=True)
class GpuSpec:
    """One GPU. Rates are data-sheet peaks; the `_efficiency` shares of them are measured (see `measured`)."""

    name: str
    memory_bytes: int
    """Total memory as reported by the driver, which vLLM multiplies by `gpu_memory_utilization`."""
    memory_bandwidth_bytes_per_s: float
    bf16_dense_flops: float
    """Dense (not 2:4 sparse) bf16 tensor FLOP/s with fp32 accumulation."""
    link: str
    """To the other GPUs of the node: of `links.toml`, or `latency_us=…,bandwidth_gbps=…`."""
    matmul_efficiency: float
    """Share of the peak FLOP/s reached by large matrix products."""
    weight_bandwidth_efficiency: float
    """Share of the memory bandwidth reached by matrix products of a few rows, which stream the weights."""
    prefill_attention_efficiency: float
    """Share of the peak FLOP/s reached by prompt attention, counting only the causal half."""
    decode_attention_efficiency: float
    """Share of the memory bandwidth reached by single-token attention over the context."""
    attention_latency_s: float
    """Duration of the smallest attention call of one layer."""
    source: str
    """Where the peaks and the memory come from."""
    measured: str
    """Where the shares and latencies come from."""
    fp8_dense_flops: float | None = None
    """Dense fp8 tensor FLOP/s with fp32 accumulation; None: the GPU has no such units."""
    fp4_dense_flops: float | None = None
    """Dense fp4 (nvfp4, mxfp4) tensor FLOP/s; None: the GPU has no such units."""
    int8_dense_ops: float | None = None
    """Dense int8 tensor operations per second; None: the GPU has no such units."""
    expert_matmul_efficiency: dict[str, float] = field(default_factory=dict)
    """Type (bf16, fp8, fp4) -> share of its peak that grouped matrix products of experts reach; without an entry, as
    other matrix products."""
    all_reduce: dict[int, tuple[float, float]] = field(default_factory=dict)
    """GPUs in the group -> (latency in seconds, share of the link's bandwidth), where it differs from the link's."""
    l2_bytes: float = 0.0
    """L2 cache."""
    tiled_attention: dict[str, float] | None = None
    """Where vLLM's attention is FlashAttention 2 and takes what `steptime.varlen` says: `multiprocessors`, and the
    `tile_efficiency`, which is that of prompts if not given. None: another kernel, or not known to."""
    tile_waves: int | None = None
    """Multiprocessors, where products of a few hundred rows take what `steptime.products` says. None: not known to."""
    aliases: tuple[str, ...] = field(default=())

    @property
    def default_max_num_batched_tokens(self) -> int:
        """The token budget that `vllm serve` chooses on this GPU (vLLM 0.32, `EngineArgs`)."""
        if self.memory_bytes >= 160 * GIB:
            return 16384
        return 8192 if self._is_large else 2048

    @property
    def default_max_num_seqs(self) -> int:
        """The number of running requests `vllm serve` allows on this GPU (vLLM 0.32, `EngineArgs`)."""
        return 1024 if self._is_large else 256

    @property
    def _is_large(self) -> bool:
        return self.memory_bytes >= 70 * GIB and not self.name.startswith("A100")


@cache
def gpus() -> tuple[GpuSpec, ...]:
    """All GPUs of the catalogue."""
    return read_catalogue("gpus.toml", "gpu", GpuSpec)


@cache
def _index() -> dict[str, GpuSpec]:
    return by_name(gpus())


def find_gpu(name: str) -> GpuSpec:
    """Return the catalogue's GPU of that name, in any case.

    Raises
    ------
    ConfigError
        If there is none; the message has the nearest name.
    """
    if not name.strip():
        raise ConfigError("the GPU's name is empty: give one, as in --gpu H100")
    return find(name, _index(), "GPU", f"known: {', '.join(gpu.name for gpu in gpus())}")
