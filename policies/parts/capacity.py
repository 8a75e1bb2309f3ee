"""A gate that pauses whole programs so that the contexts of the rest fit; `thunderagent` and `mori` share it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.planes import Gate, check_period
from continuum_sim.policies.views import Moment, ProgramView, TurnView


class CapacityGate(Gate, ABC):
    """Pauses programs so that the contexts of the others fit into the KV cache.

    A program is paused between turns: at once if its tool runs, else when its current turn has ended (it is marked
    until then). Its next turn is held until a tick finds room for its context. A new program starts at once if no
    other is paused and it fits; otherwise it is paused and queues with the others. Subclasses say how much a program
    counts and which is paused first. If no program is active, the first in line resumes even if it does not fit.
    Sub-agents count but are never paused, because the program that started them waits for them.
    """

    def __init__(self, period_s: float, buffer_tokens: int) -> None:
        self.period_s = period_s
        self._buffer_tokens = buffer_tokens
        self._programs: dict[ProgramView, None] = {}
        self._marked: set[ProgramView] = set()

    # What subclasses decide -------------------------------------------------------------------------------

    def weight(self, program: ProgramView, now_s: float) -> float:
        """Return the share of an active program's context that counts."""
        return 1.0

    @abstractmethod
    def pause_rank(self, program: ProgramView, now_s: float) -> Any:
        """Return the sort key of an active program; the smallest is paused first."""

    # What happens -----------------------------------------------------------------------------------------

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        """Hold the turns of paused programs."""
        return not turn.program.paused

    def turn_arrived(self, turn: TurnView, moment: Moment) -> None:
        """Let a new program start, or pause it."""
        program = turn.program
        if program in self._programs:
            return
        waiting = any(other.paused for other in self._programs)
        room = _capacity(moment) - self.used(self._programs, moment.now_s)
        crowded = bool(self._programs) and (waiting or self._need(program) > room)
        program.paused = crowded and program.parent is None
        self._programs[program] = None

    def turn_ended(self, program: ProgramView, moment: Moment) -> None:
        """Pause the program if it was marked."""
        if program in self._marked:
            self._marked.discard(program)
            program.paused = True

    def program_left(self, program: ProgramView) -> None:
        """Forget the program."""
        self._programs.pop(program, None)
        self._marked.discard(program)

    def tick(self, programs: Sequence[ProgramView], moment: Moment) -> None:
        """Resume the programs that fit, then pause programs until the rest fits."""
        self._resume(moment)
        self._pause(moment)

    # Capacity ---------------------------------------------------------------------------------------------

    def used(self, programs: Iterable[ProgramView], now_s: float) -> float:
        """Return the tokens that the active ones among these programs count for, including buffers."""
        return sum(self._counted(p, now_s) for p in programs if not p.paused)

    def _counted(self, program: ProgramView, now_s: float) -> float:
        return self.weight(program, now_s) * context_tokens(program) + self._buffer_tokens

    def _need(self, program: ProgramView) -> int:
        return context_tokens(program) + self._buffer_tokens

    def _resume(self, moment: Moment) -> None:
        """Resume programs with a waiting turn, then new ones, then those in tool calls; each group smallest first."""
        paused = [p for p in self._programs if p.paused]
        if not paused:
            return
        room = _capacity(moment) - self.used(self._programs, moment.now_s)
        idle = len(paused) == len(self._programs)
        for program in sorted(paused, key=_resume_rank):
            if self._need(program) <= room or idle:
                program.paused = idle = False
                room -= self._need(program)

    def _pause(self, moment: Moment) -> None:
        now_s = moment.now_s
        active = [p for p in self._programs if not p.paused and p not in self._marked]
        used = sum(self._counted(p, now_s) for p in active)
        active = [p for p in active if p.parent is None]
        active.sort(key=lambda p: self.pause_rank(p, now_s))
        for program in active[:-1]:  # the last one always goes on
            if used <= _capacity(moment):
                break
            used -= self._counted(program, now_s)
            if program.turn is None:
                program.paused = True
            else:
                self._marked.add(program)


def context_tokens(program: ProgramView) -> int:
    """Return a program's context tokens: those of its latest turn, or of its current prompt if that is longer."""
    prompt = program.turn.prompt_tokens if program.turn is not None else 0
    return max(program.context_tokens, prompt)


def _capacity(moment: Moment) -> int:
    return moment.engine.total_blocks * moment.engine.block_size


def _resume_rank(program: ProgramView) -> tuple[int, int, int]:
    group = 1 if not program.turns_done else 0 if program.turn is not None else 2
    return group, context_tokens(program), program.seq


def check_capacity(period_s: float, buffer_tokens: int) -> None:
    """Refuse settings that a capacity gate cannot work with.

    Raises
    ------
    PolicyError
        Naming the setting and what was expected.
    """
    check_period(period_s)
    if buffer_tokens < 0:
        raise PolicyError(f"buffer_tokens is {buffer_tokens}, expected 0 or more")
