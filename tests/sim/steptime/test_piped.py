from __future__ import annotations

from pathlib import Path

import pytest

from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import ONE_GPU, Parallel
from continuum_sim.hardware.stages import stages
from continuum_sim.steptime import Fitted, Roofline, StepBatch
from continuum_sim.steptime.fitted import save_fitted
from continuum_sim.steptime.piped import hand_over_s, pipeline_times, stage_step_times

LLAMA, H100 = find_model("llama-3.1-70b"), find_gpu("h100")
BATCH = StepBatch(0, 0, 0, 0, 64, 64 * 2048)
TEN_US_10_GBPS = "latency_us=10,bandwidth_gbps=10"


def test_one_stage_is_the_model_and_hands_nothing_on() -> None:
    (only,) = stage_step_times("roofline", model=LLAMA, gpu=H100, parallel=Parallel(4))
    assert only.step_s(BATCH) == Roofline(LLAMA, H100, Parallel(4)).step_s(BATCH)
    assert hand_over_s(LLAMA, H100, Parallel(4))(BATCH) == 0


def test_what_was_measured_on_an_engine_is_shared_out_and_holds_the_way_between_stages(tmp_path: Path) -> None:
    file, fitted = tmp_path / "steps.json", Fitted(8e-3, 1e-5, 1e-8, 1e-9)
    save_fitted(fitted, file)
    times, send_s = pipeline_times(f"fitted:{file}", model=LLAMA, gpu=H100, parallel=Parallel(1, 3))
    assert [one.step_s(BATCH) / fitted.step_s(BATCH) for one in times] == pytest.approx([27 / 80, 27 / 80, 26 / 80])
    assert send_s(BATCH) == 0
    computed, handed_s = pipeline_times("roofline", model=LLAMA, gpu=H100, parallel=Parallel(4, 2))
    assert len(computed) == 2
    assert handed_s(BATCH) == hand_over_s(LLAMA, H100, Parallel(4, 2))(BATCH) > 0


def test_stages_together_take_what_the_model_takes_on_as_many_gpus_a_layer() -> None:
    """But for the residual stream of each stage's first all-reduce, which a whole model has once."""
    piped = stage_step_times("roofline", model=LLAMA, gpu=H100, parallel=Parallel(4, 2))
    whole = Roofline(LLAMA, H100, Parallel(4))
    assert sum(one.step_s(BATCH) for one in piped) == pytest.approx(whole.step_s(BATCH), rel=5e-3)
    alone = stage_step_times("roofline", model=LLAMA, gpu=H100, parallel=Parallel(1, 2))
    assert sum(one.step_s(BATCH) for one in alone) == pytest.approx(Roofline(LLAMA, H100, ONE_GPU).step_s(BATCH))


def test_only_the_last_stage_has_logits() -> None:
    parts = [
        {part.name for part in Roofline(stage, H100, Parallel(1, 3)).parts(BATCH) if part.seconds}
        for stage in stages(LLAMA, Parallel(1, 3))
    ]
    assert ["lm_head" in names for names in parts] == [False, False, True]


def test_handing_over_takes_latency_and_two_streams_over_the_link() -> None:
    parallel = Parallel(1, 4, link=TEN_US_10_GBPS)
    message = 64 * 2 * 8192 * 2
    assert hand_over_s(LLAMA, H100, parallel)(BATCH) == pytest.approx(10e-6 + message / 10e9)


def test_between_nodes_a_stage_is_as_far_as_the_links_are_slow() -> None:
    """Four stages in two nodes: one of three hand-overs goes from node to node."""
    slow = "latency_us=100,bandwidth_gbps=1"
    parallel = Parallel(1, 4, nodes=2, link=TEN_US_10_GBPS, node_link=slow)
    message = 64 * 2 * 8192 * 2
    inside, outside = 10e-6 + message / 10e9, 100e-6 + message / 1e9
    assert hand_over_s(LLAMA, H100, parallel)(BATCH) == pytest.approx((2 * inside + outside) / 3)


def test_gpus_of_a_stage_share_what_they_send_and_gather_it_again() -> None:
    parallel = Parallel(4, 2, link=TEN_US_10_GBPS)
    message = 64 * 2 * 8192 * 2
    sent = 10e-6 + message / 4 / 10e9
    gathered = 10e-6 + message * 3 / 4 / 10e9
    assert hand_over_s(LLAMA, H100, parallel)(BATCH) == pytest.approx(sent + gathered)
