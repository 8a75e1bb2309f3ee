"""A validation from start to end: survey the engine, predict, then run every policy several times in alternation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from continuum_sim.cli.signals import run_async
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.rebuild import fit_rebuild_time
from continuum_sim.results.decisions import decision_line
from continuum_sim.results.files import DECISIONS
from continuum_sim.results.jsonfile import to_json
from continuum_sim.steptime.fitted import load_fitted
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.files import write_bytes, write_text
from continuum_sim.validate.calibration.acceptance import measure_acceptance
from continuum_sim.validate.calibration.calibrate import calibrate, delays_of, write_calibration
from continuum_sim.validate.calibration.delays import ClientDelays, measure_delays, read_delays
from continuum_sim.validate.calibration.measure import Prompts, warm_up
from continuum_sim.validate.engines.interface import EngineError, EngineFacts, EngineStarter
from continuum_sim.validate.judge.observed import KeptRecords
from continuum_sim.validate.judge.predict import Forecast, forecast
from continuum_sim.validate.session.files import (
    ACCEPTANCE,
    DELAYS,
    ENGINE_TIMES,
    FACTS,
    RUN,
    STEP_TIME,
    RunKey,
    SessionFiles,
    hash_file,
    read_json,
    slug,
    write_records,
)
from continuum_sim.validate.session.pace import Pace
from continuum_sim.validate.session.replay import replay
from continuum_sim.validate.session.workload import Workload
from continuum_sim.world.fits import check_fits

CALIBRATION: Final = "calibration"
"""Folder of a calibration made by the session itself."""

T = TypeVar("T")
Runner = Callable[[Coroutine[Any, Any, T]], T]
"""Runs a coroutine to completion: `run_async`, or a loop on a virtual clock in tests."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What to validate."""

    workload: Workload
    policies: tuple[str, ...]
    repeats: int
    seed: int
    draws: int
    """Number of simulations whose mean is the prediction."""
    step_time: Path | None
    """Step-time model to use; None calibrates the engine, unless there is a pace."""
    pace: Pace | None = None
    """Pace that the engine's steps are held to; it also supplies the step-time model."""
    settings: dict[str, Any]
    """Everything that identifies this experiment, for the manifest."""


def run_validation(
    session: Validation,
    start: EngineStarter,
    files: SessionFiles,
    *,
    say: Callable[[str], None],
    runner: Runner[Any] = run_async,
    resume: bool = False,
) -> None:
    """Carry out the parts of the session that its directory does not hold yet.

    Raises
    ------
    ConfigError
        For invalid settings, before anything runs.
    EngineError
        If an engine fails; finished parts are kept, and `resume` continues from there.
    """
    files.open(session.settings, resume=resume)
    files.set_repeats(session.repeats)
    facts = _survey(session, start, files, say, runner)
    if facts.async_forced is not None:
        say(facts.async_forced)
    step_time, delays = step_times(session, files)
    config = facts.config()
    for program in session.workload.programs:
        check_fits(program, config)
    digest = _predict(session, files, facts, step_time, delays, say)
    say(f"predictions written: {files.root / 'predictions.json'} (sha256 {digest[:12]}…)")
    keys = list(schedule(session.policies, session.repeats))
    for number, key in enumerate(keys, start=1):
        if files.has(key):
            say(f"run {number} of {len(keys)}: {key.policy}, repeat {key.repeat}: finished before")
            continue
        say(f"run {number} of {len(keys)}: {key.policy}, repeat {key.repeat}")
        with files.staged(key) as folder:
            runner(_run(session, start, key, facts, step_time, folder))


def schedule(policies: Sequence[str], repeats: int) -> Iterator[RunKey]:
    """Yield the runs in order: every round runs each policy once, starting one policy further than the round before.

    A machine that slows down over the hours, or between two runs, then affects all policies alike.
    """
    for repeat in range(repeats):
        shift = repeat % len(policies)
        for policy in (*policies[shift:], *policies[:shift]):
            yield RunKey(repeat, policy)


# Survey -----------------------------------------------------------------------------------------------------


def step_times(session: Validation, files: SessionFiles) -> tuple[StepTime, ClientDelays]:
    """Return the results of a survey: step times, and the delays between engine and client."""
    if session.pace is not None:
        return session.pace.times(), read_delays(read_json(files.root / DELAYS))
    model = load_fitted(files.root / STEP_TIME)
    return model, delays_of(model)


def _survey(
    session: Validation, start: EngineStarter, files: SessionFiles, say: Callable[[str], None], runner: Runner[Any]
) -> EngineFacts:
    """Measure the engine's settings and times, once per session."""
    place = files.root / FACTS
    found = files.root / (STEP_TIME if session.pace is None else DELAYS)
    if not (place.exists() and found.exists()):
        facts = runner(_survey_engine(session, start, files.root / CALIBRATION, found, say))
        if session.step_time is not None:
            write_bytes(found, session.step_time.read_bytes())
        write_text(place, to_json(asdict(facts)))
    return EngineFacts(**read_json(place))


async def _survey_engine(
    session: Validation, start: EngineStarter, folder: Path, found: Path, say: Callable[[str], None]
) -> EngineFacts:
    say("starting the engine")
    engine = await start(None, {}, folder, None)
    try:
        config = engine.facts.config()
        for program in session.workload.programs:
            check_fits(program, config)  # before minutes go into a calibration
        if session.pace is not None:
            say(f"measuring delays at the pace of {session.pace}")
            prompts = Prompts(engine.facts.vocab_size, np.random.default_rng(session.seed))
            await warm_up(engine, prompts)
            delays = await measure_delays(engine, prompts)
            write_text(found, to_json(delays.describe()))
        elif session.step_time is None:
            fitted, steps = await calibrate(engine, folder / "points.jsonl", say, session.seed)
            write_calibration(fitted, steps, found)
        drafting = engine.facts.drafting
        if drafting is None or drafting.acceptance_rates is not None:
            return engine.facts
        say("measuring how many drafts are accepted")
        # Of other random tokens than the runs serve, or the prediction would know their outcome.
        accepted = await measure_acceptance(engine, session.workload.programs, session.seed + 1)
        write_text(folder.parent / ACCEPTANCE, to_json(accepted.describe()))
        return engine.facts.accepting(accepted.rates)
    finally:
        await engine.close()


# Prediction -------------------------------------------------------------------------------------------------


def _predict(
    session: Validation,
    files: SessionFiles,
    facts: EngineFacts,
    step_time: StepTime,
    delays: ClientDelays,
    say: Callable[[str], None],
) -> str:
    """Simulate every policy and write the predictions, unless that was done; return their hash."""
    if files.predictions() is None:
        say(f"simulating {len(session.policies)} policies, {session.draws} times each")
        config = facts.config()
        found = {name: predict_policy(session, name, config, step_time, delays) for name in session.policies}
        hashes = {}
        for policy, forecasts in found.items():
            for draw, one in enumerate(forecasts):
                folder = files.root / "predictions" / slug(policy) / f"draw{draw}"
                write_records(folder, one.programs, one.turns)
                write_bytes(folder / DECISIONS, b"".join(map(decision_line, one.decisions)))
                hashes[str(folder.relative_to(files.root))] = {
                    path.name: hash_file(path) for path in sorted(folder.iterdir())
                }
        return files.write_predictions(
            {
                "written_at": datetime.now(UTC).isoformat(),
                "facts": asdict(facts),
                "step_time": step_time.describe(),
                "policies": {policy: [_numbers(one) for one in forecasts] for policy, forecasts in found.items()},
                "files": hashes,
            }
        )
    return hash_file(files.root / "predictions.json")


def predict_policy(
    session: Validation, policy: str, config: EngineConfig, step_time: StepTime, delays: ClientDelays
) -> list[Forecast]:
    """Simulate one policy `session.draws` times."""
    return forecast(session.workload, policy, config, step_time, delays, draws=session.draws, seed=session.seed)


def _numbers(one: Forecast) -> dict[str, Any]:
    jct_s = np.array([program.jct_s for program in one.programs])
    return {
        "mean_jct_s": float(jct_s.mean()),
        "p50_jct_s": float(np.quantile(jct_s, 0.5)),
        "p90_jct_s": float(np.quantile(jct_s, 0.9)),
        "p95_jct_s": float(np.quantile(jct_s, 0.95)),
        "totals": one.totals.plain(),
    }


# Runs -------------------------------------------------------------------------------------------------------


async def _run(
    session: Validation, start: EngineStarter, key: RunKey, facts: EngineFacts, step_time: StepTime, folder: Path
) -> None:
    """Start an engine under the policy, warm it up, replay, and write the observations into the folder."""
    # The policy weighs pins against the same R(C) here and in the simulator.
    rebuild = fit_rebuild_time(step_time, facts.max_num_batched_tokens, facts.max_model_len)
    engine = await start(key.policy, {"rebuild": asdict(rebuild)}, folder, facts)
    kept = KeptRecords()
    try:
        told = None if facts.drafting is None else facts.drafting.acceptance_rates
        if engine.facts.accepting(told).config() != facts.config():
            raise EngineError(f"the engine is not the one surveyed: {engine.facts.config()}, expected {facts.config()}")
        prompts = Prompts(facts.vocab_size, np.random.default_rng((session.seed, key.repeat)))
        await warm_up(engine, prompts)
        started_at = datetime.now(UTC).isoformat()
        ran = await replay(engine, session.workload, kept, session.seed)
        finished_at = datetime.now(UTC).isoformat()
    finally:
        await engine.close()
    write_records(folder, kept.programs, kept.turns)
    write_text(folder / ENGINE_TIMES, to_json([times._asdict() for times in ran.engine_times]))
    description = {
        "policy": key.policy,
        "repeat": key.repeat,
        "started_at": started_at,
        "finished_at": finished_at,
        "start_s": ran.start_s,
        "end_s": ran.end_s,
        "tells_cached": ran.tells_cached,
        "tells_preemptions": ran.tells_preemptions,
        "facts": asdict(engine.facts),
    }
    write_text(folder / RUN, to_json(description))
