"""A governor for a real engine: besides what can happen in a trace, clients vanish, overlap and have no name."""

from __future__ import annotations

import math
from typing import Any

from continuum_sim.policies import Decision, Policy
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.host.log import LogDecision
from continuum_sim.policies.views import EngineView, ProgramView, TurnView


class LiveGovernor(Governor):
    """Keeps a policy's view of one engine's programs, of which any may stay away for good."""

    def __init__(
        self,
        policy: Policy,
        engine: EngineView,
        log: LogDecision | None = None,
        forget_after_s: float = math.inf,
    ) -> None:
        super().__init__(policy, engine, log)
        self._forget_after_s = forget_after_s
        self._aborted: set[str] = set()
        """Programs whose latest turn was given up, so that their pause says nothing about a tool."""
        self._seen_s: dict[str, float] = {}
        """When each program was last heard of, longest ago first."""

    def turn_arrived(self, program_id: str, prompt_tokens: int, now_s: float, parent: str | None = None) -> TurnView:
        """As in the simulator."""
        if program_id in self._aborted:
            self._aborted.remove(program_id)
            self.programs[program_id].turn_end_s = None
        turn = super().turn_arrived(program_id, prompt_tokens, now_s, parent)
        self._heard_of(program_id, now_s)
        return turn

    def turn_ended(self, turn: TurnView, **outcome: Any) -> Decision:
        """As in the simulator."""
        decision = super().turn_ended(turn, **outcome)
        self._heard_of(turn.program.program_id, outcome["now_s"])
        return decision

    def turn_aborted(self, turn: TurnView, now_s: float) -> bool:
        """Take note that a turn will not end; tells whether its program's pin ends with it.

        The program may come back with the same turn (a client that tries again) and keeps its place until it is
        forgotten. A pin left from before would stay without expiry, as its turn counts as waiting, so it ends.
        """
        program = turn.program
        unpinned = program.pin is not None
        if unpinned:
            self.pins.break_pin(program, now_s)
        if turn.running:
            program.service_s += now_s - turn.since_s
        program.turn = None
        self.log.aborted(turn, unpinned, now_s)
        if program.turns_done:
            program.turn_end_s = now_s
            self._aborted.add(program.program_id)
            if self._gated:
                self._gate.turn_ended(program, self._moment(now_s))
        else:
            self.program_left(program)
        self._heard_of(program.program_id, now_s)
        return unpinned

    def is_busy(self, program_id: str) -> bool:
        """Whether a turn of this program waits or runs."""
        program = self.programs.get(program_id)
        return program is not None and program.turn is not None

    def turn_beside(self, program_id: str, prompt_tokens: int, now_s: float) -> TurnView:
        """Give a view of a turn that arrives while another of its program is under way.

        It has the program's place in the queue, but neither takes over a pin nor leaves one.
        """
        program = self.programs[program_id]
        return TurnView(program, program.turns_done, now_s, prompt_tokens)

    def stranger(self, name: str, prompt_tokens: int, now_s: float) -> TurnView:
        """Give a view of a request without a program: a job of its own that leaves no trace in the history."""
        program = ProgramView(name, now_s, next(self._seen))
        return TurnView(program, 0, now_s, prompt_tokens)

    def is_stranger(self, program: ProgramView) -> bool:
        """Whether this stands for a request without a program."""
        return self.programs.get(program.program_id) is not program

    def pause_start_s(self, program_id: str) -> float:
        """When the program's latest turn ended, if it is in a tool call; else 0."""
        program = self.programs.get(program_id)
        return 0.0 if program is None or program.turn_end_s is None else program.turn_end_s

    def tool_was(self, program_id: str, tool: str | None) -> None:
        """Take note, before a turn arrives, of the tool that was called in between, told only now."""
        program = self.programs.get(program_id)
        if program is not None and tool is not None:
            program.last_tool = tool

    def drop_pins(self, now_s: float) -> list[ProgramView]:
        """End every pin because the cache is worthless from now on; returns the programs that were pinned."""
        dropped = list(self.pins.pinned)
        for program in dropped:
            self.pins.break_pin(program, now_s)
            self.log.unpinned(program, "cache reset", now_s)
        return dropped

    def forget_idle(self, now_s: float) -> list[ProgramView]:
        """Take the programs not heard of for long as ended; returns those that were still pinned."""
        pinned = []
        while self._seen_s:
            name, seen_s = next(iter(self._seen_s.items()))
            if now_s - seen_s < self._forget_after_s:
                break
            if not self.is_busy(name):
                program = self.programs[name]
                if self._forget(program, now_s):
                    pinned.append(program)
                self.program_left(program)
            self._heard_of(name, now_s)
        return pinned

    def _forget(self, program: ProgramView, now_s: float) -> bool:
        """End an idle program; tells whether it was pinned."""
        self.history.turn_counts.add(program.turns_done)
        self._aborted.discard(program.program_id)
        pinned = program.pin is not None
        if pinned:
            self.counts.pins_expired += 1
            self.pins.end(program, now_s)
        self.log.forgotten(program, pinned, now_s)
        return pinned

    def _heard_of(self, program_id: str, now_s: float) -> None:
        self._seen_s.pop(program_id, None)
        if program_id in self.programs:
            self._seen_s[program_id] = now_s
