"""The step times that a backtest takes unless it is told which: those that were measured closest to the engine."""

from __future__ import annotations

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.steptime.aiconfigurator import installed
from continuum_sim.validate.recorded.engine import Choices, resolve_recorded
from continuum_sim.validate.recorded.log import RecordedLog


def resolve_best(log: RecordedLog, choices: Choices) -> tuple[ResolvedRun, str]:
    """Build the run that replays a log, and say why with these step times.

    Kernels that were measured beside the log; else those of aiconfigurator, if it is installed and knows model and GPU;
    else `roofline`. That comes first where it knows how the GPU's attention is cut into tiles, because it was closer to
    measured kernels there (`benchmarks/accuracy.py`).

    Raises
    ------
    ConfigError
        As in `resolve_recorded`.
    """
    folder = log.path.parent
    if (folder / "attention.csv").is_file():
        return resolve_recorded(log, choices, f"profiled:{folder}"), "profiled: kernels measured beside the log"
    try:
        if installed() is not None and find_gpu(choices.settings["gpu"]).tiled_attention is None:
            return resolve_recorded(log, choices, "aiconfigurator"), "aiconfigurator: kernels measured on that GPU"
    except ConfigError:
        pass  # what is wrong with the log or its settings is wrong with roofline too
    return resolve_recorded(log, choices, "roofline"), "roofline: data sheet and shares of it that kernels reach"
