"""The library's main entry point: run a trace under one policy."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Unpack

from continuum_sim.policies import Policy
from continuum_sim.results.result import RunResult
from continuum_sim.results.tables import COLUMNS
from continuum_sim.runs.execute import OnProgress, execute
from continuum_sim.setup.keywords import documented, named
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.setup.setting_types import Trace
from continuum_sim.setup.settings_dict import RunSettings


@documented(RunSettings)
def run(
    trace: Trace = "swebench.jsonl",
    policy: str | Policy = "ttl",
    *,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    decisions: bool = False,
    timeline: bool = True,
    progress: OnProgress | None = None,
    **settings: Unpack[RunSettings],
) -> RunResult:
    """Simulate one trace on one engine, or a cluster of them, under one policy.

    Parameters
    ----------
    trace
        A file, the name of a bundled trace, or programs.
    policy
        A preset with its parameters (`ttl-static:ttl=2`), planes (`order=…,retention=…`), or a policy.
    out
        Directory to write the run to while it runs, in bounded memory; None keeps its tables in memory.
    force
        Whether `out` may replace earlier results.
    decisions
        Whether to log every decision of the policy.
    timeline
        Whether to record the engine over time.
    progress
        Called from time to time with the progress of the run.
    **settings
        The load, the tools and the engine, in vLLM's words: the fields of `RunConfig`.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        Before anything runs, for settings, policies and traces that cannot work.
    SimulationError
        If the policy never admits some program.
    OSError
        If `out` cannot be written.
    """
    config = RunConfig(trace=trace, policy=policy, **named(run, RunSettings, **settings))
    return execute(
        resolve(config),
        tables=[table for table in COLUMNS if timeline or table != "timeline"],
        out=None if out is None else Path(out),
        force=force,
        decisions=decisions,
        progress=progress,
    )
