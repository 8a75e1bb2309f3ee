"""What a service sustains under each policy: rates with intervals, and the service curve's predictions of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.view.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

    from continuum_sim.results.view import View

Rate = Annotated[float, msgspec.Meta(ge=0, le=1e30)]
Number = Annotated[float, msgspec.Meta(gt=0, le=1e30)]
SAME: Final = 1.05
"""Ratio up to which two rates count as equal: rates are measured to 2 to 5 %."""


class PlainRate(msgspec.Struct, frozen=True, kw_only=True):
    """A measured rate with a 95 % interval, in programs per second."""

    value: Rate
    low: Rate
    high: Rate


class RecoverableRate(msgspec.Struct, frozen=True, kw_only=True):
    """The largest rate at which a burst is gone in time: what a service *sustains*."""

    value: Rate | None
    """Measured rate, or the prediction if not measured; None if the burst is not gone in time at any rate."""
    low: Rate | None = None
    """None, like `high`, if not measured."""
    high: Rate | None = None
    predicted: Rate


class FromEmptyRate(msgspec.Struct, frozen=True, kw_only=True):
    """The rates at which 5 % and half of the services that start empty collapse."""

    value: Rate | None
    """Rate for 5 %: measured, or predicted if not measured; None if more collapse at any rate."""
    low: Rate | None = None
    high: Rate | None = None
    predicted: Rate
    median: Rate | None
    """Rate for half."""
    median_low: Rate | None = None
    median_high: Rate | None = None
    predicted_median: Rate


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """μ(n): programs' worth of work done per second while n programs are in the system."""

    n: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    per_s: Number
    low: Rate
    high: Rate


class PolicyCapacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a service sustains under one policy."""

    policy: str
    recoverable_per_s: RecoverableRate
    from_empty_per_s: FromEmptyRate
    congested_per_s: PlainRate
    """Rate served however long the queue is."""
    drained: bool = False
    """Whether it was measured on a draining crowd, as rules that serve short programs first need."""
    peak_per_s: Number
    peak_programs: Number
    """Fewest programs in the system at which the curve is as good as at its peak."""
    service_curve: Annotated[list[CurvePoint], msgspec.Meta(min_length=1)]

    @property
    def sustained_per_s(self) -> float:
        """The recoverable rate, or 0 if there is none."""
        return self.recoverable_per_s.value or 0.0

    @property
    def held_per_s(self) -> float:
        """The from-empty rate, or 0 if there is none."""
        return self.from_empty_per_s.value or 0.0

    @property
    def crowded_per_s(self) -> float:
        """Rate at which a crowd that does not drain is served: the floor of the curve, or a lower dip before it."""
        if self.congested_per_s.value < self.held_per_s:
            return self.congested_per_s.value
        return min(point.per_s for point in self.service_curve if point.n >= self.peak_programs)

    @property
    def metastable(self) -> bool:
        """Whether there are rates that hold from empty but do not recover from a burst."""
        return self.held_per_s > SAME * self.sustained_per_s


class CapacityResult(msgspec.Struct, Shown, frozen=True, kw_only=True):
    """What a service sustains, policy by policy."""

    policies: Annotated[list[PolicyCapacity], msgspec.Meta(min_length=1)]
    trace: str
    model: str
    gpus: str
    seeds: list[int]
    after_burst_seeds: list[int]
    fits: Number
    """Programs whose final contexts fit the KV cache together."""
    programs: Annotated[int, msgspec.Meta(ge=1)]
    """Arrivals within which a service from empty may collapse."""
    burst_programs: Annotated[int, msgspec.Meta(ge=1)]
    horizon_programs: Annotated[int, msgspec.Meta(ge=1)]
    """Arrivals within which a burst must be gone."""
    slo: str = ""
    unfit: str | msgspec.UnsetType = msgspec.UNSET
    """Which programs were left out or cut; absent if none were."""
    rate_per_s: Number | None = None
    """The load that was asked about."""
    quick: bool = False
    """Whether only the curves were measured."""
    step_time_error: float | msgspec.UnsetType = msgspec.UNSET
    """Relative standard deviation of a factor of all step times; absent if none was given."""

    def view(self) -> View:
        """Return the result as the rows of text that terminal, page and notebook show."""
        from continuum_sim.results.view.capacity import capacity_view

        return capacity_view(self)

    @property
    def table(self) -> pd.DataFrame:
        """One row per policy: every rate with its interval and its prediction."""
        import pandas as pd

        rows = []
        for item in self.policies:
            row = {"policy": item.policy, "peak_per_s": item.peak_per_s, "peak_programs": item.peak_programs}
            for name in ("recoverable_per_s", "from_empty_per_s", "congested_per_s"):
                row |= {f"{name}_{key}": value for key, value in msgspec.to_builtins(getattr(item, name)).items()}
            rows.append(row)
        return pd.DataFrame(rows).set_index("policy")

    @property
    def curves(self) -> pd.DataFrame:
        """One row per policy and point of its service curve."""
        import pandas as pd

        rows = [
            {"policy": item.policy, **msgspec.to_builtins(point)}
            for item in self.policies
            for point in item.service_curve
        ]
        return pd.DataFrame(rows)

    def to_json(self) -> str:
        """Return the result as indented JSON."""
        return to_json(self)
