"""What a step log tells of the host's time."""

from __future__ import annotations

import pytest

from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.validate.calibration.host import host_times
from continuum_sim.validate.steplog import LoggedStep


def decode(requests: int) -> StepBatch:
    return StepBatch(0, 0, 0, 0, requests, 100 * requests)


def synchronous(requests: list[int], model_s: float = 0.01) -> list[LoggedStep]:
    """Steps of a host that takes 1 ms, and 10 µs for each request beyond the first: a fifth of it to schedule."""
    now_s, steps = 5.0, [LoggedStep(4.0, 4.1, 4.9, 5.0, prefill_of(64), 1)]
    for n in requests:
        host_s = 1e-3 + 1e-5 * (n - 1)
        start_s = now_s + 0.5 * host_s
        scheduled_s = start_s + 0.2 * host_s
        ran_s = scheduled_s + model_s
        now_s = ran_s + 0.3 * host_s
        steps.append(LoggedStep(start_s, scheduled_s, ran_s, now_s, decode(n), n))
    return steps


def test_between_synchronous_steps_the_gpu_waits_for_the_host() -> None:
    told = host_times(synchronous([1] * 10 + [4] * 10 + [64] * 10))
    assert told["host_s"] == pytest.approx(1e-3)
    assert told["host_request_s"] == pytest.approx(1e-5)
    assert told["schedule_s"] == pytest.approx(0.2 * (1e-3 + 3e-5), rel=1e-6)
    assert told["steps"] == 30


def test_steps_planned_ahead_do_not_tell() -> None:
    steps = [
        LoggedStep(0.01 * at - 0.009, 0.01 * at - 0.008, 0.01 * at + 0.009, 0.01 * at + 0.01, decode(2), 2)
        for at in range(9)
    ]
    told = host_times(steps)
    assert "host_s" not in told
    assert (told["schedule_s"], told["process_s"]) == (pytest.approx(1e-3), pytest.approx(1e-3))


def test_nothing_is_told_without_decoding_steps() -> None:
    assert host_times(synchronous([])) == {}
