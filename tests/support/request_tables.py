"""Small tables of requests: counts, times and sessions, written by hand after the sources named in the importers."""

from __future__ import annotations

import json
from typing import Any

from support.agent_logs import T0, lines


def bailian() -> bytes:
    """A conversation of three requests, and a single request that begins with the same block."""

    def row(chat: int, parent: int, at: float, prompt: int, output: int, ids: list[int], turn: int) -> dict[str, Any]:
        return {
            "chat_id": chat,
            "parent_chat_id": parent,
            "timestamp": at,
            "input_length": prompt,
            "output_length": output,
            "type": "text",
            "turn": turn,
            "hash_ids": ids,
        }

    return lines(
        row(71, -1, 1.5, 50, 14, [3, 4, 5, 6], 1),
        row(72, -1, 4.0, 20, 5, [3, 9], 1),
        row(75, 71, 31.5, 100, 20, [3, 4, 5, 10, 11, 12, 13], 2),
        row(80, 75, 92.0, 60, 8, [3, 4, 5, 14], 3),
    )


def litellm_payload(*, response: bool = True) -> bytes:
    """Two calls of a trace as LiteLLM's loggers write them, an embedding, and a failed call."""

    def call(number: int, start: float, prompt: int, output: int, **more: Any) -> dict[str, Any]:
        counts = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
        made = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "grep", "arguments": "{}"}}]}
        logged = {"id": f"chatcmpl-{number}", "choices": [{"message": made}], "usage": counts}
        return {
            "id": f"chatcmpl-{number}",
            "trace_id": "tr-9",
            "call_type": "acompletion",
            "status": "success",
            **counts,
            "startTime": T0 + start,
            "endTime": T0 + start + 2.0,
            "model": "m",
            "messages": [{"role": "user", "content": f"private {number}"}],
            "response": logged if response else "redacted-by-litellm",
            **more,
        }

    return lines(
        call(0, 0.0, 700, 30),
        call(1, 5.0, 10, 0, call_type="aembedding"),
        call(2, 6.0, 0, 0, status="failure", response={}),
        call(3, 9.0, 800, 40),
    )


def litellm_spend() -> bytes:
    """Two requests of a session and one without a session, as in the proxy's table."""

    def row(number: int, start: str, end: str, prompt: int, output: int, **more: Any) -> dict[str, Any]:
        return {
            "request_id": f"chatcmpl-{number}",
            "call_type": "acompletion",
            "api_key": "hash",
            "spend": 0.01,
            "total_tokens": prompt + output,
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "startTime": f"2026-04-10T06:20:{start}Z",
            "endTime": f"2026-04-10T06:20:{end}Z",
            "model": "m",
            "cache_hit": "False",
            "messages": {},
            "response": {},
            "metadata": {"additional_usage_values": {"prompt_tokens_details": {"cached_tokens": prompt // 2}}},
            **more,
        }

    rows = [
        row(2, "09.500", "12", 900, 40, session_id="s-1"),
        row(1, "00", "04.250", 600, 20, session_id="s-1"),
        row(3, "02", "03", 50, 5),
        row(4, "02", "03", 50, 5, cache_hit="True"),
    ]
    return json.dumps(rows, indent=1).encode()


def azure() -> bytes:
    return (
        b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        b"2024-05-10 00:00:00.009930+00:00,2162,5\r\n"
        b"2024-05-10 00:00:00.059930+00:00,12,0\r\n"
        b"2024-05-10 00:00:03.009930+00:00,800,71\r\n"
    )


def burstgpt() -> bytes:
    return (
        b"Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        b"100,aa,4,ChatGPT,300,60,360,Conversation log\n"
        b"103,,2,GPT-4,40,9,49,API log\n"
        b"131.5,aa,5,ChatGPT,420,30,450,Conversation log\n"
        b"140,,1,GPT-4,40,0,40,API log\n"
    )


def lmcache() -> bytes:
    """A session of an agent and its simulated user, and another session, unordered."""

    def row(at: int, session: str, prompt: str, output: str) -> dict[str, Any]:
        return {"timestamp": int(T0) * 1_000_000 + at, "input": prompt, "output": output, "session_id": session}

    return lines(
        row(5_000_000, "s", "fix the bug look at it a b c d", "done"),
        row(0, "s", "fix the bug", "look at it"),
        row(2_500_000, "s", "you are an agent", "what is it"),
        row(9_000_000, "t", "fix the bug", "done"),
        row(7_000_000, "s", "you are an agent what is it why then", "and what"),
    )


def aiperf_records() -> bytes:
    """A session primed by the warm-up, its sub-agent, and the session that its lane played next."""

    def record(
        name: str, start: float, end: float, prompt: int, output: int, *, phase: str = "profiling", **more: Any
    ) -> dict[str, Any]:
        metadata = {
            "session_num": 0,
            "x_request_id": f"{name}-{start}",
            "x_correlation_id": name,
            "conversation_id": "trace_0001",
            "turn_index": 0,
            "request_start_ns": int(T0) * 10**9 + round(start * 1e9),
            "request_end_ns": int(T0) * 10**9 + round(end * 1e9),
            "worker_id": "w",
            "benchmark_phase": phase,
            "agent_depth": 0,
            "root_correlation_id": name,
            "was_cancelled": False,
            **more,
        }
        metrics = {
            "input_sequence_length": {"value": prompt, "unit": "tokens"},
            "output_sequence_length": {"value": output, "unit": "tokens"},
        }
        return {"metadata": metadata, "metrics": metrics, "error": None}

    sub_agent = {"agent_depth": 1, "parent_correlation_id": "A", "root_correlation_id": "A"}
    failed = record("A", 20.0, 21.0, 1, 1)
    return lines(
        record("A", 0.0, 2.0, 1000, 50, phase="warmup"),
        record("A/x", 3.0, 4.0, 200, 10, **sub_agent),
        record("A", 5.0, 6.5, 1200, 40),
        record("A", 8.0, 9.0, 1400, 30),
        {**failed, "metrics": None, "error": {"code": 500, "type": "ServerError", "message": "x"}},
        record("B", 9.25, 10.0, 90, 4),
    )
