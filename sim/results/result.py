"""A finished run in Python: its summary, and its tables as data frames."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continuum_sim.errors import ConfigError
from continuum_sim.readers import read_json
from continuum_sim.results.decisions import DecisionRecord, decision_line, read_decisions
from continuum_sim.results.files import (
    DECISIONS,
    MANIFEST,
    SUMMARY,
    read_table,
    staged_directory,
    table_files,
    table_path,
)
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.manifest_parts import ManifestParts, read_manifest
from continuum_sim.results.summary import Summary
from continuum_sim.results.tables import COLUMNS, schema
from continuum_sim.results.view.run import run_view
from continuum_sim.results.view.shown import Shown
from continuum_sim.traces.files import whole_file, write_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from continuum_sim.results.view import View


class RunResult(Shown):
    """One run: numbers at once, tables when they are asked for.

    Parameters
    ----------
    summary, manifest
        Contents of `summary.json` and `manifest.json`.
    batches
        Tables kept in memory, as Arrow batches. The others are read from `directory`.
    decisions
        The decision log, if it was kept in memory.
    directory
        Where the run was written; None if it was not.
    """

    def __init__(
        self,
        summary: Summary,
        manifest: dict[str, Any],
        *,
        batches: Mapping[str, Sequence[pa.RecordBatch]] | None = None,
        decisions: list[DecisionRecord] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.summary = summary
        self.manifest = manifest
        self.directory = directory
        self._cluster = bool(summary.replicas)
        self._batches = dict(batches or {})
        self._decisions = decisions

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"<RunResult {s.policy} on {s.trace}, {s.arrivals}, seed {s.seed}: {s.programs} programs, "
            f"mean JCT {s.jct_s.mean:.4g} s>"
        )

    def view(self) -> View:
        """Return the run as the rows of text that terminal, page and notebook show."""
        return run_view(self.summary, self.manifest)

    @cached_property
    def programs(self) -> pd.DataFrame:
        """One row per program, in the order in which they finished."""
        frame: pd.DataFrame = self.table("programs").to_pandas()
        return frame

    @cached_property
    def turns(self) -> pd.DataFrame:
        """One row per turn, in the order in which they finished."""
        frame: pd.DataFrame = self.table("turns").to_pandas()
        return frame

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """One row per stretch of steps in which the batch stayed the same."""
        frame: pd.DataFrame = self.table("timeline").to_pandas()
        return frame

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """One row per decision of the policy, in order.

        Raises
        ------
        ConfigError
            If the run did not log them.
        """
        import pandas as pd

        frame = pd.DataFrame(self._decision_records(), columns=list(DecisionRecord._fields))
        return frame if self._cluster else frame.drop(columns="replica")

    def table(self, name: str) -> pa.Table:
        """Return `programs`, `turns` or `timeline` as an Arrow table.

        Raises
        ------
        ConfigError
            If the run did not keep that table.
        """
        import pyarrow as pa

        if name in self._batches:
            return pa.Table.from_batches(self._batches[name], schema=schema(name, cluster=self._cluster))
        if self.directory is not None and table_path(self.directory, name).is_file():
            return read_table(self.directory, name, engines=len(self.summary.replicas or ()) or 1)
        if self.directory is not None:
            path = table_path(self.directory, name)
            raise ConfigError(f"{self.directory} has no {path.name}; write the run with --out, or with out=…")
        raise ConfigError(f"this run kept no table {name!r}; run it with {name}=True, or with out=…")

    def save(self, directory: str | Path, *, force: bool = False) -> Path:
        """Write the run directory, all of it or nothing, and return it.

        Raises
        ------
        ConfigError
            If the directory is in use (`force` replaces earlier results).
        OSError
            If it cannot be written.
        """
        out = Path(directory)
        with staged_directory(out, force=force) as staged:
            with table_files(staged, self._batches, cluster=self._cluster) as sinks:
                for name, batches in self._batches.items():
                    for batch in batches:
                        sinks[name](batch)
            if self._decisions is not None:
                with whole_file(staged / DECISIONS) as file:
                    file.writelines(map(decision_line, self._decisions))
            if self.directory is not None:
                for path in (*(table_path(self.directory, name) for name in COLUMNS), self.directory / DECISIONS):
                    if path.is_file() and not (staged / path.name).exists():
                        shutil.copyfile(path, staged / path.name)
            write_texts(staged, self.summary, self.manifest)
        return out

    def _decision_records(self) -> list[DecisionRecord]:
        if self._decisions is not None:
            return self._decisions
        if self.directory is None or not (self.directory / DECISIONS).is_file():
            raise ConfigError("this run logged no decisions; run it with decisions=True")
        return read_decisions(self.directory / DECISIONS)


def write_texts(directory: Path, summary: Summary, manifest: Mapping[str, Any]) -> None:
    """Write `summary.json` and `manifest.json` into a run directory."""
    write_text(directory / SUMMARY, summary.to_json())
    write_text(directory / MANIFEST, to_json(manifest))


def load_run(directory: str | Path) -> RunResult:
    """Open a run directory; its tables are read only when asked for.

    Raises
    ------
    ConfigError
        If it is not the directory of a single run.
    """
    path = Path(directory)
    try:
        manifest, _ = read_manifest(path / MANIFEST, ManifestParts)
        summary = read_json(path / SUMMARY, Summary)
    except ConfigError as error:
        raise ConfigError(f"{path} is not a run directory: {error}") from None
    return RunResult(summary, manifest, directory=path)
