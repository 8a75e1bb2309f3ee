"""JSON lines written by LLMServingSim's `bench`: one request per line, timestamps from vLLM's own statistics.

Field meanings: vLLM 0.32, `vllm/v1/metrics/stats.py` (`RequestStateStats`), which LLMServingSim copies
(github.com/casys-kaist/LLMServingSim, `bench/core/recorder.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded.fields import Fields, numbered_lines, parse_object, read_bytes
from continuum_sim.validate.recorded.format import RecordedFormat
from continuum_sim.validate.recorded.log import Provenance, RecordedLog, RecordedRequest, in_order
from continuum_sim.validate.recorded.meta import META, read_meta

MARKS: Final = frozenset({"input_toks", "output_toks", "first_token_ts", "last_token_ts"})
"""Fields that distinguish a line of this format from others."""

_OTHER_CLOCK_S: Final = 1e6
"""Offset beyond which two clocks are different clocks. The wall clock counts from 1970, a monotonic one from the last
boot, so they differ by decades; no request waits eleven days to be queued."""


def read_llmservingsim(path: Path) -> RecordedLog:
    """Read a log, and `meta.json` beside it if there is one.

    Raises
    ------
    TraceError
        With line and field, if a value is missing, of a wrong type, or out of order.
    """
    rows = [_row(Fields(parse_object(line, path, number), path, number)) for number, line in _lines(path)]
    _check_unique(path, rows)
    other_clock, offset_s = _clock(rows)
    late_s = [row.queued_s - row.arrival_s - offset_s for row in rows]
    if (worst := min(late_s)) < 0:
        row = rows[late_s.index(worst)]
        raise TraceError(
            f"queued_ts is {-worst:g} s before arrival_time, expected none earlier than it", path=path, line=row.line
        )
    scheduled = all(row.scheduled_s is not None for row in rows)
    derived = ["end to end, TTFT, TPOT: from the timestamps"]
    if other_clock:
        derived.insert(
            0,
            "arrivals: arrival_time (wall clock) put on the engine's clock by the smallest queued_ts − arrival_time; "
            f"the engine then took requests in up to {max(late_s):.3f} s after they arrived, between its steps",
        )
    setup, notes = read_meta(path.with_name(META), len(rows))
    return RecordedLog(
        path=path,
        format=LLMSERVINGSIM.name,
        requests=in_order(path, (row.request(offset_s, scheduled=scheduled) for row in rows)),
        provenance=Provenance(
            measured=(
                "input and output tokens",
                "first and last token: when the engine core handed them out, before detokenisation and HTTP",
                *(("queue wait: first scheduling",) if scheduled else ()),
            ),
            derived=tuple(derived),
            missing=(
                *(() if scheduled else ("queue wait (no scheduled_ts)",)),
                "prompts: none is taken to share a prefix with another",
            ),
        ),
        setup=setup,
        clients_clock=False,
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    request_id: str
    input_tokens: int
    output_tokens: int
    arrival_s: float
    """On the client's clock; all other times are on the engine's."""
    queued_s: float
    scheduled_s: float | None
    first_token_s: float
    last_token_s: float

    def request(self, offset_s: float, *, scheduled: bool) -> RecordedRequest:
        return RecordedRequest(
            request_id=self.request_id,
            arrival_s=self.arrival_s + offset_s,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            first_token_s=self.first_token_s,
            last_token_s=self.last_token_s,
            scheduled_s=self.scheduled_s if scheduled else None,
        )


def _lines(path: Path) -> Iterable[tuple[int, bytes]]:
    return numbered_lines(read_bytes(path))


def _row(fields: Fields) -> _Row:
    assert fields.line is not None
    queued_s = fields.seconds("queued_ts")
    scheduled_s = fields.seconds("scheduled_ts") if "scheduled_ts" in fields else None
    first_s, last_s = fields.seconds("first_token_ts"), fields.seconds("last_token_ts")
    output_tokens = fields.tokens("output_toks")
    if scheduled_s is not None and not queued_s <= scheduled_s <= first_s:
        fields.refuse("scheduled_ts", scheduled_s, f"from queued_ts ({queued_s:g}) to first_token_ts ({first_s:g})")
    if first_s <= queued_s:
        fields.refuse("first_token_ts", first_s, f"after queued_ts ({queued_s:g})")
    if last_s < first_s or (output_tokens > 1 and last_s == first_s):
        fields.refuse("last_token_ts", last_s, f"after first_token_ts ({first_s:g})")
    return _Row(
        line=fields.line,
        request_id=fields.text("request_id") if "request_id" in fields else f"line-{fields.line}",
        input_tokens=fields.tokens("input_toks"),
        output_tokens=output_tokens,
        arrival_s=fields.seconds("arrival_time"),
        queued_s=queued_s,
        scheduled_s=scheduled_s,
        first_token_s=first_s,
        last_token_s=last_s,
    )


def _check_unique(path: Path, rows: Sequence[_Row]) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        if row.request_id in seen:
            detail = f"request_id {row.request_id!r} is also on line {seen[row.request_id]}, expected a new one"
            raise TraceError(detail, path=path, line=row.line)
        seen[row.request_id] = row.line


def _clock(rows: Sequence[_Row]) -> tuple[bool, float]:
    """Return whether arrivals are on another clock than the rest, and what to add to them.

    A request cannot be queued before it arrives, so the clocks differ by at most the smallest difference; some request
    is always queued at once, which makes that the best estimate.
    """
    smallest_s = min((row.queued_s - row.arrival_s for row in rows), default=0.0)
    return (True, smallest_s) if abs(smallest_s) > _OTHER_CLOCK_S else (False, 0.0)


LLMSERVINGSIM: Final = RecordedFormat("llmservingsim", MARKS, read_llmservingsim)
