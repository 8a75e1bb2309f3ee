"""`calibrate` from start to end: start the engine, measure, stop it, write model and figure."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from continuum_sim.cli.signals import run_async
from continuum_sim.steptime.calibrated import Calibrated
from continuum_sim.validate.calibration.acceptance import measure_acceptance, usual_programs
from continuum_sim.validate.calibration.calibrate import calibrate, write_calibration
from continuum_sim.validate.calibration.measure import Measured
from continuum_sim.validate.engines.in_process import InProcess
from continuum_sim.validate.engines.interface import EngineStarter
from continuum_sim.validate.engines.options import EngineOptions


def calibrate_engine(
    out: Path,
    options: EngineOptions,
    start: EngineStarter | None,
    *,
    seed: int,
    force: bool,
    say: Callable[[str], None],
) -> Calibrated:
    """Measure an engine into `out`, continuing with the points of an earlier, interrupted call.

    Parameters
    ----------
    start
        How to get the engine; None starts vLLM in this process with `options`.
    force
        True to measure everything anew.

    Raises
    ------
    ConfigError, EngineError
        See `calibrate`; finished points are kept beside `out`.
    """
    points = out.with_suffix(".points.jsonl")
    folder = out.with_suffix(".engine")
    if force:
        points.unlink(missing_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    engines = start or InProcess(options, folder)

    async def measure() -> tuple[Calibrated, list[Measured]]:
        say("starting the engine")
        engine = await engines(None, {}, folder, None)
        if engine.facts.async_forced is not None:
            say(engine.facts.async_forced)
        try:
            model, steps = await calibrate(engine, points, say, seed)
            drafting = engine.facts.drafting
            if drafting is not None and drafting.acceptance_rates is None:
                say("measuring how many drafts are accepted")
                found = await measure_acceptance(engine, usual_programs(engine.facts), seed)
                model = replace(model, provenance={**model.provenance, "acceptance": found.describe()})
            return model, steps
        finally:
            await engine.close()

    model, steps = run_async(measure())
    picture = write_calibration(model, steps, out)
    if "acceptance" in model.provenance:
        rates = "/".join(f"{rate:.3g}" for rate in model.provenance["acceptance"]["rates"])
        say(f"drafts accepted by position: {rates} of the steps of a turn")
    shutil.rmtree(folder, ignore_errors=True)
    residuals = model.provenance["residuals"]
    say(
        f"{out}: {residuals['steps']} steps, mean |error| {residuals['mean_absolute_relative_error']:.1%}, "
        f"p90 {residuals['p90_absolute_relative_error']:.1%}; picture: {picture}"
    )
    return model
