"""Small sessions of command-line agents, written by hand after the sources named in the importers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from support.agent_logs import lines

T0 = 1_775_802_000.0


def stamp(at: float) -> str:
    """Return a time in the format of most of these logs."""
    return datetime.fromtimestamp(T0 + at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Rollout:
    """Codex: the records of one session, in order."""

    def __init__(self, name: str, at: float, **meta: Any) -> None:
        self.records: list[dict[str, Any]] = []
        self._sums = [0, 0, 0, 0]
        self.add(at, "session_meta", {"id": name, "timestamp": stamp(at), "cwd": "/secret", "source": "cli", **meta})

    def add(self, at: float, kind: str, payload: dict[str, Any]) -> Rollout:
        self.records.append({"timestamp": stamp(at), "type": kind, "payload": payload})
        return self

    def user(self, at: float) -> Rollout:
        self.add(
            at,
            "response_item",
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "secret"}]},
        )
        return self.add(at, "event_msg", {"type": "user_message", "message": "secret"})

    def call(self, at: float, name: str, kind: str = "function_call") -> Rollout:
        return self.add(at, "response_item", {"type": kind, "name": name, "arguments": "{}", "call_id": f"c-{name}"})

    def output(self, at: float, name: str, kind: str = "function_call") -> Rollout:
        return self.add(at, "response_item", {"type": f"{kind}_output", "call_id": f"c-{name}", "output": "secret"})

    def said(self, at: float) -> Rollout:
        return self.add(at, "response_item", {"type": "message", "role": "assistant", "content": []})

    def counted(self, at: float, prompt: int, output: int, cached: int = 0, reasoning: int = 0) -> Rollout:
        own = [prompt, cached, output, reasoning]
        self._sums = [old + new for old, new in zip(self._sums, own, strict=True)]
        return self.repeated(at, own)

    def repeated(self, at: float, own: list[int] | None = None) -> Rollout:
        self._own = own or self._own
        names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
        info = {
            "total_token_usage": dict(zip(names, self._sums, strict=True)),
            "last_token_usage": dict(zip(names, self._own, strict=True)),
            "model_context_window": 272000,
        }
        return self.add(at, "event_msg", {"type": "token_count", "info": info, "rate_limits": {}})

    def bytes(self) -> bytes:
        return lines(*self.records)

    def copied_to(self, name: str, at: float, **meta: Any) -> Rollout:
        """Return a session that continues this one: it repeats all records, with the times of copying."""
        copy = Rollout(name, at, forked_from_id=self.records[0]["payload"]["id"], **meta)
        copy.records += [{**record, "timestamp": stamp(at + 0.01)} for record in self.records]
        copy._sums, copy._own = list(self._sums), list(self._own)
        return copy


def codex_session() -> Rollout:
    """Two parallel tools, a person's message, a compaction: four responses, the third of which wrote the summary."""
    log = Rollout("th-1", 0.0).user(0.5)
    log.add(1.0, "event_msg", {"type": "token_count", "info": None, "rate_limits": {}})
    log.add(4.0, "response_item", {"type": "reasoning", "summary": [], "encrypted_content": "secret"})
    log.call(5.0, "exec_command").call(6.0, "apply_patch", "custom_tool_call").counted(6.1, 9000, 400, 3000, 250)
    log.output(8.0, "exec_command").output(10.0, "apply_patch", "custom_tool_call").repeated(10.1)
    log.said(14.0).counted(14.1, 9800, 120, 9000)
    log.add(14.2, "event_msg", {"type": "task_complete", "turn_id": "n1"})
    log.user(44.0).counted(50.0, 10000, 300, 9856)
    log.add(50.1, "compacted", {"message": "secret", "replacement_history": []})
    return log.said(53.0).counted(53.1, 4000, 30, 2048)


def codex() -> bytes:
    return codex_session().bytes()


def log_event(name: str, at: float, body: str | None = None, **attributes: Any) -> dict[str, Any]:
    """Return a record of OTLP logs; ``__`` in an attribute's name stands for a dot."""
    named = {"event.name": name, **{key.replace("__", "."): value for key, value in attributes.items()}}
    return {
        "timeUnixNano": str(int((T0 + at) * 1e9)),
        "body": {"stringValue": body or name},
        "attributes": [{"key": key, "value": _any_value(value)} for key, value in named.items()],
    }


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def exported_logs(*records: dict[str, Any], **resource: Any) -> dict[str, Any]:
    attributes = [{"key": key.replace("__", "."), "value": _any_value(value)} for key, value in resource.items()]
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": attributes},
                "scopeLogs": [{"scope": {"name": "com.anthropic.claude_code.events"}, "logRecords": list(records)}],
            }
        ]
    }


def otel_logs() -> bytes:
    """Claude Code: a prompt, two parallel tools, a sub-agent, a second prompt, and a request for a title."""

    def request(at: float, ms: int, fresh: int, read: int, made: int, output: int, **more: Any) -> dict[str, Any]:
        counts = {
            "input_tokens": fresh,
            "output_tokens": output,
            "cache_read_tokens": read,
            "cache_creation_tokens": made,
        }
        more = {"session__id": "s-1", "query_source": "main", **more}
        return log_event("api_request", at, "claude_code.api_request", duration_ms=ms, **counts, **more)

    def tool(at: float, ms: int, name: str, **more: Any) -> dict[str, Any]:
        more = {"session__id": "s-1", **more}
        return log_event("tool_result", at, "claude_code.tool_result", tool_name=name, duration_ms=ms, **more)

    def prompt(at: float) -> dict[str, Any]:
        return log_event("user_prompt", at, "claude_code.user_prompt", session__id="s-1", prompt="secret")

    side = {"query_source": "subagent", "agent__name": "Explore"}
    return lines(
        exported_logs(
            prompt(0.0),
            request(2.0, 1500, 300, 0, 0, 12, query_source="auxiliary"),
            request(5.0, 4800, 10, 0, 18000, 300),
            tool(7.0, 1500, "Read"),
            tool(9.0, 3500, "Bash"),
        ),
        exported_logs(
            request(15.0, 5000, 10, 18000, 400, 200),
            request(20.0, 4000, 900, 0, 0, 60, **side),
            tool(22.0, 1000, "Grep", **side),
            request(26.0, 3000, 100, 900, 0, 80, **side),
            tool(27.0, 11500, "Task"),
            request(31.0, 3500, 10, 18400, 500, 150),
            prompt(60.0),
            request(66.0, 5500, 10, 18900, 300, 90),
        ),
    )


def atif() -> bytes:
    """Three calls, a step of one of them written separately, a sub-agent in the file, and a user's message."""

    def step(number: int, at: float, source: str, *counts: int, tools: tuple[str, ...] = (), **more: Any) -> Any:
        found: dict[str, Any] = {"step_id": number, "timestamp": stamp(at), "source": source, "message": "secret"}
        if counts:
            found["metrics"] = dict(zip(("prompt_tokens", "completion_tokens", "cached_tokens"), counts, strict=False))
        if tools:
            found["tool_calls"] = [
                {"tool_call_id": f"c{number}-{name}", "function_name": name, "arguments": {"keystrokes": "secret"}}
                for name in tools
            ]
        return {**found, **more}

    ref = {"results": [{"source_call_id": "c4-task", "subagent_trajectory_ref": [{"session_id": "job-sub-1"}]}]}
    sub = {
        "schema_version": "ATIF-v1.7",
        "session_id": "job-sub-1",
        "agent": {"name": "sub", "version": "1"},
        "steps": [
            step(1, 22.0, "user"),
            step(2, 24.0, "agent", 300, 20, tools=("grep",)),
            step(3, 27.0, "agent", 340, 30),
        ],
    }
    document = {
        "schema_version": "ATIF-v1.7",
        "session_id": "job",
        "agent": {"name": "terminus-2", "version": "2.0.0", "model_name": "m"},
        "steps": [
            step(1, 0.0, "user"),
            step(2, 8.0, "agent", 700, 60, 0, tools=("bash_command",)),
            step(3, 9.0, "agent", tools=("read_file",)),
            step(4, 20.0, "agent", 800, 50, 640, tools=("task",), observation=ref),
            step(5, 30.0, "agent", 860, 40, 768),
            step(6, 90.0, "user"),
            step(7, 95.0, "agent", 930, 10, 896),
        ],
        "final_metrics": {"total_prompt_tokens": 3290, "total_completion_tokens": 160},
        "subagent_trajectories": [sub],
    }
    return json.dumps(document, indent=2).encode()


def inspect_event(kind: str, at: float, until: float | None = None, span: str = "main", **more: Any) -> dict[str, Any]:
    found = {"event": kind, "timestamp": stamp(at), "span_id": span, "pending": None, **more}
    return found if until is None else {**found, "completed": stamp(until)}


def inspect_call(at: float, until: float, prompt: int, output: int, span: str = "main", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": prompt, "output_tokens": output, "total_tokens": prompt + output}
    usage |= {name: more.pop(name) for name in list(more) if name.endswith(("tokens", "_read", "_write"))}
    output_object = {"model": "m", "choices": [{"message": {"content": "secret"}}], "usage": usage, "time": until - at}
    return inspect_event("model", at, until, span, model="openai/m", input=[], output=output_object, **more)


def inspect_tool(at: float, until: float, name: str, span: str) -> dict[str, Any]:
    return inspect_event(
        "tool", at, until, span, function=name, id=f"c-{name}", arguments={}, result="secret", events=[]
    )


def inspect_span(at: float, name: str, kind: str, parent: str | None) -> dict[str, Any]:
    return inspect_event("span_begin", at, None, name, id=name, parent_id=parent, type=kind, name=kind)


def inspect_samples() -> list[dict[str, Any]]:
    """Two epochs of one sample: tools and a sub-agent; a call answered by a cache, and a scorer's call."""
    first = [
        inspect_span(0.0, "solver", "solver", None),
        inspect_span(0.0, "main", "agent", "solver"),
        inspect_call(0.5, 4.0, 2000, 90),
        inspect_span(4.0, "t1", "tool", "main"),
        inspect_tool(4.0, 6.5, "bash", "t1"),
        inspect_call(6.75, 9.0, 2200, 60, input_tokens_cache_read=1920),
        inspect_span(9.0, "t2", "tool", "main"),
        inspect_tool(9.0, 20.0, "researcher", "t2"),
        inspect_span(9.0, "sub", "agent", "t2"),
        inspect_call(9.5, 12.0, 400, 30, "sub"),
        inspect_span(12.0, "t3", "tool", "sub"),
        inspect_tool(12.0, 13.0, "web", "t3"),
        inspect_call(13.5, 19.5, 480, 50, "sub"),
        inspect_call(20.5, 24.0, 2500, 40),
        inspect_call(24.0, 24.0, 2500, 40, cache="read"),
        inspect_event("compaction", 24.1, tokens_before=2540),
        inspect_call(25.0, 27.0, 2600, 20, input_tokens_cache_read=640),
        inspect_span(28.0, "score", "scorer", None),
        inspect_call(28.0, 29.0, 900, 5, "score", role="grader"),
    ]
    second = [
        inspect_event("step", 100.0, action="begin", type="solver", name="generate"),
        # A provider that counts cached tokens and reasoning apart.
        inspect_call(100.5, 102.0, 20, 40, total_tokens=3160, input_tokens_cache_write=3000, reasoning_tokens=100),
        inspect_event("step", 102.0, action="end", type="solver", name="generate"),
        inspect_event("step", 102.0, action="begin", type="scorer", name="match"),
        inspect_call(103.0, 104.0, 900, 5),
        inspect_event("step", 104.0, action="end", type="scorer", name="match"),
    ]
    return [
        {"id": "q-1", "epoch": 1, "input": "secret", "target": "x", "messages": [], "events": first},
        {"id": "q-1", "epoch": 2, "input": "secret", "target": "x", "messages": [], "events": second},
    ]


def inspect_header() -> dict[str, Any]:
    spec = {"run_id": "r", "task": "t", "model": "openai/m", "created": stamp(0.0)}
    return {"version": 2, "status": "success", "eval": spec, "plan": {"steps": []}}


def inspect_ai() -> bytes:
    scores = {"results": {"scores": [{"value": float("nan")}, {"value": float("-inf")}]}}
    return json.dumps({**inspect_header(), **scores, "samples": inspect_samples()}, indent=2).encode()


def gemini_message(
    name: str, at: float, counts: tuple[int, int, int, int], *tools: tuple[str, float]
) -> dict[str, Any]:
    """Return a response of Gemini CLI: input, output, cached, thoughts; and its tools with their ends."""
    prompt, output, cached, thoughts = counts
    tokens = {"input": prompt, "output": output, "cached": cached, "thoughts": thoughts, "tool": 0}
    calls = [{"id": f"c-{tool}", "name": tool, "args": {}, "timestamp": stamp(end)} for tool, end in tools]
    message = {"id": name, "timestamp": stamp(at), "type": "gemini", "content": "secret", "model": "m"}
    return {**message, "tokens": {**tokens, "total": sum(counts) - cached}, "toolCalls": calls}


def gemini_user(name: str, at: float) -> dict[str, Any]:
    return {"id": name, "timestamp": stamp(at), "type": "user", "content": [{"text": "secret"}]}


def gemini_head(name: str = "g-1", **more: Any) -> dict[str, Any]:
    return {"sessionId": name, "projectHash": "0", "startTime": stamp(0.0), "lastUpdated": stamp(0.0), **more}


def gemini_cli() -> bytes:
    """Three responses; the first is written again when its tools have ended."""
    first = gemini_message("a1", 5.0, (8000, 60, 0, 40), ("read_file", 6.0), ("run_shell_command", 9.0))
    return lines(
        gemini_head(kind="main"),
        gemini_user("u1", 2.0),
        {**first, "toolCalls": []},
        {"$set": {"lastUpdated": stamp(5.0)}},
        first,
        gemini_message("a2", 12.0, (8300, 70, 7900, 0)),
        gemini_user("u2", 60.0),
        gemini_message("a3", 64.0, (8500, 30, 8192, 0)),
    )


def qwen_record(name: str, at: float, kind: str, *calls: str, **more: Any) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [
        {"text": "secret"},
        *({"functionCall": {"name": call, "args": {}}} for call in calls),
    ]
    common = {"uuid": name, "parentUuid": None, "sessionId": "q-1", "timestamp": stamp(at), "type": kind, "cwd": "/w"}
    return {**common, "message": {"role": "model" if kind == "assistant" else "user", "parts": parts}, **more}


def qwen_usage(
    prompt: int, output: int, cached: int = 0, thoughts: int = 0, total: int | None = None
) -> dict[str, Any]:
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": output, "thoughtsTokenCount": thoughts}
    return {
        "usageMetadata": {
            **counts,
            "cachedContentTokenCount": cached,
            "totalTokenCount": prompt + output if total is None else total,
        }
    }


def qwen_code() -> list[dict[str, Any]]:
    return [
        qwen_record("1", 0.0, "user"),
        qwen_record("2", 4.0, "assistant", "read_file", "agent", **qwen_usage(6000, 90, thoughts=50)),
        qwen_record("3", 5.0, "tool_result"),
        qwen_record("s1", 4.5, "user", isSidechain=True, agentId="explore-1"),
        qwen_record("s2", 9.0, "assistant", "grep", isSidechain=True, agentId="explore-1", **qwen_usage(700, 20)),
        qwen_record("s3", 10.0, "tool_result", isSidechain=True, agentId="explore-1"),
        qwen_record("s4", 14.0, "assistant", isSidechain=True, agentId="explore-1", **qwen_usage(800, 30)),
        qwen_record("4", 15.0, "tool_result"),
        qwen_record("5", 20.0, "assistant", **qwen_usage(6400, 40, 6000)),
        {**qwen_record("6", 30.0, "system"), "subtype": "chat_compression"},
        qwen_record("7", 31.0, "user"),
        qwen_record("8", 35.0, "assistant", **qwen_usage(6500, 10, 1024, thoughts=25, total=6535)),
    ]


def openhands_trajectory() -> bytes:
    """A tool, an answer without a tool and a person's reply, then two tools of one response."""

    def event(number: int, at: float, source: str, **more: Any) -> dict[str, Any]:
        return {"id": number, "timestamp": stamp(at).rstrip("Z"), "source": source, "args": {"x": "secret"}, **more}

    def called(name: str, response: str, prompt: int, output: int, reasoning: int = 0) -> dict[str, Any]:
        counts = {"prompt_tokens": prompt, "completion_tokens": output}
        counts["completion_tokens_details"] = {"reasoning_tokens": reasoning}  # type: ignore[assignment]
        meta = {"function_name": name, "tool_call_id": f"c-{name}", "model_response": {"id": response, "usage": counts}}
        return {"action": "run", "tool_call_metadata": meta}

    def spent(prompt: int, output: int) -> dict[str, Any]:
        sums = {"prompt_tokens": prompt, "completion_tokens": output, "cache_read_tokens": 0}
        return {"llm_metrics": {"accumulated_token_usage": sums}}

    return json.dumps(
        [
            event(0, 0.0, "agent", action="system"),
            event(1, 0.1, "user", action="message"),
            event(2, 10.0, "agent", **called("execute_bash", "r1", 6000, 200, 150), **spent(6000, 200)),
            event(3, 11.5, "agent", observation="run", cause=2, content="secret"),
            event(4, 15.0, "agent", action="message", **spent(12300, 260)),
            event(5, 45.0, "user", action="message"),
            event(6, 50.0, "agent", **called("think", "r3", 6500, 90), **spent(18800, 350)),
            event(7, 50.1, "agent", observation="think", cause=6),
            event(8, 50.2, "agent", **called("execute_bash", "r3", 6500, 90), **spent(18800, 350)),
            event(9, 53.0, "agent", observation="run", cause=8, content="secret"),
            event(10, 60.0, "agent", **called("finish", "r4", 6700, 20), **spent(25500, 370)),
        ],
        indent=1,
    ).encode()


def ms(at: float) -> int:
    return int((T0 + at) * 1000)


def opencode_tool(message: str, name: str, at: float, until: float, **metadata: Any) -> dict[str, Any]:
    state = {"status": "completed", "input": {"x": "secret"}, "output": "secret", "metadata": metadata}
    part = {
        "id": f"p-{message}-{int(at * 10):04}",
        "sessionID": "ses_1",
        "messageID": message,
        "type": "tool",
        "tool": name,
    }
    return {**part, "callID": "c", "state": {**state, "time": {"start": ms(at), "end": ms(until)}}}


def opencode_answer(
    name: str, at: float, until: float, counts: tuple[int, ...], *tools: dict[str, Any], **info: Any
) -> dict[str, Any]:
    """Return a message of one step: input, output, reasoning, cache reads and writes, and the total if known."""
    tokens: dict[str, Any] = dict(zip(("input", "output", "reasoning"), counts, strict=False))
    tokens["cache"] = dict(zip(("read", "write"), counts[3:5], strict=True))
    if len(counts) > 5:
        tokens["total"] = counts[5]
    place = {"sessionID": "ses_1", "messageID": name}
    common = {
        "id": name,
        "sessionID": "ses_1",
        "role": "assistant",
        "time": {"created": ms(at), "completed": ms(until)},
    }
    parts = [
        {"id": f"p-{name}-0000", **place, "type": "step-start"},
        {"id": f"p-{name}-0001", **place, "type": "text", "text": "secret", "time": {"start": ms(at)}},
        *tools,
        {"id": f"p-{name}-9999", **place, "type": "step-finish", "reason": "stop", "tokens": tokens, "cost": 0},
    ]
    return {"info": {**common, "tokens": tokens, "modelID": "m", **info}, "parts": parts}


def opencode_user(name: str, at: float) -> dict[str, Any]:
    info = {"id": name, "sessionID": "ses_1", "role": "user", "time": {"created": ms(at)}, "agent": "build"}
    part = {"id": f"p-{name}", "sessionID": "ses_1", "messageID": name, "type": "text", "text": "secret"}
    return {"info": info, "parts": [part]}


def opencode_export() -> dict[str, Any]:
    """Two parallel tools, a response without tools, a person's message, a summary."""
    bash = opencode_tool("m2", "bash", 6.0, 9.0)
    messages = [
        opencode_user("m1", 1.0),
        opencode_answer("m2", 1.2, 9.1, (700, 90, 0, 0, 6000, 6790), opencode_tool("m2", "read", 5.0, 5.5), bash),
        # An older version: the output includes reasoning, and there is no total.
        opencode_answer("m3", 9.5, 14.0, (300, 80, 60, 6700, 0)),
        opencode_user("m4", 40.0),
        # A newer one: reasoning is apart.
        opencode_answer("m5", 40.5, 44.0, (100, 30, 20, 7000, 0, 7150), summary=True, mode="compaction"),
        opencode_answer("m6", 45.0, 47.0, (6900, 10, 0, 500, 0, 7410)),
    ]
    info = {"id": "ses_1", "projectID": "p", "directory": "/w", "title": "secret", "time": {"created": ms(0.5)}}
    return {"info": info, "messages": messages}


def opencode() -> bytes:
    return json.dumps(opencode_export(), indent=2).encode()


def pi_entry(
    at: float, role: str, parent: str | None = None, name: str | None = None, **message: Any
) -> dict[str, Any]:
    """Return an entry of pi; ``sent`` is when an answer was requested."""
    sent = message.pop("sent", at)
    found = {"type": "message", "timestamp": stamp(at), "message": {"role": role, "timestamp": ms(sent), **message}}
    return found if name is None else {**found, "id": name, "parentId": parent}


def pi_answer(at: float, sent: float, counts: tuple[int, int, int, int], *tools: str, **tree: Any) -> dict[str, Any]:
    fresh, output, read, written = counts
    usage = {"input": fresh, "output": output, "cacheRead": read, "cacheWrite": written, "totalTokens": sum(counts)}
    content = [{"type": "text", "text": "secret"}]
    content += [{"type": "toolCall", "id": f"c-{name}", "name": name, "arguments": {}} for name in tools]  # type: ignore[dict-item]
    return pi_entry(at, "assistant", content=content, usage=usage, sent=sent, **tree)


def pi_records() -> list[dict[str, Any]]:
    return [
        {"type": "session", "version": 3, "id": "pi-1", "timestamp": stamp(0.0), "cwd": "/w"},
        pi_entry(1.0, "user", content="secret"),
        pi_answer(5.0, 1.0, (20, 90, 0, 3000), "read", "bash"),
        pi_entry(6.0, "toolResult", toolName="read", content=[]),
        pi_entry(9.0, "toolResult", toolName="bash", content=[]),
        pi_answer(12.0, 9.0, (40, 60, 3020, 200)),
        pi_entry(50.0, "user", content=[{"type": "text", "text": "secret"}]),
        {**pi_answer(50.5, 50.0, (0, 0, 0, 0)), "stopReason": "error"},
        {"type": "compaction", "timestamp": stamp(51.0), "summary": "secret", "tokensBefore": 3320},
        pi_answer(55.0, 51.5, (900, 20, 512, 0)),
    ]


def pi() -> bytes:
    return lines(*pi_records())
