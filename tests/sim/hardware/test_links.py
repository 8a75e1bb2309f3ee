"""The catalogue of links: every entry plausible and sourced, and links by name or by two numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu
from continuum_sim.hardware.gpus import gpus
from continuum_sim.hardware.links import DEFAULT_NODE_LINK, Link, find_link, link_of, links


@pytest.mark.parametrize("link", links(), ids=lambda link: link.name)
def test_every_link_is_plausible_and_sourced(link: Link) -> None:
    tables = [link.all_reduce, link.nccl_all_reduce, link.all_gather, link.reduce_scatter, link.all_to_all]
    for table in tables:
        assert all(1e-6 < latency_s < 1e-4 and 0 < share <= 1 for latency_s, share in table.values())
        sizes = sorted(table)
        latencies = [table[size][0] for size in sizes]
        # Kernels of vLLM's own take about as long for any number of GPUs; those of MI300X are of three sources.
        assert all(b > 0.8 * a for a, b in pairwise(latencies))
        assert table is link.all_reduce or not table or sizes[-1] == link.most
    assert len(link.source) > 30
    assert len(link.measured) > 20
    assert link.between_nodes == (set(link.all_reduce) == {2})


def test_every_gpu_names_a_link_of_a_node() -> None:
    assert not any(find_link(gpu.link).between_nodes for gpu in gpus())
    assert find_link(DEFAULT_NODE_LINK).between_nodes
    assert {find_link(gpu.link).name for gpu in gpus()} == {link.name for link in links() if not link.between_nodes}
    assert link_of(find_gpu("h100")) is find_link("nvlink4")
    own = link_of(find_gpu("h200"))
    assert (own.all_reduce, own.all_gather) == (find_gpu("h200").all_reduce, find_link("nvlink4").all_gather)


def test_what_was_not_measured_follows_from_what_was() -> None:
    link = find_link("PCIe4:no-P2P")
    latency_s, share = link.reached("all_reduce", 8)
    assert link.reached("nccl_all_reduce", 8) == (latency_s, share)
    for operation in ("all_gather", "reduce_scatter", "all_to_all"):
        assert link.reached(operation, 8) == (latency_s / 2, share)  # type: ignore[arg-type]
    assert find_link("nvlink4").reached("send", 2) == find_link("nvlink4").all_to_all[2]
    assert find_link("nvlink4").reached("all_gather", 3) == find_link("nvlink4").all_gather[4]
    with pytest.raises(ConfigError, match="nvlink4 connects 8 GPUs at most, not 9: give --nodes"):
        find_link("nvlink4").reached("all_gather", 9)


def test_a_link_is_described_by_two_numbers() -> None:
    link = find_link("latency_us=5,bandwidth_gbps=60")
    assert link.bytes_per_s == 60e9
    assert link.reached("all_reduce", 1000) == link.reached("send", 2) == (5e-6, 1.0)
    assert find_link(link.name) is link


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "nvlink",
            r"unknown link 'nvlink', did you mean 'nvlink\d'\? known: nvlink3, .*; or latency_us=…",
        ),
        ("nvlink4:no-p2p", "unknown link 'nvlink4:no-p2p'"),
        ("latency_us=5", "link is 'latency_us=5', expected latency_us=…,bandwidth_gbps=… with two numbers"),
        ("latency_us=x,bandwidth_gbps=1", "with two numbers, or a link's name"),
        ("latency_us=1,bandwidth_gbps=0", "of 0 us or more and more than 0 GB/s"),
        ("latency_us=1,bandwidth_gbps=1,x=1", "expected latency_us=…,bandwidth_gbps=…"),
        ("latency_us=-1,bandwidth_gbps=1", "of 0 us or more"),
    ],
)
def test_other_links_are_refused(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        find_link(text)
    with pytest.raises(ConfigError, match="link is 37, expected a link's name or latency_us"):
        find_link(37)  # type: ignore[arg-type]
