"""The catalogue of links between GPUs: data-sheet bandwidths, and what operations reach of them in measurements."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from math import isfinite
from typing import Final, Literal

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.catalogue import find, fold, read_catalogue
from continuum_sim.hardware.gpus import GpuSpec

Measured = tuple[float, float]
"""Latency in seconds, and share of the link's bandwidth reached."""

Operation = Literal["all_reduce", "nccl_all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]

DEFAULT_NODE_LINK: Final = "ib-ndr"
"""Between nodes if nothing is said: a card of 400 Gb/s for each GPU, as NVIDIA builds DGX H100 and B200."""

ANY_NUMBER: Final = 1 << 30
"""GPUs of a link described by two numbers, which hold for any number of them."""


@dataclass(frozen=True)
class Link:
    """One kind of link. The head of `links.toml` says what messages and shares refer to."""

    name: str
    label: str
    bytes_per_s: float
    """Of one GPU, in one direction, from the data sheet."""
    all_reduce: dict[int, Measured]
    """GPUs (nodes of a link between nodes) -> what an all-reduce reaches."""
    source: str
    measured: str
    nccl_all_reduce: dict[int, Measured] = field(default_factory=dict)
    all_gather: dict[int, Measured] = field(default_factory=dict)
    reduce_scatter: dict[int, Measured] = field(default_factory=dict)
    all_to_all: dict[int, Measured] = field(default_factory=dict)
    send: dict[int, Measured] = field(default_factory=dict)
    deepep_low_latency: dict[str, Measured] = field(default_factory=dict)
    """`dispatch` and `combine`; empty if not measured."""
    deepep_high_throughput: dict[str, Measured] = field(default_factory=dict)
    between_nodes: bool = False
    """Whether it connects nodes rather than the GPUs of one."""

    @property
    def most(self) -> int:
        """The largest number of GPUs it connects."""
        return max(self.all_reduce)

    def reached(self, operation: Operation, size: int) -> Measured:
        """Return what an operation of so many GPUs reaches: the entry of that many, or of the next more.

        Raises
        ------
        ConfigError
            If it connects fewer.
        """
        table: dict[int, Measured] = getattr(self, operation)
        if not table and operation == "nccl_all_reduce":
            table = self.all_reduce
        if not table and operation == "send":
            table = self.all_to_all
        if not table:
            table = {n: (latency_s / 2, share) for n, (latency_s, share) in self.all_reduce.items()}
        if size > max(table):
            raise ConfigError(f"{self.name} connects {max(table)} GPUs at most, not {size}: give --nodes")
        return table[min(n for n in table if n >= size)]


@cache
def links() -> tuple[Link, ...]:
    """All links of the catalogue."""
    return read_catalogue("links.toml", "link", Link)


@cache
def find_link(text: str) -> Link:
    """Return the catalogue's link of that name, or the one described as `latency_us=…,bandwidth_gbps=…`.

    Raises
    ------
    ConfigError
        If there is none; the message has the nearest name and lists all.
    """
    if not isinstance(text, str):
        raise ConfigError(f"link is {text!r}, expected a link's name or {_FORM}")
    if "=" in text:
        return _described(text)
    known = ", ".join(link.name for link in links())
    return find(text, {fold(link.name): link for link in links()}, "link", f"known: {known}; or {_FORM}")


def link_of(gpu: GpuSpec) -> Link:
    """Return a GPU's own link to the others of its node, with what was measured on that GPU."""
    link = find_link(gpu.link)
    return replace(link, all_reduce=gpu.all_reduce) if gpu.all_reduce else link


_FORM: Final = "latency_us=…,bandwidth_gbps=…"


def _described(text: str) -> Link:
    """Read microseconds of any operation, and GB/s of one GPU in one direction, all of which it reaches."""
    given = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    values = {}
    for key in ("latency_us", "bandwidth_gbps"):
        try:
            values[key] = float(given.pop(key))
        except (KeyError, ValueError):
            raise ConfigError(f"link is {text!r}, expected {_FORM} with two numbers, or a link's name") from None
    latency_us, gbps = values["latency_us"], values["bandwidth_gbps"]
    if given or not (isfinite(latency_us) and latency_us >= 0 and isfinite(gbps) and gbps > 0):
        raise ConfigError(f"link is {text!r}, expected {_FORM}, of 0 us or more and more than 0 GB/s")
    reached = {ANY_NUMBER: (latency_us / 1e6, 1.0)}
    both = {"dispatch": reached[ANY_NUMBER], "combine": reached[ANY_NUMBER]}
    return Link(
        name=text,
        label=text,
        bytes_per_s=gbps * 1e9,
        source="as given",
        measured="as given",
        all_reduce=reached,
        all_gather=reached,
        reduce_scatter=reached,
        all_to_all=reached,
        deepep_low_latency=both,
        deepep_high_throughput=both,
    )
