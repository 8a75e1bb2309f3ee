"""The mirrored vLLM version, and its defaults and limits that do not depend on the GPU (`GpuSpec` has the others)."""

from __future__ import annotations

from typing import Final

MIRRORED_VLLM: Final = "0.32"
"""Version whose scheduler, block pool and memory planning the simulator follows. Defaults are the same in 0.33."""

MIRRORED_VERSIONS: Final = (MIRRORED_VLLM, "0.33")
"""Versions whose schedulers the simulator can follow, oldest first."""

GPU_MEMORY_UTILIZATION: Final = 0.92
"""`CacheConfig.gpu_memory_utilization` (vllm/config/cache.py of 0.32 and 0.33); 0.10 and earlier versions have 0.9."""

BLOCK_SIZE: Final = 16
"""`CacheConfig.DEFAULT_BLOCK_SIZE` (vllm/config/cache.py), in tokens."""

CLIENT_RETRIES: Final = 2
"""`DEFAULT_MAX_RETRIES` of openai-python (src/openai/_constants.py), the client that most agents call vLLM with."""

_ATTENTION_BLOCK_TOKENS: Final = 16
"""KV blocks on CUDA are multiples of this (`FlashAttentionBackend.get_supported_kernel_block_sizes`,
vllm/v1/attention/backends/flash_attn.py)."""


def version_numbers(version: str) -> list[int]:
    """Return major and minor of a version."""
    return [int(part) for part in version.split(".")[:2] if part.isdigit()]


def nearest_mirrored(version: str) -> str:
    """Return the mirrored version that is this one, or the oldest for earlier ones and the newest for others."""
    minor = ".".join(version.split(".")[:2])
    if minor in MIRRORED_VERSIONS:
        return minor
    older = version_numbers(version) < version_numbers(MIRRORED_VERSIONS[0])
    return MIRRORED_VERSIONS[0] if older else MIRRORED_VERSIONS[-1]


def block_size_notes(block_size: int) -> list[str]:
    """Return a note if vLLM does not start with KV blocks of `block_size` tokens."""
    if block_size % _ATTENTION_BLOCK_TOKENS == 0:
        return []
    near = _ATTENTION_BLOCK_TOKENS * max(1, round(block_size / _ATTENTION_BLOCK_TOKENS))
    return [
        f"vLLM would not start: FlashAttention on CUDA takes KV blocks of a multiple of {_ATTENTION_BLOCK_TOKENS} "
        f"tokens, not of {block_size}; set --block-size to {near}"
    ]
