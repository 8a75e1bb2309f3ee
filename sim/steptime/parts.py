"""What a step's time is made of: kinds of work, each as long as the slower of computing and reading memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PartName = Literal[
    "linear",
    "experts",
    "lm_head",
    "attention_prefill",
    "attention_decode",
    "indexer",
    "states",
    "moved",
    "all_reduce",
    "exchange",
    "launch",
    "host",
]
"""Linear layers of every token, experts, logits, attention of prompts and of decoding requests, indexers of sparse
attention, recurrent states, what small kernels move, all-reduces, tokens on their way to experts of
other ranks and back, launches of kernels, and the host."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of work in a step. Layers that differ in shape or type have parts of their own, of the same name."""

    name: PartName
    compute_s: float
    """Seconds if nothing but arithmetic counted."""
    memory_s: float
    """Seconds if nothing but reading and writing memory, or the links between GPUs, counted."""
    latency_s: float = 0.0
    """Seconds whatever the amount of work."""

    @property
    def seconds(self) -> float:
        """What it adds to the step."""
        return max(self.compute_s, self.memory_s) + self.latency_s
