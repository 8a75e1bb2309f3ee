"""A run directory: staged beside its place, filled, and renamed when whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from continuum_sim.errors import ConfigError
from continuum_sim.results.tables import Sink, schema
from continuum_sim.traces.files import staged_folder

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST: Final = "manifest.json"
SUMMARY: Final = "summary.json"
DECISIONS: Final = "decisions.jsonl"

_REPEATING: Final = {"program", "tool", "replica"}
"""Columns whose values repeat, so that a dictionary shrinks them."""


def check_free(out: Path, *, force: bool = False) -> None:
    """Refuse a place for results that is taken.

    Raises
    ------
    ConfigError
        If there is a file, or a directory that is not empty; `force` lets earlier results be replaced, but
        nothing else.
    """
    place = Path(os.path.realpath(out))  # a link that leads nowhere yet is fine
    if not place.is_dir():
        if os.path.lexists(place):
            raise ConfigError(f"--out {out} is a file, expected a directory that is new or empty")
        return
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST).is_file():
        raise ConfigError(f"--out {out} holds files that are no results of this program; choose another directory")
    if not force:
        raise ConfigError(f"--out {out} holds earlier results; choose another directory, or replace them with --force")


@contextmanager
def staged_directory(out: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a directory to fill that becomes `out` if the block succeeds and is removed if not; see `staged_folder`.

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
    """Open one Parquet file a table; gives the sinks that write to them."""
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
    """Where a table of a run directory lies."""
    return directory / f"{table}.parquet"


def read_table(directory: Path, table: str) -> pa.Table:
    """Read a table of a run directory."""
    import pyarrow.parquet as pq

    # Not read_table: it takes Hive-style names such as a=b in the path for further columns.
    return pq.ParquetFile(table_path(directory, table)).read()
