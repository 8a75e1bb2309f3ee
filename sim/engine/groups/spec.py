"""What one group keeps of a context, under which rule it is found again: vLLM's KV cache specs and their managers.

Each method names what it mirrors in `vllm/v1/core/single_type_kv_cache_manager.py` (0.32 and 0.33).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.kv_cache_spec import window_blocks

GroupKind = Literal["full", "sliding", "chunked", "recurrent"]
"""All tokens (also MLA), a window of the latest ones, those of the chunk that the next token is in, or a state."""
KINDS: Final = ("full", "sliding", "chunked", "recurrent")


@dataclass(frozen=True)
class GroupSpec:
    """One KV cache group."""

    kind: GroupKind
    block_size: int
    """Tokens per block."""
    window: int = 0
    """Tokens of the window or chunk; 0 for full attention and recurrent layers."""
    checkpoints: bool = False
    """Whether recurrent layers save the state at the last block boundary of a prompt without a step that ends there
    (`num_prefill_checkpoint_blocks`: Mamba 2, and Kimi's linear attention on some GPUs)."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"the kind of a KV cache group is {self.kind!r}, expected {', '.join(KINDS)}")
        if self.block_size < 1:
            raise ConfigError(f"a KV cache group has blocks of {self.block_size} tokens, expected at least 1")
        if (self.kind in ("full", "recurrent")) != (self.window == 0) or self.window < 0:
            raise ConfigError(
                f"a KV cache group of kind {self.kind} has a window of {self.window} tokens: full attention and "
                "recurrent layers have none, the others at least 1"
            )
        if self.checkpoints and self.kind != "recurrent":
            raise ConfigError(f"a KV cache group of kind {self.kind} saves no states: leave checkpoints out")

    @cached_property
    def frees(self) -> bool:
        """Whether blocks are freed while a turn runs."""
        return self.kind != "full"

    @cached_property
    def reach(self) -> int:
        """Latest tokens, with the one to come, whose blocks are needed, if these slide; otherwise 0.

        vLLM keeps the block with the last computed token for the state (`MambaManager.get_num_skipped_tokens`).
        """
        if self.kind == "recurrent":
            return 2
        return self.window if self.kind == "sliding" else 0

    @property
    def most_freed_by_sliding(self) -> int:
        """Most blocks by which what a decoding turn holds may shrink: a chunk, or one of a window or state."""
        if self.kind == "chunked":
            return -(-self.window // self.block_size)
        return 1 if self.reach else 0

    @cached_property
    def blocks_for_hit(self) -> int:
        """Cached blocks in a row that a window needs to be found (`_contiguous_blocks_for_hit`)."""
        return -(-(self.reach - 1) // self.block_size)

    def skipped_blocks(self, computed_tokens: int) -> int:
        """Return the leading blocks that no later token attends to (`get_num_skipped_tokens`)."""
        if self.kind == "full":
            return 0
        if self.reach:
            behind = computed_tokens - self.reach + 1
            return behind // self.block_size if behind > 0 else 0
        return computed_tokens // self.window * self.window // self.block_size

    def most_blocks(self, max_in_flight_tokens: int, max_model_len: int, *, ahead: bool) -> int | None:
        """Return the most blocks that a turn needs at once; None for no limit.

        Admission reserves those of a window (`max_admission_blocks_per_request`); of states what the next step takes.
        """
        if self.kind == "full":
            return None
        if self.kind == "recurrent":  # the state to go on from, the new one, and one that a step under way reads
            return 2 + ahead + self.checkpoints
        chunked = self.kind == "chunked"
        return window_blocks(self.window, self.block_size, max_model_len, max_in_flight_tokens, chunked=chunked)

    def can_save(self, start: int, end: int, boundary: int) -> bool:
        """Return whether a step of tokens [start, end) can save the state at `boundary`.

        Mirrors `is_mamba_prefill_checkpoint_valid`. Some kernels need multiples of 16 tokens between start and
        boundary, which blocks are.
        """
        size = self.block_size
        return (
            self.checkpoints
            and start % size == 0
            and -(-end // size) - 2 > (start - 1) // size
            and start + size <= boundary < end
        )

    def saves_checkpoint(self, start: int, end: int, prefill_end: int, *, steps_back: bool = False) -> bool:
        """Return whether it does so, which takes a block more (`MambaManager._needs_internal_checkpoint`).

        Parameters
        ----------
        prefill_end
            The end of the prompt, the only one at which a state is saved; 0 if every step saves one.
        steps_back
            Whether the last block of a hit is computed again, so that the state before it is saved.
        """
        boundary = last_reusable(end, self.block_size, steps_back=steps_back)
        return self.checkpoints and end >= prefill_end and self.can_save(start, end, boundary)

    def missing_blocks(self, held: int, start: int, end: int, prefill_end: int, *, steps_back: bool = False) -> int:
        """Return the blocks that a turn lacks to compute tokens [start, end), of which it holds the first `held`.

        Of states that is the new one, however far it is, and one that is saved on the way.
        """
        missing = -(-end // self.block_size) - held
        if missing <= 0:
            return 0
        if self.kind == "recurrent":
            return 1 + self.saves_checkpoint(start, end, prefill_end, steps_back=steps_back)
        return missing

    def findable(
        self,
        start: int,
        stop: int,
        boundaries: Collection[int],
        alignment_tokens: int,
        interval: int | None,
        *,
        drops: bool = False,
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
        drops
            Whether the last block of a window that is found is computed again: it must be there too.
        """
        size = self.block_size
        if not self.reach or alignment_tokens % size or (self.kind == "recurrent" and interval is None):
            return [(start, stop)]
        peek = int(drops and self.kind != "recurrent")
        need = self.blocks_for_hit + peek
        ends: list[int] = []
        every = alignment_tokens if interval is None else interval
        if every:
            segment = every // size
            if need >= segment:
                return [(start, stop)]
            first_end = max(1, (start - peek) // segment + 1) * segment
            ends += range(first_end + peek, (stop // segment + 2) * segment, segment)
        if interval is not None:
            ends += [tokens // alignment_tokens * alignment_tokens // size + peek for tokens in boundaries]
        spans: list[tuple[int, int]] = []
        for end in sorted(ends):  # in order and as long as one another: each may only reach into the one before
            first, last = max(start, end - need), min(stop, end)
            if first >= last:
                continue
            if spans and first <= spans[-1][1]:
                spans[-1] = (spans[-1][0], last)
            else:
                spans.append((first, last))
        return spans


def last_reusable(tokens: int, block_size: int, *, steps_back: bool) -> int:
    """Return the last block boundary of a prompt at which a state is of use (`get_mamba_prefill_checkpoint_position`).

    Parameters
    ----------
    steps_back
        Whether the last block of a hit is computed again.
    """
    return max(0, tokens // block_size - 1) * block_size if steps_back else (tokens - 1) // block_size * block_size
