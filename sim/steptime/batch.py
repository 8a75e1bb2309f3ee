"""The work of one engine step, as the numbers that its duration depends on."""

from __future__ import annotations

from typing import NamedTuple


class StepBatch(NamedTuple):
    """One step's work, summed over its requests."""

    prefill_requests: int
    prefill_tokens: int
    """New tokens computed by prefilling requests."""
    prefill_context_tokens: int
    """Σ over prefilling requests of the tokens already computed, which the new tokens attend to."""
    prefill_pairs: int
    """Σ over prefill chunks of `prefill_pairs`."""
    decode_requests: int
    decode_context_tokens: int
    """Σ over decoding requests of the tokens attended to, including the new one."""


def prefill_pairs(tokens: int, computed: int) -> int:
    """Pairs of a new token and a token it attends to, in a chunk of `tokens` new ones after `computed` ones."""
    return tokens * computed + tokens * (tokens + 1) // 2


def prefill_of(tokens: int, computed: int = 0) -> StepBatch:
    """Return the step that computes one such chunk and nothing else."""
    return StepBatch(1, tokens, computed, prefill_pairs(tokens, computed), 0, 0)


def grown(batch: StepBatch, steps: int) -> StepBatch:
    """Return the batch `steps` steps later in a run whose requests stay the same.

    Such a run has at most one prefilling request, always with the same chunk.
    """
    chunk = batch.prefill_tokens
    return StepBatch(
        batch.prefill_requests,
        chunk,
        batch.prefill_context_tokens + steps * chunk,
        batch.prefill_pairs + steps * chunk * chunk,
        batch.decode_requests,
        batch.decode_context_tokens + steps * batch.decode_requests,
    )
