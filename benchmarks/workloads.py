"""Traces derived from a trace: longer outputs, longer prompts, or more programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from continuum_sim.traces import Program, Turn


def scaled(program: Program, *, outputs: int = 1, prompts: int = 1) -> Program:
    """Multiply the generated tokens, or the new prompt tokens, of every turn; kept shares stay the same."""
    turns: list[Turn] = []
    before = now = 0
    for turn in program.turns:
        kept = round(turn.kept_tokens / before * now) if before else 0
        new = max(turn.new_tokens * prompts, 1 - kept)
        made = replace(turn, input_tokens=kept + new, kept_tokens=kept, output_tokens=turn.output_tokens * outputs)
        turns.append(made)
        before, now = turn.context_tokens, made.context_tokens
    return replace(program, turns=tuple(turns))


def without_generated(program: Program) -> Program:
    """Break every prefix at the end of the previous prompt, as if generated tokens came back as new text."""
    turns = list(program.turns)
    for index in range(1, len(turns)):
        kept = min(turns[index].kept_tokens, turns[index - 1].input_tokens)
        turns[index] = replace(turns[index], kept_tokens=kept)
    return replace(program, turns=tuple(turns))


def cycled(programs: Sequence[Program], turns: int, rng: np.random.Generator) -> Iterator[Program]:
    """Repeat the programs under new names, with tool times varied by a factor of 0.5 to 1.5, until there are `turns`.

    Tool times vary, because otherwise a policy that learns from them would have little to learn and remember.
    """
    copy = made = 0
    while made < turns:
        for program in programs:
            stretch = rng.uniform(0.5, 1.5, len(program.turns)).tolist()
            again = (replace(t, tool_s=t.tool_s * by) for t, by in zip(program.turns, stretch, strict=True))
            yield Program(f"{program.program_id}#{copy}", tuple(again))
            made += len(program.turns)
            if made >= turns:
                return
        copy += 1


def single_turns(count: int, input_tokens: int, output_tokens: int, arrivals_s: Iterable[float]) -> list[Program]:
    """Return independent requests of one size."""
    turns = (Turn(input_tokens, 0, output_tokens),)
    return [Program(f"r{i}", turns, at_s) for i, at_s in zip(range(count), arrivals_s, strict=True)]


def untied(program: Program, rng: np.random.Generator) -> Program:
    """Lengthen every tool call by less than a millisecond, so that no two turns arrive at the same instant."""
    turns = [replace(t, tool_s=t.tool_s + rng.uniform(0, 1e-3)) for t in program.turns[:-1]]
    return replace(program, turns=(*turns, program.turns[-1]))
