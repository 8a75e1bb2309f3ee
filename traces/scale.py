"""Scale a trace: divide token counts and tool times, stretch tails, keep the shape."""

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
# Beyond any use, and its product with anything a trace may hold is finite.
_LEAST: Final = 1e-9
_MOST: Final = 1e9
_RANGE: Final = f", from {_LEAST:g} to {_MOST:g}"


@dataclass(frozen=True)
class Scale:
    """Divide token counts by `tokens`, tool times by `gaps`, and outputs additionally by `outputs`.

    `outputs` changes outputs alone: later prompts lose what an output loses, and every turn keeps its number of new
    prompt tokens.

    `tokens` rounds sums of tokens, not single counts, so that rounding errors do not add up over a program. A context
    of n tokens becomes n / `tokens`, plus or minus the minimum of one new prompt token and one output token per turn
    (none if the turn had no new one). Each count is within 2 tokens of its exact quotient: the excess of many such
    turns is never taken from a single one. A prompt that kept the whole previous context still does.

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
        """Scale programs one by one, sub-agents included.

        Raises
        ------
        TraceError
            If a count or a time exceeds what a trace may hold.
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
    """Divide outputs alone, tracking a context piece by piece so that a cut in it stays at the same place."""
    scaled: list[Turn] = []
    # The context's pieces in order, prompts and outputs alternating: (tokens before scaling, tokens after).
    pieces: list[tuple[int, int]] = []
    was = now = outputs_before = 0
    for turn in turns:
        while was > turn.kept_tokens:
            tokens, made = pieces.pop()
            was, now = was - tokens, now - made
            left = turn.kept_tokens - was
            if left > 0:
                # The cut falls here: a prompt keeps its tokens, an output its share.
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
        # A cut in the middle of the context scales with it; keeping the whole context stays keeping the whole.
        whole = turn.kept_tokens == context_before
        # A prompt holds at least one token.
        least = 0 if turn.new_tokens else 1
        kept = context if whole else min(context, max(round(turn.kept_tokens / divisor), least))
        new = _divided(turn.new_tokens, divisor, round(turn.input_tokens / divisor) - kept)
        output = _divided(turn.output_tokens, divisor, round(turn.context_tokens / divisor) - (kept + new))
        scaled.append(replace(turn, input_tokens=kept + new, kept_tokens=kept, output_tokens=output))
        context, context_before = kept + new + output, turn.context_tokens
    return scaled


def _divided(tokens: int, divisor: float, rest: int) -> int:
    """Return `rest`, which keeps the sum exact, bounded to about `tokens` / `divisor`; at least 1 if `tokens` is."""
    share = tokens / divisor
    # 2 is the least size of a turn: one new prompt token and one output token.
    return max(min(tokens, 1), min(max(rest, ceil(share - 2)), floor(share + 2)))


@dataclass(frozen=True)
class Tail:
    """Stretch the slowest tool calls: multiply by `stretch` the part of a call beyond its tool's quantile.

    Attributes
    ----------
    quantile
        From 0 to below 1: calls up to this quantile stay unchanged.
    stretch
        Above 0; below 1 it shortens the tail.

    Raises
    ------
    TraceError
        For a number out of range.
    """

    quantile: float
    stretch: float

    def __post_init__(self) -> None:
        if not 0 <= self.quantile < 1:
            raise TraceError(f"tail quantile={self.quantile:g}: expected a number from 0 to below 1")
        if not _LEAST <= self.stretch <= _MOST:
            raise TraceError(f"tail stretch={self.stretch:g}: expected a number above 0 to multiply by{_RANGE}")

    def begin_s(self, programs: Iterable[Program]) -> dict[str, float]:
        """Return where each tool's tail begins in a trace, in seconds; keeps eight bytes per call."""
        calls_s: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        for program in programs:
            for member in program.family():
                for turn in member.turns:
                    for call in turn.calls:
                        calls_s[call.tool].append(call.tool_s)
        return {tool: float(np.quantile(np.asarray(times), self.quantile)) for tool, times in calls_s.items()}

    def apply(self, programs: Iterable[Program], begin_s: Mapping[str, float]) -> Iterator[Program]:
        """Stretch programs one by one; `begin_s` is what that method returned for the same trace."""
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
    """Parse `tokens=8,gaps=4,outputs=2`; nothing leaves the trace unchanged.

    Raises
    ------
    TraceError
        If it cannot be parsed.
    """
    return Scale(**_numbers("scale", text, _SCALED, "tokens=8,gaps=4"))


def parse_tail(text: str) -> Tail:
    """Parse `quantile=0.9,stretch=3`.

    Raises
    ------
    TraceError
        If it cannot be parsed.
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
            raise TraceError(f"--{flag} {text!r}: {key} appears twice, expected once")
        try:
            values[key] = float(number)
        except ValueError:
            raise TraceError(f"--{flag} {text!r}: {key} is {number!r}, expected a number, as in {example}") from None
    return values
