"""Levels of a multi-level queue: their limits in tokens, and the level of an amount."""

from __future__ import annotations

from bisect import bisect_right

LIMITS_TOKENS = (2048, 8192, 32768)
"""Three limits make four levels. Autellix, as its users set it up (arXiv 2502.13965), applies them to a program's
service, and MARS (arXiv 2604.26963) to a turn's remaining prefill."""


def level_of(tokens: int) -> int:
    """Return 0 below 2048 tokens, 1 below 8192, 2 below 32768, else 3."""
    return bisect_right(LIMITS_TOKENS, tokens)
