"""The decoding turns of a batch with drafts: each step computes several tokens of a turn, and keeps those accepted.

A turn's drafts are verified in the step after the one that proposed them. Until that is over vLLM reckons with every
draft being accepted (`num_computed_tokens`, `num_output_placeholders`), then it takes back what was rejected
(`Scheduler.update_from_output`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.decoding import NEVER, Decoding
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.speculation.config import SpeculationConfig
from continuum_sim.engine.speculation.forecast import Forecast
from continuum_sim.engine.speculation.turn import DraftedTurn, drafted
from continuum_sim.steptime.model import StepTime


class HasRunning(Protocol):
    """The running turns, by rank: all, and those whose prompt is partly computed."""

    running: dict[int, Request]
    prefilling: dict[int, Request]


class KeepsContent(Protocol):
    """Makes blocks findable."""

    grouped: ClassVar[bool]

    def cache(self, request: Request, tokens: int, *, leaves: bool = False) -> None:
        """Make full blocks findable."""


class SpeculativeDecoding(Decoding):
    """The turns of a batch that decode with drafts.

    A turn's `num_output_tokens` and `num_computed_tokens` are those after every planned step, drafts rejected.
    """

    def __init__(
        self, block_size: int, config: SpeculationConfig, max_model_len: int, budget: int, *, cuts: bool
    ) -> None:
        """Start empty.

        Parameters
        ----------
        budget
            Most tokens in a step.
        cuts
            Whether a threshold may cut prompts, so that several are computed at a time.
        """
        super().__init__(block_size)
        self._budget = budget
        self._draft_slots = config.draft_slots
        self._cuts = cuts
        self._summed: tuple[Plan, int] | None = None
        self.drafts = config.num_speculative_tokens
        self.drafted_tokens = 0
        """Drafts of all turns that steps have verified, as vLLM counts them: those planned in vain are not."""
        self.accepted_tokens = 0
        """Those accepted, as vLLM counts them: some lie behind a turn's last token."""
        self.verifications = 0
        """Steps of a turn that verified drafts."""
        self._block_size = block_size
        self._lookahead = config.num_lookahead_tokens
        self._max_model_len = max_model_len
        self._turns: dict[Request, None] = {}
        self._forecast: Forecast | None = None

    def computed(self, request: Request) -> int:
        """Return the tokens with KV of a decoding turn as vLLM reckons: every draft on its way may be accepted."""
        turn = drafted(request)
        return request.num_computed_tokens + turn.in_flight_tokens - turn.coming_tokens

    def next_tokens(self, request: Request, budget: int) -> int:
        """Return the tokens that the next step computes of a turn; none if it surely has all, or no room for one."""
        turn = drafted(request)
        if turn.in_flight_tokens:
            # The step under way gives it a token even if it accepts no draft.
            last = self._max_model_len if request.stops else request.prompt_tokens + request.max_tokens
            if request.num_tokens - turn.coming_tokens + 1 >= last:
                return 0
        drafts = turn.accepted.proposed(self.drafts)
        return min(1 + drafts, budget, self._max_model_len - self.computed(request) - 1)

    def steps_to_first_end(self) -> int:
        """Return the number of steps until some turn has all tokens, if all drafts are verified."""
        least = NEVER
        for request in self._turns:
            turn = drafted(request)
            if turn.last_draw < 0:
                lacks = request.max_tokens - request.num_output_tokens
                turn.last_draw = turn.accepted.taken + turn.accepted.steps_for(lacks)
            least = min(least, turn.last_draw - turn.accepted.taken)
        return least

    def steps_to_hang_up(self) -> int:
        """Return the number of steps until some turn has all tokens that its client waits for."""
        missing = [(request, request.wanted_tokens - request.num_output_tokens) for request in self._turns]
        return min([drafted(request).accepted.steps_for(n) for request, n in missing if n > 0], default=NEVER)

    def add(self, request: Request) -> None:
        """Add a turn whose prompt is computed and whose first token, at least, is planned."""
        request.num_computed_tokens = request.num_tokens - 1
        request.last_decode = 0
        drafted(request).last_draw = -1
        self.count += 1
        self._turns[request] = None

    def remove(self, request: Request) -> None:
        """Remove a turn."""
        request.last_decode = -1
        self.count -= 1
        del self._turns[request]

    def skip(self, request: Request) -> None:
        """Leave a turn out of the next step; its drafts stay the same."""

    def padding(self, plan: Plan, num_tokens: int, cached: int) -> int:
        """Return the rows beside the only token that an admitted turn lacks: vLLM wants it to look as if it decoded."""
        if num_tokens - cached > 1 or plan.prefills or not (plan.verified or cached):
            return 0
        return self.drafts if cached + self.drafts + 2 <= self._max_model_len else 0

    def slots(self, tokens: int) -> int:
        """Return the tokens that a step which ends with so many needs slots for."""
        return min(tokens + self._lookahead, self._max_model_len)

    def schedule_all(
        self, plan: Plan, batch: HasRunning, manager: KeepsContent, pool: BlockPool, most_tokens: int
    ) -> int:
        """Give every running turn its tokens if they fit, all at once; return the budget left, or -1 if they do not.

        Parameters
        ----------
        most_tokens
            Most tokens of one prompt.
        """
        if manager.grouped:
            return -1  # windows slide turn by turn
        full, longest, size = 1 + self.drafts, self._max_model_len, self._block_size
        ahead, take, budget = full + self._lookahead, full + self._draft_slots, self._budget
        blocks = context = 0
        given: list[tuple[DraftedTurn, int, int]] = []
        verified: dict[Request, int] = {}
        for request in batch.running.values():
            if request.last_decode < 0:
                continue
            turn = drafted(request)
            if turn.accepted.varied:
                return -1
            known = request.prompt_tokens + request.num_output_tokens - turn.coming_tokens
            start = request.num_computed_tokens - turn.coming_tokens
            if turn.in_flight_tokens:
                if known + 1 >= (longest if request.stops else request.prompt_tokens + request.max_tokens):
                    continue
                start += turn.in_flight_tokens
            budget -= take
            if budget < 0 or start + full >= longest:
                return -1
            need = start + ahead
            if need > longest:
                need = longest
            more = -(-need // size) + (-turn.slots // size)
            if more > 0:
                blocks += more
            given.append((turn, need if need > turn.slots else turn.slots, known))
            verified[request] = full
            context += start + full
        chunks = []
        for request in () if plan.held else batch.prefilling.values():
            if budget <= self._draft_slots:
                return -1
            start, left = request.num_computed_tokens, budget - self._draft_slots
            tokens = min(request.num_tokens - start, most_tokens)
            if tokens > left:
                if self._cuts:
                    return -1  # the order decides who goes without
                tokens = left
            budget -= tokens + self._draft_slots
            turn = drafted(request)
            need = min(start + tokens + self._lookahead, longest)
            blocks += max(0, -(-need // size) + (-turn.slots // size))
            given.append((turn, max(need, turn.slots), request.num_tokens))
            chunks.append((request, tokens))
        if blocks > pool.free:
            return -1
        pool.allocate(blocks)
        for turn, need, known in given:
            turn.slots, turn.known_tokens = need, known
        for request, tokens in chunks:
            plan.chunks.append((request, tokens))
            manager.cache(request, request.num_computed_tokens + tokens)
        plan.verified, plan.prefills = verified, bool(chunks)
        self._summed = plan, context
        return budget

    def sum_up(self, plan: Plan) -> None:
        """Sum up what a planned step computes.

        Each draft is a row like that of a decoding turn, and the rows of a turn read its context once.
        """
        if self._summed is not None and self._summed[0] is plan:
            context = self._summed[1]
        else:
            context = sum([self.computed(request) + tokens for request, tokens in plan.verified.items()])
        self._summed = None
        plan.computes(len(plan.verified), context)
        rows = sum(plan.verified.values()) + sum(plan.padded.values())
        plan.batch = plan.batch._replace(decode_requests=rows)

    def verify(self, plan: Plan) -> list[Request]:
        """Let a planned step verify drafts; return the turns that get their last token from it."""
        ended = []
        drafts, gives = self.drafts, plan.given
        for request, tokens in plan.verified.items():
            turn = drafted(request)
            turn.in_flight_tokens = tokens
            if request.has_all_tokens:
                gives[request] = turn.coming_tokens = 0
                continue
            accepted = turn.accepted.next()
            if tokens <= drafts:
                turn.last_draw = -1
                accepted = min(accepted, tokens - 1)
            if tokens > 1:
                self.drafted_tokens += tokens - 1
                self.accepted_tokens += accepted
                self.verifications += 1
            before = request.num_output_tokens
            given = min(1 + accepted, request.max_tokens - before)
            gives[request] = turn.coming_tokens = given
            request.num_output_tokens = after = before + given
            request.num_computed_tokens += given
            request.work_tokens += given
            if after == request.max_tokens:
                ended.append(request)
            elif before < request.wanted_tokens <= after:
                plan.hung_up = [*plan.hung_up, request]
        return ended

    def look_ahead(self, plan: Plan, steps: int, *, ahead: bool, free_blocks: int) -> int:
        """Return for how many of `steps` more steps like the latest plan there is room; `repeat` carries them out.

        Parameters
        ----------
        ahead
            Whether the plan is under way when the next one is made.
        """
        full = 1 + self.drafts
        if len(plan.verified) < self.count or min(plan.verified.values(), default=full) < full:
            return 0  # some turns have all their tokens, or too little room for drafts
        self._forecast = Forecast(
            plan,
            steps,
            ahead=ahead,
            tokens=full,
            lookahead=self._lookahead,
            max_model_len=self._max_model_len,
            block_size=self._block_size,
        )
        return self._forecast.within(free_blocks)

    def ends_s(self, step_time: StepTime, plans: Sequence[Plan], steps: int) -> list[float]:
        """Return when each of `steps` steps ends, those planned and more of which `look_ahead` told."""
        assert self._forecast is not None
        return self._forecast.ends_s(step_time, [plan.batch for plan in plans], steps)

    def take_steps(self, steps: int) -> int:
        """Count the slots of the next steps as the turns' own; return the blocks they take."""
        assert self._forecast is not None
        return self._forecast.take_slots(steps)

    def repeat(self, plan: Plan, steps: int, before: Plan | None) -> list[Request]:
        """Let so many more steps verify drafts; return the turns that get their last token from the last of them."""
        assert self._forecast is not None
        full = 1 + self.drafts
        total, accepted = self._forecast.repeat(plan, before, steps)
        ended = []
        for request, tokens in zip(self._forecast.turns, total, strict=True):
            turn = drafted(request)
            turn.accepted.take(steps)
            turn.in_flight_tokens, turn.coming_tokens = full, plan.given[request]
            request.num_output_tokens += tokens
            request.num_computed_tokens += tokens
            request.work_tokens += tokens
            if request.num_output_tokens == request.max_tokens:
                ended.append(request)
            elif 0 <= request.num_output_tokens - request.wanted_tokens < turn.coming_tokens:
                plan.hung_up = [*plan.hung_up, request]
        self.drafted_tokens += self.drafts * steps * len(total)
        self.accepted_tokens += accepted
        self.verifications += steps * len(total)
        return ended

    def sampled(self, plan: Plan, request: Request) -> None:
        """Note that a planned step completes a prompt, and gives the turn a token."""
        turn = drafted(request)
        padding = plan.padded.get(request, 0)
        if padding:
            self.drafted_tokens += padding
            self.verifications += 1
        turn.in_flight_tokens, turn.coming_tokens = 1 + padding, 1
        plan.given[request] = 1

    def over(self, plan: Plan, following: Plan | None) -> None:
        """Take back what a step that is over has rejected."""
        for request in plan.given:
            if following is None or request not in following.given:
                turn = drafted(request)
                turn.in_flight_tokens = turn.coming_tokens = 0
