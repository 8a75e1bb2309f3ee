"""Generate web-search agents as in BFCL v4: programs that match what is published about them.

No trace of this workload is public, only summary figures. The Continuum paper (arXiv 2511.02230, Table 2) gives, for
100 programs of GPT-5 on BFCL v4 web search, mean and sd of

* turns per program: 6.3, 2.3;
* seconds per tool call: 1.923, 2.133;
* tokens per program, summed over turns: 93,256, 68,687.

The slowest 10 % of ``fetch_url`` calls make up 52.5 % of that tool's time. For serving, the authors scaled
token counts by 0.4, to fit contexts of 128 k. We read "summed over turns" as prompt + output of every turn,
added up. If it meant the final context, the same table's SWE-Bench row (70,126 tokens in 10.9 turns) would
imply 6,400 new tokens per turn, ten times what that agent adds in the bundled ``swebench.jsonl``.

Everything else is our choice: parts that resemble the benchmark's, sized to meet those figures.

**Turns**: 1 + Poisson(5.3). Mean 6.3 and sd √5.3 = 2.302: both published figures from one parameter.

**Tools**: every turn but the last calls one. The first call is a search, because there is no address to fetch
before it. A program wants 1 + Binomial(2, 0.59) pages, 2.18 on average, and fetches that many, or as many as
it has calls left, at random places after the first call; 37.5 % of all calls are then ``fetch_url``. The
number of pages does not grow with the number of turns: programs are long because they search, not because they read.
The figures require this: if every later call were a fetch with the same probability, summed tokens would grow with
the square of the turns and their sd would be near 80,000 even with pages of equal size.

**Tool seconds**: ``fetch_url`` log-normal with mean 1.34 s and sigma 1.344; ``search`` log-normal with mean
2.27 s and sigma 0.5; independent of sizes. The mixture has mean 1.921 s and sd 2.130 s, and the slowest tenth
of fetches makes up Φ(1.344 - 1.2816) = 52.5 % of their time.

**Tokens**, before scaling. First prompt: 1,400 (system prompt and the documentation of two functions) plus a
question, log-normal with mean 100, sigma 0.5. Output, hidden reasoning included: log-normal with mean 500, sigma
0.9, a short call after some reasoning. Search result: log-normal with mean 1,100, sigma 0.25 (ten hits of
title, address and snippet: the default of ``web_search.py`` in github.com/ShishirPatil/gorilla). Page:
log-normal with mean 9,950 and sigma 0.7, the two parameters left to fit: with them summed tokens have mean 93,119
and sd 68,594.

**Reuse**: the whole prompt and output come back in the next prompt (``kept_tokens`` is their sum), because
the benchmark's client for OpenAI models sends the reasoning items back with the history
(``openai_response.py`` in the same repository). No prefix is declared shared between programs: what they
shared is not published.

**Scale**: 0.4 by default, as the published BFCL results were served, so summed tokens have mean 37,247 and sd
27,437. ``token_scale=1.0`` gives the agents' own sizes. A program whose context would exceed 128 k tokens after
scaling by 0.4 (327,680 before) is drawn again; that is rarer than one in a million.

The 100 bundled programs come from the lowest seed whose sample lies within 5 % of the six figures above, of the
52.5 % and of the 37.5 %; most samples of 100 from such tails lie further off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from continuum_sim.traces.generate.draws import binomial, lognormal, poisson, subset
from continuum_sim.traces.schema import Program, Turn

BFCL_SEED: Final = 404
BFCL_PROGRAMS: Final = 100

PAPER_TOKEN_SCALE: Final = 0.4
CONTEXT_LIMIT_TOKENS: Final = 131_072

_CALLS_MEAN: Final = 5.3
_EXTRA_PAGES_MAX: Final = 2
_EXTRA_PAGE_CHANCE: Final = 0.59

# Token counts before scaling and seconds; pairs are (mean, sigma) of a log-normal.
_INSTRUCTIONS_TOKENS: Final = 1_400
_QUESTION_TOKENS: Final = (100.0, 0.5)
_OUTPUT_TOKENS: Final = (500.0, 0.9)
_RESULT_TOKENS: Final = {"search": (1_100.0, 0.25), "fetch_url": (9_950.0, 0.7)}
_TOOL_S: Final = {"search": (2.27, 0.5), "fetch_url": (1.34, 1.344)}


def generate_bfcl(
    n_programs: int, rng: np.random.Generator, *, token_scale: float = PAPER_TOKEN_SCALE
) -> Iterator[Program]:
    """Yield ``n_programs`` web-search programs named ``bfcl-000``, ``bfcl-001`` and so on.

    Parameters
    ----------
    n_programs
        Number of programs.
    rng
        Source of all draws.
    token_scale
        Factor on every token count: 0.4 as the paper served them, 1.0 as the agents ran them.

    Raises
    ------
    ValueError
        If ``n_programs`` is below 1 or ``token_scale`` is not in (0, 1].
    """
    if n_programs < 1:
        raise ValueError(f"n_programs is {n_programs}, expected at least 1")
    if not 0.0 < token_scale <= 1.0:
        raise ValueError(f"token_scale is {token_scale}, expected a number above 0, at most 1")
    limit_tokens = CONTEXT_LIMIT_TOKENS * token_scale / PAPER_TOKEN_SCALE
    return _programs(n_programs, rng, token_scale, limit_tokens)


def bundled_bfcl() -> Iterator[Program]:
    """Yield the programs of the bundled ``bfcl.jsonl``, from its seed."""
    return generate_bfcl(BFCL_PROGRAMS, np.random.Generator(np.random.PCG64(BFCL_SEED)))


def _programs(n_programs: int, rng: np.random.Generator, token_scale: float, limit_tokens: float) -> Iterator[Program]:
    for number in range(n_programs):
        program_id = f"bfcl-{number:03d}"
        program = _program(program_id, rng, token_scale)
        while program.max_context_tokens > limit_tokens:
            program = _program(program_id, rng, token_scale)
        yield program


def _program(program_id: str, rng: np.random.Generator, token_scale: float) -> Program:
    def tokens(mean: float, sigma: float) -> int:
        return max(1, round(token_scale * lognormal(rng, mean, sigma)))

    turns = []
    kept_tokens = 0
    input_tokens = max(1, round(token_scale * _INSTRUCTIONS_TOKENS)) + tokens(*_QUESTION_TOKENS)
    for tool in _tools(rng):
        output_tokens = tokens(*_OUTPUT_TOKENS)
        tool_s = max(0.001, round(lognormal(rng, *_TOOL_S[tool]), 3))
        turns.append(Turn(input_tokens, kept_tokens, output_tokens, tool, tool_s))
        kept_tokens = input_tokens + output_tokens
        input_tokens = kept_tokens + tokens(*_RESULT_TOKENS[tool])
    turns.append(Turn(input_tokens, kept_tokens, tokens(*_OUTPUT_TOKENS)))
    return Program(program_id, tuple(turns))


def _tools(rng: np.random.Generator) -> list[str]:
    """Draw the program's tool calls in order."""
    calls = poisson(rng, _CALLS_MEAN)
    wanted_pages = 1 + binomial(rng, _EXTRA_PAGES_MAX, _EXTRA_PAGE_CHANCE)
    if calls == 0:
        return []
    pages = subset(rng, min(wanted_pages, calls - 1), calls - 1)
    return ["search"] + ["fetch_url" if call in pages else "search" for call in range(calls - 1)]
