"""What a user asks of one run, before names are looked up: the cell of a comparison or a sweep."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from continuum_sim.engine.tier_config import ReloadRule
from continuum_sim.errors import ConfigError, shown
from continuum_sim.hardware import GpuSpec, ModelSpec
from continuum_sim.policies import Policy, Routing
from continuum_sim.policies.registry import BASES
from continuum_sim.replicas import Replicas
from continuum_sim.steptime.model import StepTime
from continuum_sim.tools.config import Setting, ToolConfig, make_tool_config
from continuum_sim.trace_source import TraceSource
from continuum_sim.traces.arrivals import Closed, OpenArrivals
from continuum_sim.traces.schema import Program
from continuum_sim.vllm_defaults import BLOCK_SIZE, GPU_MEMORY_UTILIZATION

EngineMode = Literal["fast", "stepwise"]
Trace = str | os.PathLike[str] | Iterable[Program] | TraceSource
Arrivals = str | OpenArrivals | Closed | None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run. Settings with vLLM's names mean what they mean there, and None takes its default.

    Raises
    ------
    ConfigError
        For a number out of range; names are looked up by `resolve`.
    """

    trace: Trace = "swebench.jsonl"
    """A file, the name of a bundled trace, or programs."""
    policy: str | Policy = "ttl"
    """A preset with its parameters (`ttl-static:ttl=2`), planes (`order=…,retention=…`), or a policy."""
    arrivals: Arrivals = None
    """`poisson:rate=0.1`, `burst`, `closed:workers=64`, `trace`, …; None takes the trace's own arrival times where
    every program has one, else `DEFAULT_ARRIVALS`."""
    seed: int = 0
    """Of the arrivals; the same for all policies of a comparison."""
    model: str | ModelSpec = "llama-3.1-8b"
    gpu: str | GpuSpec = "a100-80"
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION
    block_size: int = BLOCK_SIZE
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    kv_blocks: int | None = None
    """KV blocks as vLLM's `num_gpu_blocks` (one is its null block), instead of an estimate from the memory."""
    watermark: float = 0.0
    replicas: Replicas = 1
    """Engines behind one router: a number of them alike, `h100:2,a100-80:4`, or a list of GPUs. They may have memory
    tiers of their own, `h100:2:dram_gb=200,ssd_gb=500,a100-80:4`; what they do not say is as below."""
    router: str | Routing | None = None
    """`session-affinity`, `prefix-aware:index=events`, …, or a rule; None takes the policy's, else session affinity."""
    dram_gb: float = 0.0
    """Host memory for KV blocks below the KV cache of a replica, in GB of 10⁹ bytes; 0 for none."""
    dram_gbps: float = 31.5
    """Bandwidth between its GPUs and host memory in GB/s, both directions together (PCIe 4.0 x16: 16 lanes of 16 GT/s,
    128/130 encoded, carry 31.5 GB/s each way)."""
    ssd_gb: float = 0.0
    """SSD space for what host memory evicts, in GB of 10⁹ bytes; 0 for none."""
    ssd_gbps: float = 6.9
    """Bandwidth between host memory and the SSD in GB/s (Samsung PM9A3 data sheet: 6,900 MB/s sequential reads)."""
    reload: ReloadRule = "faster"
    """Reload what a tier holds where that is faster than computing it, or `always`."""
    step_time: str | StepTime = "roofline"
    """`roofline`, `fitted:FILE`, …, or a model."""
    engine: EngineMode = "fast"
    limit: int | None = None
    """First programs of the trace only."""
    max_turns: int | None = None
    """First turns of each program only."""
    repeat_turns: float = 1.0
    """Times as many turns in each program, each with as many tokens less, so that the context ends as long."""
    tool_workers: Setting = None
    """Tool calls that can run at once: a number, or per tool `bash:4,*:16` or a mapping; None for no bound."""
    tool_timeout: Setting = None
    """Seconds after which a tool call is cut short, likewise."""
    tool_failure_rate: Setting = None
    """Probability that a tool call fails, likewise; drawn from the seed."""
    tool_retries: Setting = None
    """How often a call that timed out or failed is tried again, likewise; None for once."""

    def __post_init__(self) -> None:
        _check_names(self)
        for name, (least, most) in WHOLE_NUMBERS.items():
            value = getattr(self, name)
            if value is not None or name in _NEVER_NONE:
                _check_whole(name, value, least, most)
        _check_number("repeat_turns", self.repeat_turns, "a number of at least 1", 1, MOST_REPEATS)
        _check_number("watermark", self.watermark, "a share from 0 to below 1", 0, 1)
        share = self.gpu_memory_utilization
        _check_number("gpu_memory_utilization", share, "a share above 0 and at most 1", 0, 1, positive=True)
        _ = self.tools
        for name in ("dram", "ssd"):
            _check_number(f"{name}_gb", getattr(self, f"{name}_gb"), "0 or more GB", 0, MOST_GB)
            gbps = getattr(self, f"{name}_gbps")
            _check_number(f"{name}_gbps", gbps, "more than 0 GB/s", LEAST_GBPS, MOST_GBPS, positive=True)
        if self.reload not in get_args(ReloadRule):
            raise ConfigError(f"reload is {self.reload!r}, expected one of {', '.join(get_args(ReloadRule))}")
        if self.engine not in get_args(EngineMode):
            raise ConfigError(f"engine is {self.engine!r}, expected one of {', '.join(get_args(EngineMode))}")

    @property
    def tools(self) -> ToolConfig:
        """The settings of the tools' side, put together."""
        return make_tool_config(self.tool_workers, self.tool_timeout, self.tool_failure_rate, self.tool_retries)


DEFAULT_ARRIVALS = "poisson:rate=0.1"

WHOLE_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "seed": (0, 2**63 - 1),
    "tensor_parallel_size": (1, 1024),
    "block_size": (1, 2**16),
    "max_num_batched_tokens": (1, 10**9),
    "max_num_seqs": (1, 10**6),
    "max_model_len": (1, 10**9),
    "kv_blocks": (2, 10**9),
    "limit": (1, 10**9),
    "max_turns": (1, 10**9),
}
"""Setting -> least and most: beyond, a slip of the finger is likelier than an engine, and a run would never end."""
_NEVER_NONE: Final = ("seed", "tensor_parallel_size", "block_size")
MOST_REPEATS: Final = 1_000
"""Of `repeat_turns`; an agent of 1,000 times as many turns is no agent any more, and one too many zeros takes hours."""
MOST_GB: Final = 1e9
"""Of a memory tier: an exabyte."""
LEAST_GBPS: Final = 1e-6
MOST_GBPS: Final = 1e9


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
        remedy = f"; write poisson:rate={arrivals}" if isinstance(arrivals, int | float) else ""
        raise ConfigError(f"arrivals is {shown(arrivals)}, expected an arrival process as in poisson:rate=0.1{remedy}")
    if not (isinstance(config.step_time, str) or hasattr(config.step_time, "step_s")):
        raise ConfigError(f"step_time is {shown(config.step_time)}, expected a model of step times, as in roofline")
    if not isinstance(config.trace, str | os.PathLike | Iterable):
        raise ConfigError(f"trace is {shown(config.trace)}, expected a file, the name of a trace, or programs")
    if isinstance(config.replicas, str | int) and not isinstance(config.replicas, bool):
        return
    if not isinstance(config.replicas, Sequence) or not all(isinstance(r, str | GpuSpec) for r in config.replicas):
        raise ConfigError(f"replicas is {shown(config.replicas)}, expected a number, GPU:NUMBER,… or a list of GPUs")
