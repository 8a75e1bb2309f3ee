"""Small logs of coding agents, written by hand after the sources named in the importers."""

from __future__ import annotations

import json
from typing import Any

T0 = 1_775_802_000.0


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def usage(prompt: int, output: int, cached: int = 0) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": output, "prompt_tokens_details": {"cached_tokens": cached}}


def mini_swe_agent(version: str = "2.2.7", times: bool = True) -> bytes:
    """Three calls; the second runs two commands, the third drops 60 of 80 generated tokens before it."""

    def answer(at: float, counts: dict[str, Any], *commands: str) -> dict[str, Any]:
        extra = {"actions": [{"command": c} for c in commands], "response": {"id": "r", "usage": counts}}
        return {"role": "assistant", "content": "…", "extra": extra | ({"timestamp": T0 + at} if times else {})}

    def seen(at: float) -> dict[str, Any]:
        return {
            "role": "tool",
            "content": "out",
            "extra": {"returncode": 0} | ({"timestamp": T0 + at} if times else {}),
        }

    return json.dumps(
        {
            "info": {"mini_version": version, "exit_status": "Submitted", "config": {"agent": {"step_limit": 250}}},
            "messages": [
                {"role": "system", "content": "You can interact with a shell."},
                {"role": "user", "content": "Solve it."},
                answer(10.0, usage(1000, 50), "find . -name x | head"),
                seen(10.25),
                answer(14.0, usage(1200, 80, 1024), "cd /testbed && FOO=1 pytest -q", "git diff"),
                seen(15.0),
                seen(16.5),
                answer(20.0, usage(1260, 30), "echo COMPLETE"),
                {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted"}},
            ],
            "trajectory_format": "mini-swe-agent-1.1" if times else "mini-swe-agent-1",
        },
        indent=2,
    ).encode()


def swe_agent() -> bytes:
    system = {"role": "system", "content": "You are an agent ."}
    task = {"role": "user", "content": "fix the bug"}
    first = {"role": "assistant", "content": "look at it"}
    seen = {"role": "user", "content": "a b c d"}
    return json.dumps(
        {
            "trajectory": [
                {
                    "action": "ls -F\n",
                    "observation": "a b c d",
                    "response": "look at it",
                    "thought": "look at it",
                    "execution_time": 0.75,
                    "query": [system, task],
                    "state": {},
                    "extra_info": {},
                },
                {
                    "action": "submit",
                    "observation": "",
                    "response": "done",
                    "thought": "",
                    "execution_time": 0.5,
                    "query": [system, task, first, seen],
                    "state": {},
                    "extra_info": {},
                },
            ],
            "history": [],
            "info": {"model_stats": {"tokens_sent": 30, "tokens_received": 4, "api_calls": 2}},
        }
    ).encode()


def openhands() -> bytes:
    def action(number: int, at: str, response: str, name: str) -> dict[str, Any]:
        meta = {"function_name": name, "tool_call_id": f"c{number}", "model_response": {"id": response}}
        return {
            "id": number,
            "timestamp": at,
            "source": "agent",
            "action": "run",
            "tool_call_metadata": meta,
            "args": {},
        }

    def observation(number: int, at: str, cause: int) -> dict[str, Any]:
        return {
            "id": number,
            "timestamp": at,
            "source": "environment",
            "observation": "run",
            "cause": cause,
            "content": "",
        }

    return lines(
        {
            "instance_id": "repo__1",
            "test_result": {"git_patch": ""},
            "instruction": "fix",
            "metadata": {"agent_class": "CodeActAgent"},
            "history": [
                {"id": 0, "timestamp": "2025-05-24T18:00:00", "source": "user", "action": "message", "args": {}},
                action(1, "2025-05-24T18:00:10.000000", "r1", "execute_bash"),
                observation(2, "2025-05-24T18:00:10.620000", 1),
                action(3, "2025-05-24T18:00:20.000000", "r2", "think"),
                action(4, "2025-05-24T18:00:20.500000", "r2", "str_replace_editor"),
                observation(5, "2025-05-24T18:00:20.100000", 3),
                observation(6, "2025-05-24T18:00:21.500000", 4),
                action(7, "2025-05-24T18:00:30", "r3", "finish"),
            ],
            "metrics": {
                "token_usages": [
                    {"prompt_tokens": 5920, "completion_tokens": 128, "cache_read_tokens": 0, "response_id": "r1"},
                    {"prompt_tokens": 6736, "completion_tokens": 81, "cache_read_tokens": 5920, "response_id": "r2"},
                    {"prompt_tokens": 3000, "completion_tokens": 40, "cache_read_tokens": 2048, "response_id": "r3"},
                ]
            },
        }
    )


def claude_code() -> bytes:
    """Two calls with a tool between them, a user's message, a compaction, and a sub-agent in the same file."""
    number = 0

    def record(kind: str, at: float, message: dict[str, Any], **more: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        stamp = f"2026-06-01T05:{int(at // 60):02d}:{at % 60:06.3f}Z"
        common = {"sessionId": "s-1", "version": "2.1.157", "isSidechain": False, "parentUuid": None}
        return {**common, "type": kind, "uuid": f"u{number}", "timestamp": stamp, "message": message, **more}

    def answer(
        at: float, id: str, fresh: int, made: int, read: int, out: int, *blocks: Any, **more: Any
    ) -> dict[str, Any]:
        counts = {
            "input_tokens": fresh,
            "cache_creation_input_tokens": made,
            "cache_read_input_tokens": read,
            "output_tokens": out,
        }
        message = {"id": id, "role": "assistant", "model": "claude-opus-4-8", "content": list(blocks), "usage": counts}
        return record("assistant", at, message, **more)

    def tool(name: str) -> dict[str, Any]:
        return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}}

    def result(name: str) -> dict[str, Any]:
        block = {"type": "tool_result", "tool_use_id": f"toolu_{name}", "content": "x"}
        return {"role": "user", "content": [block]}

    side = {"agentId": "a7", "isSidechain": True}
    return lines(
        {"type": "mode", "mode": "normal", "sessionId": "s-1"},
        record("user", 0.0, {"role": "user", "content": "please"}),
        answer(5.0, "m1", 100, 400, 1500, 1, {"type": "thinking"}),
        answer(6.0, "m1", 100, 400, 1500, 90, tool("Bash")),
        answer(6.5, "m1", 100, 400, 1500, 90, tool("Task")),
        record("user", 7.0, result("Bash")),
        record("user", 3.0, {"role": "user", "content": "explore"}, **side),
        answer(4.0, "x1", 10, 490, 0, 20, tool("Grep"), **side),
        record("user", 4.5, result("Grep"), **side),
        answer(5.5, "x2", 10, 100, 500, 30, **side),
        record("user", 9.0, result("Task"), toolUseResult={"status": "completed", "agentId": "a7"}),
        answer(12.0, "m2", 0, 300, 2000, 60),
        record("user", 40.0, {"role": "user", "content": "and now this"}),
        {**record("system", 41.0, {}), "subtype": "compact_boundary", "compactMetadata": {"preTokens": 2360}},
        record("user", 42.0, {"role": "user", "content": "summary"}, isCompactSummary=True),
        answer(50.0, "m3", 0, 700, 1500, 10),
        answer(51.0, "bad", 0, 0, 0, 0) | {"message": {"id": "bad", "role": "assistant", "model": "<synthetic>"}},
    )


def bfcl() -> bytes:
    def step(*calls: str) -> list[dict[str, Any]]:
        return [{"role": "assistant", "content": []}, {"role": "handler_log", "model_response_decoded": list(calls)}]

    return lines(
        {
            "id": "multi_turn_base_0",
            "result": [[[{"cd": "{}"}], []], [[]]],
            "input_token_count": [[500, 560.0], [700]],
            "output_token_count": [[20, 30], [12]],
            "latency": [[0.5, 0.6], [0.7]],
            "inference_log": [
                [{"role": "state_info"}],
                {"begin_of_turn_query": [], "step_0": step("cd(folder='x')", "ls()"), "step_1": step()},
                {"begin_of_turn_query": [], "step_0": step()},
            ],
        },
        {"id": "simple_1", "result": "f()", "input_token_count": 90, "output_token_count": 9, "latency": 0.4},
    )


def tracelab() -> bytes:
    def row(index: int, prompt: int, prefix: int, out: int, events: Any, tools: list[str]) -> dict[str, Any]:
        return {
            "provider": "claude",
            "session_id": "claude:1",
            "round_index": index,
            "input_tokens_total": prompt,
            "prefix_tokens": prefix,
            "newly_append_tokens": prompt - prefix,
            "output_tokens": out,
            "timing_events": [{"event_type": k, "timestamp": f"2026-06-01T05:40:{s:06.3f}Z"} for k, s in events],
            "tools": [{"tool_name": name} for name in tools],
            "trace_key": f"k{index}",
        }

    return lines(
        row(1, 1300, 1000, 50, [("tool_result", 12.5), ("tool_result", 14.0), ("text", 20.0)], []),
        row(0, 1000, 0, 100, [("user_message", 1.0), ("text", 9.0), ("tool_call", 10.0)], ["Bash", "WebSearch"]),
        row(2, 900, 700, 10, [("user_message", 50.0), ("text", 55.0)], []),
    )
