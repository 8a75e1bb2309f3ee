"""The records of a Claude Code session, taken in one by one (what they are: `claude_code`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from continuum_sim.traces.importers.fields import as_time, optional_array, optional_object
from continuum_sim.traces.importers.usage import Usage, read_usage


@dataclass
class Response:
    """One LLM call, put together from its records."""

    id: str
    usage: Usage
    model: str
    compacted: bool
    asked: Waiting
    parent: str | None
    """``uuid`` of the record it answers."""
    goes_on_from: int | None
    """Index of the response before it in its branch: -1 if it has none, ``None`` if that is not known."""
    answered: float | None = None
    tools: list[str] = field(default_factory=list)
    tool_ids: list[str] = field(default_factory=list)


@dataclass
class Waiting:
    """What came between two responses: times in seconds since 1970."""

    last: float | None = None
    """When the last of it was there."""
    last_own: float | None = None
    """The same without the answers of sub-agents."""
    from_user: bool = False


class Link(NamedTuple):
    """How a sub-agent stands to its parent."""

    tool_id: str
    """Of the call that started it."""
    join_turn: int
    """The response before which its answer came."""
    waited: bool
    """Whether that answer was its result, rather than the news that it had been launched."""


@dataclass
class Agent:
    """The main conversation of a session, or one sub-agent, as far as it has been read."""

    responses: list[Response] = field(default_factory=list)
    compacted: bool = False
    input: Waiting = field(default_factory=Waiting)
    version: str = ""
    links: dict[str, Link] = field(default_factory=dict)
    """By sub-agent."""
    runs: dict[str, Link] = field(default_factory=dict)
    """By workflow that it launched."""
    run: str = ""
    """The workflow it is part of."""
    responded: dict[str, int] = field(default_factory=dict)
    """Record (``uuid``) to the last response at or above it in its branch, by index; -1 where there is none."""


def take(record: dict[str, Any], agents: dict[str, Agent], roots: dict[str, str], run: str = "") -> None:
    """Take in one record: a response, an input to the next one, or a compaction.

    Parameters
    ----------
    record
        The record.
    agents
        The main conversation (``""``) and the sub-agents of the session, as far as they are known.
    roots
        Sub-agents without an id, by their records.
    run
        The workflow that the record's file belongs to, if any.
    """
    agent = agents.setdefault(_agent_of(record, roots), Agent())
    agent.run = agent.run or run
    above = _responded(record, agent)
    kind = record.get("type")
    if kind == "system" and record.get("subtype") == "compact_boundary":
        agent.compacted = True
    message = record.get("message")
    if not isinstance(message, dict) or kind not in ("assistant", "user"):
        return
    at = None if record.get("timestamp") is None else as_time(record["timestamp"], "timestamp")
    if kind == "user":
        if record.get("isCompactSummary"):
            agent.compacted = True
        linked = _link(record, message, agent)
        if at is not None:
            agent.input.last = at if agent.input.last is None else max(agent.input.last, at)
            if not linked:
                own = agent.input.last_own
                agent.input.last_own = at if own is None else max(own, at)
        agent.input.from_user |= _is_from_user(record, message)
    elif message.get("model") != "<synthetic>" and isinstance(message.get("id"), str):
        if isinstance(record.get("version"), str):
            agent.version = agent.version or record["version"]
        _answer(record, message, at, agent, above)


def _responded(record: dict[str, Any], agent: Agent) -> int | None:
    """Return which response a record comes after in its branch, and keep that for the records after it."""
    uuid, parent = record.get("uuid"), record.get("parentUuid")
    # Records without one begin a conversation; later on they may be anything.
    above = agent.responded.get(parent) if isinstance(parent, str) else None if agent.responses else -1
    if above is not None and isinstance(uuid, str):
        agent.responded[uuid] = above
    return above


def _link(record: dict[str, Any], message: dict[str, Any], agent: Agent) -> bool:
    """Take note of which tool call a sub-agent answered; return whether this is such an answer and was waited for."""
    result = optional_object(record.get("toolUseResult"))
    launched, key = agent.links, result.get("agentId")
    if key is None and not record.get("isSidechain"):
        key = record.get("agentId")
    if key is None:
        launched, key = agent.runs, result.get("runId")
    if not isinstance(key, str) or not key:
        return False
    waited = result.get("status") != "async_launched"
    for block in optional_array(message.get("content")):
        tool_id = optional_object(block).get("tool_use_id")
        if isinstance(tool_id, str):
            launched.setdefault(key, Link(tool_id, len(agent.responses), waited))
            return waited
    return False


def _answer(record: dict[str, Any], message: dict[str, Any], at: float | None, agent: Agent, above: int | None) -> None:
    usage = read_usage(message.get("usage"), "message.usage")
    last = agent.responses[-1] if agent.responses else None
    if last is None or last.id != message["id"]:
        model, parent = message.get("model"), record.get("parentUuid")
        last = Response(
            message["id"],
            usage,
            model if isinstance(model, str) else "",
            agent.compacted,
            agent.input,
            parent if isinstance(parent, str) else None,
            above,
        )
        agent.responses.append(last)
        agent.compacted, agent.input = False, Waiting()
    if isinstance(record.get("uuid"), str):
        agent.responded[record["uuid"]] = len(agent.responses) - 1
    last.usage = max(last.usage, usage, key=lambda u: (u.output_tokens, u.input_tokens))
    if at is not None:
        last.answered = at if last.answered is None else max(last.answered, at)
    for block in optional_array(message.get("content")):
        if isinstance(block, dict) and block.get("type") == "tool_use" and isinstance(block.get("name"), str):
            last.tools.append(block["name"])
            if isinstance(block.get("id"), str):
                last.tool_ids.append(block["id"])


def _agent_of(record: dict[str, Any], roots: dict[str, str]) -> str:
    """Return the sub-agent a record belongs to, or ``""`` for the main conversation.

    Where sub-agents have no id, a chain of records (``parentUuid``) is one, named after its first record.
    """
    uuid, parent = record.get("uuid"), record.get("parentUuid")
    if not record.get("isSidechain"):
        return ""
    agent_id = record.get("agentId")
    if isinstance(agent_id, str) and agent_id:
        return agent_id
    root = roots.get(parent) if isinstance(parent, str) else None
    if root is None:
        root = f"sidechain-{uuid if isinstance(uuid, str) else len(roots)}"
    if isinstance(uuid, str):
        roots[uuid] = root
    return root


def _is_from_user(record: dict[str, Any], message: dict[str, Any]) -> bool:
    """Whether a person wrote this, rather than a tool or Claude Code itself."""
    if record.get("isMeta") or record.get("isCompactSummary"):
        return False
    content = message.get("content")
    if isinstance(content, str):
        return True
    kinds = [optional_object(block).get("type") for block in optional_array(content)]
    return "text" in kinds and "tool_result" not in kinds
