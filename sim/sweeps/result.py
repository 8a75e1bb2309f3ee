"""A sweep's result in Python: one row per cell, and paired comparisons along any axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.names import check_names
from continuum_sim.policies import Policy
from continuum_sim.readers import read_json
from continuum_sim.results.estimate import MIN_EFFECT, read_min_effect
from continuum_sim.results.measured import PROGRAM_JCT, drawn_in
from continuum_sim.results.paired import paired_differences
from continuum_sim.results.view.shown import Shown
from continuum_sim.results.view.sweep import sweep_view
from continuum_sim.sweeps.row import CELL, RATE_COLUMN, column_of, setting_columns
from continuum_sim.sweeps.settings import RATE
from continuum_sim.sweeps.store import CELLS, FAILURES, part_files, read_manifest, read_part

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from continuum_sim.results.view import View


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that failed."""

    cell: str
    """Its identity; empty if its settings cannot even work together."""
    settings: dict[str, Any]
    """Its settings that were given, defaults left out."""
    reason: str

    def plain(self) -> dict[str, Any]:
        """Return the failure as an entry of `failures.json`."""
        return asdict(self)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items()) + f": {self.reason}"


class SweepResult(Shown):
    """The cells of a sweep.

    Parameters
    ----------
    directory
        Directory of the dataset.
    cells
        Identities of the cells to show, in this order; None for all, in the order of the files.
    keep
        A temporary directory that must live as long as this object.
    """

    def __init__(
        self, directory: Path, cells: Sequence[str] | None = None, *, keep: TemporaryDirectory[str] | None = None
    ) -> None:
        self.directory = directory
        self.manifest = read_manifest(directory)
        self._order = cells
        self._keep = keep

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<SweepResult {len(self)} cells{failed} in {self.directory}>"

    def view(self) -> View:
        """Return the sweep as the rows of text that terminal and notebook show."""
        return sweep_view(self)

    def __len__(self) -> int:
        return int(self.table([CELL]).num_rows) if part_files(self.directory) else 0

    @cached_property
    def failures(self) -> list[Failure]:
        """Cells that failed, with the reason."""
        path = self.directory / FAILURES
        if not path.is_file():
            return []
        return read_json(path, list[Failure])

    @property
    def axes(self) -> list[str]:
        """Settings that were given and take more than one value; the rate replaces arrivals that differ only in it."""
        asked = {RATE_COLUMN if name == RATE else column_of(name) for name in self.manifest["axes"]}
        frame = self.frame()
        found = [name for name in setting_columns() if name in asked and frame[name].nunique(dropna=False) > 1]
        return [name for name in found if name != "arrivals" or RATE_COLUMN not in found]

    def frame(self, *, programs: bool = False) -> pd.DataFrame:
        """Return one row per cell: identity, every setting, every result.

        Parameters
        ----------
        programs
            Whether to add `program_jct_s`, an array of the JCT of every program.
        """
        names = None if programs else [name for name in self.manifest["columns"] if name != PROGRAM_JCT]
        frame: pd.DataFrame = self.table(names).to_pandas()
        return frame

    def table(self, names: Sequence[str] | None = None) -> pa.Table:
        """Return columns as an Arrow table; all of them if None.

        Raises
        ------
        ConfigError
            If no cell has finished.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = None if names is None else list(dict.fromkeys([CELL, *names]))
        parts = [_whole(read_part(path, wanted), path) for path in part_files(self.directory)]
        if not parts:
            why = f"; {len(self.failures)} failed, the first with: {self.failures[0]}" if self.failures else ""
            raise ConfigError(f"no cell in {self.directory / CELLS} has finished{why}")
        table = pa.concat_tables(parts)
        order = list(dict.fromkeys(table.column(CELL).to_pylist() if self._order is None else self._order))
        at = pc.index_in(pa.array(order, pa.string()), table.column(CELL).combine_chunks())
        table = table.take(at.drop_null())
        if names is None:
            return table
        for name in names:
            if name not in table.schema.names:
                raise ConfigError(f"{self.directory / CELLS} has no column {name!r}: it is of another version")
        return table.select(list(names))

    def differences(
        self, axis: str = "policy", baseline: object = None, *, min_effect: float = MIN_EFFECT
    ) -> pd.DataFrame:
        """Compare the values of one axis on the same programs and arrivals, with all other axes but the seed equal.

        Parameters
        ----------
        axis
            A setting, by default the policy.
        baseline
            The value that the others are measured against; the first one if None.
        min_effect
            Smallest difference of the ratio from 1 that makes a verdict.

        Returns
        -------
        pandas.DataFrame
            One row per scene (combination of the other axes), value and metric, with the fields of `PairedDifference`,
            where `policy` is renamed after the axis. Values are compared on the seeds they share with the baseline.

        Raises
        ------
        ConfigError
            If no such setting varies, the baseline is not one of its values, or nothing can be paired.
        """
        import pandas as pd

        least = read_min_effect(min_effect)
        frame = self.frame(programs=True)
        varying = self.axes
        _check_name(axis, varying, "what varies in this sweep")
        values = list(dict.fromkeys(frame[axis]))
        baseline = values[0] if baseline is None else baseline
        if baseline not in values:
            raise ConfigError(f"baseline {baseline!r} is not a value of {axis}: {', '.join(map(str, values))}")
        scene = [name for name in varying if name not in (axis, "seed")]
        rows = []
        for key, group in frame.groupby(scene, sort=False, dropna=False) if scene else [((), frame)]:
            where = dict(zip(scene, key if isinstance(key, tuple) else (key,), strict=True))
            base = jct_by_seed(group[group[axis] == baseline])
            for value in (value for value in values if value != baseline):
                ours = jct_by_seed(group[group[axis] == value])
                seeds = [seed for seed in ours if seed in base]
                if seeds:
                    found = paired_differences(
                        str(value),
                        str(baseline),
                        {seed: ours[seed] for seed in seeds},
                        base,
                        drawn=drawn_in(group),
                        min_effect=least,
                    )
                    rows += [{**where, **_named(item.plain(), axis, value)} for item in found]
        if not rows:
            raise ConfigError(f"no two cells differ in {axis} alone (and have a seed in common): nothing to compare")
        return pd.DataFrame(rows)


_NEVER_NULL: Final = ("policy", "seed", "kv_blocks", "arrivals", PROGRAM_JCT)


def _whole(table: pa.Table, path: Path) -> pa.Table:
    """Refuse rows that lack a value which every finished cell has."""
    for name in _NEVER_NULL:
        if name in table.schema.names and table.column(name).null_count:
            raise ConfigError(f"{path}: column {name!r} lacks a value")
    return table


def load_sweep(directory: str | Path) -> SweepResult:
    """Open the directory of a sweep, finished or not.

    Raises
    ------
    ConfigError
        If the directory does not hold a sweep.
    """
    return SweepResult(Path(directory))


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON can hold them: objects by name."""
    return {name: _shown(value) for name, value in settings.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Policy):
        return value.name
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value[:100]]
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else type(value).__name__


def _named(difference: dict[str, Any], axis: str, value: Any) -> dict[str, Any]:
    difference.pop("policy")
    return {axis: value, **difference}


def jct_by_seed(rows: pd.DataFrame) -> dict[int, np.ndarray]:
    """Return the JCT of every program under each seed, ordered by program name."""
    return {int(seed): np.asarray(jct_s) for seed, jct_s in zip(rows["seed"], rows[PROGRAM_JCT], strict=True)}


def _check_name(name: str, known: Sequence[str], owner: str) -> None:
    check_names([name], known, "axis", of=owner, error=ConfigError)
