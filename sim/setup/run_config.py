"""What a user asks for in one run, before names are looked up: one cell of a comparison or a sweep."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from continuum_sim.engine.offload.config import EvictionPolicy, OffloadingBackend, ReloadRule
from continuum_sim.errors import ConfigError, shown
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
from continuum_sim.setup.settings import CLIENTS, ENGINE, LOAD, TOOLS, Setting, setting, settings_of
from continuum_sim.vllm_defaults import BLOCK_SIZE, CLIENT_RETRIES, GPU_MEMORY_UTILIZATION, MIRRORED_VLLM

if TYPE_CHECKING:  # `--help` reads this class, and must start fast
    from continuum_sim.hardware import GpuSpec, ModelSpec
    from continuum_sim.hardware.parallel import Parallel
    from continuum_sim.hardware.prices import Prices
    from continuum_sim.policies import Policy, Routing
    from continuum_sim.setup.slo import Slo
    from continuum_sim.setup.speculation import Speculation
    from continuum_sim.steady.length import RunLength
    from continuum_sim.steptime.model import StepTime
    from continuum_sim.world.clients.config import ClientConfig
    from continuum_sim.world.tools.config import ToolConfig

DEFAULT_ARRIVALS: Final = "poisson:rate=0.1"
MOST: Final = 10**9
"""Upper bound of most whole numbers: more is likelier a typo than an engine, and a run would never end."""


def _seconds(help: str, panel: str, *, unset: str, page: str = "") -> float | None:
    """Declare an optional number of seconds above 0."""
    expected = "a number of seconds above 0"
    return setting(None, help, panel, unset=unset, page=page, least=0, most=MOST, expected=expected, positive=True)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of one run. Those with vLLM's names mean what they mean there, and None takes vLLM's default.

    Command-line flags, arguments of `run`, axes of sweeps and the tables of the docs are derived from these fields.

    Raises
    ------
    ConfigError
        For a number out of range; names are looked up by `resolve`.
    """

    trace: Trace = setting(
        "swebench.jsonl", "Trace file, or a bundled trace (see `trace list`).", LOAD, page="traces.md", names="trace"
    )
    """A file, the name of a bundled trace, or programs."""
    policy: str | Policy = setting(
        "ttl", "A preset with its parameters (ttl-static:ttl=2), or planes (order=…,retention=…).", names="policy"
    )
    """A preset with its parameters (`ttl-static:ttl=2`), planes (`order=…,retention=…`), or a policy."""
    arrivals: Arrivals = setting(
        None,
        "When programs arrive: poisson:rate=0.1, gamma:rate=0.1,cv=2, uniform:rate=0.1, burst, closed:workers=64 or "
        "trace.",
        LOAD,
        unset=f"the trace's own times if it has them, else {DEFAULT_ARRIVALS}",
        page="traces.md#arrivals",
        names="arrivals",
    )
    rate: InitVar[float | None] = setting(
        None,
        "Programs per second: short for --arrivals poisson:rate=RATE.",
        LOAD,
        least=0,
        most=MOST,
        expected="a number of programs per second above 0",
        positive=True,
    )
    """Programs per second: short for `arrivals="poisson:rate=…"`."""
    seed: int = setting(0, "Seed of the arrivals.", least=0, most=2**63 - 1)
    """Seed of the arrivals; the same for all policies of a comparison."""
    model: str | ModelSpec = setting(
        "llama-3.1-8b",
        "Model of the catalogue, in any spelling, or a Hugging Face config.json.",
        ENGINE,
        page="step-time.md#what-the-catalogue-gives",
        names="model",
    )
    gpu: str | GpuSpec = setting(
        "a100-80", "GPU of the catalogue.", ENGINE, page="step-time.md#what-the-catalogue-gives", names="gpu"
    )
    tensor_parallel_size: int = setting(
        1, "GPUs that each layer is split over (--tp).", ENGINE, flags=("--tp", "-tp"), least=1, most=1024
    )
    pipeline_parallel_size: int = setting(
        1,
        "Stages, with some of the layers each (--pp).",
        ENGINE,
        flags=("--pp", "-pp"),
        page="step-time.md#splits",
        least=1,
        most=1024,
    )
    """Stages of a pipeline, with some of the layers each on GPUs of their own."""
    data_parallel_size: int = setting(
        1,
        "Ranks, with a KV cache each (--dp); experts are split over all.",
        ENGINE,
        flags=("--dp", "-dp"),
        page="step-time.md#splits",
        least=1,
        most=1024,
    )
    """Ranks of an engine: each holds all but the experts, and has a KV cache and a scheduler of its own."""
    enable_expert_parallel: bool = setting(
        False,
        "Put whole experts on each GPU (--ep), not a slice of every expert.",
        ENGINE,
        flags=("--ep", "-ep"),
        needs=("tensor_parallel_size", "data_parallel_size"),
        page="step-time.md#splits",
    )
    """Put whole experts on each GPU instead of a slice of every expert."""
    nodes: int = setting(
        1,
        "Machines that the GPUs of a replica are in, with as many each.",
        ENGINE,
        flags=("--nnodes",),
        needs=("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
        page="step-time.md#splits",
        least=1,
        most=1024,
    )
    """Machines that the GPUs of one replica are in (vLLM's `--nnodes`), with equally many of them each."""
    link: str | None = setting(
        None,
        "Link between GPUs of a node: nvlink4, pcie5:no-p2p, latency_us=5,bandwidth_gbps=60.",
        ENGINE,
        unset="the GPU's own",
        needs=("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
        page="step-time.md#links",
        rare=True,
    )
    node_link: str | None = setting(
        None,
        "Link between nodes: ib-ndr, roce-400, or latency and bandwidth as of --link.",
        ENGINE,
        unset="ib-ndr",
        page="step-time.md#links",
        rare=True,
    )
    all2all_backend: All2AllBackend = setting(
        "allgather_reducescatter",
        "How tokens reach experts of other data-parallel ranks, as vLLM has it.",
        ENGINE,
        page="step-time.md#links",
        rare=True,
    )
    enable_dbo: bool = setting(
        False,
        "Exchange tokens of one half of a step while the other computes; needs DeepEP.",
        ENGINE,
        page="step-time.md#links",
        rare=True,
    )
    gpu_memory_utilization: float = setting(
        GPU_MEMORY_UTILIZATION,
        "Share of GPU memory the engine may use.",
        ENGINE,
        least=0,
        most=1,
        expected="a share above 0 and at most 1",
        positive=True,
    )
    block_size: int = setting(
        BLOCK_SIZE, "Tokens in a KV block; vLLM takes multiples of 16.", ENGINE, least=1, most=2**16
    )
    max_num_batched_tokens: int | None = setting(
        None, "Token budget of a step, the chunk size.", ENGINE, unset="vLLM's for the GPU", least=1, most=MOST
    )
    max_num_seqs: int | None = setting(
        None, "Most turns that run at once.", ENGINE, unset="vLLM's for the GPU", least=1, most=10**6
    )
    max_model_len: int | None = setting(
        None, "Longest prompt plus output, in tokens.", ENGINE, unset="the model's", least=1, most=MOST
    )
    kv_blocks: int | None = setting(
        None,
        "KV blocks, as vLLM's num_gpu_blocks.",
        ENGINE,
        unset="what fits the GPU's memory",
        least=2,
        most=MOST,
    )
    """KV blocks as vLLM's `num_gpu_blocks` (one is its null block), instead of an estimate from the memory."""
    kv_cache_dtype: KvCacheDtype = setting(
        "auto", "Type of the KV cache's elements: fp8 halves its bytes; auto: the model's own.", ENGINE
    )
    """As vLLM's `--kv-cache-dtype`: determines the bytes of blocks, of attention's reads and of memory tiers."""
    max_num_active_seqs: int | None = setting(
        None, "Most turns admitted to the batch.", ENGINE, unset="--max-num-seqs", least=1, most=10**6
    )
    """Most turns admitted to the batch, if fewer than `max_num_seqs`."""
    long_prefill_token_threshold: int = setting(
        0,
        "Most prompt tokens of one turn in a step while others are there (-adaptive: or a fair share); 0: no limit.",
        ENGINE,
        least=0,
        most=MOST,
    )
    """Most prompt tokens of one turn in a step, unless it is alone; 0 for no limit but the budget."""
    long_prefill_token_threshold_adaptive: bool = setting(
        False,
        "Raise that threshold to the budget's fair share of each turn that runs or waits.",
        ENGINE,
        needs=("long_prefill_token_threshold",),
        rare=True,
    )
    """Raise the threshold to the budget divided by the turns that run or wait."""
    enable_chunked_prefill: bool = setting(True, "Give no turn a part of its prompt; a step holds whole ones.", ENGINE)
    """Admit a prompt that exceeds the rest of the step's budget, and cut it; off, it waits for a step of its own."""
    enable_prefix_caching: bool = setting(True, "Find no block of an earlier turn again.", ENGINE)
    """Find the blocks of earlier turns again; off, every turn computes its whole prompt."""
    disable_hybrid_kv_cache_manager: bool = setting(
        False, "Keep every token in every layer, windows or not.", ENGINE, page="engine.md", rare=True
    )
    """Keep every token in layers that attend to a window as well, as vLLM's flag of this name does."""
    prefix_cache_retention_interval: str | int = setting(
        0,
        "Windows that later prompts find: the last one (0), one in so many tokens too, or all (none).",
        ENGINE,
        page="engine.md",
        rare=True,
    )
    """Which windows of a prompt can be found again: 0 for the last one and those at which prompts part, a number of
    tokens for one in so many as well, `none` for all, as before vLLM made them sparse."""
    scheduling_policy: SchedulingPolicy = setting(
        "fcfs", "First come first served, or by the priority of programs in the trace.", ENGINE, page="traces.md"
    )
    """vLLM's own order of waiting turns: `fcfs`, or `priority`, the lowest of the trace's first."""
    async_scheduling: bool = setting(
        True,
        "Plan each step when the one before it is over, not while it runs.",
        ENGINE,
        page="engine.md",
        either="Plan each step while the one before it runs, or when that is over.",
    )
    """Plan each step while the one before it runs, as vLLM does wherever its executor can (all GPUs), or, with
    `--no-async-scheduling`, when that is over."""
    watermark: float = setting(
        0.0,
        "Share of blocks kept free when a turn is admitted beside others.",
        ENGINE,
        least=0,
        most=1,
        expected="a share from 0 to below 1",
    )
    replicas: Replicas = setting(
        1,
        "Engines behind one router: a number, or GPUs, as h100:2,a100-80:4 or h100:2:dram_gb=200,a100-80:4.",
        ENGINE,
        page="clusters.md",
        names="gpu",
    )
    """Engines behind one router: a number of identical ones, `h100:2,a100-80:4`, or a list of GPUs. They may have
    memory tiers of their own, `h100:2:dram_gb=200,ssd_gb=500,a100-80:4`; settings not given there are those below."""
    router: str | Routing | None = setting(
        None,
        "How turns find their replica.",
        ENGINE,
        unset="the policy's own, else session-affinity",
        page="clusters.md",
        names="router",
    )
    """`session-affinity`, `prefix-aware:index=events`, …, or a rule; None takes the policy's, else session affinity."""
    dram_gb: float = setting(
        0.0,
        "Host memory for KV below the KV cache, in GB (10^9 bytes); 0: none.",
        ENGINE,
        page="tiers.md",
        least=0,
        most=1e9,
        expected="0 or more GB",
    )
    """Host memory for KV blocks below the KV cache of a replica, in GB of 10⁹ bytes; 0 for none."""
    dram_gbps: float = setting(
        31.5,
        "Bandwidth between the GPUs and host memory, in GB/s.",
        ENGINE,
        needs=("dram_gb", "kv_offloading_size"),
        page="tiers.md",
        least=1e-6,
        most=1e9,
        expected="more than 0 GB/s",
    )
    """Bandwidth between a replica's GPUs and host memory in GB/s, both directions together (PCIe 4.0 x16: 16 lanes of
    16 GT/s, 128/130 encoded, carry 31.5 GB/s each way)."""
    ssd_gb: float = setting(
        0.0,
        "SSD space for what host memory evicts, in GB; 0: none.",
        ENGINE,
        page="tiers.md",
        least=0,
        most=1e9,
        expected="0 or more GB",
    )
    """SSD space for what host memory evicts, in GB of 10⁹ bytes; 0 for none."""
    ssd_gbps: float = setting(
        6.9,
        "Bandwidth between host memory and the SSD, in GB/s.",
        ENGINE,
        needs=("ssd_gb",),
        page="tiers.md",
        least=1e-6,
        most=1e9,
        expected="more than 0 GB/s",
    )
    """Bandwidth between host memory and the SSD in GB/s (Samsung PM9A3 data sheet: 6,900 MB/s sequential reads)."""
    reload: ReloadRule = setting(
        "faster",
        "Reload from a tier where that is faster than computing, or always.",
        ENGINE,
        needs=("dram_gb",),
        page="tiers.md",
    )
    """Reload what a tier holds if that is faster than computing it, or `always`."""
    kv_offloading_size: float | None = setting(
        None,
        "Host memory for vLLM's native KV offload, in GiB, instead of --dram-gb.",
        ENGINE,
        unset="no native offload",
        page="tiers.md#vllms-native-offload",
        least=0,
        most=1e9,
        expected="more than 0 GiB",
        positive=True,
    )
    """Host memory in GiB for vLLM's native KV offload, by whose rules it is then filled, read and emptied."""
    kv_offloading_backend: OffloadingBackend = setting(
        "native",
        "vLLM's own offload, or LMCache's defaults by the same rules.",
        ENGINE,
        needs=("kv_offloading_size",),
        page="tiers.md#vllms-native-offload",
        rare=True,
    )
    """`native`, or `lmcache`: prompts in chunks of 256 tokens, otherwise by the rules of native offload."""
    eviction_policy: EvictionPolicy = setting(
        "lru",
        "What native offload evicts from host memory.",
        ENGINE,
        needs=("kv_offloading_size",),
        page="tiers.md#vllms-native-offload",
        rare=True,
    )
    """What native offload evicts from host memory, as vLLM's `kv_connector_extra_config` has it: `lru` or `arc`."""
    offload_prompt_only: bool = setting(
        True,
        "Let native offload store what turns generate too, as they do.",
        ENGINE,
        needs=("kv_offloading_size",),
        page="tiers.md#vllms-native-offload",
        rare=True,
    )
    """Store prompts only, as native offload does by default; off, what turns generate is stored as they do."""
    blocks_per_chunk: int = setting(
        1,
        "Blocks that native offload stores, loads and evicts together.",
        ENGINE,
        needs=("kv_offloading_size",),
        page="tiers.md#vllms-native-offload",
        least=1,
        most=2**16,
        rare=True,
    )
    """Blocks that native offload stores, loads and evicts together, as vLLM's `kv_connector_extra_config` has it."""
    step_time: str | StepTime = setting(
        "roofline",
        "How long steps take, with :FILE or :DIR after a model that reads one.",
        ENGINE,
        page="step-time.md",
        names="step_time",
    )
    """`roofline`, `fitted:FILE`, …, or a model."""
    engine: EngineMode = setting("fast", "Jump over equal steps, or take each one: the same results.", ENGINE)
    price: Price = setting(
        None,
        "Dollars per GPU-hour: 2.5, or per GPU h100=2.5,a100-80=1.6.",
        ENGINE,
        unset="a dated list",
        page="results.md",
    )
    """US dollars per GPU-hour: one number, or one per kind of GPU, `h100=2.5,a100-80=1.6` or a mapping; None for the
    dated list in `sim/hardware/prices.toml`."""
    programs: int | None = setting(
        None,
        "Programs in all: the trace over and over, each time in another order.",
        LOAD,
        unset="the trace once, in its order",
        least=1,
        most=10**7,
    )
    """Programs in all: the trace in whole passes, each in an order drawn with the seed; None replays it once."""
    duration: float | None = _seconds(
        "Seconds after which no more programs arrive; the trace repeats until then.",
        LOAD,
        unset="no end but the trace's",
    )
    """Seconds after which no program arrives or, in a closed load, starts; the trace repeats as for `programs`."""
    population: Population | None = setting(
        None,
        "Programs of a run with a length: the trace's, or the same number drawn with the seed.",
        LOAD,
        unset="drawn for compare, sweep and tune, else trace",
        page="results.md#paired-differences",
    )
    """Which programs a run with a length repeats: all of the `trace`, or the same number `drawn` from it with
    replacement, determined by the seed alone. If each seed draws its own, differences between seeds also say
    something about programs outside the trace."""
    warmup: str | int | None = setting(
        None,
        "First programs, by arrival, that are served but left out of the statistics: 200, or 10%.",
        LOAD,
        unset="10% with --programs or --duration from an empty engine, else none",
    )
    """First programs, by arrival, that are served but left out of the statistics: a number, or a share as in `10%`."""
    cooldown: str | int | None = setting(None, "Last programs, left out in the same way.", LOAD, unset="none")
    """Last programs, by arrival, that are left out in the same way."""
    burst: str | int | None = setting(
        None, "Extra programs that arrive at once, at 0 s or later: 100 or 100@3600.", LOAD, unset="none"
    )
    """Extra programs that arrive at once on top of an open load, at 0 s or, after @, at another time in seconds. All
    other programs arrive as they would without them."""
    start: StartMode = setting(
        "empty", "Start with an empty engine, or as after --burst 100 whose programs do not count.", LOAD
    )
    """Start with an `empty` engine, or `loaded`: as after a burst of 100 at 0 s, whose programs do not count."""
    slo: Objectives = setting(
        None,
        "Objectives, in seconds: p95_jct=300,mean_ttft=1, or for every turn or program, ttft=2,slowdown=3.",
        LOAD,
        unset="none",
        page="results.md#objectives",
    )
    """Objectives: upper bounds on a statistic of `jct`, `ttft`, `tpot`, `e2el`, `queue_wait` (seconds) or `slowdown`,
    or without a statistic on every program or turn."""
    limit: int | None = setting(
        None, "Programs to take from the start of the trace.", LOAD, unset="all", least=1, most=MOST
    )
    """Number of programs taken from the start of the trace."""
    max_turns: int | None = setting(
        None, "Cut every program after this many turns.", LOAD, unset="never", least=1, most=MOST
    )
    """Number of turns taken from the start of each program."""
    unfit: Unfit | None = setting(
        None,
        "Leave out, or cut, programs too long for the engine.",
        LOAD,
        unset="the trace is refused",
        page="traces.md#another-size",
        switches={
            "drop": "Leave out programs too long for the engine, and count them.",
            "truncate": "Cut programs before the first turn too long for the engine, and count them.",
        },
    )
    """Leave out (`drop`) programs with a context that no engine can hold, or cut them (`truncate`) before the first
    turn with such a context; None refuses the trace. The summary counts the programs left out or cut."""
    repeat_turns: float = setting(
        1.0,
        "Factor on the number of each program's turns, which shrink so that its final context stays about the same.",
        LOAD,
        page="figures.md#the-papers-figures",
        least=1,
        most=1_000,
    )
    """Factor on each program's number of turns; turns shrink by the same factor, so that the final context stays about
    the same."""
    tool_workers: PerToolSetting = setting(
        None,
        "Tool calls that run at once while others wait: 16, or per tool bash:4,*:16.",
        TOOLS,
        unset="no bound",
        page="tools.md#workers",
    )
    """Most tool calls that run at once: a number, or per tool `bash:4,*:16` or a mapping; None for no bound."""
    tool_timeout: PerToolSetting = setting(
        None,
        "Seconds after which a tool call is cut short; one number, or per tool.",
        TOOLS,
        unset="never",
        page="tools.md#timeouts-failures-retries",
    )
    """Seconds after which a tool call is cut short, in the same forms."""
    tool_failure_rate: PerToolSetting = setting(
        None,
        "Probability that a tool call fails at its end, drawn with the seed; one number, or per tool.",
        TOOLS,
        unset="0",
        page="tools.md#timeouts-failures-retries",
    )
    """Probability that a tool call fails at its end, drawn with the seed; in the same forms."""
    tool_retries: PerToolSetting = setting(
        None,
        "Retries of a call that timed out or failed; one number, or per tool.",
        TOOLS,
        unset="1",
        needs=(
            "tool_timeout",
            "tool_failure_rate",
        ),
        page="tools.md#timeouts-failures-retries",
    )
    """How often a call that timed out or failed is tried again, in the same forms; None for once."""
    speculative_config: str | None = setting(
        None,
        "Drafts that steps verify: eagle3:num_speculative_tokens=3,synthetic_acceptance_rates=0.8/0.6/0.4, or vLLM's "
        "JSON.",
        ENGINE,
        unset="none",
        page="engine.md#speculative-decoding",
    )
    """Speculative decoding: vLLM's JSON of that name, or `method:key=value,…`, with the acceptance that its synthetic
    rejection sampler takes."""
    vllm_version: VllmVersion = setting(MIRRORED_VLLM, "vLLM whose scheduler decides.", ENGINE, page="parity.md")
    """The vLLM whose scheduler decides, as major.minor."""
    prefill_schedule_interval: int = setting(
        1,
        "Steps from one that computes a prompt to the next that may, while turns decode (0.33); 1: any.",
        ENGINE,
        page="engine.md",
        least=1,
        most=MOST,
    )
    """Steps from one that computes a prompt to the next that may while turns decode (vLLM 0.33); 1 for any step."""

    max_num_queued_reqs: int | None = setting(
        None,
        "Unfinished requests at which a server answers others with 503.",
        CLIENTS,
        unset="no limit",
        page="tools.md#clients",
        least=0,
        most=MOST,
        rare=True,
    )
    """Most unfinished requests of each replica's API server, which refuses others with HTTP 503."""
    max_num_queued_tokens: int | None = setting(
        None,
        "Prompt tokens still without an answer at which a server answers requests with 503.",
        CLIENTS,
        unset="no limit",
        page="tools.md#clients",
        least=0,
        most=MOST,
        rare=True,
    )
    """Prompt tokens, of requests without a token yet, from which on it refuses others."""
    abort_rate: float = setting(
        0.0,
        "Probability that a client hangs up before the last token of a turn; its program goes on.",
        CLIENTS,
        page="tools.md#clients",
        least=0,
        most=1,
        expected="a probability from 0 to 1",
    )
    """Probability, drawn with the seed, that a client hangs up before the last token of a turn."""
    request_timeout: float | None = _seconds(
        "Seconds after which a client gives up on a request.",
        CLIENTS,
        unset="never",
        page="tools.md#clients",
    )
    """Seconds after which a client gives up on a request, and sends it again or gives up its program."""
    job_timeout: float | None = _seconds(
        "Seconds after its arrival when a program is given up.",
        CLIENTS,
        unset="never",
        page="tools.md#clients",
    )
    """Seconds after its arrival when a program is given up, whatever it is doing."""
    retry: int = setting(
        CLIENT_RETRIES,
        "Times a request that timed out or got 503 is sent again, after waits as OpenAI's client has them.",
        CLIENTS,
        needs=("request_timeout", "max_num_queued_reqs", "max_num_queued_tokens"),
        page="tools.md#clients",
        least=0,
        most=1000,
    )
    """How often a request that timed out or was refused is sent again before its program is given up."""
    client_delay: float = setting(
        0.0,
        "Seconds of a turn's way to the engine and back.",
        CLIENTS,
        page="tools.md#clients",
        least=0,
        most=MOST,
        expected="0 or more seconds",
    )
    """Seconds between client and engine on every turn (HTTP, tokenising, streaming), half before, half after it: part
    of TTFT, of JCT and of the gaps that the engine sees."""

    def __post_init__(self, rate: float | None) -> None:
        _check_names(self)
        for name, item in run_settings().items():
            check_value(item, rate if name == "rate" else getattr(self, name))
        if rate is not None:
            object.__setattr__(self, "arrivals", arrivals_at(rate, self.arrivals))
        _ = self.tools, self.length, self.objectives, self.prices, self.speculation

    @property
    def parallel(self) -> Parallel:
        """How each replica is split over GPUs."""
        from continuum_sim.hardware.parallel import Parallel

        return Parallel(
            tensor_parallel_size=self.tensor_parallel_size,
            pipeline_parallel_size=self.pipeline_parallel_size,
            data_parallel_size=self.data_parallel_size,
            enable_expert_parallel=self.enable_expert_parallel,
            nodes=self.nodes,
            link=self.link,
            node_link=self.node_link,
            all2all_backend=self.all2all_backend,
            enable_dbo=self.enable_dbo,
        )

    @property
    def tools(self) -> ToolConfig:
        """Settings of tools, combined."""
        from continuum_sim.world.tools.config import make_tool_config

        return make_tool_config(self.tool_workers, self.tool_timeout, self.tool_failure_rate, self.tool_retries)

    @property
    def clients(self) -> ClientConfig:
        """Settings of clients, combined."""
        from continuum_sim.world.clients.config import client_config

        return client_config(self.abort_rate, self.request_timeout, self.job_timeout, self.retry, self.client_delay)

    @property
    def speculation(self) -> Speculation | None:
        """Speculative decoding, if asked for."""
        if self.speculative_config is None:
            return None
        from continuum_sim.setup.speculation import parse_speculation

        return parse_speculation(self.speculative_config)

    @property
    def prices(self) -> Prices:
        """Prices of GPUs."""
        from continuum_sim.hardware.prices import parse_prices

        return parse_prices(self.price)

    @property
    def objectives(self) -> Slo:
        """Service-level objectives of the run."""
        from continuum_sim.setup.slo import parse_slo

        return parse_slo(self.slo)

    @property
    def length(self) -> RunLength:
        """Length of the run, and which of its programs count."""
        from continuum_sim.steady.burst import LOADED, parse_burst
        from continuum_sim.steady.length import LONG_WARMUP, RunLength, parse_cut

        loaded = self.start == "loaded"
        if loaded and self.burst is not None:
            raise ConfigError(f"start loaded already is a burst at 0 s, beside burst {self.burst}; leave one out")
        asked = (self.programs is not None or self.duration is not None) and not loaded
        return RunLength(
            self.programs,
            math.inf if self.duration is None else float(self.duration),
            parse_cut("warmup", LONG_WARMUP if asked and self.warmup is None else self.warmup),
            parse_cut("cooldown", self.cooldown),
            LOADED if loaded else parse_burst(self.burst),
            drawn=self.population == "drawn",
        )


@cache
def run_settings() -> Mapping[str, Setting]:
    """Return every setting of a run by name, in the order of `RunConfig`, with `rate`, the short form of arrivals."""
    return settings_of(RunConfig)


def arrivals_at(rate: float, arrivals: Arrivals) -> str:
    """Return the Poisson arrivals that a rate stands for.

    Raises
    ------
    ConfigError
        If arrivals are given as well.
    """
    if arrivals is not None:
        raise ConfigError(f"rate {rate:g} and arrivals {arrivals} both say when programs arrive; leave one out")
    return f"poisson:rate={float(rate)!r}"


def check_value(item: Setting, value: object) -> None:
    """Refuse a number out of bounds, or a word that is not one of the choices.

    Raises
    ------
    ConfigError
        Naming the setting and what was expected.
    """
    about = item.about
    if item.kind.choices:
        if value not in item.kind.choices and not (value is None and item.kind.optional):
            raise ConfigError(f"{item.name} is {value!r}, expected one of {', '.join(item.kind.choices)}")
    elif about.least is None or (value is None and item.kind.optional):
        return
    elif item.kind.types == (int,):
        _check_whole(item.name, value, int(about.least), int(about.most))
    else:
        expected = about.expected or f"a number of at least {about.least:g}"
        _check_number(item.name, value, expected, about.least, about.most, positive=about.positive)


def _check_number(
    name: str, value: object, expected: str, least: float, most: float, *, positive: bool = False
) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if least <= value <= most and not (positive and value == 0):
            return
        if value > most and f"{most:g}" not in expected:
            expected += f", at most {most:g}"
        elif least > 0 and 0 < value < least and f"{least:g}" not in expected:
            expected += f", at least {least:g}"
    raise ConfigError(f"{name} is {shown(value)}, expected {expected}")


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        above = f" and at most {most:,}" if isinstance(value, int) and value > most else ""
        raise ConfigError(f"{name} is {shown(value)}, expected a whole number of at least {least}{above}")


def _check_names(config: RunConfig) -> None:
    """Refuse settings of a wrong type before anything calls a method they do not have."""
    from continuum_sim.hardware import GpuSpec, ModelSpec
    from continuum_sim.policies import Policy, Routing
    from continuum_sim.policies.registry import BASES
    from continuum_sim.traces.arrivals import Closed

    for plane, base in BASES.items():
        if isinstance(config.policy, base):
            made = type(config.policy).__name__
            raise ConfigError(
                f"policy is a plane, {made}, expected a policy made of it: Policy({made!r}, {plane}={made}(…))"
            )
    for name, kinds, expected in (
        ("policy", (str, Policy), "a policy's name with its parameters, or a Policy"),
        ("model", (str, ModelSpec), "a model's name"),
        ("gpu", (str, GpuSpec), "a GPU's name"),
        ("router", (str, Routing, type(None)), "a router's name, or a Routing"),
    ):
        if not isinstance(getattr(config, name), kinds):
            raise ConfigError(f"{name} is {shown(getattr(config, name))}, expected {expected}")
    arrivals = config.arrivals
    if not (arrivals is None or isinstance(arrivals, str | Closed) or callable(getattr(arrivals, "times", None))):
        remedy = f"; or give rate={arrivals}" if isinstance(arrivals, int | float) else ""
        raise ConfigError(f"arrivals is {shown(arrivals)}, expected an arrival process as in poisson:rate=0.1{remedy}")
    if not (isinstance(config.step_time, str) or hasattr(config.step_time, "step_s")):
        raise ConfigError(f"step_time is {shown(config.step_time)}, expected a model of step times, as in roofline")
    if not isinstance(config.trace, str | os.PathLike | Iterable):
        raise ConfigError(f"trace is {shown(config.trace)}, expected a file, the name of a trace, or programs")
    if isinstance(config.replicas, str | int) and not isinstance(config.replicas, bool):
        return
    if not isinstance(config.replicas, Sequence) or not all(isinstance(r, str | GpuSpec) for r in config.replicas):
        raise ConfigError(f"replicas is {shown(config.replicas)}, expected a number, GPU:NUMBER,… or a list of GPUs")
