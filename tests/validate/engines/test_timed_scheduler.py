"""What runs inside the engine, under a made-up scheduler: every step is logged, with its batch, and held to a pace."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from continuum_sim.steptime import Calibrated
from continuum_sim.validate.engines import timed_scheduler
from continuum_sim.validate.engines.timed_scheduler import StepClock, force_async_scheduling, make_timed_scheduler
from continuum_sim.validate.session.pace import Pacer
from continuum_sim.validate.steplog import ENVIRONMENT, LoggedStep, read_steps

TENTH = Calibrated(0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
"""Every step takes a tenth of a second."""


class Scheduler:
    """Plans a prompt of so many tokens at every call; 0 is a step that computes nothing."""

    kv_cache_config = SimpleNamespace(kv_cache_groups=[], prefix_cache_retention_interval=0)

    def __init__(self, tokens: Sequence[int], unfinished: Sequence[int]) -> None:
        self._tokens, self._unfinished = iter(tokens), iter(unfinished)
        self.requests: dict[str, Any] = {}

    def schedule(self) -> Any:
        tokens = next(self._tokens)
        self.requests["a"] = SimpleNamespace(num_computed_tokens=tokens, num_prompt_tokens=100)
        return SimpleNamespace(
            num_scheduled_tokens={"a": tokens} if tokens else {},
            scheduled_spec_decode_tokens={},
            scheduled_new_reqs=[],
            scheduled_cached_reqs=SimpleNamespace(resumed_req_ids=set()),
        )

    def update_from_output(self, *args: Any) -> str:
        return "outputs"

    def get_num_unfinished_requests(self) -> int:
        return next(self._unfinished)

    def shutdown(self) -> None:
        pass


class Machine:
    """A clock for all, on which only sleeping takes time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 5.0
        monkeypatch.setattr(timed_scheduler, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def drive(scheduler: Scheduler, calls: str, machine: Machine, path: Path) -> list[LoggedStep]:
    """Let an engine call its scheduler: `s` to schedule, `u` to process the oldest step, `.` to do so for 10 ms."""
    clock = StepClock(scheduler, path, Pacer(TENTH, lambda: machine.now_s, machine.sleep))
    for call in calls:
        if call == "s":
            scheduler.schedule()
        elif call == "u":
            assert scheduler.update_from_output() == "outputs"
        else:
            machine.sleep(0.01)
    clock.shutdown()
    return read_steps(path)


def test_two_steps_under_way_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of an asynchronous engine: each update is the oldest plan's, and the next begins when it ends."""
    machine = Machine(monkeypatch)
    steps = drive(Scheduler([10, 20, 30, 40], [1, 1, 1, 0]), "s.s.u.s.u.s.uu", machine, tmp_path / "log")
    assert [step.batch.prefill_tokens for step in steps] == [10, 20, 30, 40]
    assert [step.start_s for step in steps] == pytest.approx([5.0, 5.01, 5.11, 5.21])
    assert [step.end_s for step in steps] == pytest.approx([5.1, 5.2, 5.3, 5.4])


def test_an_empty_plan_takes_no_time_and_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    steps = drive(Scheduler([10, 0, 30, 0, 50], [1, 1, 0, 0, 0]), "ssu.susuu.su", machine, tmp_path / "log")
    assert [step.batch.prefill_tokens for step in steps] == [10, 0, 30, 0, 50]
    # The third began with the first's end. The last was planned when nothing was left.
    assert [step.end_s for step in steps] == pytest.approx([5.1, 5.11, 5.2, 5.2, 5.31])


def vllm(monkeypatch: pytest.MonkeyPatch, cpu: bool) -> None:
    """Put a made-up vLLM in the way of the real one, if there is one."""
    platforms = ModuleType("vllm.platforms")
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: cpu)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)


def settings_of_vllm(executor: str, async_scheduling: bool, drafts: object = None) -> Any:
    return SimpleNamespace(
        speculative_config=drafts,
        scheduler_config=SimpleNamespace(async_scheduling=async_scheduling),
        parallel_config=SimpleNamespace(distributed_executor_backend=executor),
    )


@pytest.mark.parametrize(
    ("cpu", "executor", "before", "after", "forced"),
    [
        (True, "mp", False, True, True),
        (True, "uni", False, False, False),
        (False, "mp", False, False, False),
        (False, "mp", True, True, False),
    ],
)
def test_only_a_cpu_whose_worker_is_a_process_is_forced(
    cpu: bool, executor: str, before: bool, after: bool, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other platforms vLLM has its reasons to turn it off."""
    vllm(monkeypatch, cpu)
    config = settings_of_vllm(executor, before)
    assert force_async_scheduling(config) is forced
    assert config.scheduler_config.async_scheduling is after


def test_an_engine_with_drafts_is_not_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm(monkeypatch, cpu=True)
    assert not force_async_scheduling(settings_of_vllm("mp", False, drafts=SimpleNamespace(method="ngram")))


@pytest.mark.parametrize("asked", [False, True])
def test_the_engine_says_how_it_schedules(asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm(monkeypatch, cpu=True)
    monkeypatch.setattr(timed_scheduler, "end_with_parent", lambda: None)
    monkeypatch.setattr(timed_scheduler, "_scheduler_class", lambda *args: lambda config: Scheduler([], []))
    told = {"path": str(tmp_path / "log"), "scheduling": str(tmp_path / "how"), "policy": False}
    monkeypatch.setenv(ENVIRONMENT, json.dumps({**told, "async_scheduling": asked}))
    make_timed_scheduler(settings_of_vllm("mp", async_scheduling=False))
    assert json.loads((tmp_path / "how").read_text()) == {
        "async_scheduling": asked,
        "forced": asked,
        "kv_cache_groups": [],
        "prefix_cache_retention_interval": 0,
    }
