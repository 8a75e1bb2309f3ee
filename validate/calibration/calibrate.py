"""`calibrate`: estimate the duration, measure an engine point by point, fit, and write model and provenance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.steptime.calibrated import Calibrated, fit_calibrated
from continuum_sim.steptime.fitted import save_fitted
from continuum_sim.validate.calibration.delays import ClientDelays, measure_delays, read_delays
from continuum_sim.validate.calibration.host import host_times
from continuum_sim.validate.calibration.measure import Measured, Prompts, warm_up
from continuum_sim.validate.calibration.points import Point, plan_points
from continuum_sim.validate.calibration.probes import Probe, make_probe
from continuum_sim.validate.calibration.store import PointStore
from continuum_sim.validate.engines.interface import Engine
from continuum_sim.validate.steplog import read_steps

Say = Callable[[str], None]
"""Called with one line of progress from time to time."""

_SAY_EVERY_S = 10.0


async def calibrate(engine: Engine, points_file: Path, say: Say, seed: int = 0) -> tuple[Calibrated, list[Measured]]:
    """Measure the points missing from `points_file`, and fit; return the model and the steps it was fitted to.

    Raises
    ------
    ConfigError
        If the file belongs to another engine, or the engine is too small for a calibration.
    EngineError
        If the engine fails; finished points stay in the file.
    """
    facts = engine.facts
    store = PointStore(points_file, facts)
    plan = plan_points(facts)
    missing = [point for point in plan if point not in store.points]
    prompts = Prompts(facts.vocab_size, np.random.default_rng(seed))
    if missing or store.delays is None:
        say("warming the engine up")
        await warm_up(engine, prompts)
    if store.delays is None:
        store.set_delays(await measure_delays(engine, prompts))
    if missing:
        await _measure_all(engine, missing, len(plan), prompts, store, say)
    steps = store.steps
    model = fit_calibrated([step.batch for step in steps], [step.seconds for step in steps])
    assert store.delays is not None
    provenance = {
        **model.provenance,
        "points": len(store.points),
        **asdict(facts),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "measured_by": "step log" if engine.step_log else "client",
        "delays": store.delays.describe(),
        "host": {} if engine.step_log is None else host_times(read_steps(engine.step_log)),
    }
    return replace(model, provenance=provenance), steps


async def _measure_all(
    engine: Engine, missing: Sequence[Point], planned: int, prompts: Prompts, store: PointStore, say: Say
) -> None:
    loop = asyncio.get_running_loop()
    probe = make_probe(engine)
    chunk = engine.facts.max_num_batched_tokens
    prefill_s, step_s = await _rates(probe, engine, prompts)

    def expected_s(points: Sequence[Point]) -> float:
        work = [point.computed_tokens(chunk) for point in points]
        return sum(tokens * prefill_s + steps * step_s for tokens, steps in work)

    done = planned - len(missing)
    kept = f" ({done} of {planned} points are measured already)" if done else ""
    say(f"measuring {len(missing)} points{kept}: about {expected_s(missing):.0f} s")
    said_s = started_s = loop.time()
    for number, point in enumerate(missing, start=1):
        store.add(point, await probe.measure(point, prompts))
        if loop.time() - said_s > _SAY_EVERY_S and number < len(missing):
            said_s = loop.time()
            # Correct the guess by what was measured so far.
            pace = (said_s - started_s) / max(expected_s(missing[:number]), 1e-9)
            say(f"  {number} of {len(missing)} points, about {expected_s(missing[number:]) * pace:.0f} s to go")


async def _rates(probe: Probe, engine: Engine, prompts: Prompts) -> tuple[float, float]:
    """Return roughly how many seconds a prefilled token and a decode step take, for the estimate.

    Seen from outside, a short prefill can be hidden by the round trip of a busy machine; its time is then almost 0.
    """
    facts = engine.facts
    tokens = max(1, min(facts.max_num_batched_tokens, facts.max_model_len // 2))
    prefill = await probe.measure(Point(new=tokens), prompts)
    decode = await probe.measure(Point(decodes=1, context=32), prompts)
    if not decode:
        raise ConfigError(f"the engine is too small to calibrate: {facts.max_model_len} tokens of context")
    return min((step.seconds for step in prefill), default=0.0) / tokens, min(step.seconds for step in decode)


def delays_of(model: Any) -> ClientDelays:
    """Return the client delays in a calibrated model's provenance, if there are any."""
    provenance = getattr(model, "provenance", None)
    return read_delays(provenance.get("delays") if isinstance(provenance, dict) else None)


def write_calibration(model: Calibrated, steps: Sequence[Measured], out: Path) -> Path:
    """Write the model to `out` and a figure of its fit beside it; return the figure's path."""
    from continuum_sim.validate.calibration.picture import draw_fit

    out.parent.mkdir(parents=True, exist_ok=True)
    save_fitted(model, out)
    picture = out.with_suffix(".png")
    draw_fit(model, steps, picture)
    return picture
