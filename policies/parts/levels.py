"""Levels of a multi-level queue: limits in tokens, and the rank of an amount among them."""

from __future__ import annotations

from bisect import bisect_right

LIMITS_TOKENS = (2048, 8192, 32768)
"""Three limits make four levels: the limits of the programs' service in Autellix as its users set it up
(arXiv 2502.13965) and of the remaining prefill in MARS (arXiv 2604.26963)."""


def level_of(tokens: int) -> int:
    """0 below 2048 tokens, 1 below 8192, 2 below 32768, else 3."""
    return bisect_right(LIMITS_TOKENS, tokens)
