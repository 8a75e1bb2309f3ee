"""Ranks that step together: a step takes as long as its slowest rank's."""

import numpy as np
import pytest

from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.steptime import NO_WORK, Fitted, Roofline, SingleStepTime, StepBatch, StepTime, ranked
from continuum_sim.steptime.batch import grown
from continuum_sim.steptime.drafted import Drafted
from continuum_sim.steptime.piecewise import Piece
from continuum_sim.steptime.ranked import DUMMY, longest, spread

PROMPT, MANY, FEW = (
    StepBatch(1, 512, 1024, 655_616, 0, 0),
    StepBatch(0, 0, 0, 0, 64, 64 * 2000),
    StepBatch(0, 0, 0, 0, 2, 4000),
)


class Tokens(SingleStepTime):
    """One second a token, one step at a time."""

    def step_s(self, batch: StepBatch) -> float:
        return float(batch.prefill_tokens + batch.decode_requests + batch.decode_context_tokens)

    def describe(self) -> dict[str, str]:
        return {"kind": "tokens"}


@pytest.mark.parametrize(
    "step_time",
    [Fitted(0.01, 1e-5, 1e-8, 1e-9), Roofline(find_model("gemma-3-12b"), find_gpu("a100-80")), Tokens()],
    ids=["fitted", "roofline", "single"],
)
def test_steps_of_ranks_without_a_model_of_their_own_are_those_of_the_slowest(step_time: StepTime) -> None:
    batches, n_steps = [FEW, PROMPT, MANY, NO_WORK], 300
    ranks = ranked(step_time)
    by_hand = [max(step_time.step_s(grown(batch, j)) for batch in (FEW, PROMPT, MANY, DUMMY)) for j in range(n_steps)]
    np.testing.assert_allclose(ranks.together_runs_s(batches, n_steps), by_hand, rtol=1e-9)
    assert ranks.together_s(batches) == pytest.approx(by_hand[0], rel=1e-12)
    assert ranks.step_s(MANY) == step_time.step_s(MANY) == ranks.together_s([MANY] * 8)
    assert ranks.together_runs_s([MANY], 4).sum() == pytest.approx(ranks.run_s(MANY, 4), rel=1e-12)


def test_ranks_propose_together() -> None:
    model, drafter = Fitted(0.01, 1e-5, 1e-8, 1e-9), Fitted(0.001, 1e-6, 1e-9, 1e-10)
    # The prompt is slowest with the model and in the drafter's first pass, and one row of 16 turns in its others.
    expected = model.step_s(PROMPT) + drafter.step_s(PROMPT) + 2 * drafter.step_s(StepBatch(0, 0, 0, 0, 16, 64 * 2000))
    assert Drafted(model, drafter, 3).together_s([FEW, PROMPT, MANY]) == pytest.approx(expected, rel=1e-12)
    fixed = Drafted(model, None, 3, 0.002)
    assert fixed.together_s([MANY] * 3) == pytest.approx(fixed.step_s(MANY), rel=1e-12)


@pytest.mark.parametrize(
    "runs",
    [
        [((4, 3.0, 0.0, 0.0),), ((4, 1.0, 1.0, 0.0),)],
        [((4, 3.0, 2.0, 0.0),), ((4, 1.0, 1.0, 0.0),)],
        [((4, 3.0, 0.0, 1.0),), ((4, 1.0, 4.0, 0.0),)],
        [((1, 3.0, 0.0, 0.0), (3, 2.0, 0.5, 0.0)), ((4, 2.5, 0.0, 0.0),)],
        [((1, 3.0, 1.0, 0.0),), ((1, 4.0, 0.0, 0.0),)],
    ],
)
def test_the_longest_of_runs_is_so_at_every_step(runs: list[list[Piece]]) -> None:
    expected = np.max([spread(pieces) for pieces in runs], axis=0)
    np.testing.assert_array_equal(longest(runs), expected)
