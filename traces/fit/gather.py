"""Gather the numbers for a fit, program by program."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from continuum_sim.traces.schema import Program, Turn


def _array() -> array[float]:
    return array("d")


def _arrays() -> defaultdict[str, array[float]]:
    return defaultdict(_array)


@dataclass(slots=True)
class ToolSample:
    """Samples of one tool, eight bytes per number; `..._program` holds each number's program."""

    calls: int = 0
    gap_s: array[float] = field(default_factory=_array)
    output_tokens: array[float] = field(default_factory=_array)
    output_program: array[float] = field(default_factory=_array)
    new_tokens: array[float] = field(default_factory=_array)
    new_program: array[float] = field(default_factory=_array)
    followed_by: Counter[str] = field(default_factory=Counter)

    def add(self, other: ToolSample) -> None:
        """Add the numbers of another tool, except for what follows it."""
        self.calls += other.calls
        for name in ("gap_s", "output_tokens", "output_program", "new_tokens", "new_program"):
            getattr(self, name).extend(getattr(other, name))


@dataclass(slots=True)
class Sample:
    """A trace's numbers; sub-agents count as programs of their own."""

    programs: int = 0
    members: int = 0
    turns: Counter[int] = field(default_factory=Counter)
    first_prompt_tokens: array[float] = field(default_factory=_array)
    first_tools: Counter[str] = field(default_factory=Counter)
    tools: defaultdict[str, ToolSample] = field(default_factory=lambda: defaultdict(ToolSample))
    last_output_tokens: array[float] = field(default_factory=_array)
    later_turns: int = 0
    lost_output_share: array[float] = field(default_factory=_array)
    lost_output_new_tokens: array[float] = field(default_factory=_array)
    cut_kept_share: array[float] = field(default_factory=_array)
    cut_refill: array[float] = field(default_factory=_array)
    prefixes: defaultdict[str, array[float]] = field(default_factory=_arrays)
    longest_context_tokens: int = 0

    def add(self, program: Program) -> None:
        """Add a program and its sub-agents."""
        self.programs += 1
        for member in program.family():
            self._add(member)

    def _add(self, program: Program) -> None:
        number = self.members
        self.members += 1
        turns = program.turns
        self.turns[len(turns)] += 1
        self.first_prompt_tokens.append(turns[0].input_tokens)
        self.last_output_tokens.append(turns[-1].output_tokens)
        self.longest_context_tokens = max(self.longest_context_tokens, program.max_context_tokens)
        if program.shared_prefix is not None:
            self.prefixes[program.shared_prefix.id].append(program.shared_prefix.tokens)
        if turns[0].tool is not None:
            self.first_tools[turns[0].tool] += 1
        for turn, after in pairwise(turns):
            assert turn.tool is not None
            tool = self.tools[turn.tool]
            tool.calls += 1
            tool.gap_s.append(turn.tool_s)
            tool.output_tokens.append(turn.output_tokens)
            tool.output_program.append(number)
            if after.tool is not None:
                tool.followed_by[after.tool] += 1
            self._add_prompt(turn, after, tool, number)

    def _add_prompt(self, before: Turn, turn: Turn, tool: ToolSample, number: int) -> None:
        self.later_turns += 1
        lost = before.context_tokens - turn.kept_tokens
        if lost == 0:
            tool.new_tokens.append(turn.new_tokens)
            tool.new_program.append(number)
        elif lost <= before.output_tokens:
            self.lost_output_share.append(lost / before.output_tokens)
            self.lost_output_new_tokens.append(turn.new_tokens)
        else:
            self.cut_kept_share.append(turn.kept_tokens / before.context_tokens)
            self.cut_refill.append(turn.new_tokens / lost)
