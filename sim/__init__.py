"""Trace-driven simulator of LLM agent serving.

`run` simulates a trace under one policy, `compare` several policies on the same seeds, `sweep` a whole grid of
settings; `capacity` finds the loads that policies sustain. All return data frames.
Names are imported on first use, so `import continuum_sim` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from continuum_sim.capacities import CapacityResult, capacity, load_capacity
    from continuum_sim.errors import ConfigError, SimulationError
    from continuum_sim.plotting import figure, figures
    from continuum_sim.plotting.paper import paper_figures
    from continuum_sim.policies import Policy, PolicyError
    from continuum_sim.published import find_published
    from continuum_sim.report import write_report
    from continuum_sim.results import CompareResult, RunResult, Summary, load_run
    from continuum_sim.results.difference import diff
    from continuum_sim.runs.api import run
    from continuum_sim.runs.comparison import compare
    from continuum_sim.runs.repeat import rerun
    from continuum_sim.scenarios import find_scenario
    from continuum_sim.setup.notation import parse_policy
    from continuum_sim.setup.run_config import RunConfig
    from continuum_sim.sweeps import SweepResult, Tuned, load_sweep, sweep
    from continuum_sim.sweeps.tune import tune
    from continuum_sim.traces import Program, SharedPrefix, TraceError, Turn, export_trace, import_trace
    from continuum_sim.tracks import export_continuum, export_timeline

_HOME = {
    "run": "runs.api",
    "CapacityResult": "capacities",
    "capacity": "capacities",
    "load_capacity": "capacities",
    "compare": "runs.comparison",
    "ConfigError": "errors",
    "figure": "plotting",
    "figures": "plotting",
    "paper_figures": "plotting.paper",
    "Policy": "policies",
    "PolicyError": "policies",
    "find_published": "published",
    "CompareResult": "results",
    "RunResult": "results",
    "Summary": "results",
    "load_run": "results",
    "diff": "results.difference",
    "RunConfig": "setup.run_config",
    "find_scenario": "scenarios",
    "SimulationError": "errors",
    "parse_policy": "setup.notation",
    "SweepResult": "sweeps",
    "load_sweep": "sweeps",
    "sweep": "sweeps",
    "Tuned": "sweeps",
    "tune": "sweeps",
    "Program": "traces",
    "SharedPrefix": "traces",
    "TraceError": "traces",
    "Turn": "traces",
    "rerun": "runs.repeat",
    "export_continuum": "tracks",
    "export_timeline": "tracks",
    "export_trace": "traces",
    "import_trace": "traces",
    "write_report": "report",
}

__all__ = [
    "CapacityResult",
    "CompareResult",
    "ConfigError",
    "Policy",
    "PolicyError",
    "Program",
    "RunConfig",
    "RunResult",
    "SharedPrefix",
    "SimulationError",
    "Summary",
    "SweepResult",
    "TraceError",
    "Tuned",
    "Turn",
    "__version__",
    "capacity",
    "compare",
    "diff",
    "export_continuum",
    "export_timeline",
    "export_trace",
    "figure",
    "figures",
    "find_published",
    "find_scenario",
    "import_trace",
    "load_capacity",
    "load_run",
    "load_sweep",
    "paper_figures",
    "parse_policy",
    "rerun",
    "run",
    "sweep",
    "tune",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("continuum-sim")
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
