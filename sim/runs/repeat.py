"""Repeat a run from the settings in its manifest, optionally with changes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final
from warnings import warn

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.names import check_names
from continuum_sim.policies import PolicyError
from continuum_sim.results.files import DECISIONS, MANIFEST, SUMMARY
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.manifest_parts import ManifestParts, read_manifest
from continuum_sim.results.result import RunResult
from continuum_sim.results.tables import COLUMNS
from continuum_sim.runs.execute import OnProgress, execute
from continuum_sim.setup.resolve import ResolvedRun, resolve, resolve_policy
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.named import make_step_time
from continuum_sim.sweeps.settings import RATE, kinds, with_rate
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.load import bundled_traces, find_trace

_MOST_LISTED: Final = 12
_SHOWN_DIGITS: Final = 12
"""Digits of a hash shown in a message."""
_BEFORE: Final = {"async_scheduling": False}
"""Settings that are not in manifests of versions without them, where these ran otherwise than by default now."""


def rerun(
    directory: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    decisions: bool = False,
    timeline: bool = True,
    progress: OnProgress | None = None,
    **changes: Any,
) -> RunResult:
    """Repeat a run from its manifest; without changes the same version gives the same bytes.

    Policies and models are created again from the names in the manifest; `module:Class` imports, and so runs, code.

    Parameters
    ----------
    directory
        Directory of the run, which may be inside a comparison's (`runs/…`), or path of its manifest.
    out, force, decisions, timeline, progress
        As for `run`.
    **changes
        Settings that replace the run's own, as for `run`.

    Raises
    ------
    ConfigError
        If there is no such run, it used an object that a manifest cannot hold, or its trace is gone.
    PolicyError, TraceError, SimulationError, OSError
        As for `run`.

    Warns
    -----
    UserWarning
        If the trace has changed since.
    """
    kept = find_kept_run(directory)
    resolved = kept.resolve(changes)
    for note in kept.notes(resolved, changes):
        warn(note, stacklevel=2)
    return execute(
        resolved,
        tables=[table for table in COLUMNS if timeline or table != "timeline"],
        out=None if out is None else Path(out),
        force=force,
        decisions=decisions,
        progress=progress,
    )


@dataclass(frozen=True)
class KeptRun:
    """A run as its manifest describes it."""

    manifest_path: Path
    settings: Mapping[str, Any]
    objects: Mapping[str, str]
    """Settings that the manifest could not store, and the types of their values."""
    trace_sha256: str | None

    @property
    def logged_decisions(self) -> bool:
        """Whether the run wrote its decision log."""
        return (self.manifest_path.parent / DECISIONS).is_file()

    def config(self, changes: Mapping[str, Any]) -> RunConfig:
        """Return the run's settings with some of them changed.

        Raises
        ------
        ConfigError
            For a setting that the manifest could not store and that `changes` lacks, or if the trace is gone.
        """
        settings = {**self.settings, **{name: value for name, value in changes.items() if name != RATE}}
        if RATE in changes:
            settings["arrivals"] = with_rate(settings.get("arrivals"), changes[RATE])
        for name, what in self.objects.items():
            if name not in changes:
                raise ConfigError(
                    f"{self.manifest_path}: {name} was an object that a manifest cannot hold ({what}); give a value "
                    f"with --set {name}=…, or repeat the run from Python"
                )
        if "trace" not in changes:
            self._check_trace(settings.get("trace", RunConfig.trace))
        return RunConfig(**settings)

    def resolve(self, changes: Mapping[str, Any]) -> ResolvedRun:
        """Resolve the run; raises as `config` and `resolve`, with the manifest's path added to the message."""
        try:
            return resolve(self.config(changes))
        except (ConfigError, PolicyError) as error:
            said = str(error)
            place = str(self.manifest_path)
            raise ConfigError(said if place in said else f"{said} (repeating {place})") from None

    def notes(self, run: ResolvedRun, changes: Mapping[str, Any]) -> list[str]:
        """Return notes on why the repeated run may differ from the original."""
        if "trace" in changes or self.trace_sha256 in (None, run.trace.sha256):
            return []
        then, now = (str(sha256)[:_SHOWN_DIGITS] for sha256 in (self.trace_sha256, run.trace.sha256))
        return [f"trace {run.trace.name} has changed since {self.manifest_path} was made: SHA-256 {then}… then, {now}…"]

    def _check_trace(self, trace: object) -> None:
        if not isinstance(trace, str):
            raise ConfigError(f"{self.manifest_path}: is not of this version: settings.trace is not text")
        try:
            find_trace(trace)
        except TraceError:
            raise ConfigError(
                f"{self.manifest_path}: the run's trace {trace} is not found from this folder; say where it is with "
                "--set trace=FILE"
            ) from None


def find_kept_run(place: str | PathLike[str]) -> KeptRun:
    """Read the settings in a run's manifest.

    Raises
    ------
    ConfigError
        If there is no manifest, it covers several runs (naming them), or it lacks settings.
    """
    path = Path(place)
    if path.is_dir():
        path = path / MANIFEST
    elif not path.exists():
        raise ConfigError(f"{path} does not exist, expected the directory of a run, or its {MANIFEST}")
    manifest, parts = read_manifest(path, ManifestParts)
    _refuse_several(path, manifest)
    sha256 = parts.trace.get("sha256")
    settings = _of_earlier_version(path, manifest, parts) if parts.settings is None else parts.settings
    known = kinds().keys() - {RATE}
    check_names([*settings, *parts.objects], sorted(known), "setting", of=str(path), error=ConfigError)
    return KeptRun(path, {**_BEFORE, **settings}, parts.objects, sha256 if isinstance(sha256, str) else None)


def _refuse_several(path: Path, manifest: Mapping[str, Any]) -> None:
    runs = manifest.get("runs")
    if isinstance(runs, list) and runs:
        there = [str(path.parent / str(run)) for run in runs if (path.parent / str(run) / SUMMARY).is_file()]
        more = f" and {len(there) - _MOST_LISTED} more" if len(there) > _MOST_LISTED else ""
        listed = ", ".join(there[:_MOST_LISTED]) or "none of them exists any more"
        raise ConfigError(f"{path.parent} holds {len(runs)} runs; name one of them: {listed}{more}")
    if "sessions" in manifest:
        raise ConfigError(
            f"{path.parent} is a sweep, whose cells keep no manifest; give `run` the settings of the cell as flags"
        )


def _of_earlier_version(path: Path, manifest: Mapping[str, Any], parts: ManifestParts) -> dict[str, Any]:
    """Recover the settings of a run from resolved values, for a manifest without the settings as asked for.

    Raises
    ------
    ConfigError
        If these would not give the same run, with the command to repeat instead.
    """
    engine, trace = manifest.get("engine_config"), parts.trace
    if "policy" not in manifest or not isinstance(engine, dict):
        raise ConfigError(f"{path}: is not the manifest of a run, expected one that `run` or `compare` wrote")
    name, bundled = str(trace.get("name")), bundled_traces()
    asked: dict[str, Any] = {
        **{key: manifest[key] for key in _KEPT_ALWAYS if key in manifest},
        **{key: trace[key] for key in ("limit", "max_turns", "repeat_turns") if key in trace},
        **{key: engine[key] for key in _OF_THE_ENGINE if key in engine},
        "policy": parts.policy.get("name"),
        "model": parts.model.get("name"),
        "gpu": parts.gpu.get("name"),
        "kv_blocks": engine.get("num_gpu_blocks"),
        "trace": name if name in bundled else trace.get("path"),
    }
    if manifest.get("gpu_memory_utilization") is not None:
        asked["gpu_memory_utilization"] = manifest["gpu_memory_utilization"]
    differs = _differing(manifest, parts, asked)
    if differs is not None:
        command = manifest.get("command")
        told = isinstance(command, list) and command[1:2] == ["run"]
        remedy = f"`{shlex.join(map(str, command))}`" if told and command else "with its settings as flags"
        raise ConfigError(
            f"{path}: an earlier version wrote it, without all settings, and {differs} cannot be recovered from it; "
            f"repeat the run {remedy}"
        )
    return asked


_KEPT_ALWAYS: Final = (
    *("arrivals", "seed", "tensor_parallel_size", "engine", "router", "replicas"),
    *("tool_workers", "tool_timeout", "tool_failure_rate", "tool_retries"),
)
_OF_THE_ENGINE: Final = ("block_size", "max_num_batched_tokens", "max_num_seqs", "max_model_len", "watermark")


def _differing(manifest: Mapping[str, Any], parts: ManifestParts, asked: Mapping[str, Any]) -> str | None:
    """Return the first part of a run that would not be the same; None if all would."""
    engines = [manifest["engine_config"]]
    engines += [part.get("engine_config") for part in parts.replica_settings.values()]
    if not isinstance(asked["trace"], str):
        return "its trace"
    if not all(isinstance(asked[name], str) for name in ("policy", "model", "gpu")):
        return "its policy, model or GPU"
    if engines[0].get("tiers"):
        return "its memory tiers"
    if any(engine != engines[0] for engine in engines):
        return "what its replicas differ in"
    try:
        model, gpu = find_model(asked["model"]), find_gpu(asked["gpu"])
        size = parts.tensor_parallel_size
        again = {
            "policy": resolve_policy(asked["policy"]).describe(),
            "model": model.describe(),
            "gpu": {key: value for key, value in asdict(gpu).items() if size > 1 or key != "all_reduce"},
            "step_time": make_step_time("roofline", model=model, gpu=gpu, parallel=Parallel(size)).describe(),
        }
    except (ConfigError, PolicyError):
        return "its policy, model or GPU"
    for part, value in again.items():
        if not _alike(manifest.get(part), json.loads(to_json(value))):
            return f"its {part.replace('_', ' ')}"
    return None


_OF_NO_EFFECT: Final = {"aliases", "source", "measured", "provenance"}
"""What the catalogue says of a model or a GPU that no result depends on."""


def _alike(then: Any, now: Any) -> bool:
    """Return True if two parts of manifests agree on every key that both have."""
    if isinstance(then, dict) and isinstance(now, dict):
        return all(_alike(then[key], now[key]) for key in (then.keys() & now.keys()) - _OF_NO_EFFECT)
    return bool(then == now)
