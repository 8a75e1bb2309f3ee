"""Settings of a run as keyword arguments, for editors and type checkers.

Written by `python docs/write_settings.py` from the fields of `RunConfig`: edit those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from continuum_sim.engine.offload.config import EvictionPolicy, OffloadingBackend, ReloadRule
    from continuum_sim.hardware import GpuSpec, ModelSpec
    from continuum_sim.policies import Policy, Routing
    from continuum_sim.setup.setting_types import (
        All2AllBackend,
        Arrivals,
        EngineMode,
        KvCacheDtype,
        Objectives,
        PerToolSetting,
        Population,
        Price,
        Replicas,
        SchedulingPolicy,
        StartMode,
        Trace,
        Unfit,
        VllmVersion,
    )
    from continuum_sim.steptime.model import StepTime


class Service(TypedDict, total=False):
    """Engine, tools and cuts of the trace: what every command takes."""

    model: str | ModelSpec
    """Model of the catalogue, in any spelling, or a Hugging Face config.json."""
    gpu: str | GpuSpec
    """GPU of the catalogue."""
    tensor_parallel_size: int
    """GPUs that each layer is split over (--tp)."""
    pipeline_parallel_size: int
    """Stages, with some of the layers each (--pp)."""
    data_parallel_size: int
    """Ranks, with a KV cache each (--dp); experts are split over all."""
    enable_expert_parallel: bool
    """Put whole experts on each GPU (--ep), not a slice of every expert."""
    nodes: int
    """Machines that the GPUs of a replica are in, with as many each."""
    link: str | None
    """Link between GPUs of a node: nvlink4, pcie5:no-p2p, latency_us=5,bandwidth_gbps=60."""
    node_link: str | None
    """Link between nodes: ib-ndr, roce-400, or latency and bandwidth as of --link."""
    all2all_backend: All2AllBackend
    """How tokens reach experts of other data-parallel ranks, as vLLM has it."""
    enable_dbo: bool
    """Exchange tokens of one half of a step while the other computes; needs DeepEP."""
    gpu_memory_utilization: float
    """Share of GPU memory the engine may use."""
    block_size: int
    """Tokens in a KV block; vLLM takes multiples of 16."""
    max_num_batched_tokens: int | None
    """Token budget of a step, the chunk size."""
    max_num_seqs: int | None
    """Most turns that run at once."""
    max_model_len: int | None
    """Longest prompt plus output, in tokens."""
    kv_blocks: int | None
    """KV blocks, as vLLM's num_gpu_blocks."""
    kv_cache_dtype: KvCacheDtype
    """Type of the KV cache's elements: fp8 halves its bytes; auto: the model's own."""
    max_num_active_seqs: int | None
    """Most turns admitted to the batch."""
    long_prefill_token_threshold: int
    """Most prompt tokens of one turn in a step while others are there (-adaptive: or a fair share); 0: no limit."""
    long_prefill_token_threshold_adaptive: bool
    """Raise that threshold to the budget's fair share of each turn that runs or waits."""
    enable_chunked_prefill: bool
    """Give no turn a part of its prompt; a step holds whole ones."""
    enable_prefix_caching: bool
    """Find no block of an earlier turn again."""
    disable_hybrid_kv_cache_manager: bool
    """Keep every token in every layer, windows or not."""
    prefix_cache_retention_interval: str | int
    """Windows that later prompts find: the last one (0), one in so many tokens too, or all (none)."""
    scheduling_policy: SchedulingPolicy
    """First come first served, or by the priority of programs in the trace."""
    async_scheduling: bool
    """Plan each step when the one before it is over, not while it runs."""
    watermark: float
    """Share of blocks kept free when a turn is admitted beside others."""
    replicas: Replicas
    """Engines behind one router: a number, or GPUs, as h100:2,a100-80:4 or h100:2:dram_gb=200,a100-80:4."""
    router: str | Routing | None
    """How turns find their replica."""
    dram_gb: float
    """Host memory for KV below the KV cache, in GB (10^9 bytes); 0: none."""
    dram_gbps: float
    """Bandwidth between the GPUs and host memory, in GB/s."""
    ssd_gb: float
    """SSD space for what host memory evicts, in GB; 0: none."""
    ssd_gbps: float
    """Bandwidth between host memory and the SSD, in GB/s."""
    reload: ReloadRule
    """Reload from a tier where that is faster than computing, or always."""
    kv_offloading_size: float | None
    """Host memory for vLLM's native KV offload, in GiB, instead of --dram-gb."""
    kv_offloading_backend: OffloadingBackend
    """vLLM's own offload, or LMCache's defaults by the same rules."""
    eviction_policy: EvictionPolicy
    """What native offload evicts from host memory."""
    offload_prompt_only: bool
    """Let native offload store what turns generate too, as they do."""
    blocks_per_chunk: int
    """Blocks that native offload stores, loads and evicts together."""
    step_time: str | StepTime
    """How long steps take, with :FILE or :DIR after a model that reads one."""
    engine: EngineMode
    """Jump over equal steps, or take each one: the same results."""
    limit: int | None
    """Programs to take from the start of the trace."""
    max_turns: int | None
    """Cut every program after this many turns."""
    unfit: Unfit | None
    """Leave out, or cut, programs too long for the engine."""
    repeat_turns: float
    """Factor on the number of each program's turns, which shrink so that its final context stays about the same."""
    tool_workers: PerToolSetting
    """Tool calls that run at once while others wait: 16, or per tool bash:4,*:16."""
    tool_timeout: PerToolSetting
    """Seconds after which a tool call is cut short; one number, or per tool."""
    tool_failure_rate: PerToolSetting
    """Probability that a tool call fails at its end, drawn with the seed; one number, or per tool."""
    tool_retries: PerToolSetting
    """Retries of a call that timed out or failed; one number, or per tool."""
    speculative_config: str | None
    """Drafts that steps verify: eagle3:num_speculative_tokens=3,synthetic_acceptance_rates=0.8/0.6/0.4, or vLLM's
    JSON."""
    vllm_version: VllmVersion
    """vLLM whose scheduler decides."""
    prefill_schedule_interval: int
    """Steps from one that computes a prompt to the next that may, while turns decode (0.33); 1: any."""
    max_num_queued_reqs: int | None
    """Unfinished requests at which a server answers others with 503."""
    max_num_queued_tokens: int | None
    """Prompt tokens still without an answer at which a server answers requests with 503."""
    abort_rate: float
    """Probability that a client hangs up before the last token of a turn; its program goes on."""
    request_timeout: float | None
    """Seconds after which a client gives up on a request."""
    job_timeout: float | None
    """Seconds after its arrival when a program is given up."""
    retry: int
    """Times a request that timed out or got 503 is sent again, after waits as OpenAI's client has them."""
    client_delay: float
    """Seconds of a turn's way to the engine and back."""


class LoadAndEngine(Service, total=False):
    """What `run`, `compare`, `sweep` and `tune` take."""

    arrivals: Arrivals
    """When programs arrive: poisson:rate=0.1, gamma:rate=0.1,cv=2, uniform:rate=0.1, burst, closed:workers=64 or
    trace."""
    rate: float | None
    """Programs per second: short for --arrivals poisson:rate=RATE."""
    programs: int | None
    """Programs in all: the trace over and over, each time in another order."""
    duration: float | None
    """Seconds after which no more programs arrive; the trace repeats until then."""
    population: Population | None
    """Programs of a run with a length: the trace's, or the same number drawn with the seed."""
    warmup: str | int | None
    """First programs, by arrival, that are served but left out of the statistics: 200, or 10%."""
    cooldown: str | int | None
    """Last programs, left out in the same way."""
    burst: str | int | None
    """Extra programs that arrive at once, at 0 s or later: 100 or 100@3600."""
    start: StartMode
    """Start with an empty engine, or as after --burst 100 whose programs do not count."""
    slo: Objectives
    """Objectives, in seconds: p95_jct=300,mean_ttft=1, or for every turn or program, ttft=2,slowdown=3."""
    price: Price
    """Dollars per GPU-hour: 2.5, or per GPU h100=2.5,a100-80=1.6."""


class RunSettings(LoadAndEngine, total=False):
    """What `run` takes beside its trace and policy."""

    seed: int
    """Seed of the arrivals."""


class SameSettings(LoadAndEngine, total=False):
    """What is the same for all runs of a comparison."""

    trace: Trace
    """Trace file, or a bundled trace (see `trace list`)."""


class BaseSettings(SameSettings, total=False):
    """What is the same for all cells that do not vary it."""

    policy: str | Policy
    """A preset with its parameters (ttl-static:ttl=2), or planes (order=…,retention=…)."""
    seed: int
    """Seed of the arrivals."""


class ServiceSettings(Service, total=False):
    """What `capacity` takes beside its policies."""

    trace: Trace
    """Trace file, or a bundled trace (see `trace list`)."""
