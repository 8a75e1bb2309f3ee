"""The specification of a capacity search, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from continuum_sim.errors import ConfigError, shown
from continuum_sim.setup.run_config import RunConfig, run_settings
from continuum_sim.setup.slo import NO_SLO, Slo

PROGRAMS: Final = 2_000
"""Arrivals within which a service from empty may collapse."""
SEEDS: Final = range(8)
AFTER_BURST_SEEDS: Final = 3
"""Number of seeds used for bursts: the time to drain a burst varies less than the time to collapse."""
LEAST_PROGRAMS: Final = 200
MOST_PROGRAMS: Final = 1_000_000
MOST_SEEDS: Final = 1_000
FOUND_OUT: Final = (
    "arrivals",
    "programs",
    "duration",
    "population",
    "warmup",
    "cooldown",
    "burst",
    "start",
    "seed",
    "policy",
)
"""Settings of a run that `capacity` sets itself or takes under other names."""


@dataclass(frozen=True, kw_only=True)
class CapacitySpec:
    """Specification of a capacity search; see `capacity` for the fields."""

    policies: Sequence[Any]
    base: Mapping[str, Any]
    rate: float | None = None
    seeds: Sequence[int] = SEEDS
    programs: int = PROGRAMS
    burst: int | None = None
    horizon: int | None = None
    slo: Slo = NO_SLO
    quick: bool = False

    def __post_init__(self) -> None:
        from continuum_sim.runs.comparison import check_sequence

        check_sequence("policies", self.policies, 'a list of them, as in ["lru", "ttl"]')
        check_sequence("seeds", self.seeds, "a list of whole numbers, as in [0, 1, 2]")
        for name, values in (("policies", self.policies), ("seeds", self.seeds)):
            if not len(values):
                raise ConfigError(f"{name} is empty, expected at least one")
        if len(self.seeds) > MOST_SEEDS:
            raise ConfigError(f"{len(self.seeds):,} seeds, expected at most {MOST_SEEDS:,}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError("a seed appears twice, expected each once")
        _check_whole("programs", self.programs, LEAST_PROGRAMS, MOST_PROGRAMS)
        for name, value in (("burst", self.burst), ("horizon", self.horizon)):
            if value is not None:
                _check_whole(name, value, 1, MOST_PROGRAMS)
        for name in self.base:
            if name in FOUND_OUT:
                flag = run_settings()[name].flag
                raise ConfigError(f"{flag} has no place here: `capacity` varies the load itself; leave it out")
        if self.rate is not None:
            _ = RunConfig(rate=self.rate)

    @property
    def after_burst_seeds(self) -> list[int]:
        """The seeds used for bursts."""
        return list(self.seeds[:AFTER_BURST_SEEDS])


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} is {shown(value)}, expected a whole number from {least:,} to {most:,}")
