"""A run directory: staged beside its final place, filled, and renamed once complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from continuum_sim.errors import ConfigError
from continuum_sim.readers import check_most, check_table, check_unique, open_parquet, parquet_errors
from continuum_sim.results.tables import Sink, schema
from continuum_sim.traces.files import staged_folder

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MANIFEST: Final = "manifest.json"
SUMMARY: Final = "summary.json"
DECISIONS: Final = "decisions.jsonl"

_LATER: Final = frozenset(
    {"replica", "reload_s", "reloaded_tokens", "preempted_s", "alone_s", "requests", "retry_s", "aborted", "given_up"}
)
"""Columns that runs of one engine or of earlier versions may lack."""
_MAY_LACK: Final = frozenset({"parent", "tool", "alone_s"})
"""Columns in which values may be missing."""
_REPEATING: Final = {"program", "tool", "replica"}
"""Columns whose values repeat, so that dictionary encoding shrinks them."""


def check_free(out: Path, *, force: bool = False) -> None:
    """Refuse a place for results that is already in use.

    Raises
    ------
    ConfigError
        If it is a file, or a directory that is not empty; `force` allows earlier results to be replaced, but nothing
        else.
    """
    place = Path(os.path.realpath(out))  # a link whose target does not exist yet is fine
    if not place.is_dir():
        if os.path.lexists(place):
            raise ConfigError(f"--out {out} is a file, expected a directory that is new or empty")
        return
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST).is_file():
        raise ConfigError(f"--out {out} holds files that are not results of this program; choose another directory")
    if not force:
        raise ConfigError(f"--out {out} holds earlier results; choose another directory, or replace them with --force")


@contextmanager
def staged_directory(out: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a directory to fill, which becomes `out` if the block succeeds and is removed if not; see `staged_folder`.

    Raises
    ------
    ConfigError
        As `check_free`, or if the directory cannot be made.
    """
    with ExitStack() as stack:
        try:
            staged = stack.enter_context(staged_folder(out, partial(check_free, force=force)))
        except OSError as error:
            raise ConfigError(f"--out {out} cannot be made: {error.strerror}") from error
        yield staged


@contextmanager
def table_files(directory: Path, tables: Iterable[str], *, cluster: bool = False) -> Iterator[dict[str, Sink]]:
    """Open one Parquet file per table and yield the sinks that write to them."""
    with ExitStack() as stack:
        layouts = {table: schema(table, cluster=cluster) for table in tables}
        yield {table: stack.enter_context(_table_file(directory, table, layout)) for table, layout in layouts.items()}


@contextmanager
def _table_file(directory: Path, table: str, layout: pa.Schema) -> Iterator[Sink]:
    import pyarrow.parquet as pq

    repeating = [name for name in layout.names if name in _REPEATING]
    with pq.ParquetWriter(table_path(directory, table), layout, compression="zstd", use_dictionary=repeating) as writer:
        yield writer.write_batch


def table_path(directory: Path, table: str) -> Path:
    """Return the path of a table in a run directory."""
    return directory / f"{table}.parquet"


def open_table(directory: Path, table: str) -> pq.ParquetFile:
    """Open a table of a run directory.

    Raises
    ------
    ConfigError
        If it is missing, broken or of another version.
    """
    # Not pyarrow's read_table, which turns Hive-style names such as a=b in the path into extra columns.
    return open_parquet(table_path(directory, table), schema(table, cluster=True), may_miss=_LATER)


def read_table(directory: Path, table: str, *, engines: int | None = None) -> pa.Table:
    """Read a whole table of a run directory.

    Parameters
    ----------
    engines
        Replicas of the run, if known.

    Raises
    ------
    ConfigError
        If it is missing, broken, of another version, or holds rows that no run writes.
    """
    path = table_path(directory, table)
    with parquet_errors(path), open_table(directory, table) as file:
        rows = file.read()
    check_rows(rows, path, engines=engines)
    if table == "programs":
        check_unique(rows.column("program"), path, "program")
    return rows


def check_rows(rows: pa.Table | pa.RecordBatch, path: Path, *, engines: int | None) -> None:
    """Refuse rows that no run writes.

    Raises
    ------
    ConfigError
        Naming the file and the column.
    """
    check_table(rows, path, _MAY_LACK)
    if engines is not None and "replica" in rows.schema.names:
        check_most(rows.column("replica"), engines - 1, path, "replica")
