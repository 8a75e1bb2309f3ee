"""OpenTelemetry spans as different writers write them, written by hand after the sources named in the importer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from support.agent_logs import T0

TRACE = "5b8aa5a2d2c872e8321cf37308d69df2"


def span(id: str, parent: str, start: float, end: float, trace: str = TRACE, **attributes: Any) -> dict[str, Any]:
    """Return a span; ``usage__input_tokens=5`` is the attribute ``gen_ai.usage.input_tokens``."""

    def held(value: Any) -> dict[str, Any]:
        return {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}

    return {
        "traceId": trace,
        "spanId": id,
        "parentSpanId": parent,
        "name": "x",
        "startTimeUnixNano": str(round((T0 + start) * 1e3) * 10**6),
        "endTimeUnixNano": str(round((T0 + end) * 1e3) * 10**6),
        "attributes": [
            {"key": "gen_ai." + key.replace("__", "."), "value": held(value)} for key, value in attributes.items()
        ],
    }


def chat(id: str, parent: str, start: float, end: float, prompt: int, output: int, **more: Any) -> dict[str, Any]:
    """Return a model call."""
    counts = {"usage__input_tokens": prompt, "usage__output_tokens": output}
    return span(id, parent, start, end, operation__name="chat", **counts, **more)


def tool(id: str, parent: str, start: float, end: float, name: str) -> dict[str, Any]:
    """Return a tool call."""
    return span(id, parent, start, end, operation__name="execute_tool", tool__name=name)


def agent(id: str, parent: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    """Return an agent."""
    return span(id, parent, start, end, operation__name="invoke_agent", **more)


def resource(spans: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the spans of one resource."""
    return {"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}


def export(*spans: dict[str, Any]) -> bytes:
    """Return an export of one resource."""
    return json.dumps({"resourceSpans": [resource(spans)]}).encode()


def copilot() -> list[dict[str, Any]]:
    """GitHub Copilot CLI: spans of calls stay open during the tools, and a sub-agent's calls are below its totals."""
    return [
        agent("m", "", 0, 60, conversation__id="c", usage__input_tokens=51_000, usage__output_tokens=400),
        chat("c1", "m", 1, 12.01, 10_000, 100),
        tool("t1", "m", 4, 5, "report_intent"),
        tool("t2", "m", 4, 12, "shell"),
        chat("c2", "m", 12.02, 40.01, 10_300, 90),
        tool("t3", "m", 15, 40, "task"),
        agent("s", "m", 15.001, 39.99, agent__name="explore", usage__input_tokens=20_100, usage__output_tokens=150),
        chat("s1", "s", 16, 28.01, 8_000, 50),
        tool("t4", "s", 20, 28, "grep"),
        chat("s2", "s", 28.02, 39, 12_100, 100),
        chat("c3", "m", 40.02, 60, 10_600, 60),
    ]
