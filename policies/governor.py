"""The host-neutral half of running a policy: views, history, pins and their counts.

The simulator and the vLLM plug-in both tell a `Governor` what happens and do what it answers, so that a rule
behaves the same in both. It decides nothing by itself except what keeps the engine alive.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from continuum_sim.policies.history import History
from continuum_sim.policies.planes import Decision, Fate, PinFor, Policy
from continuum_sim.policies.views import EngineView, Foresight, Moment, Pin, ProgramView, TurnView

SAME_INSTANT_S = 1e-9
"""Two times nearer than this are the same instant: sums of step times differ in their last bits."""

LogDecision = Callable[[float, str, int, str, dict[str, Any]], None]
"""Called with (time in s, program, turn index, event, detail) for every decision."""


@dataclass(slots=True)
class PolicyCounts:
    """What the policy did, for the summary."""

    pins_made: int = 0
    pins_hit: int = 0
    pins_expired: int = 0
    pins_broken: int = 0
    pinned_block_seconds: float = 0.0
    evictions: int = 0
    reorders: int = 0
    holds: int = 0


class Governor:
    """Keeps a policy's view of the world and its pins for one engine."""

    def __init__(self, policy: Policy, engine: EngineView, log: LogDecision | None = None) -> None:
        self.policy = policy
        self.engine = engine
        self.history = History()
        self.counts = PolicyCounts()
        self.programs: dict[str, ProgramView] = {}
        self._log = log
        self._seen = 0
        self._pinned: list[ProgramView] = []
        self._expiries: list[tuple[float, int, Pin]] = []
        self._by_seq: dict[int, ProgramView] = {}
        period_s = policy.admission.period_s
        self._next_tick_s = math.inf if period_s is None else period_s

    # What happens, told by the host ---------------------------------------------------------------

    def turn_arrived(self, program_id: str, prompt_tokens: int, now_s: float) -> TurnView:
        """Take note of a new turn; a program not seen before starts with it."""
        program = self.programs.get(program_id)
        if program is None:
            program = ProgramView(program_id, now_s, self._seen)
            self.programs[program_id] = program
            self._seen += 1
        elif program.turn_end_s is not None:
            self.history.tool_returned(program.last_tool, now_s - program.turn_end_s)
            program.turn_end_s = None
        turn = TurnView(program, program.turns_done, now_s, prompt_tokens, program.pin is not None)
        if self._log:
            self._log(now_s, program_id, turn.index, "arrive", {"prompt_tokens": prompt_tokens})
        return turn

    def turn_admitted(self, turn: TurnView, cached_tokens: int, now_s: float) -> None:
        """Take note that a turn entered the batch; its program's pin, if any, ends here."""
        program = turn.program
        if turn.admitted_s is None:
            turn.admitted_s = now_s
            if turn.index and not turn.arrived_pinned:
                self.history.unpinned_turn_waited(now_s - turn.arrival_s)
        if program.pin is not None:
            self.counts.pins_hit += 1
            self._end_pin(program, now_s)
        turn.preempted = False
        if self._log:
            self._log(now_s, program.program_id, turn.index, "admit", {"cached_tokens": cached_tokens})

    def turn_preempted(self, turn: TurnView, now_s: float) -> None:
        """Take note that a running turn lost its blocks and waits again."""
        turn.preempted = True
        if self._log:
            self._log(now_s, turn.program.program_id, turn.index, "preempt", {})

    def turn_ended(
        self,
        turn: TurnView,
        *,
        context_tokens: int,
        computed_tokens: int,
        tool: str | None,
        last: bool,
        blocks: int,
        now_s: float,
        foresight: Foresight | None = None,
    ) -> Decision:
        """Take note of a finished turn and say what becomes of its blocks (a pin is entered at once).

        Parameters
        ----------
        context_tokens, computed_tokens
            Prompt plus output of this turn; tokens the engine computed for it.
        blocks
            Blocks the turn holds now.
        foresight
            Given by the simulator to oracles alone.
        """
        program = turn.program
        program.turns_done += 1
        program.context_tokens = context_tokens
        program.attained_tokens += computed_tokens
        program.last_tool = tool
        program.foresight = foresight
        if last:
            self.history.turn_counts.add(program.turns_done)
            del self.programs[program.program_id]
            keeps_nothing = self.policy.retention.keeps_nothing
            decision: Decision = Fate.EVICT if keeps_nothing else Fate.RELEASE
        else:
            program.turn_end_s = now_s
            decision = self.policy.retention.at_turn_end(program, self._moment(now_s))
        if isinstance(decision, PinFor):
            if decision.ttl_s > 0 and blocks:
                self._start_pin(program, decision.ttl_s, blocks, now_s)
            else:
                decision = Fate.RELEASE
        elif decision is Fate.EVICT:
            self.counts.evictions += 1
        if self._log:
            detail: dict[str, Any] = {"last": last, "tool": tool}
            if isinstance(decision, PinFor):
                detail["ttl_s"] = decision.ttl_s
            event = "pin" if isinstance(decision, PinFor) else decision.value
            self._log(now_s, program.program_id, turn.index, event, detail)
        return decision

    # What to do, asked by the host ----------------------------------------------------------------

    def begin_step(self, now_s: float) -> list[ProgramView]:
        """Programs whose pins expire with this scheduler step (none whose next turn already waits)."""
        if now_s + SAME_INSTANT_S >= self._next_tick_s:
            self._tick(now_s)
        if not self._expiries or now_s < self._expiries[0][0] + SAME_INSTANT_S:
            return []
        expired = []
        while self._expiries and now_s >= self._expiries[0][0] + SAME_INSTANT_S:
            _, seq, pin = heapq.heappop(self._expiries)
            program = self._by_seq.get(seq)
            if program is None or program.pin is not pin or program.turn_end_s is None:
                continue
            self.counts.pins_expired += 1
            self._end_pin(program, now_s)
            expired.append(program)
            if self._log:
                self._log(now_s, program.program_id, program.turns_done - 1, "expire", {})
        return expired

    def pin_to_break(self, head: TurnView, now_s: float) -> ProgramView | None:
        """End one pin because `head` does not fit; None if none may be broken now."""
        pinned = self._pinned
        if head.program.pin is not None:
            pinned = [p for p in pinned if p is not head.program]
        program = self.policy.retention.pin_to_break(pinned, head, self._moment(now_s)) if pinned else None
        if program is None:
            if self.engine.num_running:
                return None
            # Or the engine would stand still for good. The head's own pin goes last: it may hold blocks that the
            # head does not hit, where an older copy of the same content answers.
            program = pinned[-1] if pinned else head.program
            if program.pin is None:
                return None
        self.counts.pins_broken += 1
        self._end_pin(program, now_s)
        if self._log:
            detail = {"for": head.program.program_id}
            self._log(now_s, program.program_id, program.turns_done - 1, "break", detail)
        return program

    def allows(self, turn: TurnView, now_s: float) -> bool:
        """Whether the gate lets this waiting turn be tried."""
        if self.policy.admission.allows(turn, self._moment(now_s)):
            return True
        self.counts.holds += 1
        return False

    def next_event_s(self) -> float:
        """Earliest time at which this policy changes something by itself (expiry, tick); may be infinite."""
        expiries = self._expiries
        while expiries:
            expires_s, seq, pin = expiries[0]
            program = self._by_seq.get(seq)
            if program is not None and program.pin is pin and program.turn_end_s is not None:
                return min(expires_s + SAME_INSTANT_S, self._next_tick_s)
            heapq.heappop(expiries)
        return self._next_tick_s

    @property
    def has_pins(self) -> bool:
        """Whether any context is pinned."""
        return bool(self._pinned)

    # Pins ---------------------------------------------------------------------------------------------

    def _start_pin(self, program: ProgramView, ttl_s: float, blocks: int, now_s: float) -> None:
        program.pin = Pin(now_s + ttl_s, blocks, now_s)
        insort(self._pinned, program, key=_arrival)
        self._by_seq[program.seq] = program
        if ttl_s < math.inf:
            heapq.heappush(self._expiries, (program.pin.expires_s, program.seq, program.pin))
        self.counts.pins_made += 1

    def pin_shrunk(self, program: ProgramView, blocks: int, now_s: float) -> None:
        """Take note that part of a pin was freed: its program's next turn waits and can use only `blocks`."""
        pin = program.pin
        assert pin is not None
        self.counts.pinned_block_seconds += pin.blocks * (now_s - pin.made_s)
        program.pin = Pin(pin.expires_s, blocks, now_s)

    def _end_pin(self, program: ProgramView, now_s: float) -> None:
        assert program.pin is not None
        self.counts.pinned_block_seconds += program.pin.blocks * (now_s - program.pin.made_s)
        program.pin = None
        self._pinned.remove(program)
        del self._by_seq[program.seq]

    def _tick(self, now_s: float) -> None:
        period_s = self.policy.admission.period_s
        assert period_s is not None
        while self._next_tick_s <= now_s + SAME_INSTANT_S:
            self._next_tick_s += period_s
        self.policy.admission.tick(list(self.programs.values()), self._moment(now_s))

    def _moment(self, now_s: float) -> Moment:
        return Moment(now_s, self.engine, self.history)


def _arrival(program: ProgramView) -> int:
    return program.seq
