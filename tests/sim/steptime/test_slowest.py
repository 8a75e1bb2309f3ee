"""When joint steps end: closed forms against sums of the slowest rank's steps, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.steptime import Fitted, Roofline
from continuum_sim.steptime.batch import StepBatch, grown, prefill_of
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.ranked import DUMMY, NO_WORK, ranked
from continuum_sim.steptime.slowest import joint_ends_s

MODELS = (
    Fitted(0.01, 1e-5, 1e-8, 1e-9),
    Fitted(0.0, 0.0, 1e-6, 0.0),
    Roofline(find_model("gemma-3-12b"), find_gpu("a100-80")),
)
decodes = st.builds(lambda n, context: StepBatch(0, 0, 0, 0, n, n * context), st.integers(1, 40), st.integers(1, 9000))
prompts = st.builds(prefill_of, st.integers(1, 600), st.integers(0, 3000))


@pytest.mark.parametrize("step_time", MODELS, ids=["fitted", "contexts", "roofline"])
@given(batches=st.lists(st.one_of(decodes, prompts, st.just(NO_WORK)), min_size=1, max_size=5), n=st.integers(1, 40))
def test_each_step_lasts_as_long_as_that_of_the_slowest_rank(
    step_time: StepTime, batches: list[StepBatch], n: int
) -> None:
    by_hand = [
        max(step_time.step_s(DUMMY if batch == NO_WORK else grown(batch, j)) for batch in batches) for j in range(n)
    ]
    ends = joint_ends_s(ranked(step_time), batches, n)
    assert len(ends) == n
    np.testing.assert_allclose([ends[at] for at in range(n)], np.cumsum(by_hand), rtol=1e-9)
    assert ends[-1] == ends[n - 1]
