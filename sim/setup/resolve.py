"""From what a user asks for to what a run needs: look up names, fill in defaults, read the trace once."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, ModelSpec, find_gpu, find_model, kv_blocks, kv_bytes_per_token
from continuum_sim.hardware.kv import served_with
from continuum_sim.hardware.split_rules import check_split
from continuum_sim.policies import Policy, Routing
from continuum_sim.policies.planes import keeps_contexts
from continuum_sim.policies.rules.priority import by_priority
from continuum_sim.setup.engine_notes import engine_notes
from continuum_sim.setup.kv_groups import (
    caches_prefixes,
    drafter_group,
    groups_of,
    keeps_groups,
    keeps_states,
    spec_of,
)
from continuum_sim.setup.notation import parse_arrivals, parse_policy, parse_routing
from continuum_sim.setup.replicas import ReplicaSpec, parse_replicas
from continuum_sim.setup.run_config import DEFAULT_ARRIVALS, RunConfig
from continuum_sim.setup.step_times import drawn_factors, split_step_time
from continuum_sim.setup.trace_source import TraceSource
from continuum_sim.steady.burst import Burst
from continuum_sim.steady.population import draw_notes
from continuum_sim.steptime.common import Conditions
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import measured_on_one_gpu
from continuum_sim.traces.arrivals import Closed, FromTrace, OpenArrivals
from continuum_sim.world.deployments import default_routing
from continuum_sim.world.fits import remedies
from continuum_sim.world.tools import ToolConfig

_PAGE_BYTES: Final = 4096
"""Chunks in host memory begin at pages (`SharedOffloadRegion.BLOCK_SIZE_ALIGNMENT`)."""
_LMCACHE_CHUNK_TOKENS: Final = 256
"""LMCache's `chunk_size` (`lmcache/v1/config.py`, 0.5.6); what turns generate (`save_decode_cache`) and parts of chunks
(`save_unfull_chunk`) are not stored there by default either."""


@dataclass(frozen=True)
class ResolvedReplica:
    """One engine of a cluster."""

    name: str
    """GPU name plus any tier settings that override the defaults; replicas of the same name are identical."""
    gpu: GpuSpec
    engine: EngineConfig
    step_time: StepTime


@dataclass(frozen=True)
class ResolvedRun:
    """Everything one run needs."""

    config: RunConfig
    """What the user asked for, with the population filled in."""
    trace: TraceSource
    """Surveyed: every program fits at least one of the replicas; others were left out or cut if the user asked."""
    arrivals: OpenArrivals | Closed
    arrivals_spec: str
    """The arrivals in the notation of the command line."""
    policy: Policy
    model: ModelSpec
    gpu: GpuSpec
    engine: EngineConfig
    step_time: StepTime
    replicas: tuple[ResolvedReplica, ...]
    """All replicas; `gpu`, `engine` and `step_time` are those of the first."""
    ranks: int
    """Data-parallel ranks of each replica, which are engines of their own."""
    routing: Routing | None
    """How turns find their engines; None if there is only one."""
    tools: ToolConfig
    burst: Burst | None
    """Programs on top of the load."""
    notes: tuple[str, ...]
    """Where a real engine would behave differently, and where intervals over runs would claim too much."""

    @property
    def engines(self) -> list[ResolvedReplica]:
        """The replica of every engine, ranks of one next to each other."""
        return [replica for replica in self.replicas for _ in range(self.ranks)]

    @property
    def lockstep(self) -> bool:
        """Whether ranks step together: those of a mixture of experts, which vLLM spreads over all of them."""
        return self.ranks > 1 and self.model.n_experts > 0

    @property
    def gpus(self) -> list[str]:
        """Name of every GPU, those of one replica next to each other."""
        return [replica.gpu.name for replica in self.replicas for _ in range(self.config.parallel.gpus)]


def resolve(config: RunConfig, *, draws: bool = False) -> ResolvedRun:
    """Look up names, fill in vLLM's defaults, and read the trace once.

    Parameters
    ----------
    draws
        Whether a run with a length draws its programs by default, as runs to be compared do.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        For an unknown name, settings that cannot work together, a broken trace, or a program that can never fit; the
        message is one line.
    """
    policy = resolve_policy(config.policy)
    source = open_trace(config)
    arrivals = parse_arrivals(config.arrivals) if isinstance(config.arrivals, str) else config.arrivals
    model = config.model if isinstance(config.model, ModelSpec) else find_model(config.model)
    model = served_with(model, config.kv_cache_dtype)
    if not caches_prefixes(config, model):
        config = replace(config, enable_prefix_caching=False)
    check_split(model, config.parallel)
    gpu = config.gpu if isinstance(config.gpu, GpuSpec) else find_gpu(config.gpu)
    replicas = resolve_replicas(config, model, gpu)
    first = replicas[0]
    tiers = [replica.engine.tiers for replica in replicas if replica.engine.tiers is not None]
    if policy.retention.needs_tier and all(tier.native for tier in tiers):
        raise ConfigError(f"policy {policy.name!r} moves contexts to host memory: give it some with --dram-gb")
    _check_policy(policy, config, model)
    if not config.clients.patient and not all(tier.native for tier in tiers):
        raise ConfigError(
            "clients that leave are simulated without memory tiers: leave --dram-gb out, or --abort-rate, "
            "--request-timeout and --job-timeout"
        )
    engines = tuple(dict.fromkeys(replica.engine for replica in replicas))
    if config.unfit is None:
        source.survey(*engines, remedies=partial(_remedies, engines=engines, model=model, config=config))
    else:
        source = source.served_by(*engines, unfit=config.unfit)
    if arrivals is None:
        arrivals = parse_arrivals(FromTrace.name if source.has_arrivals else DEFAULT_ARRIVALS)
    if isinstance(arrivals, FromTrace):
        for _ in arrivals.times(source, np.random.default_rng(0)):
            pass  # raises before anything runs if the trace is out of order
    config = _with_population(config, arrivals, draws=draws)
    ranks = config.data_parallel_size
    if ranks > 1 and model.n_experts and config.prefill_schedule_interval > 1:
        raise ConfigError(
            f"prefill_schedule_interval is {config.prefill_schedule_interval}, but ranks of a mixture, which would "
            "count it together, are simulated without: leave it out"
        )
    if ranks > 1 and model.n_experts and config.pipeline_parallel_size > 1:
        raise ConfigError(
            f"pipeline_parallel_size is {config.pipeline_parallel_size}, but ranks of a mixture, which step together, "
            "are simulated without stages: leave --pp or --dp out"
        )
    length = config.length
    length.check(source.programs, arrivals)
    return ResolvedRun(
        config=config,
        trace=source,
        arrivals=arrivals,
        arrivals_spec=arrivals_spec(arrivals),
        policy=policy,
        model=model,
        gpu=first.gpu,
        engine=first.engine,
        step_time=first.step_time,
        replicas=replicas,
        ranks=ranks,
        routing=resolve_routing(config, policy, len(replicas), ranks),
        tools=config.tools,
        burst=None if length.burst is None else Burst.on(source, length.burst),
        notes=(
            *dict.fromkeys(
                note for r in replicas for note in engine_notes(config, model, r.gpu, r.engine, r.step_time)
            ),
            *(draw_notes(source) if length.drawn else ()),
        ),
    )


def _remedies(tokens: int, *, engines: Sequence[EngineConfig], model: ModelSpec, config: RunConfig) -> str:
    return remedies(
        tokens,
        engines,
        model=model.name,
        model_len=model.longest_model_len or model.max_model_len,
        kv_blocks=config.kv_blocks is not None,
    )


def _with_population(config: RunConfig, arrivals: OpenArrivals | Closed, *, draws: bool) -> RunConfig:
    if config.population is not None:
        return config
    drawn = draws and config.length.repeats and not isinstance(arrivals, FromTrace)
    return replace(config, population="drawn" if drawn else "trace")


def _check_policy(policy: Policy, config: RunConfig, model: ModelSpec) -> None:
    """Refuse a policy that the engine's own settings, or the model, leave no room for."""
    if keeps_contexts(policy.retention) and not config.enable_prefix_caching:
        stateful = f", which vLLM lacks for {model.name}, as it keeps states only; take another, such as lru"
        remedy = stateful if model.caches and not model.attention else "; leave --no-enable-prefix-caching out"
        raise ConfigError(
            f"policy {policy.name!r} keeps contexts for the next turn, which finds them through the prefix cache"
            f"{remedy}"
        )
    if config.scheduling_policy == "priority":
        by_priority(policy)


def open_trace(config: RunConfig) -> TraceSource:
    """Return the programs of a run as a source that can be read repeatedly.

    A source that another run has surveyed is passed through with its programs, so a comparison reads the file once.
    """
    trace = config.trace
    if isinstance(trace, TraceSource):
        return trace
    return TraceSource(trace, config.limit, config.max_turns, config.repeat_turns)


def resolve_policy(policy: str | Policy) -> Policy:
    """Make the policy, or copy the one given: a policy with state must not carry it from run to run."""
    return copy.deepcopy(policy) if isinstance(policy, Policy) else parse_policy(policy)


def resolve_replicas(config: RunConfig, model: ModelSpec, gpu: GpuSpec) -> tuple[ResolvedReplica, ...]:
    """Return the engine, with its memory tiers, and the step times of every replica.

    Raises
    ------
    ConfigError
        For invalid replicas, or one step-time model for different GPUs.
    """
    made: dict[str, ResolvedReplica] = {}
    specs = parse_replicas(config.replicas, gpu)
    gpus = dict.fromkeys(spec.gpu.name for spec in specs)
    several = len(gpus) > 1
    for spec in specs:
        if spec.name in made:
            continue
        item = spec.gpu
        step_time = config.step_time
        if several and (not isinstance(step_time, str) or measured_on_one_gpu(step_time)):
            what = f"--step-time {step_time}" if isinstance(step_time, str) else type(step_time).__name__
            raise ConfigError(
                f"{what} gives the step times of one kind of GPU, but the replicas use several "
                f"({', '.join(gpus)}); use roofline, or identical replicas"
            )
        conditions = Conditions(_plans_ahead(config), factors=drawn_factors(step_time, item, config.seed))
        step_time = split_step_time(step_time, model=model, gpu=item, parallel=config.parallel, conditions=conditions)
        if config.speculation is not None:
            step_time = config.speculation.timed(step_time, model, item, config.parallel)
        made[spec.name] = ResolvedReplica(spec.name, item, _engine_of(spec, config, model), step_time)
    return tuple(made[spec.name] for spec in specs)


def _plans_ahead(config: RunConfig) -> bool:
    """Return whether steps are planned while others run: where asked for, and the drafter allows it."""
    asked = config.speculation
    return config.async_scheduling and (asked is None or asked.config.plans_ahead(config.vllm_version))


def _engine_of(spec: ReplicaSpec, config: RunConfig, model: ModelSpec) -> EngineConfig:
    """Return the engine of one replica; errors name the replica if it has tiers of its own."""
    own: dict[str, Any] = dict(spec.tiers)
    try:
        return resolve_engine(replace(config, **own), model, spec.gpu)
    except ConfigError as error:
        raise ConfigError(f"replica {spec.name}: {error}" if spec.tiers else str(error)) from None


def resolve_routing(config: RunConfig, policy: Policy, replicas: int, ranks: int = 1) -> Routing | None:
    """Choose the routing rule: the one asked for, else the policy's, else the default for so many ranks.

    Raises
    ------
    ConfigError, PolicyError
        For an unknown rule, or a rule with a single engine.
    """
    asked = parse_routing(config.router) if isinstance(config.router, str) else config.router
    if replicas * ranks == 1:
        if asked is not None:
            raise ConfigError("a router needs replicas to choose from: give --replicas 2 or more, or no --router")
        return None
    return asked or policy.routing or default_routing(replicas, ranks)


def resolve_engine(config: RunConfig, model: ModelSpec, gpu: GpuSpec) -> EngineConfig:
    """Fill in what `vllm serve` would choose on this GPU.

    Raises
    ------
    ConfigError
        If the settings cannot work together or the model does not fit the GPU.
    """
    max_model_len = config.max_model_len or model.max_model_len
    tokens = config.max_num_batched_tokens or gpu.default_max_num_batched_tokens
    if not config.enable_chunked_prefill and config.max_num_batched_tokens is None:
        tokens = max(tokens, max_model_len)  # as vLLM does: a prompt must fit one step
    # vLLM caps its own default at the token budget, but refuses a larger value given by the user.
    seqs = config.max_num_seqs or min(gpu.default_max_num_seqs, tokens)
    groups = groups_of(config, model)
    asked, speculation = config.speculation, None
    if asked is not None:
        speculation = asked.config
    blocks = config.kv_blocks
    if blocks is None:
        blocks = kv_blocks(
            model,
            gpu,
            parallel=config.parallel,
            gpu_memory_utilization=config.gpu_memory_utilization,
            block_size=config.block_size,
            max_num_batched_tokens=tokens,
            max_num_seqs=seqs,
            hybrid=keeps_groups(config),
            drafter=None if asked is None else asked.drafter(model),
        )
    specs = () if groups is None else tuple(spec_of(group) for group in groups.groups)
    return EngineConfig(
        num_gpu_blocks=blocks,
        block_size=config.block_size if groups is None else groups.block_size,
        max_num_batched_tokens=tokens,
        max_num_seqs=seqs,
        max_model_len=max_model_len,
        watermark=config.watermark,
        max_num_active_seqs=config.max_num_active_seqs,
        long_prefill_token_threshold=config.long_prefill_token_threshold,
        long_prefill_token_threshold_adaptive=config.long_prefill_token_threshold_adaptive,
        enable_chunked_prefill=config.enable_chunked_prefill,
        enable_prefix_caching=caches_prefixes(config, model),
        scheduling_policy=config.scheduling_policy,
        async_scheduling=_plans_ahead(config),
        speculation=speculation,
        max_num_queued_reqs=config.max_num_queued_reqs,
        max_num_queued_tokens=config.max_num_queued_tokens,
        tiers=resolve_tiers(config, model),
        kv_cache_groups=specs,
        drafter_group=drafter_group(specs, speculation),
        prefix_cache_retention_interval=_retention_interval(config.prefix_cache_retention_interval),
        vllm_version=config.vllm_version,
        prefill_schedule_interval=config.prefill_schedule_interval,
        pipeline_parallel_size=config.pipeline_parallel_size,
    )


def _retention_interval(asked: str | int) -> int | None:
    """Return the tokens; None for `none`."""
    if asked == "none":
        return None
    try:
        return int(asked)
    except ValueError:
        raise ConfigError(
            f"prefix_cache_retention_interval is {asked!r}, expected a number of tokens, 0 or none"
        ) from None


def resolve_tiers(config: RunConfig, model: ModelSpec) -> TierConfig | None:
    """Convert GB and GB/s to blocks and seconds per block; None without a tier.

    Raises
    ------
    ConfigError
        If a tier cannot hold one block, for an SSD without host memory above it, or for two kinds of host memory.
    """
    if config.kv_offloading_size:
        return _native_offload(config, config.kv_offloading_size, model)
    if not config.dram_gb:
        if config.ssd_gb:
            raise ConfigError("the SSD stores what host memory evicts: give --dram-gb as well as --ssd-gb")
        return None
    size = config.tensor_parallel_size
    block_bytes = math.ceil(kv_bytes_per_token(model, size) * config.block_size) * size  # all GPUs together
    for name, gb in (("dram", config.dram_gb), ("ssd", config.ssd_gb)):
        if 0 < gb * 1e9 < block_bytes:
            raise ConfigError(f"--{name}-gb {gb:g} holds no KV block: one of {model.name} has {block_bytes:,} bytes")
    return TierConfig(
        dram_blocks=int(config.dram_gb * 1e9) // block_bytes,
        dram_block_s=block_bytes / (config.dram_gbps * 1e9),
        ssd_blocks=int(config.ssd_gb * 1e9) // block_bytes,
        ssd_block_s=block_bytes / (config.ssd_gbps * 1e9),
        block_bytes=block_bytes,
        reload=config.reload,
    )


def _native_offload(config: RunConfig, gib: float, model: ModelSpec) -> TierConfig:
    """Return vLLM's own host memory, as `CPUOffloadingSpec` sizes it (`vllm/v1/kv_offload/cpu/spec.py`).

    Ranks that hold the same (MLA) share one copy, as they do on one node.
    """
    if config.dram_gb or config.ssd_gb:
        raise ConfigError(
            "host memory is vLLM's (--kv-offloading-size) or the simulator's (--dram-gb): give one of them"
        )
    size = config.tensor_parallel_size
    replicated = kv_bytes_per_token(model, size) == kv_bytes_per_token(model, 1)
    block_bytes = math.ceil(kv_bytes_per_token(model, size) * config.block_size)
    groups = groups_of(config, model)
    if groups is not None:
        block_bytes = groups.bytes_per_block
    block_bytes *= 1 if replicated and not keeps_states(model) else size
    blocks = config.blocks_per_chunk
    if config.kv_offloading_backend == "lmcache":
        blocks = _LMCACHE_CHUNK_TOKENS // config.block_size
        if blocks * config.block_size != _LMCACHE_CHUNK_TOKENS or config.blocks_per_chunk > 1:
            raise ConfigError(
                f"LMCache stores chunks of {_LMCACHE_CHUNK_TOKENS} tokens: give a --block-size that divides them, and "
                "no --blocks-per-chunk"
            )
    chunk_bytes = -(-block_bytes * blocks // _PAGE_BYTES) * _PAGE_BYTES
    if gib * 2**30 < chunk_bytes:
        what = "KV block" if blocks == 1 else f"chunk of {blocks} KV blocks"
        raise ConfigError(
            f"--kv-offloading-size {gib:g} holds no {what}: one of {model.name} has {chunk_bytes:,} bytes"
        )
    return TierConfig(
        dram_blocks=int(gib * 2**30) // chunk_bytes * blocks,
        dram_block_s=block_bytes / (config.dram_gbps * 1e9),
        block_bytes=block_bytes,
        reload="always",
        stores="steps",
        eviction_policy=config.eviction_policy,
        offload_prompt_only=config.offload_prompt_only,
        blocks_per_chunk=blocks,
    )


def arrivals_spec(arrivals: OpenArrivals | Closed) -> str:
    """Return an arrival process in the notation of the command line; equal processes get equal names."""
    if not is_dataclass(arrivals):
        return repr(arrivals)  # a user's own class
    settings = ",".join(f"{f.name}={getattr(arrivals, f.name)!r}".removesuffix(".0") for f in fields(arrivals))
    return f"{arrivals.name}:{settings}" if settings else arrivals.name
