"""The manifest: what is needed to repeat a run (versions, resolved configuration, the trace's hash)."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from continuum_sim.build import commit
from continuum_sim.policies import Routing
from continuum_sim.results.manifest_parts import SCHEMA_VERSION
from continuum_sim.setup.kept_settings import describe_settings
from continuum_sim.setup.notation import routing_spec
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.vllm_defaults import MIRRORED_VLLM

PINS_OUTLAST: Final = "pins_outlast_admission"
"""Entry of `policy` for `Retention.outlasts_admission`: code that shows a run needs it, and the policy itself may not
be installed there."""

_PACKAGES: Final = ("continuum-sim", "numpy", "simpy", "pyarrow")


def make_manifest(run: ResolvedRun, *, wall_s: float, command: Sequence[str] | None) -> dict[str, Any]:
    """Describe a run as a dictionary that JSON can hold.

    Parameters
    ----------
    wall_s
        Wall-clock seconds that the simulation took.
    command
        The command line, if the run came from one.
    """
    config = run.config
    return {
        **make_stamp(command),
        "seed": config.seed,
        "policy": {**run.policy.describe(), PINS_OUTLAST: run.policy.retention.outlasts_admission},
        "arrivals": run.arrivals_spec,
        "trace": {
            "name": run.trace.name,
            "path": None if run.trace.path is None else str(run.trace.path),
            "sha256": run.trace.sha256,
            "programs": run.trace.programs,
            "turns": run.trace.turns,
            "limit": config.limit,
            "max_turns": config.max_turns,
            "repeat_turns": config.repeat_turns,
        },
        "model": run.model.describe(),
        "gpu": asdict(run.gpu),
        **config.parallel.describe(),
        "gpu_memory_utilization": config.gpu_memory_utilization if config.kv_blocks is None else None,
        "engine_config": asdict(run.engine),
        "engine": config.engine,
        "step_time": run.step_time.describe(),
        **({} if run.routing is None else _cluster(run, run.routing)),
        **({} if run.tools.plain else run.tools.describe()),
        **describe_settings(replace(config, trace=run.trace)),
        "wall_s": wall_s,
    }


def _cluster(run: ResolvedRun, routing: Routing) -> dict[str, Any]:
    """Describe all replicas; the manifest's own `gpu`, `engine_config` and `step_time` are those of the first."""
    return {
        "router": routing_spec(routing),
        "replicas": ",".join(r.name for r in run.replicas),
        "replica_settings": {
            r.name: {"engine_config": asdict(r.engine), "step_time": r.step_time.describe()} for r in run.replicas
        },
    }


def make_stamp(command: Sequence[str] | None) -> dict[str, Any]:
    """Return when, where and by which versions a result was made."""
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": None if command is None else list(command),
        "schema_version": SCHEMA_VERSION,
        "versions": _versions(),
        "commit": commit(),
        "platform": platform.platform(),
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version(), "mirrored vLLM": MIRRORED_VLLM}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None  # run from a source tree that was not installed
    return versions
