"""What one group keeps of a context, under which rule it is found again: vLLM's KV cache specs and their managers.

Each method names what it mirrors in `vllm/v1/core/single_type_kv_cache_manager.py` (0.32 and 0.33).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.kv_cache_spec import window_blocks

GroupKind = Literal["full", "sliding", "chunked"]
"""All tokens (also MLA), a window of the latest ones, or those of the chunk that the next token is in."""
KINDS: Final = ("full", "sliding", "chunked")


@dataclass(frozen=True)
class GroupSpec:
    """One KV cache group."""

    kind: GroupKind
    block_size: int
    """Tokens per block."""
    window: int = 0
    """Tokens of the window or chunk; 0 for full attention."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"the kind of a KV cache group is {self.kind!r}, expected {', '.join(KINDS)}")
        if self.block_size < 1:
            raise ConfigError(f"a KV cache group has blocks of {self.block_size} tokens, expected at least 1")
        if (self.kind == "full") != (self.window == 0) or self.window < 0:
            raise ConfigError(
                f"a KV cache group of kind {self.kind} has a window of {self.window} tokens: full attention has none, "
                "the others at least 1"
            )

    @property
    def frees(self) -> bool:
        """Whether blocks are freed while a turn runs."""
        return self.kind != "full"

    @property
    def most_freed_by_sliding(self) -> int:
        """Most blocks by which what a decoding turn holds may shrink: a chunk, or one of a window."""
        if self.kind == "chunked":
            return -(-self.window // self.block_size)
        return 1 if self.kind == "sliding" else 0

    @property
    def blocks_for_hit(self) -> int:
        """Cached blocks in a row that a window needs to be found (`_contiguous_blocks_for_hit`)."""
        return -(-(self.window - 1) // self.block_size)

    def skipped_blocks(self, computed_tokens: int) -> int:
        """Return the leading blocks that no later token attends to (`get_num_skipped_tokens`)."""
        if self.kind == "full":
            return 0
        if self.kind == "sliding":
            return max(0, computed_tokens - self.window + 1) // self.block_size
        return computed_tokens // self.window * self.window // self.block_size

    def most_blocks(self, max_in_flight_tokens: int, max_model_len: int) -> int | None:
        """Return the most blocks that admission reserves (`max_admission_blocks_per_request`); None for no limit."""
        if self.kind == "full":
            return None
        chunked = self.kind == "chunked"
        return window_blocks(self.window, self.block_size, max_model_len, max_in_flight_tokens, chunked=chunked)

    def findable(
        self, start: int, stop: int, boundaries: Collection[int], alignment_tokens: int, interval: int | None
    ) -> list[tuple[int, int]]:
        """Return the stretches of blocks [start, stop) that are cached once they are full (`reachable_block_mask`).

        Parameters
        ----------
        boundaries
            Tokens after which a later prompt may leave this one.
        alignment_tokens
            What a hit is a multiple of, in tokens.
        interval
            `prefix_cache_retention_interval`: None caches every window that can be hit, 0 only those that end at a
            boundary, and a number of tokens one window in so many as well.
        """
        size = self.block_size
        if self.kind != "sliding" or alignment_tokens % size:
            return [(start, stop)]
        need = self.blocks_for_hit
        spans: list[tuple[int, int]] = []
        every = alignment_tokens if interval is None else interval
        if every:
            segment = every // size
            if need >= segment:
                return [(start, stop)]
            first = start // segment
            spans += [((n + 1) * segment - need, (n + 1) * segment) for n in range(first, stop // segment + 1)]
        if interval is not None:
            ends = [tokens // alignment_tokens * alignment_tokens // size for tokens in boundaries]
            spans += [(end - need, end) for end in ends]
        return _joined([(max(start, first), min(stop, last)) for first, last in spans])


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same blocks as stretches in order that do not touch."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if first >= last:
            continue
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
