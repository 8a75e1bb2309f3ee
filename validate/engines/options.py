"""Settings of an engine to be started, under vLLM's names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.validate.session.tiny import write_tiny_model

TINY = "tiny"
"""Name of a small random-weight Llama, written into a folder when it is needed."""
NANO = "nano"
"""Name of an even smaller one that takes almost no time to compute: for an engine held to another machine's pace."""
TINY_GEMMA = "tiny-gemma3"
"""Name of a small Gemma 3, whose layers with sliding windows have KV cache groups of their own."""
_SIZES: Mapping[str, Mapping[str, int]] = {
    TINY: {},
    TINY_GEMMA: {"hidden_size": 256, "num_hidden_layers": 6, "sliding_window": 128},
    NANO: {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1},
}

_TINY = {"max_num_batched_tokens": 1024, "max_num_seqs": 32, "block_size": 32, "max_model_len": 8192}
"""Settings that suit these models; vLLM prefers blocks of 32 tokens on a CPU."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How to start vLLM; None leaves a setting to vLLM."""

    model: str
    """A folder, a name vLLM can load, `tiny`, `tiny-gemma3` or `nano`."""
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    block_size: int | None = None
    num_gpu_blocks_override: int | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float | None = None
    async_scheduling: bool | None = None
    """None is on, except on a CPU."""
    speculative_config: Mapping[str, Any] | None = None
    """Speculative decoding, as vLLM takes it."""
    acceptance_rates: tuple[float, ...] | None = None
    """How its drafts are accepted, for the simulator; None to measure it, or for what vLLM is told."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Any other field of vLLM's `AsyncEngineArgs`."""

    def arguments(self, folder: Path) -> dict[str, Any]:
        """Return the arguments of `AsyncEngineArgs`; tiny and nano models are written below `folder`."""
        arguments: dict[str, Any] = {
            "model": self.model,
            "tensor_parallel_size": self.tensor_parallel_size,
            "async_scheduling": self.async_scheduling,
            "enable_prefix_caching": True,
            # Prompts and answers are token ids.
            "skip_tokenizer_init": True,
        }
        if self.model in _SIZES:
            arguments.update(
                model=str(write_tiny_model(folder / "model", **_SIZES[self.model])),
                load_format="dummy",
                enforce_eager=True,
                dtype="float32",
                # One process less, except on a CPU. There only a worker of its own computes while a step is planned.
                distributed_executor_backend="mp" if self.async_scheduling else "uni",
                **_TINY,
            )
        for name in (
            *("max_model_len", "max_num_batched_tokens", "max_num_seqs", "block_size"),
            *("num_gpu_blocks_override", "gpu_memory_utilization", "speculative_config"),
        ):
            if getattr(self, name) is not None:
                arguments[name] = getattr(self, name)
        return {**arguments, **self.extra}


def parse_engine_args(items: Iterable[str]) -> dict[str, Any]:
    """Parse `key=value` settings; values are JSON if possible, otherwise text.

    Raises
    ------
    ConfigError
        For an item without `=`.
    """
    settings: dict[str, Any] = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--engine-arg {item!r} is not of the form key=value, as in dtype=bfloat16")
        try:
            settings[key.strip().replace("-", "_")] = json.loads(value)
        except ValueError:
            settings[key.strip().replace("-", "_")] = value
    return settings
