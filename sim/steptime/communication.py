"""What operations between GPUs take: a latency, and the bytes that each GPU sends over its links."""

from __future__ import annotations

from math import log2
from typing import NamedTuple

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.links import DEFAULT_NODE_LINK, Link, Measured, Operation, find_link, link_of, links
from continuum_sim.hardware.parallel import Parallel

_SENT = {"all_reduce": 2, "nccl_all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}
"""Times that a ring carries a message round, less one part of it."""


class Cost(NamedTuple):
    """Seconds of a message: `latency_s`, and one second for each `bytes_per_s` of it."""

    latency_s: float
    bytes_per_s: float

    def seconds(self, message_bytes: float) -> float:
        """Return the seconds of one operation on a message."""
        return self.latency_s + message_bytes / self.bytes_per_s


FREE = Cost(0.0, float("inf"))
"""Among one GPU."""


class Communication:
    """The links of one split. A group's GPUs follow one another, so that it spans the fewest nodes.

    Within a node operations take what was measured there. Across nodes, a ring carries a message over the cards of
    all GPUs of a node at once (NCCL's rings enter and leave a node once for each card), and is as fast as the slower
    of these and the node's own links; latencies of both add up, that between nodes with the logarithm of their number
    (trees, and PAT of NCCL 2.23). In an all-to-all each GPU sends to others of its node over one link and to the
    rest over its card, both at once.
    """

    def __init__(self, gpu: GpuSpec, parallel: Parallel) -> None:
        self.gpu, self.parallel = gpu, parallel
        self.link = _within(parallel.link) if parallel.link is not None else link_of(gpu)
        self.node_link = _between(parallel.node_link or DEFAULT_NODE_LINK) if parallel.nodes > 1 else None
        self.gpus_per_node = -(-parallel.gpus // parallel.nodes)

    def cost(self, operation: Operation, size: int, apart: int = 1) -> Cost:
        """Return what an operation among `size` GPUs takes, each of which is `apart` GPUs from the one before.

        Raises
        ------
        ConfigError
            If a node has fewer GPUs, and there is one only.
        """
        if size == 1:
            return FREE
        nodes = self._nodes(size, apart)
        if nodes == 1:
            return self._inside(operation, size)
        return self._across(operation, size, nodes)

    def send(self, across: bool) -> Cost:
        """Return what sending to a neighbour takes, in the same node or in the next."""
        if across and self.node_link is not None:
            latency_s, share = self.node_link.reached("send", 2)
            return Cost(latency_s, self.node_link.bytes_per_s * share)
        latency_s, share = self.link.reached("send", 2)
        return Cost(latency_s, self.link.bytes_per_s * share)

    def deepep(self, kernels: str, size: int, apart: int, visited: int) -> tuple[Cost, Cost]:
        """Return what DeepEP's dispatch and combine take, of a message of one copy of each of a GPU's tokens.

        `low_latency` sends one copy to each of the `visited` experts of a token, over the GPU's own card if it is in
        another node; `high_throughput` one to each GPU and, across nodes, one to each node, which hands it on.

        Raises
        ------
        ConfigError
            If there are no measurements on these links.
        """
        nodes = self._nodes(size, apart)
        used = (self.link,) if nodes == 1 or self.node_link is None else (self.link, self.node_link)
        tables = [getattr(link, f"deepep_{kernels}") for link in used]
        for link, table in zip(used, tables, strict=True):
            if not table:
                known = ", ".join(one.name for one in links() if getattr(one, f"deepep_{kernels}"))
                raise ConfigError(
                    f"--all2all-backend deepep_{kernels}: DeepEP was not measured on {link.name}, but on {known}"
                )
        each = -(-size // nodes)
        if kernels == "low_latency":
            inside, outside = float(visited), visited * (size - each) / size
        else:
            inside = size * (1 - (1 - 1 / size) ** visited)
            outside = (nodes - 1) * (1 - (1 - 1 / nodes) ** visited)
        dispatch, combine = (self._copies(used, tables, phase, inside, outside) for phase in ("dispatch", "combine"))
        return dispatch, combine

    def _copies(
        self, used: tuple[Link, ...], tables: list[dict[str, Measured]], phase: str, inside: float, outside: float
    ) -> Cost:
        latency_s, share = tables[0][phase]
        rate = used[0].bytes_per_s * share / inside
        if len(used) > 1:
            more_s, share = tables[1][phase]
            latency_s, rate = latency_s + more_s, min(rate, used[1].bytes_per_s * share / outside)
        return Cost(latency_s, rate)

    def _nodes(self, size: int, apart: int) -> int:
        nodes = -(-size * apart // self.gpus_per_node)
        if nodes == 1 and size * apart > self.link.most:
            raise ConfigError(
                f"{size} GPUs have to be connected, and a node has {self.link.most} {self.gpu.name} at most "
                f"({self.link.name}): give --nodes, or --link"
            )
        return nodes

    def _inside(self, operation: Operation, size: int) -> Cost:
        latency_s, share = self.link.reached(operation, size)
        rate = self.link.bytes_per_s * share
        if operation == "send":
            return Cost(latency_s, rate)
        return Cost(latency_s, rate * size / (_SENT.get(operation, 1) * (size - 1)))

    def _across(self, operation: Operation, size: int, nodes: int) -> Cost:
        assert self.node_link is not None
        each = -(-size // nodes)
        # vLLM's own all-reduce does not leave a node.
        own = self._inside("nccl_all_reduce" if operation == "all_reduce" else operation, each) if each > 1 else FREE
        latency_s, share = self.node_link.reached(operation, 2)
        card = self.node_link.bytes_per_s * share
        if operation == "all_to_all":
            outside = card * size / (size - each)
            inside = own.bytes_per_s * size / each  # of all that a GPU sends, its node gets each/size
            return Cost(own.latency_s + latency_s, min(outside, inside))
        ring = _SENT[operation] * (size - 1) / size
        within = own.bytes_per_s * _SENT[operation] * (each - 1) / each if each > 1 else float("inf")
        return Cost(own.latency_s + latency_s * log2(nodes), min(each * card, within) / ring)


def _within(text: str) -> Link:
    link = find_link(text)
    if link.between_nodes:
        raise ConfigError(f"link is {text}, which connects nodes: give it as --node-link")
    return link


def _between(text: str) -> Link:
    link = find_link(text)
    if not link.between_nodes and "=" not in text:
        raise ConfigError(f"node_link is {text}, which connects the GPUs of one node: give it as --link")
    return link
