"""The directory of a validation: what was asked, what was predicted, and one folder per finished run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from continuum_sim import readers
from continuum_sim.errors import ConfigError
from continuum_sim.names import clipped
from continuum_sim.results.files import read_table
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.tables import record_batch, schema
from continuum_sim.traces.files import whole_file, write_text
from continuum_sim.world.records import ProgramRecord, TurnRecord

MANIFEST: Final = "manifest.json"
PREDICTIONS: Final = "predictions.json"
PREDICTIONS_HASH: Final = "predictions.json.sha256"
RUN: Final = "run.json"
ENGINE_TIMES: Final = "engine_times.json"
"""When the engine itself had every turn of a run."""
FACTS: Final = "engine.json"
"""The engine's settings, as surveyed."""
STEP_TIME: Final = "fitted.json"
"""The step-time model of the predictions, unless the engine is held to a pace."""
DELAYS: Final = "delays.json"
"""Delays between engine and client, if there is no calibration that has them."""


ACCEPTANCE: Final = "acceptance.json"
"""How many drafts the engine accepted as it was surveyed."""


class RunKey(NamedTuple):
    """One replay of a session."""

    repeat: int
    policy: str

    @property
    def folder(self) -> str:
        """Name of the replay's folder."""
        return f"r{self.repeat}-{slug(self.policy)}"


def slug(name: str) -> str:
    """Make a policy's name fit for a file; a digest distinguishes names that differ only in odd characters."""
    plain = re.sub(r"[^A-Za-z0-9._=-]+", "_", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


class SessionFiles:
    """Reads and writes the directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"

    # What was asked -------------------------------------------------------------------------------------

    def open(self, settings: dict[str, Any], *, resume: bool) -> None:
        """Start a new directory, or continue one with the same settings.

        Raises
        ------
        ConfigError
            If the directory is in use, or was started with other settings.
        """
        path = self.root / MANIFEST
        if not path.exists():
            if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
                raise ConfigError(f"--out {self.root} is taken by something else; choose another directory")
            self.root.mkdir(parents=True, exist_ok=True)
            write_text(path, to_json(settings))
            return
        other = _difference(self.manifest(), settings)
        if not (self.root / PREDICTIONS_HASH).exists():
            # Nothing is binding yet: an earlier call failed before predicting. Its survey may be of another engine.
            if other is not None:
                for name in (FACTS, STEP_TIME, DELAYS, ACCEPTANCE):
                    (self.root / name).unlink(missing_ok=True)
                write_text(path, to_json(settings))
            return
        if not resume:
            raise ConfigError(f"--out {self.root} holds a validation; continue it with --resume, or choose another")
        if other is not None:
            name, kept, wanted = other
            raise ConfigError(
                f"--resume: {self.root} was started with {name} {_short(kept)}, not {_short(wanted)}; "
                "give the same settings, or choose another --out"
            )

    def repeats(self) -> int:
        """Return how many repeats were requested or begun so far."""
        asked = self.manifest()["repeats"] if (self.root / MANIFEST).exists() else 0
        return max(asked, self._begun())

    def set_repeats(self, repeats: int) -> None:
        """Store how many repeats are wanted now.

        Raises
        ------
        ConfigError
            If more were run already, because the report covers all of them.
        """
        if repeats < self._begun():
            raise ConfigError(
                f"--repeats {repeats}: {self.root} holds runs of {self._begun()} repeats, and its report is over all "
                "of them; give as many, or choose another --out"
            )
        manifest = self.manifest()
        if manifest.get("repeats") != repeats:
            write_text(self.root / MANIFEST, to_json({**manifest, "repeats": repeats}))

    def _begun(self) -> int:
        return max((key.repeat + 1 for key, _, _ in self.finished()), default=0)

    def manifest(self) -> dict[str, Any]:
        """Read the manifest: what was asked."""
        return read_json(self.root / MANIFEST)

    # What was predicted ---------------------------------------------------------------------------------

    def write_predictions(self, predictions: dict[str, Any]) -> str:
        """Write the predictions, which must not change afterwards, with their hash; return the hash."""
        text = to_json(predictions)
        digest = hashlib.sha256(text.encode()).hexdigest()
        write_text(self.root / PREDICTIONS, text)
        # In the format of `sha256sum -c`.
        write_text(self.root / PREDICTIONS_HASH, f"{digest}  {PREDICTIONS}\n")
        return digest

    def predictions(self) -> dict[str, Any] | None:
        """Read the predictions, None if there are none yet.

        Raises
        ------
        ConfigError
            If they were changed after they were written.
        """
        if not (self.root / PREDICTIONS_HASH).exists():
            return None
        digest = (self.root / PREDICTIONS_HASH).read_text(encoding="utf-8").split()[0]
        if hash_file(self.root / PREDICTIONS) != digest:
            raise ConfigError(f"{self.root / PREDICTIONS} was changed after it was written; start a new validation")
        return read_json(self.root / PREDICTIONS)

    # What was run ---------------------------------------------------------------------------------------

    def has(self, key: RunKey) -> bool:
        """Return True if this run is finished."""
        return (self.runs / key.folder / RUN).exists()

    @contextmanager
    def staged(self, key: RunKey) -> Iterator[Path]:
        """Yield a folder for a run; it takes its final place if the block succeeds, and is left aside if not."""
        folder = self.runs / f"{key.folder}.unfinished"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        folder.replace(self.runs / key.folder)

    def finished(self) -> list[tuple[RunKey, Path, dict[str, Any]]]:
        """Return every finished run with its folder and its own summary, in the order in which they ran."""
        found = []
        for path in self.runs.glob(f"*/{RUN}"):
            if path.parent.suffix != ".unfinished":
                run = read_json(path)
                found.append((RunKey(run["repeat"], run["policy"]), path.parent, run))
        return sorted(found, key=lambda item: str(item[2]["started_at"]))


def write_records(folder: Path, programs: Sequence[ProgramRecord], turns: Sequence[TurnRecord]) -> None:
    """Write the records of a run, simulated or real, as `programs.parquet` and `turns.parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for table, rows in (("programs", list(programs)), ("turns", list(turns))):
        batch = record_batch(table, list(rows))
        with whole_file(folder / f"{table}.parquet", seeks=True) as file:
            pq.write_table(pa.Table.from_batches([batch], schema(table)), file, compression="zstd")


def read_records(folder: Path) -> tuple[list[ProgramRecord], list[TurnRecord]]:
    """Read what `write_records` wrote."""
    programs = [ProgramRecord(**row) for row in read_table(folder, "programs").to_pylist()]
    turns = [TurnRecord(**row) for row in read_table(folder, "turns").to_pylist()]
    return programs, turns


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that this package wrote."""
    value = readers.read_json(path)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object that this program wrote")
    return value


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _difference(kept: dict[str, Any], settings: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """Return a setting that makes this another experiment, with its old and new value, or None.

    Repeats may be added, and the tolerance concerns only the report. Settings that an earlier version did not write are
    not compared.
    """
    wanted: dict[str, Any] = json.loads(to_json(settings))  # as it would be after writing and reading
    for name, now in wanted.items():
        before = kept.get(name, now)
        if before == now or name in ("created", "repeats", "tolerance"):
            continue
        if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
            inner = next(key for key in now if before[key] != now[key])
            return f"{name} {inner}", before[inner], now[inner]
        return name, before, now
    return None


def _short(value: Any) -> str:
    return clipped(json.dumps(value, default=str))
