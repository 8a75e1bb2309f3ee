"""Making a trace smaller or larger: token counts and tool times divided, tails stretched, the shape kept."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Final

import numpy as np

from continuum_sim.traces.check import check_program
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.schema import Program, SharedPrefix, ToolCall, Turn

_SCALED: Final = ("tokens", "gaps", "outputs")
# Wider than any use, and no product of it with what a trace may hold is infinite.
_LEAST: Final = 1e-9
_MOST: Final = 1e9
_RANGE: Final = f", from {_LEAST:g} to {_MOST:g}"


@dataclass(frozen=True)
class Scale:
    """Divide token counts by `tokens`, tool times by `gaps`, and outputs by `outputs` on top.

    `outputs` changes outputs alone: what it takes from an output is missing in the prompts that held it, and every
    turn keeps its number of new prompt tokens.

    `tokens` rounds sums of tokens, not single counts, so that rounding does not add up over a program: a context of n
    tokens becomes one of n / `tokens`, give or take the least sizes of one new prompt token and one output token
    a turn (none where the turn had no new one). A count is at most 2 tokens from what it is divided: what many such
    turns are too long by is not taken from a single one. Where a prompt kept the whole previous context, it still does.

    Raises
    ------
    TraceError
        If a divisor is not a number above 0.
    """

    tokens: float = 1.0
    gaps: float = 1.0
    outputs: float = 1.0

    def __post_init__(self) -> None:
        for name in _SCALED:
            value = getattr(self, name)
            if not _LEAST <= value <= _MOST:
                raise TraceError(f"scale {name}={value:g}: expected a number above 0 to divide by{_RANGE}")

    def apply(self, programs: Iterable[Program]) -> Iterator[Program]:
        """Scale programs one by one, their sub-agents with them.

        Raises
        ------
        TraceError
            If a count or a time becomes larger than a trace may hold.
        """
        for program in programs:
            if self == Scale():
                yield program
                continue
            scaled = self._program(program)
            try:
                check_program(scaled)
            except TraceError as error:
                raise TraceError(f"{error.detail}: enlarge it less", program_id=program.program_id) from None
            yield scaled

    def _program(self, program: Program) -> Program:
        turns = list(program.turns)
        if self.outputs != 1.0:
            turns = _with_outputs(turns, self.outputs)
        if self.tokens != 1.0:
            turns = _with_tokens(turns, self.tokens)
        if self.gaps != 1.0:
            turns = [_with_gap(turn, self.gaps) for turn in turns]
        shared = program.shared_prefix
        if shared is not None:
            shared = SharedPrefix(shared.id, min(max(1, round(shared.tokens / self.tokens)), turns[0].input_tokens))
        children = tuple(replace(child, program=self._program(child.program)) for child in program.children)
        return replace(program, turns=tuple(turns), shared_prefix=shared, children=children)


def _with_gap(turn: Turn, divisor: float) -> Turn:
    tools = tuple(replace(call, tool_s=call.tool_s / divisor) for call in turn.tools)
    return replace(turn, tool_s=turn.tool_s / divisor, tools=tools)


def _with_outputs(turns: list[Turn], divisor: float) -> list[Turn]:
    """Divide outputs alone: a context is followed piece by piece, so that a cut in it stays where it was."""
    scaled: list[Turn] = []
    # What the context is made of, in order: tokens as they were and as they are, prompts and outputs in turn.
    pieces: list[tuple[int, int]] = []
    was = now = outputs_before = 0
    for turn in turns:
        while was > turn.kept_tokens:
            tokens, made = pieces.pop()
            was, now = was - tokens, now - made
            left = turn.kept_tokens - was
            if left > 0:
                # Cut here: a prompt is as it was, an output keeps its share.
                made = round(left * made / tokens)
                pieces.append((left, made))
                was, now = was + left, now + made
        outputs = outputs_before + turn.output_tokens
        output = max(1, round(outputs / divisor) - round(outputs_before / divisor))
        scaled.append(replace(turn, input_tokens=now + turn.new_tokens, kept_tokens=now, output_tokens=output))
        pieces += [(turn.new_tokens, turn.new_tokens), (turn.output_tokens, output)]
        was, now, outputs_before = turn.context_tokens, scaled[-1].context_tokens, outputs
    return scaled


def _with_tokens(turns: list[Turn], divisor: float) -> list[Turn]:
    scaled: list[Turn] = []
    context = context_before = 0
    for turn in turns:
        # A cut in the middle of the context scales with the context, the end of it stays the end of it.
        whole = turn.kept_tokens == context_before
        # A prompt holds a token.
        least = 0 if turn.new_tokens else 1
        kept = context if whole else min(context, max(round(turn.kept_tokens / divisor), least))
        new = _divided(turn.new_tokens, divisor, round(turn.input_tokens / divisor) - kept)
        output = _divided(turn.output_tokens, divisor, round(turn.context_tokens / divisor) - (kept + new))
        scaled.append(replace(turn, input_tokens=kept + new, kept_tokens=kept, output_tokens=output))
        context, context_before = kept + new + output, turn.context_tokens
    return scaled


def _divided(tokens: int, divisor: float, rest: int) -> int:
    """Return `rest`, what keeps the sum, where that is about `tokens` / `divisor`: 1 at least of something."""
    share = tokens / divisor
    # 2: the least sizes of one turn, a new prompt token and an output token.
    return max(min(tokens, 1), min(max(rest, ceil(share - 2)), floor(share + 2)))


@dataclass(frozen=True)
class Tail:
    """Stretch the slowest tool calls: what a call takes beyond its tool's quantile is multiplied by `stretch`.

    Attributes
    ----------
    quantile
        From 0 to below 1: calls up to it stay as they are.
    stretch
        Above 0; below 1 it shortens the tail.

    Raises
    ------
    TraceError
        For a number out of its range.
    """

    quantile: float
    stretch: float

    def __post_init__(self) -> None:
        if not 0 <= self.quantile < 1:
            raise TraceError(f"tail quantile={self.quantile:g}: expected a number from 0 to below 1")
        if not _LEAST <= self.stretch <= _MOST:
            raise TraceError(f"tail stretch={self.stretch:g}: expected a number above 0 to multiply by{_RANGE}")

    def begin_s(self, programs: Iterable[Program]) -> dict[str, float]:
        """Return where each tool's tail begins in a trace, in seconds; keeps eight bytes a call."""
        calls_s: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        for program in programs:
            for member in program.family():
                for turn in member.turns:
                    for call in turn.calls:
                        calls_s[call.tool].append(call.tool_s)
        return {tool: float(np.quantile(np.asarray(times), self.quantile)) for tool, times in calls_s.items()}

    def apply(self, programs: Iterable[Program], begin_s: Mapping[str, float]) -> Iterator[Program]:
        """Stretch programs one by one; `begin_s` is what the method of that name returned for the same trace."""
        for program in programs:
            yield self._program(program, begin_s)

    def _program(self, program: Program, begin_s: Mapping[str, float]) -> Program:
        turns = tuple(self._turn(turn, begin_s) for turn in program.turns)
        children = tuple(replace(child, program=self._program(child.program, begin_s)) for child in program.children)
        return replace(program, turns=turns, children=children)

    def _turn(self, turn: Turn, begin_s: Mapping[str, float]) -> Turn:
        calls = [self._call(call, begin_s[call.tool]) for call in turn.calls]
        if not calls:
            return turn
        tools = tuple(calls) if turn.tools else ()
        return replace(turn, tool_s=max(call.tool_s for call in calls), tools=tools)

    def _call(self, call: ToolCall, begin_s: float) -> ToolCall:
        if call.tool_s <= begin_s:
            return call
        return replace(call, tool_s=begin_s + (call.tool_s - begin_s) * self.stretch)


def parse_scale(text: str | None) -> Scale:
    """Read `tokens=8,gaps=4,outputs=2`; nothing means the trace as it is.

    Raises
    ------
    TraceError
        For anything else.
    """
    return Scale(**_numbers("scale", text, _SCALED, "tokens=8,gaps=4"))


def parse_tail(text: str) -> Tail:
    """Read `quantile=0.9,stretch=3`.

    Raises
    ------
    TraceError
        For anything else.
    """
    values = _numbers("tail", text, ("quantile", "stretch"), "quantile=0.9,stretch=3")
    if len(values) < 2:
        raise TraceError(f"--tail {text!r}: expected both quantile and stretch, as in quantile=0.9,stretch=3")
    return Tail(**values)


def _numbers(flag: str, text: str | None, known: tuple[str, ...], example: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        key, sign, number = (part.strip() for part in item.partition("="))
        if key not in known or not sign:
            wanted = ", ".join(f"{name}=NUMBER" for name in known[:-1])
            raise TraceError(f"--{flag} {text!r}: {item!r} is not {wanted} or {known[-1]}=NUMBER, as in {example}")
        if key in values:
            raise TraceError(f"--{flag} {text!r}: {key} is there twice, expected once")
        try:
            values[key] = float(number)
        except ValueError:
            raise TraceError(f"--{flag} {text!r}: {key} is {number!r}, expected a number, as in {example}") from None
    return values
