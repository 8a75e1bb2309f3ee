"""The library's front door: run a trace under one policy."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from continuum_sim.engine.tier_config import ReloadRule
from continuum_sim.execute import OnProgress, execute
from continuum_sim.hardware import GpuSpec, ModelSpec
from continuum_sim.policies import Policy, Routing
from continuum_sim.replicas import Replicas
from continuum_sim.resolve import resolve
from continuum_sim.results.result import RunResult
from continuum_sim.results.tables import COLUMNS
from continuum_sim.run_config import Arrivals, EngineMode, RunConfig, Trace
from continuum_sim.steptime.model import StepTime
from continuum_sim.tools.config import Setting


def run(
    trace: Trace = "swebench.jsonl",
    policy: str | Policy = "ttl",
    *,
    arrivals: Arrivals = None,
    seed: int = 0,
    model: str | ModelSpec = "llama-3.1-8b",
    gpu: str | GpuSpec = "a100-80",
    tensor_parallel_size: int = 1,
    gpu_memory_utilization: float = RunConfig.gpu_memory_utilization,
    block_size: int = RunConfig.block_size,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
    max_model_len: int | None = None,
    kv_blocks: int | None = None,
    watermark: float = 0.0,
    replicas: Replicas = 1,
    router: str | Routing | None = None,
    dram_gb: float = 0.0,
    dram_gbps: float = RunConfig.dram_gbps,
    ssd_gb: float = 0.0,
    ssd_gbps: float = RunConfig.ssd_gbps,
    reload: ReloadRule = "faster",
    step_time: str | StepTime = "roofline",
    engine: EngineMode = "fast",
    limit: int | None = None,
    max_turns: int | None = None,
    repeat_turns: float = 1.0,
    tool_workers: Setting = None,
    tool_timeout: Setting = None,
    tool_failure_rate: Setting = None,
    tool_retries: Setting = None,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    decisions: bool = False,
    timeline: bool = True,
    progress: OnProgress | None = None,
) -> RunResult:
    """Simulate one trace on one engine, or a cluster of them, under one policy.

    Parameters
    ----------
    trace, policy, arrivals, seed, engine, limit, max_turns, repeat_turns, tool_workers, tool_timeout, \
tool_failure_rate, tool_retries
        See `RunConfig`.
    model, gpu, tensor_parallel_size, gpu_memory_utilization, block_size, max_num_batched_tokens, max_num_seqs, \
max_model_len, kv_blocks, watermark, step_time
        The engine, in vLLM's words; see `RunConfig`.
    replicas, router
        A cluster of such engines and how turns find theirs; see `RunConfig`.
    dram_gb, dram_gbps, ssd_gb, ssd_gbps, reload
        Memory tiers below the KV cache; see `RunConfig`.
    out
        Directory to write the run to as it goes, in bounded memory; None keeps its tables in memory.
    force
        Whether `out` may replace earlier results.
    decisions
        Whether to log every decision of the policy.
    timeline
        Whether to record the engine over time.
    progress
        Called now and then with how far the run is.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        Before anything runs, for settings, policies and traces that cannot work.
    SimulationError
        If the policy holds work back for good.
    OSError
        If `out` cannot be written.
    """
    config = RunConfig(
        trace=trace,
        policy=policy,
        arrivals=arrivals,
        seed=seed,
        model=model,
        gpu=gpu,
        tensor_parallel_size=tensor_parallel_size,
        gpu_memory_utilization=gpu_memory_utilization,
        block_size=block_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        kv_blocks=kv_blocks,
        watermark=watermark,
        replicas=replicas,
        router=router,
        dram_gb=dram_gb,
        dram_gbps=dram_gbps,
        ssd_gb=ssd_gb,
        ssd_gbps=ssd_gbps,
        reload=reload,
        step_time=step_time,
        engine=engine,
        limit=limit,
        max_turns=max_turns,
        repeat_turns=repeat_turns,
        tool_workers=tool_workers,
        tool_timeout=tool_timeout,
        tool_failure_rate=tool_failure_rate,
        tool_retries=tool_retries,
    )
    return execute(
        resolve(config),
        tables=[table for table in COLUMNS if timeline or table != "timeline"],
        out=None if out is None else Path(out),
        force=force,
        decisions=decisions,
        progress=progress,
    )
