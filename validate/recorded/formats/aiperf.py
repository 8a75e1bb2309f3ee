"""AIPerf's records of requests: `profile_export.jsonl`, one request a line.

Field meanings: github.com/ai-dynamo/aiperf, `src/aiperf/common/models/record_models.py` (`MetricRecordMetadata`) and
`docs/tutorials/working-with-profile-exports.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from continuum_sim.validate.recorded.client import client_log, first_of, flattened, seconds_of, seen_request
from continuum_sim.validate.recorded.fields import Fields, numbered_lines, parse_object, read_bytes
from continuum_sim.validate.recorded.format import RecordedFormat
from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest

_PER_S: Final = {"ns": 1e9, "us": 1e6, "ms": 1e3, "sec": 1.0, "s": 1.0}
"""Units of a metric that is a time, as many to a second."""
_UNSERVED: Final = ("was_cancelled", "context_overflow_skip")
"""Marks of a request that was not answered, besides an error."""
_TTFT: Final = "metrics.time_to_first_token"
_LATENCY: Final = "metrics.request_latency"


def read_aiperf(path: Path) -> RecordedLog:
    """Read the records of the measured phase; what warmed the engine up, failed or was cancelled is counted.

    Raises
    ------
    TraceError
        With line and field, if a value is missing, of a wrong type, or out of order.
    """
    failed = warm_ups = later_turns = 0
    requests = []
    for number, line in numbered_lines(read_bytes(path)):
        fields = Fields(flattened(parse_object(line, path, number)), path, number)
        if "warmup" in (fields.values.get("metadata.benchmark_phase"), fields.values.get("metadata.credit_phase")):
            warm_ups += 1
        elif "error" in fields or any(fields.values.get(f"metadata.{name}") for name in _UNSERVED):
            failed += 1
        else:
            requests.append(_request(fields, number))
            later_turns += bool(fields.values.get("metadata.turn_index"))
    notes = []
    if warm_ups:
        notes.append(f"{warm_ups} requests warmed the engine up and are left out")
    if later_turns:
        notes.append(
            f"{later_turns} requests go on with a conversation, whose earlier turns the engine may have had in its "
            "cache; simulated as prompts of their own"
        )
    return client_log(path, AIPERF.name, requests, failed=failed, notes=notes)


def _request(fields: Fields, number: int) -> RecordedRequest:
    start_s = seconds_of(fields, "metadata.request_start_ns", _PER_S["ns"])
    names = (
        first_of(fields, "metrics.usage_prompt_tokens.value", "metrics.input_sequence_length.value"),
        first_of(
            fields,
            "metrics.usage_completion_tokens.value",
            "metrics.output_sequence_length.value",
            "metrics.output_token_count.value",
        ),
    )
    name = fields.values.get("metadata.x_request_id")
    times_s = (start_s, start_s + _metric_s(fields, _TTFT), start_s + _metric_s(fields, _LATENCY))
    places = (f"{_TTFT}.value", f"{_LATENCY}.value")
    return seen_request(fields, str(name or f"line-{number}"), names, times_s, places)


def _metric_s(fields: Fields, name: str) -> float:
    """Return a time in s, which AIPerf writes with its unit."""
    if name not in fields:
        fields.refuse(name, None, "a time: benchmark with --streaming")
    unit = fields.values.get(f"{name}.unit")
    if unit not in _PER_S:
        fields.refuse(f"{name}.unit", unit, f"one of {', '.join(_PER_S)}")
    return seconds_of(fields, f"{name}.value", _PER_S[unit])


AIPERF: Final = RecordedFormat("aiperf", frozenset({"metadata", "metrics"}), read_aiperf)
