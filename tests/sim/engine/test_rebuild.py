"""R(C), the seconds it takes to prefill a lost context, as policies see it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.engine.rebuild import RebuildTime, fit_rebuild_time, prefill_s
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.fitted import Fitted
from continuum_sim.steptime.model import StepTime
from support.programs import engine, program, turn
from support.runs import simulate
from support.steptimes import Bent, affine


@given(
    tokens=st.integers(1, 500),
    chunk=st.integers(1, 200),
    model=st.sampled_from([affine(), Bent()]),
)
def test_a_prefill_is_the_sum_of_its_chunks(tokens: int, chunk: int, model: StepTime) -> None:
    steps_s = []
    for start in range(0, tokens, chunk):
        new = min(chunk, tokens - start)
        pairs = sum(range(start + 1, start + new + 1))
        steps_s.append(model.step_s(StepBatch(1, new, start, pairs, 0, 0)))
    assert prefill_s(model, tokens, chunk) == pytest.approx(math.fsum(steps_s), rel=1e-9)


def test_it_is_what_the_engine_takes() -> None:
    for tokens in (1, 63, 64, 65, 1000):
        outcome = simulate([program("a", turn(tokens, 1))], config=engine(300, budget=64), step_time=affine())
        assert outcome.programs[0].jct_s == pytest.approx(prefill_s(affine(), tokens, 64), rel=1e-9)


def test_a_quadratic_prefill_is_fitted_exactly() -> None:
    # Without a constant per step, a prefill of C tokens takes a·C + b·C(C + 1)/2 whatever the chunks.
    fit = fit_rebuild_time(Fitted(0.0, 2e-4, 0.0, 3e-8), 512, 20_000)
    assert fit.quadratic_s == pytest.approx(1.5e-8, rel=1e-6)
    assert fit.linear_s == pytest.approx(2e-4 + 1.5e-8, rel=1e-6)
    assert fit.constant_s == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("model", [affine(), Bent()])
def test_the_fit_is_near_the_prefill_everywhere(model: StepTime) -> None:
    fit = fit_rebuild_time(model, 256, 32_768)
    for tokens in (1000, 5000, 12_345, 30_000):
        assert fit(tokens) == pytest.approx(prefill_s(model, tokens, 256), rel=0.05)


@pytest.mark.parametrize("longest", [2, 3, 4, 17])
def test_short_models_can_be_fitted_too(longest: int) -> None:
    fit = fit_rebuild_time(affine(), 8, longest)
    assert fit(longest) > 0


def test_it_is_never_negative() -> None:
    assert RebuildTime(-1.0, 0.1, 0.0)(5) == 0.0
    assert RebuildTime(-1.0, 0.1, 0.0)(20) == pytest.approx(1.0)
