"""Remarks that keep a reader from drawing the wrong conclusion from a run."""

from __future__ import annotations

from typing import Final

from continuum_sim.policies.planes import Policy, Retention
from continuum_sim.results.tally import Tally
from continuum_sim.simulation import EngineTotals

_OVERLOAD: Final = 1.25
"""End of the run over the last arrival, from which the engine counts as having fallen behind."""


def activity_notes(policy: Policy, totals: EngineTotals) -> list[str]:
    """Say which planes of a policy never did the thing they are named for."""
    notes = []
    retention = type(policy.retention)
    if retention.at_turn_end is not Retention.at_turn_end and not (totals.pins_made or totals.evictions):
        notes.append(f"{policy.name} made no pin: it kept contexts just as stock vLLM does")
    elif totals.pins_made and not totals.pins_hit:
        notes.append(f"{policy.name} made {totals.pins_made} pins, none of which lasted until the next turn")
    if policy.order.keyed and not totals.reorders:
        notes.append(f"{policy.name} never changed the order of the queue: turns were admitted as they arrived")
    if policy.admission.gated and not totals.holds:
        notes.append(f"the admission gate of {policy.name} never held a turn back")
    if policy.oracle:
        notes.append(f"{policy.name} looks into the future: a bound, not a policy for a real engine")
    return notes


def load_notes(tally: Tally, totals: EngineTotals, *, open_arrivals: bool) -> list[str]:
    """Say what the load was like, where it decides what the numbers mean."""
    notes = []
    if not tally.prefill.recomputed_tokens:
        notes.append("memory was never short: no computed token was lost, so no retention policy can gain here")
    overloaded = totals.end_s > _OVERLOAD * tally.last_arrival_s
    if open_arrivals and tally.last_arrival_s and overloaded and tally.time_share.queue > 0.5:
        notes.append(
            f"programs arrived for {tally.last_arrival_s:,.0f} s and kept the engine busy for {totals.end_s:,.0f} s: "
            "it is overloaded, and JCT grows with the length of the trace"
        )
    return notes
