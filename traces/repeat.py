"""Programs of more and shorter turns: an agent's turns over and over, in the same context."""

from __future__ import annotations

from dataclasses import replace

from continuum_sim.traces.schema import Program, SharedPrefix, Turn


def repeat_turns(program: Program, times: float) -> Program:
    """Return a program of ``times`` as many turns that ends with about as many tokens.

    Its turns come over and over, their token counts divided by as much, so that the context still fits (Continuum,
    arXiv 2511.02230, section 6.3). What the agent dropped of its context it drops in proportion; a repetition goes on
    from all there is, and the turn that was the last one calls what the first one calls. Sub-agents start in the first
    round alone, as they are. A program of a single turn, which calls nothing, stays as it is.

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
