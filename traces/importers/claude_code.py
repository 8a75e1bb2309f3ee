"""Claude Code sessions: one record a line, one session a file, sub-agents beside it or in it.

Source: the files themselves have no published definition. The fields were taken from github.com/uw-syfi/TraceLab,
``scripts/extract_claude_rounds.py``, ``docs/prompt_cache_accounting.md`` and ``example_sessions/claude/trace.json``
(version 2.1.157):

* one response is several ``assistant`` records with one ``message.id``; each repeats ``message.usage``, early ones
  with placeholders: the largest is taken. The prompt is ``input_tokens`` + ``cache_creation_input_tokens`` +
  ``cache_read_input_tokens``;
* a tool is called in a ``tool_use`` block and answered in a ``tool_result`` block of a ``user`` record;
* a compaction is a ``system`` record ``compact_boundary`` and a ``user`` record with ``isCompactSummary``;
* a sub-agent's answer to its parent names it (``toolUseResult.agentId``), with ``status`` ``async_launched`` where the
  parent went on;
* sub-agents have ``isSidechain`` and, in newer versions, ``agentId`` and files of their own
  (``SESSION/subagents/agent-ID.jsonl``; those of a workflow, which a tool's answer names as ``toolUseResult.runId``, in
  ``SESSION/subagents/workflows/RUN``);
* records point to the one before (``parentUuid``); where a person went back and asked anew, two branches begin at one
  record. They were served one after the other, so they stay turns of one program, and the first turn of another branch
  keeps what both have in common.

Branches, workflows and ``agentId`` beside ``toolUseResult`` are as in the sessions that
github.com/daaain/claude-code-log has for its tests (versions 2.0.46 to 2.1.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.claude_branches import kept_of_branch
from continuum_sim.traces.importers.claude_records import Agent, take
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.fields import as_object
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.values import decode
from continuum_sim.traces.schema import Program, SharedPrefix


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    for main, files in _sessions(sources):
        agents: dict[str, Agent] = {}
        roots: dict[str, str] = {}
        name = ""
        broken = False
        for source in files:
            folder = source.path.parent
            run = folder.name if folder.parent.name == "workflows" else ""
            for number, line in source.lines():
                try:
                    record = as_object(decode(line), "the line")
                    found = record.get("sessionId")
                    name = name or (found if isinstance(found, str) else "")
                    take(record, agents, roots, run)
                except TraceError as error:
                    session.bad(error, source.path, number)
                    broken = True
        if broken:
            session.note("sessions with a bad record, left out")
            continue
        try:
            programs = _family(name or main.stem, agents, session)
        except TraceError as error:
            session.bad(error, main.path)
            continue
        yield from programs


def _sessions(sources: Iterable[Source]) -> Iterator[tuple[Source, list[Source]]]:
    """Yield every session's file with those of its sub-agents (anywhere below ``SESSION/subagents``) after it."""
    sessions: list[Source] = []
    below: dict[Path, list[Source]] = {}
    for source in sources:
        folder = next((p.parent for p in source.path.parents if p.name == "subagents"), None)
        if folder is None:
            sessions.append(source)
        else:
            below.setdefault(folder, []).append(source)
    for source in sessions:
        yield source, [source, *below.pop(source.path.with_name(source.stem), [])]
    for rest in below.values():
        yield from ((source, [source]) for source in rest)


def _family(name: str, agents: dict[str, Agent], session: Session) -> list[Program]:
    """Return a session's programs: the main conversation with its sub-agents, and those that nothing ties to it."""
    found = {key: agent for key, agent in agents.items() if agent.responses}
    parents: dict[str, str] = {}
    for key, agent in found.items():
        for child, other in found.items():
            if child != key and (child in agent.links or other.run in agent.runs):
                parents.setdefault(child, key)
    roots = [key for key in found if not _ends_at_a_root(key, parents)]
    for key in roots:
        parents.pop(key, None)
    roots += [key for key in found if key not in parents and key not in roots]
    strays = sum(map(bool, roots))
    if strays:
        session.note("sub-agents that no turn is known to have started, imported as programs of their own", strays)
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    return [_program(name, key, found, children, session) for key in found if key in roots]


def _ends_at_a_root(key: str, parents: dict[str, str]) -> bool:
    """Whether following the parents comes to an end soon; agents that start each other in a circle do not."""
    seen = {key}
    while key in parents:
        key = parents[key]
        if key in seen or len(seen) > MAX_DEPTH:
            return False
        seen.add(key)
    return True


def _program(
    name: str, key: str, agents: dict[str, Agent], children: dict[str, list[str]], session: Session
) -> Program:
    """Make the program of an agent, its sub-agents in it."""
    agent = agents[key]
    started: list[Started] = []
    for child in children.get(key, []):
        program = _program(name, child, agents, children, session)
        link = agent.links.get(child) or agent.runs[agents[child].run]
        after = next((i for i, one in enumerate(agent.responses) if link.tool_id in one.tool_ids), link.join_turn - 1)
        waited = link.waited and after < link.join_turn < len(agent.responses)
        started.append(Started(program, max(0, after), link.join_turn if waited else None))
    waits = {one.join_turn for one in started}
    calls = [_call(agent, index, index + 1 in waits, session) for index in range(len(agent.responses))]
    first = agent.responses[0]
    prefix = None
    if first.usage.cached_tokens:
        # A first prompt finds only what other sessions left: the same number in the same version is the same text.
        prompt = "-".join(part for part in ("claude-code", agent.version, first.model) if part)
        prefix = SharedPrefix(f"{prompt}-{first.usage.cached_tokens}", first.usage.cached_tokens)
    own_name = session.unique("/".join(part for part in (name, key) if part))
    return with_children(make_program(own_name, calls, session, shared_prefix=prefix), started)


def _call(agent: Agent, index: int, waits: bool, session: Session) -> Call:
    """Make the call of a response; where the next one waits for sub-agents, the gap is what other tools took."""
    one = agent.responses[index]
    names, gap_s = list(one.tools), 0.0
    if index + 1 < len(agent.responses):
        asked = agent.responses[index + 1].asked
        if asked.from_user:
            names.append("human")
        until = asked.last_own if waits else asked.last
        if until is not None and one.answered is not None:
            gap_s = max(0.0, until - one.answered) if waits else until - one.answered
        elif not waits:
            session.note("responses without times around them, gap taken as 0 s")
    kept = kept_of_branch(agent.responses, index)
    if kept is not None:
        session.note("turns after going back in the conversation, which keep what both branches have in common")
    return Call(
        one.usage.input_tokens,
        one.usage.output_tokens,
        kept_tokens=kept,
        cached_tokens=one.usage.cached_tokens,
        compacted=one.compacted,
        tool=joined(names),
        tool_s=gap_s,
    )


def _sniff(head: Head) -> float:
    if "usageMetadata" in head.names:  # Qwen Code, whose records look much the same
        return 0.0
    if head.has("sessionId") and {"parentUuid", "isSidechain"} & head.top:
        return 1.0
    return 0.5 if head.has("sessionId", "type") else 0.0


CLAUDE_CODE = Importer(
    name="claude-code",
    title="Claude Code sessions",
    source="github.com/uw-syfi/TraceLab: scripts/extract_claude_rounds.py, example_sessions/claude",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: usage of every response, cached part and hidden reasoning included",
        "tool_s: from the last record of a response to the last input of the next one (human pauses included)",
        "tool: names of the tools, several joined by +, and human where a user's message came",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a compaction or a shorter prompt, cache_read_input_tokens; after "
        "going back to an earlier answer, what was there by then",
        "shared_prefix: what the cache gave to the first prompt, for sessions with the same number, version and model",
        "children: from the tool call that a sub-agent answers (agentId) to the response after that answer",
    ),
    missing=("arrival_s", "the call that writes the summary of a compaction"),
)
