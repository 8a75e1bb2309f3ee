"""Random traces and engine settings for a scheduler's corner cases: scarce memory, ties, shrinking contexts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.speculation.config import EAGLE_METHODS, METHODS, SpeculationConfig
from continuum_sim.traces.schema import MAX_TOKENS_FINISH, STOP, Program, SharedPrefix, Turn
from continuum_sim.vllm_defaults import MIRRORED_VLLM
from continuum_sim.world.clients import PATIENT, ClientConfig


@dataclass(frozen=True)
class Case:
    """One randomised comparison."""

    programs: list[Program]
    arrivals_s: list[float]
    config: EngineConfig
    clients: ClientConfig = PATIENT
    stages: tuple[float, ...] = ()
    """Shares of a step's time that the stages of a pipeline take, if there are several."""


def random_case(
    rng: np.random.Generator,
    *,
    controls: bool = False,
    crowded: bool = False,
    groups: bool = False,
    drafts: bool = False,
    offloads: bool = False,
    staged: bool = False,
    vllm_version: str = MIRRORED_VLLM,
) -> Case:
    """Draw a trace of 3 to 12 programs, arrival times with ties, and an engine that is barely or amply large enough.

    With `controls`, some of the settings that bound prefills, seats, order and queues are drawn as well, of what
    `vllm_version` has, and clients that leave. A `crowded` case has more and smaller turns in scarce memory: more
    events in fewer steps. With `groups` the layers of the model keep different parts of a context; with `drafts` steps
    verify drafts; one that `offloads` has vLLM's native offload to host memory that is small or large, near or far.
    A case that is `staged` runs in a pipeline, without these two.
    """
    block_size = int(rng.choice([16, 32]))
    chunk = int(rng.choice([256, 512, 2048, 8192]))
    outputs = int(rng.choice([200, 900]))  # long outputs outgrow memory that admitted their prompts: preemption
    count, shrink = int(rng.integers(3, 13)), 1
    if crowded:
        count, outputs, shrink = 3 * count, 60, 6
    programs = [_program(f"p{i}", rng, block_size, outputs, shrink) for i in range(count)]
    longest = max(program.max_context_tokens for program in programs)
    least = -(-longest // block_size) + 1
    config = EngineConfig(
        num_gpu_blocks=int(least * rng.choice([1.0, 1.2, 1.6] if crowded else [1.0, 1.2, 1.6, 2.5, 6.0])) + 1,
        block_size=block_size,
        max_num_batched_tokens=chunk,
        max_num_seqs=int(rng.choice([8, 16, 256] if crowded else [2, 4, 16, 256])),
        max_model_len=longest + 1,
        watermark=float(rng.choice([0.0, 0.0, 0.02])),
        scheduler_reserve_full_isl=bool(rng.random() < 0.85),
    )
    spread_s = float(rng.choice([0.0, 0.5, 5.0] if crowded else [0.0, 0.5, 5.0, 30.0]))
    arrivals_s = np.sort(np.round(rng.random(len(programs)) * spread_s, 1))  # tenths: some coincide
    programs = [_with_ends(program, rng) for program in programs]
    clients = PATIENT
    if controls:
        programs, config = _with_controls(programs, config, rng)
        config = _of_version(config, vllm_version, rng)
        clients, config = _with_clients(config, rng)
    if groups:
        config = _with_groups(config, rng)
    if drafts:
        config = _with_drafts(config, rng)
    if offloads:
        config = _with_offload(config, rng)
    stages: tuple[float, ...] = ()
    if staged:
        config, stages = _with_stages(config, rng)
    return Case(programs, [float(t) for t in arrivals_s], config, clients, stages)


def _with_stages(config: EngineConfig, rng: np.random.Generator) -> tuple[EngineConfig, tuple[float, ...]]:
    """Draw over how many stages the layers are split, which may be as unequal as one layer and many."""
    number = int(rng.integers(2, 5))
    shares = rng.random(number) + (1.0 if rng.random() < 0.5 else 0.02)
    return replace(config, pipeline_parallel_size=number), tuple(float(share) for share in shares / shares.sum())


def _with_controls(
    programs: list[Program], config: EngineConfig, rng: np.random.Generator
) -> tuple[list[Program], EngineConfig]:
    """Draw which of vLLM's controls act, so that pairs of them do."""
    threshold, seats, whole, uncached, ordered = rng.random(5) < (0.6, 0.3, 0.15, 0.15, 0.5)
    if threshold:
        config = replace(
            config,
            long_prefill_token_threshold=min(int(rng.choice([16, 50, 200, 700])), config.max_model_len),
            long_prefill_token_threshold_adaptive=bool(rng.random() < 0.4),
        )
    if seats:
        config = replace(config, max_num_active_seqs=int(rng.integers(1, config.max_num_seqs + 1)))
    if whole:
        budget = max(config.max_num_batched_tokens, config.max_model_len)
        config = replace(config, enable_chunked_prefill=False, max_num_batched_tokens=budget)
    if uncached:
        config = replace(config, enable_prefix_caching=False)
    if ordered:
        config = replace(config, scheduling_policy="priority")
        programs = [replace(program, priority=int(rng.integers(-1, 3))) for program in programs]
    return programs, config


def _with_groups(config: EngineConfig, rng: np.random.Generator) -> EngineConfig:
    """Draw KV cache groups like those of models there are, and others; with memory as scarce as before."""
    size = config.block_size
    window, wide = (int(tokens) for tokens in rng.choice([24, 64, 100, 256, 512], 2, replace=False))
    full, slides, slides_wide = (
        GroupSpec("full", size),
        GroupSpec("sliding", size, window),
        GroupSpec("sliding", size, wide),
    )
    chunked = GroupSpec("chunked", size, int(rng.choice([4, 16])) * size)
    state = GroupSpec("recurrent", size, checkpoints=bool(rng.random() < 0.4))
    layouts = (
        (*[slides] * 5, full),  # Gemma 3
        (full, slides),  # gpt-oss
        (*[chunked] * 3, full),  # Llama 4
        (slides, slides_wide, full),
        (slides,),
        (chunked, chunked),
        (full, replace(slides, block_size=2 * size)),
        (replace(full, block_size=2 * size), slides, slides_wide),
        (full, chunked, slides),
        (slides, full, slides),
        (full, *[state] * 3),  # Qwen3-Next
        (state, state, full),
        (full, slides, state),
        (state,),
    )
    groups = layouts[int(rng.integers(len(layouts)))]
    alignment = math.lcm(*(group.block_size for group in groups))
    interval = (0, 0, None, alignment * int(rng.integers(1, 9)))[int(rng.integers(4))]
    if interval and not any(group.reach for group in groups):
        interval = 0
    if any(group.kind == "recurrent" for group in groups):
        if not config.enable_chunked_prefill:
            config = replace(config, enable_chunked_prefill=True)
        if not config.enable_prefix_caching:  # one block holds the state of a whole turn
            whole = -(-config.max_model_len // size) * size
            groups = tuple(replace(group, block_size=whole) if group.kind == "recurrent" else group for group in groups)
            interval = 0
    config = replace(config, kv_cache_groups=groups, prefix_cache_retention_interval=interval)
    least = config.blocks_of(config.max_model_len)
    return replace(config, num_gpu_blocks=int(least * rng.choice([1.0, 1.2, 1.6, 2.5])) + 2)


def _with_drafts(config: EngineConfig, rng: np.random.Generator) -> EngineConfig:
    """Draw how turns are drafted, and which drafts are accepted."""
    number = int(rng.integers(1, 7))
    chunks = any(group.kind == "chunked" for group in config.kv_cache_groups)
    methods = [method for method in METHODS if not (chunks and method in EAGLE_METHODS)]
    speculation = SpeculationConfig(
        str(rng.choice(methods)),
        number,
        tuple(sorted((float(rate) for rate in rng.random(number)), reverse=True)),
        disable_eagle_block_drop=bool(rng.random() < 0.1),
        disable_lookahead_block_hashes=bool(rng.random() < 0.3),
    )
    attend = [number for number, group in enumerate(config.kv_cache_groups) if group.kind != "recurrent"]
    drafter = int(rng.choice(attend)) if attend and speculation.method == "mtp" else None  # also where none would be
    return replace(config, speculation=speculation, drafter_group=drafter)


def _with_offload(config: EngineConfig, rng: np.random.Generator) -> EngineConfig:
    """Draw host memory, from less than the longest prompt to many, and whether a transfer takes many steps or none."""
    least = config.blocks_of(config.max_model_len)
    tiers = TierConfig(
        dram_blocks=int(least * rng.choice([0.6, 1.0, 2.0, 4.0, 16.0])) + 5,
        dram_block_s=float(rng.choice([1e-6, 1e-4, 1e-3])),
        reload="always",
        stores="steps",
        eviction_policy="arc" if rng.random() < 0.5 else "lru",
        offload_prompt_only=bool(rng.random() < 0.5),
        blocks_per_chunk=int(rng.choice([1, 1, 2, 5])),
    )
    interval = config.prefix_cache_retention_interval
    if config.kv_cache_groups and interval:  # windows must end where chunks do
        interval *= tiers.blocks_per_chunk
    groups = config.kv_cache_groups
    if not config.enable_prefix_caching:  # blocks that hold the state of a whole turn are needed no more
        groups = tuple(replace(g, block_size=config.block_size) if g.kind == "recurrent" else g for g in groups)
    return replace(
        config,
        tiers=tiers,
        enable_prefix_caching=True,
        kv_cache_groups=groups,
        prefix_cache_retention_interval=interval,
    )


def _with_clients(config: EngineConfig, rng: np.random.Generator) -> tuple[ClientConfig, EngineConfig]:
    """Draw whether clients hang up, time out or are refused."""
    aborts, requests, jobs, refused, backlog = rng.random(5) < (0.4, 0.4, 0.15, 0.2, 0.2)
    clients = ClientConfig(
        abort_rate=float(rng.choice([0.1, 0.5])) if aborts else 0.0,
        request_timeout_s=float(rng.choice([0.2, 1.0, 5.0])) if requests else math.inf,
        job_timeout_s=float(rng.choice([3.0, 20.0])) if jobs else math.inf,
        retries=int(rng.integers(0, 5)),
    )
    if refused:
        config = replace(config, max_num_queued_reqs=int(rng.integers(1, 8)))
    if backlog:
        config = replace(config, max_num_queued_tokens=int(rng.choice([1, 500, 4000])))
    return clients, config


def _of_version(config: EngineConfig, vllm_version: str, rng: np.random.Generator) -> EngineConfig:
    """Draw settings that the first mirrored version lacks; its cases are therefore the same without them."""
    config = replace(config, vllm_version=vllm_version)
    if vllm_version == MIRRORED_VLLM or rng.random() < 0.4:
        return config
    return replace(config, prefill_schedule_interval=int(rng.choice([2, 3, 7, 20, 60])))


def _with_ends(program: Program, rng: np.random.Generator) -> Program:
    """Let the token limit end some turns, and the model the others."""
    finishes = np.where(rng.random(len(program.turns)) < 0.3, MAX_TOKENS_FINISH, STOP)
    turns = [replace(turn, finish=str(finish)) for turn, finish in zip(program.turns, finishes, strict=True)]
    return replace(program, turns=tuple(turns))


def _program(name: str, rng: np.random.Generator, block_size: int, outputs: int, shrink: int) -> Program:
    prefix = None
    if rng.random() < 0.5:
        prefix = SharedPrefix(f"prefix-{rng.integers(2)}", int(rng.integers(1, 40 * block_size // shrink)))
    turns: list[Turn] = []
    context = 0
    count = int(rng.integers(1, 9))
    for index in range(count):
        kept = context
        if index and rng.random() < 0.3:
            kept = int(rng.integers(0, context + 1))  # compaction, or hidden reasoning not sent back
        new = int(rng.choice([0, 1, 17, 200, 1500])) if rng.random() < 0.5 else int(rng.integers(1, 600))
        new //= shrink
        least = prefix.tokens if prefix is not None and not index else 1
        prompt = max(kept + new, least, 1)
        if rng.random() < 0.2:
            prompt = max(-(-prompt // block_size) * block_size, prompt)  # ends on a block boundary
        output = int(rng.choice([1, 2, block_size, 90])) if rng.random() < 0.5 else int(rng.integers(1, outputs))
        gap_s = float(rng.choice([0.0, 0.05, 0.5, 4.0]))
        last = index == count - 1
        turns.append(Turn(prompt, kept, output, None if last else "tool", 0.0 if last else gap_s))
        context = prompt + output
    return Program(name, tuple(turns), None, prefix)
