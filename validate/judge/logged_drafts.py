"""The drafts of a measured run, as its engine logged them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import numpy as np

from continuum_sim.engine.speculation.accepted import AcceptedDrafts
from continuum_sim.engine.speculation.config import SpeculationConfig
from continuum_sim.engine.speculation.turn import DraftedTurn
from continuum_sim.validate.steplog import LoggedStep
from continuum_sim.world.drafts import DraftDraws

_RANDOM_PART: Final = re.compile(r"-[0-9a-f]{8}$")
"""What vLLM appends to a request's name (`assign_request_id` of vllm/v1/engine/input_processor.py)."""

Verified = tuple[int, int]
"""Drafts that a step verified of a turn, and those accepted."""


class LoggedDrafts(AcceptedDrafts):
    """The drafts of a turn, step by step as logged; draws follow if the simulator takes more steps."""

    varied: ClassVar[bool] = True

    def __init__(self, logged: Sequence[Verified], rng: np.random.Generator, rates: Sequence[float]) -> None:
        super().__init__(rng, rates)
        self._logged = logged

    def proposed(self, most: int) -> int:
        """Return how many drafts the next step verifies."""
        return self._logged[self.taken][0] if self.taken < len(self._logged) else most

    def next(self) -> int:
        """Return the accepted drafts of the next step."""
        if self.taken < len(self._logged):
            self.taken += 1
            return self._logged[self.taken - 1][1]
        return super().next()


class LoggedDraws(DraftDraws):
    """The drafts of all turns of a run."""

    def __init__(self, steps: Iterable[LoggedStep]) -> None:
        super().__init__()
        self._turns: defaultdict[str, list[Verified]] = defaultdict(list)
        for step in steps:
            for name, verified in step.verified.items():
                self._turns[_RANDOM_PART.sub("", name)].append(verified)

    def of_turn(
        self, program_id: str, index: int, aborts: int, config: SpeculationConfig, length: float | None = None
    ) -> DraftedTurn:
        """Return the drafts of a turn that enters an engine."""
        logged = self._turns.get(f"{program_id}/{index}", ())
        rng = np.random.default_rng(index)
        return DraftedTurn(LoggedDrafts(logged, rng, config.acceptance_rates))
