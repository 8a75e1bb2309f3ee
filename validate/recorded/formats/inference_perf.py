"""inference-perf's `per_request_lifecycle_metrics.json`: an array of every request, of all stages of a run.

Field meanings: github.com/kubernetes-sigs/inference-perf, `inference_perf/apis/base.py` (`RequestLifecycleMetric`,
`StreamedResponseMetrics`) and `inference_perf/reportgen/base.py`, which writes it if the configuration sets
`report.request_lifecycle.per_request`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded.client import client_log, first_of, flattened, seconds_of, seen_request
from continuum_sim.validate.recorded.fields import Fields, read_bytes
from continuum_sim.validate.recorded.format import RecordedFormat
from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest

_INPUT: Final = ("info.request_metrics.text.input_tokens", "info.input_tokens")
_OUTPUT: Final = (
    "info.response_metrics.server_usage.completion_tokens",
    "info.response_metrics.output_tokens",
    "info.output_tokens",
)
"""Names of the same count: the server's, then the client's, then the client's in older versions."""
_TIMES: Final = ("info.response_metrics.output_token_times", "info.output_token_times")


def read_inference_perf(path: Path) -> RecordedLog:
    """Read all stages of a run, by when each request was sent.

    Raises
    ------
    TraceError
        Naming the request and the field, if a value is missing, of a wrong type, or out of order.
    """
    try:
        rows = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise TraceError(f"not valid JSON ({error})", path=path) from None
    if not isinstance(rows, list):
        raise TraceError("is no array, expected one of requests", path=path)
    failed, requests = 0, []
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            Fields({}, path).refuse(f"[{index}]", row, "an object")
        if row.get("error") is not None:
            failed += 1
        else:
            requests.append(_request(row, index, path))
    return client_log(path, INFERENCE_PERF.name, requests, failed=failed)


def _request(row: dict[str, Any], index: int, path: Path) -> RecordedRequest:
    fields = Fields({f"[{index}].{name}": value for name, value in flattened(row).items()}, path)

    def place(*names: str) -> str:
        return first_of(fields, *(f"[{index}].{name}" for name in names))

    times = place(*_TIMES)
    count = len(fields.array(times))
    if not count:
        fields.refuse(times, [], "a time for every token: set api.streaming")
    ends = Fields({f"{times}[{at}]": fields.values[times][at] for at in (0, count - 1)}, path)
    first, last = f"{times}[0]", f"{times}[{count - 1}]"
    times_s = (seconds_of(fields, place("start_time")), seconds_of(ends, first), seconds_of(ends, last))
    shown = Fields({**fields.values, **ends.values}, path)
    return seen_request(shown, f"request-{index}", (place(*_INPUT), place(*_OUTPUT)), times_s, (first, last))


INFERENCE_PERF: Final = RecordedFormat(
    "inference-perf", frozenset({"start_time", "end_time", "request", "info"}), read_inference_perf
)
