"""Types of settings: names and numbers as on the command line, or the objects that these stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from continuum_sim.hardware import GpuSpec
    from continuum_sim.setup.trace_source import TraceSource
    from continuum_sim.traces.arrivals import Closed, OpenArrivals
    from continuum_sim.traces.schema import Program
else:  # `--help` evaluates these types to see what text can express, and must not pay for importing them
    GpuSpec = TraceSource = Closed = OpenArrivals = Program = object

EngineMode = Literal["fast", "stepwise"]
SchedulingPolicy = Literal["fcfs", "priority"]
VllmVersion = Literal["0.32", "0.33"]
"""Same as `MIRRORED_VERSIONS`."""
StartMode = Literal["empty", "loaded"]
KvCacheDtype = Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"]
"""The values of vLLM's ``--kv-cache-dtype`` whose blocks hold nothing but elements."""
All2AllBackend = Literal["allgather_reducescatter", "deepep_high_throughput", "deepep_low_latency"]
"""Same as `hardware.parallel.ALL2ALL_BACKENDS`."""
Population = Literal["trace", "drawn"]
Unfit = Literal["drop", "truncate"]
"""Same as in `traces.unfit`, which is too slow to import for `--help`."""
Trace: TypeAlias = str | os.PathLike[str] | Iterable[Program] | TraceSource
Arrivals: TypeAlias = str | OpenArrivals | Closed | None
Replicas: TypeAlias = int | str | Sequence[str | GpuSpec]
"""A number of identical replicas, `h100:2,a100-80:4`, or a list with one GPU per replica. A GPU may be followed by
memory tier settings for its replicas: `h100:2:dram_gb=200,ssd_gb=500,a100-80:4`."""
Objectives: TypeAlias = str | Mapping[str, float] | None
"""`p95_jct=300,ttft=2`, or the same as a mapping."""
PerToolSetting: TypeAlias = int | float | str | Mapping[str, int] | Mapping[str, float] | None
"""One number for all tools, `bash:4,*:16`, or the same as a mapping; None for the default."""
Price: TypeAlias = float | str | Mapping[str, float] | None
"""One number for all GPUs, `h100=2.5,a100-80=1.6`, or the same as a mapping; None for the dated list."""
