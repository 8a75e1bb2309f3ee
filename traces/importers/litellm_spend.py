"""LiteLLM's spend table: counts, times and the session of every request that went through a proxy, but no text.

Source: github.com/BerriAI/litellm, ``litellm-js/spend-logs/src/_types.ts`` (``LiteLLM_SpendLogs``) and
``litellm/proxy/spend_tracking/spend_tracking_utils.py`` (which parts of ``usage`` go into ``metadata``). Read as
returned by ``GET /spend/logs`` (an array) or ``/spend/logs/v2`` (in ``data``), or one row per line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.answers import answer_of, shows_reasoning, tool_names
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.fields import (
    as_array,
    as_count,
    as_instant,
    as_object,
    as_text,
    optional_object,
)
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.openai_log import passed_over
from continuum_sim.traces.importers.sources import Source, Stems, each_row
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.timed import Request, TimedRequests
from continuum_sim.traces.importers.usage import read_usage
from continuum_sim.traces.schema import Program


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    requests = TimedRequests(state)
    stems = Stems()
    for source, number, value in each_row(sources, state):
        page = isinstance(value, dict) and "data" in value and "prompt_tokens" not in value
        try:
            rows = as_array(value["data"], "data") if page else [value]
        except TraceError as error:
            state.bad(error, source.path, number)
            continue
        for index, one in enumerate(rows):
            try:
                record = as_object(one, f"data[{index}]" if page else "the row")
                if passed_over(_with_status(record), state):
                    continue
                key, request = _request(record)
            except TraceError as error:
                state.bad(error, source.path, number)
                continue
            default = f"{stems.of(source)}-{record.get('request_id') or (index if page else number)}"
            requests.add(key or default, request, source.path, number)
    yield from requests.programs()


def _with_status(record: dict[str, Any]) -> dict[str, Any]:
    """Return the row with its status; older versions store it in ``metadata`` only."""
    status = optional_object(record.get("metadata")).get("status")
    return {**record, "status": status} if record.get("status") is None and status is not None else record


def _request(record: dict[str, Any]) -> tuple[str | None, Request]:
    metadata = answer_of(record.get("metadata"))  # databases return JSON as text
    response = answer_of(record.get("response"))
    details = optional_object(metadata.get("usage_object")) or optional_object(metadata.get("additional_usage_values"))
    # The columns count, whichever usage they were taken from.
    counts = {
        **{name: details.get(name) for name in ("prompt_tokens_details", "completion_tokens_details")},
        "cache_read_input_tokens": details.get("cache_read_input_tokens"),
        "prompt_tokens": as_count(record.get("prompt_tokens"), "prompt_tokens", 1),
        "completion_tokens": as_count(record.get("completion_tokens"), "completion_tokens"),
    }
    usage = read_usage(counts, "usage")
    key = record.get("session_id")
    end = record.get("endTime")
    return None if key in (None, "") else as_text(key, "session_id"), Request(
        start_s=as_instant(record.get("startTime"), "startTime"),
        end_s=None if end is None else as_instant(end, "endTime"),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        output_dropped=bool(usage.reasoning_tokens) and not shows_reasoning(response),
        tool=tool_names(response),
    )


def _sniff(head: Head) -> float:
    if not {"request_id", "startTime", "prompt_tokens", "completion_tokens"} <= (head.top or head.names):
        return 0.85 if {"request_id", "startTime", "prompt_tokens", "spend"} <= head.names else 0.0
    return 0.95 if {"spend", "api_key", "call_type"} & head.names else 0.5


LITELLM_SPEND = Importer(
    name="litellm-spend",
    title="LiteLLM's table of spend, one row a request",
    source="github.com/BerriAI/litellm: litellm-js/spend-logs/src/_types.ts, docs/proxy/cost_tracking.md",
    patterns=("*.json", "*.jsonl"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: prompt_tokens, completion_tokens",
        "tool_s: from endTime to the next startTime",
        "arrival_s: start of a program's first request, from the earliest on",
    ),
    derived=(
        "which requests are one program: session_id",
        "kept_tokens: from prompt lengths; after a shorter prompt, cached_tokens in metadata",
        "tool: names of the tool calls where responses are stored, else client",
    ),
    missing=("names of tools where responses are not stored: client", "shared_prefix"),
)
