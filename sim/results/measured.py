"""The programs that count: those that arrived after the warm-up and before the cool-down, no load from before."""

from __future__ import annotations

from typing import Any

from continuum_sim.results.summary import Measured, Summary


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
