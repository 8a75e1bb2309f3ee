"""Whole runs on data-parallel ranks: which engines there are, and what a summary and its table say of them."""

from __future__ import annotations

from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.results.view.run import run_view
from support.views import sentences

HOW: dict[str, Any] = {
    "trace": "swebench",
    "limit": 12,
    "arrivals": "poisson:rate=0.2",
    "kv_blocks": 12_000,
    "data_parallel_size": 4,
}


def test_a_run_tells_of_each_rank() -> None:
    result = cs.run(**HOW)
    parts = result.summary.replicas
    assert isinstance(parts, list)
    assert [(part.replica, part.rank) for part in parts] == [(number, number) for number in range(4)]
    assert result.summary.router == "vllm-balancer"
    assert sum(part.turns for part in parts) == result.summary.turns == len(result.turns)
    assert set(result.turns["replica"]) == {0, 1, 2, 3}
    assert any("rank 3" in said for said in sentences(run_view(result.summary, result.manifest)))


def test_deployments_keep_their_programs_and_a_router_of_ours_binds_ranks() -> None:
    stock = cs.run(**HOW, replicas=2).summary
    assert stock.router == "session-affinity of deployments, vllm-balancer of their ranks"
    bound = cs.run(**HOW, replicas=2, router="session-affinity").summary
    assert isinstance(bound.replicas, list)
    assert [part.rank for part in bound.replicas] == [0, 1, 2, 3] * 2
    assert bound.moved_turns < stock.moved_turns


def test_ranks_of_a_mixture_step_together_and_jumping_changes_nothing() -> None:
    how = HOW | {"limit": 5, "unfit": "drop", "model": "qwen3-30b-a3b"}
    fast, stepwise = (cs.run(**how, engine=engine).summary for engine in ("fast", "stepwise"))
    for name in ("turns", "steps", "moved_turns", "preemptions"):
        assert getattr(fast, name) == getattr(stepwise, name), name
    assert fast.jct_s.mean == pytest.approx(stepwise.jct_s.mean, rel=1e-9)
    with pytest.raises(cs.ConfigError, match="prefill_schedule_interval is 3"):
        cs.run(**how, vllm_version="0.33", prefill_schedule_interval=3)
