"""Claude Code sessions record by record, as its versions write them; by hand after the sources in `claude_code`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

_START = datetime(2026, 11, 2, 9, tzinfo=UTC)

Record = dict[str, Any]


class Log:
    """The records of one session, in order; seconds count from the same instant in all of them."""

    def __init__(self, session: str = "s1", **common: Any) -> None:
        self.session = session
        self.common: Record = {"sessionId": session, "version": "2.1.150", "isSidechain": False, **common}
        self.records: list[Record] = []
        self.at: str | None = None
        """``uuid`` of the last record."""

    def record(self, kind: str, at: float | None, message: Record | None = None, **more: Any) -> Log:
        """Add a record after the last one."""
        uuid = f"{self.session}-{len(self.records)}"
        made: Record = {"type": kind, "uuid": uuid, "parentUuid": self.at, **self.common}
        if at is not None:
            made["timestamp"] = (_START + timedelta(seconds=at)).isoformat(timespec="milliseconds")
        if message is not None:
            made["message"] = message
        self.records.append({**made, **more})
        self.at = self.records[-1]["uuid"]
        return self

    def says(self, at: float | None, text: str, **more: Any) -> Log:
        """Add a message, by default from a person."""
        return self.record("user", at, {"role": "user", "content": text}, **more)

    def answers(
        self, at: float | None, id: str, prompt: int, output: int, *blocks: Record, read: int = 0, **more: Any
    ) -> Log:
        """Add a response, or another record of it."""
        usage = {"input_tokens": prompt - read, "cache_creation_input_tokens": 0, "cache_read_input_tokens": read}
        message = {"id": id, "role": "assistant", "model": "m", "content": list(blocks)}
        return self.record("assistant", at, {**message, "usage": {**usage, "output_tokens": output}}, **more)

    def result(self, at: float | None, tool: str, noted: Any = None, text: str = "ok", **more: Any) -> Log:
        """Add a tool's answer, with what Claude Code records beside it."""
        block = {"type": "tool_result", "tool_use_id": tool, "content": text}
        more = more if noted is None else {"toolUseResult": noted, **more}
        return self.record("user", at, {"role": "user", "content": [block]}, **more)

    def bytes(self) -> bytes:
        """The file."""
        return b"".join(json.dumps(one).encode() + b"\n" for one in self.records)


def call(id: str, name: str, **given: Any) -> Record:
    """A block that calls a tool."""
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def said(text: str) -> Record:
    """A block of text."""
    return {"type": "text", "text": text}


def news(task: str, tool: str = "", status: str = "completed") -> str:
    """Return the notification that something in the background has ended."""
    named = f"<tool-use-id>{tool}</tool-use-id>\n" if tool else ""
    return f"<task-notification>\n<task-id>{task}</task-id>\n{named}<status>{status}</status>\n</task-notification>"


def side(agent: str, first: float, last: float, prompt: int = 9000, **common: Any) -> Log:
    """Return a sub-agent of two turns."""
    log = Log(f"{agent}-of", isSidechain=True, agentId=agent, **{"sessionId": "s1", **common})
    log.says(first, "look").answers(first + 1, f"{agent}-1", prompt, 90, call(f"{agent}-t", "Grep"))
    return log.result(last - 1, f"{agent}-t").answers(last, f"{agent}-2", prompt + 200, 80)
