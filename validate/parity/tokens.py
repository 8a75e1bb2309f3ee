"""Token ids for a trace of counts: equal where the trace says kept or shared, new everywhere else."""

from __future__ import annotations

from itertools import count
from typing import Final

from continuum_sim.traces.schema import Program

STOP_TOKEN: Final = 0
"""The token that ends a turn: no other token is equal to it."""


class TokenStory:
    """Token ids of every program's context, turn by turn; every new token is a new number."""

    def __init__(self) -> None:
        self._fresh = count(1)
        self._shared: dict[str, list[int]] = {}
        self._contexts: dict[str, list[int]] = {}

    def prompt(self, program: Program, prompt_tokens: int, kept_tokens: int) -> list[int]:
        """Return the prompt of a request, with leading tokens kept of the one before; call it once each, in order."""
        context = self._contexts.get(program.program_id)
        if context is not None:
            tokens = context[:kept_tokens]
        elif program.shared_prefix is not None:
            tokens = self._prefix(program.shared_prefix.id, program.shared_prefix.tokens)
        else:
            tokens = []
        tokens += self._new(prompt_tokens - len(tokens))
        self._contexts[program.program_id] = tokens
        return list(tokens)

    def sample(self, program_id: str, *, stops: bool = False) -> int:
        """Return the next generated token of a program's running turn; the stop token if the model ends the turn."""
        token = STOP_TOKEN if stops else next(self._fresh)
        self._contexts[program_id].append(token)
        return token

    def forget(self, program_id: str) -> None:
        """Drop a finished program."""
        del self._contexts[program_id]

    def _prefix(self, prefix_id: str, tokens: int) -> list[int]:
        known = self._shared.setdefault(prefix_id, [])
        known += self._new(tokens - len(known))
        return known[:tokens]

    def _new(self, tokens: int) -> list[int]:
        return [next(self._fresh) for _ in range(tokens)]
