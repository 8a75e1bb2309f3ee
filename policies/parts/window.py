"""A window of active programs: the gate that `session-gate`, `concur` and `mars` share."""

from __future__ import annotations

from continuum_sim.policies.planes import Gate
from continuum_sim.policies.views import Moment, ProgramView, TurnView


class Window(Gate):
    """Lets at most `size` programs be active at once.

    A program becomes active when one of its turns enters the batch and stays active through its tool calls until it
    ends. If the window has shrunk below the number of active programs, a program also loses its place at the end of
    a turn and then queues for one like a new program. An idle engine always admits a program, as `size` is at least 1.
    Sub-agents are always let in and take no place: the program that started them has one.
    """

    def __init__(self, size: float) -> None:
        self.size = size
        """Number of places; a fraction of a place does not count."""
        self.active: set[ProgramView] = set()

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        """Return whether the turn's program has a place or can get one."""
        return turn.program in self.active or len(self.active) < int(self.size)

    def turn_admitted(self, turn: TurnView, cached_tokens: int, moment: Moment) -> None:
        """Give the program a place."""
        if turn.program.parent is None:
            self.active.add(turn.program)

    def turn_ended(self, program: ProgramView, moment: Moment) -> None:
        """Take the program's place away if too many are active."""
        if len(self.active) > int(self.size):
            self.active.discard(program)

    def program_left(self, program: ProgramView) -> None:
        """Free the program's place."""
        self.active.discard(program)

    def grow(self, step: float, programs: int) -> None:
        """Widen the window, but not beyond the number of programs, where it would hold none of them back."""
        self.size = max(self.size, min(self.size + step, programs))

    def shrink(self, factor: float) -> None:
        """Multiply the window by `factor`, keeping at least one place."""
        self.size = max(1.0, self.size * factor)
