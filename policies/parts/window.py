"""A window of active programs: the gate that `session-gate`, `concur` and `mars` share."""

from __future__ import annotations

from continuum_sim.policies.planes import Gate
from continuum_sim.policies.views import Moment, ProgramView, TurnView


class Window(Gate):
    """Lets at most `size` programs be active at once.

    A program becomes active when a turn of it enters the batch and stays so through its tool calls. It stops
    when it ends, and, should the window have shrunk below the number of active programs, at the end of a turn:
    it then queues for a place like a new program. An idle engine always admits one, as `size` is at least 1.
    Sub-agents go with the program that started them: they are let in, and take no place.
    """

    def __init__(self, size: float) -> None:
        self.size = size
        """Places; a fraction of one is none."""
        self.active: set[ProgramView] = set()

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        """Tell whether the turn's program has a place or finds one."""
        return turn.program in self.active or len(self.active) < int(self.size)

    def turn_admitted(self, turn: TurnView, cached_tokens: int, moment: Moment) -> None:
        """Give the program a place."""
        if turn.program.parent is None:
            self.active.add(turn.program)

    def turn_ended(self, program: ProgramView, moment: Moment) -> None:
        """Take the place away if there are too many."""
        if len(self.active) > int(self.size):
            self.active.discard(program)

    def program_left(self, program: ProgramView) -> None:
        """Take the place back."""
        self.active.discard(program)

    def grow(self, step: float, programs: int) -> None:
        """Widen the window, yet not beyond the number of programs there are: it would bind nobody."""
        self.size = max(self.size, min(self.size + step, programs))

    def shrink(self, factor: float) -> None:
        """Narrow the window to so much of itself, at least one place."""
        self.size = max(1.0, self.size * factor)
