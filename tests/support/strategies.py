"""Random small traces and engines in a scheduler's corner cases."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.speculation.config import METHODS, SpeculationConfig
from continuum_sim.policies import PRESETS
from continuum_sim.traces.schema import MAX_TOKENS_FINISH, STOP, Child, Program, SharedPrefix, ToolCall, Turn
from continuum_sim.vllm_defaults import MIRRORED_VERSIONS
from continuum_sim.world.clients import ClientConfig
from continuum_sim.world.tools import ToolConfig, make_tool_config

VARIANTS = (
    "ttl-static:ttl=0.5",
    "ttl-static:ttl=0.5,pressure=head",
    "ttl-static:ttl=30,pressure=younger",
    "ttl-static:ttl=30,pressure=head",
    "pin-forever:pressure=younger",
    "pin-forever:pressure=head",
    "ttl:cold_start=2",
    "ttl:cold_start=3,pressure=head",
    "ttl:cold_start=0,pressure=younger",
    "order=pinned-first",
    "order=arrival,retention=ttl-static:ttl=0.3",
    "order=program-fifo,retention=evict",
)
"""Settings besides the presets' own: every pressure rule, cold starts that end, compositions."""

policies = st.deferred(lambda: st.sampled_from([*sorted(PRESETS), *VARIANTS]))


@st.composite
def turns(draw: st.DrawFn, gaps: st.SearchStrategy[float], prefix_tokens: int) -> tuple[Turn, ...]:
    count = draw(st.integers(1, 5))
    made: list[Turn] = []
    left = 0
    for index in range(count):
        # Mostly an agent that keeps everything; sometimes one that drops reasoning or compacts its context.
        kept = left if draw(st.integers(0, 3)) else draw(st.integers(0, left))
        new = draw(st.one_of(st.integers(0, 6), st.integers(0, 40)))
        prompt = max(kept + new, 1, prefix_tokens if index == 0 else 1)
        if draw(st.integers(0, 4)) == 0:
            prompt = -(-prompt // 4) * 4
        output = draw(st.one_of(st.integers(1, 60), st.integers(1, 4)))
        last = index == count - 1
        tool = None if last else draw(st.sampled_from(["ls", "grep"]))
        finish = draw(st.sampled_from([STOP, STOP, MAX_TOKENS_FINISH]))
        made.append(Turn(prompt, kept, output, tool, 0.0 if last else draw(gaps), finish=finish))
        left = prompt + output
    return tuple(made)


@st.composite
def traces(
    draw: st.DrawFn,
    gaps: st.SearchStrategy[float] | None = None,
    arrivals: st.SearchStrategy[float] | None = None,
) -> list[Program]:
    """2 to 6 programs in order of arrival; some arrive together, some share a prefix, some gaps are zero."""
    gaps = gaps if gaps is not None else st.one_of(st.just(0.0), st.floats(1e-3, 5.0), st.floats(1e-3, 0.3))
    arrivals = arrivals if arrivals is not None else st.one_of(st.just(0.0), st.floats(0.0, 3.0), st.floats(0.0, 0.2))
    times = sorted(draw(st.lists(arrivals, min_size=2, max_size=6)))
    programs = []
    for number, time_s in enumerate(times):
        prefix = draw(
            st.one_of(st.none(), st.builds(SharedPrefix, st.sampled_from(["system", "other"]), st.integers(1, 30)))
        )
        made = draw(turns(gaps, prefix.tokens if prefix else 0))
        programs.append(Program(f"p{number}", made, time_s, prefix))
    return programs


@st.composite
def engines(draw: st.DrawFn, programs: list[Program]) -> EngineConfig:
    """An engine that fits the largest program exactly, or with room to spare."""
    block_size = draw(st.sampled_from([1, 2, 4, 7, 16]))
    longest = max(member.max_context_tokens for program in programs for member in program.family())
    least = max(1, -(-(longest - 1) // block_size))
    spare = draw(st.one_of(st.integers(0, least), st.just(0), st.integers(0, 6 * least)))
    budget = draw(st.one_of(st.integers(16, 300), st.integers(1, 16)))
    whole = draw(st.integers(0, 5)) == 0
    if whole:
        budget = max(budget, longest, 2)
    seats = draw(st.one_of(st.just(min(budget, 8)), st.integers(1, min(budget, 8))))
    interval = draw(st.one_of(st.just(1), st.integers(2, 4), st.integers(2, 40)))
    return EngineConfig(
        num_gpu_blocks=least + spare + 1,
        block_size=block_size,
        max_num_batched_tokens=budget,
        max_num_seqs=seats,
        max_num_active_seqs=draw(st.one_of(st.none(), st.none(), st.integers(1, seats))),
        long_prefill_token_threshold=min(draw(st.sampled_from([0, 0, 1, 5, 30])), longest),
        long_prefill_token_threshold_adaptive=draw(st.booleans()),
        enable_chunked_prefill=not whole,
        max_model_len=max(longest, 2),
        watermark=draw(st.sampled_from([0.0, 0.0, 0.05, 0.2])),
        scheduler_reserve_full_isl=draw(st.integers(0, 3)) > 0,
        async_scheduling=draw(st.booleans()),
        vllm_version="0.33" if interval > 1 else draw(st.sampled_from(MIRRORED_VERSIONS)),
        prefill_schedule_interval=interval,
    )


@st.composite
def grouped(draw: st.DrawFn, config: EngineConfig) -> EngineConfig:
    """The same engine for a model of several KV cache groups, with exactly enough blocks or with some to spare."""
    size = config.block_size
    window = st.integers(1, 60)
    full = st.just(GroupSpec("full", size))
    slides = st.builds(GroupSpec, st.just("sliding"), st.sampled_from([size, size, 2 * size]), window)
    chunked = st.builds(GroupSpec, st.just("chunked"), st.just(size), st.sampled_from([size, 4 * size, 30]))
    layouts = st.one_of(
        st.tuples(slides, full),
        slides.map(lambda group: (group, group, GroupSpec("full", size))),
        st.tuples(full, slides, slides),
        st.tuples(slides),
        st.tuples(chunked, full),
    )
    state = st.builds(GroupSpec, st.just("recurrent"), st.just(size), checkpoints=st.booleans())
    narrow = st.builds(GroupSpec, st.just("sliding"), st.just(size), window)
    with_states = st.one_of(
        state.map(lambda group: (GroupSpec("full", size), group, group)),
        st.tuples(state, full),
        st.tuples(full, narrow, state),
        st.tuples(state),
    )
    if config.enable_prefix_caching and config.enable_chunked_prefill:
        layouts = st.one_of(layouts, with_states)
    groups = draw(layouts)
    alignment = math.lcm(size, *(group.block_size for group in groups))
    slide = any(group.reach for group in groups)
    interval = draw(st.sampled_from([0, 0, None, alignment, 3 * alignment])) if slide else 0
    config = replace(config, kv_cache_groups=groups, prefix_cache_retention_interval=interval, tiers=None)
    least = config.blocks_of(config.max_model_len)
    spare = draw(st.one_of(st.integers(0, least), st.just(0), st.integers(0, 6 * least)))
    return replace(config, num_gpu_blocks=least + spare + 1)


@st.composite
def drafting(draw: st.DrawFn, config: EngineConfig) -> EngineConfig:
    """The same engine with speculative decoding, with exactly enough blocks or with some to spare."""
    method = draw(st.sampled_from(METHODS))
    drafts = draw(st.integers(1, 5))
    rates = sorted((draw(st.sampled_from([0.0, 0.3, 0.7, 0.9, 1.0])) for _ in range(drafts)), reverse=True)
    speculation = SpeculationConfig(
        method,
        drafts,
        tuple(rates),
        disable_eagle_block_drop=draw(st.integers(0, 4)) == 0,
        disable_lookahead_block_hashes=draw(st.integers(0, 2)) == 0,
    )
    threshold, budget = config.long_prefill_token_threshold, config.max_num_batched_tokens
    config = replace(
        config,
        speculation=speculation,
        kv_cache_groups=(),
        prefix_cache_retention_interval=0,
        tiers=None,
        async_scheduling=config.async_scheduling and speculation.plans_ahead(config.vllm_version),
        long_prefill_token_threshold=max(threshold, drafts + 1) if threshold else 0,
        max_num_batched_tokens=max(budget, drafts + 1) + speculation.draft_slots,
        max_model_len=max(config.max_model_len, drafts + 1),
    )
    if not config.enable_chunked_prefill:
        config = replace(config, max_num_batched_tokens=max(config.max_num_batched_tokens, config.max_model_len))
    least = config.blocks_of(config.max_model_len)
    return replace(config, num_gpu_blocks=max(config.num_gpu_blocks, least + 1))


def _of_one_group(config: EngineConfig) -> tuple[EngineConfig, int]:
    """Return the same engine for a model of one KV cache group, and the blocks of its largest context."""
    least = -(-(config.max_model_len - 1) // config.block_size)
    if config.kv_cache_groups:
        enough = max(config.num_gpu_blocks, least + 1)
        config = replace(config, kv_cache_groups=(), prefix_cache_retention_interval=0, num_gpu_blocks=enough)
    return config, least


@st.composite
def tiered(draw: st.DrawFn, config: EngineConfig) -> EngineConfig:
    """The same engine with memory tiers that hold its largest context exactly, or with room to spare."""
    config, least = _of_one_group(config)
    sizes = st.one_of(st.just(0), st.integers(0, 4 * least))
    with_ssd = draw(st.booleans())
    tiers = TierConfig(
        dram_blocks=least + draw(sizes),
        dram_block_s=draw(st.sampled_from([0.0, 1e-3, 0.0625, 0.5])),
        ssd_blocks=least + draw(sizes) if with_ssd else 0,
        ssd_block_s=draw(st.sampled_from([1e-3, 0.125, 1.0])) if with_ssd else 0.0,
        reload=draw(st.sampled_from(["faster", "always", "always"])),
    )
    return replace(config, tiers=tiers)


@st.composite
def offloading(draw: st.DrawFn, config: EngineConfig) -> EngineConfig:
    """The same engine with vLLM's native offload to host memory that holds less than its largest context, or more."""
    least, chunk = config.blocks_of(config.max_model_len), draw(st.sampled_from([1, 1, 2, 3]))
    if config.prefix_cache_retention_interval:
        config = replace(config, prefix_cache_retention_interval=config.prefix_cache_retention_interval * chunk)
    tiers = TierConfig(
        dram_blocks=draw(st.one_of(st.integers(3, 3 + 5 * least), st.just(3 + least))),
        dram_block_s=draw(st.sampled_from([0.0, 1e-3, 0.0625, 0.5])),
        reload="always",
        stores="steps",
        blocks_per_chunk=chunk,
        eviction_policy=draw(st.sampled_from(["lru", "arc"])),
        offload_prompt_only=draw(st.booleans()),
    )
    return replace(config, tiers=tiers)


@st.composite
def cases(
    draw: st.DrawFn,
    gaps: st.SearchStrategy[float] | None = None,
    arrivals: st.SearchStrategy[float] | None = None,
    *,
    several_groups: bool = True,
) -> tuple[list[Program], EngineConfig]:
    """A trace and an engine that can serve it, for a model of one KV cache group or, one in four, of several."""
    programs = draw(traces(gaps, arrivals))
    config = draw(engines(programs))
    return programs, draw(grouped(config)) if several_groups and not draw(st.integers(0, 3)) else config


@st.composite
def staged(draw: st.DrawFn, case: tuple[list[Program], EngineConfig]) -> tuple[list[Program], EngineConfig]:
    """The same case on an engine of several pipeline stages, whose steps under way hold more of a window."""
    programs, config = case
    config = replace(config, pipeline_parallel_size=draw(st.integers(2, 4)))
    least = config.blocks_of(config.max_model_len) + 1 if config.kv_cache_groups else 2
    return programs, replace(config, num_gpu_blocks=max(config.num_gpu_blocks, least))


@st.composite
def families(draw: st.DrawFn, gaps: st.SearchStrategy[float], times: st.SearchStrategy[float]) -> list[Program]:
    """Programs, some with sub-agents, which may have their own; some turns call several tools at once."""

    def grown(program: Program, depth: int) -> Program:
        turns = tuple(_with_calls(draw, turn, gaps) for turn in program.turns)
        last = len(turns) - 1
        children = []
        for number in range(draw(st.integers(0, 2 - depth)) if depth < 2 else 0):
            after = draw(st.integers(0, last))
            join = draw(st.none() if after == last else st.none() | st.integers(after + 1, last))
            made = draw(traces(gaps, times))[0]
            child = replace(made, program_id=f"{program.program_id}/{number}", arrival_s=None)
            children.append(Child(grown(child, depth + 1), after, join))
        return replace(program, turns=turns, children=tuple(children))

    return [grown(program, 0) for program in draw(traces(gaps, times))]


def _with_calls(draw: st.DrawFn, turn: Turn, gaps: st.SearchStrategy[float]) -> Turn:
    if turn.tool is None or draw(st.integers(0, 2)):
        return turn
    calls = [ToolCall(turn.tool, turn.tool_s)]
    calls += [ToolCall(draw(st.sampled_from(["ls", "grep"])), draw(gaps)) for _ in range(draw(st.integers(1, 2)))]
    return replace(turn, tools=tuple(calls), tool_s=max(call.tool_s for call in calls))


@st.composite
def impatient(draw: st.DrawFn, config: EngineConfig) -> tuple[ClientConfig, EngineConfig]:
    """Clients that hang up, time out or are refused, and the engine that refuses them."""
    some = st.sampled_from([math.inf, math.inf, 0.05, 0.3, 1.0, 3.0])
    clients = ClientConfig(
        abort_rate=draw(st.sampled_from([0.0, 0.3, 1.0])),
        request_timeout_s=draw(some),
        job_timeout_s=draw(some) * 4,
        retries=draw(st.integers(0, 4)),
    )
    return clients, replace(
        config,
        max_num_queued_reqs=draw(st.sampled_from([None, None, 1, 3])),
        max_num_queued_tokens=draw(st.sampled_from([None, None, 1, 30])),
    )


@st.composite
def tool_configs(draw: st.DrawFn) -> ToolConfig:
    """Few workers or none, for all tools or per tool; some timeouts and failures."""
    return make_tool_config(
        workers=draw(st.sampled_from([None, 1, 2, "ls:1", "ls:1,*:2"])),
        timeout=draw(st.sampled_from([None, 0.25, "grep:0.5,*:1"])),
        failure_rate=draw(st.sampled_from([None, 0.3, "ls:0.5"])),
        retries=draw(st.sampled_from([None, 0, 3])),
    )
