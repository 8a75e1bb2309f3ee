"""What a GPU reaches of its data sheet: FLOP/s by type, and bytes per second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.weights import Computed


@dataclass(frozen=True)
class Rates:
    """Peaks times the shares that kernels reach."""

    matmul: Mapping[Computed, float]
    """FLOP/s of matrix products whose factors are of a type."""
    grouped: Mapping[Computed, float]
    """The same of products grouped by expert."""
    attention: float
    """FLOP/s of attention."""
    index: float
    """FLOP/s of an indexer's products, in fp8."""
    stream: float
    """Bytes per second of reading weights, and of moving data."""
    gather: float
    """Bytes per second of attention that reads the KV cache."""

    @classmethod
    def of(cls, gpu: GpuSpec, shares: Mapping[str, float | None]) -> Rates:
        """Return the rates of a GPU, with its measured shares where `shares` has none."""

        def share(name: str) -> float:
            given = shares.get(name)
            return float(getattr(gpu, name)) if given is None else given

        peaks = peak_flops(gpu)
        grouped = gpu.expert_matmul_efficiency if shares.get("matmul_efficiency") is None else {}
        bandwidth = gpu.memory_bandwidth_bytes_per_s
        return cls(
            matmul={kind: peak * share("matmul_efficiency") for kind, peak in peaks.items()},
            grouped={
                kind: peak * grouped.get(_units(gpu, kind), share("matmul_efficiency")) for kind, peak in peaks.items()
            },
            attention=peaks["bf16"] * share("prefill_attention_efficiency"),
            index=peaks["fp8"] * share("prefill_attention_efficiency"),
            stream=bandwidth * share("weight_bandwidth_efficiency"),
            gather=bandwidth * share("decode_attention_efficiency"),
        )


def peak_flops(gpu: GpuSpec) -> dict[Computed, float]:
    """Return the peak at which vLLM multiplies each type: without units for it, kernels convert weights to bf16.

    fp8 and int8 without units, and nvfp4 before Blackwell, go through Marlin, which multiplies in bf16
    (vllm/model_executor/layers/quantization: fp8.py, modelopt.py; layers/fused_moe/oracle). Kernels of mxfp8 need the
    scaled products that came with fp4.
    """
    bf16 = gpu.bf16_dense_flops
    fp8 = bf16 if gpu.fp8_dense_flops is None else gpu.fp8_dense_flops
    return {
        "bf16": bf16,
        "fp8": fp8,
        "int8": bf16 if gpu.int8_dense_ops is None else gpu.int8_dense_ops,
        "fp4": bf16 if gpu.fp4_dense_flops is None else gpu.fp4_dense_flops,
        "mxfp8": bf16 if gpu.fp4_dense_flops is None else fp8,
    }


def _units(gpu: GpuSpec, kind: Computed) -> str:
    """Return the type in which a GPU multiplies."""
    has = {"fp8": gpu.fp8_dense_flops, "int8": gpu.int8_dense_ops, "fp4": gpu.fp4_dense_flops}
    has["mxfp8"] = gpu.fp4_dense_flops
    if has.get(kind) is None:
        return "bf16"
    return "fp8" if kind == "mxfp8" else kind
