"""`timeseries.csv`, which LLMServingSim's `bench` writes beside a log: the engine's gauges, about a row per second."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.validate.recorded.fields import read_bytes

Array = NDArray[np.float64]
TIMESERIES: Final = "timeseries.csv"
_COLUMNS: Final = ("t", "running", "waiting", "kv_cache_pct")
_UNEXPLAINED: Final = 0.15
"""Share of running + waiting that may differ between a series and its log. The gauges show the last step before
each row, so the true difference is at most the arrivals and ends of one step."""
_FINE: Final = 100
"""Offsets tried within one tick of the rows when matching their clock."""


@dataclass(frozen=True)
class EngineSeries:
    """Gauges of an engine over time."""

    at_s: Array
    running: Array
    waiting: Array
    kv_share: Array
    """Referenced blocks as a share of usable ones."""
    preemptions: int | None = None
    """Preemptions of the whole run, if they were counted."""


def read_timeseries(path: Path) -> EngineSeries:
    """Read a series on its own clock.

    Raises
    ------
    TraceError
        With line and column, for a missing column or a value that is not a number.
    """
    text = io.StringIO(read_bytes(path).decode("utf-8", errors="replace"), newline="")
    reader = csv.DictReader(text)
    names = reader.fieldnames or []
    for name in _COLUMNS:
        if name not in names:
            raise TraceError(f"column {name} is missing, expected {', '.join(_COLUMNS)}", path=path, line=1)
    counted = "preempted" in names
    columns: dict[str, list[float]] = {name: [] for name in (*_COLUMNS, *(("preempted",) if counted else ()))}
    for row in reader:
        for name, values in columns.items():
            values.append(_number(row[name], name, path, reader.line_num))
    if not columns["t"]:
        raise TraceError("holds no row, expected one a tick", path=path)
    at_s = np.array(columns["t"])
    if (np.diff(at_s) <= 0).any():
        line = int(np.argmax(np.diff(at_s) <= 0)) + 3
        raise TraceError("t does not grow, expected rows in the order of time", path=path, line=line)
    return EngineSeries(
        at_s=at_s,
        running=np.array(columns["running"]),
        waiting=np.array(columns["waiting"]),
        kv_share=np.array(columns["kv_cache_pct"]) / 100.0,
        preemptions=int(sum(columns["preempted"])) if counted else None,
    )


def align(series: EngineSeries, in_system: Callable[[Array], Array], end_s: float) -> tuple[EngineSeries, float] | None:
    """Move a series, whose clock started with the engine, to the clock of its log.

    The log itself shows how many requests were in the system at any time, and running + waiting must equal that. So the
    shift is the one under which the two agree best; the simulation plays no part.

    Parameters
    ----------
    in_system
        Requests in the system at given times on the log's clock.
    end_s
        End of the run on the log's clock.

    Returns
    -------
    The series on the log's clock and the mean difference that remains between the two counts, or None if they do not
    agree, because the series belongs to another run.
    """
    gauge = series.running + series.waiting
    tick_s = float(np.median(np.diff(series.at_s))) if len(series.at_s) > 1 else 1.0

    def difference(shift_s: float) -> float:
        return float(np.abs(in_system(series.at_s - shift_s) - gauge).mean())

    coarse = np.arange(series.at_s[0] - end_s, series.at_s[-1] + tick_s, tick_s)
    near_s = min(coarse, key=difference)
    fine = near_s + np.linspace(-tick_s, tick_s, 2 * _FINE + 1)
    shift_s = float(min(fine, key=difference))
    left = difference(shift_s)
    # A series of another run would leave most of the counts unexplained.
    if not left < _UNEXPLAINED * float(gauge.mean()):
        return None
    aligned = EngineSeries(series.at_s - shift_s, series.running, series.waiting, series.kv_share, series.preemptions)
    return aligned, left


def _number(value: str | None, name: str, path: Path, line: int) -> float:
    try:
        number = float(value or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TraceError(f"{name} is {shown(value)}, expected a number", path=path, line=line)
    return number
