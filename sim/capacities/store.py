"""The directory of a capacity search: a file for every finished measurement, and the answer at the end.

`manifest.json` says what was asked for. `measured/ID.json` is a measurement, named by a hash of everything it depends
on, so that no command repeats it. `capacity.json` comes last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from continuum_sim.capacities.result import CapacityResult
from continuum_sim.capacities.task import Found
from continuum_sim.errors import ConfigError
from continuum_sim.readers import read_json
from continuum_sim.results.files import MANIFEST
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.manifest_parts import read_manifest
from continuum_sim.traces.files import write_text
from continuum_sim.traces.leftovers import release, take_folder

CAPACITY: Final = "capacity.json"
KIND: Final = "capacity"
_MEASURED: Final = "measured"


class CapacityStore:
    """Finished measurements; kept only in memory if there is no directory."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._found: dict[str, Found] = {}

    @property
    def place(self) -> str:
        """Where the measurements are, for error messages."""
        return "memory" if self._directory is None else str(self._directory / _MEASURED)

    def find(self, task_id: str) -> Found | None:
        """Return a finished measurement; None if there is none."""
        if task_id not in self._found and self._directory is not None:
            path = self._directory / _MEASURED / f"{task_id}.json"
            if path.is_file():
                self._found[task_id] = read_json(path, Found)
        return self._found.get(task_id)

    def keep(self, task_id: str, found: Found) -> None:
        """Store a finished measurement."""
        self._found[task_id] = found
        if self._directory is not None:
            write_text(self._directory / _MEASURED / f"{task_id}.json", to_json(found))

    def write_answer(self, text: str) -> None:
        """Write the final result."""
        if self._directory is not None:
            write_text(self._directory / CAPACITY, text)


@contextmanager
def capacity_store(out: Path | None, manifest: Mapping[str, Any], *, force: bool) -> Iterator[CapacityStore]:
    """Yield the directory to one process at a time; other results are never touched.

    Raises
    ------
    ConfigError
        If the directory holds something else or results of another version, is in use, or cannot be made.
    """
    if out is None:
        yield CapacityStore()
        return
    place = Path(os.path.realpath(out))
    if place.exists() and not place.is_dir():
        raise ConfigError(f"--out {out} is a file, expected a directory that is new, empty or of `capacity`")
    then = _manifest_there(place, out)
    try:
        (place / _MEASURED).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be made: {error.strerror}") from None
    try:
        lock = take_folder(str(place))
    except BlockingIOError:
        raise ConfigError(f"--out {out} is in use by another `capacity`; wait for it or choose another") from None
    try:
        if force:
            shutil.rmtree(place / _MEASURED)
            (place / _MEASURED).mkdir()
            (place / CAPACITY).unlink(missing_ok=True)
        elif then is not None:
            _check_version(out, then, manifest)
        write_text(place / MANIFEST, to_json(dict(manifest)))
        yield CapacityStore(place)
    finally:
        release(lock)


class _Parts(msgspec.Struct):
    """The parts of a manifest that are read back."""

    kind: str = ""
    versions: dict[str, str | None] = {}


def _manifest_there(place: Path, out: Path) -> dict[str, Any] | None:
    if not place.is_dir() or not any(place.iterdir()):
        return None
    manifest, parts = read_manifest(place / MANIFEST, _Parts) if (place / MANIFEST).is_file() else ({}, _Parts())
    if parts.kind != KIND:
        raise ConfigError(f"--out {out} holds files that are not results of `capacity`; choose another directory")
    return manifest


def _check_version(out: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    before, version = ((item.get("versions") or {}).get("continuum-sim") for item in (then, now))
    if before != version:
        raise ConfigError(
            f"--out {out} was made by another version ({before}, this is {version}); choose another directory, or "
            "start over with --force"
        )


def load_capacity(directory: str | Path) -> CapacityResult:
    """Read the result in a directory written by `capacity`.

    Raises
    ------
    ConfigError
        If there is none, or the directory was not written by `capacity`.
    """
    path = Path(directory) / CAPACITY
    if not path.is_file():
        _manifest_there(Path(directory), Path(directory))
        raise ConfigError(f"{directory} has no {CAPACITY} yet: run the command that made it again to finish it")
    return read_json(path, CapacityResult)
