"""Notes that keep a reader from drawing the wrong conclusion from a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from continuum_sim.policies.planes import Policy, Retention
from continuum_sim.results.summary import ReplicaSummary
from continuum_sim.results.tally import Tally
from continuum_sim.traces.unfit import Fitting
from continuum_sim.world.clients import ClientTotals
from continuum_sim.world.totals import EngineTotals

_LOST_PINS: Final = 0.1
"""Share of pins ended by a move above which the router gets a note."""


def activity_notes(policy: Policy, totals: EngineTotals, *, gaps_grew: bool = False) -> list[str]:
    """Return a note for each plane of a policy that never did the thing it is named for.

    `gaps_grew` says whether tool calls waited for workers, or turns for sub-agents.
    """
    notes = []
    counts, retention = totals.counts, type(policy.retention)
    if retention.at_turn_end is not Retention.at_turn_end and not (counts.pins_made or counts.evictions):
        notes.append(f"{policy.name} made no pin: it kept contexts just as stock vLLM does")
    elif counts.pins_made and not counts.pins_hit:
        notes.append(f"{policy.name} made pins, none of which lasted until its program's next turn")
    if policy.retention.needs_tier and not counts.offloads:
        notes.append(f"{policy.name} sent no context to host memory")
    if policy.order.keyed and not counts.reorders:
        notes.append(f"{policy.name} never changed the order of the queue: turns were admitted as they arrived")
    if policy.admission.gated and not counts.holds:
        notes.append(f"the admission gate of {policy.name} never held a turn back")
    if policy.oracle and gaps_grew:
        notes.append(
            f"{policy.name} knows how long tool calls take but not how long they wait for workers or sub-agents, which "
            "depends on the policies: it foresees only the nominal gap, and is not a bound here"
        )
    elif policy.oracle:
        notes.append(f"{policy.name} looks into the future: a bound, not a policy for a real engine")
    return notes


def cluster_notes(policy: Policy, replicas: Sequence[ReplicaSummary]) -> list[str]:
    """Return notes if the router worked against the policy or left replicas without work."""
    notes = []
    moved, made = sum(part.pins_moved for part in replicas), sum(part.pins.made for part in replicas)
    if moved > _LOST_PINS * made:
        # Rounded down to tens, so that runs with other seeds give the same note.
        notes.append(
            f"the router ended over {10 * int(10 * moved / made)} % of the pins of {policy.name}: it sent their "
            "programs to other replicas"
        )
    idle = [str(part.replica) for part in replicas if not part.turns]
    if idle:
        notes.append(f"no turn was sent to replica {', '.join(idle)}")
    return notes


def unfit_notes(fitting: Fitting | None) -> list[str]:
    """Return a note on the programs left out or cut."""
    return [str(fitting)] if fitting is not None and fitting.named else []


def client_notes(totals: ClientTotals | None, programs: int) -> list[str]:
    """Return a note if programs were given up."""
    if totals is None or not totals.given_up:
        return []
    return [
        f"{totals.given_up:,} of {programs:,} programs were given up by their clients: their JCT is the time until then"
    ]


def load_notes(tally: Tally, *, block_size: int) -> list[str]:
    """Return a note if the load left retention nothing to save."""
    # The partly filled block at the end of a context is never cached: up to one block per turn is not counted as lost.
    lost_tokens = tally.prefill.recomputed_tokens + tally.prefill.reloaded_tokens
    if lost_tokens <= tally.turns * block_size:
        return ["hardly a computed token was lost in this run: retention had next to nothing to save in it"]
    return []
