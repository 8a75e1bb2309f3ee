"""The state of an engine over time, as values that hold from one instant to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

GAUGES: Final = {
    "batch size": "turns",
    "queue length": "turns",
    "prefill tokens a step": "tokens",
    "KV running": "blocks",
    "KV pinned": "blocks",
    "KV cached": "blocks",
    "KV empty": "blocks",
}
"""Gauge -> its unit. The KV gauges add up to the usable blocks: held by running turns, held only by pins, free with
reusable content, free without."""


class Reading(NamedTuple):
    """A new value of a gauge, from `time_s` on."""

    gauge: str
    time_s: float
    value: float


class EngineGauges:
    """The gauges of one engine, fed with its rows of the timeline table in order.

    A row holds its batch from its start, and its memory as of its end. Between rows the batch is empty and the memory
    stays as it was. Only changes are readings.
    """

    def __init__(self, usable_blocks: int) -> None:
        self._usable = usable_blocks
        self._shown: dict[str, float] = {}
        self._end_s = 0.0

    def start(self) -> Iterator[Reading]:
        """Read the empty engine."""
        yield from self._changes(0.0, _batch({}))
        yield from self._changes(0.0, self._memory(self._usable, 0, 0))

    def row(self, row: Mapping[str, Any]) -> Iterator[Reading]:
        """Read one row: a stretch of steps."""
        if row["start_s"] > self._end_s:
            yield from self.end()
        yield from self._changes(row["start_s"], _batch(row))
        self._end_s = row["end_s"]
        memory = self._memory(row["free_blocks"], row["cached_blocks"], row["pinned_blocks"])
        yield from self._changes(self._end_s, memory)

    def end(self) -> Iterator[Reading]:
        """Read the engine after its last row so far: its batch is empty."""
        yield from self._changes(self._end_s, _batch({}))

    def _changes(self, time_s: float, values: Mapping[str, float]) -> Iterator[Reading]:
        for gauge, value in values.items():
            if self._shown.get(gauge) != value:
                self._shown[gauge] = value
                yield Reading(gauge, time_s, value)

    def _memory(self, free: int, cached: int, pinned: int) -> dict[str, float]:
        return {
            "KV running": self._usable - free - pinned,
            "KV pinned": pinned,
            "KV cached": cached,
            "KV empty": free - cached,
        }


def _batch(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        "batch size": row.get("running", 0),
        "queue length": row.get("waiting", 0),
        "prefill tokens a step": row.get("prefill_tokens", 0),
    }
