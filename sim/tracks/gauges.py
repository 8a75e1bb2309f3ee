"""What the engine was like over time, as values that hold from an instant until the next one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
"""Gauge to its unit. The KV gauges add up to the usable blocks: held by running turns, held by pins alone, free with
reusable content, free without."""


class Reading(NamedTuple):
    """A gauge shows `value` from `time_s` on."""

    gauge: str
    time_s: float
    value: float


def readings(stretches: Iterable[Mapping[str, Any]], usable_blocks: int) -> Iterator[Reading]:
    """Yield what changes, in order of time, from the rows of the timeline table.

    A stretch tells its batch from its start, and its memory at its end. Between stretches the engine is empty; the
    memory stays as it was.
    """
    shown: dict[str, float] = {}
    end_s = 0.0

    def changes(time_s: float, values: Mapping[str, float]) -> Iterator[Reading]:
        for gauge, value in values.items():
            if shown.get(gauge) != value:
                shown[gauge] = value
                yield Reading(gauge, time_s, value)

    yield from changes(0.0, _batch({}))
    yield from changes(0.0, _memory(usable_blocks, 0, 0, usable_blocks))
    for row in stretches:
        if row["start_s"] > end_s:
            yield from changes(end_s, _batch({}))
        yield from changes(row["start_s"], _batch(row))
        end_s = row["end_s"]
        yield from changes(
            end_s, _memory(row["free_blocks"], row["cached_blocks"], row["pinned_blocks"], usable_blocks)
        )
    yield from changes(end_s, _batch({}))


def _batch(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        "batch size": row.get("running", 0),
        "queue length": row.get("waiting", 0),
        "prefill tokens a step": row.get("prefill_tokens", 0),
    }


def _memory(free: int, cached: int, pinned: int, usable: int) -> dict[str, float]:
    return {
        "KV running": usable - free - pinned,
        "KV pinned": pinned,
        "KV cached": cached,
        "KV empty": free - cached,
    }
