"""The host-neutral half of running a policy: views, history, pins and their counts.

The simulator and the vLLM plug-in both tell a `Governor` what happens and do what it answers, so that a rule
behaves the same in both. It decides nothing by itself except what keeps the engine alive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from continuum_sim.policies.history import History
from continuum_sim.policies.host.away import AwayContexts, OnRecall
from continuum_sim.policies.host.counts import PolicyCounts
from continuum_sim.policies.host.log import DecisionLog, LogDecision
from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.instants import EARLY_S, LATE_S, SAME_INSTANT_S
from continuum_sim.policies.planes import Decision, Fate, PinFor, Policy, Review, check_period
from continuum_sim.policies.views import EngineView, Foresight, Moment, ProgramView, TurnView

OnOffload = Callable[[ProgramView, float], None]
"""Called with (program, time in s) for every pinned context that goes to host memory, before its pin ends."""


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
        self.log = DecisionLog(log)
        self.pins = PinLedger(self.counts)
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
        self._away = AwayContexts(policy.retention, self.counts, self.log)

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
            self._away.forget(program)
        turn = TurnView(program, program.turns_done, now_s, prompt_tokens, program.pin is not None)
        program.turn = turn
        self.log.arrived(turn, now_s)
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
        outlasts = self.policy.retention.outlasts_admission
        ends = program.pin is not None and self.pins.hit(program, now_s, outlasts=outlasts)
        self.log.admitted(turn, cached_tokens, now_s)
        if self._gated:
            self._gate.turn_admitted(turn, cached_tokens, self._moment(now_s))
        return ends

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
            if decision.ttl_s > 0 and blocks:
                self.pins.start(program, decision.ttl_s, blocks, now_s)
            else:
                decision = Fate.RELEASE
        elif decision is Fate.EVICT:
            self.counts.evictions += 1
        elif decision is Fate.OFFLOAD:
            self._away.went(program)
        self.log.ended(turn, decision, tool=tool, last=last, now_s=now_s)
        return decision

    def turn_aborted(self, turn: TurnView, now_s: float) -> bool:
        """Take note that a turn will not end; tells whether its program's pin ends with it.

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
        return unpinned

    def program_forgotten(self, program: ProgramView, now_s: float) -> bool:
        """Take a program in a tool call as ended; tells whether its pin ends with it."""
        self.history.turn_counts.add(program.turns_done)
        unpinned = program.pin is not None
        if unpinned:
            self.pins.expire(program, now_s)
        self.log.forgotten(program, unpinned, now_s)
        self.program_left(program)
        return unpinned

    def cache_reset(self, now_s: float) -> list[ProgramView]:
        """End every pin because the cache is worthless from now on; returns the programs that were pinned."""
        dropped = list(self.pins.pinned)
        for program in dropped:
            self.pins.break_pin(program, now_s)
            self.log.unpinned(program, "cache reset", now_s)
        return dropped

    def stranger(self, name: str, prompt_tokens: int, now_s: float) -> TurnView:
        """Give a view of a request without a program: a job of its own that leaves no trace in the history."""
        return TurnView(ProgramView(name, now_s, next(self._seen)), 0, now_s, prompt_tokens)

    def program_left(self, program: ProgramView) -> None:
        """Take note that a program has ended, or that nothing more is expected of it."""
        del self.programs[program.program_id]
        self._away.forget(program)
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

    def begin_step(self, now_s: float, offload: OnOffload | None = None) -> Sequence[ProgramView]:
        """Programs whose pins end with this scheduler step: those that expire (none whose next turn already
        waits) and those the policy gives up, or sends to host memory: `offload` is told of these first.
        """
        if now_s >= self._next_tick_s - EARLY_S:
            self._tick(now_s)
        if not self._reviews and not self.pins.any_due(now_s):
            return ()
        ended = self.pins.due(now_s)
        for program in ended:
            self._expire(program, now_s)
        if self._reviews:
            review = self._review(now_s)
            for program in review.offload:
                if offload is not None:
                    offload(program, now_s)
                self._away.went(program)
                self.pins.end(program, now_s)
                self.log.offloaded(program, now_s)
                ended.append(program)
            for program in review.give_up:
                self._expire(program, now_s)
                ended.append(program)
        return ended

    def recall(self, now_s: float, bring: OnRecall) -> bool:
        """Ask which contexts are to come back from host memory, after the pins that end with this step have ended.

        Tells whether any began to.
        """
        return self._away.recall(self._moment(now_s), bring)

    def context_back(self, program: ProgramView, blocks: int, now_s: float) -> None:
        """Take note that a context that was recalled has come: it is pinned now."""
        self.pins.start(program, math.inf, blocks, now_s)
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
        own_s = min(self._next_tick_s - EARLY_S, self._review_s, self._away.again_s - EARLY_S)
        return min(self.pins.next_expiry_s() + LATE_S, own_s)

    def next_event_after_s(self, now_s: float) -> float:
        """When to take a step for what this policy changes by itself next; may be infinite.

        As `next_event_s`, but past the edge of its instant, and without what was due by now and has had its answer.
        """
        own_s = (self._next_tick_s - SAME_INSTANT_S, self._review_s, self._away.again_s - SAME_INSTANT_S)
        expiry_s = self.pins.next_expiry_s() + SAME_INSTANT_S
        return min([at_s for at_s in (*own_s, expiry_s) if at_s > now_s], default=math.inf)

    @property
    def recalls(self) -> bool:
        """Whether contexts are away that the retention rule may want back."""
        return self.policy.retention.recalls and bool(self._away)

    @property
    def recall_s(self) -> float:
        """When the rule may want one of them back, as it said when last asked; may be infinite."""
        return self._away.again_s

    @property
    def has_pins(self) -> bool:
        """Whether any context is pinned."""
        return bool(self.pins.pinned)

    @property
    def reviews(self) -> bool:
        """Whether the retention rule thinks about contexts that are pinned or away: then whatever happens matters."""
        return (self._reviews and bool(self.pins.pinned)) or self.recalls

    def pin_shrunk(self, program: ProgramView, blocks: int, now_s: float) -> None:
        """Take note that part of a pin was freed: its program's next turn waits and can use only `blocks`."""
        self.pins.shrink(program, blocks, now_s)

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

    def _review(self, now_s: float) -> Review:
        """Ask which pins of paused programs to give up or offload, and when to ask again."""
        self._review_s = math.inf
        pinned = [p for p in self.pins.pinned if p.turn_end_s is not None and p.pin is not None]
        if not pinned:
            return Review((), math.inf)
        review = self.policy.retention.review(pinned, self._moment(now_s))
        self._review_s = review.again_s
        return review

    def _moment(self, now_s: float) -> Moment:
        return Moment(now_s, self.engine, self.history)
