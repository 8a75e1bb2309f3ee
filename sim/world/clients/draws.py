"""What each client does, determined by the seed, the program and the turn alone."""

from __future__ import annotations

from typing import Final

from continuum_sim.traces.schema import Turn
from continuum_sim.world.clients.config import ClientConfig
from continuum_sim.world.draws import generator_for

_STREAM: Final = 0x636C6E74
"""Separates these draws from all others made with the same seed ("clnt" in ASCII)."""
_FIRST_S: Final = 0.5
_MOST_S: Final = 8.0
_JITTER: Final = 0.25
"""Waits before a retry: `INITIAL_RETRY_DELAY` and `MAX_RETRY_DELAY` of `src/openai/_constants.py`, doubled with every
retry, less up to a quarter (`_calculate_retry_timeout` of `src/openai/_base_client.py` in openai-python)."""


class ClientDraws:
    """Draws what clients do.

    Parameters
    ----------
    config
        How patient clients are.
    seed
        Seed of the run.
    """

    def __init__(self, config: ClientConfig, seed: int = 0) -> None:
        self.config = config
        self._seed = seed

    def wanted_tokens(self, program_id: str, index: int, turn: Turn) -> int:
        """Return after how many output tokens a client hangs up, any number before the last; 0 if it does not."""
        abort_rate = self.config.abort_rate
        if not abort_rate or turn.output_tokens < 2:
            return 0
        aborts, when = generator_for(self._seed, _STREAM, program_id, index).random(2)
        return 1 + int(when * (turn.output_tokens - 1)) if aborts < abort_rate else 0

    def wait_s(self, program_id: str, index: int, retry: int) -> float:
        """Return the seconds before retry number `retry`, counted from 1."""
        longest_s = min(_FIRST_S * 2.0 ** (retry - 1), _MOST_S)
        return longest_s * (1.0 - _JITTER * generator_for(self._seed, _STREAM, program_id, index, retry).random())
