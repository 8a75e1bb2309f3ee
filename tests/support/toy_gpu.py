"""A GPU with round numbers and a small model, for step times by hand."""

from __future__ import annotations

from typing import Any

from continuum_sim.hardware import GpuSpec, dense_model

GPU = GpuSpec(
    name="Toy",
    memory_bytes=1 << 30,
    memory_bandwidth_bytes_per_s=1e9,
    bf16_dense_flops=1e12,
    link="latency_us=0,bandwidth_gbps=0.1",
    matmul_efficiency=1.0,
    weight_bandwidth_efficiency=1.0,
    prefill_attention_efficiency=1.0,
    decode_attention_efficiency=1.0,
    attention_latency_s=0.0,
    all_reduce={2: (1e-5, 0.5), 4: (2e-5, 0.5)},
    source="test",
    measured="test",
)
"""1 TFLOP/s, 1 GB/s, every share 1, no latency of attention."""

SHAPES: dict[str, Any] = {
    "n_layers": 2,
    "hidden": 64,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 16,
    "intermediate": 128,
    "vocab": 1024,
    "max_model_len": 4096,
}
MODEL = dense_model("toy", **SHAPES)
