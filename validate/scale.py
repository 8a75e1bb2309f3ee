"""Shrinking a trace to a small model: token counts and tool times divided, the shape of every program kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from continuum_sim.errors import ConfigError
from continuum_sim.traces.schema import Program, SharedPrefix, Turn


@dataclass(frozen=True)
class Scale:
    """Divide token counts by `tokens` and tool times by `gaps`.

    Sums of tokens are rounded, not single counts, so that rounding does not add up over a program: a context of n
    tokens becomes one of n / `tokens`, give or take the least sizes of one new prompt token and one output token
    a turn. Where a prompt kept the whole previous context, it still does.
    """

    tokens: float = 1.0
    gaps: float = 1.0

    def __post_init__(self) -> None:
        for name in ("tokens", "gaps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"--scale {name}={value}: expected a number above 0 to divide by")

    def apply(self, programs: Iterable[Program]) -> Iterator[Program]:
        """Scale programs one by one."""
        for program in programs:
            yield program if self == Scale() else self._program(program)

    def _program(self, program: Program) -> Program:
        turns: list[Turn] = []
        context = context_before = 0
        for turn in program.turns:
            # A cut in the middle of the context scales with the context, the end of it stays the end of it.
            whole = turn.kept_tokens == context_before
            kept = context if whole else min(context, self._round(turn.kept_tokens))
            new = max(1, self._round(turn.input_tokens) - kept)
            output = max(1, self._round(turn.context_tokens) - (kept + new))
            tools = tuple(replace(call, tool_s=call.tool_s / self.gaps) for call in turn.tools)
            turns.append(Turn(kept + new, kept, output, turn.tool, turn.tool_s / self.gaps, tools))
            context, context_before = kept + new + output, turn.context_tokens
        shared = program.shared_prefix
        if shared is not None:
            shared = SharedPrefix(shared.id, min(max(1, self._round(shared.tokens)), turns[0].input_tokens))
        children = tuple(replace(child, program=self._program(child.program)) for child in program.children)
        return replace(program, turns=tuple(turns), shared_prefix=shared, children=children)

    def _round(self, tokens: int) -> int:
        return round(tokens / self.tokens)


def parse_scale(text: str | None) -> Scale:
    """Read `tokens=8,gaps=4`; nothing means the trace as it is.

    Raises
    ------
    ConfigError
        For anything else.
    """
    values: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in (text or "").split(","))):
        key, sign, number = (part.strip() for part in item.partition("="))
        if key not in ("tokens", "gaps") or not sign:
            raise ConfigError(f"--scale {text!r}: {item!r} is not tokens=NUMBER or gaps=NUMBER, as in tokens=8,gaps=4")
        try:
            values[key] = float(number)
        except ValueError:
            raise ConfigError(f"--scale {text!r}: {key} is {number!r}, expected a number to divide by") from None
    return Scale(**values)
