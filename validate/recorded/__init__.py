"""Backtests: compare the simulator with the log of a finished run; needs no engine.

Names are imported on first use, because every start of the command line imports this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from continuum_sim.validate.recorded.backtest import run_backtest
    from continuum_sim.validate.recorded.format import FORMATS, RecordedFormat
    from continuum_sim.validate.recorded.read import read_recorded
    from continuum_sim.validate.recorded.report import BacktestReport
    from continuum_sim.validate.recorded.view import print_backtest

_HOME = {
    "BacktestReport": "report",
    "FORMATS": "format",
    "RecordedFormat": "format",
    "print_backtest": "view",
    "read_recorded": "read",
    "run_backtest": "backtest",
}

__all__ = ["FORMATS", "BacktestReport", "RecordedFormat", "print_backtest", "read_recorded", "run_backtest"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
