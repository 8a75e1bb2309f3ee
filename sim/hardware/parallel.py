"""How one model is split over GPUs, in vLLM's words (`ParallelConfig`)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from continuum_sim.errors import ConfigError

ALL2ALL_BACKENDS: Final = ("allgather_reducescatter", "deepep_high_throughput", "deepep_low_latency")
"""Those of vLLM's `All2AllBackend` that are modelled, its default first."""


@dataclass(frozen=True)
class Parallel:
    """The split of one engine: GPUs = tensor × pipeline × data parallel size."""

    tensor_parallel_size: int = 1
    """GPUs that share every layer."""
    pipeline_parallel_size: int = 1
    """Stages that have some of the layers each."""
    data_parallel_size: int = 1
    """Ranks with a KV cache each."""
    enable_expert_parallel: bool = False
    """Whether each GPU has whole experts; else every GPU has a slice of each."""
    nodes: int = 1
    """Machines that the GPUs are in, with equally many of them each."""
    link: str | None = None
    """Link between the GPUs of a node; None for the GPU's own."""
    node_link: str | None = None
    """Link between nodes; None for InfiniBand NDR."""
    all2all_backend: str = ALL2ALL_BACKENDS[0]
    """How tokens reach the experts of other ranks."""
    enable_dbo: bool = False
    """Whether each step runs as two halves, one of which computes while the other exchanges tokens."""

    def __post_init__(self) -> None:
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "nodes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.gpus % self.nodes:
            raise ConfigError(
                f"nodes {self.nodes} must evenly divide the total world size ({self.gpus}): adjust --nodes, "
                "--data-parallel-size, --pipeline-parallel-size or --tensor-parallel-size"
            )
        if self.all2all_backend not in ALL2ALL_BACKENDS:
            known = ", ".join(ALL2ALL_BACKENDS)
            raise ConfigError(f"all2all_backend is {self.all2all_backend!r}, expected one of {known}")

    def describe(self) -> dict[str, Any]:
        """Return the tensor parallel size, and whatever else is not as by default."""
        values = {item.name: (getattr(self, item.name), item.default) for item in fields(self)}
        return {
            name: value for name, (value, plain) in values.items() if value != plain or name == "tensor_parallel_size"
        }

    @property
    def gpus(self) -> int:
        """GPUs of all ranks and stages."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def expert_ways(self) -> int:
        """GPUs that the experts of one layer are spread over: vLLM flattens tensor and data parallel for them."""
        return self.tensor_parallel_size * self.data_parallel_size


ONE_GPU: Final = Parallel()
"""No split."""
