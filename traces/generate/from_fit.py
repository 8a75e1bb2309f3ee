"""Draw any number of programs from a fit, each similar to those of the fitted trace.

A program is drawn in the order it would run: the number of turns, the first prompt, and for each turn the tool, given
the one before; the output, given the tool it calls; the tool's seconds; the new tokens of the next prompt, given the
tool; and whether that prompt keeps the whole context. Turns of one program are as similar as in the trace: one normal
number per program and one per turn, mixed in proportion to the fit's correlation, give the level at which the
quantiles are read (a Gaussian copula), which leaves each distribution unchanged.

Not drawn, because no fit holds it: arrival times, sub-agents (programs of their own in the fit), several tools at
once (one tool under their common label), and how turn sizes change over a program.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from statistics import NormalDist
from typing import Final, Generic, TypeVar

import numpy as np

from continuum_sim.traces.check import MAX_SECONDS
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.fit.gaps import GapFit
from continuum_sim.traces.fit.model import ToolFit, TraceFit
from continuum_sim.traces.fit.quantiles import Quantiles
from continuum_sim.traces.generate.draws import standard_normal
from continuum_sim.traces.schema import Program, SharedPrefix, Turn

_Key = TypeVar("_Key")
_NORMAL: Final = NormalDist()
_BELOW_ONE: Final = 1 - 2.0**-53
_MOST_TRIES: Final = 1000


def generate_programs(
    fit: TraceFit, n_programs: int, rng: np.random.Generator, *, name: str = "program"
) -> Iterator[Program]:
    """Yield programs named ``program-000000`` and so on, one at a time.

    Parameters
    ----------
    fit
        Distributions to draw from.
    n_programs
        Number of programs; a larger number begins with the same ones.
    rng
        Source of all draws.
    name
        Prefix of their ids.

    Raises
    ------
    ValueError
        Immediately, if `n_programs` is below 1.
    TraceError
        If the fit's programs hardly ever stay within its longest context.
    """
    if n_programs < 1:
        raise ValueError(f"n_programs is {n_programs}, expected at least 1")
    return _Drawing(fit, rng).programs(n_programs, name)


class _Choice(Generic[_Key]):
    """Draws keys with probability proportional to their counts."""

    def __init__(self, counts: Mapping[_Key, float]) -> None:
        self._keys = list(counts)
        self._sums = list(accumulate(counts.values()))

    def draw(self, rng: np.random.Generator) -> _Key:
        at = bisect_right(self._sums, rng.random() * self._sums[-1])
        return self._keys[min(at, len(self._keys) - 1)]


class _Alike:
    """Correlated quantile levels for the turns of one program."""

    def __init__(self, rng: np.random.Generator, correlation: float) -> None:
        self._rng = rng
        self._of_turn = math.sqrt(1 - correlation)
        self._of_program = math.sqrt(correlation) * standard_normal(rng)

    def level(self) -> float:
        return min(_NORMAL.cdf(self._of_program + self._of_turn * standard_normal(self._rng)), _BELOW_ONE)


class _Drawing:
    """A fit prepared for drawing."""

    def __init__(self, fit: TraceFit, rng: np.random.Generator) -> None:
        self._fit, self._rng = fit, rng
        self._turns = _Choice(fit.turns)
        # After a tool that was only ever called last, any tool may follow.
        any_tool = {name: tool.calls for name, tool in fit.tools.items()}
        self._first_tool = _Choice(fit.first_tools)
        self._next_tool = {name: _Choice(tool.followed_by or any_tool) for name, tool in fit.tools.items()}
        alone = max(0.0, 1 - sum(prefix.share for prefix in fit.shared_prefixes))
        shares: dict[int | None, float] = {None: alone}
        shares.update({number: prefix.share for number, prefix in enumerate(fit.shared_prefixes)})
        self._prefix = _Choice(shares) if fit.shared_prefixes else None

    def programs(self, n_programs: int, name: str) -> Iterator[Program]:
        for number in range(n_programs):
            for _ in range(_MOST_TRIES):
                program = self._program(f"{name}-{number:06d}")
                if program.max_context_tokens <= self._fit.longest_context_tokens:
                    break
            else:
                raise TraceError(
                    f"the fit's programs outgrow its longest_context_tokens, {self._fit.longest_context_tokens}, "
                    f"{_MOST_TRIES} times in a row, expected a fit whose sizes agree with it"
                )
            yield program

    def _program(self, program_id: str) -> Program:
        fit, rng = self._fit, self._rng
        count = self._turns.draw(rng)
        outputs = _Alike(rng, fit.correlation.output_tokens)
        news = _Alike(rng, fit.correlation.new_tokens)
        input_tokens = max(1, round(fit.first_prompt_tokens.at(rng.random())))
        shared = self._shared(input_tokens)
        kept_tokens = 0
        turns: list[Turn] = []
        tool = ""
        for index in range(count - 1):
            tool = (self._next_tool[tool] if index else self._first_tool).draw(rng)
            of_tool = fit.of(tool)
            output_tokens = _tokens(of_tool.output_tokens, outputs.level())
            turns.append(Turn(input_tokens, kept_tokens, output_tokens, tool, self._gap_s(of_tool)))
            kept_tokens, new_tokens = self._next_prompt(turns[-1], of_tool, news.level())
            input_tokens = max(1, kept_tokens + new_tokens)
        turns.append(Turn(input_tokens, kept_tokens, _tokens(fit.last_output_tokens, outputs.level())))
        return Program(program_id, tuple(turns), None, shared)

    def _next_prompt(self, turn: Turn, tool: ToolFit, level: float) -> tuple[int, int]:
        """Draw the kept and new tokens of the prompt after a turn."""
        rng, breaks, context = self._rng, self._fit.breaks, turn.context_tokens
        kind = rng.random()
        if kind < breaks.output_share:
            assert breaks.lost_output_share is not None
            lost = max(1, round(breaks.lost_output_share.at(rng.random()) * turn.output_tokens))
            return max(0, context - lost), _new(breaks.lost_output_new_tokens, level)
        if kind < breaks.output_share + breaks.cut_share:
            assert breaks.cut_kept_share is not None
            assert breaks.cut_refill is not None
            kept = min(context, math.floor(breaks.cut_kept_share.at(rng.random()) * context))
            return kept, round(breaks.cut_refill.at(rng.random()) * (context - kept))
        return context, _new(tool.new_tokens, level)

    def _shared(self, first_prompt_tokens: int) -> SharedPrefix | None:
        number = None if self._prefix is None else self._prefix.draw(self._rng)
        if number is None:
            return None
        tokens = self._fit.shared_prefixes[number].tokens
        return SharedPrefix(f"prefix-{number}", min(tokens, first_prompt_tokens))

    def _gap_s(self, tool: ToolFit) -> float:
        assert tool.gap_s is not None
        return min(round(draw_gap_s(tool.gap_s, self._rng), 6), MAX_SECONDS)


def draw_gap_s(fit: GapFit, rng: np.random.Generator) -> float:
    """Draw the seconds of a call from the fit's `used` distribution."""
    if fit.used == "empirical":
        return fit.empirical.at(rng.random())
    if fit.zero_share and rng.random() < fit.zero_share:
        return 0.0
    if fit.used == "lognormal":
        assert fit.lognormal is not None
        return math.exp(fit.lognormal.mu + fit.lognormal.sigma * standard_normal(rng))
    mixture = fit.mixture
    assert mixture is not None
    if rng.random() < mixture.weight:
        return math.exp(mixture.mu + mixture.sigma * standard_normal(rng))
    return math.exp(mixture.slow_mu + mixture.slow_sigma * standard_normal(rng))


def _tokens(quantiles: Quantiles | None, level: float) -> int:
    assert quantiles is not None
    return max(1, round(quantiles.at(level)))


def _new(quantiles: Quantiles | None, level: float) -> int:
    assert quantiles is not None
    return round(quantiles.at(level))
