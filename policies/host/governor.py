"""The host-neutral half of running a policy: views, history, pins and their counts.

The simulator and the vLLM plug-in both tell a `Governor` what happens and do what it answers, so that a rule
behaves the same in both. It decides nothing by itself except what keeps the engine alive.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count

from continuum_sim.policies.history import History
from continuum_sim.policies.host.log import DecisionLog, LogDecision
from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.instants import EARLY_S, LATE_S, SAME_INSTANT_S
from continuum_sim.policies.planes import Decision, Fate, PinFor, Policy, Review, check_period
from continuum_sim.policies.views import EngineView, Foresight, Moment, ProgramView, TurnView


class Governor:
    """Keeps a policy's view of the world and its pins for one engine.

    Parameters
    ----------
    engine
        What policies see of the engine.
    pins
        The engine's pins, which lead to the blocks they hold.
    log
        Receives every decision.
    sibling
        Governor of another engine of the same cluster, to number programs and learn about tools with.
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
        """Programs in tool calls whose contexts the rule sent to host memory and may want back, in that order."""

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
        self.log.arrived(turn, now_s)
        if self._gated:
            self._gate.turn_arrived(turn, self._moment(now_s))
        return turn

    def turn_admitted(self, turn: TurnView, cached_tokens: int, now_s: float) -> None:
        """A turn entered the batch and holds its blocks; the pin of its program ends, unless it outlasts that."""
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
        """Take note that a turn just admitted waits for so many tokens of its context from a lower memory tier."""
        self.log.reloads(turn, tokens, now_s)

    def turn_preempted(self, turn: TurnView, now_s: float) -> None:
        """Take note that a running turn lost its blocks and waits again."""
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
        """A turn ended; returns what becomes of its blocks. The host enters a pin as it keeps them.

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
            self._goes_away(program)
        self.log.ended(turn, decision, tool=tool, last=last, now_s=now_s)
        return decision

    def turn_aborted(self, turn: TurnView, now_s: float) -> None:
        """A turn will not end.

        The program may come back with the same turn (a client that tries again) and keeps its place. A pin left from
        before would stay without expiry, as its turn counts as waiting, so it ends.
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
            if self._gated:
                self._gate.turn_ended(program, self._moment(now_s))
        else:
            self.program_left(program)

    def program_forgotten(self, program: ProgramView, now_s: float) -> None:
        """A program in a tool call counts as ended, because nothing was heard of it for too long."""
        self.history.turn_counts.add(program.turns_done)
        unpinned = program.pin is not None
        if unpinned:
            self.pins.expire(program, now_s)
        self.log.forgotten(program, unpinned, now_s)
        self.program_left(program)

    def cache_reset(self, now_s: float) -> None:
        """The cache is worthless from now on, so every pin ends."""
        for program in list(self.pins.pinned):
            self.pins.break_pin(program, now_s)
            self.log.unpinned(program, "cache reset", now_s)

    def stranger(self, name: str, prompt_tokens: int, now_s: float) -> TurnView:
        """Give a view of a request without a program: a job of its own that leaves no trace in the history."""
        return TurnView(ProgramView(name, now_s, next(self._seen)), 0, now_s, prompt_tokens)

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
            self.pins.hand_over(program, now_s)
        self.program_left(program)
        program.paused = False
        self.log.moved(program, to, now_s)
        return program

    def take_over(self, program: ProgramView) -> None:
        """Take in a program that another engine handed over; its next turn arrives now."""
        self.programs[program.program_id] = program

    # What to do, asked by the host ----------------------------------------------------------------

    def begin_step(self, now_s: float) -> bool:
        """Do what is due before a step is planned; returns whether it moved any blocks.

        Pins expire (but not while their program's next turn waits). Then the rule's review is carried out: it gives
        up pins, sends contexts to host memory and brings others back.
        """
        if now_s >= self._next_tick_s - EARLY_S:
            self._tick(now_s)
        if not self._reviews and not self.pins.any_due(now_s):
            return False
        due = self.pins.due(now_s)
        review = self._review(due, now_s) if self._reviews else None  # it sees the engine before any of these pins ends
        for program in due:
            self._expire(program, now_s)
        moved = bool(due)
        if review is not None:
            for program in review.offload:
                self.pins.contexts.offload(program, now_s)
                self._goes_away(program)
                self.pins.end(program, now_s)
                self.log.offloaded(program, now_s)
                moved = True
            for program in review.give_up:
                self._expire(program, now_s)
                moved = True
            for program in review.bring:
                moved = self._bring(program, now_s) or moved
        return moved

    def context_back(self, program: ProgramView, now_s: float) -> None:
        """A context that was brought back has come, and the host has pinned it."""
        self.log.came_back(program, now_s)

    def pin_to_break(self, head: TurnView, now_s: float) -> ProgramView | None:
        """End one pin because `head` does not fit; None if none may be broken now."""
        pinned = self.pins.pinned
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
        self.pins.break_pin(program, now_s)
        self.log.broken(program, head.program, now_s)
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
            self.log.held(turn, now_s)
        return False

    def next_event_s(self) -> float:
        """Earliest time at which this policy changes something by itself; may be infinite.

        That is an expiry, a tick of its gate or another outcome of its review.
        """
        return min(self.pins.next_expiry_s() + LATE_S, self._next_tick_s - EARLY_S, self._review_s - EARLY_S)

    def next_event_after_s(self, now_s: float) -> float:
        """When to take a step for what this policy changes by itself next; may be infinite.

        As `next_event_s`, but past the edge of its instant, and without what was due by now and has had its answer.
        """
        early_s = self._review_s - SAME_INSTANT_S if self._away else self._review_s
        expiry_s = self.pins.next_expiry_s() + SAME_INSTANT_S
        events_s = (self._next_tick_s - SAME_INSTANT_S, early_s, self._review_s, expiry_s)
        return min([at_s for at_s in events_s if at_s > now_s], default=math.inf)

    @property
    def has_away(self) -> bool:
        """Whether contexts are in host memory that the retention rule may want back."""
        return bool(self._away)

    @property
    def review_away_s(self) -> float:
        """When to ask about those if nothing else happens, as the rule said when last asked; may be infinite."""
        return self._review_s if self._away else math.inf

    @property
    def has_pins(self) -> bool:
        """Whether any context is pinned."""
        return bool(self.pins.pinned)

    @property
    def reviews(self) -> bool:
        """Whether the retention rule thinks about contexts that are pinned or away: then whatever happens matters."""
        return self._reviews and bool(self.pins.pinned or self._away)

    # Asking the rules -----------------------------------------------------------------------------

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
        """Ask the retention rule to think again; `due` are programs whose pins end now in any case."""
        self._review_s = math.inf
        pinned = [p for p in self.pins.pinned if p.turn_end_s is not None and p not in due]
        if not pinned and not self._away:
            return None
        review = self.policy.retention.review(pinned, list(self._away), self._moment(now_s))
        self._review_s = review.again_s
        return review

    def _goes_away(self, program: ProgramView) -> None:
        """A context goes to host memory; remember it if the rule may want it back."""
        self.counts.offloads += 1
        if self.policy.retention.recalls and self.engine.tier is not None:
            self._away[program] = None

    def _bring(self, program: ProgramView, now_s: float) -> bool:
        """Bring a context back from host memory if there is room; returns whether anything of it was left to bring."""
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
