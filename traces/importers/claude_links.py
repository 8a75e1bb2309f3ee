"""Find which call of Claude Code started a sub-agent, and which response waited for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from continuum_sim.traces.importers.claude_parts import Agent, Came, Part, Response


@dataclass(frozen=True)
class Link:
    """Where a sub-agent starts and joins in its parent."""

    parent: str
    after: int
    """Index of the response that started it."""
    join: int | None
    """Index of the response that waited for it, if any."""
    told: list[Came] = field(default_factory=list)
    """What told that response of the sub-agent's end."""


def links_of(part: Part) -> dict[str, Link]:
    """Return the links of all sub-agents for which a parent can be found.

    The link is the sub-agent's id in an answer, or the call's id in a stream; otherwise its prompt, word for word,
    or the fact that only one call can have started it.
    """
    calls = _calls(part)
    found: dict[str, Link] = {}
    told: dict[str, str] = {}
    for parent, agent in part.agents.items():
        for child in part.agents:
            run = part.agents[child].run
            tool = agent.launched.get(child) or (agent.launched.get(run) if run else None)
            tool = child if tool is None and calls.get(child, ("", -1))[0] == parent and child in calls else tool
            if child and child != parent and tool is not None and child not in told:
                link = _link(part.agents[child], child, parent, agent, tool, calls.get(tool, ("", -1)))
                if link is not None:
                    told[child], found[child] = tool, link
    for child, tool in _by_prompt(part, {key for key in part.agents if key and key not in told}, set(told.values())):
        parent, after = calls[tool]
        link = _link(part.agents[child], child, parent, part.agents[parent], tool, (parent, after))
        if child != parent and link is not None:
            found[child] = link
    return found


def _calls(part: Part) -> dict[str, tuple[str, int]]:
    """Return, by id, the agent and response index of every call that started something."""
    found: dict[str, tuple[str, int]] = {}
    for key, agent in part.agents.items():
        for index, one in enumerate(agent.responses):
            for tool in one.starts or ():
                found.setdefault(tool, (key, index))
    return found


def _by_prompt(part: Part, children: set[str], taken: set[str]) -> list[tuple[str, str]]:
    """Return the calls that started sub-agents, for sub-agents that no record names."""
    if not children:
        return []
    calls = _calls(part)
    found: list[tuple[str, str]] = []
    told = [
        (prompt, tool, parent)
        for parent, agent in part.agents.items()
        for tool, prompt in agent.prompts.items()
        if tool in calls
    ]
    for by_text in (True, False):
        for child in part.agents:
            if child not in children:
                continue
            agent = part.agents[child]
            for prompt, tool, parent in told:
                fits = agent.first_prompt == prompt if by_text else agent.maybe == tool
                if fits and agent.first_prompt and tool not in taken and parent != child:
                    taken.add(tool)
                    children.discard(child)
                    found.append((child, tool))
                    break
    return found


def _link(agent: Agent, child: str, parent: str, parent_agent: Agent, tool: str, call: tuple[str, int]) -> Link | None:
    """Return the link of a sub-agent, or None if no response is known to have started it."""
    responses = parent_agent.responses
    ends = [
        (index, [came for came in one.came or () if _tells_end(came, child, tool)])
        for index, one in enumerate(responses)
    ]
    ends = [(index, told) for index, told in ends if told]
    ends += [
        (index, [])
        for index, task, call_id in parent_agent.queued
        if index < len(responses) and (task == child or (call_id and call_id == tool))
    ]
    after = call[1] if call[0] == parent and call[1] >= 0 else ends[0][0] - 1 if ends else -1
    if after < 0:
        return None
    for index, told in ends:
        if index > after and not _began_before(responses[index], agent.last):
            return Link(parent, after, index, told)
    return Link(parent, after, None)


def _tells_end(came: Came, child: str, tool: str) -> bool:
    return came.ended and (came.task == child or (bool(tool) and came.tool == tool))


def _began_before(response: Response, last: float | None) -> bool:
    """Return True if a response began before a sub-agent's last record, and so did not wait for it."""
    return last is not None and response.first is not None and last > response.first
