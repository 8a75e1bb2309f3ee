"""What the simulator and the vLLM plug-in share in running a policy.

Both hosts report what happens to a `Governor` and carry out its answers, so a rule behaves the same in both. The
governor keeps what policies see (views and history), the pins and the counts. It makes no decisions of its own except
those that keep the engine from getting stuck.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final

from continuum_sim.policies.history import History
from continuum_sim.policies.host.log import DecisionLog, LogDecision
from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.instants import EARLY_S, LATE_S, SAME_INSTANT_S
from continuum_sim.policies.planes import Decision, Fate, PinFor, Policy, Review, check_period
from continuum_sim.policies.views import EngineView, Foresight, Moment, ProgramView, TurnView

FORGET_AFTER_S: Final = 3600.0
"""Seconds without a turn after which a host treats a program as ended, unless it is told otherwise."""


class Governor:
    """Runs the policy of one engine: keeps its views, history and pins, and asks its rules.

    Parameters
    ----------
    engine
        What policies see of the engine.
    pins
        The engine's pin ledger; ending a pin through it also frees the blocks.
    log
        Called with every decision.
    sibling
        Governor of another engine of the same cluster. The two number programs together and share what they learn
        about tools.
    """

    def __init__(
        self,
        policy: Policy,
        engine: EngineView,
        pins: PinLedger,
        log: LogDecision | None = None,
        sibling: Governor | None = None,
    ) -> None:
        self.policy = policy
        self.engine = engine
        self.history: History = History(None if sibling is None else sibling.history)
        self.pins = pins
        self.counts = pins.counts
        self.programs: dict[str, ProgramView] = {}
        self.log = DecisionLog(log)
        self._seen: Iterator[int] = count() if sibling is None else sibling._seen
        self._arrivals = count()
        self._gated = policy.admission.gated
        self._reviews = policy.retention.reviews
        self._gate = policy.admission.start()
        period_s = self._gate.period_s
        if period_s is not None:
            check_period(period_s)
        self._next_tick_s = math.inf if period_s is None else period_s
        self._review_s = math.inf
        """Earliest time at which the retention rule's review may answer differently."""
        self._away: dict[ProgramView, None] = {}
        """Programs in tool calls whose offloaded contexts the rule may want back, in the order of offloading."""

    # Events reported by the host ------------------------------------------------------------------

    def turn_arrived(self, program_id: str, prompt_tokens: int, now_s: float, parent: str | None = None) -> TurnView:
        """Record a new turn and return its view.

        The first turn of a program also starts the program, as a sub-agent of `parent` if given.
        """
        program = self.programs.get(program_id)
        if program is None:
            program = ProgramView(program_id, now_s, next(self._seen), parent=parent)
            self.programs[program_id] = program
        elif program.turn_end_s is not None:
            gap_s = now_s - program.turn_end_s
            if not program.aborted:
                self.history.tool_returned(program.last_tool, gap_s)
                program.cycles.append((program.last_service_s, gap_s))
            program.turn_end_s = None
            program.aborted = False
            self._away.pop(program, None)
        pinned, seq = program.pin is not None, next(self._arrivals)
        turn = TurnView(program, program.turns_done, now_s, prompt_tokens, pinned, seq=seq)
        program.turn = turn
        self.log.arrived(turn, now_s)
        if self._gated:
            self._gate.turn_arrived(turn, self._moment(now_s))
        return turn

    def turn_admitted(self, turn: TurnView, cached_tokens: int, now_s: float) -> None:
        """Record that a turn entered the batch and holds its blocks; its program's pin ends unless it outlasts that."""
        program = turn.program
        if turn.admitted_s is None:
            turn.admitted_s = now_s
            if turn.index and not turn.arrived_pinned:
                self.history.unpinned_turn_waited(now_s - turn.arrival_s)
        program.waited_s += now_s - turn.since_s
        turn.since_s = now_s
        turn.preempted = False
        if program.pin is not None:
            self.pins.hit(program, now_s, outlasts=self.policy.retention.outlasts_admission)
        self.log.admitted(turn, cached_tokens, now_s)
        if self._gated:
            self._gate.turn_admitted(turn, cached_tokens, self._moment(now_s))

    def turn_reloads(self, turn: TurnView, tokens: int, now_s: float) -> None:
        """Log that a turn just admitted waits for `tokens` tokens of its context from a lower memory tier."""
        self.log.reloads(turn, tokens, now_s)

    def turn_preempted(self, turn: TurnView, now_s: float) -> None:
        """Record that a running turn lost its blocks and waits again."""
        turn.preempted = True
        ran_s = now_s - turn.since_s
        turn.service_s += ran_s
        turn.program.service_s += ran_s
        turn.since_s = now_s
        self.log.preempted(turn, now_s)

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
        """Record that a turn ended and return what becomes of its blocks; the host records the pin of those it keeps.

        Parameters
        ----------
        context_tokens, computed_tokens
            Prompt plus output of this turn; tokens the engine computed for it.
        blocks
            Blocks the turn holds now.
        foresight
            What oracles are told about the future; only the simulator passes it.
        """
        program = turn.program
        # A turn may get its last token after it was preempted, if a step computed it meanwhile.
        ran_s = now_s - turn.since_s if turn.running else 0.0
        program.service_s += ran_s
        program.last_service_s = turn.service_s + ran_s
        program.turn = None
        if program.pin is not None:
            self.pins.end(program, now_s)  # one that outlasted the admission of this turn
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
            if not (decision.ttl_s > 0 and blocks):
                decision = Fate.RELEASE
        elif decision is Fate.EVICT:
            self.counts.evictions += 1
        elif decision is Fate.OFFLOAD:
            self._count_offload(program)
        self.log.ended(turn, decision, tool=tool, last=last, now_s=now_s)
        return decision

    def turn_aborted(self, turn: TurnView, now_s: float) -> None:
        """Record that a turn was aborted.

        Its program keeps its place, as the client may retry the same turn. A pin left from the previous turn is broken:
        pins do not expire while the next turn waits, so this one might never expire.
        """
        program = turn.program
        unpinned = program.pin is not None
        if unpinned:
            self.pins.break_pin(program, now_s)
        if turn.running:
            program.service_s += now_s - turn.since_s
        program.turn = None
        self.log.aborted(turn, unpinned, now_s)
        program.aborted = True
        if program.turns_done:
            program.turn_end_s = now_s
            if self._gated:
                self._gate.turn_ended(program, self._moment(now_s))
        else:
            self.program_left(program)

    def program_forgotten(self, program: ProgramView, now_s: float) -> None:
        """End a program in a tool call that has been silent for too long."""
        self.history.turn_counts.add(program.turns_done)
        unpinned = program.pin is not None
        if unpinned:
            self.pins.expire(program, now_s)
        self.log.forgotten(program, unpinned, now_s)
        self.program_left(program)

    def cache_reset(self, now_s: float) -> None:
        """Break every pin, because the cached content is now worthless."""
        for program in list(self.pins.pinned):
            self.pins.break_pin(program, now_s)
            self.log.unpinned(program, "cache reset", now_s)

    def stranger(self, name: str, prompt_tokens: int, now_s: float) -> TurnView:
        """Return a view of a request that belongs to no program: a one-turn job that leaves no trace in the history."""
        program = ProgramView(name, now_s, next(self._seen))
        return TurnView(program, 0, now_s, prompt_tokens, seq=next(self._arrivals))

    def program_left(self, program: ProgramView) -> None:
        """Remove a program that has ended or that is not expected to send another turn."""
        del self.programs[program.program_id]
        self._away.pop(program, None)
        if self._gated:
            self._gate.program_left(program)

    def hand_over(self, program_id: str, to: int, now_s: float) -> ProgramView:
        """Remove and return a program whose next turn a router sends to another engine; a pin it has here ends.

        What the policy knows of the program goes with it: its service, its waits, its tool call.
        """
        program = self.programs[program_id]
        if program.pin is not None:
            self.pins.hand_over(program, now_s)
        self.program_left(program)
        program.paused = False
        self.log.moved(program, to, now_s)
        return program

    def take_over(self, program: ProgramView) -> None:
        """Add a program that another engine handed over; its next turn arrives now."""
        self.programs[program.program_id] = program

    # Questions asked by the host ------------------------------------------------------------------

    def begin_step(self, now_s: float) -> bool:
        """Do what is due before a step is planned; return True if any blocks were freed or moved.

        Pins expire, except while their program's next turn waits. Then the rule's review is carried out: it gives up
        pins, offloads contexts and recalls others.
        """
        if now_s >= self._next_tick_s - EARLY_S:
            self._tick(now_s)
        if not self._reviews and not self.pins.any_due(now_s):
            return False
        due = self.pins.due(now_s)
        review = self._review(due, now_s) if self._reviews else None  # asked before any of these pins ends
        for program in due:
            self._expire(program, now_s)
        moved = bool(due)
        if review is not None:
            for program in review.offload:
                self.pins.contexts.offload(program, now_s)
                self._count_offload(program)
                self.pins.end(program, now_s)
                self.log.offloaded(program, now_s)
                moved = True
            for program in review.give_up:
                self._expire(program, now_s)
                moved = True
            for program in review.bring:
                moved = self._recall(program, now_s) or moved
        return moved

    def context_back(self, program: ProgramView, now_s: float) -> None:
        """Log that a recalled context has arrived; the host has already pinned it."""
        self.log.came_back(program, now_s)

    def pin_to_break(self, head: TurnView, now_s: float) -> ProgramView | None:
        """Break one pin to make room for `head` and return its program; None if no pin may be broken now."""
        pinned = self.pins.pinned
        if self.policy.retention.outlasts_admission:
            # Blocks that a running turn shares with its program's old pin would not be freed.
            pinned = [p for p in pinned if p is not head.program and not (p.turn and p.turn.running)]
        elif head.program.pin is not None:
            pinned = [p for p in pinned if p is not head.program]
        program = self.policy.retention.pin_to_break(pinned, head, self._moment(now_s)) if pinned else None
        if program is None:
            if self.engine.num_running:
                return None
            # Nothing runs, so a pin must be broken or the engine would be stuck. The head's own pin goes last: it
            # may hold blocks that the head does not hit, because an older copy answers the lookup.
            program = pinned[-1] if pinned else head.program
        if program.pin is None:
            return None
        self.pins.break_pin(program, now_s)
        self.log.broken(program, head.program, now_s)
        return program

    def first_to_go(self, held: Sequence[ProgramView], head: TurnView, now_s: float) -> ProgramView | None:
        """Return which program's context the rule would give up for `head`, of those that some memory holds."""
        return self.policy.retention.pin_to_break(held, head, self._moment(now_s))

    def allows(self, turn: TurnView, now_s: float) -> bool:
        """Return whether the gate lets this waiting turn be tried; sub-agents always may.

        The program that started a sub-agent was admitted and keeps its place while it waits for the result. If the gate
        held the sub-agent, both would wait forever.
        """
        if turn.program.parent is not None or self._gate.allows(turn, self._moment(now_s)):
            return True
        if not turn.held:
            turn.held = True
            self.counts.holds += 1
            self.log.held(turn, now_s)
        return False

    def next_event_s(self) -> float:
        """Return the earliest time at which this policy acts although nothing else happens; may be infinite.

        That is an expiry, a tick of its gate or a review that may answer differently.
        """
        return min(self.pins.next_expiry_s() + LATE_S, self._next_tick_s - EARLY_S, self._review_s - EARLY_S)

    def next_event_after_s(self, now_s: float) -> float:
        """Return when to take a step so that this policy can act next; may be infinite.

        Unlike `next_event_s`, the time lies past the edge of the event's instant, and events that were due by now, and
        so have been handled, do not count.
        """
        early_s = self._review_s - SAME_INSTANT_S if self._away else self._review_s
        expiry_s = self.pins.next_expiry_s() + SAME_INSTANT_S
        events_s = (self._next_tick_s - SAME_INSTANT_S, early_s, self._review_s, expiry_s)
        return min([at_s for at_s in events_s if at_s > now_s], default=math.inf)

    @property
    def has_away(self) -> bool:
        """Whether host memory holds contexts that the retention rule may want back."""
        return bool(self._away)

    @property
    def review_away_s(self) -> float:
        """When to ask about those contexts if nothing else happens, as the rule last said; may be infinite."""
        return self._review_s if self._away else math.inf

    @property
    def has_pins(self) -> bool:
        """Whether any context is pinned."""
        return bool(self.pins.pinned)

    @property
    def reviews(self) -> bool:
        """Whether the retention rule reviews contexts that are pinned or away now; then every event matters to it."""
        return self._reviews and bool(self.pins.pinned or self._away)

    # Calls to the rules ---------------------------------------------------------------------------

    def _expire(self, program: ProgramView, now_s: float) -> None:
        self.pins.expire(program, now_s)
        self.log.expired(program, now_s)

    def _tick(self, now_s: float) -> None:
        period_s = self._gate.period_s
        assert period_s is not None
        while now_s >= self._next_tick_s - EARLY_S:
            self._next_tick_s += period_s
        self._gate.tick(list(self.programs.values()), self._moment(now_s))

    def _review(self, due: list[ProgramView], now_s: float) -> Review | None:
        """Ask the retention rule for its review; `due` are programs whose pins end now anyway."""
        self._review_s = math.inf
        pinned = [p for p in self.pins.pinned if p.turn_end_s is not None and p not in due]
        if not pinned and not self._away:
            return None
        review = self.policy.retention.review(pinned, list(self._away), self._moment(now_s))
        self._review_s = review.again_s
        return review

    def _count_offload(self, program: ProgramView) -> None:
        """Count a context that is offloaded, and remember it if the rule may want it back."""
        self.counts.offloads += 1
        if self.policy.retention.recalls and self.engine.tier is not None:
            self._away[program] = None

    def _recall(self, program: ProgramView, now_s: float) -> bool:
        """Start bringing a context back if there is room; return True if any of it was left to bring."""
        blocks = self.pins.contexts.recall(program, now_s)
        if blocks is None:
            return False
        del self._away[program]
        if blocks:
            self.counts.recalls += 1
            self.log.recalled(program, blocks, now_s)
        return blocks > 0

    def _moment(self, now_s: float) -> Moment:
        return Moment(now_s, self.engine, self.history)
