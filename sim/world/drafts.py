"""How many drafts of each turn are accepted, determined by the seed, the program and the turn alone."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np

from continuum_sim.engine.speculation.accepted import AcceptedDrafts
from continuum_sim.engine.speculation.config import SpeculationConfig, bent_rates
from continuum_sim.engine.speculation.turn import DraftedTurn

_STREAM: Final = 0x64726674
"""Separates these draws from all others made with the same seed ("drft" in ASCII)."""


class DraftDraws:
    """Draws accepted drafts.

    Parameters
    ----------
    seed
        Seed of the run.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def of_turn(
        self, program_id: str, index: int, aborts: int, config: SpeculationConfig, length: float | None = None
    ) -> DraftedTurn:
        """Return the drafts of a turn that enters an engine.

        Parameters
        ----------
        aborts
            Requests of its program that were aborted before.
        length
            Its own mean acceptance length, if the trace tells one.
        """
        about = f"{self._seed}/{_STREAM}/{index}/{aborts}/{program_id}"
        key = int.from_bytes(blake2b(about.encode(), digest_size=16).digest(), "little")
        rng = np.random.Generator(np.random.Philox(key=key))  # half the time of `generator_for`
        rates = config.acceptance_rates if length is None else bent_rates(config.acceptance_rates, length)
        return DraftedTurn(AcceptedDrafts(rng, rates))
