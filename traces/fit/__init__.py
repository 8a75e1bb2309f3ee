"""Fits: a trace as distributions, from which more programs of its kind can be drawn.

`fit_trace` fits a trace, `load_fit` and `save_fit` read and write the fit, `generate_programs` draws from it.
"""

from __future__ import annotations

from continuum_sim.traces.fit.fit import fit_trace
from continuum_sim.traces.fit.gaps import GapFit, LogNormal, LogNormalMixture, fit_gaps
from continuum_sim.traces.fit.model import Breaks, Correlation, FitSource, Prefix, ToolFit, TraceFit
from continuum_sim.traces.fit.quantiles import Quantiles
from continuum_sim.traces.fit.store import load_fit, save_fit

__all__ = [
    "Breaks",
    "Correlation",
    "FitSource",
    "GapFit",
    "LogNormal",
    "LogNormalMixture",
    "Prefix",
    "Quantiles",
    "ToolFit",
    "TraceFit",
    "fit_gaps",
    "fit_trace",
    "load_fit",
    "save_fit",
]
