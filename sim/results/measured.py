"""The programs that count: those that arrived between warm-up and cool-down, without the burst of a loaded start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from continuum_sim.results.summary import Measured, Summary

if TYPE_CHECKING:
    import pandas as pd

PROGRAM_JCT: Final = "program_jct_s"
"""Column in tables of runs: the JCT of every program that counts, ordered by program name, so that runs of one trace
can be paired program by program."""


def counted_programs(programs: Any, summary: Summary) -> Any:
    """Return the rows of a `programs` table (Arrow) that its summary's statistics cover, including sub-agents."""
    part = summary.measured
    if not isinstance(part, Measured):
        return programs
    arrival_s = programs.column("arrival_s").to_numpy()
    counted = (part.from_s <= arrival_s) & (arrival_s <= part.to_s)
    if part.left_out:
        counted &= [part.left_out not in name for name in programs.column("program").to_pylist()]
    return programs.filter(counted)


def counted_jct_s(programs: Any, summary: Summary) -> np.ndarray:
    """Return the JCT of every counted program, without sub-agents, by name: the same order for all policies."""
    roots = programs.filter(programs.column("parent").is_null()) if "parent" in programs.column_names else programs
    roots = counted_programs(roots, summary)
    names = roots.column("program").to_numpy(zero_copy_only=False)
    jct_s: np.ndarray = roots.column("jct_s").to_numpy()[np.argsort(names)]
    return jct_s


def all_drawn(summaries: Iterable[Summary]) -> bool:
    """Return True if each of the runs drew its own programs."""
    return all(summary.population == "drawn" for summary in summaries)


def drawn_in(runs: pd.DataFrame) -> bool:
    """Return the same for runs in a table, one per row; runs of earlier versions did not draw."""
    return "population" in runs and bool((runs["population"] == "drawn").all())
