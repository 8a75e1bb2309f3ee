"""Token latencies and goodput agree with what vLLM's own benchmark computes for the same turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import continuum_sim as cs
from continuum_sim.results.summary import KeptSlo, Quantiles
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from support.runs import simulate
from support.small_results import SMALL
from support.steptimes import constant
from support.token_times import TokenTimes

pytestmark = pytest.mark.engine

PERCENTILES = (50, 90, 95, 99, 100)
BOUNDS_S = {"ttft": 0.3, "tpot": 0.05, "e2el": 2.0}


def test_they_are_those_of_vllm_bench_serve() -> None:
    serve = pytest.importorskip("vllm.benchmarks.serve", reason="needs vLLM")
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput

    settings: dict[str, Any] = {**SMALL, "step_time": constant(0.03125), "arrivals": "poisson:rate=8"}
    run = resolve(RunConfig(**settings, policy="lru"))
    watch = TokenTimes()
    outcome = simulate(run.trace, config=run.engine, step_time=run.step_time, arrivals=run.arrivals, observer=watch)
    outputs = [
        RequestFuncOutput(
            success=True,
            latency=record.finish_s - record.arrival_s,
            output_tokens=record.output_tokens,
            ttft=record.first_token_s - record.arrival_s,
            itl=np.diff(watch.times_s[record.program, record.turn]).tolist(),
            prompt_len=record.prompt_tokens,
            start_time=record.arrival_s,
        )
        for record in outcome.turns
    ]
    bounds_ms = {name: 1000 * bound_s for name, bound_s in BOUNDS_S.items()}
    theirs, _ = serve.calculate_metrics([], outputs, outcome.totals.end_s, None, list(PERCENTILES), bounds_ms)
    ours = cs.run(**settings, policy="lru", slo=BOUNDS_S).summary
    assert ours.preemptions > 0
    assert theirs.completed == ours.turns
    for name in ("ttft", "tpot", "itl", "e2el"):
        found = getattr(ours, f"{name}_s")
        assert isinstance(found, Quantiles)
        expected_ms = [getattr(theirs, f"mean_{name}_ms"), *(ms for _, ms in getattr(theirs, f"percentiles_{name}_ms"))]
        mine_ms = [1000 * value for value in (found.mean, found.p50, found.p90, found.p95, found.p99, found.max)]
        assert mine_ms == pytest.approx(expected_ms, rel=1e-9), name
    assert ours.throughput.output_tokens_per_s == pytest.approx(theirs.output_throughput)
    assert isinstance(ours.slo, KeptSlo)
    assert 0 < theirs.request_goodput < theirs.request_throughput
    assert ours.slo.good_turns_per_s == pytest.approx(theirs.request_goodput)
