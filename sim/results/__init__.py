"""The results of a run: columnar records, a summary, a manifest, and the directory that holds them."""

from continuum_sim.results.compared import CompareResult, ComparisonRow
from continuum_sim.results.paired import PairedDifference, paired_differences
from continuum_sim.results.recorder import Progress, RunRecorder
from continuum_sim.results.result import RunResult, load_run
from continuum_sim.results.summary import Summary

__all__ = [
    "CompareResult",
    "ComparisonRow",
    "PairedDifference",
    "Progress",
    "RunRecorder",
    "RunResult",
    "Summary",
    "load_run",
    "paired_differences",
]
