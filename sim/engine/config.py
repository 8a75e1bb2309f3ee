"""Settings of the simulated engine, under vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass

from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.errors import ConfigError


@dataclass(frozen=True)
class EngineConfig:
    """Scheduler and cache settings of one replica; the defaults are vLLM's on GPUs of 70 GB and more."""

    num_gpu_blocks: int
    """KV blocks, including vLLM's null block, which is never usable."""
    block_size: int = 16
    """Tokens per block."""
    max_num_batched_tokens: int = 8192
    """Token budget of a step (the chunk size of prefill)."""
    max_num_seqs: int = 1024
    """Most turns that may run at once."""
    max_model_len: int = 131072
    """Longest prompt plus output, in tokens."""
    watermark: float = 0.0
    """Share of all blocks that must stay free when a turn is admitted while others run."""
    scheduler_reserve_full_isl: bool = True
    """Admit a turn only when its whole prompt fits now, not just its first chunk."""
    async_scheduling: bool = False
    """Plan each step while the one before it runs."""
    tiers: TierConfig | None = None
    """Memory tiers below the KV cache, if any."""

    def __post_init__(self) -> None:
        for name, least in (
            ("num_gpu_blocks", 2),
            ("block_size", 1),
            ("max_num_batched_tokens", 1),
            ("max_num_seqs", 1),
            ("max_model_len", 2),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if not 0.0 <= self.watermark < 1.0:
            raise ConfigError(f"watermark is {self.watermark}, expected a share from 0 to below 1")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ConfigError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) is below max_num_seqs "
                f"({self.max_num_seqs}), which vLLM refuses; lower --max-num-seqs"
            )

    @property
    def max_concurrent_batches(self) -> int:
        """Most steps that may be planned and not over at any time."""
        return 2 if self.async_scheduling else 1

    @property
    def usable_blocks(self) -> int:
        """Blocks that can hold KV."""
        return self.num_gpu_blocks - 1

    @property
    def watermark_blocks(self) -> int:
        """Blocks the watermark keeps free (vLLM: int(watermark · num_blocks))."""
        return int(self.watermark * self.num_gpu_blocks)
