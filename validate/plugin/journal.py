"""Files that the plug-in writes, readable while the engine runs or after it died: decision log and counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.results.decisions import DecisionRecord, decision_line
from continuum_sim.results.jsonfile import to_json
from continuum_sim.traces.files import write_text


class Journal:
    """Appends decisions to a file and replaces the counts file whole."""

    def __init__(
        self,
        decisions: Path | None,
        counts: Path | None,
        period_s: float,
        complain: Callable[[str], None],
        wall_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the files; `complain` is called if a disk fails later, which must not stop the engine.

        Raises
        ------
        ConfigError
            If the decision log cannot be opened or the folder of the counts does not exist.
        """
        self._counts = counts
        self._period_s = period_s
        self._complain = complain
        self._wall_s = wall_s
        self._written_s = -period_s
        if counts is not None and not counts.parent.is_dir():
            raise ConfigError(f"counts file {counts}: the folder {counts.parent} does not exist; make it first")
        try:
            # Unbuffered, so that a line is written before the next decision is made.
            self._log = None if decisions is None else decisions.open("ab", buffering=0)
        except OSError as error:
            raise ConfigError(f"decision log {decisions}: cannot be opened ({error.strerror})") from None

    @property
    def logs(self) -> bool:
        """True if decisions are logged."""
        return self._log is not None

    def decided(self, record: DecisionRecord) -> None:
        """Append one decision."""
        if self._log is None:
            return
        try:
            self._log.write(decision_line(record))
        except OSError as error:
            self._complain(f"the decision log ends here: {error}")
            self.close()

    def counts_due(self) -> bool:
        """Return True if the counts file is older than its period."""
        return self._counts is not None and self._wall_s() - self._written_s >= self._period_s

    def write_counts(self, values: dict[str, Any]) -> None:
        """Replace the counts file."""
        if self._counts is None:
            return
        self._written_s = self._wall_s()
        try:
            write_text(self._counts, to_json(values))
        except OSError as error:
            self._complain(f"the counts file is no longer written: {error}")
            self._counts = None

    def close(self) -> None:
        """Close the decision log."""
        if self._log is not None:
            self._log.close()
            self._log = None


def for_rank(path: Path | None, rank: int) -> Path | None:
    """Return a separate file for every data-parallel engine: `decisions.jsonl`, `decisions.dp1.jsonl`, …"""
    if path is None or rank == 0:
        return path
    stem, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{stem}.dp{rank}{dot}{suffixes}")
