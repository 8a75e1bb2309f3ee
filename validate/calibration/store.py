"""The points measured so far, one JSON line each, so that an interrupted calibration can continue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.traces.files import write_text
from continuum_sim.validate.calibration.delays import ClientDelays, read_delays
from continuum_sim.validate.calibration.measure import Measured
from continuum_sim.validate.calibration.points import Point
from continuum_sim.validate.engines.interface import EngineFacts


class PointStore:
    """A file whose first line identifies its engine; every other line holds a finished point.

    Raises
    ------
    ConfigError
        If the file belongs to another engine or other settings, or is not a file of ours.
    """

    def __init__(self, path: Path, facts: EngineFacts) -> None:
        self._path = path
        self.points: dict[Point, list[Measured]] = {}
        """The finished points."""
        self.delays: ClientDelays | None = None
        head = json.loads(json.dumps({"calibration": 1, "facts": asdict(facts)}))  # as it is read back
        if path.exists():
            self._read(head)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(head)

    def add(self, point: Point, steps: Sequence[Measured]) -> None:
        """Store a finished point."""
        self.points[point] = list(steps)
        self._append({"point": asdict(point), "steps": [[*step.batch, step.seconds] for step in steps]})

    def set_delays(self, delays: ClientDelays) -> None:
        """Store the client's delays."""
        self.delays = delays
        self._append({"delays": delays.describe()})

    @property
    def steps(self) -> list[Measured]:
        """Steps of all points."""
        return [step for steps in self.points.values() for step in steps]

    def _append(self, entry: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _read(self, head: Mapping[str, Any]) -> None:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            entries = [json.loads(line) for line in lines if line.endswith("\n")]
            if not entries:
                self._path.unlink()  # cut off in its first line
                return
            if entries[0] != head:
                raise ConfigError(
                    f"calibration points {self._path}: measured on another engine or other settings "
                    f"({_difference(entries[0].get('facts', {}), head['facts'])}); choose another --out or remove it"
                )
            for entry in entries[1:]:
                if "delays" in entry:
                    self.delays = read_delays(entry["delays"])
                else:
                    steps = [Measured(StepBatch(*map(int, row[:-1])), float(row[-1])) for row in entry["steps"]]
                    self.points[Point(**entry["point"])] = steps
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"calibration points {self._path}: not a file of ours ({error}); remove it") from None
        if lines and not lines[-1].endswith("\n"):  # cut off in the middle of a line
            write_text(self._path, "".join(lines[:-1]))


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [name for name in other if one.get(name) != other[name]]
    return ", ".join(f"{name} {one.get(name)!r} there, {other[name]!r} here" for name in names) or "another format"
