"""`validate` from start to end: build a session from the command line, run it, write its report."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.setup.notation import parse_arrivals, parse_policy, split_list
from continuum_sim.setup.run_config import DEFAULT_ARRIVALS
from continuum_sim.steptime.fitted import load_fitted
from continuum_sim.traces import find_trace, read_programs, trace_sha256
from continuum_sim.traces.scale import parse_scale
from continuum_sim.traces.schema import Program
from continuum_sim.validate.engines.in_process import InProcess, check_vllm
from continuum_sim.validate.engines.interface import EngineStarter
from continuum_sim.validate.engines.options import EngineOptions
from continuum_sim.validate.engines.server import Servers, ServerSettings
from continuum_sim.validate.report.write import PAGE, write_report
from continuum_sim.validate.session.files import MANIFEST, SessionFiles, hash_file
from continuum_sim.validate.session.pace import Pace
from continuum_sim.validate.session.validation import Validation, run_validation
from continuum_sim.validate.session.workload import make_workload

REPEATS: Final = 3
"""Runs of every policy by default."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The command line's options."""

    trace: str
    policies: str
    arrivals: str | None
    seed: int
    limit: int | None
    max_turns: int | None
    scale: str | None
    repeats: int | None
    """None takes the number of the resumed validation, otherwise 3."""
    draws: int
    step_time: str | None
    """`fitted:FILE`, or None to calibrate; part of `pace` if that is given."""
    pace: Pace | None
    tolerance: float
    engine: EngineOptions
    base_urls: tuple[str, ...]
    server: ServerSettings


def validate_engine(asked: Asked, out: Path, *, resume: bool, json: bool, say: Callable[[str], None]) -> bool:
    """Run a validation and print its report; return True if every mean JCT is within the tolerance.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        For invalid input, before an engine starts.
    EngineError
        If an engine fails.
    """
    from continuum_sim.cli.console import show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.results.jsonfile import to_json

    path = find_trace(asked.trace)
    programs = list(read_programs(path, limit=asked.limit, max_turns=asked.max_turns))
    programs = list(parse_scale(asked.scale).apply(programs))
    asked = _with_longest(asked, programs)
    files = SessionFiles(out)
    if resume:
        asked = _as_planned(asked, files)
    repeats = asked.repeats or (files.repeats() if resume else 0) or REPEATS
    session = make_session(asked, programs, trace_sha256(path), repeats)
    if not asked.base_urls:
        check_vllm()
    run_validation(session, _starter(asked, session, out), files, say=say, resume=resume)
    report = write_report(session, files, asked.tolerance)
    if json:
        print(to_json(report), end="")
    else:
        show(lay_out(report.view()))
        say(f"report: {out / PAGE}")
    return report.passed


def make_session(asked: Asked, programs: list[Program], sha256: str, repeats: int) -> Validation:
    """Look names up and build the session.

    Raises
    ------
    ConfigError, PolicyError
        For invalid names and settings.
    """
    names = split_list(asked.policies)
    if not names:
        raise ConfigError("--policies is empty; name at least one, as in lru,ttl")
    for name in names:
        if parse_policy(name).oracle:
            raise ConfigError(f"policy {name!r} looks ahead, so no engine can run it; leave it out of --policies")
        if parse_policy(name).retention.needs_tier:
            raise ConfigError(
                f"policy {name!r} moves contexts to host memory, which the plug-in cannot have vLLM do; leave it out "
                "of --policies"
            )
        if names.count(name) > 1:
            raise ConfigError(f"--policies names {name!r} twice, expected each once")
    for program in programs:
        if program.children:
            raise ConfigError(
                f"program {program.program_id!r} of {asked.trace} starts sub-agents, which `validate` does not replay "
                "on an engine; take `children` out of the trace, or make them programs of their own"
            )
    timed = all(program.arrival_s is not None for program in programs)
    arrivals = asked.arrivals or ("trace" if timed else DEFAULT_ARRIVALS)
    model = _step_time_file(asked.step_time)
    settings: dict[str, Any] = {
        "created": {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "continuum_sim": version("continuum-sim"),
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "trace": asked.trace,
        "trace_sha256": sha256,
        "programs": len(programs),
        "turns": sum(len(program.turns) for program in programs),
        "limit": asked.limit,
        "max_turns": asked.max_turns,
        "scale": asked.scale,
        "arrivals": arrivals,
        "seed": asked.seed,
        "policies": names,
        "repeats": repeats,
        "draws": asked.draws,
        "tolerance": asked.tolerance,
        "step_time": "calibrated here" if model is None else {"file": str(model), "sha256": hash_file(model)},
        **({} if asked.pace is None else {"step_time": None, "pace": asdict(asked.pace)}),
        **_engine_settings(asked),
    }
    return Validation(
        workload=make_workload(programs, parse_arrivals(arrivals), asked.seed),
        policies=tuple(names),
        repeats=repeats,
        seed=asked.seed,
        draws=asked.draws,
        step_time=model,
        pace=asked.pace,
        settings=settings,
    )


def _engine_settings(asked: Asked) -> dict[str, Any]:
    """Return the settings that identify the engine; how long to wait for a server does not change the experiment."""
    if not asked.base_urls:
        engine = asdict(asked.engine)
        for name in ("speculative_config", "acceptance_rates"):
            if engine[name] is None:
                del engine[name]  # earlier versions did not write it
        return {"engine": engine}
    server = {name: value for name, value in asdict(asked.server).items() if name != "timeout_s"}
    if not asked.server.async_scheduling:
        del server["async_scheduling"]  # earlier versions did not write it
    return {"engine": {"base_url": list(asked.base_urls)}, "server": server}


def _as_planned(asked: Asked, files: SessionFiles) -> Asked:
    """Continue in the mode in which the validation began, unless a flag names one; the default was another before.

    The manifest holds nothing of a server that plans one step after the other.
    """
    if asked.engine.async_scheduling is not None or not (files.root / MANIFEST).exists():
        return asked
    planned = files.manifest()
    engine = replace(asked.engine, async_scheduling=planned.get("engine", {}).get("async_scheduling"))
    server = replace(asked.server, async_scheduling=planned.get("server", {}).get("async_scheduling", False))
    return replace(asked, engine=engine, server=server)


def _with_longest(asked: Asked, programs: list[Program]) -> Asked:
    """Start the engine for contexts as long as the trace's, in whole blocks, unless `max_model_len` is given."""
    if asked.engine.max_model_len is not None:
        return asked
    block = 32
    longest = -(-max(program.max_context_tokens for program in programs) // block) * block
    return replace(asked, engine=replace(asked.engine, max_model_len=longest))


def _step_time_file(spec: str | None) -> Path | None:
    """Return the file of `fitted:FILE`, refusing one that is not a model before anything starts."""
    if spec is None:
        return None
    kind, _, argument = spec.partition(":")
    if kind != "fitted" or not argument:
        raise ConfigError(f"--step-time {spec!r}: a validation takes fitted:FILE, which `calibrate` writes, or nothing")
    load_fitted(Path(argument).expanduser())
    return Path(argument).expanduser()


def _starter(asked: Asked, session: Validation, out: Path) -> EngineStarter:
    if not asked.base_urls:
        return InProcess(asked.engine, out / "calibration", asked.pace)
    if len(asked.base_urls) != len(session.policies):
        raise ConfigError(
            f"{len(asked.base_urls)} --base-url for {len(session.policies)} policies: a server runs one policy, so "
            "give one for each, in the order of --policies"
        )
    return Servers(dict(zip(session.policies, asked.base_urls, strict=True)), asked.server)
