"""What a user asks of one run, before names are looked up: the cell of a comparison or a sweep."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from continuum_sim.engine.offload.config import ReloadRule
from continuum_sim.errors import ConfigError, shown
from continuum_sim.setup.setting_types import (
    Arrivals,
    EngineMode,
    KvCacheDtype,
    Objectives,
    PerToolSetting,
    Population,
    Price,
    Replicas,
    StartMode,
    Trace,
    Unfit,
)
from continuum_sim.setup.settings import ENGINE, LOAD, TOOLS, Setting, setting, settings_of
from continuum_sim.vllm_defaults import BLOCK_SIZE, GPU_MEMORY_UTILIZATION

if TYPE_CHECKING:  # `--help` reads this class, and takes no longer than it must
    from continuum_sim.hardware import GpuSpec, ModelSpec
    from continuum_sim.hardware.prices import Prices
    from continuum_sim.policies import Policy, Routing
    from continuum_sim.setup.slo import Slo
    from continuum_sim.steady.length import RunLength
    from continuum_sim.steptime.model import StepTime
    from continuum_sim.world.tools.config import ToolConfig

DEFAULT_ARRIVALS: Final = "poisson:rate=0.1"
MOST: Final = 10**9
"""Of most whole numbers: beyond, a slip of the finger is likelier than an engine, and a run would never end."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run. Settings with vLLM's names mean what they mean there, and None takes its default.

    Flags of the command line, arguments of `run`, axes of sweeps and the tables of the pages follow from these fields.

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
    """Of the arrivals; the same for all policies of a comparison."""
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
        1, "GPUs the model is split over (--tp).", ENGINE, flags=("--tp", "-tp"), least=1, most=1024
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
    """As vLLM's `--kv-cache-dtype`: blocks, what attention reads of them and memory tiers follow."""
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
    """Engines behind one router: a number of them alike, `h100:2,a100-80:4`, or a list of GPUs. They may have memory
    tiers of their own, `h100:2:dram_gb=200,ssd_gb=500,a100-80:4`; what they do not say is as below."""
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
        needs=("dram_gb",),
        page="tiers.md",
        least=1e-6,
        most=1e9,
        expected="more than 0 GB/s",
    )
    """Bandwidth between its GPUs and host memory in GB/s, both directions together (PCIe 4.0 x16: 16 lanes of 16 GT/s,
    128/130 encoded, carry 31.5 GB/s each way)."""
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
    """Reload what a tier holds where that is faster than computing it, or `always`."""
    step_time: str | StepTime = setting(
        "roofline",
        "How long steps take, with :FILE or :DIR behind a model that reads one.",
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
    """US dollars per GPU-hour: a number, or one for each kind of GPU, `h100=2.5,a100-80=1.6` or a mapping; None for
    those of a dated list (`sim/hardware/prices.toml`)."""
    programs: int | None = setting(
        None,
        "Programs in all: the trace over and over, each time in another order.",
        LOAD,
        unset="the trace once, in its order",
        least=1,
        most=10**7,
    )
    """Programs in all: the trace in whole passes, each in an order drawn with the seed; None replays it once."""
    duration: float | None = setting(
        None,
        "Seconds after which no more programs arrive, the trace repeated likewise.",
        LOAD,
        unset="no end but the trace's",
        least=0,
        most=MOST,
        expected="a number of seconds above 0",
        positive=True,
    )
    """Seconds after which no program arrives any more, or starts in a closed load; the trace is repeated likewise."""
    population: Population | None = setting(
        None,
        "Programs of a run with a length: the trace's, or as many drawn by the seed.",
        LOAD,
        unset="drawn for compare, sweep and tune, else trace",
        page="results.md#paired-differences",
    )
    """Which programs a run with a length repeats: all of the `trace`, or as many `drawn` from it with replacement, by
    the seed alone. Where runs of several seeds draw theirs, what differs between them is about other programs too."""
    warmup: str | int | None = setting(
        None,
        "First programs, by arrival, that are served but left out of the statistics: 200, or 10%.",
        LOAD,
        unset="10% with --programs or --duration from an empty engine, else none",
    )
    """First programs, by arrival, that are served and left out of the statistics: a number, or a share as in `10%`."""
    cooldown: str | int | None = setting(None, "The same of the last ones.", LOAD, unset="none")
    """Last programs, by arrival, that are left out likewise."""
    burst: str | int | None = setting(
        None, "Programs more, at once, now or at a time in seconds: 100 or 100@3600.", LOAD, unset="none"
    )
    """Programs more, all at once on top of an open load: so many at 0 s, or with @ at another time in seconds. All
    other programs arrive as they would without."""
    start: StartMode = setting(
        "empty", "Begin with an empty engine, or as after --burst 100 whose programs do not count.", LOAD
    )
    """Begin with an empty engine, or `loaded`: as after a burst of 100 at 0 s, whose programs do not count."""
    slo: Objectives = setting(
        None,
        "Objectives to look at, in seconds: p95_jct=300,mean_ttft=1, or of every turn or program, ttft=2,slowdown=3.",
        LOAD,
        unset="none",
        page="results.md#objectives",
    )
    """Objectives to look at: a statistic of `jct`, `ttft`, `tpot`, `e2el`, `queue_wait` (seconds) or `slowdown`;
    without one it is about every program or turn."""
    limit: int | None = setting(
        None, "Only the first so many programs of the trace.", LOAD, unset="all", least=1, most=MOST
    )
    """First programs of the trace only."""
    max_turns: int | None = setting(
        None, "Cut every program after so many turns.", LOAD, unset="never", least=1, most=MOST
    )
    """First turns of each program only."""
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
    turn whose context is such; None refuses the trace. Either is counted in the summary."""
    repeat_turns: float = setting(
        1.0,
        "Times as many turns a program, of as many tokens less each: its context ends as long.",
        LOAD,
        page="figures.md#the-papers-figures",
        least=1,
        most=1_000,
    )
    """Times as many turns in each program, each with as many tokens less, so that the context ends as long."""
    tool_workers: PerToolSetting = setting(
        None,
        "Tool calls that run at once, the others wait: 16, or per tool bash:4,*:16.",
        TOOLS,
        unset="no bound",
        page="tools.md#workers",
    )
    """Tool calls that can run at once: a number, or per tool `bash:4,*:16` or a mapping; None for no bound."""
    tool_timeout: PerToolSetting = setting(
        None,
        "Seconds after which a tool call is cut short; per tool likewise.",
        TOOLS,
        unset="never",
        page="tools.md#timeouts-failures-retries",
    )
    """Seconds after which a tool call is cut short, likewise."""
    tool_failure_rate: PerToolSetting = setting(
        None,
        "Probability that a tool call fails at its end, drawn from the seed; per tool likewise.",
        TOOLS,
        unset="0",
        page="tools.md#timeouts-failures-retries",
    )
    """Probability that a tool call fails, likewise; drawn from the seed."""
    tool_retries: PerToolSetting = setting(
        None,
        "Retries of a call that timed out or failed; per tool likewise.",
        TOOLS,
        unset="1",
        needs=(
            "tool_timeout",
            "tool_failure_rate",
        ),
        page="tools.md#timeouts-failures-retries",
    )
    """How often a call that timed out or failed is tried again, likewise; None for once."""

    def __post_init__(self, rate: float | None) -> None:
        _check_names(self)
        for name, item in run_settings().items():
            check_value(item, rate if name == "rate" else getattr(self, name))
        if rate is not None:
            object.__setattr__(self, "arrivals", arrivals_at(rate, self.arrivals))
        _ = self.tools, self.length, self.objectives, self.prices

    @property
    def tools(self) -> ToolConfig:
        """The settings of the tools' side, put together."""
        from continuum_sim.world.tools.config import make_tool_config

        return make_tool_config(self.tool_workers, self.tool_timeout, self.tool_failure_rate, self.tool_retries)

    @property
    def prices(self) -> Prices:
        """What GPUs cost."""
        from continuum_sim.hardware.prices import parse_prices

        return parse_prices(self.price)

    @property
    def objectives(self) -> Slo:
        """What users are promised."""
        from continuum_sim.setup.slo import parse_slo

        return parse_slo(self.slo)

    @property
    def length(self) -> RunLength:
        """How long the run is, and which of its programs count."""
        from continuum_sim.steady.burst import LOADED, parse_burst
        from continuum_sim.steady.length import LONG_WARMUP, RunLength, parse_cut

        loaded = self.start == "loaded"
        if loaded and self.burst is not None:
            raise ConfigError(f"start loaded is a burst of its own at 0 s, beside burst {self.burst}; leave one out")
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
    """Return every setting of a run by name, in the order of `RunConfig`, and the rate, which stands for arrivals."""
    return settings_of(RunConfig)


def arrivals_at(rate: float, arrivals: Arrivals) -> str:
    """Return the arrivals that a rate alone stands for.

    Raises
    ------
    ConfigError
        If there are arrivals as well.
    """
    if arrivals is not None:
        raise ConfigError(f"rate {rate:g} and arrivals {arrivals} both say when programs arrive; leave one out")
    return f"poisson:rate={float(rate)!r}"


def check_value(item: Setting, value: object) -> None:
    """Refuse a number out of bounds, and a word where there is a choice of others.

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
    """Refuse a setting of a type that it cannot have, before anything calls a method that is not there."""
    from continuum_sim.hardware import GpuSpec, ModelSpec
    from continuum_sim.policies import Policy, Routing
    from continuum_sim.policies.registry import BASES
    from continuum_sim.traces.arrivals import Closed

    for plane, base in BASES.items():
        if isinstance(config.policy, base):
            made = type(config.policy).__name__
            raise ConfigError(
                f"policy is a plane, {made}, expected a policy of it: Policy({made!r}, {plane}={made}(…))"
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
