"""Claude Code sessions: one record per line, one session per file, sub-agents beside it or in it.

Source: the format has no published definition. The fields come from github.com/uw-syfi/TraceLab,
``scripts/extract_claude_rounds.py``, ``docs/prompt_cache_accounting.md`` and ``example_sessions/claude/trace.json``
(version 2.1.157), and from sessions, tests and notes in public repositories (versions 1.0.29 to 2.1.291):

* one response is several ``assistant`` records with one ``message.id``; each repeats ``message.usage``, early ones
  with placeholders, so the largest counts. Often the true number is never written: an output too small for what
  the records show is a placeholder too. The prompt is ``input_tokens`` + ``cache_creation_input_tokens`` +
  ``cache_read_input_tokens``;
* a tool is called in a ``tool_use`` block and answered in a ``tool_result`` block of a ``user`` record;
* a compaction is a ``system`` record ``compact_boundary`` and a ``user`` record with ``isCompactSummary``;
* a sub-agent's answer to its parent names it (``toolUseResult.agentId``), with ``status`` ``async_launched`` if the
  parent went on. Its end is then reported by a ``<task-notification>`` (in a ``user`` record, or in a
  ``queued_command`` attachment if other tools were running), or by ``TaskOutput``, which waits for it; background
  shells (``run_in_background``) are reported in the same ways;
* sub-agents have ``isSidechain`` and, in newer versions, ``agentId`` and files of their own
  (``SESSION/subagents/agent-ID.jsonl``; those of a workflow, which a tool's answer names as ``toolUseResult.runId``, in
  ``SESSION/subagents/workflows/RUN``). In older versions they are in the session's file without an id, and begin with
  exactly the text of the ``prompt`` that a ``Task`` call was given. In the stream that ``claude -p --output-format
  stream-json`` writes, ``parent_tool_use_id`` names that call;
* records point to the one before (``parentUuid``); if a person went back and asked anew, two branches begin at one
  record. They were served one after the other, so they stay turns of one program, and the first turn of another branch
  keeps what both have in common. Resumed and forked sessions are branches in the same way (`claude_sessions`);
* a history that was copied without its times has the same time on all its records: gaps in it are unknown.

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
from continuum_sim.traces.importers.claude_links import Link, links_of
from continuum_sim.traces.importers.claude_parts import Agent, Came, Part, Response
from continuum_sim.traces.importers.claude_sessions import read_conversations
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program, SharedPrefix


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    for part in read_conversations(sources, state):
        try:
            programs = _family(part, state)
        except TraceError as error:
            state.bad(error, Path(part.path))
            continue
        del part  # may be large
        yield from programs


def _family(part: Part, state: ImportState) -> list[Program]:
    """Return a session's programs: the main conversation with its sub-agents, and those without a link to it."""
    links = links_of(part)
    roots = [key for key in part.agents if not _ends_at_a_root(key, links)]
    for key in roots:
        links.pop(key, None)
    roots += [key for key in part.agents if key not in links and key not in roots]
    strays = sum(map(bool, roots))
    if strays:
        state.note("sub-agents that no turn is known to have started, imported as programs of their own", strays)
    return [_Maker(part, links, state).program(key) for key in part.agents if key in roots]


def _ends_at_a_root(key: str, links: dict[str, Link]) -> bool:
    """Return True if following the parents ends; False for agents that start each other in a circle."""
    seen = {key}
    while key in links:
        key = links[key].parent
        if key in seen or len(seen) > MAX_DEPTH:
            return False
        seen.add(key)
    return True


class _Maker:
    """Makes the programs of a session."""

    def __init__(self, part: Part, links: dict[str, Link], state: ImportState) -> None:
        self._part, self._links, self._state = part, links, state

    def program(self, key: str) -> Program:
        """Make the program of an agent, including its sub-agents."""
        agent = self._part.agents[key]
        children = {child: link for child, link in self._links.items() if link.parent == key}
        started = [Started(self.program(child), link.after, link.join) for child, link in children.items()]
        outputs = self._outputs(agent)
        calls = [self._call(agent, index, outputs[index], children) for index in range(len(agent.responses))]
        first = agent.responses[0]
        prefix = None
        if first.cached_tokens:
            # A first prompt hits only what other sessions left: the same count in the same version means the same text.
            prompt = "-".join(part for part in ("claude-code", agent.version, agent.model) if part)
            prefix = SharedPrefix(f"{prompt}-{first.cached_tokens}", first.cached_tokens)
        name = self._state.unique("/".join(part for part in (self._part.name, key) if part))
        made = make_program(name, calls, self._state, arrival_s=agent.began, shared_prefix=prefix)
        return with_children(made, started)

    def _outputs(self, agent: Agent) -> list[int]:
        """Return every response's output tokens; where the record is a placeholder, count them in what is shown.

        What is shown comes back in the next prompt, which cannot have grown by less.
        """
        found: list[int] = []
        for index, one in enumerate(agent.responses):
            tokens = one.output_tokens
            if one.is_placeholder:
                self._state.unmeasured("output_tokens")
                if one.shown_tokens:
                    self._state.note("responses whose recorded output is a placeholder, counted in their text")
                    following = agent.responses[index + 1] if index + 1 < len(agent.responses) else None
                    grown = one.shown_tokens
                    if following is not None and following.input_tokens > one.input_tokens and not following.compacted:
                        grown = min(grown, following.input_tokens - one.input_tokens)
                    tokens = max(tokens, grown)
                else:
                    self._state.note("responses whose recorded output is a placeholder: the trace's are too low")
            found.append(tokens)
        return found

    def _call(self, agent: Agent, index: int, output_tokens: int, children: dict[str, Link]) -> Call:
        """Make the call of a response; if the next one waits for sub-agents, the gap is the time of the other tools."""
        one = agent.responses[index]
        names, gap_s = list(one.tools), None
        if index + 1 < len(agent.responses):
            following = agent.responses[index + 1]
            joins = [child for child, link in children.items() if link.join == index + 1]
            gap_s = self._gap_s(one, following, {id(came) for child in joins for came in children[child].told})
            if not names:
                names = _told_of(following.came or [], agent)
            if following.from_user:
                names.append("human")
            if gap_s is None:
                self._state.note("responses without times around them, gap taken as 0 s")
            elif gap_s < 0 and following.goes_on_from not in (None, index):
                self._state.note("branches that ran at the same time (forked sessions), put one after the other")
                gap_s = None
        kept = kept_of_branch(agent.responses, index)
        if kept is not None:
            self._state.note("turns after going back in the conversation, which keep what both branches have in common")
        return Call(
            one.input_tokens,
            output_tokens,
            kept_tokens=kept,
            cached_tokens=one.cached_tokens,
            compacted=one.compacted,
            tool=joined(names),
            tool_s=gap_s,
        )

    def _gap_s(self, one: Response, following: Response, of_children: set[int]) -> float | None:
        """Return how long the parent's own part of a gap took, or None if unknown."""
        own = [following.other, *(came.at for came in following.came or () if id(came) not in of_children)]
        until = max((at for at in own if at is not None), default=None)
        if until is None or one.answered is None:
            return 0.0 if of_children else None
        if until == one.answered == one.asked:
            return None  # a copied history: no answer takes no time
        return max(0.0, until - one.answered) if of_children else until - one.answered


def _told_of(came: list[Came], agent: Agent) -> list[str]:
    """Return the tools that started what a response was told the end of, if it waited for nothing else."""
    news = [one for one in came if one.is_news]
    calls = [one.tool or agent.launched.get(one.task, "") for one in news]
    return [agent.names.get(call, "task-notification") for call in calls]


def _sniff(head: Head) -> float:
    has_usage = "input_tokens" in head.names
    if not has_usage and head.names & {"usageMetadata", "projectHash", "parts"}:
        return 0.0  # Qwen Code and Gemini CLI share some fields, but write no usage
    if head.has("sessionId") and {"parentUuid", "isSidechain"} & head.top:
        return 1.0
    if head.has("type", "session_id", "message") and has_usage:
        return 0.95  # the stream
    if head.has("type", "subtype", "session_id", "tools"):
        return 0.9
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
        "arrival_s: first prompt of a session, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a compaction or a shorter prompt, cache_read_input_tokens; after "
        "going back to an earlier answer, what was there by then",
        "shared_prefix: what the cache gave to the first prompt, for sessions with the same number, version and model",
        "children: from the tool call that a sub-agent answers (agentId) to the response after that answer",
        "sessions that were resumed or forked: one program, by the responses (message.id) that they have in common",
    ),
    missing=("the call that writes the summary of a compaction",),
)
