"""The traces of a sweep, by name so that a cell is cheap to ship, and reading them where the cell runs."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.setup.setting_types import Trace
from continuum_sim.setup.trace_source import TraceSource
from continuum_sim.traces.load import bundled_traces, find_trace, trace_sha256
from continuum_sim.traces.write import write_programs

_KEPT_TRACES: Final = 4
"""Cut traces that a worker keeps in memory between cells; `TraceSource` bounds the size of each."""


class PlannedTraces:
    """Every trace of a sweep: the name by which a worker finds it, and the hash that it must have.

    Programs in memory and pipes become files in a temporary folder, which lives as long as this object.
    """

    def __init__(self) -> None:
        self._sha256: dict[str, str] = {}
        self._of: dict[Any, str] = {}
        self._folder: TemporaryDirectory[str] | None = None

    def add(self, trace: Trace) -> str:
        """Return the name by which a worker finds the trace.

        Raises
        ------
        TraceError
            If there is no such trace, or programs in memory break a rule of the format.
        """
        key = os.fspath(trace) if isinstance(trace, str | os.PathLike) else id(trace)
        if key not in self._of:
            self._of[key] = self._name(trace)
        return self._of[key]

    def sha256(self, name: object) -> str:
        """Return the hash of a trace that `add` named."""
        return self._sha256[str(name)]

    def describe(self) -> list[dict[str, str]]:
        """Return the name and hash of each trace, for the manifest."""
        return [{"trace": name, "sha256": sha256} for name, sha256 in self._sha256.items()]

    def _name(self, trace: Trace) -> str:
        if isinstance(trace, str | os.PathLike):
            path = find_trace(trace)
            if path in bundled_traces().values():
                name = path.name
            elif path.is_file():
                name = str(path.resolve())
            else:  # a pipe can be read once
                name = self._keep(TraceSource(path))
        else:
            name = self._keep(trace if isinstance(trace, TraceSource) else TraceSource(trace))
        self._sha256.setdefault(name, trace_sha256(find_trace(name)))
        return name

    def _keep(self, source: TraceSource) -> str:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="continuum-sim-")
        path = Path(self._folder.name) / f"programs-{len(self._of)}.jsonl"
        write_programs(path, source)
        return str(path)


def open_trace(name: str, sha256: str, limit: int | None, max_turns: int | None, times: float) -> TraceSource:
    """Open a trace where a cell runs; recent ones are cached, so that cells with the same cut share one object.

    Raises
    ------
    ConfigError
        If the file is not the one the sweep was planned with.
    TraceError
        If there is no such file on this machine.
    """
    source = _open(name, limit, max_turns, times)
    if source.sha256 != sha256:
        _open.cache_clear()  # the file may be corrected while this worker lives
        raise ConfigError(f"trace {name} has changed since the sweep was planned, or is another one on this machine")
    return source


@lru_cache(maxsize=_KEPT_TRACES)
def _open(name: str, limit: int | None, max_turns: int | None, times: float) -> TraceSource:
    return TraceSource(name, limit, max_turns, times)
