"""The cells of a sweep's dataset as rows of `FigureData`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.plotting.data import JCT, METRICS, TIME_PARTS, Source, arrival_settings
from continuum_sim.results.measured import PROGRAM_JCT
from continuum_sim.results.summary import RARE_PARTS
from continuum_sim.sweeps.result import SweepResult
from continuum_sim.sweeps.row import RATE_COLUMN, setting_columns
from continuum_sim.sweeps.store import CELLS, read_manifest

_NO_SETTINGS: Final = ("engine", "arrivals", RATE_COLUMN)
"""Settings left out: the engine's modes give the same results, and arrivals are split into process and rate."""
_IN_ALL: Final = (
    *(f"jct_{name}_s" for name in JCT),
    *(f"{part}_s" for part in TIME_PARTS if part not in RARE_PARTS),
    *("programs_per_s", "output_tokens_per_s", "programs", "turns", "sim_s"),
)
"""Results that datasets of every version have."""


def swept_cells(sweep: SweepResult) -> Iterator[tuple[dict[str, Any], Source]]:
    """Yield every finished cell: its settings and results, and the JCT of its programs."""
    frame = sweep.frame(programs=True)
    asked = sweep.manifest.get("axes")
    names = [name for name in setting_columns() if name in frame and name not in _NO_SETTINGS]
    # Settings that vary without being asked for follow from others, as the KV blocks do from the GPU.
    names = [name for name in names if asked is None or name in asked or frame[name].nunique(dropna=False) < 2]
    measured = [name for name in METRICS if name in frame]
    for name in _IN_ALL:
        if name not in frame:
            raise ConfigError(f"{sweep.directory / CELLS} has no column {name!r}: it is of another version")
    for row, usable in zip(frame.to_dict("records"), frame["kv_blocks"] - 1, strict=True):  # without vLLM's null block
        settings = {"population": "trace", **{name: row[name] for name in names}, **arrival_settings(row["arrivals"])}
        results = {**{name: row[name] for name in measured}, "usable_blocks": usable}
        yield {**settings, **results}, _Programs(row[PROGRAM_JCT])


def is_sweep(path: Path) -> bool:
    """Return True if a directory holds a sweep."""
    try:
        read_manifest(path)
    except ConfigError:
        return False
    return True


class _Programs:
    """The programs of a cell; a dataset keeps only their JCT, ordered by name."""

    def __init__(self, jct_s: Sequence[float]) -> None:
        self._jct_s = jct_s

    def table(self, name: str) -> Any:
        import pyarrow as pa

        if name != "programs":
            raise ConfigError(f"a sweep keeps no table {name!r}")
        digits = len(str(len(self._jct_s)))
        programs = [f"{number:0{digits}}" for number in range(len(self._jct_s))]
        return pa.table({"program": programs, "jct_s": self._jct_s})
