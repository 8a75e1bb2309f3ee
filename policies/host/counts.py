"""Counters of what a policy did on one engine, for the summary."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class PolicyCounts:
    """Totals so far, counted as things happen."""

    pins_made: int = 0
    pins_hit: int = 0
    pins_expired: int = 0
    pins_broken: int = 0
    pinned_block_seconds: float = 0.0
    evictions: int = 0
    reorders: int = 0
    """Turns admitted while one that was queued earlier still waited."""
    holds: int = 0
    """Turns that the gate held back at least once."""
    offloads: int = 0
    """Contexts that the retention rule sent to host memory."""
    recalls: int = 0
    """Contexts that the rule brought back before their program's next turn."""
    pins_moved: int = 0
    """Pins that ended because a router sent the program's next turn to another engine."""
