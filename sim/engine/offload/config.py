"""Settings of the memory tiers below the KV cache of one engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from continuum_sim.errors import ConfigError

ReloadRule = Literal["faster", "always"]
Stores = Literal["ends", "steps"]
EvictionPolicy = Literal["lru", "arc"]
OffloadingBackend = Literal["native", "lmcache"]


@dataclass(frozen=True)
class TierConfig:
    """Sizes and speeds of one replica's host memory and of an SSD below it, each behind its own link."""

    dram_blocks: int
    """KV blocks that fit into host memory."""
    dram_block_s: float
    """Seconds to move one block between the GPUs and host memory."""
    ssd_blocks: int = 0
    """KV blocks that fit on the SSD; 0 for no SSD."""
    ssd_block_s: float = 0.0
    """Seconds to move one block between host memory and the SSD."""
    block_bytes: int = 1
    """Size of one block over all layers and GPUs."""
    reload: ReloadRule = "faster"
    """Whether to reload what a tier holds only where that is faster than computing it, or always."""
    stores: Stores = "ends"
    """When contexts are copied to host memory: as their turns end (or as the policy says), or in the steps that compute
    them, as vLLM's native offload does."""
    eviction_policy: EvictionPolicy = "lru"
    """What native offload evicts from host memory."""
    offload_prompt_only: bool = True
    """Whether native offload stores prompts alone."""
    blocks_per_chunk: int = 1
    """Blocks that native offload stores, loads and evicts together."""

    def __post_init__(self) -> None:
        for name, least in (("dram_blocks", 1), ("ssd_blocks", 0), ("block_bytes", 1), ("blocks_per_chunk", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        for name in ("dram_block_s", "ssd_block_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 or more seconds")
        if self.dram_blocks < self.blocks_per_chunk:
            raise ConfigError(
                f"dram_blocks is {self.dram_blocks}, fewer than blocks_per_chunk ({self.blocks_per_chunk})"
            )
        if self.native and self.ssd_blocks:
            raise ConfigError("vLLM's native offload is modelled without an SSD: leave the one or the other out")

    @property
    def native(self) -> bool:
        """Whether these are the rules of vLLM's native KV offload."""
        return self.stores == "steps"
