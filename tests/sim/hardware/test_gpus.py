from __future__ import annotations

import re

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, find_gpu, gpus
from continuum_sim.hardware.catalogue import fold
from continuum_sim.hardware.gpus import GIB
from continuum_sim.hardware.links import link_of
from continuum_sim.hardware.prices import listed_prices

HOPPER = ["H100", "H100-PCIe", "H100-NVL", "GH200", "H20", "H200"]
BLACKWELL = ["B200", "B300", "GB200", "GB300", "RTX-PRO-6000", "RTX-5090"]
AMPERE_AND_ADA = ["A100-40", "A100-80", "A10", "L4", "L40", "L40S", "RTX-4090", "RTX-6000-Ada"]
REQUIRED = [*HOPPER, *BLACKWELL, *AMPERE_AND_ADA, "MI300X", "MI325X", "MI355X"]

# No list price of one of these GPUs was found.
WITHOUT_PRICE = {"H20", "GB200", "MI355X"}


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
        ("NVIDIA B300 SXM6 AC", "B300"),
        ("NVIDIA GB300", "GB300"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA A100 80GB PCIe", "A100-80-PCIe"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada"),
        ("NVIDIA GeForce RTX 5090", "RTX-5090"),
        ("AMD Instinct MI300X", "MI300X"),
        ("amd instinct MI355X", "MI355X"),
    ],
)
def test_a_gpu_is_found_by_any_of_its_names(spelling: str, name: str) -> None:
    assert find_gpu(spelling).name == name


def test_no_two_gpus_share_a_name() -> None:
    names = [(fold(name), gpu.name) for gpu in gpus() for name in (gpu.name, *gpu.aliases)]
    assert len({name for name, _ in names}) == len(names)
    assert all(find_gpu(name).name == gpu for name, gpu in names)


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
        *(share for _, share in link_of(gpu).all_reduce.values()),
    ]
    assert all(0 < share <= 1 for share in shares)
    assert all(1e-6 < latency_s < 1e-4 for latency_s, _ in link_of(gpu).all_reduce.values())
    assert {2, 4, 8} <= set(link_of(gpu).all_reduce)
    # FLOP a byte at the ridge: 37 (H20) to 500; a sparse figure by mistake would double it.
    assert (35 if gpu.name == "H20" else 100) < gpu.bf16_dense_flops / gpu.memory_bandwidth_bytes_per_s < 450
    assert len(gpu.source) > 40
    assert len(gpu.measured) > 40


@pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)
def test_narrower_types_are_as_fast_as_the_architecture_makes_them(gpu: GpuSpec) -> None:
    """Twice bf16 in fp8 and int8 and four times in fp4, all dense, but for what the data sheets say otherwise."""
    bf16, fp8, fp4, int8 = gpu.bf16_dense_flops, gpu.fp8_dense_flops, gpu.fp4_dense_flops, gpu.int8_dense_ops
    assert int8 is not None
    if gpu.name.startswith(("A100", "A10")):  # Ampere
        assert (fp8, fp4) == (None, None)
    else:
        assert fp8 == pytest.approx(2 * bf16, rel=0.02)
    if gpu.name in ("B300", "GB300"):  # int8 made way for fp4
        assert int8 < bf16 / 10
        assert fp4 == pytest.approx(6 * bf16, rel=0.05)
    else:
        # GeForce accumulates in fp32 at half the rate, which int8 and fp4 do not do.
        half = 2 if gpu.name in ("RTX-4090", "RTX-5090") else 1
        assert int8 == pytest.approx(2 * half * bf16, rel=0.02)
        if fp4 is not None:
            assert fp4 == pytest.approx(4 * half * bf16, rel=0.02)


def test_every_gpu_has_a_price_or_is_named_as_without() -> None:
    assert {gpu.name for gpu in gpus()} - set(listed_prices()) == WITHOUT_PRICE


@pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)
def test_the_driver_reports_somewhat_less_than_the_name_says(gpu: GpuSpec) -> None:
    sizes = [int(size) for name in gpu.aliases for size in re.findall(r"(\d+)GB$", name) if size != "480"]
    assert all(0.83 * size < gpu.memory_bytes / GIB < size for size in sizes)
    assert sizes


@pytest.mark.parametrize(
    ("name", "tokens", "requests"),
    [
        ("A100-80", 2048, 256),
        ("H100", 8192, 1024),
        ("B200", 16384, 1024),
        ("RTX-4090", 2048, 256),
        ("L40S", 2048, 256),
        ("A100-80-PCIe", 2048, 256),
        ("H20", 8192, 1024),
        ("RTX-PRO-6000", 8192, 1024),
        ("MI300X", 16384, 1024),
    ],
)
def test_defaults_are_those_of_vllm_serve(name: str, tokens: int, requests: int) -> None:
    gpu = find_gpu(name)
    assert (gpu.default_max_num_batched_tokens, gpu.default_max_num_seqs) == (tokens, requests)
