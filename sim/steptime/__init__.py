"""How long an engine step takes: the contract, the models, and how to name a model.

A model gives the time of single steps and of runs of steps whose batch only grows, and how many steps fit into a
time. Your own models start from `PiecewiseStepTime` (closed form), `VectorStepTime` (one numpy call per run) or
`SingleStepTime` (any function of a batch), and register under the entry-point group `continuum_sim.step_times`.
"""

from continuum_sim.steptime.bases import SingleStepTime, VectorStepTime
from continuum_sim.steptime.batch import StepBatch, grown
from continuum_sim.steptime.calibrated import Calibrated, fit_calibrated
from continuum_sim.steptime.fitted import Fitted, fit_step_times, load_fitted, save_fitted
from continuum_sim.steptime.kind import StepTimeKind
from continuum_sim.steptime.model import RankedStepTime, StepTime
from continuum_sim.steptime.named import STEP_TIMES, make_step_time
from continuum_sim.steptime.parts import Part
from continuum_sim.steptime.piecewise import PiecewiseStepTime
from continuum_sim.steptime.profiled import Profiled
from continuum_sim.steptime.ranked import NO_WORK, ranked
from continuum_sim.steptime.roofline import Roofline

__all__ = [
    "NO_WORK",
    "STEP_TIMES",
    "Calibrated",
    "Fitted",
    "Part",
    "PiecewiseStepTime",
    "Profiled",
    "RankedStepTime",
    "Roofline",
    "SingleStepTime",
    "StepBatch",
    "StepTime",
    "StepTimeKind",
    "VectorStepTime",
    "fit_calibrated",
    "fit_step_times",
    "grown",
    "load_fitted",
    "make_step_time",
    "ranked",
    "save_fitted",
]
