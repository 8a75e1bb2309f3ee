"""The directory of a sweep: finished cells in part files, each written whole or not at all, joined at the end.

* `manifest.json`: versions, traces and their hashes, what was asked for, sessions;
* `failures.json`: cells that failed, with the reason; only if there are any;
* `cells/part-000001.parquet`, …: finished cells, in the order in which they finished;
* `cells/cells.parquet`: all cells in the order of the plan, once `compact` has run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from continuum_sim.errors import ConfigError
from continuum_sim.readers import convert, open_parquet, parquet_errors
from continuum_sim.results.files import MANIFEST
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.manifest_parts import read_manifest as read_any_manifest
from continuum_sim.results.measured import PROGRAM_JCT
from continuum_sim.sweeps.row import CELL, arrow_schema, columns
from continuum_sim.traces.files import whole_file, write_text

if TYPE_CHECKING:
    import pyarrow as pa

KIND: Final = "sweep"
CELLS: Final = "cells"
FAILURES: Final = "failures.json"
_WHOLE: Final = "cells.parquet"
_LOCK: Final = ".lock"
_GROUP_ROWS: Final = 1_000
"""Rows of a row group: bounds memory when the parts are joined; constant, so that equal cells give equal bytes."""


class _ManifestParts(msgspec.Struct):
    """The parts of a sweep's manifest that are read back."""

    columns: dict[str, str]
    sessions: list[dict[str, Any]]
    versions: dict[str, str | None]
    axes: list[str] = []


class SweepStore:
    """A sweep's directory while one process writes to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest: dict[str, Any] = {}
        self._cells = directory / CELLS
        self._schema = arrow_schema(columns())
        self._last_part = 0

    def open(self, stamp: Mapping[str, Any]) -> set[str]:
        """Open the directory for resuming, and return the identities of its finished cells.

        Parameters
        ----------
        stamp
            Result of `make_stamp` for this process.

        Raises
        ------
        ConfigError
            If its cells come from another version of the program, whose rows would not be comparable.
        """
        self._cells.mkdir(exist_ok=True)
        described = {name: str(self._schema.field(name).type) for name in self._schema.names}
        if (self.directory / MANIFEST).is_file():
            self.manifest = read_manifest(self.directory)
            now, then = stamp["versions"]["continuum-sim"], self.manifest["versions"].get("continuum-sim")
            if now != then or self.manifest["columns"] != described:
                raise ConfigError(
                    f"{self.directory} was made by another version ({then}, this is {now}); choose another directory, "
                    "or start over with --force"
                )
        else:
            self.manifest = {"kind": KIND, **stamp, "columns": described, "sessions": []}
        for path in self._cells.glob(".*.tmp"):
            path.unlink()
        return self._finished()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add finished cells as one part file."""
        import pyarrow as pa

        self._last_part += 1
        path = self._cells / f"part-{self._last_part:06d}.parquet"
        self._write(path, iter([pa.Table.from_pylist([dict(row) for row in rows], schema=self._schema)]))

    def write_manifest(self) -> None:
        """Write the current `manifest`."""
        write_text(self.directory / MANIFEST, to_json(self.manifest))

    def write_failures(self, failures: Sequence[Mapping[str, Any]]) -> None:
        """Write the list of cells that failed; an empty list removes the file."""
        path = self.directory / FAILURES
        if failures:
            write_text(path, to_json(list(failures)))
        else:
            path.unlink(missing_ok=True)

    def compact(self, order: Sequence[str]) -> None:
        """Join all parts into one file: cells in the given order, then any others by identity.

        So equal cells give equal bytes, whatever order they finished in. Memory holds one row group.
        """
        found = self._where()
        known = set(order)
        wanted = [cell for cell in order if cell in found]
        wanted += sorted(cell for cell in found if cell not in known)
        whole = self._cells / _WHOLE
        if not wanted or (self._parts() == [whole] and _identities(whole) == wanted):
            return
        self._write(whole, self._groups(wanted, found))
        for path in self._parts():
            if path != whole:
                path.unlink()

    def _groups(self, wanted: Sequence[str], found: Mapping[str, Path]) -> Iterator[pa.Table]:
        import pyarrow as pa
        import pyarrow.compute as pc

        for start in range(0, len(wanted), _GROUP_ROWS):
            group = pa.array(wanted[start : start + _GROUP_ROWS], pa.string())
            paths = dict.fromkeys(found[cell] for cell in group.to_pylist())
            tables = (read_part(path) for path in paths)
            rows = pa.concat_tables([table.filter(pc.is_in(table[CELL], group)) for table in tables])
            yield rows.take(pc.index_in(group, rows[CELL].combine_chunks())).combine_chunks()

    def _finished(self) -> set[str]:
        found = self._where()
        for path in self._parts():  # left over from a process that died while joining the parts
            if path.name != _WHOLE and not any(found[cell] == path for cell in _identities(path)):
                path.unlink()
        numbers = [int(path.stem.partition("-")[2]) for path in self._parts() if path.name != _WHOLE]
        self._last_part = max(numbers, default=0)
        return set(found)

    def _where(self) -> dict[str, Path]:
        """Return cell -> file that holds it; the joined file if it does."""
        return {cell: path for path in reversed(self._parts()) for cell in _identities(path)}

    def _parts(self) -> list[Path]:
        return part_files(self.directory)

    def _write(self, path: Path, groups: Iterator[pa.Table]) -> None:
        import pyarrow.parquet as pq

        with (
            whole_file(path, seeks=True, durable=True) as file,
            pq.ParquetWriter(file, self._schema, compression="zstd") as writer,
        ):
            for group in groups:
                writer.write_table(group, row_group_size=_GROUP_ROWS)


@contextmanager
def sweep_store(directory: Path, *, force: bool = False) -> Iterator[SweepStore]:
    """Yield the directory to one process at a time; other results are never touched.

    Raises
    ------
    ConfigError
        If the directory holds something else, is in use, or cannot be made.
    """
    directory = directory.resolve()
    _check_ours(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / _LOCK).open("a")
    except OSError as error:
        raise ConfigError(f"--out {directory} cannot be made: {error.strerror}") from None
    with lock:
        _take(lock, directory)
        if force:
            shutil.rmtree(directory / CELLS, ignore_errors=True)
            for name in (MANIFEST, FAILURES):
                (directory / name).unlink(missing_ok=True)
        yield SweepStore(directory)


def part_files(directory: Path) -> list[Path]:
    """Return the Parquet files of a sweep, the joined one first."""
    return sorted((directory / CELLS).glob("*.parquet"), key=lambda path: (path.name != _WHOLE, path.name))


def read_part(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """Read columns of one file; all of them if None."""
    layout = arrow_schema(columns())
    # A sweep of an earlier version may lack columns added later, but never those that identify a cell.
    later = frozenset(layout.names) - {CELL, PROGRAM_JCT, "trace", "policy", "arrivals", "seed"}
    with parquet_errors(path), open_parquet(path, layout, may_miss=later) as file:
        table = file.read(columns=None if names is None else list(names))
    with parquet_errors(path):
        table.validate(full=True)
    if CELL in table.schema.names and table.column(CELL).null_count:
        raise ConfigError(f"{path}: column {CELL!r} lacks a value")
    return table


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest of a sweep.

    Raises
    ------
    ConfigError
        If the directory is not one of a sweep.
    """
    try:
        manifest, _ = read_any_manifest(directory / MANIFEST, dict)
    except ConfigError as error:
        raise ConfigError(f"{directory} is not a sweep: {MANIFEST}{_after_path(error, directory / MANIFEST)}") from None
    if manifest.get("kind") != KIND:
        raise ConfigError(f"{directory} holds results of another command, expected those of `sweep`")
    convert(manifest, _ManifestParts, directory / MANIFEST)
    return manifest


def _after_path(error: ConfigError, path: Path) -> str:
    """Return the message of an error without the path that it begins with."""
    return str(error).removeprefix(f"{path}:")


def _check_ours(directory: Path) -> None:
    if not directory.is_dir():
        if directory.exists() or directory.is_symlink():
            raise ConfigError(f"--out {directory} is a file, expected a directory that is new, empty or of a sweep")
        return
    if (directory / MANIFEST).is_file():
        read_manifest(directory)
    elif any(not path.name.startswith(".") for path in directory.iterdir()):
        raise ConfigError(f"--out {directory} holds files that are not a sweep; choose another directory")


def _take(lock: IO[str], directory: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no such locks: there, users must keep two sweeps out of one directory
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigError(f"--out {directory} is in use by another sweep; wait for it or choose another") from None


def _identities(path: Path) -> list[str]:
    cells: list[str] = read_part(path, [CELL]).column(CELL).to_pylist()
    return cells
