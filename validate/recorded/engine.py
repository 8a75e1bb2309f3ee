"""The engine to simulate: settings given by the user, otherwise the log's, otherwise vLLM's defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.setup.resolve import ResolvedRun, resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import MAX_TOKENS_FINISH, Program, Turn
from continuum_sim.validate.recorded.log import EngineSetup, RecordedLog

POLICY: Final = "lru"
"""Stock vLLM."""
T = TypeVar("T")


@dataclass(frozen=True)
class Choices:
    """Settings of the engine to simulate, and the origin of each."""

    settings: dict[str, Any]
    """Keyed by the names of `EngineSetup`; None takes vLLM's default."""
    origins: dict[str, str]
    """`given`, `recorded` or `default`."""
    notes: tuple[str, ...]
    """Where the user overrides the log."""


def choose(log: RecordedLog, given: EngineSetup) -> Choices:
    """Choose every setting.

    Raises
    ------
    ConfigError
        If neither user nor log names the model or the GPU, which have no sensible default; if a client's delay is
        given for times of the engine.
    """
    settings, origins, notes = {}, {}, []
    if given.client_delay is not None and not log.clients_clock:
        raise ConfigError(f"{log.path}: its times are the engine's own, without the client's: leave --client-delay out")
    for name in (field.name for field in fields(EngineSetup) if field.name != "source"):
        wanted, recorded = getattr(given, name), getattr(log.setup, name)
        settings[name] = recorded if wanted is None else wanted
        origins[name] = "given" if wanted is not None else "default" if recorded is None else "recorded"
        if isinstance(wanted, int) and recorded not in (None, wanted):
            notes.append(f"recorded with {name} {recorded}, simulated with {wanted} as given")
    if log.clients_clock and settings["client_delay"] is None:
        notes.append("times are the client's: without --client-delay, HTTP, tokenising and detokenising take no time")
    for name in ("model", "gpu"):
        if settings[name] is None:
            raise ConfigError(f"{log.path}: does not say which {name} it was recorded on; give --{name}")
    if settings["kv_blocks"] is None:
        notes.append(
            "kv_blocks is neither given nor recorded: an estimate from the GPU's memory; the engine's own log says "
            "how many it has, and where memory is short everything hangs on it"
        )
    return Choices(settings, origins, tuple(notes))


def resolve_recorded(log: RecordedLog, choices: Choices, step_time: str | StepTime) -> ResolvedRun:
    """Build the run that replays a log: every request is a program of one turn, which arrives when it was recorded to.

    A closed loop stays one: its requests keep their order, and each is sent when an earlier one is answered.

    Prompts are assumed to share nothing with each other, because a log has only their lengths.

    Raises
    ------
    ConfigError
        For unknown names, incompatible settings, or a request that does not fit the engine.
    """
    settings = {name: value for name, value in choices.settings.items() if value is not None}
    settings["model"] = _named(find_model, "model", log, choices)
    settings["gpu"] = _named(find_gpu, "gpu", log, choices)
    # Benchmarks ask for the length that they want, which the engine foresees.
    turns = [Turn(one.input_tokens, 0, one.output_tokens, finish=MAX_TOKENS_FINISH) for one in log.requests]
    programs = [Program(one.request_id, (turn,), one.arrival_s) for one, turn in zip(log.requests, turns, strict=True)]
    arrivals = "trace" if log.max_concurrency is None else f"closed:workers={log.max_concurrency}"
    return resolve(RunConfig(trace=programs, policy=POLICY, arrivals=arrivals, step_time=step_time, **settings))


def _named(find: Callable[[str], T], name: str, log: RecordedLog, choices: Choices) -> T:
    """Look up a name; if the log supplied it, errors say so."""
    try:
        return find(choices.settings[name])
    except ConfigError as error:
        if choices.origins[name] == "recorded":
            raise ConfigError(f"{log.setup.source}: {error}; say what it is with --{name}") from None
        raise
