"""What a trace holds: programs (agent jobs) made of turns (LLM requests), in counts and seconds only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

STOP: Final = "stop"
MAX_TOKENS_FINISH: Final = "max_tokens"
FINISHES: Final = (STOP, MAX_TOKENS_FINISH)
"""What can end a turn: the model, or the limit that the request sets."""

MOST_PROGRAMS: Final = 10**7
"""Most programs of a run, or of a trace that is made: hours of work, and beyond it a typo."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One of several tool calls that a turn starts at once: its name and duration in seconds."""

    tool: str
    tool_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One LLM request of a program, and the tool call that follows it.

    Attributes
    ----------
    input_tokens
        Full length of this turn's prompt, in tokens.
    kept_tokens
        Leading tokens of this prompt that equal the previous turn's prompt + output. The rest is
        new; if this is less than the previous prompt + output, the KV prefix breaks there
        (hidden reasoning not sent back, or the context compacted).
    output_tokens
        Generated tokens, hidden reasoning included.
    tool
        Name of the tool called after this turn; ``None`` on the last turn. If several are called at once, the
        name that policies see for them: by default each name once, joined by ``+`` (see `tool_label`).
    tool_s
        Duration of that call in seconds, the longest one if there are several; 0 on the last turn.
    tools
        The calls made at once, if there are several; empty for a single one.
    finish
        What ends the turn: ``stop``, the model's own end, which no engine knows before the last token is sampled, or
        ``max_tokens``, the request's limit.
    mean_acceptance_length
        With speculative decoding, the tokens that a step gave this turn on average, as vLLM's answers tell it
        (``metrics.speculative_decoding``); ``None`` if it is not known.
    """

    input_tokens: int
    kept_tokens: int
    output_tokens: int
    tool: str | None = None
    tool_s: float = 0.0
    tools: tuple[ToolCall, ...] = ()
    finish: str = STOP
    mean_acceptance_length: float | None = None

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls after this turn; none after the last one."""
        if self.tools or self.tool is None:
            return self.tools
        return (ToolCall(self.tool, self.tool_s),)

    @property
    def context_tokens(self) -> int:
        """Tokens in the context when the turn ends: prompt + output."""
        return self.input_tokens + self.output_tokens

    @property
    def new_tokens(self) -> int:
        """Prompt tokens that the previous turn did not leave behind."""
        return self.input_tokens - self.kept_tokens


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """A prefix that several programs' first prompts have in common, such as a system prompt.

    Programs that name the same ``id`` agree in their first ``tokens`` tokens (the smaller
    number, if theirs differ).
    """

    id: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Program:
    """One agent job: its turns in order, and its arrival time if the trace has one.

    Attributes
    ----------
    program_id
        The job's name, unique in its trace.
    turns
        At least one turn.
    arrival_s
        Arrival time in seconds on the trace's own clock, or ``None`` if arrivals are drawn.
    shared_prefix
        What its first prompt shares with other programs, if anything.
    children
        The sub-agents that its turns start.
    priority
        What an engine under ``--scheduling-policy priority`` orders its turns by: the lowest first.
    """

    program_id: str
    turns: tuple[Turn, ...]
    arrival_s: float | None = None
    shared_prefix: SharedPrefix | None = None
    children: tuple[Child, ...] = ()
    priority: int = 0

    def family(self) -> Iterator[Program]:
        """Yield this program and all its sub-agents, parents first."""
        yield self
        for child in self.children:
            yield from child.program.family()

    @property
    def max_context_tokens(self) -> int:
        """Largest context of any of its own turns, in tokens: what the engine must be able to fit."""
        return max(turn.context_tokens for turn in self.turns)

    @property
    def total_tokens(self) -> int:
        """Prompt + output tokens summed over its own turns: what serving without any reuse would process."""
        return sum(turn.context_tokens for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Child:
    """A sub-agent of a program: when it starts, and what waits for it.

    Attributes
    ----------
    program
        Its work. It has no ``arrival_s``: its first turn arrives when the turn that starts it ends.
    after_turn
        Index of the parent's turn that starts it on ending.
    join_turn
        Index of the parent's turn that waits for it: that turn arrives once the gap before it is over and the
        child has ended. ``None`` if only the parent's end waits.
    """

    program: Program
    after_turn: int
    join_turn: int | None = None


def tool_label(calls: tuple[ToolCall, ...]) -> str:
    """Name several calls at once without revealing which is the longest: each name once, joined by ``+``."""
    return "+".join(dict.fromkeys(call.tool for call in calls))


def truncate(program: Program, max_turns: int) -> Program:
    """Return ``program`` cut after ``max_turns`` turns; the new last turn calls no tool and starts no sub-agent.

    Sub-agents are cut the same way, and dropped with the turn that would have started them; if the turn that would
    have waited for one is gone, the end of the program waits.

    Raises
    ------
    ValueError
        If ``max_turns`` is below 1.
    """
    if max_turns < 1:
        raise ValueError(f"max_turns is {max_turns}, expected at least 1")
    return cut(program, max_turns, lambda child: truncate(child, max_turns))


def cut(program: Program, num_turns: int, of_child: Callable[[Program], Program | None]) -> Program:
    """Return ``program`` with only its first turns, at least one, and ``of_child`` applied to its sub-agents.

    A sub-agent for which it returns ``None`` is left out, and so are those whose starting turn is gone.
    """
    shorter = len(program.turns) > num_turns
    turns = program.turns
    if shorter:
        *kept, last = turns[:num_turns]
        turns = (*kept, replace(last, tool=None, tool_s=0.0, tools=()))
    elif not program.children:
        return program
    children = []
    for child in program.children:
        if shorter and child.after_turn >= num_turns - 1:
            continue
        made = of_child(child.program)
        if made is not None:
            join_turn = None if child.join_turn is None or child.join_turn >= num_turns else child.join_turn
            children.append(replace(child, program=made, join_turn=join_turn))
    return replace(program, turns=turns, children=tuple(children))
