"""The recorder of a run: totals for the summary, and the records as batches of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from continuum_sim.results.recovered import LoadJcts
from continuum_sim.results.tables import BATCH_ROWS, Columns, Sink, column_batch, columns_of
from continuum_sim.results.tally import ReplicaTally, Tally
from continuum_sim.steady.burst import Burst
from continuum_sim.steady.length import RunLength
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord

_TURNS_PER_REPORT: Final = 1024


class Progress(NamedTuple):
    """Progress of a run."""

    programs: int
    """Programs finished so far, without sub-agents."""
    turns: int
    """Turns finished so far."""
    sim_s: float
    """Simulated seconds elapsed."""


class RunRecorder:
    """Appends a run's records to lists and passes them on as columns, `batch_rows` at a time.

    Finished programs are not kept: memory holds one batch of each table and, for the percentiles, five numbers per turn
    and two per stretch of steps.

    Parameters
    ----------
    sinks
        Table (`programs`, `turns`, `timeline`) -> sinks of its batches; a table without sinks is only tallied.
    progress
        Called when a program finishes and every 1,024 turns.
    batch_rows
        Records per batch.
    replicas
        Engines of the cluster; with several, tables name the replica and each is tallied separately.
    length
        Which programs count.
    burst
        Which programs belong to a burst.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sequence[Sink]] | None = None,
        progress: Callable[[Progress], None] | None = None,
        batch_rows: int = BATCH_ROWS,
        replicas: int = 1,
        *,
        length: RunLength | None = None,
        burst: Burst | None = None,
    ) -> None:
        self.tally = Tally(length, burst)
        self.load = None if burst is None else LoadJcts(burst)
        """JCTs of the programs that do not belong to the burst."""
        self.replica_tally = ReplicaTally(replicas) if replicas > 1 else None
        self._sinks = dict(sinks or {})
        self._progress = progress
        self._batch_rows = batch_rows
        self._turns: list[TurnRecord] = []
        self._programs: list[ProgramRecord] = []
        self._timeline: list[TimelineRecord] = []
        self.wants_timeline = bool(self._sinks.get("timeline"))
        self._programs_done = 0
        self._open_tokens: dict[str, int] = {}
        """Fresh tokens (computed less recomputed) of programs that have not finished."""
        self._fresh_tokens: list[int] = []
        """Fresh tokens of the finished programs in `_programs` that are not sub-agents."""

    def turn(self, record: TurnRecord) -> None:
        """Record a finished turn."""
        turns = self._turns
        turns.append(record)
        done_tokens = record.computed_tokens - record.recomputed_tokens
        self._open_tokens[record.program] = self._open_tokens.get(record.program, 0) + done_tokens
        if not len(turns) % _TURNS_PER_REPORT:
            self._report(record.finish_s)
        if len(turns) == self._batch_rows:
            self._flush_turns()

    def program(self, record: ProgramRecord) -> None:
        """Record a finished program."""
        self._programs.append(record)
        if self.load is not None:
            self.load.program(record)
        tokens = self._open_tokens.pop(record.program, 0)
        if record.parent is None:
            self._programs_done += 1
            self._fresh_tokens.append(tokens)
        else:
            self._open_tokens[record.parent] = self._open_tokens.get(record.parent, 0) + tokens
        self._report(record.finish_s)
        if len(self._programs) == self._batch_rows:
            self._flush_programs()

    def timeline(self, record: TimelineRecord) -> None:
        """Record a stretch of steps."""
        if self.wants_timeline:
            self._timeline.append(record)
            if len(self._timeline) == self._batch_rows:
                self._flush_timeline()

    def close(self) -> None:
        """Pass on the remaining records. Call once, after the run."""
        self._flush_turns()
        self._flush_programs()
        self._flush_timeline()

    def _report(self, sim_s: float) -> None:
        if self._progress is not None:
            self._progress(Progress(self._programs_done, self.tally.turns + len(self._turns), sim_s))

    def _flush_turns(self) -> None:
        if self._turns:
            columns = columns_of("turns", self._turns)
            self.tally.add_turns(columns)
            if self.replica_tally is not None:
                self.replica_tally.add_turns(columns)
            self._hand_on("turns", columns)
            self._turns.clear()

    def _flush_programs(self) -> None:
        if self._programs:
            columns = columns_of("programs", self._programs)
            self.tally.add_programs(columns, self._fresh_tokens)
            self._hand_on("programs", columns)
            self._programs.clear()
            self._fresh_tokens.clear()

    def _flush_timeline(self) -> None:
        if self._timeline:
            self._hand_on("timeline", columns_of("timeline", self._timeline))
            self._timeline.clear()

    def _hand_on(self, table: str, columns: Columns) -> None:
        if sinks := self._sinks.get(table):
            batch = column_batch(table, columns, cluster=self.replica_tally is not None)
            for sink in sinks:
                sink(batch)
