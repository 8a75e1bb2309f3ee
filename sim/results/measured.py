"""The programs that count: those that arrived after the warm-up and before the cool-down, no load from before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from continuum_sim.results.summary import Measured, Summary

if TYPE_CHECKING:
    import pandas as pd

PROGRAM_JCT: Final = "program_jct_s"
"""Column of tables of runs: the JCT of every program that counts, in the order of their names, so that runs of a trace
can be paired program by program."""


def counted_programs(programs: Any, summary: Summary) -> Any:
    """Return the rows of a `programs` table (Arrow) that the statistics of its summary are about, sub-agents' too."""
    part = summary.measured
    if not isinstance(part, Measured):
        return programs
    arrival_s = programs.column("arrival_s").to_numpy()
    counted = (part.from_s <= arrival_s) & (arrival_s <= part.to_s)
    if part.left_out:
        counted &= [part.left_out not in name for name in programs.column("program").to_pylist()]
    return programs.filter(counted)


def counted_jct_s(programs: Any, summary: Summary) -> np.ndarray:
    """Return the JCT of every one of them that is no sub-agent, in the order of their names: alike for all policies."""
    roots = programs.filter(programs.column("parent").is_null()) if "parent" in programs.column_names else programs
    roots = counted_programs(roots, summary)
    names = roots.column("program").to_numpy(zero_copy_only=False)
    jct_s: np.ndarray = roots.column("jct_s").to_numpy()[np.argsort(names)]
    return jct_s


def all_drawn(summaries: Iterable[Summary]) -> bool:
    """Whether each of the runs drew its own programs."""
    return all(summary.population == "drawn" for summary in summaries)


def drawn_in(runs: pd.DataFrame) -> bool:
    """The same of runs in a table, a row each; those of earlier versions did not."""
    return "population" in runs and bool((runs["population"] == "drawn").all())
