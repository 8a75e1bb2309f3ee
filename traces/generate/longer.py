"""The bundled traces with longer contexts: another reading of the sizes published in the Continuum paper.

Its Table 2 (arXiv 2511.02230) gives "tokens" per program: 70,126 on average for SWE-Bench, 93,256 for BFCL, served
scaled by 0.4. If these are prompts and outputs summed over turns, a B200 serves such programs at the paper's rates
without ever running short of memory, and policies cannot differ. If they are final contexts, memory is scarce and JCT
is of the published size. Only the authors know. `swebench-long.jsonl` and `bfcl-long.jsonl` follow the second reading:
the programs of `swebench.jsonl` and `bfcl.jsonl` with every count multiplied, so that the mean final context is within
3 % of that figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from continuum_sim.traces.schema import Program, Turn

SWEBENCH_FACTOR: Final = 3.0
"""Raises the mean final context (prompt and output) of `swebench.jsonl` from 23,624 to 68,147; published: 70,126."""
BFCL_FACTOR: Final = 3.5
"""Raises that of `bfcl.jsonl` from 10,791 tokens to 37,769; published: 93,256 times 0.4, which is 37,302."""
LONGEST_TOKENS: Final = 131_072
"""Programs that exceed Llama-3.1's context are left out, as in the paper."""


def longer(
    programs: Iterable[Program], factor: float, longest_tokens: int | None = LONGEST_TOKENS
) -> Iterator[Program]:
    """Multiply all token counts of programs; turns, tools and gaps stay the same.

    Parameters
    ----------
    factor
        Above 0. A prompt that kept the whole previous context still does.
    longest_tokens
        Programs whose context exceeds it are left out; None keeps all.

    Raises
    ------
    ValueError
        If the factor is not above 0.
    """
    if not factor > 0:
        raise ValueError(f"factor is {factor}, expected a number above 0")
    for program in programs:
        prefix = program.shared_prefix
        turns = tuple(_turns(program.turns, factor))
        if prefix is not None:
            prefix = replace(prefix, tokens=min(max(1, round(prefix.tokens * factor)), turns[0].input_tokens))
        made = replace(program, turns=turns, shared_prefix=prefix)
        if longest_tokens is None or made.max_context_tokens <= longest_tokens:
            yield made


def _turns(turns: Iterable[Turn], factor: float) -> Iterator[Turn]:
    before = after = 0
    for turn in turns:
        whole = turn.kept_tokens == before
        input_tokens = max(1, round(turn.input_tokens * factor))
        made = replace(
            turn,
            input_tokens=input_tokens,
            kept_tokens=min(after if whole else min(round(turn.kept_tokens * factor), after), input_tokens),
            output_tokens=max(1, round(turn.output_tokens * factor)),
        )
        yield made
        before, after = turn.context_tokens, made.context_tokens
