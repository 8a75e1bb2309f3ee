"""How many drafts an engine accepts, by position, from what it counts itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.traces.schema import Program, Turn
from continuum_sim.validate.engines.interface import Engine, EngineFacts, TurnRequest
from continuum_sim.validate.session.tokens import Conversation
from continuum_sim.validate.steplog import LoggedStep, read_steps

_AT_ONCE: Final = 4
"""Programs that are served at a time, so few that contexts stay in scarce memory; acceptance does not depend on it."""
_OUTPUT_TOKENS: Final = 5_000
"""Tokens that are enough: a rate of 0.5 is found within 0.03 in 19 of 20 measurements, if a step gives 4 tokens."""


_TURN_TOKENS: Final = 128
_USUAL: Final = 32
"""Output tokens of a turn, and number of programs, where no trace is given."""


@dataclass(frozen=True)
class Acceptance:
    """Drafts accepted over all steps of decoding turns, as the simulator has it, where each verifies all drafts."""

    rates: tuple[float, ...]
    """By position: the share of a turn's steps that accept the drafts up to there."""
    turn_steps: int
    """Steps of a turn."""
    drafted_tokens: int
    """Drafts verified: fewer than all if the drafter found none at times."""
    accepted_tokens: int

    def describe(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**vars(self), "rates": list(self.rates)}


def acceptance_of(steps: Iterable[LoggedStep], drafts: int) -> Acceptance:
    """Return what steps accepted.

    Raises
    ------
    ConfigError
        If no turn decodes in them.
    """
    verified = [counts for step in steps for counts in step.verified.values()]
    if not verified:
        raise ConfigError("no step of the engine's verified drafts: the turns are too short to measure acceptance")
    reached = [sum(accepted > position for _, accepted in verified) for position in range(drafts)]
    return Acceptance(
        tuple(count / len(verified) for count in reached),
        len(verified),
        sum(drafted for drafted, _ in verified),
        sum(accepted for _, accepted in verified),
    )


async def measure_acceptance(engine: Engine, programs: Sequence[Program], seed: int) -> Acceptance:
    """Serve programs, as often as it takes, without their pauses and each time of other random tokens.

    Raises
    ------
    ConfigError
        If the engine does not log its steps.
    """
    log = engine.step_log
    if log is None:
        raise ConfigError("a server's drafts are not measured; read its /metrics: --speculative-config …,metrics=FILE")
    before = len(read_steps(log))
    chosen: list[tuple[int, Program]] = []
    left = _OUTPUT_TOKENS
    while left > 0:
        program = programs[len(chosen) % len(programs)]
        chosen.append((seed + len(chosen) // len(programs), program))
        left -= sum(turn.output_tokens for turn in program.turns)
    waiting = iter(chosen)

    async def serve() -> None:
        for its_seed, program in waiting:
            conversation = Conversation(program, engine.facts.vocab_size, its_seed)
            for index, turn in enumerate(program.turns):
                name = f"acceptance-{its_seed}/{program.program_id}/{index}"
                answer = await engine.turn(TurnRequest(name, conversation.prompt(index), turn.output_tokens))
                conversation.generated(answer.token_ids)

    await asyncio.gather(*[serve() for _ in range(min(_AT_ONCE, len(chosen)))])
    await engine.forget()
    return acceptance_of(read_steps(log)[before:], engine.facts.drafts)


def usual_programs(facts: EngineFacts) -> list[Program]:
    """Return programs of two turns to measure by where no trace is given; the second prompt keeps the first turn."""
    size = min(_TURN_TOKENS, facts.max_model_len // 5)
    turns = (Turn(2 * size, 0, size, "tool", 0.0), Turn(4 * size, 3 * size, size))
    return [Program(f"usual-{number}", turns) for number in range(_USUAL)]
