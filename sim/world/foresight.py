"""What an oracle may know about a program, taken from its trace."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.policies.views import Foresight
from continuum_sim.traces.schema import Program


def foresee(program: Program, gaps_s: Sequence[float] | None = None) -> list[tuple[Foresight, Foresight]]:
    """Return, for every turn, what an oracle knows when it arrives and when it has ended.

    Parameters
    ----------
    gaps_s
        Seconds of the gap after each turn, without parts that depend on the policy: retries are included, waits for
        tool workers and for sub-agents are not. None takes them from the trace.
    """
    known: list[tuple[Foresight, Foresight]] = []
    turns_left = tokens = outputs = 0
    gaps_s = [turn.tool_s for turn in program.turns] if gaps_s is None else gaps_s
    for turn, gap_s in zip(reversed(program.turns), reversed(gaps_s), strict=True):
        after = Foresight(gap_s, turns_left, tokens, outputs)
        turns_left += 1
        tokens += turn.input_tokens - turn.kept_tokens + turn.output_tokens
        outputs += turn.output_tokens
        known.append((Foresight(gap_s, turns_left, tokens, outputs), after))
    known.reverse()
    return known
