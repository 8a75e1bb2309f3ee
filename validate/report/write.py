"""Write the report of a finished session into its directory: JSON, HTML, and the figures as files."""

from __future__ import annotations

from typing import Final

import msgspec

from continuum_sim.results.jsonfile import to_json
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.files import write_bytes, write_text
from continuum_sim.validate.engines.interface import EngineFacts
from continuum_sim.validate.judge.assess import ValidationReport, assess
from continuum_sim.validate.judge.observed import Observation, read_observations
from continuum_sim.validate.judge.predict import Forecast
from continuum_sim.validate.judge.reenact import Reenactment, reenact
from continuum_sim.validate.report.page import report_page
from continuum_sim.validate.report.pictures import draw_all
from continuum_sim.validate.session.files import FACTS, SessionFiles, read_json
from continuum_sim.validate.session.pace import how_kept
from continuum_sim.validate.session.validation import Validation, predict_policy, step_times

JSON: Final = "report.json"
PAGE: Final = "report.html"
PICTURES: Final = "pictures"


def write_report(session: Validation, files: SessionFiles, tolerance: float) -> ValidationReport:
    """Assess the runs in the directory, write the report there, and return it."""
    facts = EngineFacts(**read_json(files.root / FACTS))
    config = facts.config()
    step_time, delays = step_times(session, files)

    def simulate(policy: str, times: StepTime) -> list[Forecast]:
        return predict_policy(session, policy, config, times, delays)

    def again(policy: str, run: Observation) -> Reenactment | None:
        if run.log is None:
            return None
        return reenact(session.workload, policy, config, step_time, run.log)

    observations = read_observations(files, list(session.policies))
    report = assess(
        observations, tolerance=tolerance, config=config, step_time=step_time, simulate=simulate, reenact=again
    )
    if session.pace is not None:
        steps = [step for one in observations for run in one.measured for step in run.steps]
        kept = how_kept(session.pace, step_time, steps)
        report = msgspec.structs.replace(report, notes=[kept, *report.notes])
    if facts.async_forced is not None:
        report = msgspec.structs.replace(report, notes=[*report.notes, facts.async_forced])
    pictures = draw_all(report, observations, step_time)
    folder = files.root / PICTURES
    folder.mkdir(exist_ok=True)
    for name, png in pictures.items():
        write_bytes(folder / f"{name}.png", png)
    write_text(files.root / JSON, to_json(report))
    page = report_page(report, files.manifest(), read_json(files.root / FACTS), pictures)
    write_text(files.root / PAGE, page)
    return report
