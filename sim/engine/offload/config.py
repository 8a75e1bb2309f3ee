"""Settings of the memory tiers below the KV cache of one engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from continuum_sim.errors import ConfigError

ReloadRule = Literal["faster", "always"]


@dataclass(frozen=True)
class TierConfig:
    """Host memory, and below it an SSD, each behind a link of its own; sizes and speeds of one replica."""

    dram_blocks: int
    """KV blocks that host memory holds."""
    dram_block_s: float
    """Seconds that one block takes between the GPUs and host memory."""
    ssd_blocks: int = 0
    """KV blocks that the SSD holds; 0 for none."""
    ssd_block_s: float = 0.0
    """Seconds that one block takes between host memory and the SSD."""
    block_bytes: int = 1
    """One block of all layers and GPUs."""
    reload: ReloadRule = "faster"
    """Whether what a tier holds is reloaded only where that is faster than computing it, or always."""

    def __post_init__(self) -> None:
        for name, least in (("dram_blocks", 1), ("ssd_blocks", 0), ("block_bytes", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        for name in ("dram_block_s", "ssd_block_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected 0 or more seconds")
