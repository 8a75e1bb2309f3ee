"""The host-neutral half of running a policy: views, history, pins and their counts.

The simulator and the vLLM plug-in both tell a `Governor` what happens and do what it answers, so that a rule
behaves the same in both. It decides nothing by itself except what keeps the engine alive.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from continuum_sim.policies.history import History
from continuum_sim.policies.instants import EARLY_S, LATE_S, SAME_INSTANT_S
from continuum_sim.policies.planes import Decision, Fate, PinFor, Policy, Review, check_period
from continuum_sim.policies.views import EngineView, Foresight, Moment, Pin, ProgramView, TurnView

LogDecision = Callable[[float, str, int, str, dict[str, Any]], None]
"""Called with (time in s, program, turn index, event, detail) for every decision."""

OnRecall = Callable[[ProgramView, float], int | None]
"""Called with (program, time in s) for every context that shall come back from host memory; returns its blocks (0 if
nothing is left of it), or None for lack of room."""

OnOffload = Callable[[ProgramView, float], None]
"""Called with (program, time in s) for every pinned context that goes to host memory, before its pin ends."""

_Expiry = tuple[float, int, int, Pin]
"""(time in s, program's seq, running number, pin)."""


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
    """Turns that the gate held back at least once."""
    offloads: int = 0
    """Contexts that the retention rule sent to host memory."""
    recalls: int = 0
    """Contexts that it brought back ahead of the program's next turn."""
    pins_moved: int = 0
    """Pins that ended because a router sent their program's next turn to another engine."""


class Governor:
    """Keeps a policy's view of the world and its pins for one engine.

    Parameters
    ----------
    sibling
        Governor of another engine of the same cluster, to number programs and learn about tools with.
    """

    def __init__(
        self,
        policy: Policy,
        engine: EngineView,
        log: LogDecision | None = None,
        sibling: Governor | None = None,
    ) -> None:
        self.policy = policy
        self.engine = engine
        self.history: History = History(None if sibling is None else sibling.history)
        self.counts = PolicyCounts()
        self.programs: dict[str, ProgramView] = {}
        self._log = log
        self._seen: Iterator[int] = count() if sibling is None else sibling._seen
        self._pinned: list[ProgramView] = []
        self._expiries: list[_Expiry] = []
        self._pushed = 0
        self._by_seq: dict[int, ProgramView] = {}
        self._gated = policy.admission.gated
        self._reviews = policy.retention.reviews
        self._gate = policy.admission.start()
        period_s = self._gate.period_s
        if period_s is not None:
            check_period(period_s)
        self._next_tick_s = math.inf if period_s is None else period_s
        self._review_s = math.inf
        """When the retention's review may come to another answer."""
        self._away: dict[ProgramView, None] = {}
        """Programs in tool calls whose contexts the retention rule offloaded, if it recalls any."""
        self._recall_s = math.inf
        """When the rule may want one of them back."""

    # What happens, told by the host ---------------------------------------------------------------

    def turn_arrived(self, program_id: str, prompt_tokens: int, now_s: float, parent: str | None = None) -> TurnView:
        """Take note of a new turn; a program not seen before starts with it, as a sub-agent of `parent` if given."""
        program = self.programs.get(program_id)
        if program is None:
            program = ProgramView(program_id, now_s, next(self._seen), parent=parent)
            self.programs[program_id] = program
        elif program.turn_end_s is not None:
            gap_s = now_s - program.turn_end_s
            self.history.tool_returned(program.last_tool, gap_s)
            program.cycles.append((program.last_service_s, gap_s))
            program.turn_end_s = None
            self._away.pop(program, None)
        turn = TurnView(program, program.turns_done, now_s, prompt_tokens, program.pin is not None)
        program.turn = turn
        if self._log:
            self._log(now_s, program_id, turn.index, "arrive", {"prompt_tokens": prompt_tokens})
        if self._gated:
            self._gate.turn_arrived(turn, self._moment(now_s))
        return turn

    def turn_admitted(self, turn: TurnView, cached_tokens: int, now_s: float) -> bool:
        """Take note that a turn entered the batch; tells whether its program had a pin that ends with this."""
        program = turn.program
        if turn.admitted_s is None:
            turn.admitted_s = now_s
            if turn.index and not turn.arrived_pinned:
                self.history.unpinned_turn_waited(now_s - turn.arrival_s)
        program.waited_s += now_s - turn.since_s
        turn.since_s = now_s
        turn.preempted = False
        ends = program.pin is not None and self._admitted_on_pin(program, now_s)
        if self._log:
            self._log(now_s, program.program_id, turn.index, "admit", {"cached_tokens": cached_tokens})
        if self._gated:
            self._gate.turn_admitted(turn, cached_tokens, self._moment(now_s))
        return ends

    def turn_reloads(self, turn: TurnView, tokens: int, now_s: float) -> None:
        """Take note that a turn just admitted waits for so many tokens of its context from a lower memory tier."""
        if self._log:
            self._log(now_s, turn.program.program_id, turn.index, "reload", {"tokens": tokens})

    def turn_preempted(self, turn: TurnView, now_s: float) -> None:
        """Take note that a running turn lost its blocks and waits again."""
        turn.preempted = True
        ran_s = now_s - turn.since_s
        turn.service_s += ran_s
        turn.program.service_s += ran_s
        turn.since_s = now_s
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
        ran_s = now_s - turn.since_s
        program.service_s += ran_s
        program.last_service_s = turn.service_s + ran_s
        program.turn = None
        if program.pin is not None:
            self._end_pin(program, now_s)  # one that outlasted the admission of this turn
        program.turns_done += 1
        program.context_tokens = context_tokens
        program.attained_tokens += computed_tokens
        program.last_tool = tool
        program.foresight = foresight
        if last:
            self.history.turn_counts.add(program.turns_done)
            self.program_left(program)
            keeps_nothing = self.policy.retention.keeps_nothing
            decision: Decision = Fate.EVICT if keeps_nothing else Fate.RELEASE
        else:
            program.turn_end_s = now_s
            moment = self._moment(now_s)
            if self._gated:
                self._gate.turn_ended(program, moment)
            decision = self.policy.retention.at_turn_end(program, moment)
        if isinstance(decision, PinFor):
            if decision.ttl_s > 0 and blocks:
                self._start_pin(program, decision.ttl_s, blocks, now_s)
            else:
                decision = Fate.RELEASE
        elif decision is Fate.EVICT:
            self.counts.evictions += 1
        elif decision is Fate.OFFLOAD:
            self._went(program)
        if self._log:
            detail: dict[str, Any] = {"last": last, "tool": tool}
            if isinstance(decision, PinFor):
                detail["ttl_s"] = decision.ttl_s
            event = "pin" if isinstance(decision, PinFor) else decision.value
            self._log(now_s, program.program_id, turn.index, event, detail)
        return decision

    def program_left(self, program: ProgramView) -> None:
        """Take note that a program has ended, or that nothing more is expected of it."""
        del self.programs[program.program_id]
        self._away.pop(program, None)
        if self._gated:
            self._gate.program_left(program)

    def hand_over(self, program_id: str, to: int, now_s: float) -> ProgramView:
        """Let a program go whose next turn a router sends to another engine; a pin it has here ends.

        What the policy knows of the program goes with it: its service, its waits, its tool call.
        """
        program = self.programs[program_id]
        if program.pin is not None:
            self.counts.pins_moved += not program.pin.hit
            self._end_pin(program, now_s)
        self.program_left(program)
        program.paused = False
        if self._log:
            self._log(now_s, program_id, program.turns_done - 1, "move", {"to": to})
        return program

    def take_over(self, program: ProgramView) -> None:
        """Take in a program that another engine handed over; its next turn arrives now."""
        self.programs[program.program_id] = program

    # What to do, asked by the host ----------------------------------------------------------------

    def begin_step(self, now_s: float, offload: OnOffload | None = None) -> Sequence[ProgramView]:
        """Programs whose pins end with this scheduler step: those that expire (none whose next turn already
        waits) and those the policy gives up, or sends to host memory: `offload` is told of these first.
        """
        if now_s >= self._next_tick_s - EARLY_S:
            self._tick(now_s)
        expiries = self._expiries
        if not self._reviews and not (expiries and now_s >= expiries[0][0] + LATE_S):
            return ()
        ended: list[ProgramView] = []
        while expiries and now_s >= expiries[0][0] + LATE_S:
            program = self._of_expiry(heapq.heappop(expiries))
            if program is not None:
                self._expire(program, now_s)
                ended.append(program)
        if self._reviews:
            review = self._review(now_s)
            for program in review.offload:
                if offload is not None:
                    offload(program, now_s)
                self._went(program)
                self._end_pin(program, now_s)
                if self._log:
                    self._log(now_s, program.program_id, program.turns_done - 1, "offload", {})
                ended.append(program)
            for program in review.give_up:
                self._expire(program, now_s)
                ended.append(program)
        return ended

    def recall(self, now_s: float, bring: OnRecall) -> bool:
        """Ask which contexts are to come back from host memory, after the pins that end with this step have ended.

        Tells whether any began to.
        """
        self._recall_s = math.inf
        if not self._away:
            return False
        recalls_before = self.counts.recalls
        recall = self.policy.retention.recall(list(self._away), self._moment(now_s))
        self._recall_s = recall.again_s
        for program in recall.bring:
            blocks = bring(program, now_s)
            if blocks is None:
                continue
            del self._away[program]
            if blocks:
                self.counts.recalls += 1
                if self._log:
                    self._log(now_s, program.program_id, program.turns_done - 1, "recall", {"blocks": blocks})
        return self.counts.recalls > recalls_before

    def context_back(self, program: ProgramView, blocks: int, now_s: float) -> None:
        """Take note that a context that was recalled has come: it is pinned now."""
        self._start_pin(program, math.inf, blocks, now_s)
        if self._log:
            self._log(now_s, program.program_id, program.turns_done - 1, "pin", {"ttl_s": math.inf})

    def pin_to_break(self, head: TurnView, now_s: float) -> ProgramView | None:
        """End one pin because `head` does not fit; None if none may be broken now."""
        pinned = self._pinned
        if self.policy.retention.outlasts_admission:
            # What a running turn shares with its program's old pin would not be freed.
            pinned = [p for p in pinned if p is not head.program and not (p.turn and p.turn.running)]
        elif head.program.pin is not None:
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
        self.counts.pins_broken += not program.pin.hit
        self._end_pin(program, now_s)
        if self._log:
            detail = {"for": head.program.program_id}
            self._log(now_s, program.program_id, program.turns_done - 1, "break", detail)
        return program

    def allows(self, turn: TurnView, now_s: float) -> bool:
        """Whether the gate lets this waiting turn be tried; it is not asked about sub-agents.

        The program that started one was let in and waits for it with its place: kept out, both would wait for ever.
        """
        if turn.program.parent is not None or self._gate.allows(turn, self._moment(now_s)):
            return True
        if not turn.held:
            turn.held = True
            self.counts.holds += 1
            if self._log:
                self._log(now_s, turn.program.program_id, turn.index, "hold", {})
        return False

    def next_event_s(self) -> float:
        """Earliest time at which this policy changes something by itself; may be infinite.

        That is an expiry, a tick of its gate or another outcome of its review.
        """
        own_s = min(self._next_tick_s - EARLY_S, self._review_s, self._recall_s - EARLY_S)
        return min(self._next_expiry_s() + LATE_S, own_s) if self._expiries else own_s

    def next_event_after_s(self, now_s: float) -> float:
        """When to take a step for what this policy changes by itself next; may be infinite.

        As `next_event_s`, but past the edge of its instant, and without what was due by now and has had its answer.
        """
        own_s = (self._next_tick_s - SAME_INSTANT_S, self._review_s, self._recall_s - SAME_INSTANT_S)
        expiry_s = self._next_expiry_s() + SAME_INSTANT_S
        return min((at_s for at_s in (*own_s, expiry_s) if at_s > now_s), default=math.inf)

    def _next_expiry_s(self) -> float:
        expiries = self._expiries
        while expiries:
            if self._of_expiry(expiries[0]) is not None:
                return expiries[0][0]
            heapq.heappop(expiries)
        return math.inf

    @property
    def recalls(self) -> bool:
        """Whether contexts are away that the retention rule may want back."""
        return self.policy.retention.recalls and bool(self._away)

    @property
    def recall_s(self) -> float:
        """When the rule may want one of them back, as it said when last asked; may be infinite."""
        return self._recall_s if self._away else math.inf

    @property
    def has_pins(self) -> bool:
        """Whether any context is pinned."""
        return bool(self._pinned)

    @property
    def reviews(self) -> bool:
        """Whether the retention rule thinks about contexts that are pinned or away: then whatever happens matters."""
        return (self._reviews and bool(self._pinned)) or self.recalls

    # Pins ---------------------------------------------------------------------------------------------

    def _start_pin(self, program: ProgramView, ttl_s: float, blocks: int, now_s: float) -> None:
        program.pin = Pin(now_s + ttl_s, blocks, now_s)
        insort(self._pinned, program, key=_arrival)
        self._by_seq[program.seq] = program
        self._push_expiry(program, program.pin)
        self.counts.pins_made += 1

    def _admitted_on_pin(self, program: ProgramView, now_s: float) -> bool:
        """Count a hit; tells whether the pin ends with it."""
        pin = program.pin
        assert pin is not None
        self.counts.pins_hit += not pin.hit
        if not self.policy.retention.outlasts_admission:
            self._end_pin(program, now_s)
            return True
        program.pin = pin = pin._replace(hit=True)
        self._push_expiry(program, pin)
        return False

    def _push_expiry(self, program: ProgramView, pin: Pin) -> None:
        if pin.expires_s < math.inf:
            self._pushed += 1
            heapq.heappush(self._expiries, (pin.expires_s, program.seq, self._pushed, pin))

    def _of_expiry(self, entry: _Expiry) -> ProgramView | None:
        """Program that an entry of the heap is about, unless the pin is gone or its next turn waits."""
        program = self._by_seq.get(entry[1])
        if program is None or program.pin is not entry[3]:
            return None
        return program if program.turn_end_s is not None or (program.turn and program.turn.running) else None

    def _expire(self, program: ProgramView, now_s: float) -> None:
        self.counts.pins_expired += not (program.pin and program.pin.hit)
        self._end_pin(program, now_s)
        if self._log:
            self._log(now_s, program.program_id, program.turns_done - 1, "expire", {})

    def pin_shrunk(self, program: ProgramView, blocks: int, now_s: float) -> None:
        """Take note that part of a pin was freed: its program's next turn waits and can use only `blocks`."""
        pin = program.pin
        assert pin is not None
        self.counts.pinned_block_seconds += pin.blocks * (now_s - pin.made_s)
        program.pin = Pin(pin.expires_s, blocks, now_s, pin.hit)

    def _end_pin(self, program: ProgramView, now_s: float) -> None:
        assert program.pin is not None
        self.counts.pinned_block_seconds += program.pin.blocks * (now_s - program.pin.made_s)
        program.pin = None
        self._pinned.remove(program)
        del self._by_seq[program.seq]

    def _went(self, program: ProgramView) -> None:
        """Count a context that goes to host memory, and remember it if it may be recalled."""
        self.counts.offloads += 1
        if self.policy.retention.recalls:
            self._away[program] = None

    def _tick(self, now_s: float) -> None:
        period_s = self._gate.period_s
        assert period_s is not None
        while now_s >= self._next_tick_s - EARLY_S:
            self._next_tick_s += period_s
        self._gate.tick(list(self.programs.values()), self._moment(now_s))

    def _review(self, now_s: float) -> Review:
        """Ask which pins of paused programs to give up or offload, and when to ask again."""
        self._review_s = math.inf
        pinned = [p for p in self._pinned if p.turn_end_s is not None and p.pin is not None]
        if not pinned:
            return Review((), math.inf)
        review = self.policy.retention.review(pinned, self._moment(now_s))
        self._review_s = review.again_s
        return review

    def _moment(self, now_s: float) -> Moment:
        return Moment(now_s, self.engine, self.history)


def _arrival(program: ProgramView) -> int:
    return program.seq
