"""The simulator against a log of a run that is over: no engine, only what one wrote down about its requests."""

from continuum_sim.validate.recorded.read import FORMATS, read_recorded
from continuum_sim.validate.recorded.report import RecordedReport
from continuum_sim.validate.recorded.run import run_recorded
from continuum_sim.validate.recorded.view import print_recorded

__all__ = ["FORMATS", "RecordedReport", "print_recorded", "read_recorded", "run_recorded"]
