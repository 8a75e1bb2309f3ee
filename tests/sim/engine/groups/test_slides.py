"""Turns that slide evenly are counted: that decides the same as carrying out every slide, turn by turn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.chain import Chain
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.groups.steps import SteppedKVCacheManager
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.traces.schema import Program
from support.builds import replaces_methods
from support.compare import assert_same_runs
from support.programs import engine, program, turn
from support.runs import simulate
from support.steptimes import affine
from support.strategies import cases, grouped, policies


class QueueLog:
    """A `StepObserver` that notes what is free after each planned step, block by block in the order of eviction."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, int, int, list[tuple[int, int, int]]]] = []
        self._labels: dict[Chain | None, int] = {None: -1}

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        queue = [
            (self._labels.setdefault(run.chain, len(self._labels)), group, block)
            for run in scheduler.pool.queued()
            for group in range(run.group, run.group + run.width)
            for block in reversed(range(run.start, run.stop))
        ]
        self.entries.append((now_s, scheduler.pool.free, scheduler.pool.blank, queue))

    def on_submit(self, *_: object) -> None:
        """Ignore it."""

    on_abort = on_advance = on_submit


@st.composite
def grouped_cases(draw: st.DrawFn) -> tuple[list[Program], EngineConfig]:
    programs, config = draw(cases(several_groups=False))
    return programs, draw(grouped(config))


@replaces_methods
@pytest.mark.parametrize("stepwise", [True, False])
@settings(max_examples=12)
@given(case=grouped_cases(), policy=policies)
def test_counted_as_carried_out(stepwise: bool, case: tuple[list[Program], EngineConfig], policy: str) -> None:
    programs, config = case
    runs: list[Any] = []
    queues = [QueueLog(), QueueLog()]
    for counts in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if not counts:
                patch.setattr(SteppedKVCacheManager, "_slide", lambda self, request, counter: None)
            observer = queues[counts]
            runs.append(
                simulate(programs, policy, config=config, step_time=affine(), stepwise=stepwise, observer=observer)
            )
    assert_same_runs(*runs)
    assert queues[0].entries == queues[1].entries


@replaces_methods
@pytest.mark.parametrize(
    "layout",
    {
        "Gemma 3": (*[GroupSpec("sliding", 16, 64)] * 5, GroupSpec("full", 16)),
        "gpt-oss": (GroupSpec("full", 16), GroupSpec("sliding", 16, 48)),
        "Qwen3-Next": (*[GroupSpec("recurrent", 16)] * 3, GroupSpec("full", 16)),
        "two windows": (GroupSpec("sliding", 16, 32), GroupSpec("sliding", 16, 96), GroupSpec("full", 16)),
    }.values(),
)
def test_a_crowded_engine(layout: tuple[GroupSpec, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts return, are evicted in part, and turns outlast their windows; most slides are counted."""
    sizes = [(40 + 13 * n, 150 + 37 * n) for n in range(8)]
    programs = [
        program(f"p{n}", *(turn(first + 90 * k, output, gap=3.0 + n) for k in range(6)), at=2.0 * n)
        for n, (output, first) in enumerate(sizes)
    ]
    config = replace(engine(90 * len(layout), block_size=16, budget=256), kv_cache_groups=layout)
    calls: Counter[str] = Counter()
    carried_out = GroupedBlockPool.release_front
    trails = GroupedBlockPool.end_trail
    monkeypatch.setattr(GroupedBlockPool, "release_front", lambda *given: calls.update(["slid"]) or carried_out(*given))
    monkeypatch.setattr(GroupedBlockPool, "end_trail", lambda *given: calls.update(["trails"]) or trails(*given))
    queues = QueueLog(), QueueLog()
    counted = simulate(programs, "lru", config=config, step_time=affine(), stepwise=False, observer=queues[0])
    with_trails = dict(calls)
    calls.clear()
    monkeypatch.setattr(SteppedKVCacheManager, "_slide", lambda self, request, counter: None)
    fast = simulate(programs, "lru", config=config, step_time=affine(), stepwise=False, observer=queues[1])
    assert_same_runs(counted, fast)
    assert queues[0].entries == queues[1].entries
    assert with_trails["slid"] < calls["slid"] / 2
    if any(group.kind == "sliding" for group in layout):
        assert with_trails["trails"] > 20
