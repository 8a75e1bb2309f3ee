"""What the host adds to step times: launches by CUDA graph mode, and waiting for it without asynchronous scheduling."""

from __future__ import annotations

import numpy as np
import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import NO_WORK, Fitted, Roofline, StepBatch, StepTime, make_step_time, ranked
from continuum_sim.steptime.adjusted import adjusted, parts_of
from continuum_sim.steptime.batch import prefill_of
from continuum_sim.steptime.common import Conditions
from continuum_sim.steptime.host import Host
from continuum_sim.steptime.piped import stage_step_times
from continuum_sim.steptime.uncertain import Factors, draw_factors, ends
from support.configurations import configured

MODEL, B200 = find_model("llama-3.1-8b"), find_gpu("b200")
DECODE = StepBatch(0, 0, 0, 0, 8, 8_000)
PROMPT = prefill_of(16, 4_000)
BARE = Roofline(MODEL, B200)
OFF = "piecewise_layer_s=0,eager_layer_s=0"


def make(text: str, *, asynchronous: bool = True) -> StepTime:
    return make_step_time(text, model=MODEL, gpu=B200, conditions=Conditions(asynchronous))


@pytest.mark.parametrize(
    ("mode", "decode", "prompt"),
    [
        ("full_and_piecewise", "graph", "pieces"),
        ("FULL_DECODE_ONLY", "graph", "eager"),
        ("full", "graph", "graph"),
        ("piecewise", "pieces", "pieces"),
        ("none", "eager", "eager"),
    ],
)
def test_a_step_takes_no_less_than_launching_it_which_depends_on_the_mode(mode: str, decode: str, prompt: str) -> None:
    model = make(f"roofline:cudagraph_mode={mode},piecewise_layer_s=1,eager_layer_s=2")
    launched_s = {"graph": 0.0, "pieces": 32.0, "eager": 64.0}
    assert model.step_s(DECODE) == max(launched_s[decode], BARE.step_s(DECODE))
    assert model.step_s(PROMPT) == max(launched_s[prompt], BARE.step_s(PROMPT))


def test_above_the_captured_sizes_nothing_is_in_a_graph() -> None:
    model = make("roofline:piecewise_layer_s=1,eager_layer_s=2,max_cudagraph_capture_size=64")
    assert model.step_s(prefill_of(64)) == 32 < model.step_s(prefill_of(65)) == 64
    assert model.step_s(DECODE._replace(decode_requests=65)) == 64
    assert make("roofline:eager_layer_s=2").step_s(prefill_of(1024)) < 2  # a B200's graphs hold as many


def test_the_gpu_waits_for_a_host_that_does_not_work_ahead() -> None:
    gpu_s = BARE.step_s(DECODE)
    assert make("roofline:host_s=0.001").step_s(DECODE) == gpu_s > 0.001
    assert make("roofline:host_s=0.5").step_s(DECODE) == 0.5
    assert make("roofline:host_s=0.5", asynchronous=False).step_s(DECODE) == pytest.approx(0.5 + gpu_s)
    launched = make(f"roofline:{OFF},host_s=0.5,cudagraph_mode=none,eager_layer_s=1")
    assert launched.step_s(DECODE) == 32.5


def test_published_floors() -> None:
    """Mixed steps of a B200 that took 9 to 12 ms where kernels say 4 to 6 are those that nothing captured."""
    step = prefill_of(256, 4_000)._replace(decode_requests=16, decode_context_tokens=64_000)
    assert 4e-3 < BARE.step_s(step) < 6e-3
    assert make("roofline").step_s(step) == BARE.step_s(step)
    assert 9e-3 < make("roofline:cudagraph_mode=full_decode_only").step_s(step) < 12e-3
    small = make_step_time("roofline", model=find_model("llama-3.2-1b"), gpu=find_gpu("h100"))
    assert small.step_s(prefill_of(16, 100)) == pytest.approx(16 * 1.25e-4)


def test_steps_of_a_whole_engine_hold_its_host_already() -> None:
    batch = prefill_of(16)
    measured = Fitted(1e-4, 0.0, 0.0, 0.0)
    assert adjusted(measured, Host(32)) is measured
    assert adjusted(measured, Host(32, piecewise_layer_s=1.0)).step_s(batch) == 32


def test_only_the_first_stage_waits_for_the_scheduler_and_each_launches_its_layers() -> None:
    conditions = Conditions(asynchronous=False)
    times = stage_step_times(
        f"roofline:{OFF},host_s=1,piecewise_layer_s=2",
        model=MODEL,
        gpu=B200,
        parallel=Parallel(1, 2),
        conditions=conditions,
    )
    assert [stage.step_s(PROMPT) for stage in times] == [33.0, 32.0]


def test_ranks_wait_for_the_slowest_host() -> None:
    model = configured("qwen3-30b-a3b")
    parallel = Parallel(1, data_parallel_size=2, enable_expert_parallel=True)
    bare = ranked(make_step_time(f"roofline:{OFF}", model=model, gpu=B200, parallel=parallel))
    slow = ranked(make_step_time("roofline:piecewise_layer_s=1", model=model, gpu=B200, parallel=parallel))
    assert slow.together_s([DECODE, NO_WORK]) == bare.together_s([DECODE, NO_WORK])
    assert slow.own_line(DECODE, 9) == bare.own_line(DECODE, 9) != slow.own_line(PROMPT, 1) is None
    assert slow.together_runs_s([DECODE, PROMPT], 1).tolist() == [model.n_layers]
    steps_s = slow.together_runs_s([DECODE, DECODE], 50)
    assert np.array_equal(steps_s, bare.together_runs_s([DECODE, DECODE], 50))


def test_the_host_is_a_part_of_the_steps_that_wait_for_it() -> None:
    model = make("roofline:piecewise_layer_s=1")
    assert [part.name for part in parts_of(model, DECODE)] == [part.name for part in BARE.parts(DECODE)]
    *_, host = parts_of(model, PROMPT)
    assert (host.name, host.seconds) == ("host", pytest.approx(32 - BARE.step_s(PROMPT)))


def test_the_description_says_what_the_host_takes() -> None:
    told = make("roofline:host_s=0.002").describe()["host"]
    assert (told["layers"], told["host_s"], told["piecewise_layer_s"]) == (32, 0.002, 1.25e-4)
    assert "host" not in make(f"roofline:{OFF}").describe()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("roofline:cudagraph_mode=fast", "cudagraph_mode is 'fast', expected one of full_and_piecewise, "),
        ("roofline:host_s=-1", "host_s is -1, expected a number from 0"),
        ("roofline:host_s=soon", "host_s is 'soon', expected a number"),
        ("roofline:error=2", "error is 2, expected a number from 0 to 1"),
        ("roofline:factor=0", "factor is 0, expected more than 0"),
        ("roofline:eror=0.1", "'eror' of step-time model roofline, did you mean 'error'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make(text)


def test_factors_multiply_steps_with_prompts_and_others() -> None:
    conditions = Conditions(factors=Factors(2.0, 3.0))
    model = make_step_time(f"roofline:{OFF},error=0.1,factor=0.5", model=MODEL, gpu=B200, conditions=conditions)
    assert model.step_s(DECODE) == pytest.approx(BARE.step_s(DECODE))
    assert model.step_s(PROMPT) == pytest.approx(1.5 * BARE.step_s(PROMPT))
    told = model.describe()
    assert (told["error"], told["factor"], told["factors"]) == (0.1, 0.5, {"decode": 1.0, "prompts": 1.5})


def test_draws_have_mean_one_and_the_standard_deviation_asked_for() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([draw_factors(0.2, rng) for _ in range(20_000)])
    assert drawn.mean(axis=0) == pytest.approx([1, 1], abs=0.005)
    assert drawn.std(axis=0) == pytest.approx([0.2, 0.2], rel=0.03)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03
    low, high = ends(0.2)
    assert ((low < drawn) & (drawn < high)).mean() == pytest.approx(0.9, abs=0.01)
