"""What a trace says: programs (agent jobs) made of turns (LLM requests), in counts and seconds only."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Turn:
    """One LLM request of a program, and the tool call that follows it.

    Attributes
    ----------
    input_tokens
        Full length of this turn's prompt, in tokens.
    kept_tokens
        Leading tokens of this prompt that equal the previous turn's prompt + output. The rest is
        new; where this is less than the previous prompt + output, the KV prefix breaks there
        (hidden reasoning not sent back, or the context compacted).
    output_tokens
        Generated tokens, hidden reasoning included.
    tool
        Name of the tool called after this turn; ``None`` on the last turn.
    tool_s
        Duration of that call in seconds; 0 on the last turn.
    """

    input_tokens: int
    kept_tokens: int
    output_tokens: int
    tool: str | None = None
    tool_s: float = 0.0

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

    Programs that name the same ``id`` agree in their first ``tokens`` tokens (in the smaller
    number where theirs differ).
    """

    id: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Program:
    """One agent job: its turns in order, and when it arrives where the trace knows that.

    Attributes
    ----------
    program_id
        The job's name, unique in its trace.
    turns
        At least one turn.
    arrival_s
        Arrival time in seconds on the trace's own clock, or ``None`` where arrivals are drawn.
    shared_prefix
        What its first prompt shares with other programs, if anything.
    """

    program_id: str
    turns: tuple[Turn, ...]
    arrival_s: float | None = None
    shared_prefix: SharedPrefix | None = None

    @property
    def max_context_tokens(self) -> int:
        """The most tokens any turn holds: what the engine must be able to fit."""
        return max(turn.context_tokens for turn in self.turns)

    @property
    def total_tokens(self) -> int:
        """Prompt + output tokens summed over the turns (what serving without any reuse would process)."""
        return sum(turn.context_tokens for turn in self.turns)


def truncate(program: Program, max_turns: int) -> Program:
    """Return ``program`` cut after ``max_turns`` turns; the new last turn calls no tool.

    Raises
    ------
    ValueError
        If ``max_turns`` is below 1.
    """
    if max_turns < 1:
        raise ValueError(f"max_turns is {max_turns}, expected at least 1")
    if len(program.turns) <= max_turns:
        return program
    *kept, last = program.turns[:max_turns]
    return replace(program, turns=(*kept, replace(last, tool=None, tool_s=0.0)))
