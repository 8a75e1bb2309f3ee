"""Small logs of requests and traces of other tools, written by hand after the sources named in the importers."""

from __future__ import annotations

import json
from typing import Any

from support.agent_logs import T0, lines, usage


def weka() -> bytes:
    def request(t: float, tokens: int, out: int, ids: list[int], kind: str, think: float) -> dict[str, Any]:
        return {
            "t": t,
            "type": "s",
            "model": "m",
            "in": tokens,
            "out": out,
            "hash_ids": ids,
            "input_types": [kind],
            "output_types": ["text"],
            "stop": "",
            "api_time": 5.0,
            "think_time": think,
        }

    return json.dumps(
        {
            "id": "trace_0001",
            "models": ["m"],
            "block_size": 64,
            "hash_id_scope": "local",
            "tool_tokens": 100,
            "system_tokens": 28,
            "requests": [
                request(0.0, 200, 30, [1, 2, 3], "text", 0.0),
                request(12.0, 300, 40, [1, 2, 3, 4], "tool_result", 7.0),
                {
                    "t": 13.0,
                    "type": "subagent",
                    "agent_id": "agent_001",
                    "subagent_type": "Explore",
                    "status": "completed",
                    "duration_ms": 6000,
                    "models": ["m"],
                    "requests": [request(1.0, 130, 5, [1, 9], "text", 0.0)],
                },
                request(30.0, 200, 20, [1, 2, 8], "text", 9.0),
            ],
        }
    ).encode()


def mooncake() -> bytes:
    """Two single requests that share a block, and a conversation of two turns."""
    return lines(
        {"timestamp": 0, "input_length": 600, "output_length": 6, "hash_ids": [7, 8]},
        {"session_id": "s", "timestamp": 500, "input_length": 1024, "output_length": 10, "hash_ids": [7, 9]},
        {"timestamp": 1500, "input_length": 512, "output_length": 4, "hash_ids": [7]},
        {"session_id": "s", "delay": 250, "input_length": 1100, "output_length": 20, "hash_ids": [7, 9, 10]},
    )


def mooncake_deltas() -> bytes:
    return lines(
        {"session_id": "abc-123", "input_length": 300, "output_length": 40},
        {"session_id": "abc-123", "delay": 2000, "input_length": 150, "output_length": 20},
    )


def aiperf() -> bytes:
    return lines(
        {
            "session_id": "c1",
            "turns": [
                {"role": "system", "text": "you are terse"},
                {"text": "what is it", "output_length": 5, "timestamp": 2000},
                {"texts": ["and", "why then"], "output_length": 7, "delay": 1500},
            ],
        }
    )


def otel() -> bytes:
    """An agent with two calls and two tools between them, one of which contains a sub-agent with one call."""

    def span(id: str, parent: str, start: float, end: float, **attributes: Any) -> dict[str, Any]:
        def held(value: Any) -> dict[str, Any]:
            return {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}

        return {
            "traceId": "5b8aa5a2d2c872e8321cf37308d69df2",
            "spanId": id,
            "parentSpanId": parent,
            "name": "x",
            "kind": 3,
            "startTimeUnixNano": str(int((T0 + start) * 1e9)),
            "endTimeUnixNano": str(int((T0 + end) * 1e9)),
            "attributes": [
                {"key": "gen_ai." + key.replace("__", "."), "value": held(value)} for key, value in attributes.items()
            ],
        }

    spans = [
        span("c1", "a", 1, 3, operation__name="chat", usage__input_tokens=500, usage__output_tokens=40),
        span("t1", "a", 3, 3.5, operation__name="execute_tool", tool__name="search"),
        span("t2", "a", 3, 4, operation__name="execute_tool", tool__name="ask"),
        span("b", "t2", 3, 4, operation__name="invoke_agent", agent__name="helper"),
        span("c9", "b", 3.25, 3.75, operation__name="chat", usage__input_tokens=80, usage__output_tokens=8),
        span("c2", "a", 5, 6, operation__name="chat", usage__input_tokens=600, usage__output_tokens=20),
        span("a", "", 0, 7, operation__name="invoke_agent", agent__name="main", conversation__id="conv"),
        span("h", "", 0, 1),
    ]
    return lines({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]})


def openai_log() -> bytes:
    system, ask = {"role": "system", "content": "be brief"}, {"role": "user", "content": "go"}
    reply = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "ls", "arguments": "{}"}}]}
    seen = {"role": "tool", "content": "a b"}

    def call(start: float, end: float, messages: list[Any], counts: Any, message: Any) -> dict[str, Any]:
        response = {"id": "r", "created": int(T0), "choices": [{"message": message}], "usage": counts}
        return {"start_time": T0 + start, "end_time": T0 + end, "request": {"messages": messages}, "response": response}

    other = [system, {"role": "user", "content": "else"}]
    return lines(
        call(0, 1, [system, ask], usage(100, 20), reply),
        call(0.5, 2, other, usage(90, 5), {"role": "assistant", "content": "no"}),
        call(3.5, 4, [system, ask, reply, seen], usage(150, 10), {"role": "assistant", "content": "done"}),
    )


def vllm_log() -> bytes:
    def ids(*numbers: int) -> str:
        return "[" + ", ".join(map(str, numbers)) + "]"

    head = "(APIServer pid=1) {level} 11-22 20:04:{second:02d} [logger.py:{row}] "
    received = head + "Request {id} details: prompt: {text!r}, prompt_token_ids: {ids}, prompt_embeds shape: None.\n"
    params = head + "Received request {id}: params: SamplingParams(n=1), lora_request: None.\n"
    generated = head + "Generated response {id}{how}: output: 'x', output_token_ids: {ids}, finish_reason: stop\n"
    text = "it says prompt_token_ids: [9, 9]"
    return (
        "INFO 11-22 20:04:00 [api_server.py:1] vLLM API server version 0.32.0\n"
        + received.format(level="DEBUG", second=5, row=52, id="a", text=text, ids=ids(1, 2, 3, 4))
        + params.format(level="INFO", second=5, row=60, id="a")
        + generated.format(level="INFO", second=8, row=90, id="a", how="", ids=ids(5, 6, 7))
        + received.format(level="DEBUG", second=9, row=52, id="z", text="", ids=ids(1, 2))
        + received.format(level="DEBUG", second=10, row=52, id="b", text="", ids=ids(1, 2, 3, 4, 5, 6, 8, 9))
        + generated.format(level="INFO", second=12, row=90, id="b", how=" (streaming complete)", ids=ids(3))
    ).encode()
