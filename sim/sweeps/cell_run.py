"""Run one cell in a worker process, here or on another machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from continuum_sim.errors import ConfigError, SimulationError
from continuum_sim.policies import PolicyError
from continuum_sim.runs.execute import execute
from continuum_sim.setup.resolve import resolve
from continuum_sim.sweeps.plan import Cell
from continuum_sim.sweeps.row import make_row
from continuum_sim.sweeps.traces import open_trace
from continuum_sim.traces.errors import TraceError


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a cell: its row, or the reason it failed."""

    id: str
    row: dict[str, Any] | None
    reason: str
    wall_s: float


def run_cell(cell: Cell) -> Outcome:
    """Run a cell; an error becomes its outcome instead of being raised, so that other cells go on."""
    started_s = time.perf_counter()
    row, reason = None, ""
    try:
        config = cell.config
        cut = (config.limit, config.max_turns, config.repeat_turns)
        source = open_trace(str(config.trace), cell.trace_sha256, *cut)
        run = resolve(replace(config, trace=source), draws=True)
        row = make_row(cell.id, run, execute(run, keep=["programs"]))
    except (ConfigError, PolicyError, TraceError, SimulationError, OSError) as error:
        reason = str(error)
    except Exception as error:  # a bug in a user's policy, for example, which fails only this cell
        reason = f"{type(error).__name__}: {error} ({_place(error)})"
    return Outcome(cell.id, row, " ".join(reason.split()), time.perf_counter() - started_s)


def _place(error: BaseException) -> str:
    while error.__cause__ is not None:  # SimPy raises a copy with the original as its cause
        error = error.__cause__
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "nowhere" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
