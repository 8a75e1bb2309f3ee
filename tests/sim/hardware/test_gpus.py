from __future__ import annotations

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, find_gpu, gpus

REQUIRED = ["A100-40", "A100-80", "H100", "H200", "B200", "L40S", "RTX-4090", "RTX-PRO-6000"]


@pytest.mark.parametrize("name", REQUIRED)
def test_the_catalogue_holds_the_gpus_users_ask_for(name: str) -> None:
    assert find_gpu(name).name == name


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("h100 sxm", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("a100", "A100-80"),
        ("rtx_4090", "RTX-4090"),
    ],
)
def test_a_gpu_is_found_by_any_of_its_names(spelling: str, name: str) -> None:
    assert find_gpu(spelling).name == name


def test_an_unknown_gpu_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown GPU 'H10', did you mean 'H100'\? known: A100-80, "):
        find_gpu("H10")
    with pytest.raises(ConfigError, match="empty"):
        find_gpu("")


@pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)
def test_every_entry_is_plausible_and_sourced(gpu: GpuSpec) -> None:
    shares = [
        gpu.matmul_efficiency,
        gpu.weight_bandwidth_efficiency,
        gpu.prefill_attention_efficiency,
        gpu.decode_attention_efficiency,
        *(share for _, share in gpu.all_reduce.values()),
    ]
    assert all(0 < share <= 1 for share in shares)
    assert all(1e-6 < latency_s < 1e-4 for latency_s, _ in gpu.all_reduce.values())
    assert set(gpu.all_reduce) == {2, 4, 8}
    # FLOP a byte at the ridge: 60 (consumer cards at bf16) to 500; a sparse figure by mistake would double it.
    assert 100 < gpu.bf16_dense_flops / gpu.memory_bandwidth_bytes_per_s < 450
    assert len(gpu.source) > 40
    assert len(gpu.measured) > 40


@pytest.mark.parametrize(
    ("name", "tokens", "requests"),
    [("A100-80", 2048, 256), ("H100", 8192, 1024), ("B200", 16384, 1024), ("RTX-4090", 2048, 256), ("L40S", 2048, 256)],
)
def test_defaults_are_those_of_vllm_serve(name: str, tokens: int, requests: int) -> None:
    gpu = find_gpu(name)
    assert (gpu.default_max_num_batched_tokens, gpu.default_max_num_seqs) == (tokens, requests)
