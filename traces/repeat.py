"""Split programs into more and shorter turns: an agent's turns repeat within the same context."""

from __future__ import annotations

from dataclasses import replace

from continuum_sim.traces.schema import Program, SharedPrefix, Turn


def repeat_turns(program: Program, times: float) -> Program:
    """Return a program with ``times`` as many turns that ends with about the same number of tokens.

    Its turns repeat with their token counts divided by ``times``, so that the context still fits (Continuum,
    arXiv 2511.02230, section 6.3). Where the agent dropped part of its context, the same proportion is dropped; a
    repetition starts from the whole context, and the turn that was the last calls the tool of the first. Sub-agents
    start in the first round only, unchanged. A program of a single turn, which calls nothing, is returned unchanged.

    Raises
    ------
    ValueError
        If ``times`` is below 1.
    """
    if not times >= 1:
        raise ValueError(f"repeat_turns is {times:g}, expected 1 or more")
    count = round(len(program.turns) * times)
    if count == len(program.turns) or len(program.turns) == 1:
        return program
    share = len(program.turns) / count
    made: list[Turn] = []
    for place in range(count):
        at = place % len(program.turns)
        turn = program.turns[at]
        dropped_tokens = program.turns[at - 1].context_tokens - turn.kept_tokens if at else 0
        kept_tokens = max(0, made[-1].context_tokens - round(dropped_tokens * share)) if made else 0
        made.append(
            replace(
                turn if turn.tool is not None else program.turns[0],
                kept_tokens=kept_tokens,
                input_tokens=kept_tokens + max(1, round(turn.new_tokens * share)),
                output_tokens=max(1, round(turn.output_tokens * share)),
            )
        )
    last = replace(made[-1], tool=None, tool_s=0.0, tools=())
    return replace(program, turns=(*made[:-1], last), shared_prefix=_scaled(program.shared_prefix, share))


def _scaled(prefix: SharedPrefix | None, share: float) -> SharedPrefix | None:
    return None if prefix is None else replace(prefix, tokens=max(1, round(prefix.tokens * share)))
