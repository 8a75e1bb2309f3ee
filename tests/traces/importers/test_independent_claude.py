"""Counts of Claude Code's and OpenTelemetry's samples, compared with a few lines of plain Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from continuum_sim.traces import Program
from support.agent_logs import claude_code
from support.claude_logs import Log, call, news
from support.otel_logs import copilot, export
from support.request_logs import otel

Counts = tuple[int, int, int, int]
"""Programs including sub-agents, turns, input and output tokens."""


def of_claude_code(content: bytes) -> Counts:
    calls: dict[str, tuple[int, int]] = {}
    agents = set()
    for line in content.splitlines():
        record = json.loads(line)
        message = record.get("message") or {}
        if record["type"] == "assistant" and "usage" in message:
            usage = message["usage"]
            prompt = sum(value for name, value in usage.items() if name.endswith("input_tokens"))
            output = max(usage["output_tokens"], calls.get(message["id"], (0, 0))[1])
            calls[message["id"]] = (prompt, output)
            agents.add(record.get("agentId") or record.get("parent_tool_use_id"))
    return len(agents), len(calls), sum(one for one, _ in calls.values()), sum(one for _, one in calls.values())


def of_otel(content: bytes) -> Counts:
    spans = [
        {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}
        for resource in json.loads(content)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    calls = [span for span in spans if span.get("gen_ai.operation.name") == "chat"]
    agents = [span for span in spans if span.get("gen_ai.operation.name") == "invoke_agent"]
    prompts, outputs = (sum(int(one[f"gen_ai.usage.{kind}_tokens"]) for one in calls) for kind in ("input", "output"))
    return len(agents), len(calls), prompts, outputs


def background() -> bytes:
    log = Log().says(0, "go").answers(5, "m1", 20_000, 200, call("t1", "Agent", prompt="look"), read=19_000)
    log.result(5.2, "t1", {"isAsync": True, "status": "async_launched", "agentId": "ag"}).answers(8, "m2", 20_300, 60)
    side = {"isSidechain": True, "agentId": "ag"}
    log.says(6, "look", **side).answers(9, "n1", 9_000, 1, **side).answers(10, "n1", 9_000, 90, **side)
    return log.says(308, news("ag", "t1")).answers(312, "m3", 21_000, 120, read=20_000).bytes()


@pytest.mark.parametrize(
    ("name", "content", "counts"),
    [
        ("claude-code", claude_code(), of_claude_code),
        ("claude-code", background(), of_claude_code),
        ("otel", otel(), of_otel),
        ("otel", export(*copilot()), of_otel),
    ],
    ids=["claude-code", "background", "otel", "copilot"],
)
def test_counts(imported: Any, name: str, content: bytes, counts: Callable[[bytes], Counts]) -> None:
    programs: list[Program] = imported(name, content)
    members = [member for program in programs for member in program.family()]
    turns = [turn for member in members for turn in member.turns]
    found = len(members), len(turns), sum(one.input_tokens for one in turns), sum(one.output_tokens for one in turns)
    assert found == counts(content)
