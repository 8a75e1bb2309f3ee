"""Known formats that are not read, so that a refusal can name them and suggest what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from continuum_sim.traces.importers.head import Head


class Known(NamedTuple):
    """A format without an importer: what it is, what to do instead, and how to recognise it."""

    what: str
    remedy: str
    fits: Callable[[Head], bool]


def _says(pattern: str) -> Callable[[Head], bool]:
    compiled = re.compile(pattern)
    return lambda head: compiled.search(head.text) is not None


_SPANS: Final = "export it as OTLP JSON (resourceSpans), which is read"
_NO_COUNTS: Final = "it has no token counts; a log of the requests with their usage is read (openai-log)"

KNOWN: Final = (
    Known("a Parquet file", "write its rows as JSON lines", lambda head: head.text.startswith("PAR1")),
    Known("a SQLite database", "export its rows as JSON lines", lambda head: head.text.startswith("SQLite format 3")),
    Known(
        "a Langfuse export",
        "send the same spans to an OpenTelemetry collector and import its OTLP JSON, which is read",
        lambda head: (
            {"traceId", "parentObservationId"} <= head.names
            or {"usageDetails", "startTime"} <= head.names
            or {"observations", "projectId"} <= head.names
        ),
    ),
    Known(
        "an export of LangSmith runs",
        "LangSmith also sends OpenTelemetry spans: import their OTLP JSON, which is read",
        lambda head: (
            "run_type" in head.names and {"dotted_order", "parent_run_id", "session_name"} & head.names != set()
        ),
    ),
    Known("OTLP metrics", "spans and logs of the same run are read", lambda head: head.has("resourceMetrics")),
    Known("a Jaeger export", _SPANS, lambda head: {"traceID", "spanID", "operationName"} <= head.names),
    Known("Zipkin spans", _SPANS, lambda head: {"localEndpoint", "traceId"} <= head.names),
    Known(
        "an MLflow trace",
        _SPANS,
        lambda head: {"trace_id", "span_id", "attributes"} <= head.names and "mlflow.spanType" in head.names,
    ),
    Known(
        "AIPerf's dag",
        "of AIPerf's formats multi_turn and mooncake_trace are read",
        lambda head: head.has("session_id", "turns") and bool({"forks", "spawns"} & head.names),
    ),
    Known("a ShareGPT dataset", _NO_COUNTS, lambda head: head.has("conversations") and {"from", "value"} <= head.names),
    Known(
        "a dataset of chat messages",
        _NO_COUNTS,
        lambda head: head.has("messages") and not any("usage" in name or "tokens" in name for name in head.names),
    ),
    Known("a Chrome or Perfetto trace", "import the log it was drawn from", lambda head: head.has("traceEvents")),
    Known(
        "Prometheus metrics",
        "they are sums; a log of the requests is read (vllm-log, openai-log)",
        _says(r"(?m)^# (?:HELP|TYPE) \w+"),
    ),
    Known(
        "a timing file of the Continuum authors' code",
        "import the agents' trajectories (mini-swe-agent)",
        lambda head: "Request_arrival_time" in head.names,
    ),
    Known(
        "a trajectory of SWE-agent 0.x",
        "it records no prompts; SWE-agent 1.0 and later do",
        lambda head: head.has("trajectory", "history") and not {"query", "messages"} & head.names,
    ),
)
"""In the order in which they are tried."""


def name_known(head: Head) -> str | None:
    """Return what to say of a file in a known format without an importer; None if it is in none of them."""
    return next((f"is {one.what}, which no importer reads: {one.remedy}" for one in KNOWN if one.fits(head)), None)
