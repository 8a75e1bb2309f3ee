"""Read the tables of a run directory incrementally."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.policies import PolicyError
from continuum_sim.readers import parquet_errors
from continuum_sim.results.decisions import DecisionRecord, iter_decisions
from continuum_sim.results.files import DECISIONS, check_rows, open_table, table_path
from continuum_sim.results.manifest import PINS_OUTLAST
from continuum_sim.results.result import RunResult
from continuum_sim.setup.notation import parse_policy

_ROWS: Final = 20_000
"""Rows of a table held as Python objects at once."""

OnShare = Callable[[float], None]
"""Called with the share of work done."""


class TableRows:
    """Reads tables of a run directory row by row and reports how much of them has been read.

    Raises
    ------
    ConfigError
        If the directory lacks one of the tables.
    """

    def __init__(
        self, run: RunResult, directory: Path, names: tuple[str, ...], progress: OnShare | None = None
    ) -> None:
        self._engines = len(run.summary.replicas or ()) or 1
        self._paths = {name: table_path(directory, name) for name in names}
        self._tables = {name: open_existing(directory, name) for name in names}
        self._total = sum(table.metadata.num_rows for table in self._tables.values())
        self._done = 0
        self._progress = progress

    def of(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table."""
        batches = self._tables[name].iter_batches(_ROWS)
        while True:
            with parquet_errors(self._paths[name]):
                batch = next(batches, None)
            if batch is None:
                return
            check_rows(batch, self._paths[name], engines=self._engines)
            yield from batch.to_pylist()
            self._done += batch.num_rows
            if self._progress is not None:
                self._progress(self._done / self._total)


def open_existing(directory: Path, table: str) -> Any:
    """Open a table as a Parquet file.

    Raises
    ------
    ConfigError
        If the run was written without the table, or it is broken.
    """
    path = table_path(directory, table)
    if not path.is_file():
        raise ConfigError(f"{directory} has no {path.name}; write the run with --out, or with out=…")
    return open_table(directory, table)


def has_decisions(directory: Path) -> bool:
    """Return True if the run was written with its decision log."""
    return (directory / DECISIONS).is_file()


def decisions_of(directory: Path) -> Iterator[DecisionRecord]:
    """Yield the decision log.

    Raises
    ------
    ConfigError
        If it is broken or of another version.
    """
    return iter_decisions(directory / DECISIONS)


def outlasts_admission(run: RunResult) -> bool:
    """Return True if the pins of a run's policy outlast the admission of the next turn.

    The run's manifest says so. For older runs the registry does, and unknown policies are taken to be like most.
    Nothing named in the files is imported.
    """
    policy = run.manifest.get("policy")
    if isinstance(policy, dict) and isinstance(said := policy.get(PINS_OUTLAST), bool):
        return said
    try:
        return parse_policy(run.summary.policy, registered_only=True).retention.outlasts_admission
    except (ConfigError, PolicyError):
        return False
