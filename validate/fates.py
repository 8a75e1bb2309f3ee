"""What became of every turn's blocks, read from a decision log: the decisions of two runs, side by side."""

from __future__ import annotations

from collections.abc import Iterable

from continuum_sim.results.decisions import DecisionRecord

Fates = dict[tuple[str, int], str]
"""(program, turn) to `release`, `evict`, `hit`, `expire` or `break`; the last three are ends of a pin."""


def turn_fates(decisions: Iterable[DecisionRecord]) -> Fates:
    """Say for every finished turn what happened to its blocks; a pin that nothing ended counts as hit.

    Last turns are left out: they are released whatever the policy.
    """
    fates: Fates = {}
    for decision in decisions:
        key = decision.program, decision.turn
        if decision.event in ("pin", "release", "evict"):
            if not decision.detail.get("last"):
                fates[key] = "hit" if decision.event == "pin" else decision.event
        elif decision.event in ("expire", "break"):
            fates[key] = decision.event
    return fates
