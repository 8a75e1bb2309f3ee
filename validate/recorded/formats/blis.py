"""BLIS's trace of requests that `blis observe` sent to a real server: `trace_data.csv`, one request a row.

Field meanings: github.com/inference-sim/inference-sim, `sim/workload/tracev2.go` (`traceV2Columns`); times are whole
microseconds on one clock. `blis run` writes the same columns for requests that nobody served.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded.client import client_log, seconds_of, seen_request
from continuum_sim.validate.recorded.fields import Fields, read_bytes
from continuum_sim.validate.recorded.format import RecordedFormat
from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest

_TIMES: Final = ("send_time_us", "first_chunk_time_us", "last_chunk_time_us")
_TOKENS: Final = ("input_tokens", "server_input_tokens", "output_tokens")
_US_PER_S: Final = 1e6


def read_blis(path: Path) -> RecordedLog:
    """Read the rows whose status is ``ok``.

    Raises
    ------
    TraceError
        With line and column, if a value is missing, of a wrong type, or out of order, or the trace was generated.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceError(f"is not UTF-8 text (byte {error.start + 1})", path=path) from None
    reader = csv.DictReader(io.StringIO(text))
    failed, shared, requests = 0, 0, []
    model = None
    try:
        for row in reader:
            if row.get("status") not in ("ok", None):
                failed += 1
                continue
            requests.append(_request(row, path, reader.line_num))
            shared += bool(row.get("prefix_group") or row.get("round_index") not in ("0", "", None))
            model = row.get("model") or model
    except csv.Error as error:
        raise TraceError(f"not valid CSV ({error})", path=path, line=reader.line_num) from None
    notes = []
    if shared:
        notes.append(
            f"{shared} requests share a prefix with others or go on with a session; simulated as prompts of their own"
        )
    return client_log(path, BLIS.name, requests, failed=failed, model=model, notes=notes)


def _request(row: dict[str, str], path: Path, line: int) -> RecordedRequest:
    values = {name: _whole(row[name]) for name in (*_TIMES, *_TOKENS) if row.get(name)}
    fields = Fields(values, path, line)
    if values.get(_TIMES[1]) == 0:
        fields.refuse(_TIMES[1], 0, "when a server answered: the trace was generated, not observed")
    # The server's count includes its chat template; it is 0 if the server did not say.
    prompt = "server_input_tokens" if values.get("server_input_tokens") else "input_tokens"
    sent_s, first_s, last_s = (seconds_of(fields, name, _US_PER_S) for name in _TIMES)
    name = row.get("request_id") or f"line-{line}"
    return seen_request(fields, name, (prompt, "output_tokens"), (sent_s, first_s, last_s), _TIMES[1:])


def _whole(text: str) -> int | str:
    """Return a whole number; any other text as it is, to be refused with its column."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


BLIS: Final = RecordedFormat("blis", frozenset({*_TIMES, "input_tokens", "output_tokens"}), read_blis)
