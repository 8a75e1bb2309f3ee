"""GuideLLM's report, `benchmarks.json`: every request of a benchmark, grouped by how it ended.

Field meanings: github.com/vllm-project/guidellm, `src/guidellm/schemas/base/request_stats.py` and `info.py`, and before
0.4 `src/guidellm/benchmark/benchmark.py` (`GenerativeTextResponseStats`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded.client import (
    client_log,
    closed_loop,
    first_of,
    flattened,
    seconds_of,
    seen_request,
)
from continuum_sim.validate.recorded.fields import Fields, parse_object, read_bytes
from continuum_sim.validate.recorded.format import RecordedFormat
from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest

_START: Final = ("start_time", "request_start_time", "info.timings.request_start")
_FIRST: Final = ("first_token_time", "info.timings.first_iteration", "info.timings.first_token_iteration")
_LAST: Final = ("last_token_time", "info.timings.last_iteration", "info.timings.last_token_iteration")
"""Names of the same time in s since 1970, oldest first: an error names today's."""
_STRATEGY: Final = ("config.strategy", "args.strategy")
"""Where the settings of the client are, today and before 0.4."""


def read_guidellm(path: Path) -> RecordedLog:
    """Read the one benchmark of a report.

    Raises
    ------
    TraceError
        If there are several, or only a sample of the requests; or naming the field and its place, if a value is
        missing, of a wrong type, or out of order.
    """
    report = Fields(parse_object(read_bytes(path).removeprefix(b"\xef\xbb\xbf"), path), path)
    benchmarks = report.array("benchmarks")
    if len(benchmarks) != 1:
        raise TraceError(
            f"benchmarks has {len(benchmarks)} elements, expected the one to compare: keep it, and delete the others",
            path=path,
        )
    fields = Fields(flattened(_object(benchmarks[0], "benchmarks[0]", path)), path)
    successful = fields.array("requests.successful")
    counted = fields.values.get(
        first_of(fields, "request_totals.successful", "metrics.request_totals.successful")  # before 0.4, since then
    )
    if type(counted) is int and counted > len(successful):
        raise TraceError(
            f"holds a sample of {len(successful)} of {counted} requests; benchmark without sampling them", path=path
        )
    incomplete, errored = (len(_optional(fields, f"requests.{how}")) for how in ("incomplete", "errored"))
    notes = []
    if incomplete:
        notes.append(f"{incomplete} requests were under way when the benchmark ended and are left out")
    strategy, workers = _strategy(fields)
    if workers is not None:
        notes.append(closed_loop(workers))
    elif strategy in ("concurrent", "throughput"):
        notes.append(
            f"recorded with the strategy {strategy}: the client held requests back until others were answered, and the "
            "simulation sends them when it did"
        )
    model = fields.values.get("config.backend.model")
    return client_log(
        path,
        GUIDELLM.name,
        (_request(one, index, path) for index, one in enumerate(successful)),
        failed=errored,
        model=model if isinstance(model, str) and model else None,
        max_concurrency=workers,
        notes=notes,
    )


def _strategy(fields: Fields) -> tuple[object, int | None]:
    """Return how the client sent requests, and how many it kept under way if it always had as many."""
    for place in _STRATEGY:
        strategy = fields.values.get(f"{place}.type_")
        if strategy is not None:
            streams = 1 if strategy == "synchronous" else fields.values.get(f"{place}.streams")
            closed = strategy in ("synchronous", "concurrent") and type(streams) is int and streams > 0
            return strategy, streams if closed else None
    return None, None


def _request(value: object, index: int, path: Path) -> RecordedRequest:
    place = f"requests.successful[{index}]"
    own = flattened(_object(value, place, path))
    fields = Fields({f"{place}.{name}": one for name, one in own.items()}, path)
    start, first, last = (first_of(fields, *(f"{place}.{name}" for name in names)) for names in (_START, _FIRST, _LAST))
    name = own.get("request_id")
    return seen_request(
        fields,
        name if isinstance(name, str) and name else f"request-{index}",
        (f"{place}.prompt_tokens", f"{place}.output_tokens"),
        (seconds_of(fields, start), seconds_of(fields, first), seconds_of(fields, last)),
        (first, last),
    )


def _object(value: object, place: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        Fields({}, path).refuse(place, value, "an object")
    return value


def _optional(fields: Fields, name: str) -> list[Any]:
    return fields.array(name) if name in fields else []


GUIDELLM: Final = RecordedFormat("guidellm", frozenset({"benchmarks"}), read_guidellm)
