"""Operations between GPUs: rings in closed form, and what published tables say of them."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime.aiconfigurator import installed
from continuum_sim.steptime.communication import FREE, Communication
from support.toy_gpu import GPU

if TYPE_CHECKING:
    from continuum_sim.hardware.links import Operation

ROUND = {"all_reduce": 2, "nccl_all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "all_to_all": 1}
TWO_NUMBERS = "latency_us=5,bandwidth_gbps=60"


def of(gpu: str, **split: Any) -> Communication:
    return Communication(find_gpu(gpu), Parallel(**split))


@pytest.mark.parametrize("operation", ROUND)
@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_a_ring_sends_each_part_past_all_others(operation: Operation, size: int) -> None:
    made = of("h100", tensor_parallel_size=size, link=TWO_NUMBERS).cost(operation, size)
    expected = 5e-6 + ROUND[operation] * (size - 1) / size * 1e6 / 60e9
    assert made.seconds(1e6) == pytest.approx(expected, rel=1e-12)


def test_one_gpu_has_nobody_to_talk_to() -> None:
    assert of("h100").cost("all_reduce", 1) == FREE
    assert FREE.seconds(1e9) == 0.0


def test_sending_takes_the_link_of_where_it_goes() -> None:
    links = of("h100", pipeline_parallel_size=2, nodes=2, link=TWO_NUMBERS, node_link="latency_us=9,bandwidth_gbps=20")
    assert links.send(across=False).seconds(6e6) == pytest.approx(5e-6 + 1e-4)
    assert links.send(across=True).seconds(6e6) == pytest.approx(9e-6 + 3e-4)


@pytest.mark.parametrize("operation", ROUND)
def test_across_nodes_the_slower_links_govern(operation: Operation) -> None:
    """16 GPUs in four nodes: all four cards of a node carry the ring at once."""
    both = {"link": TWO_NUMBERS, "node_link": "latency_us=9,bandwidth_gbps=2"}
    made = of("h100", tensor_parallel_size=16, nodes=4, **both).cost(operation, 16)
    if operation == "all_to_all":
        expected = 14e-6 + 12 / 16 * 1e6 / 2e9  # to 12 of 16 GPUs over one's own card
    else:
        expected = 5e-6 + 2 * 9e-6 + ROUND[operation] * 15 / 16 * 1e6 / (4 * 2e9)
    assert made.seconds(1e6) == pytest.approx(expected, rel=1e-12)
    fast = replace_link(both, "latency_us=9,bandwidth_gbps=2000")
    inside = of("h100", tensor_parallel_size=16, nodes=4, **fast).cost(operation, 16)
    if operation == "all_to_all":
        assert inside.seconds(1e9) == pytest.approx(14e-6 + 3 / 16 * 1e9 / 60e9, rel=1e-9)
    else:
        assert inside.seconds(1e9) == pytest.approx(23e-6 + ROUND[operation] * 15 / 16 * 1e9 / 60e9, rel=1e-9)


def replace_link(both: dict[str, str], node_link: str) -> dict[str, str]:
    return {**both, "node_link": node_link}


@pytest.mark.parametrize("gpu", ["a100-80", "h100", "b200", "gb300", "rtx-pro-6000", "l40s", "mi300x"])
@pytest.mark.parametrize("operation", ROUND)
def test_more_bytes_take_longer_and_so_does_another_node(gpu: str, operation: Operation) -> None:
    links = of(gpu, tensor_parallel_size=8)
    sizes = [2, 4, 8]
    for size in sizes:
        seconds = [links.cost(operation, size).seconds(some) for some in (1e3, 1e5, 1e7)]
        assert seconds == sorted(seconds)
    if operation == "nccl_all_reduce" and gpu != "mi300x":
        small = [links.cost(operation, size).seconds(8192) for size in sizes]
        assert small == sorted(small)
    two = of(gpu, tensor_parallel_size=16, nodes=2).cost(operation, 16)
    four = of(gpu, tensor_parallel_size=32, nodes=4).cost(operation, 32)
    assert links.cost(operation, 8).seconds(1e4) < two.seconds(1e4)
    # Over PCIe the cards may be the faster way: the more nodes, the more of an all-to-all takes it.
    assert operation == "all_to_all" or two.seconds(1e4) <= four.seconds(1e4)


def test_groups_that_do_not_fit_a_node_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"16 GPUs have to be connected, and a node has 8 H100 at most"):
        of("h100", tensor_parallel_size=16).cost("all_reduce", 16)
    assert of("gb300", tensor_parallel_size=16).cost("all_reduce", 16).latency_s == 48.5e-6
    with pytest.raises(ConfigError, match="link is ib-ndr, which connects nodes"):
        of("h100", link="ib-ndr")
    with pytest.raises(ConfigError, match="node_link is nvlink4, which connects the GPUs of one node"):
        of("h100", tensor_parallel_size=16, nodes=2, node_link="nvlink4")
    toy = Communication(replace(GPU, all_reduce={}), Parallel(2))
    assert toy.cost("all_reduce", 2).seconds(1e8) == 1.0


SYSTEMS = {
    "a100-80": ("a100_sxm", "vllm/0.14.0", "nccl/2.27.3"),
    "h100": ("h100_sxm", "vllm/0.24.0", "nccl/2.29.2"),
    "b200": ("b200_sxm", "vllm/0.24.0", "nccl/2.29.2"),
    "l40s": ("l40s", "vllm/0.22.0", "nccl/2.27.3"),
    "rtx-pro-6000": ("rtx_pro_6000_server", "vllm/0.24.0", "nccl/2.29.2"),
}


@pytest.mark.skipif(installed() is None, reason="needs aiconfigurator-core's tables")
@pytest.mark.parametrize("gpu", SYSTEMS)
def test_operations_are_as_in_the_tables_they_were_taken_from(gpu: str) -> None:
    """Messages of 8 KiB to 64 MiB: -s prints the errors, of which those of 256 KiB to 1 MiB are the largest."""
    import pandas as pd
    from aiconfigurator_core import systems  # type: ignore[import-not-found, import-untyped, unused-ignore]

    folder = f"{next(iter(systems.__path__))}/data/{SYSTEMS[gpu][0]}/comm"
    own = pd.read_parquet(f"{folder}/{SYSTEMS[gpu][1]}/custom_allreduce_perf.parquet")
    if "backend" in own:
        own = own[own.backend == "vllm_graph"]
    nccl = pd.read_parquet(f"{folder}/{SYSTEMS[gpu][2]}/nccl_perf.parquet")
    nccl = nccl[nccl.nccl_dtype == "half"]
    nccl = nccl.assign(op_name=nccl.op_name.replace({"alltoall": "all_to_all", "all_reduce": "nccl_all_reduce"}))
    links = of(gpu, tensor_parallel_size=8)
    for (operation, size), rows in pd.concat([own, nccl]).groupby(["op_name", "num_gpus"]):
        sizes = rows.message_size.to_numpy() * 2
        within = (sizes >= 8 << 10) & (sizes <= 64 << 20)
        cost = links.cost(operation, int(size))
        seconds = np.array([cost.seconds(each) for each in sizes[within]])
        errors = seconds / (rows.latency.to_numpy()[within] * 1e-3) - 1
        print(f"{gpu:13} {operation:15} {size}: {errors.mean():+.0%}, {abs(errors).mean():.0%} absolute")
        assert abs(errors).mean() < 0.3
        assert abs(errors.mean()) < 0.25


PUBLISHED = [(16, 118, 195), (32, 155, 273), (64, 173, 314), (128, 192, 369), (256, 194, 360)]
"""GPUs, and microseconds of DeepEP's low-latency dispatch and combine: docs/legacy.md of deepseek-ai/DeepEP, eight
H800 a node with InfiniBand of 400 Gb/s, 128 tokens of 7,168, 8 experts each, there in fp8 and back in bf16."""


@pytest.mark.parametrize(("gpus", "dispatch_us", "combine_us"), PUBLISHED)
def test_deepep_across_nodes_is_as_published(gpus: int, dispatch_us: float, combine_us: float) -> None:
    links = of("h100", data_parallel_size=gpus, nodes=gpus // 8, enable_expert_parallel=True)
    dispatch, combine = links.deepep("low_latency", gpus, 1, visited=8)
    errors = (
        dispatch.seconds(128 * 7168 * (1 + 4 / 128)) / (dispatch_us * 1e-6) - 1,
        combine.seconds(128 * 7168 * 2) / (combine_us * 1e-6) - 1,
    )
    print(f"{gpus} GPUs: dispatch {errors[0]:+.0%}, combine {errors[1]:+.0%}")
    assert max(map(abs, errors)) < 0.13


def test_deepep_needs_links_that_it_was_measured_on() -> None:
    with pytest.raises(ConfigError, match="DeepEP was not measured on pcie5, but on nvlink4, nvlink5, nvl72, ib-ndr"):
        of("rtx-pro-6000", data_parallel_size=8).deepep("low_latency", 8, 1, 8)


@pytest.mark.parametrize(
    ("operation", "published_us", "published_gbps"),
    [("all_gather", 33.74, 177.05), ("nccl_all_reduce", 35.85, 183.82), ("all_to_all", 49.75, 37.80)],
)
def test_two_nodes_of_a100_are_as_published(operation: Operation, published_us: float, published_gbps: float) -> None:
    """microsoft/mscclpp, docs/performance-ndmv4.md: NCCL 2.17.1, 16 GPUs, 1 KiB and bus bandwidth at 1 GiB."""
    cost = of("a100-80", tensor_parallel_size=16, nodes=2, node_link="ib-hdr").cost(operation, 16)
    small = cost.seconds(1024) / (published_us * 1e-6) - 1
    large = ROUND[operation] * 15 / 16 * 2**30 / cost.seconds(2**30) / (published_gbps * 1e9) - 1
    print(f"{operation}: {small:+.0%} at 1 KiB, bus bandwidth {large:+.0%}")
    assert abs(small) < 0.3
    assert abs(large) < 0.3
    assert cost.latency_s > log2(2) * 16e-6


@pytest.mark.parametrize(
    ("kib", "published_us"), [(8, 44.02), (64, 45.66), (1024, 222.8), (4096, 580.8), (16_384, 1972.8), (131_072, 16253)]
)
def test_cards_without_peer_access_are_as_published(kib: int, published_us: float) -> None:
    """nccl-tests' all-reduce on 8 RTX 4090, before peer access was unlocked (blog.chlc.cc, its only table of these)."""
    error = of("rtx-4090", tensor_parallel_size=8).cost("all_reduce", 8).seconds(kib << 10) / (published_us * 1e-6) - 1
    print(f"{kib} KiB: {error:+.0%}")
    assert abs(error) < 0.27
