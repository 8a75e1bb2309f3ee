"""Step times of a split engine: stages of a pipeline, from shapes or from what was measured on a whole engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from continuum_sim.engine.pipeline.stages import StageTimes
from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.setup.step_times import split_step_time
from continuum_sim.steptime import Fitted, Roofline, StepBatch

MODEL, GPU = find_model("llama-3.1-8b"), find_gpu("h100")
DECODE = StepBatch(0, 0, 0, 0, 16, 16_000)
FITTED = Fitted(c0_s=8e-3, per_token_s=1e-5, per_decode_context_token_s=1e-8, per_prefill_pair_s=1e-9)


def split(step_time: str | Fitted | Roofline, stages: int, **more: str) -> object:
    return split_step_time(step_time, model=MODEL, gpu=GPU, parallel=Parallel(1, stages, **more))  # type: ignore[arg-type]


def test_one_stage_is_the_model_itself() -> None:
    assert not isinstance(split("roofline", 1), StageTimes)
    assert split(FITTED, 1) is FITTED


def test_stages_have_their_layers_and_the_way_between_them_takes_time() -> None:
    found = split("roofline", 4)
    assert isinstance(found, StageTimes)
    each_s = [stage.step_s(DECODE) for stage in found.stages]
    assert sum(each_s) == pytest.approx(Roofline(MODEL, GPU).step_s(DECODE), rel=1e-9)
    assert each_s[-1] > each_s[1] == pytest.approx(each_s[2])  # the last one has the logits too
    assert found.step_s(DECODE) == pytest.approx(sum(each_s) + 3 * found.send_s(DECODE), rel=1e-9)
    assert found.send_s(DECODE) > 0


@pytest.mark.parametrize("named", [False, True])
def test_what_was_measured_on_an_engine_is_shared_out_by_layers(named: bool, tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    file.write_text(json.dumps(FITTED.describe()))
    found = split(f"fitted:{file}" if named else FITTED, 3)
    assert isinstance(found, StageTimes)
    whole_s = FITTED.step_s(DECODE)
    shares = [stage.step_s(DECODE) / whole_s for stage in found.stages]
    assert shares == pytest.approx([11 / 32, 11 / 32, 10 / 32])
    assert found.step_s(DECODE) == pytest.approx(whole_s)


def test_measured_step_times_hold_their_links() -> None:
    with pytest.raises(ConfigError, match="--link: the step times given .Fitted. were measured on an engine"):
        split(FITTED, 2, link="nvlink4")
