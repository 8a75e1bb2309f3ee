"""What a run leaves behind: columnar records, a summary, a manifest, and the directory that holds them.

Begin with `recorder.py`, which takes a run's records, and `summary.py`, the keys of `summary.json`. A result becomes
rows once, in `view/`. Tables must stay equal to the byte (`.ci/same-results`); summary and manifest may gain keys, but
never lose or change one.
"""

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
