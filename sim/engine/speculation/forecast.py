"""What the next steps of decoding turns with drafts give, if nothing else happens: the base of a jump."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.speculation.turn import drafted
from continuum_sim.steptime.batch import StepBatch, grown
from continuum_sim.steptime.model import StepTime

_MOST_STEPS: Final = 2048
"""Most steps that are looked ahead: enough for a jump, and little memory."""
_AFFINE: Final = 1e-12
"""Relative difference up to which a step time between two others lies on the line through them."""


class Forecast:
    """The steps that would follow a plan like it: every turn verifies all its drafts.

    Row i of each array is a turn, column j the (j + 1)-th of these steps.

    Parameters
    ----------
    plan
        The latest plan.
    steps
        Most steps to look at: none of them follows the last token of a turn.
    ahead
        Whether the plan is under way when the next step is planned.
    tokens
        Tokens of a turn in each step.
    lookahead
        Slots that the drafter needs beyond them.
    """

    def __init__(
        self, plan: Plan, steps: int, *, ahead: bool, tokens: int, lookahead: int, max_model_len: int, block_size: int
    ) -> None:
        steps = min(steps, _MOST_STEPS)
        self.turns = list(plan.verified)
        self.passed = 0
        """How many of the steps have been planned."""
        self._tokens, self._size = tokens, block_size
        self._chunk = plan.chunks[0] if plan.chunks else None
        turns = [drafted(request) for request in self.turns]
        shape = (len(turns), steps)
        given = np.ones(shape, dtype=np.int64)
        if turns:
            given += np.concatenate([turn.accepted.coming(steps) for turn in turns]).reshape(shape)
        self._accepted = given.sum(axis=0) - len(turns)
        total = given.cumsum(axis=1)
        left = np.array([request.max_tokens - request.num_output_tokens for request in self.turns], dtype=np.int64)
        if turns:  # nobody takes the tokens behind the last
            beyond = np.maximum(total[:, -1] - left, 0)
            given[:, -1] -= beyond
            total[:, -1] -= beyond
        self._given, self._total = given, total
        # Tokens that vLLM knows as it plans each step.
        known = np.empty(shape, dtype=np.int64)
        now = np.array([request.num_tokens for request in self.turns], dtype=np.int64)
        lag = 2 if ahead else 1
        known[:, 0] = now - [turn.coming_tokens if ahead else 0 for turn in turns]
        if ahead and steps > 1:
            known[:, 1] = now
        known[:, lag:] = now[:, None] + total[:, :-lag]
        self._known = known
        computed = known + (tokens - 1 if ahead else -1)
        self._slots = np.minimum(computed + (tokens + lookahead), max_model_len)
        fits = (computed <= max_model_len - tokens - 1).all(axis=0)
        self._contexts = computed.sum(axis=0) + len(turns) * tokens
        held = np.array([-(-turn.slots // block_size) for turn in turns], dtype=np.int64)
        grown_blocks = (-(-self._slots // block_size) - held[:, None]).clip(min=0).sum(axis=0)
        if self._chunk is not None:
            request, chunk = self._chunk
            reach = request.num_computed_tokens + chunk * np.arange(1, steps + 1) + lookahead
            self._chunk_slots = np.minimum(reach, max_model_len)
            has = -(-drafted(request).slots // block_size)
            grown_blocks = grown_blocks + (-(-self._chunk_slots // block_size) - has).clip(min=0)
        self.blocks: list[int] = grown_blocks.tolist()
        """Blocks that are taken up to each step."""
        self.steps = steps if fits.all() else int(fits.argmin())
        """Steps that there is room for in the longest context."""

    def within(self, free_blocks: int) -> int:
        """Return how many steps there are blocks for."""
        return min(self.steps, bisect_right(self.blocks, free_blocks))

    def ends_s(self, step_time: StepTime, planned: Sequence[StepBatch], steps: int) -> list[float]:
        """Return when each of `steps` steps ends, counted from the first: those planned, and then these."""
        first = [step_time.run_s(batch, 1) for batch in planned]
        more = steps - len(planned)
        if more <= 0:
            return [float(end_s) for end_s in np.cumsum(first[:steps])]
        latest = planned[-1]
        contexts = self._contexts[:more]
        if not latest.prefill_tokens:
            times_s = steps_s(step_time, latest, contexts)
        else:
            times_s = [step_time.run_s(self._batch(latest, column), 1) for column in range(more)]
        ends_s: list[float] = np.cumsum(np.concatenate((first, times_s))).tolist()
        return ends_s

    def _batch(self, latest: StepBatch, column: int) -> StepBatch:
        """Return the work of a step, counted from the one planned last."""
        batch = grown(latest, column - self.passed + 1)
        return batch._replace(decode_context_tokens=int(self._contexts[column]))

    def take_slots(self, steps: int) -> int:
        """Count the slots of the next steps as the turns' own; return the blocks they take."""
        column = self.passed + steps - 1
        slots, known = self._slots[:, column].tolist(), self._known[:, column].tolist()
        for request, slot, number in zip(self.turns, slots, known, strict=True):
            turn = drafted(request)
            turn.slots, turn.known_tokens = max(turn.slots, slot), number
        if self._chunk is not None:
            turn = drafted(self._chunk[0])
            turn.slots = max(turn.slots, int(self._chunk_slots[column]))
        return self.blocks[column] - (self.blocks[self.passed - 1] if self.passed else 0)

    def repeat(self, plan: Plan, before: Plan | None, steps: int) -> tuple[list[int], int]:
        """Plan the next steps; return the tokens they give each turn, and the drafts they accept.

        Parameters
        ----------
        before
            The step under way before the latest, if any: it becomes the last but one of these.
        """
        column, done = self.passed + steps - 1, self.passed
        total = self._total[:, column] - (self._total[:, done - 1] if done else 0)
        if before is not None:
            if steps > 1:
                before.given = dict(zip(self.turns, self._given[:, column - 1].tolist(), strict=True))
                before.batch = self._batch(plan.batch, column - 1)
            else:
                before.given, before.batch = plan.given, plan.batch
        batch = self._batch(plan.batch, column)
        plan.given = dict(zip(self.turns, self._given[:, column].tolist(), strict=True))
        plan.batch = batch
        accepted = int(self._accepted[done : column + 1].sum())
        self.passed += steps
        return total.tolist(), accepted


def steps_s(step_time: StepTime, batch: StepBatch, contexts: Any) -> Any:
    """Return the seconds of steps that differ in decode contexts, in one piece if they grow as a line with these."""
    if len(contexts) > 3:
        low, high = int(contexts.min()), int(contexts.max())
        middle = (low + high) // 2
        low_s, middle_s, high_s = (
            step_time.run_s(batch._replace(decode_context_tokens=context), 1) for context in (low, middle, high)
        )
        slope_s = (high_s - low_s) / max(1, high - low)
        if abs(low_s + slope_s * (middle - low) - middle_s) <= _AFFINE * middle_s:
            return low_s + slope_s * (contexts - low)
    return [step_time.run_s(batch._replace(decode_context_tokens=int(context)), 1) for context in contexts]
