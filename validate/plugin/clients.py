"""What happens on a real engine but not in a trace: clients vanish, send overlapping turns, or give no program id."""

from __future__ import annotations

from typing import Any

from continuum_sim.policies import Decision
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.views import ProgramView, TurnView


class Clients:
    """Reports to a governor the turns of programs, any of which may never come back."""

    def __init__(self, governor: Governor, forget_after_s: float) -> None:
        self._governor = governor
        self._forget_after_s = forget_after_s
        self._seen_s: dict[str, float] = {}
        """When each program was last heard from, longest ago first."""

    def __len__(self) -> int:
        return len(self._seen_s)

    def turn_arrived(self, program_id: str, prompt_tokens: int, now_s: float, parent: str | None = None) -> TurnView:
        """Report a turn that arrives while no other turn of its program waits or runs."""
        turn = self._governor.turn_arrived(program_id, prompt_tokens, now_s, parent)
        self._heard_of(program_id, now_s)
        return turn

    def turn_ended(self, turn: TurnView, *, now_s: float, **outcome: Any) -> Decision:
        """Report the end of a turn; returns what happens to its blocks."""
        decision = self._governor.turn_ended(turn, now_s=now_s, **outcome)
        self._heard_of(turn.program.program_id, now_s)
        return decision

    def turn_aborted(self, turn: TurnView, now_s: float) -> None:
        """Report that a turn was aborted."""
        self._governor.turn_aborted(turn, now_s)
        self._heard_of(turn.program.program_id, now_s)

    def is_busy(self, program_id: str) -> bool:
        """Return whether a turn of this program waits or runs."""
        program = self._governor.programs.get(program_id)
        return program is not None and program.turn is not None

    def turn_beside(self, program_id: str, prompt_tokens: int, now_s: float) -> TurnView:
        """Return a view of a turn that arrives while another turn of its program waits or runs.

        It has the program's place in the queue, but neither takes over a pin nor leaves one.
        """
        program = self._governor.programs[program_id]
        return TurnView(program, program.turns_done, now_s, prompt_tokens)

    def is_stranger(self, program: ProgramView) -> bool:
        """Return whether this view stands for a request without a program."""
        return self._governor.programs.get(program.program_id) is not program

    def pause_start_s(self, program_id: str) -> float:
        """Return when the program's latest turn ended, if it is in a tool call; else 0."""
        program = self._governor.programs.get(program_id)
        return 0.0 if program is None or program.turn_end_s is None else program.turn_end_s

    def tool_was(self, program_id: str, tool: str | None) -> None:
        """Record which tool the program called since its latest turn; call this before the next turn arrives."""
        program = self._governor.programs.get(program_id)
        if program is not None and tool is not None:
            program.last_tool = tool

    def forget_idle(self, now_s: float) -> None:
        """Treat programs that have not been heard from for `forget_after_s` as ended."""
        while self._seen_s:
            name, seen_s = next(iter(self._seen_s.items()))
            if now_s - seen_s < self._forget_after_s:
                break
            if not self.is_busy(name):
                program = self._governor.programs[name]
                self._governor.program_forgotten(program, now_s)
            self._heard_of(name, now_s)

    def _heard_of(self, program_id: str, now_s: float) -> None:
        self._seen_s.pop(program_id, None)
        if program_id in self._governor.programs:
            self._seen_s[program_id] = now_s
