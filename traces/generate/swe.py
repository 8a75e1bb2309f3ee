"""Generate coding agents as in the Continuum paper: programs that match what is published of its SWE-Bench trace.

The trace is not public, but its figures are. The paper (arXiv 2511.02230, Table 2) gives, for 100 programs of GPT-5
with mini-swe-agent on SWE-Bench, mean and sd of

* turns per program: 10.9, 2.1;
* seconds per tool call: 0.925, 3.550;
* tokens per program, summed over turns (prompt + output of every turn, see `bfcl`): 70,126, 19,732;

and says that the slowest 10 % of ``cd`` calls make up 94.1 % of that tool's time. Everything else is our choice.

**Turns**: a rounded normal with those figures, at least 2.

**Tools**: every turn but the last calls one, ``cd`` or ``other`` (the first word of its command, as the paper's server
reads it), with equal probability. ``other`` is log-normal with mean 0.58 s and sigma 0.67, the mean and the sd of
the logarithm of all commands but ``pytest`` in the bundled ``swebench.jsonl``. ``cd`` is whatever ran after changing
the directory: nine in ten are quick (log-normal with mean 0.083 s, sigma 0.5), one in ten is slow (mean 11.95 s,
sigma 0.785, a test run). These four numbers are left to fit: with them calls take 0.925 s with sd 3.555, and the
slowest tenth of ``cd`` calls makes up 94.1 % of its time.

**Tokens**: first prompt log-normal with mean 1,900 and sigma 0.25 (``swebench.jsonl``: mean 1,876). Output, hidden
reasoning included: log-normal with mean 300 and sigma 0.9 (there: mean 278). The tokens a program reads are drawn per
program, log-normal with mean 9,320 and sigma 0.178, both left to fit, and spread over its turns in shares that are
log-normal with sigma 0.5. They do not grow with the number of turns: drawn turn by turn, summed tokens would grow with
the square of the turns, and their sd would exceed the published one even with turns of equal size.

**Reuse**: reasoning is not sent back over chat completions, so a prompt keeps the previous prompt but not its output;
the visible part of the output counts among what the turn reads. No prefix is declared shared: none is published.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from continuum_sim.traces.generate.draws import lognormal, standard_normal
from continuum_sim.traces.schema import Program, Turn

# Rounding adds 1/12 to the variance.
_TURNS: Final = (10.9, math.sqrt(2.1**2 - 1 / 12))
_LEAST_TURNS: Final = 2

# Pairs are (mean, sigma) of a log-normal, in tokens or seconds.
_FIRST_PROMPT_TOKENS: Final = (1_900.0, 0.25)
_OUTPUT_TOKENS: Final = (300.0, 0.9)
_READ_TOKENS: Final = (9_320.0, 0.178)
_SHARE_SIGMA: Final = 0.5
_CD_CHANCE: Final = 0.5
_CD_SLOW_CHANCE: Final = 0.1
_CD_SLOW_S: Final = (11.95, 0.785)
_CD_S: Final = (0.083, 0.5)
_OTHER_S: Final = (0.58, 0.67)


def generate_swe(n_programs: int, rng: np.random.Generator) -> Iterator[Program]:
    """Yield coding programs named ``swe-000``, ``swe-001`` and so on, in the agents' own sizes.

    Parameters
    ----------
    n_programs
        Number of programs.
    rng
        Source of all draws.

    Raises
    ------
    ValueError
        If ``n_programs`` is below 1.
    """
    if n_programs < 1:
        raise ValueError(f"n_programs is {n_programs}, expected at least 1")
    return (_program(f"swe-{number:03d}", rng) for number in range(n_programs))


def _program(program_id: str, rng: np.random.Generator) -> Program:
    mean, sd = _TURNS
    count = max(_LEAST_TURNS, round(mean + sd * standard_normal(rng)))
    input_tokens = _tokens(lognormal(rng, *_FIRST_PROMPT_TOKENS))
    read_tokens = lognormal(rng, *_READ_TOKENS) / count
    turns: list[Turn] = []
    kept_tokens = 0
    for _ in range(count - 1):
        output_tokens = _tokens(lognormal(rng, *_OUTPUT_TOKENS))
        turns.append(Turn(input_tokens, kept_tokens, output_tokens, *_call(rng)))
        kept_tokens = input_tokens
        input_tokens += _tokens(lognormal(rng, read_tokens, _SHARE_SIGMA))
    turns.append(Turn(input_tokens, kept_tokens, _tokens(lognormal(rng, *_OUTPUT_TOKENS))))
    return Program(program_id, tuple(turns))


def _call(rng: np.random.Generator) -> tuple[str, float]:
    if rng.random() >= _CD_CHANCE:
        tool, (mean, sigma) = "other", _OTHER_S
    else:
        tool, (mean, sigma) = "cd", _CD_SLOW_S if rng.random() < _CD_SLOW_CHANCE else _CD_S
    return tool, max(0.001, round(lognormal(rng, mean, sigma), 3))


def _tokens(value: float) -> int:
    return max(1, round(value))
