"""Token ids of a replay: the engine's own where the trace says kept, equal where it says shared, random elsewhere."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from continuum_sim.traces.schema import Program, SharedPrefix
from continuum_sim.validate.calibration.measure import fresh_tokens


class Conversation:
    """The context of one program as it grows.

    The random parts depend only on the seed and the program: every policy and every repeat sends the same ones.
    """

    def __init__(self, program: Program, vocab_size: int, seed: int) -> None:
        self._program = program
        self._vocab_size = vocab_size
        self._seed = seed
        self._rng = np.random.default_rng((seed, 0, crc32(program.program_id.encode())))
        self._context: list[int] = []

    def prompt(self, index: int) -> list[int]:
        """Return the prompt of a turn: what it keeps of the context, then new tokens."""
        turn = self._program.turns[index]
        if index:
            kept = self._context[: turn.kept_tokens]
        else:
            kept = [] if self._program.shared_prefix is None else self._prefix(self._program.shared_prefix)
        self._context = kept + fresh_tokens(self._rng, turn.input_tokens - len(kept), self._vocab_size)
        return list(self._context)

    def generated(self, token_ids: list[int]) -> None:
        """Append what the engine generated."""
        self._context += token_ids

    def _prefix(self, prefix: SharedPrefix) -> list[int]:
        rng = np.random.default_rng((self._seed, 1, crc32(prefix.id.encode())))
        return fresh_tokens(rng, prefix.tokens, self._vocab_size)
