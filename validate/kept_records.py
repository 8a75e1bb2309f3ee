"""A recorder that keeps every record in memory."""

from __future__ import annotations

from continuum_sim.records import ProgramRecord, TimelineRecord, TurnRecord


class KeptRecords:
    """The turns and programs of one run, in the order of their ends."""

    def __init__(self) -> None:
        self.turns: list[TurnRecord] = []
        self.programs: list[ProgramRecord] = []

    def turn(self, record: TurnRecord) -> None:
        """Keep a turn."""
        self.turns.append(record)

    def program(self, record: ProgramRecord) -> None:
        """Keep a program."""
        self.programs.append(record)

    def timeline(self, record: TimelineRecord) -> None:
        """Nothing is asked of the timeline."""
