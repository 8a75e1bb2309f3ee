"""Run a backtest: read a log, simulate it, compare, write the results."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.results.files import check_free
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.steptime.model import StepTime
from continuum_sim.validate.recorded.best import resolve_best
from continuum_sim.validate.recorded.compare import gauges, metric, run_figures, samples, verdicts
from continuum_sim.validate.recorded.engine import Choices, choose, resolve_recorded
from continuum_sim.validate.recorded.files import write_backtest
from continuum_sim.validate.recorded.formats.llmservingsim import LLMSERVINGSIM
from continuum_sim.validate.recorded.idle import idle_note
from continuum_sim.validate.recorded.log import EngineSetup, RecordedLog
from continuum_sim.validate.recorded.read import read_recorded
from continuum_sim.validate.recorded.replay import Replay, in_system, replay
from continuum_sim.validate.recorded.report import BacktestReport, Gauges, Setting, Source
from continuum_sim.validate.recorded.timeseries import TIMESERIES, EngineSeries, align, read_timeseries


def run_backtest(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    step_time: str | StepTime | None = None,
    model: str | None = None,
    gpu: str | None = None,
    tensor_parallel_size: int | None = None,
    pipeline_parallel_size: int | None = None,
    enable_expert_parallel: bool | None = None,
    kv_blocks: int | None = None,
    block_size: int | None = None,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
    max_model_len: int | None = None,
    async_scheduling: bool | None = None,
    client_delay: float | None = None,
    tolerance: float = 0.05,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    seed: int = 0,
    command: Sequence[str] | None = None,
) -> BacktestReport:
    """Compare the simulator with a recorded run of a real engine.

    Parameters
    ----------
    path
        The log. `meta.json` and `timeseries.csv` beside a log of LLMServingSim are read too.
    format
        One of `FORMATS`; None detects it from the file.
    step_time
        Step-time model: `profiled:DIR`, `fitted:FILE`, `roofline` or a model object. None takes the best there is
        (`best.resolve_best`), which the report names.
    model, gpu, tensor_parallel_size, pipeline_parallel_size, enable_expert_parallel, kv_blocks, block_size, \
    max_num_batched_tokens, max_num_seqs, max_model_len, async_scheduling
        The engine. None takes what the log says, otherwise vLLM's default.
    client_delay
        Seconds that a request is on its way, half before and half after the engine, where the log's times are its
        client's. None is no delay.
    tolerance
        Largest allowed error of the means of end to end, TTFT and TPOT, as a share of the recorded value.
    out
        Directory for report, figures and the table of requests; None writes nothing.
    force
        True if `out` may replace earlier results.
    seed
        Seed of the bootstrap.
    command
        The command line, for the manifest.

    Raises
    ------
    TraceError
        For an unusable log; the message names line and field.
    ConfigError
        For invalid settings, before anything runs.
    SimulationError
        If the simulated engine is stuck with unfinished work.
    OSError
        If `out` cannot be written.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(f"tolerance is {tolerance}, expected a share of zero or more, as 0.05 for 5 %")
    if out is not None:
        check_free(Path(out), force=force)
    log = read_recorded(path, format)
    given = EngineSetup(
        model=model,
        gpu=gpu,
        tensor_parallel_size=tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel_size,
        enable_expert_parallel=enable_expert_parallel,
        kv_blocks=kv_blocks,
        block_size=block_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        async_scheduling=async_scheduling,
        client_delay=client_delay,
    )
    choices = choose(log, given)
    if step_time is None:
        run, why = resolve_best(log, choices)
        notes_of_run = [f"step times by default: {why}"]
    else:
        run, notes_of_run = resolve_recorded(log, choices, step_time), []
    series, notes = _series(log)
    simulated = replay(log, run)
    notes = [*notes_of_run, *notes, *idle_note(log, simulated.requests, choices.settings["client_delay"] or 0.0)]
    report = _report(log, choices, run, simulated, series, notes, tolerance, np.random.default_rng(seed))
    if out is not None:
        aligned = None if series is None else series[0]
        write_backtest(Path(out), report, log, simulated, run, aligned, force=force, command=command)
    return report


def _series(log: RecordedLog) -> tuple[tuple[EngineSeries, float, float] | None, list[str]]:
    """Return the engine's gauges on the log's clock with the clock's remaining error, if there are any, and notes."""
    path = log.path.with_name(TIMESERIES)
    if log.format != LLMSERVINGSIM.name or not path.is_file():
        return None, []
    rows = read_timeseries(path)
    found = align(rows, lambda at_s: in_system(log.requests, at_s), log.end_s)
    if found is None:
        return None, [f"{path}: does not agree with the log on how many requests were in the system; left out"]
    aligned, left = found
    return (aligned, float(rows.at_s[0] - aligned.at_s[0]), left), []


def _report(
    log: RecordedLog,
    choices: Choices,
    run: ResolvedRun,
    simulated: Replay,
    series: tuple[EngineSeries, float, float] | None,
    notes: list[str],
    tolerance: float,
    rng: np.random.Generator,
) -> BacktestReport:
    metrics = [metric(one, tolerance, rng) for one in samples(log, simulated)]
    judged = verdicts(metrics, tolerance)
    return BacktestReport(
        passed=all(verdict.within for verdict in judged),
        tolerance=tolerance,
        verdicts=judged,
        source=_source(log),
        engine=_engine(choices, run),
        step_time=run.step_time.describe(),
        metrics=metrics,
        run=run_figures(log, simulated),
        simulated_preemptions=simulated.totals.preemptions,
        recorded_preemptions=None if series is None else series[0].preemptions,
        simulated_steps=simulated.totals.steps,
        gauges=None
        if series is None
        else Gauges(len(series[0].at_s), series[1], series[2], gauges(series[0], simulated)),
        wall_s=simulated.wall_s,
        notes=[*log.notes, *choices.notes, *run.notes, *notes],
    )


def _source(log: RecordedLog) -> Source:
    with log.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(
        path=str(log.path),
        sha256=digest,
        format=log.format,
        requests=len(log.requests),
        input_tokens=sum(request.input_tokens for request in log.requests),
        output_tokens=sum(request.output_tokens for request in log.requests),
        measured=list(log.provenance.measured),
        derived=list(log.provenance.derived),
        missing=list(log.provenance.missing),
    )


def _engine(choices: Choices, run: ResolvedRun) -> dict[str, Setting]:
    values: dict[str, str | int | float] = {
        "model": run.model.name,
        "gpu": run.gpu.name,
        "tensor_parallel_size": run.config.tensor_parallel_size,
        "kv_blocks": run.engine.num_gpu_blocks,
        "block_size": run.engine.block_size,
        "max_num_batched_tokens": run.engine.max_num_batched_tokens,
        "max_num_seqs": run.engine.max_num_seqs,
        "max_model_len": run.engine.max_model_len,
        "async_scheduling": run.engine.async_scheduling,
    }
    for name in ("pipeline_parallel_size", "enable_expert_parallel", "nodes"):
        if (value := getattr(run.config, name)) > 1 or value is True:
            values[name] = value
    if run.config.client_delay:
        values["client_delay"] = run.config.client_delay
    if not run.engine.enable_prefix_caching:
        values["enable_prefix_caching"] = False
    if run.engine.long_prefill_token_threshold:
        values["long_prefill_token_threshold"] = run.engine.long_prefill_token_threshold
    return {name: Setting(value, choices.origins[name]) for name, value in values.items()}
