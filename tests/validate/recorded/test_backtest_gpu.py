"""The simulator against a real GPU's recorded run, with the GPU's profile and nothing fitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from continuum_sim.validate.recorded import BacktestReport, run_backtest

RUN = Path(__file__).parents[4] / "shared/gpu-runs/rtx4090-llama-3.1-8b"

pytestmark = pytest.mark.skipif(not RUN.is_dir(), reason=f"no recorded GPU run at {RUN}")


@pytest.fixture(scope="module")
def report() -> BacktestReport:
    return run_backtest(RUN / "requests.jsonl", step_time=f"profiled:{RUN}", tolerance=0.03)


def test_the_engine_is_the_recorded_one(report: BacktestReport) -> None:
    engine = {name: setting.value for name, setting in report.engine.items()}
    assert engine == {
        "model": "Llama-3.1-8B",
        "gpu": "RTX-4090",
        "tensor_parallel_size": 1,
        "kv_blocks": 2588,
        "block_size": 16,
        "max_num_batched_tokens": 2048,
        "max_num_seqs": 256,
        "max_model_len": 32768,
        "async_scheduling": True,
    }
    assert {setting.origin for setting in report.engine.values()} == {"recorded"}
    assert (report.source.requests, report.source.output_tokens) == (300, 195_753)


@pytest.mark.parametrize("name", ["end_to_end", "ttft", "tpot"])
def test_means_are_within_three_per_cent(report: BacktestReport, name: str) -> None:
    metric = report.metric(name)
    assert metric is not None
    assert metric.mean.error is not None
    assert abs(metric.mean.error) < 0.03
    assert report.passed


def test_so_are_whole_distributions(report: BacktestReport) -> None:
    # Single percentiles may fall into a gap between two waves of admissions; whole distributions must agree.
    for metric in report.metrics:
        assert metric.agreement.distribution_error is not None
        assert metric.agreement.distribution_error < 0.03
    duration = report.run[0]
    assert duration.error is not None
    assert abs(duration.error) < 0.01


def test_the_engine_was_as_full(report: BacktestReport) -> None:
    assert report.gauges is not None
    # running + waiting in the series equals the requests in the system in the log: both use the same clock.
    assert report.gauges.clock_distance < 0.2
    for gauge in report.gauges.gauges:
        assert gauge.simulated_mean == pytest.approx(gauge.recorded_mean, rel=0.02)
