"""What an oracle may know of a program, read off its trace."""

from __future__ import annotations

from continuum_sim.policies.views import Foresight
from continuum_sim.traces.schema import Program


def foresee(program: Program) -> list[tuple[Foresight, Foresight]]:
    """For every turn, what is known when it arrives and when it has ended."""
    known: list[tuple[Foresight, Foresight]] = []
    turns_left = tokens = outputs = 0
    for turn in reversed(program.turns):
        after = Foresight(turn.tool_s, turns_left, tokens, outputs)
        turns_left += 1
        tokens += turn.input_tokens - turn.kept_tokens + turn.output_tokens
        outputs += turn.output_tokens
        known.append((Foresight(turn.tool_s, turns_left, tokens, outputs), after))
    known.reverse()
    return known
