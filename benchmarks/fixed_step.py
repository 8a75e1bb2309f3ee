"""The step time that DynoSim calls `fixed`, so that both simulate the same engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from continuum_sim.steptime import PiecewiseStepTime, StepBatch

Piece = tuple[int, float, float, float]


@dataclass(frozen=True)
class FixedStep(PiecewiseStepTime):
    """A step takes `prefill_s` if anything prefills in it, plus `decode_s` if anything decodes."""

    prefill_s: float
    decode_s: float

    def pieces(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Return one piece, because nothing grows."""
        step_s = self.prefill_s * bool(batch.prefill_requests) + self.decode_s * bool(batch.decode_requests)
        return ((n_steps, step_s, 0.0, 0.0),)

    def describe(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"kind": "fixed", **asdict(self)}
