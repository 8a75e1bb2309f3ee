"""A policy under which turns preempt one another for ever: refused, where a real engine would go on."""

from __future__ import annotations

from typing import Final

from continuum_sim.engine.batch import Batch
from continuum_sim.policies import PolicyError

PREEMPTIONS_BETWEEN_CHECKS: Final = 2_000
"""More than an engine has seats for turns (1,024 at most by default), so that each has had its chance."""


def check_progress(batch: Batch, first_tokens: int, policy: str, now_s: float) -> int:
    """Return how many times turns have begun to decode, if more often than at the last check or if some do now.

    Raises
    ------
    PolicyError
        If none has.
    """
    if batch.first_tokens == first_tokens and not batch.decoding.count:
        turns = ", ".join(f"turn {r.turn.index} of {r.turn.program.program_id!r}" for r in batch.running.values())
        raise PolicyError(
            f"policy {policy!r} lets turns preempt one another for ever: {PREEMPTIONS_BETWEEN_CHECKS:,} times by "
            f"{now_s:g} s without one token (now running: {turns or 'none'}); preempt turns admitted last, as vLLM "
            "does, or give more memory"
        )
    return batch.first_tokens
